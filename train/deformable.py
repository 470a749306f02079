"""Deformable convolution for training on CPU: the values of `birefnet_core.network.deformable`, a cheaper backward.

The network's own gather is built for inference and little memory; its backward sorts every index (1.13 s of CPU time
forward and backward for 8 x 16 channels x 64 x 64, 7 x 7 kernel, bf16). `grid_sample` has a vectorised backward and
already gives the column matrix of the convolution; going over it in pieces that stay in the cache saves the rest.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from birefnet_core.network import deformable

PIECE = 1 << 20  # values of the column matrix handled at a time: 4 MB of fp32
BILINEAR, ZEROS = 0, 0


class _Deformable(torch.autograd.Function):
    """x [N,C,H,W], grid [N,K,H,W,2] (grid_sample's coordinates), modulator [N,K,H,W], matrix [O,C*K] -> [N,O,H,W]."""

    @staticmethod
    def forward(ctx, x: Tensor, grid: Tensor, modulator: Tensor, matrix: Tensor) -> Tensor:
        output = x.new_empty((x.shape[0], matrix.shape[0], *x.shape[2:]), dtype=matrix.dtype)
        kept = []
        for picture, rows, places, shares in _pieces(x, grid, modulator):
            sampled = _sample(x[picture], places).to(matrix.dtype)
            kept.append(sampled)
            output[picture, :, rows] = (matrix @ (sampled * shares).flatten(0, 1).flatten(1)).view(
                output[picture, :, rows].shape
            )
        ctx.save_for_backward(x, grid, modulator, matrix, *kept)
        return output

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        x, grid, modulator, matrix, *kept = ctx.saved_tensors
        gradient = gradient.to(matrix.dtype)
        grad_x, grad_grid, grad_modulator = torch.zeros_like(x), torch.empty_like(grid), torch.empty_like(modulator)
        grad_matrix = torch.zeros_like(matrix, dtype=torch.float32)
        for (picture, rows, places, shares), sampled in zip(_pieces(x, grid, modulator), kept):
            incoming = gradient[picture, :, rows].flatten(1)
            columns = (matrix.T @ incoming).view_as(sampled)
            grad_matrix += incoming @ (sampled * shares).flatten(0, 1).flatten(1).T
            grad_modulator[picture, :, rows] = (columns * sampled).sum(dim=0)
            through = (columns * shares).float()
            taps, height, width, _ = places.shape
            to_x, to_grid = torch.ops.aten.grid_sampler_2d_backward(
                through.view(1, -1, taps * height, width),
                x[picture][None],
                places.reshape(1, taps * height, width, 2),
                BILINEAR,
                ZEROS,
                False,
                [True, True],
            )
            grad_x[picture] += to_x[0]
            grad_grid[picture, :, rows] = to_grid.view_as(places)
        return grad_x, grad_grid, grad_modulator, grad_matrix.to(matrix.dtype)


def _pieces(x: Tensor, grid: Tensor, modulator: Tensor):
    """Picture index, its rows, their places [K,h,W,2] and modulators [K,h,W], some rows of one picture at a time."""
    count, channels, height, width = x.shape
    step = max(1, PIECE // (channels * grid.shape[1] * width))
    for picture in range(count):
        for top in range(0, height, step):
            rows = slice(top, top + step)
            yield picture, rows, grid[picture, :, rows], modulator[picture, :, rows]


def _sample(picture: Tensor, places: Tensor) -> Tensor:
    """picture [C,H,W], places [K,h,W,2] -> [C,K,h,W]."""
    taps, height, width, _ = places.shape
    sampled = F.grid_sample(picture[None], places.reshape(1, taps * height, width, 2), align_corners=False)
    return sampled.view(-1, taps, height, width)


def deformable_conv2d(
    x: Tensor, offset: Tensor, modulator: Tensor, weight: Tensor, bias: Tensor | None = None
) -> Tensor:
    """Arguments and result as `birefnet_core.network.deformable.deformable_conv2d`."""
    count, _, height, width = x.shape
    kernel = weight.shape[-1]
    tap = torch.arange(kernel * kernel)
    rows = torch.arange(height)[None, :, None] + (tap // kernel - kernel // 2)[:, None, None]
    columns = torch.arange(width)[None, None, :] + (tap % kernel - kernel // 2)[:, None, None]
    centre = torch.stack(torch.broadcast_tensors(columns, rows), dim=-1).float()  # grid_sample wants (x, y)
    side = torch.tensor([width, height])
    shift = offset.float().reshape(count, kernel * kernel, 2, height, width).permute(0, 1, 3, 4, 2).flip(-1)
    grid = (2 * (centre + shift) + 1) / side - 1  # -1 and 1 are the outer edges of the picture
    result = _Deformable.apply(x.float().contiguous(), grid, modulator.to(weight.dtype).contiguous(), weight.flatten(1))
    return result if bias is None else result + bias.to(result.dtype)[:, None, None]


def use_for_training() -> None:
    """Let the network's deformable convolutions train through this one (for CPU runs)."""
    deformable.deformable_conv2d = deformable_conv2d
