"""Putting a foreground on something else: colours, backgrounds that fit, the blend itself."""

from __future__ import annotations

import re

import torch
from PIL import ImageColor
from torch import Tensor

from .model import resize


def parse_colour(text: str) -> tuple[float, float, float]:
    """ "#rgb", "#rrggbb" (the # may be left out) or a name that Pillow knows -> red, green, blue in 0..1.

    ValueError, one sentence, for anything else, colours with transparency among them.
    """
    name = text.strip() if isinstance(text, str) else ""
    if re.fullmatch(r"[0-9a-fA-F]{3}|[0-9a-fA-F]{6}", name):
        name = f"#{name}"
    try:
        channels = ImageColor.getrgb(name)
    except ValueError as error:
        raise ValueError(f"{text!r} is no colour: give '#rrggbb', '#rgb' or a name such as white") from error
    if not all(0 <= channel <= 255 for channel in channels):  # as of rgb(300, 0, 0)
        raise ValueError(f"{text!r} is no colour: its parts are beyond 0 to 255")
    if len(channels) != 3:
        raise ValueError(f"{text!r} is a colour with transparency: give '#rrggbb', '#rgb' or a name such as white")
    red, green, blue = (channel / 255 for channel in channels)
    return red, green, blue


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
