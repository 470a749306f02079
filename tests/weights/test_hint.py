"""Files of networks that take a hint: written, recognised, read; and files of others made into such."""

import json
import warnings
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

import birefnet_core as bc
from birefnet_core.network.hint import hint_weights
from birefnet_core.weights.catalog import ModelSpec
from birefnet_core.weights.files import WeightsError, read_metadata, read_weights
from birefnet_core.weights.places import BUNDLED
from birefnet_core.weights.recognise import recognise

SMALL = bc.Architecture("pvt_v2_b0", block_channels=16, branch_channels=16, inward_channels=8)
SPEC = ModelSpec("small", "pvt_v2_b0", (96, 64), licence="MIT")
FIRST = {
    **dict.fromkeys(("swin_v1_l", "swin_v1_b", "swin_v1_s", "swin_v1_t"), ("bb.patch_embed.proj.weight",)),
    **dict.fromkeys(("pvt_v2_b0", "pvt_v2_b1", "pvt_v2_b2", "pvt_v2_b5"), ("bb.patch_embed1.proj.weight",)),
    **dict.fromkeys(("resnet50", "vgg16", "vgg16bn"), ("bb.conv1.0.weight",)),
    **dict.fromkeys(("dino_v3_s", "dino_v3_b", "dino_v3_7b"), ("bb.model.patch_embed.proj.weight",)),
    "timm:tf_efficientnet_lite0": ("bb.model.conv_stem.weight",),
    "timm:repvgg_a0": ("bb.model.stem.conv_kxk.conv.weight", "bb.model.stem.conv_1x1.conv.weight"),
}


def learnt(architecture):
    """A hinted network as training might leave it."""
    torch.manual_seed(0)
    network = bc.build_network(architecture, hint=True).eval()
    with torch.no_grad():
        for weight in hint_weights(network):
            weight.normal_(0, 0.2)
    return network


@pytest.fixture(scope="module")
def network():
    return learnt(SMALL)


@torch.no_grad()
def probe(network, hint=None):
    return network(torch.linspace(-2, 2, 3 * 64 * 96).view(1, 3, 64, 96), hint)


HINT = torch.linspace(0, 1, 64 * 96).view(1, 1, 64, 96)


@pytest.mark.parametrize("backbone", FIRST)
def test_the_first_convolution_alone_has_another_shape_and_tells_the_file(backbone):
    plain, hinted = replace(SMALL, backbone=backbone), replace(SMALL, backbone=backbone, hint=True)
    with torch.device("meta"):
        theirs, ours = (bc.export_published(bc.build_network(each)) for each in (plain, hinted))
    assert ours.keys() == theirs.keys()
    assert [key for key in ours if ours[key].shape != theirs[key].shape] == list(FIRST[backbone])
    for key in FIRST[backbone]:
        out, _, *kernel = theirs[key].shape
        assert list(ours[key].shape) == [out, 4, *kernel]
    if not backbone.startswith("timm:"):
        defaults = {"dropout": 0.5, "stochastic_depth": 0.0}
        for weights, architecture in ((theirs, plain), (ours, hinted)):
            known = "vgg16" if backbone == "vgg16" else backbone
            assert recognise(weights) == replace(architecture, backbone=known, **defaults)


@pytest.mark.parametrize(
    ("backbone", "order"),
    [
        ("swin_v1_t", "2024"),
        ("resnet50", "2025"),
        ("vgg16bn", "2025"),
        ("dino_v3_s", "2024"),
        ("timm:repvgg_a0", "2025"),
    ],
)
def test_from_network_to_file_to_network_no_bit_is_lost(backbone, order, tmp_path):
    network, path = learnt(replace(SMALL, backbone=backbone)), tmp_path / "model.safetensors"
    bc.save_model(network, path, spec=replace(SPEC, patch_order=order), dtype=torch.float32)
    loaded = bc.load_model(path, device="cpu", dtype="float32", fold=False)
    assert loaded.network.architecture.hint and loaded.spec.patch_order == order
    ours, theirs = network.state_dict(), loaded.network.state_dict()
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)
    again = bc.export_published(loaded.network, order)
    assert all(torch.equal(value, again[key]) for key, value in load_file(path).items())


def test_a_loaded_model_folded_and_in_half_precision_heeds_the_hint(network, tmp_path):
    bc.save_model(network, tmp_path / "model.safetensors", spec=SPEC)
    expected = [probe(network), probe(network, HINT)]
    assert not torch.allclose(*expected, atol=1e-3)
    for dtype, tolerance in (("float32", 5e-3), ("bfloat16", 0.1)):
        loaded = bc.load_model(tmp_path / "model.safetensors", device="cpu", dtype=dtype).network
        image = torch.linspace(-2, 2, 3 * 64 * 96).view(1, 3, 64, 96).to(next(loaded.parameters()).dtype)
        with torch.no_grad():
            found = [loaded(image).float(), loaded(image, HINT).float()]
        torch.testing.assert_close(found, expected, atol=tolerance, rtol=0)


def test_a_hinted_model_mattes_without_a_hint_and_inspect_says_what_it_is(network, tmp_path):
    bc.save_model(network, tmp_path / "model.safetensors", spec=SPEC)
    found = bc.inspect(tmp_path / "model.safetensors")
    assert found.hint and found.architecture.hint and "hint         takes one" in str(found)
    assert bc.load_model(tmp_path / "model.safetensors").predict(torch.rand(1, 20, 30, 3)).shape == (1, 20, 30)
    plain = bc.build_network(SMALL).eval()
    bc.save_model(plain, tmp_path / "plain.safetensors", spec=SPEC)
    found = bc.inspect(tmp_path / "plain.safetensors")
    assert not found.hint and "takes one" not in str(found)


def test_without_metadata_the_shapes_tell(network, tmp_path):
    save_file(bc.export_published(network), tmp_path / "someone.safetensors")
    torch.save({f"module.{k}": v for k, v in bc.export_published(network).items()}, tmp_path / "someone.pth")
    for name in ("someone.safetensors", "someone.pth"):
        assert bc.inspect(tmp_path / name).hint
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            loaded = bc.load_model(tmp_path / name, device="cpu", fold=False).network
        torch.testing.assert_close(probe(loaded, HINT), probe(network, HINT), atol=1e-5, rtol=1e-4)


def test_weights_from_before_load_into_a_hinted_network_with_zeros_and_not_the_other_way_round(network):
    torch.manual_seed(1)
    plain = bc.build_network(SMALL).eval()
    hinted = learnt(SMALL)
    bc.load_published(hinted, bc.export_published(plain, "2024"), patch_order="2024")
    assert all(not weight.any() for weight in hint_weights(hinted))
    assert torch.equal(probe(hinted, HINT), probe(plain))
    with pytest.raises(ValueError, match=r"patch_embed1\.proj\.weight .*the network has .*take a hint"):
        bc.load_published(plain, bc.export_published(network))
    five = bc.export_published(network)
    five["bb.patch_embed1.proj.weight"] = torch.zeros(32, 5, 7, 7)
    with pytest.raises(ValueError, match=r"another shape: bb\.patch_embed1\.proj\.weight"):
        bc.load_published(hinted, five)


@pytest.mark.parametrize("channels", [2, 5])
def test_what_is_wrong_with_a_hint_is_said_of_the_key_that_a_file_has(network, channels):
    weights = bc.export_published(network)
    weights["bb.patch_embed1.proj.weight"] = torch.zeros(32, channels, 7, 7)
    message = rf"proj\.weight \(\[32, {channels}, 7, 7\], the network has \[32, 4, 7, 7\]\)$"
    with pytest.raises(ValueError, match=message) as refused:
        bc.load_published(learnt(SMALL), weights)
    assert "missing" not in str(refused.value)
    weights["bb.patch_embed1.proj.weight"] = torch.zeros(32, 4, 7, 7, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"1 of integers: bb\.patch_embed1\.proj\.weight \(torch\.int64\)$"):
        bc.load_published(learnt(SMALL), weights)


def test_weights_that_take_a_hint_are_told_on_a_backbone_of_timm_too():
    architecture = replace(SMALL, backbone="timm:repvgg_a0")
    weights = bc.export_published(bc.build_network(architecture, hint=True))
    with pytest.raises(ValueError, match=r"2 of another shape: .*these weights take a hint"):
        bc.load_published(bc.build_network(architecture), weights)


def test_a_network_without_a_hint_is_written_as_before(tmp_path):
    """So that versions of this suite from before there were hints read it."""
    bc.save_model(bc.build_network(SMALL), tmp_path / "model.safetensors", spec=SPEC)
    written = json.loads(read_metadata(tmp_path / "model.safetensors")["architecture"])
    assert "hint" not in written and bc.Architecture.from_json(json.dumps(written)) == SMALL
    hinted = replace(SMALL, hint=True)
    assert bc.Architecture.from_json(hinted.to_json()) == hinted
    with pytest.raises(ValueError, match="hint 1"):
        bc.Architecture.from_json(json.dumps(written | {"hint": 1}))


def test_a_file_that_says_it_takes_a_hint_and_cannot_is_told(network, tmp_path):
    """Not in silence: another tool may have cut the channel away, or the word may be wrong."""
    weights, path = bc.export_published(network), tmp_path / "model.safetensors"
    save_file(weights, path, {"architecture": SMALL.to_json(), "patch_order": "2025"})
    with pytest.raises(WeightsError, match="take a hint"):
        bc.load_model(path)
    assert read_weights(path)[0]["bb.patch_embed1.proj.weight"].shape[1] == 4


@pytest.mark.parametrize("backbone", ["pvt_v2_b0", "timm:repvgg_a0", "timm:tf_efficientnet_lite0"])
def test_a_model_is_loaded_without_its_hint_by_choice(backbone, tmp_path):
    network = learnt(replace(SMALL, backbone=backbone))
    spec = replace(SPEC, backbone=backbone)
    path = tmp_path / "hinted.safetensors"
    bc.save_model(network, path, spec=spec, dtype=torch.float32)
    told, plain = (bc.load_model(path, device="cpu", fold=False, hint=hint) for hint in (True, False))
    assert told.takes_hint and not plain.takes_hint and not hint_weights(plain.network)
    image, hint = torch.rand(1, 3, 64, 96), torch.rand(1, 1, 64, 96)
    assert torch.equal(told.network(image), plain.network(image))
    with pytest.raises(ValueError, match="takes no hint"):
        plain.network(image, hint)
    bc.save_model(plain.network, tmp_path / "plain.safetensors", spec=spec)
    assert not bc.inspect(tmp_path / "plain.safetensors").hint


def test_the_bundled_model_without_its_hint_and_made_into_a_hinted_one_mattes_to_the_last_bit_as_it_did(
    tmp_path, one_thread
):
    found, plain = bc.inspect(BUNDLED), bc.load_model("bundled", device="cpu", dtype="float32", hint=False, fold=False)
    assert not plain.takes_hint and not hint_weights(plain.network)
    hinted = bc.build_network(found.architecture, hint=True).eval()
    bc.load_published(hinted, bc.export_published(plain.network), found.patch_order)
    assert not any(weight.any() for weight in hint_weights(hinted))
    bc.save_model(hinted, tmp_path / "hinted.safetensors", spec=found.spec)
    bc.save_model(plain.network, tmp_path / "plain.safetensors", spec=found.spec)
    assert not bc.inspect(tmp_path / "plain.safetensors").hint
    plain = bc.load_model(tmp_path / "plain.safetensors", device="cpu", dtype="float32")
    ours = bc.load_model(tmp_path / "hinted.safetensors", device="cpu", dtype="float32")
    assert ours.spec == plain.spec
    images = torch.rand(1, 70, 90, 3)
    for mode in ("whole", "locate"):
        assert torch.equal(ours.predict(images, 128, mode=mode), plain.predict(images, 128, mode=mode))
    as_shipped = bc.load_model("bundled", device="cpu", dtype="float32")
    assert torch.equal(as_shipped.predict(images, 128), plain.predict(images, 128))
