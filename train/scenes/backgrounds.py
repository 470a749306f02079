"""Backgrounds nobody photographed: studio sheets, gradients, clouds, patterns, scenes of plain hard-edged shapes,
skies, walls and grounds, and lights out of focus.

The hard-edged ones (hills, facade, drops) are there because the first bundled model took large plain shapes for the
subject: five such photographs made 72 % of its error on E1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

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


def _fill(size: int, rng: np.random.Generator) -> Tensor:
    """What a shape is painted with: a ramp or clouds."""
    return gradient(size, rng) if rng.random() < 0.7 else clouds(size, rng)


def hills(size: int, rng: np.random.Generator) -> Tensor:
    """Two to seven layers with wavy or straight rims from border to border: shores, roofs, walls, folded paper."""
    picture = _fill(size, rng)
    x = torch.linspace(-1, 1, size)
    for _ in range(int(rng.integers(2, 8))):
        angle = rng.uniform(0, 2 * math.pi)
        along = x[None, :] * math.cos(angle) + x[:, None] * math.sin(angle)
        across = x[:, None] * math.cos(angle) - x[None, :] * math.sin(angle)
        waves = [rng.uniform(0, 0.25) * torch.sin(across * rng.uniform(0.5, 8) + rng.uniform(0, 6.3)) for _ in "ab"]
        rim = along - rng.uniform(-0.9, 0.9) + (sum(waves) if rng.random() < 0.6 else 0)
        covered = (rim * size * rng.choice([0.5, 0.5, 0.05])).clamp(0, 1)[None]
        picture = picture + covered * (_fill(size, rng) - picture)
    return picture


def facade(size: int, rng: np.random.Generator) -> Tensor:
    """Rows and columns of rectangles under a random perspective: windows, bricks, shelves, stripes, floorboards."""
    x = torch.linspace(-1, 1, size)
    angle, tilt = rng.normal(0, 0.25), rng.normal(0, 0.3, 2)
    depth = 1 + tilt[0] * x[None, :] + tilt[1] * x[:, None]
    depth = depth.clamp(min=0.25)
    across = (x[None, :] * math.cos(angle) - x[:, None] * math.sin(angle)) / depth
    down = (x[:, None] * math.cos(angle) + x[None, :] * math.sin(angle)) / depth
    columns, rows = rng.uniform(0.7, 12, 2)
    if rng.random() < 0.3:
        rows = 0.1  # stripes
    row = torch.floor(down * rows + 50)
    across = across * columns + 50 + (0.5 * (row % 2) if rng.random() < 0.3 else 0)
    column = torch.floor(across)
    gap = rng.uniform(0.03, 0.45, 2)
    inside = [
        ((part.clamp(0, 1) - half).clamp(max=0) + (1 - half - part.clamp(0, 1)).clamp(max=0)).mul(size / count).add(1)
        for part, half, count in ((across - column, gap[0] / 2, columns), (down * rows + 50 - row, gap[1] / 2, rows))
    ]
    covered = (inside[0].clamp(0, 1) * (1 if rows < 0.5 else inside[1].clamp(0, 1)))[None]
    shades = torch.from_numpy(rng.uniform(1 - rng.uniform(0, 0.9), 1, (3, 97)).astype(np.float32))
    if rng.random() < 0.6:
        shades = shades[:1].expand(3, -1)
    which = ((column * 31 + row * 17) % 97).long().clamp(0, 96)
    return _fill(size, rng) * (1 - covered) + covered * _fill(size, rng) * shades[:, which]


def drops(size: int, rng: np.random.Generator) -> Tensor:
    """Many shaded ellipses over one another until little between them shows: drops, pebbles, fruit, cups from above."""
    picture = _fill(size, rng)
    x = torch.linspace(-1, 1, size)
    radius = rng.uniform(0.06, 0.4)
    ring, few = rng.random() < 0.4, [_colour(rng) for _ in range(int(rng.integers(1, 6)))]
    for _ in range(int(min(90, rng.uniform(0.5, 2.5) / radius**2))):
        half = radius * np.exp(rng.normal(0, 0.3, 2))
        centre = rng.uniform(-1.1, 1.1, 2)
        left, right = (int(np.clip((centre[0] + side * half[0] + 1) / 2 * size, 0, size)) for side in (-1, 1))
        top, bottom = (int(np.clip((centre[1] + side * half[1] + 1) / 2 * size, 0, size)) for side in (-1, 1))
        if right - left < 3 or bottom - top < 3:
            continue
        u = ((x[left:right] - centre[0]) / half[0])[None, :]
        v = ((x[top:bottom] - centre[1]) / half[1])[:, None]
        distance = (u**2 + v**2).sqrt()
        covered = ((1 - distance) * min(half) * size / 2).clamp(0, 1)
        colour = few[rng.integers(len(few))] * (1 - rng.uniform(0, 0.6) * (0.5 + 0.5 * (u * 0.7 + v * 0.7)))
        if ring:
            colour = torch.where((distance > rng.uniform(0.6, 0.9))[None], colour * rng.uniform(1.1, 1.6), colour)
        patch = picture[:, top:bottom, left:right]
        picture[:, top:bottom, left:right] = patch + covered[None] * (colour - patch)
    return picture


def _spots(
    picture: Tensor, rng: np.random.Generator, *, count: int, radius: tuple[float, float], strength: float
) -> Tensor:
    """Light discs, somewhat brighter at their rims, added to a picture [3,S,S]; radii in frames."""
    size = picture.shape[-1]
    hues = [_vivid(rng) for _ in range(int(rng.integers(1, 4)))]
    for _ in range(count):
        far = size * math.exp(rng.uniform(*np.log(radius)))
        centre = rng.uniform(0, 1, 2) * size
        top, left = (int(max(0, middle - far - 1)) for middle in centre)
        bottom, right = (int(min(size, middle + far + 2)) for middle in centre)
        rows = torch.arange(top, bottom)[:, None] + 0.5 - centre[0]
        columns = torch.arange(left, right)[None, :] + 0.5 - centre[1]
        away = (rows**2 + columns**2).sqrt()
        disc = (far - away + 0.5).clamp(0, 1) * (0.75 + 0.25 * (away / max(far, 1)) ** 4)
        light = strength * rng.uniform(0.3, 1) * hues[rng.integers(len(hues))]
        picture[:, top:bottom, left:right] += disc * light
    return picture


def _vivid(rng: np.random.Generator) -> Tensor:
    """A bright colour [3,1,1]: warm, white or any."""
    kind = rng.integers(3)
    if kind == 2:
        colour = rng.uniform(0, 1, 3)
        colour = colour / colour.max()
    else:
        colour = np.array([(1, rng.uniform(0.55, 0.85), rng.uniform(0.2, 0.5)), (1, 1, rng.uniform(0.85, 1))][kind])
    return torch.tensor(colour, dtype=torch.float32).view(3, 1, 1)


def bokeh(size: int, rng: np.random.Generator) -> Tensor:
    """Lights far out of focus, mostly at night."""
    picture = (gradient if rng.random() < 0.5 else clouds)(size, rng) * rng.uniform(0.05, 0.8)
    small = rng.uniform(0.01, 0.05)
    count = int(min(150, rng.uniform(0.2, 2) / small**2 / 4))
    return _spots(
        picture, rng, count=count, radius=(small, small * rng.uniform(1.2, 3)), strength=rng.uniform(0.2, 0.9)
    )


def glitter(size: int, rng: np.random.Generator) -> Tensor:
    """Thousands of sparkling grains, sharp in a band and out of focus beside it: sequins, sand, wet ground, snow."""
    picture = (gradient(size, rng) if rng.random() < 0.6 else clouds(size, rng)) * rng.uniform(0.2, 0.9)
    grain = torch.from_numpy(rng.random((1, 1, size, size)).astype(np.float32))
    cells = int(size / rng.uniform(1, 4))
    grain = F.interpolate(grain[..., :cells, :cells], size=(size, size), mode="nearest")[0]
    sparks = ((grain - rng.uniform(0.85, 0.97)) * 20).clamp(0, 1) * rng.uniform(0.3, 1)
    shade = 0.6 + 0.8 * torch.roll(grain, size // 3, 1)
    picture = picture * shade + sparks * _vivid(rng)
    return _spots(picture, rng, count=int(rng.integers(0, 40)), radius=(0.01, 0.06), strength=rng.uniform(0.1, 0.6))


def sky(size: int, rng: np.random.Generator) -> Tensor:
    """Plain or with clouds, by day, at dusk or at night."""
    pairs = (
        ((0.2, 0.4, 0.8), (0.65, 0.8, 0.95)),
        ((0.25, 0.25, 0.5), (0.95, 0.6, 0.35)),
        ((0.02, 0.03, 0.1), (0.1, 0.12, 0.3)),
    )
    above, below = (torch.tensor(c).view(3, 1, 1) for c in pairs[rng.choice(3, p=[0.65, 0.25, 0.1])])
    y = torch.linspace(0, 1, size)[None, :, None]
    picture = above + (below - above) * y ** rng.uniform(0.5, 2) * torch.ones(1, 1, size)
    if rng.random() < 0.6:
        noise = _noise(size, rng, int(rng.integers(2, 5)))
        cover = torch.sigmoid((noise - rng.uniform(0, 1.2)) * rng.uniform(1.5, 5)) * rng.uniform(0.3, 1)
        picture = picture + cover * (rng.uniform(0.7, 1) * (0.8 + 0.2 * below) - picture)
    return picture


def _noise(size: int, rng: np.random.Generator, cells: int, octaves: int = 5) -> Tensor:
    """Soft noise [1,S,S] about 0."""
    noise = torch.zeros(1, 1, size, size)
    for octave in range(octaves):
        side = min(size, cells * 2**octave)
        grid = torch.from_numpy(rng.standard_normal((1, 1, side, side)).astype(np.float32))
        noise += F.interpolate(grid, size=(size, size), mode="bicubic", align_corners=False) * 0.55**octave
    return noise[0]


def wall(size: int, rng: np.random.Generator) -> Tensor:
    """Plaster, concrete, paper or cloth of one colour, lit from a side."""
    colour, grain = _colour(rng), _noise(size, rng, int(rng.integers(3, 30)))
    fine = torch.from_numpy(rng.standard_normal((1, size, size)).astype(np.float32))
    light = 1 + rng.uniform(0, 0.5) * (_ramp(size, rng) - 0.5)
    return colour * light * (1 + rng.uniform(0.01, 0.12) * grain + rng.uniform(0, 0.05) * fine)


def ground(size: int, rng: np.random.Generator) -> Tensor:
    """A plain table or floor before a plain wall, as products are shown: a soft pool of light, a horizon or none."""
    floor = _colour(rng)
    behind = floor * rng.uniform(0.85, 1.1) if rng.random() < 0.5 else _colour(rng)
    horizon, y = rng.uniform(0.3, 0.75), torch.linspace(0, 1, size)[None, :, None]
    mix = torch.sigmoid((y - horizon) * math.exp(rng.uniform(math.log(10), math.log(size))))
    x = torch.linspace(-1, 1, size)
    away = (x[None, None, :] - rng.normal(0, 0.3)) ** 2 + (2 * y - 1 - rng.normal(0.2, 0.3)) ** 2
    picture = (behind * (1 - mix) + floor * mix) * (1 - rng.uniform(0, 0.35) * away / 2)
    return picture * (1 + rng.uniform(0, 0.06) * _noise(size, rng, int(rng.integers(4, 40))) * mix)


FIRST = (gradient, studio, clouds, pattern, hills, facade, drops)  # these alone where a recipe names none
KINDS = {kind.__name__: kind for kind in (*FIRST, bokeh, glitter, sky, wall, ground)}


def procedural(size: int, rng: np.random.Generator, shares: Mapping[str, float] | None = None) -> Tensor:
    """One of KINDS, drawn in proportion to `shares`, or without any one of FIRST, all alike -> [3,S,S] in 0..1."""
    if not shares:
        return FIRST[rng.integers(len(FIRST))](size, rng).clamp(0, 1)
    weights = np.array([shares.get(name, 0.0) for name in KINDS])  # in this order, whatever the recipe's is
    kind = rng.choice(list(KINDS), p=weights / weights.sum())
    return KINDS[kind](size, rng).clamp(0, 1)
