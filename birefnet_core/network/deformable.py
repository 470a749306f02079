"""Modulated deformable convolution in plain torch: one implementation for every device.

A chunk of output positions at a time: the four bilinear corners of every kernel tap are gathered with one weighted
`embedding_bag`, then one matrix product with the kernel. 64 -> 256 channels at 256 x 256 with a 7 x 7 kernel on two CPU
cores: 0.53 s, where torchvision's operator takes 6.8 s and an 822 MB column buffer. NaN offsets do not crash it.
"""

from collections.abc import Callable

import torch
import torch.nn as nn
import torch.nn.functional as F

from .deformable_training import deformable_conv2d_with_gradient

# Sampling points a chunk, of 2k to 128k the fastest on two CPU cores at 256 x 256 with what follows in the chunk: 1x1
# 60 ms (128k: 80), 3x3 154 ms (176), 7x7 0.95 s (0.99). On a GPU each chunk costs some thirty kernel launches instead,
# and the same 7x7 would take a hundred chunks; 1M points are 128 MB of 64 channels in half precision (not measured).
POINTS_PER_CHUNK = {"cpu": 1 << 15, "other": 1 << 20}
# Devices that have a weighted embedding_bag (measured on CPU only); elsewhere the same gather is plain indexing.
EMBEDDING_BAG_DEVICES = {"cpu", "cuda", "xpu"}


class DeformableConv2d(nn.Module):
    """Deformable convolution with learned offsets and modulators (stride 1, same size). [N,C,H,W] -> [N,O,H,W].

    The offset of each kernel tap is (row, column) in pixels; the modulator is 2 * sigmoid, so 1 at initialisation.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: int):
        super().__init__()
        taps = kernel * kernel
        self.offset = nn.Conv2d(in_channels, 2 * taps, kernel, padding=kernel // 2)
        self.modulator = nn.Conv2d(in_channels, taps, kernel, padding=kernel // 2)
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, kernel, kernel))
        self.bias = None
        nn.init.kaiming_uniform_(self.weight, a=5**0.5)
        for conv in (self.offset, self.modulator):
            nn.init.zeros_(conv.weight)
            nn.init.zeros_(conv.bias)

    def forward(self, x: torch.Tensor, then: Callable[[torch.Tensor], torch.Tensor] | None = None) -> torch.Tensor:
        """`then` maps each chunk's output [P,O] to [P,Q] before the next is computed: what follows pixel by pixel then
        needs no [N,O,H,W], and the result is [N,Q,H,W]."""
        # One convolution for both: they read the same input.
        weight = torch.cat((self.offset.weight, self.modulator.weight))
        bias = torch.cat((self.offset.bias, self.modulator.bias))
        both = F.conv2d(x, weight, bias, padding=self.offset.padding)
        offset, modulator = both.split((self.offset.out_channels, self.modulator.out_channels), dim=1)
        inputs = (x, offset, 2 * modulator.sigmoid(), self.weight, self.bias)
        return deformable_conv2d(*inputs) if then is None else _chunk_by_chunk(*inputs, then)


def deformable_conv2d(
    x: torch.Tensor,
    offset: torch.Tensor,
    modulator: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
) -> torch.Tensor:
    """Sample `x` at every tap's displaced position (bilinear, zero outside), scale by the modulator, then convolve.

    x [N,C,H,W]; offset [N,2*k*k,H,W] in pixels, (row, column) for each tap in row-major order; modulator [N,k*k,H,W];
    weight [O,C,k,k] with odd k. Returns [N,O,H,W] in channels-last memory. Same values as
    torchvision.ops.deform_conv2d with padding k // 2, without its column buffer.
    """
    if torch.is_grad_enabled() and any(t.requires_grad for t in (x, offset, modulator, weight)):
        out = deformable_conv2d_with_gradient(x, offset, modulator, weight)
        return out if bias is None else out + bias.to(out.dtype)[:, None, None]
    return _chunk_by_chunk(x, offset, modulator, weight, bias, lambda rows: rows)


def _chunk_by_chunk(x, offset, modulator, weight, bias, then):
    n, channels, height, width = x.shape
    kernel = weight.shape[-1]
    # A zero border of one pixel before and two behind makes every clamped corner a valid row of the table.
    table = F.pad(x.permute(0, 2, 3, 1), (0, 0, 1, 2, 1, 2)).reshape(-1, channels)
    offset = offset.permute(0, 2, 3, 1).reshape(-1, kernel * kernel, 2)
    modulator = modulator.permute(0, 2, 3, 1).reshape(-1, kernel * kernel)
    matrix = weight.permute(2, 3, 1, 0).reshape(-1, weight.shape[0])
    points = POINTS_PER_CHUNK.get(x.device.type, POINTS_PER_CHUNK["other"])
    step = max(1, points // (kernel * kernel))
    rows = []
    for start in range(0, offset.shape[0], step):
        chunk = slice(start, start + step)
        part = _convolve_chunk(table, offset[chunk], modulator[chunk], matrix, start, (height, width))
        rows.append(then(part if bias is None else part + bias.to(part.dtype)))
    return torch.cat(rows).view(n, height, width, -1).permute(0, 3, 1, 2)


def _convolve_chunk(table, offset, modulator, matrix, start, size):
    """Output positions start .. start+P. offset [P,K,2], modulator [P,K] -> [P,O]."""
    # Positions in half precision would be off by whole pixels; double stays double, for gradient checks.
    exact = torch.promote_types(offset.dtype, torch.float32)
    index, weight = _corners(offset.to(exact), modulator.to(exact), start, size)
    columns = _gather(table, index, weight.to(table.dtype))
    return columns.view(offset.shape[0], -1) @ matrix


def _corners(offset, modulator, start, size):
    """Table rows [P*K,4] (int32) and weights [P*K,4] of the four neighbours of every sampling point."""
    height, width = size
    positions, taps, _ = offset.shape
    kernel = int(taps**0.5)
    position = torch.arange(start, start + positions, device=offset.device)
    image, row, column = position // (height * width), position // width % height, position % width
    tap = torch.arange(taps, device=offset.device)
    y = offset[..., 0] + (row[:, None] + (tap // kernel - kernel // 2))
    x = offset[..., 1] + (column[:, None] + (tap % kernel - kernel // 2))
    y, x = y.clamp(-1, height).nan_to_num(-1.0), x.clamp(-1, width).nan_to_num(-1.0)
    top, left = y.detach().floor(), x.detach().floor()
    down, right = y - top, x - left

    stride = width + 3
    corner = (image[:, None] * (height + 3) + top.long() + 1) * stride + left.long() + 1
    neighbours = torch.tensor([0, 1, stride, stride + 1], dtype=torch.int32, device=offset.device)
    index = corner.int()[..., None] + neighbours
    upper, lower = (1 - down) * modulator, down * modulator
    weight = torch.stack((upper * (1 - right), upper * right, lower * (1 - right), lower * right), dim=-1)
    return index.reshape(-1, 4), weight.reshape(-1, 4)


def _gather(table, index, weight):
    """Weighted sum of table rows: table [R,C], index [M,4], weight [M,4] -> [M,C]."""
    if table.device.type in EMBEDDING_BAG_DEVICES:
        return F.embedding_bag(index, table, per_sample_weights=weight, mode="sum")
    return (table[index.long()] * weight[..., None]).sum(1)
