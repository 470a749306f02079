"""Backgrounds made of things: crowds of cut-outs, close-ups, strands, foliage. None of it is the subject.

The first bundled model was trained on landscapes and smooth shapes, and took any sharp object for the subject; the
second took blades of grass in focus before a blurred field for it, the third large leaves (train/recipes/README.md).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .compositing import defocus, homography, over, sample


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


def strands(canvas: Tensor, rng: np.random.Generator) -> Tensor:
    """Grass, reeds, twigs, wires or planks in focus across `canvas` [3,S,S], which mostly lies out of focus behind."""
    size = canvas.shape[-1]
    if rng.random() < 0.7:
        canvas = defocus(canvas[None], torch.tensor([size * rng.uniform(0.01, 0.03)], device=canvas.device))[0]
    turns = int(rng.integers(4)) if rng.random() < 0.4 else 0  # they grow from the lower border, or from any
    canvas = canvas.rot90(turns, (1, 2)).contiguous()
    paints = [_paint(canvas, rng) for _ in range(int(rng.integers(1, 5)))]
    tapered, lean = rng.random() < 0.7, rng.normal(0, 0.3)
    thickness = size * math.exp(rng.uniform(math.log(0.004), math.log(0.05)))
    for _ in range(int(math.exp(rng.uniform(math.log(3), math.log(60))))):
        bend = (lean + rng.normal(0, 0.15), rng.normal(0, 0.2))
        half = thickness / 2 * math.exp(rng.normal(0, 0.4))
        height = size * rng.uniform(0.3, 1.3)
        paint = paints[rng.integers(len(paints))] * rng.uniform(0.6, 1.4)
        _strand(canvas, paint, root=size * rng.uniform(-0.1, 1.1), height=height, bend=bend, half=half, tapered=tapered)
    return canvas.rot90(-turns, (1, 2)).contiguous().clamp(0, 1)


def _paint(canvas: Tensor, rng: np.random.Generator) -> Tensor:
    """A colour [3,1,1]: of the canvas somewhere, mostly, or any."""
    if rng.random() < 0.7:
        row, column = rng.integers(canvas.shape[1]), rng.integers(canvas.shape[2])
        return canvas[:, row, column].view(3, 1, 1) * rng.uniform(0.5, 1.8)
    return torch.tensor(rng.uniform(0, 1, 3), dtype=torch.float32, device=canvas.device).view(3, 1, 1)


def _strand(
    canvas: Tensor, paint: Tensor, *, root: float, height: float, bend: tuple[float, float], half: float, tapered: bool
) -> None:
    """One curved stroke up from the lower border, lit from a side, in place. Lengths in pixels, `bend` in frames."""
    size, device = canvas.shape[-1], canvas.device
    top = max(0, int(size - height))
    rise = (size - torch.arange(top, size, device=device)) / height  # 0 at the root, 1 at the tip
    centre = root + size * (bend[0] * rise + bend[1] * rise**2)
    half_width = half * (1 - rise) if tapered else torch.full_like(rise, half)
    left, right = (int(min(size, max(0, edge))) for edge in (centre.min() - half - 1, centre.max() + half + 2))
    if left >= right:
        return
    across = torch.arange(left, right, device=device)[None, :] - centre[:, None]
    covered = (half_width[:, None] + 0.5 - across.abs()).clamp(0, 1)[None]
    lit = 1 + 0.35 * (across / max(half, 1)).clamp(-1, 1)
    patch = canvas[:, top:, left:right]
    canvas[:, top:, left:right] = patch + covered * (paint * lit - patch)


# What grows: chance, plants, blades of a plant, length in frames, half width of a blade in lengths; low and high each.
FOLIAGE = (
    (0.5, (3, 14), (1, 3), (0.5, 2.5), (0.1, 0.35)),  # large leaves
    (0.4, (15, 70), (7, 14), (0.06, 0.25), (0.03, 0.12)),  # rosettes from border to border
    (0.1, (2, 5), (8, 30), (0.3, 0.9), (0.004, 0.02)),  # tufts of bristles
)


def foliage(canvas: Tensor, rng: np.random.Generator) -> Tensor:
    """Large leaves, rosettes of small ones or tufts of bristles over `canvas` [3,S,S], half of them out of focus."""
    canvas, size = canvas.clone(), canvas.shape[-1]
    _, plants, blades, length, slimness = FOLIAGE[rng.choice(len(FOLIAGE), p=[kind[0] for kind in FOLIAGE])]
    count, size_of_all = int(rng.integers(*plants, endpoint=True)), size * math.exp(rng.uniform(*np.log(length)))
    slim, fan = math.exp(rng.uniform(*np.log(slimness))), rng.choice([0.4, math.pi])
    paints = [_leaf_green(canvas, rng) for _ in range(int(rng.integers(1, 4)))]
    for plant in range(count):
        if plant == count // 2 and rng.random() < 0.5:
            canvas = defocus(canvas[None], torch.tensor([size * rng.uniform(0.01, 0.03)], device=canvas.device))[0]
        root, heading = rng.uniform(-0.2, 1.2, 2) * size, rng.uniform(-math.pi, math.pi)
        paint, ribs = paints[rng.integers(len(paints))] * rng.uniform(0.5, 1.4), rng.uniform(0, 0.2)
        for _ in range(int(rng.integers(*blades, endpoint=True))):
            long = size_of_all * math.exp(rng.normal(0, 0.25))
            half = long * slim * math.exp(rng.normal(0, 0.2))
            angle, bend = heading + rng.uniform(-fan, fan), rng.normal(0, 0.2)
            shade = paint * rng.uniform(0.8, 1.2)
            _blade(canvas, shade, root=root, angle=angle, length=long, half=half, bend=bend, ribs=ribs)
    return canvas.clamp(0, 1)


def _leaf_green(canvas: Tensor, rng: np.random.Generator) -> Tensor:
    """A colour [3,1,1] of leaves, or of the canvas."""
    if rng.random() < 0.4:
        return _paint(canvas, rng)
    green = (rng.uniform(0.05, 0.5), rng.uniform(0.25, 0.8), rng.uniform(0.0, 0.3))
    return torch.tensor(green, dtype=torch.float32, device=canvas.device).view(3, 1, 1)


def _blade(
    canvas: Tensor,
    paint: Tensor,
    *,
    root: np.ndarray,
    angle: float,
    length: float,
    half: float,
    bend: float,
    ribs: float,
) -> None:
    """One pointed leaf from `root`, with a midrib and side veins of strength `ribs`, in place. Lengths in pixels."""
    size, device = canvas.shape[-1], canvas.device
    along, aside = np.array([math.cos(angle), math.sin(angle)]), np.array([-math.sin(angle), math.cos(angle)])
    corners = root + np.outer([0, length, 0, length], along) + np.outer(length * np.array([0, 0, bend, bend]), aside)
    low = np.clip(corners.min(axis=0) - half - 2, 0, size).astype(int)
    high = np.clip(corners.max(axis=0) + half + 2, 0, size).astype(int)
    if (high <= low).any():
        return
    x = torch.arange(low[0], high[0], device=device)[None, :] - root[0]
    y = torch.arange(low[1], high[1], device=device)[:, None] - root[1]
    share = (x * along[0] + y * along[1]) / length  # 0 at the root, 1 at the tip
    across = x * aside[0] + y * aside[1] - bend * length * share**2
    rim = half * torch.sin(math.pi * share.clamp(0, 1) ** 0.7)
    covered = (rim + 0.5 - across.abs()).clamp(0, 1) * ((share > 0) & (share < 1))
    part = across / max(half, 1)
    veins = torch.sin(2 * math.pi * (share * 14 - part.abs() * 1.5)) + 3 * (part.abs() < 0.06)
    lit = 1 + 0.25 * part.clamp(-1, 1) + ribs * veins
    patch = canvas[:, low[1] : high[1], low[0] : high[0]]
    canvas[:, low[1] : high[1], low[0] : high[0]] = patch + covered * (paint * lit - patch)
