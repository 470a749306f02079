"""Light that makes photographs hard: night, backlight, coloured lamps, neon, flash, dappled shade.

Each takes the objects, a premultiplied layer [4,S,S], and what lies behind them, [3,S,S], and gives both as that light
shows them, in 0..1. Alpha stays as it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .compositing import gaussian_blur

Lit = tuple[Tensor, Tensor]


def night(layer: Tensor, behind: Tensor, rng: np.random.Generator) -> Lit:
    """Little light, bluish, and a lamp or two."""
    light = rng.uniform(0.1, 0.35) * _hue(rng, (0.55, 0.7, 1.0), layer.device)
    for _ in range(int(rng.integers(0, 3))):
        light = light + rng.uniform(0.2, 1.0) * _pool(layer, rng) * _hue(rng, (1.0, 0.75, 0.45), layer.device)
    return _times(layer, light), (behind * light).clamp(0, 1)


def backlit(layer: Tensor, behind: Tensor, rng: np.random.Generator) -> Lit:
    """Bright behind, dark before, light along the outline."""
    glare = rng.uniform(0.3, 0.9) * (0.4 + 0.6 * _pool(layer, rng))
    behind = behind + glare * (_hue(rng, (1.0, 0.95, 0.85), layer.device) - behind)
    shade = rng.uniform(0.1, 0.5) * _hue(rng, (0.9, 0.95, 1.0), layer.device)
    return _rimmed(_times(layer, shade), rng.uniform(0.2, 1.0), behind.mean(dim=(1, 2)), rng), behind.clamp(0, 1)


def coloured(layer: Tensor, behind: Tensor, rng: np.random.Generator) -> Lit:
    """A lamp of one colour from a side and one of another from the other, over some white light."""
    first, second = _gel(rng, layer.device), _gel(rng, layer.device)
    ramp, white = _ramp(layer, rng), rng.uniform(0.1, 0.6)
    light = white + rng.uniform(0.5, 1.2) * (ramp * first + (1 - ramp) * second)
    ground = white + rng.uniform(0.1, 0.7) * (second if rng.random() < 0.5 else ramp * first + (1 - ramp) * second)
    return _times(layer, light), (behind * ground).clamp(0, 1)


def neon(layer: Tensor, behind: Tensor, rng: np.random.Generator) -> Lit:
    """Dark but for coloured lamps, which draw outlines and glow behind."""
    first, second = _gel(rng, layer.device), _gel(rng, layer.device)
    ramp = _ramp(layer, rng)
    light = rng.uniform(0.06, 0.2) + rng.uniform(0.5, 1.2) * (ramp**2 * first + (1 - ramp) ** 2 * second)
    behind = behind * rng.uniform(0.05, 0.3)
    for hue in (first, second):
        behind = behind + rng.uniform(0.1, 0.8) * _pool(layer, rng) ** 2 * hue
    rim = (first if rng.random() < 0.5 else second).flatten()
    return _rimmed(_times(layer, light), rng.uniform(0.2, 0.9), rim, rng), behind.clamp(0, 1)


def flash(layer: Tensor, behind: Tensor, rng: np.random.Generator) -> Lit:
    """Bright before, dark behind."""
    return _times(layer, torch.full_like(layer[:1], rng.uniform(1.0, 1.5))), behind * rng.uniform(0.05, 0.4)


def dappled(layer: Tensor, behind: Tensor, rng: np.random.Generator) -> Lit:
    """Shade with spots or bars of sun, across objects and what lies behind them."""
    size = layer.shape[-1]
    if rng.random() < 0.6:
        side = int(rng.integers(3, 16))
        grid = torch.from_numpy(rng.standard_normal((1, 1, side, side)).astype(np.float32)).to(layer.device)
        mask = F.interpolate(grid, size=(size, size), mode="bicubic", align_corners=False)[0]
    else:
        mask = torch.sin(_ramp(layer, rng) * rng.uniform(6, 40)) - rng.uniform(-0.3, 0.5)
    sun = torch.sigmoid(mask * rng.uniform(2, 15))
    shade = rng.uniform(0.25, 0.6)
    light = (shade + (1.15 - shade) * sun).expand(3, -1, -1)
    return _times(layer, light), (behind * light).clamp(0, 1)


LIGHTS: dict[str, Callable[[Tensor, Tensor, np.random.Generator], Lit]] = {
    light.__name__: light for light in (night, backlit, coloured, neon, flash, dappled)
}


def lit(layer: Tensor, behind: Tensor, shares: dict[str, float], rng: np.random.Generator) -> Lit:
    """Both in a light drawn by its share, or as they are."""
    drawn, passed = rng.random(), 0.0
    for name, light in LIGHTS.items():  # in this order, whatever the recipe's is
        passed += shares.get(name, 0.0)
        if drawn < passed:
            return light(layer, behind, rng)
    return layer, behind


def _times(layer: Tensor, light: Tensor) -> Tensor:
    return torch.cat([torch.minimum(layer[:3] * light, layer[3:]), layer[3:]])


def _rimmed(layer: Tensor, strength: float, hue: Tensor, rng: np.random.Generator) -> Tensor:
    """Light along the inner side of the outline, mostly from one direction."""
    sigma = torch.tensor([layer.shape[-1] * rng.uniform(0.003, 0.012)], device=layer.device)
    edge = (layer[3:] * (1 - gaussian_blur(layer[None, 3:], sigma)[0]) * 2).clamp(0, 1)
    edge = edge * (0.3 + 0.7 * _ramp(layer, rng)) * strength
    return torch.cat([torch.minimum(layer[:3] + edge * hue.view(3, 1, 1), layer[3:]), layer[3:]])


def _ramp(layer: Tensor, rng: np.random.Generator) -> Tensor:
    """0..1 across the frame in any direction, [1,S,S]."""
    angle, steep = rng.uniform(0, 2 * math.pi), rng.uniform(1, 4)
    line = torch.linspace(-1, 1, layer.shape[-1], device=layer.device)
    along = line[None, :] * math.cos(angle) + line[:, None] * math.sin(angle)
    return torch.sigmoid(steep * along)[None]


def _pool(layer: Tensor, rng: np.random.Generator) -> Tensor:
    """A soft pool of light somewhere, [1,S,S] up to 1."""
    line = torch.linspace(-1, 1, layer.shape[-1], device=layer.device)
    x, y = rng.uniform(-1, 1, 2)
    radius = rng.uniform(0.4, 1.2)
    return torch.exp(-((line[None, :] - x) ** 2 + (line[:, None] - y) ** 2) / radius**2)[None]


def _hue(rng: np.random.Generator, about: tuple[float, float, float], device: torch.device) -> Tensor:
    colour = np.clip(np.array(about) * np.exp(rng.normal(0, 0.12, 3)), 0, 1)
    return torch.tensor(colour, dtype=torch.float32, device=device).view(3, 1, 1)


def _gel(rng: np.random.Generator, device: torch.device) -> Tensor:
    """A strong colour [3,1,1], as of a lamp with a filter."""
    colour = rng.uniform(0, 0.3, 3)
    colour[rng.integers(3)] = 1
    if rng.random() < 0.5:
        colour[rng.integers(3)] = rng.uniform(0.4, 1)
    return torch.tensor(colour, dtype=torch.float32, device=device).view(3, 1, 1)
