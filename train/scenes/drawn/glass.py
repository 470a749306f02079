"""Glass and what else is seen through: bottles, goblets, bowls, bubbles, marbles, panes and ice. What lies behind shows
through unbent; the rim and the reflections cover more than the body."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.random import Generator
from PIL import Image

from .canvas import Canvas, any_colour, around, blurred, curve, mesh, noise, over, to_picture

# Half widths of turned things at heights from the rim (0) to the foot (1).
PROFILES = (
    (0.35, 0.36, 0.36, 0.4, 0.9, 1, 1, 1, 0.95),  # bottle
    (0.85, 1, 0.98, 0.85, 0.45, 0.1, 0.08, 0.1, 0.7),  # goblet
    (1, 0.97, 0.94, 0.91, 0.88, 0.85, 0.82, 0.8, 0.78),  # tumbler
    (0.5, 0.42, 0.45, 0.7, 0.95, 1, 0.92, 0.7, 0.5),  # vase
    (1, 1, 0.98, 0.93, 0.85, 0.72, 0.55, 0.4, 0.35),  # bowl
    (0.3, 0.3, 0.35, 0.8, 1, 1, 1, 1, 0.97),  # jar
)


def glass(rng: Generator, size: int, fonts: Sequence[bytes]) -> Image.Image:
    return (turned, turned, turned, bubble, pane, ice)[rng.integers(6)](rng, size)


def _tint(rng: Generator) -> np.ndarray:
    """The colour of the body: mostly near white or black, else green, brown, blue or any."""
    if rng.random() < 0.6:
        return np.full(3, rng.choice([rng.uniform(0.75, 1), rng.uniform(0.1, 0.4)]), np.float32)
    return any_colour(rng, vivid=1.0)


def turned(rng: Generator, size: int) -> Image.Image:
    """A bottle, goblet, tumbler, vase, bowl or jar, perhaps with something in it."""
    profile = np.array(PROFILES[rng.integers(len(PROFILES))]) * np.exp(rng.normal(0, 0.06, 9))
    x, y = mesh(size)
    tall, wide = rng.uniform(0.7, 0.92), rng.uniform(0.16, 0.42)
    top = (1 - tall) / 2
    height = ((y - top) / tall)[:, 0]
    smooth = curve(np.stack([np.linspace(0, 1, 9), profile / profile.max()], axis=1), 16)
    half = wide * np.interp(height, smooth[:, 0], smooth[:, 1])[:, None]
    inside = ((half - np.abs(x - 0.5)) * size).clip(0, 1) * ((height >= 0) & (height <= 1))[:, None]
    across = ((x - 0.5) / np.maximum(half, 1e-3)).clip(-1, 1)
    thick = 1 / np.sqrt(1.03 - across**2)  # how much glass one looks through
    body = rng.uniform(0.05, 0.3)
    colour, alpha = np.broadcast_to(_tint(rng), (size, size, 3)), (body * thick).clip(0, 0.85) * inside
    rim = ((1 - np.abs(across)) * half * size / (0.012 * size)).clip(0, 1)
    dark = np.broadcast_to(np.full(3, rng.uniform(0, 0.5)), (size, size, 3))
    layer = over((dark, (1 - rim) * inside * rng.uniform(0.4, 0.9)), (colour, alpha))
    if rng.random() < 0.55:  # a liquid
        level = rng.uniform(0.2, 0.75)
        bottom = rng.uniform(0.85, 0.97)
        soak = ((height - level) * size / 2).clip(0, 1) * ((bottom - height) * size / 2).clip(0, 1)
        wet = soak[:, None] * ((half * 0.92 - np.abs(x - 0.5)) * size).clip(0, 1) * (half > 0.05)
        layer = over(
            (np.broadcast_to(any_colour(rng, vivid=0.9), (size, size, 3)), wet * rng.uniform(0.3, 0.95)), layer
        )
    shine = np.zeros((size, size), np.float32)
    for _ in range(int(rng.integers(1, 4))):  # reflections of windows, drawn out along the side
        at, broad = rng.uniform(-0.8, 0.8), rng.uniform(0.03, 0.12)
        begin, end = sorted(rng.uniform(0.02, 0.98, 2))
        along = ((height - begin) * 20).clip(0, 1) * ((end - height) * 20).clip(0, 1)
        shine = np.maximum(shine, np.exp(-(((across - at) / broad) ** 4)) * along[:, None] * rng.uniform(0.3, 0.95))
    layer = over((np.ones((size, size, 3)), shine * inside), layer)
    return to_picture(*_with_rings(layer, rng, top, tall, half, height, size))


def _with_rings(layer, rng: Generator, top: float, tall: float, half: np.ndarray, height: np.ndarray, size: int):
    """The opening and the foot, ellipses as seen from a little above."""
    flat = rng.uniform(0.05, 0.25)
    for where in (0.01, 0.985):
        row = int(np.abs(height - where).argmin())
        wide = float(half[row, 0])
        canvas = Canvas(size)
        middle, thick = (0.5, top + where * tall), 0.008
        canvas.ellipse(middle, (wide, max(wide * flat, thick)))
        canvas.ellipse(middle, (wide - thick, max(wide * flat - thick, 0)), 0)
        shade = np.full((size, size, 3), rng.choice([rng.uniform(0.8, 1), rng.uniform(0.1, 0.4)]))
        layer = over((shade, canvas.mask() * rng.uniform(0.5, 0.95)), layer)
    return layer


def bubble(rng: Generator, size: int) -> Image.Image:
    """Bubbles and marbles: clear in the middle, coloured or dark at the rim, a window mirrored in them."""
    layer = np.zeros((size, size, 3)), np.zeros((size, size), np.float32)
    x, y = mesh(size)
    for _ in range(int(rng.choice([1, 1, 2, 6]))):
        radius = rng.uniform(0.12, 0.45)
        centre = rng.uniform(radius + 0.02, 0.98 - radius, 2)
        away = np.hypot(x - centre[0], y - centre[1]) / radius
        inside = ((1 - away) * radius * size).clip(0, 1)
        rim = away.clip(0, 1) ** rng.uniform(3, 10)
        angle = np.arctan2(y - centre[1], x - centre[0])
        shades = 0.5 + 0.5 * np.stack([np.cos(angle * rng.integers(1, 4) + phase) for phase in (0, 2.1, 4.2)], axis=2)
        colour = 0.3 + 0.7 * shades if rng.random() < 0.6 else np.broadcast_to(_tint(rng), (size, size, 3))
        alpha = (rng.uniform(0.02, 0.25) + rng.uniform(0.5, 0.95) * rim).clip(0, 1) * inside
        spot = centre + radius * rng.uniform(-0.5, -0.2, 2)
        shine = np.exp(-((np.hypot(x - spot[0], (y - spot[1]) * 1.4) / (0.18 * radius)) ** 4)) * rng.uniform(0.5, 1)
        layer = over(over((np.ones((size, size, 3)), shine * inside), (colour, alpha)), layer)
    return to_picture(*layer)


def pane(rng: Generator, size: int) -> Image.Image:
    """A sheet of glass or film, with a frame or an edge, reflections across it, and sometimes scratches."""
    corners = np.array([(0.1, 0.1), (0.9, 0.1), (0.9, 0.9), (0.1, 0.9)]) + rng.normal(0, 0.05, (4, 2))
    corners[:, 0] = 0.5 + (corners[:, 0] - 0.5) * rng.uniform(0.5, 1)
    corners = corners.clip(0.02, 0.98)
    whole, edge = Canvas(size), Canvas(size)
    whole.polygon(corners)
    edge.line(np.concatenate([corners, corners[:1]]), rng.choice([0.006, 0.006, 0.04]))
    mask = whole.mask()
    layer = np.broadcast_to(_tint(rng), (size, size, 3)), mask * rng.uniform(0.08, 0.4)
    x, y = mesh(size)
    bands = np.sin((x + rng.uniform(0.3, 1) * y) * rng.uniform(6, 20) + rng.uniform(0, 6))
    shine = (bands - rng.uniform(0.2, 0.8)).clip(0, 1) * mask * rng.uniform(0.3, 1)
    layer = over((np.ones((size, size, 3)), shine), layer)
    framed = np.broadcast_to(any_colour(rng, vivid=0.3), (size, size, 3)), edge.mask() * rng.uniform(0.7, 1)
    return to_picture(*over(framed, layer))


def ice(rng: Generator, size: int) -> Image.Image:
    """Facets of uneven clearness: ice, crystals, cut gems, jelly."""
    outline = around((0.5, 0.5), 0.44, int(rng.integers(5, 10)), turn=rng.random())
    outline = 0.5 + (outline - 0.5) * rng.uniform(0.7, 1, (len(outline), 1))
    tint, middle = _tint(rng), np.array([0.5, 0.5]) + rng.normal(0, 0.08, 2)
    colour, alpha = np.broadcast_to(tint, (size, size, 3)).copy(), np.zeros((size, size), np.float32)
    inner = middle + (outline - middle) * rng.uniform(0.35, 0.6)
    ends = np.roll(np.arange(len(outline)), -1)
    facets = [np.stack([outline[i], outline[j], inner[j], inner[i]]) for i, j in enumerate(ends)] + [inner]
    for facet in facets:
        canvas = Canvas(size)
        canvas.polygon(facet)
        canvas.line(np.concatenate([facet, facet[:1]]), 0.005)
        mask = canvas.mask()
        shade = np.clip(tint * rng.uniform(0.5, 1.3) + rng.uniform(0, 0.3), 0, 1)
        colour += mask[..., None] * (shade - colour)
        alpha = np.maximum(alpha * (1 - mask), mask * rng.uniform(0.15, 0.75))
    frost = (0.5 + 0.4 * noise(size, rng, cells=6)).clip(0, 1)
    alpha = (alpha * (0.75 + 0.4 * frost)).clip(0, 1)
    layer = over((np.ones((size, size, 3)), blurred((frost > 0.9).astype(np.float32), 0.004) * alpha), (colour, alpha))
    return to_picture(*layer)
