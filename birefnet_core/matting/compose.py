"""Putting a foreground on something else: backgrounds that fit, the blend itself."""

from __future__ import annotations

import torch
from torch import Tensor

from .model import resize


def over(foreground: Tensor, alpha: Tensor, background: Tensor | tuple[float, float, float]) -> Tensor:
    """foreground [..., H, W, 3] over background through alpha [..., H, W], all 0..1.

    background: a colour, or [..., H, W, 3]. Blended in encoded values, as editors do.
    """
    background = torch.as_tensor(background, dtype=foreground.dtype, device=foreground.device)
    return torch.lerp(background, foreground, alpha[..., None].to(foreground))


def cover(images: Tensor, height: int, width: int) -> Tensor:
    """images [B, H, W, C] scaled to cover [B, height, width, C], aspect kept, the middle cut out."""
    rows, columns = images.shape[1:3]
    scale = max(height / rows, width / columns)
    # Cut first, so that a panorama is not enlarged as a whole. At least the pixels that one pixel of the result needs.
    tall, wide = (max(1, round(side / scale)) for side in (height, width))
    top, left = (rows - tall) // 2, (columns - wide) // 2
    part = images[:, top : top + tall, left : left + wide]
    return resize(part.movedim(3, 1), (height, width)).movedim(1, 3)
