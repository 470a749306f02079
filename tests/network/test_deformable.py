"""Deformable convolution against the definition, written out point by point."""

import math

import pytest
import torch

from birefnet_core.network import deformable, deformable_training
from birefnet_core.network.deformable import DeformableConv2d, deformable_conv2d


def by_definition(x, offset, modulator, weight):
    """Dai et al. 2017 and Zhu et al. 2019, one output value at a time, in double precision."""
    x, offset, modulator, weight = (t.double() for t in (x, offset, modulator, weight))
    n, channels, height, width = x.shape
    kernel = weight.shape[-1]
    out = torch.zeros(n, weight.shape[0], height, width, dtype=torch.double)
    for b in range(n):
        for row in range(height):
            for column in range(width):
                for tap in range(kernel * kernel):
                    y = row + tap // kernel - kernel // 2 + offset[b, 2 * tap, row, column].item()
                    z = column + tap % kernel - kernel // 2 + offset[b, 2 * tap + 1, row, column].item()
                    sample = torch.zeros(channels, dtype=torch.double)
                    for i in (math.floor(y), math.floor(y) + 1):
                        for j in (math.floor(z), math.floor(z) + 1):
                            if 0 <= i < height and 0 <= j < width:
                                sample += (1 - abs(y - i)) * (1 - abs(z - j)) * x[b, :, i, j]
                    out[b, :, row, column] += (
                        weight[:, :, tap // kernel, tap % kernel] @ sample * modulator[b, tap, row, column]
                    )
    return out.float()


def draw(kernel, spread=3.0):
    torch.manual_seed(kernel)
    taps = kernel * kernel
    shape = (2, 3, 6, 5)
    return (
        torch.randn(shape),
        spread * torch.randn(2, 2 * taps, 6, 5),
        torch.rand(2, taps, 6, 5),
        torch.randn(4, 3, kernel, kernel),
    )


@pytest.mark.parametrize("kernel", [1, 3, 7])
def test_equals_the_definition(kernel):
    arguments = draw(kernel)
    torch.testing.assert_close(deformable_conv2d(*arguments), by_definition(*arguments), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("change", ["chunks", "indexing"])
def test_chunk_size_and_the_plain_gather_change_nothing(change, monkeypatch):
    arguments = draw(3)
    expected = deformable_conv2d(*arguments)
    if change == "chunks":
        monkeypatch.setattr(deformable, "POINTS_PER_CHUNK", {"other": 70})  # not a divisor of anything
    else:
        monkeypatch.setattr(deformable, "EMBEDDING_BAG_DEVICES", set())
    torch.testing.assert_close(deformable_conv2d(*arguments), expected, atol=1e-5, rtol=1e-5)


def test_zero_offsets_and_unit_modulators_are_a_plain_convolution():
    torch.manual_seed(0)
    conv = DeformableConv2d(3, 5, 3)
    x = torch.randn(1, 3, 8, 8)
    torch.testing.assert_close(conv(x), torch.nn.functional.conv2d(x, conv.weight, padding=1), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kernel", [1, 3, 7])
def test_training_gives_the_values_of_inference(kernel, monkeypatch):
    monkeypatch.setattr(deformable_training, "VALUES_PER_PIECE", 100)  # several pieces a picture
    arguments = draw(kernel)
    expected = deformable_conv2d(*arguments)
    arguments[0].requires_grad_()
    torch.testing.assert_close(deformable_conv2d(*arguments), expected, atol=1e-4, rtol=1e-4)


def test_gradients_are_right():
    x, offset, modulator, weight = draw(3)
    x, offset, modulator = (t[:1, ..., :3, :2].double().requires_grad_() for t in (x, offset, modulator))
    weight = weight.double().requires_grad_()
    assert torch.autograd.gradcheck(deformable_conv2d, (x, offset, modulator, weight), eps=1e-6, atol=1e-5)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e30])
def test_offsets_that_are_no_places_do_not_crash(value):
    x, offset, modulator, weight = draw(3)
    offset[0, 0] = value
    out = deformable_conv2d(x, offset, modulator, weight)
    assert out.shape == (2, 4, 6, 5)
    assert torch.isfinite(out[1]).all()
