"""Strands of hair and fur: a few guides fall under their own weight around the body, thousands follow them."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

import numpy as np

POINTS = 12  # of a strand
GUIDES = 160
CLEARANCE = 0.004  # metres that a guide keeps from skin and clothes


@dataclass(frozen=True)
class Growth:
    """How hair grows. Lengths in metres, the other values about 0..1 unless said otherwise."""

    length: float
    count: int = 9000  # strands
    lift: float = 0.5  # how much of the first direction is away from the skin, against `combed`
    combed: tuple[float, float, float] = (0.0, 0.3, -1.0)
    parted: float = 0.0  # how much more each half is combed to its own side
    stiffness: float = 0.7  # how much of its direction a guide keeps at each point, against falling
    curl: float = 0.0  # metres, radius of the locks' helix
    turns: float = 0.0  # of that helix from root to tip
    clumped: float = 0.4  # how far tips have drawn together
    frizz: float = 0.0015  # metres
    thick: float = 0.00022  # metres, radius at the root
    uneven: float = 0.3  # spread of the strands' lengths


def draw_growth(draw: random.Random) -> Growth:
    """A hair style: cropped, short, long, wavy, frizzy or on end."""
    aside = (draw.gauss(0, 0.5), draw.uniform(-0.1, 1.0), draw.uniform(-0.7, 0.1))
    kind = draw.choice(("cropped", "short", "short", "long", "long", "wavy", "wavy", "frizzy", "on end"))
    if kind == "cropped":
        return Growth(draw.uniform(0.006, 0.025), lift=0.8, combed=aside, stiffness=0.95, clumped=0.1)
    if kind == "short":
        curl = draw.choice((0, 0, draw.uniform(0.004, 0.01)))
        lift, stiffness = draw.uniform(0.3, 0.8), draw.uniform(0.6, 0.9)
        return Growth(draw.uniform(0.04, 0.12), lift=lift, combed=aside, stiffness=stiffness, curl=curl, turns=1.5)
    if kind == "frizzy":
        length = draw.uniform(0.06, 0.16)
        return Growth(length, lift=1.0, stiffness=0.97, curl=draw.uniform(0.006, 0.014), turns=length * 50, frizz=0.006)
    if kind == "on end":
        return Growth(draw.uniform(0.04, 0.12), lift=1.2, combed=aside, stiffness=0.95, clumped=draw.uniform(0.3, 0.9))
    curl, turns = (draw.uniform(0.008, 0.02), draw.uniform(1.5, 5)) if kind == "wavy" else (0.003, 1.0)
    lift, frizz = draw.uniform(0.2, 0.5), draw.uniform(0.001, 0.006)
    length = draw.uniform(0.2, 0.6)
    aside = (draw.gauss(0, 0.3), draw.uniform(0.4, 1.2), draw.uniform(-0.4, 0.1))  # out of the face, mostly
    return Growth(
        length,
        lift=lift,
        combed=aside,
        parted=draw.uniform(0, 1.5),
        stiffness=0.6,
        curl=curl,
        turns=turns,
        frizz=frizz,
        thick=0.0003,
    )


def roots_on(vertices: np.ndarray, triangles: np.ndarray, count: int, rng: np.random.Generator):
    """Points strewn evenly over triangles -> (points [N,3], outward normals [N,3])."""
    a, b, c = (vertices[triangles[:, corner]] for corner in range(3))
    cross = np.cross(b - a, c - a)
    area = np.linalg.norm(cross, axis=1)
    chosen = rng.choice(len(triangles), count, p=area / area.sum())
    u, v = np.sqrt(rng.random((count, 1))), rng.random((count, 1))
    points = a[chosen] * (1 - u) + b[chosen] * u * (1 - v) + c[chosen] * u * v
    return points, cross[chosen] / np.maximum(area[chosen], 1e-12)[:, None]


def grow(vertices, triangles, growth: Growth, surface, rng: np.random.Generator) -> np.ndarray:
    """Strands [N,POINTS,3] rooted in `triangles` of the skin, kept out of `surface` (a mathutils BVHTree)."""
    roots, normals = roots_on(vertices, triangles, growth.count, rng)
    guides = _fall(roots[:GUIDES], normals[:GUIDES], growth, surface, rng)
    return _follow(guides, roots, normals, growth, rng)


def _fall(roots, normals, growth: Growth, surface, rng) -> np.ndarray:
    """Guides step by step: each keeps part of its direction and falls for the rest, and slides along what it meets."""
    sides = np.tanh((roots[:, :1] - roots[:, :1].mean()) / 0.02) * np.array([growth.parted, 0, 0])
    direction = _unit(growth.lift * normals + (1 - min(growth.lift, 1)) * (np.array(growth.combed) + sides))
    direction = _unit(direction + rng.normal(0, 0.12, direction.shape))
    step = growth.length / (POINTS - 1)
    points = [roots + 0.001 * normals]
    for _ in range(POINTS - 1):
        direction = _unit(growth.stiffness * direction + (1 - growth.stiffness) * np.array([0, 0, -1.0]))
        moved = points[-1] + step * direction
        for number, point in enumerate(moved):
            near, normal, _, _ = surface.find_nearest(point)
            outward = np.array(normal)
            depth = CLEARANCE - float(np.dot(point - np.array(near), outward))
            if depth > 0:
                moved[number] = point + depth * outward
        direction = _unit(moved - points[-1])
        points.append(moved)
    return np.stack(points, axis=1)


def _follow(guides, roots, normals, growth: Growth, rng) -> np.ndarray:
    """Every strand takes the way of the nearest guides, draws towards the nearest one, curls with it and frays."""
    along = np.linspace(0, 1, POINTS)[None, :, None]
    first = guides[:, 0]
    apart = (roots**2).sum(axis=1)[:, None] + (first**2).sum(axis=1) - 2 * roots @ first.T  # squared; no third axis
    apart = np.sqrt(apart.clip(0))
    nearest = np.argsort(apart, axis=1)[:, :3]
    weight = 1 / (np.take_along_axis(apart, nearest, axis=1) + 0.004)
    weight /= weight.sum(axis=1, keepdims=True)
    ways = (guides - guides[:, :1])[nearest]
    strands = roots[:, None] + (weight[..., None, None] * ways).sum(axis=1)
    lock = nearest[:, 0]
    strands += growth.clumped * along**1.5 * (guides[lock] - strands)
    if growth.curl:
        phase = rng.uniform(0, 2 * math.pi, len(guides))[lock][:, None, None] + rng.normal(0, 0.3, (len(roots), 1, 1))
        side = _unit(np.cross(normals, rng.normal(size=3)))[:, None]
        other = _unit(np.cross(normals, side[:, 0]))[:, None]
        turned = phase + 2 * math.pi * growth.turns * along
        strands += growth.curl * np.minimum(2 * along, 1) * (np.cos(turned) * side + np.sin(turned) * other)
    strands += growth.frizz * along * rng.normal(size=(len(roots), 1, 3))
    strands += 0.3 * growth.frizz * np.sqrt(along) * rng.normal(size=strands.shape)
    length = np.clip(1 - growth.uneven * np.abs(rng.normal(size=(len(roots), 1, 1))), 0.2, 1)
    return _shortened(strands, length)


def _shortened(strands: np.ndarray, share: np.ndarray) -> np.ndarray:
    """The first `share` of every strand, with as many points."""
    at = np.linspace(0, 1, POINTS)[None, :, None] * share * (POINTS - 1)
    before = np.minimum(at.astype(int), POINTS - 2)
    part = at - before
    first = np.take_along_axis(strands, before.repeat(3, axis=2), axis=1)
    second = np.take_along_axis(strands, (before + 1).repeat(3, axis=2), axis=1)
    return (1 - part) * first + part * second


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)
