"""Deformable convolution for training on CPU: the same values as `birefnet_core.network.deformable`, a cheaper backward.

The network's own gather is built for inference and little memory; its backward sorts every index. `grid_sample` has a
vectorised backward, and its output is already the column matrix of the convolution.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from birefnet_core.network import deformable


def deformable_conv2d(x: Tensor, offset: Tensor, modulator: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Arguments and result as `birefnet_core.network.deformable.deformable_conv2d`."""
    count, channels, height, width = x.shape
    kernel = weight.shape[-1]
    taps = kernel * kernel
    tap = torch.arange(taps, device=x.device)
    rows = torch.arange(height, device=x.device)[None, :, None] + (tap // kernel - kernel // 2)[:, None, None]
    columns = torch.arange(width, device=x.device)[None, None, :] + (tap % kernel - kernel // 2)[:, None, None]
    # grid_sample wants (x, y) with -1 and 1 at the outer edges of the picture.
    centre = torch.stack([columns.expand(taps, height, width), rows.expand(taps, height, width)], dim=-1).float()
    side = torch.tensor([width, height], device=x.device)
    centre = (2 * centre + 1) / side - 1
    matrix = weight.flatten(1)
    outputs = []
    for picture, shift, share in zip(x.float(), offset.float(), modulator.float()):
        shift = shift.view(taps, 2, height, width).permute(0, 2, 3, 1).flip(-1) * (2 / side)
        grid = (centre + shift).view(1, taps * height, width, 2)
        sampled = F.grid_sample(picture[None], grid, align_corners=False).view(channels, taps, -1)
        sampled = sampled * share.reshape(1, taps, -1)
        outputs.append(matrix @ sampled.to(matrix.dtype).view(channels * taps, -1))
    result = torch.stack(outputs).view(count, -1, height, width)
    return result if bias is None else result + bias.to(result.dtype)[:, None, None]


def use_for_training() -> None:
    """Let the network's deformable convolutions train through this one (for CPU runs)."""
    deformable.deformable_conv2d = deformable_conv2d
