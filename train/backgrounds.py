"""Backgrounds nobody photographed: studio sheets, gradients, clouds of noise, woven patterns."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def _colour(rng: np.random.Generator) -> Tensor:
    """One colour [3,1,1]; half of them greyish or white, as studio walls are."""
    colour = rng.uniform(0, 1, 3)
    if rng.random() < 0.5:
        colour = np.clip(rng.choice([rng.uniform(0.1, 0.9), rng.uniform(0.85, 1.0)]) + rng.normal(0, 0.04, 3), 0, 1)
    return torch.tensor(colour, dtype=torch.float32).view(3, 1, 1)


def _ramp(size: int, rng: np.random.Generator) -> Tensor:
    """Linear 0..1 ramp [1,S,S] in a random direction."""
    angle = rng.uniform(0, 2 * math.pi)
    x = torch.linspace(-1, 1, size)
    ramp = x[None, :] * math.cos(angle) + x[:, None] * math.sin(angle)
    return ((ramp / 1.42 + 1) / 2)[None]


def gradient(size: int, rng: np.random.Generator) -> Tensor:
    """One or two colours with a soft ramp between them."""
    first = _colour(rng)
    second = _colour(rng) if rng.random() < 0.5 else (first * rng.uniform(0.6, 1.2)).clamp(0, 1)
    ramp = _ramp(size, rng)
    return first * (1 - ramp) + second * ramp


def studio(size: int, rng: np.random.Generator) -> Tensor:
    """A wall and a floor of nearly the same colour, with a soft horizon and a vignette."""
    wall = _colour(rng)
    floor = (wall * rng.uniform(0.7, 1.15)).clamp(0, 1)
    y = torch.linspace(0, 1, size)[None, :, None]
    mix = torch.sigmoid((y - rng.uniform(0.5, 0.9)) * rng.uniform(10, 200))
    x = torch.linspace(-1, 1, size)
    distance = x[None, :] ** 2 + x[:, None] ** 2
    return (wall * (1 - mix) + floor * mix) * (1 - rng.uniform(0, 0.3) * distance[None] / 2)


def clouds(size: int, rng: np.random.Generator) -> Tensor:
    """Smooth noise of three octaves between two colours."""
    noise = torch.zeros(1, 1, size, size)
    cells = int(rng.integers(2, 9))
    for octave in range(3):
        grid = torch.from_numpy(rng.standard_normal((1, 1, cells * 2**octave, cells * 2**octave)).astype(np.float32))
        noise += F.interpolate(grid, size=(size, size), mode="bicubic", align_corners=False) * 0.6**octave
    mix = torch.sigmoid(noise[0] * rng.uniform(0.7, 4.0))
    return _colour(rng) * mix + _colour(rng) * (1 - mix)


def pattern(size: int, rng: np.random.Generator) -> Tensor:
    """A repeated tile of random colours: cloth, wallpaper, tiles."""
    cells, repeats = int(rng.integers(2, 9)), int(rng.integers(2, 14))
    tile = torch.from_numpy(rng.uniform(0, 1, (1, 3, cells, cells)).astype(np.float32))
    side = max(cells, size // repeats)
    tile = F.interpolate(tile, size=(side, side), mode="nearest" if rng.random() < 0.5 else "bilinear")[0]
    tile = tile.repeat(1, -(-size // side), -(-size // side))[:, :size, :size]
    share = rng.uniform(0.1, 1.0)
    return (tile * share + _colour(rng) * (1 - share)) * (0.7 + 0.3 * _ramp(size, rng))


KINDS = (gradient, studio, clouds, pattern)


def procedural(size: int, rng: np.random.Generator) -> Tensor:
    """One of the kinds above -> [3,S,S] in 0..1."""
    return KINDS[rng.integers(len(KINDS))](size, rng).clamp(0, 1)
