"""Folding changes no number, and touches nothing that it may not."""

import pytest
import torch
from torch import nn

from birefnet_core.network import build_network
from birefnet_core.network.folding import fold_backbone_

NARROW = {"block_channels": 8, "branch_channels": 8, "inward_channels": 4}


def norms(module):
    """Its batch normalisations, with statistics and weights as training leaves them."""
    found = [each for each in module.modules() if isinstance(each, nn.BatchNorm2d)]
    for norm in found:
        norm.running_mean.normal_(0, 0.1)
        norm.running_var.uniform_(0.5, 2)
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias, 0, 0.1)
    return found


@pytest.mark.parametrize("backbone", ["resnet50", "vgg16bn", "timm:tf_efficientnet_lite0", "timm:regnety_002"])
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])  # ComfyUI runs nodes in the second
def test_all_of_a_convolutional_backbone_is_folded(backbone, mode):
    torch.manual_seed(0)
    network = build_network(backbone, **NARROW).eval()
    assert len(norms(network)) > 50
    images = torch.randn(2, 3, 96, 64)
    with mode():
        before = network(images)
        after = network.fold_batch_norm_()(images)
        torch.testing.assert_close(after, before, atol=1e-5 * before.abs().max().item(), rtol=1e-5)
        torch.testing.assert_close(network.fold_batch_norm_()(images), after, atol=0, rtol=0)
    assert not norms(network)


@pytest.mark.parametrize("backbone", ["timm:repvgg_a0", "timm:fastvit_t8"])
@torch.no_grad()
def test_norms_of_what_no_convolution_gave_are_told_from_later_ones(backbone):
    """Those beside a convolution: what goes into them is freed, and a later convolution's output may lie there."""
    torch.manual_seed(0)
    network = build_network(backbone, **NARROW).eval()
    norms(network)
    images = torch.randn(1, 3, 64, 64)
    before = network(images)
    after = network.fold_batch_norm_()(images)
    torch.testing.assert_close(after, before, atol=1e-4 * before.abs().max().item(), rtol=1e-4)


class Standardised(nn.Conv2d):
    """As timm's StdConv2d."""

    def forward(self, x):
        return nn.functional.conv2d(x, self.weight / self.weight.std(), self.bias, padding=1)


class Block(nn.Module):
    def __init__(self, use, kind):
        super().__init__()
        self.conv, self.norm, self.use = kind(3, 3, 3, padding=1), nn.BatchNorm2d(3), use

    def forward(self, x):
        return self.use(self, x)


def add_what_the_convolution_gave(self, x):
    y = self.conv(x)
    return self.norm(y) + y


def change_it_in_place_before(self, x):
    y = self.conv(x)
    y[:, 0] = 1.0
    return self.norm(y)


def use_the_convolution_again(self, x):
    return self.norm(self.conv(x)) + self.conv(2 * x)


def use_the_norm_again(self, x):
    return self.norm(self.norm(self.conv(x)))


def use_it_once(self, x):
    return self.norm(self.conv(x))


@pytest.mark.parametrize(
    "use, kind",
    [
        (add_what_the_convolution_gave, nn.Conv2d),
        (change_it_in_place_before, nn.Conv2d),
        (use_the_convolution_again, nn.Conv2d),
        (use_the_norm_again, nn.Conv2d),
        (use_it_once, Standardised),
    ],
)
@torch.no_grad()
def test_what_is_used_otherwise_too_is_left_alone(use, kind):
    torch.manual_seed(0)
    block = Block(use, kind).eval()
    images = torch.randn(1, 3, 32, 32)
    assert len(norms(block)) == 1
    before = block(images)
    fold_backbone_(block, 32)
    assert torch.equal(block(images), before)
    assert isinstance(block.norm, nn.BatchNorm2d)
    assert not block.norm._forward_pre_hooks and not block.conv._forward_hooks
    fold_backbone_(plain := Block(use_it_once, nn.Conv2d).eval(), 32)
    assert not norms(plain)
