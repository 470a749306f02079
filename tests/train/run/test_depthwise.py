"""The depthwise gradients for CPU training against torch's."""

import pytest
import timm
import torch
import torch.nn.functional as F

from train.run.depthwise import _Depthwise, speed_up_depthwise_


@pytest.mark.parametrize(("side", "kernel", "stride"), [(9, 3, 1), (11, 3, 2), (12, 5, 1), (13, 5, 2)])
def test_depthwise_gradients_match_torch(side, kernel, stride):
    generator = torch.Generator().manual_seed(side)
    x = torch.randn(2, 6, side, side, generator=generator, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(6, 1, kernel, kernel, generator=generator, dtype=torch.float64, requires_grad=True)
    expected = F.conv2d(x, weight, stride=stride, groups=6)
    actual = _Depthwise.apply(x, weight, stride)
    incoming = torch.randn(expected.shape, generator=generator, dtype=torch.float64)
    assert torch.equal(actual, expected)
    for ours, theirs in zip(
        torch.autograd.grad(actual, (x, weight), incoming), torch.autograd.grad(expected, (x, weight), incoming)
    ):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)  # taps are summed in fp32


def test_backbone_is_unchanged_by_the_faster_backward():
    backbone = timm.create_model("tf_efficientnet_lite0", features_only=True, pretrained=False).eval()
    images = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))

    def gradients() -> tuple[torch.Tensor, torch.Tensor]:
        backbone.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            deep = backbone(images)[-1]
        deep.float().square().mean().backward()
        return deep.detach().float(), torch.cat([p.grad.flatten() for p in backbone.parameters() if p.grad is not None])

    names = list(backbone.state_dict())
    features, before = gradients()
    assert speed_up_depthwise_(backbone) == 16
    routed, after = gradients()
    assert list(backbone.state_dict()) == names
    torch.testing.assert_close(routed, features, atol=0.05 * features.abs().max().item(), rtol=0.05)
    assert F.cosine_similarity(before, after, dim=0) > 0.99
