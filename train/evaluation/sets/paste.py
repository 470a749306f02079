"""Paste cut-outs on a photograph with an exact matte."""

from __future__ import annotations

import numpy as np
from PIL import Image


def resample(cutout: Image.Image, size: tuple[int, int]) -> np.ndarray:
    """A cut-out resized to `size` (width, height) as premultiplied float32 [H, W, 4] in 0..1, colour <= alpha.

    Colour is weighted by alpha before resizing, so that hidden pixels under alpha 0 never bleed into the edge.
    """
    pixels = np.asarray(cutout.convert("RGBA"), dtype=np.float32) / 255
    pixels[..., :3] *= pixels[..., 3:]
    planes = [Image.fromarray(np.ascontiguousarray(plane)) for plane in np.moveaxis(pixels, 2, 0)]
    resized = np.stack([np.asarray(plane.resize(size, Image.Resampling.BICUBIC)) for plane in planes], axis=2)
    alpha = resized[..., 3:].clip(0, 1)  # bicubic overshoots
    return np.concatenate([resized[..., :3].clip(0, alpha), alpha], axis=2)


def paste(image: np.ndarray, matte: np.ndarray, cutout: np.ndarray, left: int, top: int) -> None:
    """Lay a premultiplied cut-out [h, w, 4] over `image` [H, W, 3] and its `matte` [H, W], both changed in place, its
    corner at (left, top), which may be negative: what falls outside is cut off."""
    height, width = matte.shape
    first_row, first_column = max(0, top), max(0, left)
    last_row, last_column = min(height, top + cutout.shape[0]), min(width, left + cutout.shape[1])
    if first_row >= last_row or first_column >= last_column:
        size = f"{cutout.shape[1]}x{cutout.shape[0]}"
        raise ValueError(f"a cut-out of {size} at ({left}, {top}) misses the {width}x{height} image")
    over = cutout[first_row - top : last_row - top, first_column - left : last_column - left]
    here = (slice(first_row, last_row), slice(first_column, last_column))
    image[here] = over[..., :3] + (1 - over[..., 3:]) * image[here]
    matte[here] = over[..., 3] + (1 - over[..., 3]) * matte[here]
