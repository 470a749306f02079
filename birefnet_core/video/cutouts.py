"""Frames with alpha as each format holds them: straight or premultiplied, in the clip's YUV, in RGB or linear light."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..matting.linear import to_linear
from .colour import Colours, from_deep_rgb, integers, levels, plane, to_deep_rgb, to_pixels, to_rgb
from .formats import PREMULTIPLIED, Format

if TYPE_CHECKING:
    import av

PACKED = {8: "rgba", 16: "rgba64le"}  # bits a channel -> FFmpeg's name
Cutout = Callable[["av.VideoFrame", Tensor], "av.VideoFrame"]


def cutouts(format: Format, colours: Colours, alphas: str | None = None) -> Cutout:
    """What makes the frame to encode from one with the foreground's colours and alpha [h, w] 0..1 of any size. alphas:
    as of check_alphas."""
    premultiplied = check_alphas(format, alphas) == PREMULTIPLIED
    if format.linear:
        return lambda picture, alpha: _linear(picture, alpha, colours, premultiplied)
    if format.pixels.startswith("yuv"):
        darken = _darkened if premultiplied else lambda picture, alpha: picture
        return lambda picture, alpha: _yuv(darken(picture, alpha), alpha, format, colours)
    return lambda picture, alpha: _rgb(picture, alpha, format.pixels)


def check_alphas(format: Format, alphas: str | None) -> str:
    """How colours go with alpha: alphas, or what the format has by default for None. ValueError for what it has not."""
    if alphas is None:
        return format.alphas[0]
    if alphas not in format.alphas or format.shows != "cutout":
        kept = f"its alpha is {format.alphas[0]}" if format.shows == "cutout" else "it has no alpha"
        raise ValueError(f"alpha {alphas}: not in {format.label}, {kept}")
    return alphas


def _yuv(picture: av.VideoFrame, alpha: Tensor, format: Format, colours: Colours) -> av.VideoFrame:
    made = to_pixels(picture, format.pixels, colours)
    plane(made, 3)[:] = levels(alpha, (made.width, made.height), made.format.components[3].bits)
    return made


def _darkened(picture: av.VideoFrame, alpha: Tensor) -> av.VideoFrame:
    return from_deep_rgb(torch.from_numpy(to_deep_rgb(picture) * _weights(picture, alpha)[..., None]))


def _rgb(picture: av.VideoFrame, alpha: Tensor, pixels: str) -> av.VideoFrame:
    """Straight, in packed 8 or 16 bits."""
    import av

    bits = 16 if "64" in pixels else 8
    colours = to_rgb(picture) if bits == 8 else integers(torch.from_numpy(to_deep_rgb(picture)).clamp(0, 1), 16)
    packed = np.dstack([colours, levels(alpha, (picture.width, picture.height), bits)])
    return av.VideoFrame.from_ndarray(packed, format=PACKED[bits]).reformat(format=pixels)


def _linear(picture: av.VideoFrame, alpha: Tensor, colours: Colours, premultiplied: bool) -> av.VideoFrame:
    """Planes of 32 bits, which the encoder narrows to half floats."""
    import av

    weights = _weights(picture, alpha)
    light = to_linear(to_deep_rgb(picture), colours.transfer)
    if premultiplied:
        light *= weights[..., None]
    made = av.VideoFrame(picture.width, picture.height, "gbrapf32le")
    for target, values in zip(made.planes, (light[..., 1], light[..., 2], light[..., 0], weights)):
        rows = np.frombuffer(target, np.float32).reshape(target.height, -1)
        rows[:, : target.width] = values.astype(np.float16)  # rounded; the encoder would cut off
    return made


def _weights(picture: av.VideoFrame, alpha: Tensor) -> np.ndarray:
    """alpha at the picture's size, in steps of 16 bits: float32 [H, W] 0..1."""
    return levels(alpha, (picture.width, picture.height), 16).astype(np.float32) / 65535
