"""What the drawn cut-outs have in common: colours, soft noise, blurs and shapes, in NumPy and Pillow alone, for the
python that renders has nothing else.

A mask is float32 [S,S] in 0..1. Points are in frames: (0, 0) is the upper left corner, (1, 1) the lower right one.
"""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageDraw, ImageFilter

FINER = 3  # shapes are drawn so many times larger and averaged down


def to_picture(colour: np.ndarray, alpha: np.ndarray) -> Image.Image:
    """Straight colours [S,S,3] (or one colour [3]) and alpha [S,S], both 0..1, as RGBA."""
    colour = np.broadcast_to(colour, (*alpha.shape, 3))
    pixels = np.concatenate([colour, alpha[..., None]], axis=2)
    return Image.fromarray(np.rint(pixels.clip(0, 1) * 255).astype(np.uint8))


def over(front: tuple[np.ndarray, np.ndarray], back: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """(colour, alpha) of one straight-alpha layer over another."""
    (colour, alpha), (below, alpha_below) = front, back
    seen = (1 - alpha) * alpha_below
    total = alpha + seen
    mixed = alpha[..., None] * colour + seen[..., None] * below
    return mixed / np.maximum(total, 1e-6)[..., None], total


def any_colour(rng: Generator, *, vivid: float = 0.6) -> np.ndarray:
    """A colour [3]: vivid, or black, white, grey or pale."""
    if rng.random() < vivid:
        return np.array(colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.5, 1), rng.uniform(0.4, 1)), np.float32)
    grey = rng.choice([rng.uniform(0, 0.15), rng.uniform(0.85, 1), rng.uniform(0.2, 0.8)])
    return np.clip(grey + rng.normal(0, 0.03, 3), 0, 1).astype(np.float32)


def mesh(size: int) -> tuple[np.ndarray, np.ndarray]:
    """(x, y) of the pixels' centres in frames, to broadcast: [1,S] and [S,1]."""
    line = (np.arange(size, dtype=np.float32) + 0.5) / size
    return line[None, :], line[:, None]


def noise(size: int, rng: Generator, *, cells: float = 4, octaves: int = 5, stretch: float = 1.0) -> np.ndarray:
    """Soft noise [S,S] of mean 0 and spread about 1, the coarsest of `cells` a side; `stretch` > 1 draws it out
    upward."""
    total, weight = np.zeros((size, size), np.float32), 0.0
    for octave in range(octaves):
        across = min(size, max(2, round(cells * 2**octave)))
        down = min(size, max(2, round(cells * 2**octave / stretch)))
        grid = Image.fromarray(rng.standard_normal((down, across)).astype(np.float32))
        total += 0.55**octave * np.asarray(grid.resize((size, size), Image.Resampling.BICUBIC))
        weight += 0.3**octave
    return total / np.sqrt(weight)


def warped(picture: np.ndarray, right: np.ndarray, down: np.ndarray) -> np.ndarray:
    """The mask [S,S] looked up so many frames further right and down (arrays [S,S]), bilinear; 0 outside."""
    size = len(picture)
    x, y = mesh(size)
    column = (x + right) * size - 0.5
    row = (y + down) * size - 0.5
    left, top = np.floor(column).astype(int), np.floor(row).astype(int)
    across, below = column - left, row - top
    padded = np.pad(picture, 1)

    def at(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        return padded[(rows + 1).clip(0, size + 1), (columns + 1).clip(0, size + 1)]

    upper = at(top, left) * (1 - across) + at(top, left + 1) * across
    lower = at(top + 1, left) * (1 - across) + at(top + 1, left + 1) * across
    return (upper * (1 - below) + lower * below).astype(np.float32)


def blurred(mask: np.ndarray, radius: float) -> np.ndarray:
    """Gaussian blur by `radius` frames. Of the mask as 8 bits would show, hence in two halves of its precision."""
    coarse = np.floor(mask * 255) / 255
    fine = (mask - coarse) * 255
    soft = [
        np.asarray(
            Image.fromarray(np.rint(part.clip(0, 1) * 255).astype(np.uint8)).filter(
                ImageFilter.GaussianBlur(radius * len(mask))
            ),
            dtype=np.float32,
        )
        / 255
        for part in (coarse, fine)
    ]
    return soft[0] + soft[1] / 255


class Canvas:
    """A mask to draw on with shapes, FINER than it will be."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.picture = Image.new("L", (size * FINER, size * FINER))
        self.pen = ImageDraw.Draw(self.picture)

    def _pixels(self, points: Sequence) -> list[tuple[float, float]]:
        return [(float(x) * self.picture.width, float(y) * self.picture.width) for x, y in points]

    def polygon(self, points: Sequence, level: int = 255) -> None:
        self.pen.polygon(self._pixels(points), fill=level)

    def ellipse(self, centre: Sequence[float], half: Sequence[float], level: int = 255) -> None:
        (left, top), (right, bottom) = self._pixels(
            [(centre[0] - half[0], centre[1] - half[1]), (centre[0] + half[0], centre[1] + half[1])]
        )
        self.pen.ellipse((left, top, max(right, left), max(bottom, top)), fill=level)

    def line(self, points: Sequence, width: float, level: int = 255, *, ends: bool = True) -> None:
        """A stroke with round joints, and round ends where wanted."""
        places, thick = self._pixels(points), width * self.picture.width
        self.pen.line(places, fill=level, width=max(1, round(thick)), joint="curve")
        if ends and thick > 3:
            for x, y in (places[0], places[-1]):
                self.pen.ellipse((x - thick / 2, y - thick / 2, x + thick / 2, y + thick / 2), fill=level)

    def mask(self) -> np.ndarray:
        small = self.picture.resize((self.size, self.size), Image.Resampling.BOX)
        return np.asarray(small, dtype=np.float32) / 255


def curve(points: Sequence, steps: int = 24) -> np.ndarray:
    """A smooth line through the points (Catmull-Rom), as [K,2]."""
    points = np.asarray(points, float)
    ends = np.concatenate([[2 * points[0] - points[1]], points, [2 * points[-1] - points[-2]]])
    parts = []
    t = np.linspace(0, 1, steps, endpoint=False)[:, None]
    for before, start, stop, after in zip(ends, ends[1:], ends[2:], ends[3:]):
        parts.append(
            0.5
            * (
                2 * start
                + (stop - before) * t
                + (2 * before - 5 * start + 4 * stop - after) * t**2
                + (3 * start - before - 3 * stop + after) * t**3
            )
        )
    return np.concatenate([*parts, points[-1:]])


def around(centre: Sequence[float], radius: float, count: int, *, turn: float = 0.0, inner: float = 1.0) -> np.ndarray:
    """The corners of a polygon, or with `inner` < 1 of a star, [K,2]."""
    steps = count * (2 if inner < 1 else 1)
    angles = turn + 2 * np.pi * np.arange(steps) / steps
    far = radius * np.where(np.arange(steps) % 2, inner, 1.0)
    return np.stack([centre[0] + far * np.sin(angles), centre[1] - far * np.cos(angles)], axis=1)
