"""Backgrounds made of things: crowds of cut-outs and close-ups. None of it is the subject or in the alpha.

The first bundled model was trained on landscapes and smooth shapes, and took any sharp object for the subject
(train/recipes/README.md).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from .compositing import homography, over, sample


def _paste(canvas: Tensor, layer: Tensor, centre: np.ndarray, side: int) -> None:
    """Put a premultiplied [4,h,w] layer, its longest side `side` pixels, on an opaque canvas [3,S,S], in place."""
    height, width = (max(2, round(side * length / max(layer.shape[1:]))) for length in layer.shape[1:])
    small = F.interpolate(layer[None], size=(height, width), mode="bilinear", align_corners=False, antialias=True)[0]
    top, left = int(centre[1] - height / 2), int(centre[0] - width / 2)
    rows = slice(max(0, top), min(canvas.shape[1], top + height))
    columns = slice(max(0, left), min(canvas.shape[2], left + width))
    if rows.start >= rows.stop or columns.start >= columns.stop:
        return
    part = small[:, rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
    canvas[:, rows, columns] = over(part[None], canvas[None, :, rows, columns])[0]


def crowd(canvas: Tensor, draw: Callable[[], Tensor], rng: np.random.Generator) -> Tensor:
    """Cover `canvas` [3,S,S] with copies of one to four objects from `draw` (premultiplied [4,h,w]), in rows or strewn.

    A viewer sees a shelf, a market stall or a pile, with no one subject in it.
    """
    canvas, size = canvas.clone(), canvas.shape[-1]
    kinds = [draw() for _ in range(int(rng.integers(1, 5)))]
    side = size * rng.uniform(0.1, 0.45)
    if rng.random() < 0.5:
        pitch = side * rng.uniform(0.5, 1.0, 2)
        places = [
            (x, y) for y in np.arange(0, size + pitch[1], pitch[1]) for x in np.arange(0, size + pitch[0], pitch[0])
        ]
        places = np.array(places[:160]) + rng.normal(0, 0.08 * side, (min(160, len(places)), 2))
    else:
        places = rng.uniform(-0.05, 1.05, (int(min(120, rng.uniform(1.5, 4) * (size / side) ** 2)), 2)) * size
        places = places[np.argsort(places[:, 1])]  # lower in the frame is nearer
    spread = rng.uniform(0, 0.3)
    for place in places:
        kind = kinds[rng.integers(len(kinds))]
        _paste(canvas, kind.flip(2) if rng.random() < 0.5 else kind, place, int(side * np.exp(rng.normal(0, spread))))
    return canvas


def close_up(canvas: Tensor, layer: Tensor, rng: np.random.Generator) -> Tensor:
    """`layer` (premultiplied [4,h,w]) so large over `canvas` [3,S,S] that only its surface and a rim or two show."""
    size = canvas.shape[-1]
    half = rng.uniform(2.0, 5.0)
    matrix = homography(
        centre=tuple(rng.uniform(-0.5, 0.5, 2) * half),
        half_size=(half, half),
        angle=rng.normal(0, 0.5),
        flip=bool(rng.random() < 0.5),
    )
    return over(sample(layer, matrix, (size, size))[None], canvas[None])[0]
