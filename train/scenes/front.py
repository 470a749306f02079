"""What stands before the objects of a picture and is not asked for: a table or wall they are behind, bars, or something
too near to be in focus."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from .backgrounds import gradient, wall
from .compositing import defocus, homography, sample


def front(size: int, photograph: Tensor, thing: Tensor, rng: np.random.Generator) -> Tensor:
    """A premultiplied layer [4,S,S]. photograph: [3,S,S], whose surface it may wear. thing: a premultiplied cut-out."""
    kind = rng.choice(["table", "bars", "near"], p=[0.5, 0.25, 0.25])
    if kind == "near":
        return _near(size, thing, rng)
    alpha = (_table if kind == "table" else _bars)(size, rng).to(photograph.device)
    surface = photograph if rng.random() < 0.5 else (wall if rng.random() < 0.5 else gradient)(size, rng)
    return torch.cat([surface.to(photograph.device).clamp(0, 1) * alpha, alpha])


def _table(size: int, rng: np.random.Generator) -> Tensor:
    """All below a line, slightly tilted or curved."""
    x, y = torch.linspace(-1, 1, size)[None, :], torch.linspace(0, 1, size)[:, None]
    line = rng.uniform(0.62, 0.92) + rng.normal(0, 0.03) * x + rng.normal(0, 0.02) * x**2
    return ((y - line) * size).clamp(0, 1)[None]


def _bars(size: int, rng: np.random.Generator) -> Tensor:
    """A few parallel bars, upright, level or slanting: a railing, a fence, branches."""
    x = torch.linspace(-1, 1, size)
    angle = rng.choice([0.0, math.pi / 2, rng.uniform(0, math.pi)]) + rng.normal(0, 0.05)
    across = x[None, :] * math.cos(angle) + x[:, None] * math.sin(angle)
    alpha = torch.zeros(size, size)
    for _ in range(int(rng.integers(1, 6))):
        half, at = rng.uniform(0.008, 0.05), rng.uniform(-0.9, 0.9)
        alpha = torch.maximum(alpha, ((half - (across - at).abs()) * size / 2).clamp(0, 1))
    return alpha[None]


def _near(size: int, thing: Tensor, rng: np.random.Generator) -> Tensor:
    """A thing at the frame's border, out of focus."""
    angle, extent = rng.uniform(0, 2 * math.pi), rng.uniform(0.3, 0.7)
    centre = (1.1 * math.cos(angle), 1.1 * math.sin(angle))
    matrix = homography(centre=centre, half_size=(extent, extent), angle=rng.uniform(-math.pi, math.pi))
    layer = sample(thing, matrix, (size, size))[None]
    for _ in range(2):
        layer = defocus(layer, torch.tensor([size * rng.uniform(0.015, 0.03)], device=layer.device))
    return layer[0].clamp(0, 1)
