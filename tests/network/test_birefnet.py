"""The whole network: input shapes, batches, ablations, odd pixels, precision."""

import itertools
import re

import pytest
import torch

from birefnet_core.network import Architecture, build_network
from birefnet_core.network.backbones import find_backbone
from birefnet_core.network.birefnet import check_input

SMALL = {"backbone": "pvt_v2_b0", "block_channels": 16, "branch_channels": 16, "inward_channels": 8}


def small(**changes):
    torch.manual_seed(0)
    return build_network(Architecture(**SMALL), **changes)


@pytest.mark.parametrize("size", [(32, 32), (64, 32), (96, 160)])
@pytest.mark.parametrize("backbone", ["swin_v1_t", "resnet50", "dino_v3_s", "timm:tf_efficientnet_lite0"])
@torch.no_grad()
def test_any_multiple_of_32_in_any_batch(size, backbone):
    network = small(backbone=backbone).eval()
    x = torch.randn(3, 3, *size)
    logits = network(x)
    assert logits.shape == (3, 1, *size)
    torch.testing.assert_close(logits[1:2], network(x[1:2]), atol=1e-4, rtol=1e-4)


def test_other_sizes_say_what_to_pad_to():
    network = small().eval()
    with pytest.raises(ValueError, match=r"got 100 x 64 .* pad or resize to 128 x 64"):
        network(torch.zeros(1, 3, 100, 64))
    with pytest.raises(ValueError, match=r"at least 64\).* pad or resize to 64 x 64"):
        network(torch.zeros(1, 3, 32, 0))
    with pytest.raises(ValueError, match=r"\[N,3,H,W\], got \[1, 4, 64, 64\]"):
        network(torch.zeros(1, 4, 64, 64))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("backbone", ["pvt_v2_b0", "swin_v1_t", "timm:tf_efficientnet_lite0"])
@torch.no_grad()
def test_pixels_that_are_no_numbers_do_not_crash(value, backbone):
    network = small(backbone=backbone).eval()
    x = torch.zeros(2, 3, 64, 64)
    x[0, :, 10:20, 10:20] = value
    logits = network(x)
    assert logits.shape == (2, 1, 64, 64)
    assert torch.isfinite(logits[1]).all(), "one picture's pixels reached another"


@pytest.mark.parametrize(
    "switch",
    [
        "image_pyramid",
        "context_fusion",
        "reconstruction",
        "inward_reference",
        "outward_reference",
        "multi_stage_supervision",
    ],
)
def test_every_part_of_the_paper_can_be_switched_off_and_still_learns(switch):
    network = small(**{switch: False})
    whole = small()
    assert sum(p.numel() for p in network.parameters()) != sum(p.numel() for p in whole.parameters())
    output = network(torch.randn(2, 3, 64, 64))
    assert len(output.side_outputs) == (1 if switch == "multi_stage_supervision" else 4)
    assert (
        len(output.gradient_predictions) == len(output.gradient_labels) == (0 if switch == "outward_reference" else 3)
    )
    loss = sum(
        map(torch.mean, itertools.chain(output.side_outputs, output.gradient_predictions, output.gradient_labels))
    )
    loss.backward()
    silent = [name for name, p in network.named_parameters() if p.grad is None]
    assert not silent, f"parameters that nothing trains: {silent}"
    assert network.eval()(torch.randn(1, 3, 96, 64)).shape == (1, 1, 96, 64)


def test_the_class_head_answers_in_training_only():
    network = small(classes=219)
    assert network(torch.randn(2, 3, 64, 64)).class_logits.shape == (2, 219)
    assert isinstance(network.eval()(torch.randn(1, 3, 64, 64)), torch.Tensor)


def test_training_and_evaluation_compute_the_same_matte():
    network = small(dropout=0.0).train()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
    x = torch.randn(1, 3, 96, 64)
    trained = network(x).side_outputs[-1]
    torch.testing.assert_close(network.eval()(x), trained, atol=1e-5, rtol=1e-5)


NAMES = ("resnet18", "mobilenetv3_small_050", "convnext_atto", "densenet121", "swin_tiny_patch4_window7_224")


@pytest.mark.parametrize("name", [*NAMES, "mambaout_femto"])
@torch.no_grad()
def test_four_level_timm_models_are_backbones(name):
    network = small(backbone=f"timm:{name}").eval()
    x = torch.randn(1, 3, 64, 96)
    levels = network.localization.backbone(x)
    channels = [c // 2 for c in network.localization.encoder_channels]
    assert [list(level.shape) for level in levels] == [
        [1, c, 64 // s, 96 // s] for c, s in zip(channels, (4, 8, 16, 32))
    ]
    assert network(x).shape == (1, 1, 64, 96)


def test_unknown_backbones_are_named():
    with pytest.raises(ValueError, match="unknown backbone 'swin_v9': use one of swin_v1_t"):
        build_network("swin_v9")
    with pytest.raises(ValueError, match=r"efficientformerv2_s0 takes pictures of one size alone"):
        build_network("timm:efficientformerv2_s0")
    with pytest.raises(ValueError, match=r"timm has no model 'resnet51'"):
        build_network("timm:resnet51")
    with pytest.raises(ValueError, match=r"levels at strides .*; BiRefNet needs 4, 8, 16 and 32"):
        build_network("timm:vit_tiny_patch16_224")


def test_architecture_survives_json():
    architecture = Architecture(**SMALL, classes=3, context_fusion=False)
    assert Architecture.from_json(architecture.to_json()) == architecture
    with pytest.raises(ValueError, match="does not know: depth"):
        Architecture.from_json('{"backbone": "swin_v1_t", "depth": 3}')


@pytest.mark.parametrize("field, value", [("classes", -1), ("hint", 1), ("block_channels", 16.0), ("dropout", -0.5)])
def test_what_is_no_architecture_is_named(field, value):
    for make in (Architecture, build_network):
        with pytest.raises(ValueError, match=re.escape(f"architecture has {field} {value!r}")):
            make(**{field: value})


def test_a_network_of_nothing_is_named():
    with pytest.raises(ValueError, match="architecture has backbone None"):
        build_network(None)


@pytest.mark.parametrize(
    ("name", "sides"), [("maxvit_tiny_tf_224", (448, 448)), ("resnet18", (32, 32)), ("convnext_atto", (64, 32))]
)
def test_encoders_say_what_sides_they_take_at_half_size_too(name, sides):
    backbone = find_backbone(f"timm:{name}")
    assert (backbone.smallest, backbone.multiple) == sides


def test_sides_that_an_encoder_does_not_take_are_refused():
    with pytest.raises(
        ValueError, match=r"multiples of 64 \(for this backbone at least 64\), got 96 x 64 .* to 128 x 64"
    ):
        check_input(torch.zeros(1, 3, 96, 64), 64, 64)
