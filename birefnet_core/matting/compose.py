"""Putting a foreground on something else: backgrounds that fit, the blend itself."""

from __future__ import annotations

import torch
from torch import Tensor

from .tensors import resize, unit


def over(foreground: Tensor, alpha: Tensor, background: Tensor | tuple[float, float, float]) -> Tensor:
    """foreground [..., H, W, 3] over background through alpha [..., H, W], all 0..1.

    background: a colour, or [..., H, W, 3]. Blended in encoded values, as editors do.
    """
    background = torch.as_tensor(background, dtype=foreground.dtype, device=foreground.device)
    return torch.lerp(background, foreground, alpha[..., None].to(foreground))


def on_black(images: Tensor) -> Tensor:
    """images [..., H, W, 3|4], 0..1 or uint8 -> [..., H, W, 3] float32 0..1: what they show, black where they are
    transparent. The colours that their alpha hides are not for anybody's eyes."""
    pixels = unit(images[..., :3])
    return pixels if images.shape[-1] == 3 else pixels * unit(images[..., 3:])


def cover(images: Tensor, height: int, width: int) -> Tensor:
    """images [B, H, W, C] scaled to cover [B, height, width, C], aspect kept, the middle cut out."""
    rows, columns = images.shape[1:3]
    scale = max(height / rows, width / columns)
    # Cut first, so that a panorama is not enlarged as a whole. At least the pixels that one pixel of the result needs.
    tall, wide = (max(1, round(side / scale)) for side in (height, width))
    top, left = (rows - tall) // 2, (columns - wide) // 2
    part = images[:, top : top + tall, left : left + wide]
    return resize(part.movedim(3, 1), (height, width)).movedim(1, 3)
