"""What shines or drifts, of soft alpha: flames, lightning, trails, sparks, orbs and neon signs; smoke and steam."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.random import Generator
from PIL import Image

from .canvas import Canvas, around, blurred, curve, mesh, noise, to_picture, warped
from .text import written

FLAMES = ((1.0, 0.95, 0.7), (1.0, 0.6, 0.1), (0.8, 0.15, 0.02)), ((0.9, 1, 1), (0.3, 0.6, 1), (0.1, 0.1, 0.7))


def _shining(light: np.ndarray, hue: np.ndarray) -> Image.Image:
    """Light [S,S] from 0 up as a layer: the stronger, the more it covers and the whiter it is."""
    alpha = 1 - np.exp(-2.2 * light)
    white = ((light - 0.7) / 1.3).clip(0, 1)[..., None]
    return to_picture(hue + (1 - hue) * white, alpha)


def _hue(rng: Generator) -> np.ndarray:
    colour = rng.uniform(0, 1, 3)
    colour[rng.integers(3)] = 1
    colour[rng.integers(3)] *= 0.2
    return (colour / colour.max()).astype(np.float32)


def glow(rng: Generator, size: int, fonts: Sequence[bytes]) -> Image.Image:
    return GLOWS[rng.integers(len(GLOWS))](rng, size, fonts)


def flame(rng: Generator, size: int, fonts: Sequence[bytes]) -> Image.Image:
    """A tongue of fire, or several: drops drawn upward by noise, white at the heart."""
    x, y = mesh(size)
    heat = np.zeros((size, size), np.float32)
    for _ in range(int(rng.choice([1, 1, 2, 4]))):
        middle, wide, tall = rng.normal(0.5, 0.1), rng.uniform(0.1, 0.22), rng.uniform(0.5, 0.85)
        up = (0.95 - y) / tall
        body = 1 - ((x - middle) / (wide * np.sqrt((up + 0.05).clip(0.02)) * (1.05 - up).clip(0.02) * 2)) ** 2
        heat = np.maximum(heat, body.clip(0, 1) * ((up > 0) & (up < 1.05)) * (1.25 - up))
    strength = rng.uniform(0.02, 0.05) * (1.2 - y)
    shift = [noise(size, rng, cells=cells, octaves=4, stretch=2) * strength for cells in (4, 3)]
    heat = blurred(warped(heat / 1.3, *shift), 0.006) * 1.3
    heat = (heat * (1 + 0.25 * noise(size, rng, cells=5, stretch=2.5))).clip(0, 1.3)
    ramp = np.array(FLAMES[int(rng.random() < 0.2)], np.float32)
    share = heat.clip(0, 1)[..., None]
    colour = np.where(
        share > 0.55,
        ramp[1] + (ramp[0] - ramp[1]) * (share - 0.55) / 0.45,
        ramp[2] + (ramp[1] - ramp[2]) * share / 0.55,
    )
    return to_picture(colour, (heat * 1.6).clip(0, 1) ** 0.8)


def lightning(rng: Generator, size: int, fonts: Sequence[bytes]) -> Image.Image:
    """A bolt that forks, with light around it."""
    canvas = Canvas(size)
    _bolt(canvas, np.array([rng.uniform(0.3, 0.7), 0.02]), np.array([rng.uniform(0.2, 0.8), 0.98]), 0.008, rng)
    core = canvas.mask()
    light = 1.6 * core + 1.2 * blurred(core, 0.012) + 1.5 * blurred(core, 0.04)
    return _shining(light, np.array(rng.choice([(0.55, 0.6, 1.0), (0.9, 0.5, 1), (0.5, 1, 0.9)]), np.float32))


def _bolt(canvas: Canvas, start: np.ndarray, stop: np.ndarray, width: float, rng: Generator, depth: int = 0) -> None:
    points = np.stack([start, stop])
    for _ in range(6):
        middle = (points[:-1] + points[1:]) / 2
        far = np.linalg.norm(points[1:] - points[:-1], axis=1, keepdims=True)
        middle = middle + far * rng.normal(0, 0.16, middle.shape)
        points = np.concatenate([np.stack([points[:-1], middle], axis=1).reshape(-1, 2), points[-1:]])
    canvas.line(points, width, ends=False)
    if depth < 2:
        for index in rng.integers(8, len(points) - 1, int(rng.integers(1, 5))):
            away = (stop - start) * rng.uniform(0.15, 0.45) + rng.normal(0, 0.15, 2)
            _bolt(canvas, points[index], points[index] + away, width * 0.6, rng, depth + 1)


def trail(rng: Generator, size: int, fonts: Sequence[bytes]) -> Image.Image:
    """Strokes of light, as of a torch that is swung or a magic ring, with or without sparks."""
    light, hue = np.zeros((size, size), np.float32), _hue(rng)
    for _ in range(int(rng.integers(1, 4))):
        canvas, width = Canvas(size), rng.uniform(0.003, 0.02)
        if rng.random() < 0.4:
            angles = np.linspace(0, rng.uniform(4, 9), 80) + rng.uniform(0, 6)
            tilt, far = rng.uniform(0.25, 1), rng.uniform(0.2, 0.42) * np.linspace(1, rng.uniform(0.4, 1), 80)
            points = np.stack([0.5 + far * np.cos(angles), 0.5 + tilt * far * np.sin(angles)], axis=1)
        else:
            points = curve(rng.uniform(0.1, 0.9, (int(rng.integers(3, 7)), 2)))
        for share, (begin, end) in enumerate(pairwise(points), start=1):
            canvas.line([begin, end], width * (0.25 + share / len(points)))
        core = canvas.mask()
        light += core + 0.9 * blurred(core, 2 * width) + 0.8 * blurred(core, 0.05)
    return _shining(light, hue)


def sparks(rng: Generator, size: int, fonts: Sequence[bytes]) -> Image.Image:
    """Points and short strokes flung from a place, or drifting embers."""
    canvas, origin = Canvas(size), rng.uniform(0.3, 0.7, 2)
    drifting = rng.random() < 0.4
    for _ in range(int(rng.integers(40, 220))):
        angle, far = rng.uniform(0, 2 * np.pi), 0.48 * np.sqrt(rng.random())
        where = rng.uniform(0.03, 0.97, 2) if drifting else origin + far * np.array([np.cos(angle), np.sin(angle)])
        away = np.array([0.003, 0.003]) if drifting else (where - origin) * rng.uniform(0.05, 0.3)
        canvas.line([where, where + away], rng.uniform(0.002, 0.008), int(rng.integers(120, 256)))
    core = canvas.mask()
    return _shining(2 * core + 1.5 * blurred(core, 0.008) + blurred(core, 0.03), _hue(rng) * 0.6 + [0.4, 0.25, 0.05])


def orb(rng: Generator, size: int, fonts: Sequence[bytes]) -> Image.Image:
    """A ball of light, with rays or a ring."""
    x, y = mesh(size)
    away = np.hypot(x - 0.5, y - 0.5)
    edge = ((0.49 - away) / 0.12).clip(0, 1)
    light = 0.05 * edge / (away + 0.03) ** rng.uniform(1, 1.4) * rng.uniform(0.4, 1.2)
    if rng.random() < 0.5:
        count, turn = int(rng.choice([4, 6, 8])), rng.random()
        angle = np.arctan2(y - 0.5, x - 0.5)
        rays = np.abs(np.cos(count / 2 * angle + turn)) ** rng.uniform(60, 400)
        light = light + rays * edge * 0.06 / (away + 0.04)
    if rng.random() < 0.4:
        light = light + 0.8 * np.exp(-(((away - rng.uniform(0.2, 0.4)) / rng.uniform(0.004, 0.02)) ** 2)) * edge
    return _shining(light, _hue(rng))


def neon(rng: Generator, size: int, fonts: Sequence[bytes]) -> Image.Image:
    """A sign of glass tubes: words, or a shape, white within and with light around."""
    if rng.random() < 0.6:
        solid = written(rng, fonts, size, lines=int(rng.integers(1, 3)))
        core = (blurred(solid, 0.006) - blurred(solid, 0.003) * 0.5).clip(0, 1) * 1.6 if rng.random() < 0.5 else solid
    else:
        canvas = Canvas(size)
        corners = around((0.5, 0.5), 0.38, int(rng.integers(3, 9)), inner=float(rng.choice([1.0, 0.5])))
        canvas.line(np.concatenate([corners, corners[:1]]), rng.uniform(0.01, 0.025))
        core = canvas.mask()
    return _shining(1.8 * core + blurred(core, 0.015) + 0.8 * blurred(core, 0.05), _hue(rng))


def smoke(rng: Generator, size: int, fonts: Sequence[bytes]) -> Image.Image:
    """A plume, a puff, a bank of fog or a splash of powder."""
    x, y = mesh(size)
    kind = rng.integers(3)
    if kind == 0:  # a plume that widens upward
        up = (1 - y).clip(0, 1)
        drift = rng.uniform(-0.3, 0.3) * up**2
        wide = rng.uniform(0.03, 0.08) + rng.uniform(0.15, 0.35) * up
        body = np.exp(-(((x - 0.5 - drift) / wide) ** 2)) * (up * 8).clip(0, 1) * (1.15 - up) ** 0.7
    elif kind == 1:  # puffs
        body = np.zeros((size, size), np.float32)
        for _ in range(int(rng.integers(3, 12))):
            centre, radius = rng.normal(0.5, 0.13, 2), rng.uniform(0.08, 0.2)
            body = np.maximum(body, np.exp(-(((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / radius**2)))
    else:  # a bank
        body = np.exp(-(((y - 0.6) / rng.uniform(0.12, 0.25)) ** 2)) * np.exp(-(((x - 0.5) / 0.35) ** 4))
    strength = rng.uniform(0.03, 0.09)
    shift = [strength * noise(size, rng, cells=3, octaves=5) for _ in range(2)]
    body = warped(body.astype(np.float32), *shift)
    billows = noise(size, rng, cells=4, octaves=6)
    x, y = np.broadcast_arrays(x, y)
    rim = (np.minimum.reduce([x, 1 - x, y, 1 - y]) / 0.08).clip(0, 1)  # nothing is cut off by the frame
    alpha = (body * (0.9 + 0.5 * billows)).clip(0, None) * rim * rng.uniform(0.8, 1.6)
    light = 0.5 + 0.25 * billows + 0.2 * (0.5 - y)
    grey = rng.choice([rng.uniform(0.75, 1), rng.uniform(0.1, 0.4)])
    tint = np.ones(3) if rng.random() < 0.7 else 0.4 + 0.6 * _hue(rng)
    return to_picture((grey * (0.55 + 0.6 * light.clip(0, 1)))[..., None] * tint, 1 - np.exp(-1.5 * alpha))


GLOWS = (flame, flame, lightning, trail, sparks, orb, neon)
