"""Loading, recognising, saving: real files of every kind a user may pick."""

import json
import re
import threading
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import birefnet_core as bc
from birefnet_core.device import pick_device
from birefnet_core.precision import pick_dtype
from birefnet_core.weights import inspection
from birefnet_core.weights.catalog import ModelSpec
from birefnet_core.weights.files import WeightsError, read_weights
from birefnet_core.weights.places import BUNDLED, locate
from birefnet_core.weights.recognise import recognise

SMALL = bc.Architecture("pvt_v2_b0", block_channels=16, branch_channels=16, inward_channels=8)
SPEC = ModelSpec("small", "pvt_v2_b0", (96, 64), task="matting", licence="MIT", source="a test", note="small")
BACKBONES = [
    *("swin_v1_l", "swin_v1_b", "swin_v1_s", "swin_v1_t", "pvt_v2_b0", "pvt_v2_b1", "pvt_v2_b2", "pvt_v2_b5"),
    *("resnet50", "vgg16bn", "dino_v3_s"),
]


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return bc.build_network(SMALL).eval()


@pytest.fixture
def saved(network, tmp_path):
    path = tmp_path / "small.safetensors"
    bc.save_model(network, path, spec=SPEC, dtype=torch.float32, extra={"trained_with": "nothing"})
    return path


def probe(model):
    with torch.no_grad():
        return model.network(torch.linspace(-2, 2, 3 * 64 * 96).view(1, 3, 64, 96))


def test_what_is_saved_loads_and_gives_the_same_logits(network, saved):
    model = bc.load_model(saved, device="cpu", dtype="float32")
    assert model.spec == replace(SPEC, patch_order="2025")
    with torch.no_grad():
        expected = network(torch.linspace(-2, 2, 3 * 64 * 96).view(1, 3, 64, 96))
    torch.testing.assert_close(probe(model), expected, atol=1e-5, rtol=1e-4)
    assert not any(p.requires_grad for p in model.network.parameters())
    assert model.predict(torch.rand(1, 20, 30, 3)).shape == (1, 20, 30)


@pytest.mark.parametrize("backbone", ["swin_v1_t", "resnet50", "dino_v3_s", "timm:mobilenetv3_small_050"])
def test_nothing_of_a_loaded_network_is_left_to_chance(backbone, tmp_path):
    network = bc.build_network(replace(SMALL, backbone=backbone)).eval()
    bc.save_model(network, tmp_path / "model.safetensors", spec=SPEC, dtype=torch.float32)
    loaded = bc.load_model(tmp_path / "model.safetensors", device="cpu", fold=False).network
    for kind in ("named_parameters", "named_buffers"):  # buffers that no file holds, too
        expected, found = dict(getattr(network, kind)()), dict(getattr(loaded, kind)())
        assert expected.keys() == found.keys()
        assert [name for name in expected if not torch.equal(expected[name], found[name])] == []


@pytest.mark.parametrize("order", ["2024", "2025"])
def test_either_patch_order_on_disk_gives_the_same_model(network, tmp_path, order):
    path = tmp_path / f"{order}.safetensors"
    bc.save_model(network, path, spec=replace(SPEC, patch_order=order), dtype=torch.float32)
    found = bc.inspect(path)
    assert (found.spec.patch_order, found.patch_order_reason) == (order, "the file's own metadata")
    bc.save_model(network, tmp_path / "canonical.safetensors", spec=SPEC, dtype=torch.float32)
    torch.testing.assert_close(
        probe(bc.load_model(path)), probe(bc.load_model(tmp_path / "canonical.safetensors")), atol=1e-6, rtol=1e-6
    )
    disk, canonical = load_file(path), load_file(tmp_path / "canonical.safetensors")
    key = "decoder.ipt_blk4.conv1.weight"
    assert torch.equal(disk[key], canonical[key]) == (order == "2025")


def test_weights_are_saved_as_numbers_with_a_point_alone(network, tmp_path):
    with pytest.raises(ValueError, match=r"weights are saved as torch\.float16, .*, not torch\.int8"):
        bc.save_model(network, tmp_path / "x.safetensors", spec=SPEC, dtype=torch.int8)
    assert not list(tmp_path.iterdir())


def test_an_argument_overrules_metadata_and_the_answer_says_so(saved):
    found = bc.inspect(saved, patch_order="2024")
    assert (found.spec.patch_order, found.patch_order_reason) == ("2024", "as asked")
    assert not torch.allclose(probe(bc.load_model(saved, patch_order="2024")), probe(bc.load_model(saved)))


def test_the_table_decides_for_a_published_file(reference, tmp_path):
    keys = reference("swin_v1_t").manifest
    path = tmp_path / "BiRefNet_lite.safetensors"
    save_file({k: torch.zeros(s, dtype=torch.float16) for k, (s, d) in keys.items() if d == "float32"}, path)
    found = bc.inspect(path)
    assert found.spec.name == "BiRefNet_lite"
    assert (found.backbone, found.size, found.patch_order) == ("swin_v1_t", (1024, 1024), "2024")
    assert found.patch_order_reason == "table of published models, BiRefNet_lite"
    assert found.dtype == "float16"
    assert "table of published models" in str(found)


@pytest.mark.parametrize(
    ("file", "name", "size"),
    [
        ("models/BiRefNet/General-Lite-2K.safetensors", "BiRefNet_lite-2K", (2560, 1440)),
        ("BiRefNet_lite-2K/model.safetensors", "BiRefNet_lite-2K", (2560, 1440)),
        ("models--ZhengPeng7--BiRefNet_lite-2K/snapshots/9a/model.safetensors", "BiRefNet_lite-2K", (2560, 1440)),
        ("General-HR.safetensors", "General-HR", (1024, 1024)),  # on swin_v1_l, so this is something else
        ("model.safetensors", "model", (1024, 1024)),
    ],
)
def test_a_published_file_is_known_under_the_names_of_other_packs(reference, tmp_path, file, name, size):
    """So that it runs at the size it was trained for; whose it really is, and so its patch order, nobody knows."""
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    keys = reference("swin_v1_t").manifest
    save_file({k: torch.zeros(s, dtype=torch.float16) for k, (s, d) in keys.items() if d == "float32"}, path)
    found = bc.inspect(path)
    assert (found.spec.name, found.size) == (name, size)
    assert found.patch_order_reason.startswith("undecided")


def test_weights_that_contradict_the_table_are_told():
    """The bundled weights, which are as surely 2025 as can be, under the name of a model of 2024."""
    weights = read_weights(BUNDLED)[0]
    spec = ModelSpec("BiRefNet", "timm:tf_efficientnet_lite0", (416, 416), patch_order="2024")
    order, reason = inspection._decide_patch_order(weights, {}, spec, "auto", "")
    assert order == "2024" and re.search(
        r"but the weights look like 2025, \d\d standard errors; give the other", reason
    )
    assert inspection._decide_patch_order(weights, {}, replace(spec, patch_order="2025"), "auto", "")[1].endswith(
        "BiRefNet"
    )


def test_undecided_weights_mean_2025_with_a_warning(network, tmp_path):
    path = tmp_path / "someone.safetensors"
    save_file(bc.export_published(network), path)
    with pytest.warns(UserWarning, match="undecided"):
        model = bc.load_model(path)
    assert model.spec.patch_order == "2025"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bc.load_model(path, patch_order="2025")


@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_published_layout_is_recognised_from_its_keys(backbone, reference):
    keys = reference(backbone).manifest
    weights = {key: torch.empty(shape, device="meta") for key, (shape, _) in keys.items()}
    assert recognise(weights) == bc.Architecture(backbone)
    weights["cls_head.0.weight"] = torch.empty(219, 1, device="meta")
    assert recognise(weights).classes == 219


@pytest.mark.parametrize("size", ["s", "s_plus", "b", "l", "h_plus", "7b"])
def test_every_size_of_dino_v3_is_recognised_from_its_keys(size):
    architecture = bc.Architecture(f"dino_v3_{size}")
    with torch.device("meta"):
        weights = bc.export_published(bc.build_network(architecture))
    assert recognise(weights) == architecture


@pytest.mark.parametrize(
    "changes",
    [
        {"image_pyramid": False},
        {"context_fusion": False},
        {"outward_reference": False},
        {"multi_stage_supervision": False},
        {"inward_reference": False},
    ],
)
def test_ablations_are_recognised_from_their_keys(changes):
    architecture = replace(SMALL, **changes)
    found = recognise(bc.export_published(bc.build_network(architecture)))
    assert replace(found, inward_channels=architecture.inward_channels) == architecture


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
@pytest.mark.parametrize("container", [None, "state_dict", "model"])
def test_training_checkpoints_load_whatever_wraps_their_keys(network, tmp_path, prefix, container):
    weights = {prefix + key: value for key, value in bc.export_published(network).items()}
    path = tmp_path / "wrapped.pth"
    torch.save({container: weights, "epoch": 3} if container else weights, path)
    model = bc.load_model(path, patch_order="2025")
    torch.testing.assert_close(
        probe(model), network(torch.linspace(-2, 2, 3 * 64 * 96).view(1, 3, 64, 96)), atol=1e-5, rtol=1e-4
    )


def test_recomputed_buffers_may_be_absent_but_nothing_else(network):
    weights = {k: v for k, v in bc.export_published(network).items() if not k.endswith("num_batches_tracked")}
    fresh = bc.build_network(SMALL)
    bc.load_published(fresh, weights)
    weights["extra.weight"] = torch.zeros(1)
    del weights["decoder.conv_out1.0.bias"]
    weights["decoder.ipt_blk1.conv1.bias"] = torch.zeros(3)
    with pytest.raises(ValueError) as error:
        bc.load_published(fresh, weights)
    for part in (
        "pvt_v2_b0",
        "1 missing: decoder.conv_out1.0.bias",
        "1 unexpected: extra.weight",
        "decoder.ipt_blk1.conv1.bias ([3]",
    ):
        assert part in str(error.value)


def test_a_loaded_network_is_exported_again_unless_it_is_folded(saved):
    again = bc.export_published(bc.load_model(saved, fold=False).network)
    on_disk = load_file(saved)
    assert again.keys() == on_disk.keys()
    assert all(torch.equal(again[key], on_disk[key]) for key in again)
    folded = bc.load_model(saved).network
    with pytest.raises(ValueError, match=r"folded .* fold=False"):
        bc.export_published(folded)
    with pytest.raises(ValueError, match=r"folded .* build_network"):
        bc.load_published(folded, again)


def test_wrapped_keys_load_into_a_network_directly(network):
    fresh = bc.build_network(SMALL)
    bc.load_published(fresh, {f"module.{key}": value for key, value in bc.export_published(network).items()})
    assert all(torch.equal(a, b) for a, b in zip(fresh.state_dict().values(), network.state_dict().values()))


@pytest.mark.parametrize(
    "architecture",
    [
        *("BiRefNet", "[]", '{"a": 1}', '{"backbone": "pvt_v2_b0", "depth": 3}'),
        *('{"backbone": "pvt_v2_b0", "block_channels": "16"}', '{"backbone": "pvt_v2_b0", "block_channels": -16}'),
        '{"backbone": "pvt_v2_b0", "context_fusion": 1}',
    ],
)
def test_metadata_of_other_tools_does_not_stand_in_the_way(network, tmp_path, architecture):
    path = tmp_path / "theirs.safetensors"
    save_file(bc.export_published(network), path, {"architecture": architecture})
    assert bc.inspect(path).architecture == SMALL


def test_our_own_metadata_of_a_newer_version_is_not_passed_over(network, tmp_path):
    path = tmp_path / "newer.safetensors"
    newer = SMALL.to_json().replace("{", '{"depth": 3, ', 1)
    bc.save_model(network, path, spec=SPEC, extra={"architecture": newer})
    assert "fields this version does not know: depth" in sentence(path)


def test_what_half_precision_cannot_hold_stays_as_it_is(tmp_path):
    """The same function with a convolution, its mean and its variance scaled by 1,000: a variance beyond 65504."""
    torch.manual_seed(0)
    network = bc.build_network(SMALL).eval()
    norm = network.reconstruction.blocks[1].reconstruction.conv_in
    with torch.no_grad():
        norm.conv.weight *= 1000
        norm.conv.bias *= 1000
        norm.norm.running_mean *= 1000
        norm.norm.running_var *= 1e6
    for dtype in (torch.float16, torch.float32):
        bc.save_model(network, tmp_path / f"{dtype}.safetensors", spec=SPEC, dtype=dtype)
    half, full = (bc.load_model(path, device="cpu", dtype="float32") for path in sorted(tmp_path.iterdir()))
    assert all(value.isfinite().all() for value in half.network.state_dict().values())
    torch.testing.assert_close(probe(half), probe(full), atol=0.02, rtol=0.02)
    kinds = {value.dtype for value in load_file(tmp_path / "torch.float16.safetensors").values()}
    assert {torch.float16, torch.float32} <= kinds


def test_an_architecture_beyond_all_measure_is_a_sentence(network, tmp_path):
    path = tmp_path / "huge.safetensors"
    save_file(bc.export_published(network), path, {"architecture": replace(SMALL, block_channels=2**60).to_json()})
    assert sentence(path)


@pytest.mark.parametrize(
    ("entry", "value"),
    [
        *(("size", value) for value in ("1024", "axb", "0x0", "1024x0")),
        *(("mean", value) for value in ("a,b", "nan,0,0", "0,inf,0")),
        *(("std", value) for value in ("0.5", "0,0,0", "1,-1,1", "nan,1,1")),
    ],
)
def test_damaged_metadata_of_ours_is_named(network, tmp_path, entry, value):
    path = tmp_path / "ours.safetensors"
    bc.save_model(network, path, spec=SPEC, extra={entry: value})
    assert f"its metadata says {entry} '{value}'" in sentence(path)


def test_a_patch_order_that_is_none_is_not_believed(network, tmp_path):
    path = tmp_path / "ours.safetensors"
    bc.save_model(network, path, spec=SPEC, extra={"patch_order": "2023"})
    assert bc.inspect(path).patch_order_reason.startswith("undecided")


def test_native_file_names_are_not_taken_for_published_ones(reference, tmp_path):
    weights = {k: torch.zeros(s) for k, (s, d) in reference("swin_v1_t").manifest.items() if d == "float32"}
    save_file(weights, tmp_path / "birefnet_LITE.safetensors")
    assert bc.inspect(tmp_path / "birefnet_LITE.safetensors").patch_order_reason.startswith("undecided")


def sentence(path):
    """What inspect says of a file that load_model refuses; both must name the same problem, in one line."""
    problem = bc.inspect(path).problem
    assert problem and "\n" not in problem
    with pytest.raises(WeightsError, match=re.escape(problem)) as error:
        bc.load_model(path)
    assert str(path) in str(error.value)
    return problem


def test_integers_are_no_weights(network, tmp_path):
    weights = {key: (value * 100).to(torch.int8) for key, value in bc.export_published(network).items()}
    save_file(weights, tmp_path / "quantised.safetensors")
    assert "of integers: " in sentence(tmp_path / "quantised.safetensors")


def test_counters_in_half_precision_do_no_harm(network, tmp_path):
    """As a script leaves them that casts all of a state dict."""
    weights = {key: value.half() for key, value in bc.export_published(network).items()}
    assert any(key.endswith("num_batches_tracked") for key in weights)
    save_file(weights, tmp_path / "half.safetensors")
    assert not bc.inspect(tmp_path / "half.safetensors").problem


def test_files_that_are_no_model_are_refused_in_one_sentence(network, saved, tmp_path):
    def tensors(name, weights):
        path = tmp_path / name
        save_file(weights, path)
        return path

    half = tmp_path / "half.safetensors"
    half.write_bytes(saved.read_bytes()[: saved.stat().st_size // 2])
    assert "not a whole safetensors file" in sentence(half)
    (tmp_path / "empty.safetensors").write_bytes(b"")
    assert "not a whole safetensors file" in sentence(tmp_path / "empty.safetensors")
    (tmp_path / "text.pth").write_text("<html>404</html>")
    assert "perhaps a saved web page" in sentence(tmp_path / "text.pth")
    (tmp_path / "empty.pth").write_bytes(b"")
    assert "neither safetensors nor a PyTorch file" in sentence(tmp_path / "empty.pth")
    (tmp_path / "pickle.pth").write_bytes(b"\x80\x02}q")
    assert "not a whole PyTorch file" in sentence(tmp_path / "pickle.pth")
    torch.save({1: torch.zeros(1)}, tmp_path / "numbers.pth")
    assert "holds no state dict" in sentence(tmp_path / "numbers.pth")
    torch.save(bc.export_published(network), tmp_path / "cut.pth")
    (tmp_path / "cut.pth").write_bytes((tmp_path / "cut.pth").read_bytes()[:10_000])
    assert "not a whole PyTorch file" in sentence(tmp_path / "cut.pth")
    torch.save({"model": threading.Lock}, tmp_path / "code.pth")
    assert "could run any code in it" in sentence(tmp_path / "code.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    assert "holds no state dict" in sentence(tmp_path / "list.pth")

    backbone = {
        "patch_embed.proj.weight": torch.zeros(96, 3, 4, 4),
        "layers.0.blocks.0.attn.relative_position_bias_table": torch.zeros(1),
    }
    assert "only a backbone" in sentence(tensors("swin.safetensors", backbone))
    older = bc.export_published(network)
    older = {key: value for key, value in older.items() if "ipt_blk5" not in key and "gdt_convs_4" not in key}
    assert "older BiRefNet architecture" in sentence(tensors("ep480.safetensors", older))
    u2net = {"stage1.rebnconvin.conv_s1.weight": torch.zeros(1)}
    assert "U2Net" in sentence(tensors("u2net.safetensors", u2net))
    assert "holds no tensors" in sentence(tensors("none.safetensors", {}))
    assert "not a BiRefNet in the published layout" in sentence(tensors("other.safetensors", {"a.b": torch.zeros(1)}))
    lost = bc.export_published(network)
    del lost["decoder.conv_out1.0.bias"]
    save_file(lost, tmp_path / "lost.safetensors")
    assert "1 missing: decoder.conv_out1.0.bias" in sentence(tmp_path / "lost.safetensors")
    torn = bc.export_published(network)
    torn["decoder.ipt_blk4.conv1.weight"] = torch.zeros(8, 767, 3, 3)
    assert "1 of another shape: decoder.ipt_blk4.conv1.weight" in sentence(tensors("torn.safetensors", torn))
    with pytest.raises(WeightsError, match="there is no such file"):
        bc.load_model(tmp_path / "absent.safetensors")
    with pytest.raises(WeightsError, match="this is a folder"):
        read_weights(tmp_path)
    with pytest.raises(WeightsError, match="this is no file that could be read"):
        bc.load_model(Path("/dev/null"))


def test_writing_is_all_or_nothing(network, tmp_path, monkeypatch):
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"the old one")

    def fails(*_):
        raise OSError("no space left")

    monkeypatch.setattr("os.replace", fails)
    with pytest.raises(OSError, match="no space left"):
        bc.save_model(network, path, spec=SPEC)
    assert path.read_bytes() == b"the old one"
    assert [file.name for file in tmp_path.iterdir()] == ["model.safetensors"]


def test_a_published_name_is_looked_for_on_disk_first(tmp_path):
    there = tmp_path / "BiRefNet-portrait.safetensors"
    there.write_bytes(b"")
    assert locate("BiRefNet-portrait", tmp_path) == there
    with pytest.raises(ValueError, match="Did you mean"):
        locate("BiRefNet-portrayt", tmp_path)


def test_a_folder_of_a_models_name_is_not_taken_for_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "BiRefNet_lite").mkdir()
    (tmp_path / "BiRefNet_lite.safetensors").write_bytes(b"")
    assert locate("BiRefNet_lite", tmp_path) == tmp_path / "BiRefNet_lite.safetensors"


def test_devices_and_precisions():
    assert pick_device("cpu") == torch.device("cpu")
    absent = "cuda" if not torch.cuda.is_available() else "mps"
    for device in ("toaster", absent, "cuda:99", "meta"):
        with pytest.raises(ValueError, match=f"device '{device}' cannot be used here: .") as error:
            pick_device(device)
        assert "\n" not in str(error.value) and len(str(error.value)) < 300
    assert pick_dtype("auto", torch.device("cpu")) == torch.float32
    assert pick_dtype("auto", torch.device("cuda")) == torch.float16
    assert pick_dtype(torch.bfloat16, torch.device("cpu")) == torch.bfloat16
    with pytest.raises(ValueError, match="dtype must be auto, float32, float16, bfloat16, got 'int8'"):
        pick_dtype("int8", torch.device("cpu"))


def test_metadata_is_what_other_tools_can_read(saved):
    from safetensors import safe_open

    with safe_open(saved, "pt") as file:
        metadata = file.metadata()
    assert json.loads(metadata["architecture"])["backbone"] == "pvt_v2_b0"
    assert metadata["size"] == "96x64"
    assert metadata["trained_with"] == "nothing"


@pytest.mark.parametrize("name", [None, 3, ["bundled"]])
def test_what_is_neither_a_name_nor_a_path_is_named(name):
    with pytest.raises(ValueError, match=re.escape(f"the path of a file, not {name!r}")):
        bc.load_model(name)
