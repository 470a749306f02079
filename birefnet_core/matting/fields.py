"""Smooth fields over a picture, known from some of its pixels: a screen's light, or the subject's own colour nearby, at
every pixel. They are worked out in cells of several pixels, so that they cost little beside the picture.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

BAND = 2**20  # pixels worked on at once


def bands(height: int, width: int, factor: int = 1) -> Iterator[slice]:
    """Rows of a picture in pieces of about BAND pixels that begin at whole cells of factor x factor pixels."""
    step = max(1, BAND // (width * factor)) * factor
    for top in range(0, height, step):
        yield slice(top, min(top + step, height))


def cells(values: Tensor, factor: int) -> Tensor:
    """Means of factor x factor pixels: [H, W, C] -> [ceil(H / factor), ceil(W / factor), C]."""
    return F.avg_pool2d(values.movedim(2, 0)[None], factor, ceil_mode=True)[0].movedim(0, 2)


def filled(values: Tensor, weight: Tensor, smoothness: float) -> Tensor:
    """values [h, w, C] where they are known, elsewhere what is known around, from ever wider surroundings.

    weight: [h, w] 0..1, how well a cell is known. smoothness: what the wider surroundings weigh in each cell beside a
    weight of 1. Where nothing is known at all the result is 0.
    """
    levels = [torch.cat([values * weight[..., None], weight[..., None]], 2).movedim(2, 0)[None]]
    while max(levels[-1].shape[2:]) > 1:
        levels.append(F.avg_pool2d(levels[-1], 2, ceil_mode=True))
    known = levels.pop()
    wider = known[:, :-1] / known[:, -1:].clamp(min=1e-9)
    for known in reversed(levels):
        height, width = known.shape[2:]
        wider = F.interpolate(wider, scale_factor=2, mode="bilinear", align_corners=False)[..., :height, :width]
        wider = (known[:, :-1] + smoothness * wider) / (known[:, -1:] + smoothness)
    return wider[0].movedim(0, 2)


def enlarged(field: Tensor, rows: slice, width: int, factor: int) -> Tensor:
    """A field of cells [h, w, C] at the pixels of some rows: [rows, width, C], bilinear."""
    field = _between(field, torch.arange(rows.start, rows.stop, device=field.device), factor)
    return _between(field.movedim(1, 0), torch.arange(width, device=field.device), factor).movedim(0, 1)


def ramp(values: Tensor, low: float, high: float) -> Tensor:
    """0 up to low, 1 from high on, straight in between."""
    return ((values - low) / (high - low)).clamp(0, 1)


def _between(field: Tensor, places: Tensor, factor: int) -> Tensor:
    """field [n, ...] read between its entries, at pixels `places` [p] of factor an entry -> [p, ...]."""
    at = ((places + 0.5) / factor - 0.5).clamp(0, len(field) - 1)
    lower = at.floor().long().clamp(max=max(0, len(field) - 2))
    upper = (lower + 1).clamp(max=len(field) - 1)
    share = (at - lower).to(field.dtype).view(-1, *[1] * (field.ndim - 1))
    return torch.lerp(field[lower], field[upper], share)
