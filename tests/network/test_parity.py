"""Logits, side outputs and gradients equal the reference's for every published backbone."""

import pytest
import torch
from torch import nn

from birefnet_core.network import build_network
from birefnet_core.weights.published import export_published, load_published, published_key

PARAMETERS = {
    "swin_v1_l": 220_176_498,
    "swin_v1_b": 106_228_790,
    "swin_v1_s": 65_631_624,
    "swin_v1_t": 44_313_720,
    "pvt_v2_b0": 15_774_310,
    "pvt_v2_b1": 28_311_822,
    "pvt_v2_b2": 39_665_678,
    "pvt_v2_b5": 96_258_830,
    "resnet50": 54_798_334,
    "vgg16bn": 32_003_838,
    "dino_v3_s": 47_361_534,
}


def names(network):
    """Our key and the published one of every tensor."""
    return [(key, published_key(key, network.architecture.backbone)) for key in network.state_dict()]


def close(actual, expected):
    torch.testing.assert_close(actual, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("backbone", PARAMETERS)
@torch.no_grad()
def test_backbone_equals_the_reference(backbone, reference):
    reference = reference(backbone)
    weights = reference.weights()
    network = build_network(backbone)
    load_published(network, weights)
    assert sum(p.numel() for p in network.parameters()) == PARAMETERS[backbone]
    exported = export_published(network)
    assert {k: [list(v.shape), str(v.dtype).removeprefix("torch.")] for k, v in exported.items()} == reference.manifest
    assert all(torch.equal(exported[key], weights[key]) for key in weights)
    load_published(network, export_published(network, patch_order="2024"), patch_order="2024")
    again = network.state_dict()
    assert all(torch.equal(again[ours], weights[theirs]) for ours, theirs in names(network) if theirs in weights)

    network.train()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d | nn.Dropout):
            module.eval()
    output = network(reference.image(0))
    for i in range(4):
        close(output.side_outputs[i], reference[f"side_pred{i}"])
    for i in range(3):
        close(output.gradient_predictions[i], reference[f"gdt_pred{i}"])
    close(output.gradient_labels[0], reference["gdt_label0"])
    assert output.class_logits is None

    network.eval()
    for case in (0, 1):
        close(network(reference.image(case)), reference[f"eval{case}"])
    network.fold_batch_norm_()
    close(network(reference.image(0)), reference["eval0"])


@torch.no_grad()
def test_the_patch_order_of_2024_is_read_as_the_reference_read_it(reference):
    reference = reference("swin_v1_t")
    network = build_network("swin_v1_t").eval()
    load_published(network, reference.weights(), patch_order="2024")
    close(network(reference.image(0)), reference["eval0_legacy_patch_order"])
    exported, weights = export_published(network, patch_order="2024"), reference.weights()
    assert all(torch.equal(exported[key], weights[key]) for key in weights)
