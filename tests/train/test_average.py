"""Averages of models."""

import resource
from dataclasses import replace

import pytest
import torch

import birefnet_core as bc
from birefnet_core.network import Architecture, build_network
from birefnet_core.network.hint import hint_weights
from birefnet_core.weights.save import save_model
from train.average import main


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Two networks like the bundled one, and one that is wider."""
    folder, spec = tmp_path_factory.mktemp("models"), bc.load_model("bundled", device="cpu").spec
    for name, width in (("a", 8), ("b", 8), ("wide", 16)):
        torch.manual_seed(ord(name[0]))
        architecture = Architecture(backbone=spec.backbone, block_channels=width, branch_channels=8, inward_channels=8)
        save_model(build_network(architecture), folder / f"{name}.safetensors", spec=spec, dtype=torch.float32)
    return folder


def test_weights_are_averaged_by_their_shares(models, tmp_path):
    main([f"{models}/a.safetensors=1", f"{models}/b.safetensors=3", "--out", str(tmp_path / "mean.safetensors")])
    a, b, mean = (
        bc.load_model(path, device="cpu", dtype="float32", fold=False).network.state_dict()
        for path in (models / "a.safetensors", models / "b.safetensors", tmp_path / "mean.safetensors")
    )
    for key, value in mean.items():
        if value.is_floating_point():
            torch.testing.assert_close(value, a[key] / 4 + 3 * b[key] / 4, atol=2e-3, rtol=1e-3)  # written in fp16


def test_a_full_disk_is_said_in_a_sentence(models, tmp_path):
    given = [f"{models}/a.safetensors=1", f"{models}/b.safetensors=1"]
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(SystemExit, match=r"x\.safetensors could not be written .* disk space"):
            main([*given, "--out", str(tmp_path / "x.safetensors")])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(tmp_path.iterdir())


def test_a_model_without_hints_is_averaged_into_one_with_hints(models, tmp_path):
    plain = bc.load_model(models / "a.safetensors", device="cpu", dtype="float32", fold=False)
    hinted = build_network(replace(plain.network.architecture, hint=True))
    torch.nn.init.normal_(hint_weights(hinted)[0])
    save_model(hinted, tmp_path / "hinted.safetensors", spec=plain.spec, dtype=torch.float32)
    given = [f"{models}/a.safetensors=3", f"{tmp_path}/hinted.safetensors=1"]
    main([*given, "--out", str(tmp_path / "mean.safetensors")])
    mean = bc.load_model(tmp_path / "mean.safetensors", device="cpu", dtype="float32", fold=False).network
    assert mean.architecture.hint
    name, value = next((n, v) for n, v in mean.state_dict().items() if "picture" in n and n.endswith("weight"))
    a = plain.network.state_dict()[name.replace(".picture.", ".")]
    torch.testing.assert_close(value, 0.75 * a + 0.25 * hinted.state_dict()[name], atol=2e-3, rtol=1e-3)
    (learnt,), (kept,) = hint_weights(hinted), hint_weights(mean)
    torch.testing.assert_close(kept, learnt, atol=2e-3, rtol=1e-3)  # of all that has any: not weaker
    main([*given, "--hint-strength", "1.5", "--out", str(tmp_path / "loud.safetensors")])
    loud = bc.load_model(tmp_path / "loud.safetensors", device="cpu", dtype="float32", fold=False).network
    (told,) = hint_weights(loud)
    torch.testing.assert_close(told, 1.5 * learnt, atol=4e-3, rtol=1e-3)
    torch.testing.assert_close(loud.state_dict()[name], value)
    main([*given[::-1], "--out", str(tmp_path / "other.safetensors")])  # the last one takes none
    other = bc.load_model(tmp_path / "other.safetensors", device="cpu", dtype="float32", fold=False).network
    assert not other.architecture.hint
    torch.testing.assert_close(other.state_dict()[name.replace(".picture.", ".")], value, atol=2e-3, rtol=1e-3)


def test_what_cannot_be_averaged_is_said(models, tmp_path):
    out = ["--out", str(tmp_path / "mean.safetensors")]
    a = bc.load_model(models / "a.safetensors", device="cpu", fold=False)
    save_model(a.network, tmp_path / "grey.safetensors", spec=replace(a.spec, mean=(0.5, 0.5, 0.5)))
    for given, message in (
        ([f"{models}/a.safetensors=1"], "two models or more"),
        ([f"{models}/a.safetensors=1", f"{models}/b.safetensors=0"], "above 0"),
        ([f"{models}/a.safetensors=nan", f"{models}/b.safetensors=3"], "above 0"),
        ([f"{models}/a.safetensors=1", f"{models}/wide.safetensors=1"], "different networks"),
        ([f"{models}/a.safetensors=1", f"{tmp_path}/grey.safetensors=1"], "made for pictures of another mean and std"),
        ([f"{models}/{name}.safetensors=0.5" for name in "aba"], r"a\.safetensors is given twice"),
        ([f"{models}/a.safetensors", f"{models}/b.safetensors=1"], "write MODEL=SHARE"),
        ([f"{models}/a.safetensors=1", f"{models}/b.safetensors=1", "--hint-strength", "0"], "must be above 0, not 0"),
        ([f"{models}/a.safetensors=1", f"{models}/b.safetensors=1", "--hint-strength", "2"], "takes no hint"),
    ):
        with pytest.raises(SystemExit, match=message):
            main([*given, *out])
    assert not (tmp_path / "mean.safetensors").exists()
