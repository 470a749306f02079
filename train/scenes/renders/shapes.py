"""Shapes: points moved, surfaces of revolution, normals and smooth noise."""

from __future__ import annotations

import math

import numpy as np


def vertex_normals(vertices: np.ndarray, faces) -> np.ndarray:
    """[V,3] of length 1, zero where no face is."""
    normals = np.zeros_like(vertices)
    quads = np.array([face if len(face) == 4 else (*face, face[0]) for face in faces])
    cross = np.cross(vertices[quads[:, 2]] - vertices[quads[:, 0]], vertices[quads[:, 3]] - vertices[quads[:, 1]])
    for corner in range(4):
        np.add.at(normals, quads[:, corner], cross)
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)


def waves(points: np.ndarray, rng: np.random.Generator, frequency: float) -> np.ndarray:
    """Smooth noise [N] of about -1..1 at points [N,3]: a few plane waves of `frequency` radians a metre or less."""
    directions = rng.normal(size=(6, 3)) * frequency * rng.uniform(0.3, 1, (6, 1)) / 1.7
    return np.sin(points @ directions.T + rng.uniform(0, 6.3, 6)).mean(axis=1) * 1.7


def moved(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    return points @ matrix[:3, :3].T + matrix[:3, 3]


def placed(position) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, 3] = position
    return matrix


def tube(profile, sides: int = 32):
    """A surface of revolution about z through (radius, height) pairs -> (vertices, faces)."""
    angles = np.linspace(0, 2 * math.pi, sides, endpoint=False)
    rings = [np.stack([r * np.cos(angles), r * np.sin(angles), np.full(sides, h)], axis=1) for r, h in profile]
    faces = [
        (ring * sides + side, ring * sides + (side + 1) % sides, (ring + 1) * sides + (side + 1) % sides,
         (ring + 1) * sides + side)
        for ring in range(len(profile) - 1) for side in range(sides)
    ]  # fmt: skip
    return np.concatenate(rings).astype(float), faces


def sphere():
    """Of radius 1 -> (vertices, faces)."""
    return tube([(math.cos(angle), math.sin(angle)) for angle in np.linspace(-math.pi / 2, math.pi / 2, 17)])
