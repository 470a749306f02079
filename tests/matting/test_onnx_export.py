"""A model as ONNX: what onnxruntime makes of the file, beside our network on the same input."""

import importlib.util
import json

import numpy as np
import pytest
import torch

from birefnet_core.matting import MattingModel
from birefnet_core.matting.onnx_export import export_onnx
from birefnet_core.network import build_network
from birefnet_core.network.deformable import DeformableConv2d
from birefnet_core.weights.catalog import ModelSpec
from birefnet_core.weights.published import load_published

ABSENT = [name for name in ("onnx", "onnxscript", "onnxruntime") if importlib.util.find_spec(name) is None]
exports = pytest.mark.skipif(bool(ABSENT), reason=f"not installed here: {', '.join(ABSENT)}")
BACKBONES = [
    *("swin_v1_l", "swin_v1_b", "swin_v1_s", "swin_v1_t", "pvt_v2_b0", "pvt_v2_b1", "pvt_v2_b2", "pvt_v2_b5"),
    *("resnet50", "vgg16bn", "dino_v3_s"),
]
SPEC = ModelSpec("narrow", "timm:test_efficientnet", (96, 64), mean=(0.4, 0.5, 0.6), patch_order="2025", licence="MIT")


@torch.no_grad()
def network(**changes):
    """A narrow network whose deformable convolutions look a pixel or two away."""
    torch.manual_seed(0)
    widths = {"block_channels": 8, "branch_channels": 16, "inward_channels": 8}
    built = build_network("timm:test_efficientnet", **widths, **changes).eval()
    for module in built.modules():
        if isinstance(module, DeformableConv2d):
            module.offset.weight.normal_(std=0.3)
            module.modulator.weight.normal_(std=0.3)
        if changes.get("hint") and hasattr(module, "picture"):
            module.hint.weight.normal_(std=0.3)
    return built.requires_grad_(False).fold_batch_norm_()


@pytest.fixture(scope="module")
def ours():
    return network()


def session(path):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def difference(runs, ours, shape, *hints):
    """The largest difference of logits, on one picture."""
    image = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    feed = dict(zip([each.name for each in runs.get_inputs()], [image.numpy(), *(hint.numpy() for hint in hints)]))
    with torch.no_grad():
        return np.abs(runs.run(None, feed)[0] - ours(image, *hints).numpy()).max()


@exports
def test_one_size_any_batch_and_what_the_file_says(ours, tmp_path):
    path = tmp_path / "narrow.onnx"
    files = export_onnx(ours, SPEC, path, one_file=0)
    assert [file.name for file in files] == ["narrow.onnx", "narrow.json", "narrow.onnx.data"]
    assert sorted(tmp_path.iterdir()) == sorted(files)
    assert path.stat().st_size < 2**20 < files[2].stat().st_size  # the weights lie apart
    runs = session(path)
    for batch in (1, 3):
        assert difference(runs, ours, (batch, 3, 64, 96)) < 1e-4
    said = runs.get_modelmeta().custom_metadata_map
    beside = json.loads(files[1].read_text())
    assert json.loads(said["mean"]) == beside["mean"] == [0.4, 0.5, 0.6]
    assert json.loads(said["std"]) == [0.229, 0.224, 0.225]
    assert json.loads(said["size"]) == beside["size"] == [96, 64]
    assert (said["licence"], said["patch_order"], said["name"]) == ("MIT", "2025", "narrow")
    assert beside["files"] == ["narrow.onnx", "narrow.onnx.data"]
    assert list(beside["inputs"]) == ["input_image"]
    assert list(beside["outputs"]) == ["output_image"]


def operators(path):
    import onnx

    return {node.op_type for node in onnx.load(path).graph.node}


@exports
def test_any_size_and_batch(ours, tmp_path):
    export_onnx(ours, SPEC, tmp_path / "any.onnx", dynamic=True, opset=19)
    assert "DeformConv" in operators(tmp_path / "any.onnx")
    runs = session(tmp_path / "any.onnx")
    for shape in ((1, 3, 64, 96), (2, 3, 96, 64), (1, 3, 160, 224)):
        assert difference(runs, ours, shape) < 1e-3, shape


@exports
def test_decomposed_for_runtimes_without_deformable_convolution(ours, tmp_path):
    export_onnx(ours, SPEC, tmp_path / "plain.onnx", decompose=True, opset=18)
    assert "GridSample" in operators(tmp_path / "plain.onnx")
    assert "DeformConv" not in operators(tmp_path / "plain.onnx")
    assert difference(session(tmp_path / "plain.onnx"), ours, (2, 3, 64, 96)) < 1e-3


@exports
def test_half_precision_holds_weights_in_half_and_is_close(ours, tmp_path):
    import onnx

    export_onnx(ours, SPEC, tmp_path / "half.onnx", dtype="float16")
    large = [each for each in onnx.load(tmp_path / "half.onnx").graph.initializer if np.prod(each.dims) > 10_000]
    assert large
    assert {each.data_type for each in large} == {onnx.TensorProto.FLOAT16}
    assert difference(session(tmp_path / "half.onnx"), ours, (1, 3, 64, 96)) < 1e-2
    assert next(ours.parameters()).dtype == torch.float32


@exports
@pytest.mark.parametrize("uint8", [False, True])
def test_with_preprocessing_pictures_of_any_size_become_the_alpha_of_predict(ours, tmp_path, uint8):
    export_onnx(ours, SPEC, tmp_path / "whole.onnx", preprocessing=True, uint8=uint8)
    runs = session(tmp_path / "whole.onnx")
    for count, height, width in ((1, 150, 201), (2, 40, 50)):
        images = torch.randint(0, 256, (count, height, width, 3), dtype=torch.uint8)
        images = images if uint8 else images / 255
        (alpha,) = runs.run(["alpha"], {"image": images.movedim(-1, 1).contiguous().numpy()})
        expected = MattingModel(ours, SPEC).predict(images, edges="off").numpy()
        assert expected.std() > 1e-3
        assert np.abs(alpha[:, 0] - expected).max() < 1e-4


@exports
def test_a_hint_is_a_second_input(tmp_path):
    hinted = network(hint=True)
    export_onnx(hinted, SPEC, tmp_path / "hinted.onnx")
    runs = session(tmp_path / "hinted.onnx")
    assert [each.name for each in runs.get_inputs()] == ["input_image", "hint"]
    hint = torch.rand(2, 1, 64, 96)
    assert difference(runs, hinted, (2, 3, 64, 96), hint) < 1e-4
    image, nothing = torch.randn(1, 3, 64, 96), torch.full((1, 1, 64, 96), 0.5)
    (without,) = runs.run(None, {"input_image": image.numpy(), "hint": nothing.numpy()})
    assert np.abs(without - hinted(image).numpy()).max() < 1e-4
    assert np.abs(hinted(image).numpy() - hinted(image, hint[:1]).numpy()).max() > 1e-3


@exports
def test_without_its_hint_a_model_is_as_any_other(tmp_path):
    hinted = network(hint=True)
    _, note, *_ = export_onnx(hinted, SPEC, tmp_path / "plain.onnx", hint=False)
    runs = session(tmp_path / "plain.onnx")
    assert [each.name for each in runs.get_inputs()] == ["input_image"]
    assert difference(runs, hinted, (2, 3, 64, 96)) < 1e-4
    assert "hint" not in json.loads(note.read_text())["inputs"]


@exports
@pytest.mark.slow
@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_published_backbone_gives_the_references_logits(backbone, reference, tmp_path):
    reference = reference(backbone)
    built = build_network(backbone)
    load_published(built, reference.weights())
    image = reference.image(0)
    size = (image.shape[3], image.shape[2])
    export_onnx(built.eval().fold_batch_norm_(), ModelSpec(backbone, backbone, size), tmp_path / "model.onnx")
    (logits,) = session(tmp_path / "model.onnx").run(None, {"input_image": image.numpy()})
    assert np.abs(logits - reference["eval0"].numpy()).max() < 1e-3


@exports
def test_what_cannot_be_written_leaves_nothing(ours, tmp_path):
    (tmp_path / "narrow.onnx.data").mkdir()  # where the weights are to go
    with pytest.raises(OSError, match=r"narrow\.onnx\.data"):
        export_onnx(ours, SPEC, tmp_path / "narrow.onnx", one_file=0)
    assert [path.name for path in tmp_path.iterdir()] == ["narrow.onnx.data"]


@exports
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"size": 100}, r"multiples of 32 .* got 100 x 100"),
        ({"size": 0}, "positive integer"),
        ({"size": 64, "dynamic": True}, "either, not both"),
        ({"dtype": "bfloat16"}, "float32 or float16"),
        ({"uint8": True}, "need the preprocessing"),
        ({"opset": 18}, "at least 19"),
        ({"opset": 17, "decompose": True}, "at least 18"),
    ],
)
def test_what_does_not_go_together_is_one_sentence(ours, tmp_path, options, said):
    with pytest.raises(ValueError, match=said):
        export_onnx(ours, SPEC, tmp_path / "x.onnx", **options)
    assert not list(tmp_path.iterdir())


@exports
def test_a_vision_transformer_has_one_size(tmp_path):
    with torch.device("meta"):
        built = build_network("dino_v3_s").eval()
    with pytest.raises(ValueError, match="dino_v3_s cannot be exported for any size"):
        export_onnx(built, ModelSpec("d", "dino_v3_s", (64, 64)), tmp_path / "x.onnx", dynamic=True)


@pytest.mark.skipif(not {"onnx", "onnxscript"} & set(ABSENT), reason="onnx and onnxscript are installed here")
def test_without_the_packages_it_says_what_to_install(ours, tmp_path):
    with pytest.raises(RuntimeError, match=r"pip install .*onnx"):
        export_onnx(ours, SPEC, tmp_path / "x.onnx")
    assert not list(tmp_path.iterdir())
