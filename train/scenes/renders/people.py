"""Render people: bodies of every build in drawn poses, with hair of single strands, clothes, armour, hats and things
they hold. Whole ones go to folder/People, those cut by the lower border of the picture to folder/Busts."""

from __future__ import annotations

import functools
import math
import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .bodies import Bodies
from .figure import Figure
from .render import Quality, RenderError, add_camera, light, rendered, save_cropped

# Where the picture ends below: at a joint of the body, or nowhere. Most are cut, as people are mostly shown.
FRAMINGS = ("breast.L", "breast.L", "spine03", "spine05", "lowerleg01.L", None, None, None)


@dataclass(frozen=True)
class PersonJob:
    """Person `number`, to render into folder/People or folder/Busts."""

    number: int
    packages: Path
    folder: Path
    lights: tuple[Path, ...]
    quality: Quality

    @property
    def framing(self) -> str | None:
        return FRAMINGS[self.number % len(FRAMINGS)]

    @property
    def path(self) -> Path:
        return self.folder / ("Busts" if self.framing else "People") / f"person{self.number:04}_0.webp"

    def done(self) -> bool:
        return self.path.exists()

    def render(self) -> None:
        """Write the picture. RenderError names the person."""
        draw = random.Random(f"person {self.number}")
        figure = Figure(read_bodies(self.packages), draw)
        figure.dress()
        _frame(figure, self.framing, self.quality, draw)
        light(figure.scene, self.lights, draw)
        try:
            picture = rendered(figure.scene, self.quality)
        except RuntimeError as error:
            raise RenderError(f"person {self.number}: {error}") from None
        save_cropped(picture, self.path)


@functools.cache
def read_bodies(packages: Path) -> Bodies:
    """Bodies(packages), read once a process."""
    return Bodies(packages)


def _frame(figure: Figure, framing: str | None, quality: Quality, draw: random.Random) -> None:
    """Point a camera at the figure, or at what lies above a joint, and fit the frame around that exactly."""
    from mathutils import Matrix

    points = np.concatenate(figure.points)
    body, height = figure.body, -math.inf
    if framing:
        joint = body.bones[framing] @ np.append(body.joints[framing], 1)
        height = joint[2] + draw.uniform(-0.06, 0.06)
        points = points[points[:, 2] > height]
    around = math.pi if draw.random() < 0.1 else 1.0
    azimuth, above = draw.uniform(-around, around), draw.gauss(0.05, 0.12)
    away = np.array([math.sin(azimuth) * math.cos(above), -math.cos(azimuth) * math.cos(above), math.sin(above)])
    right = np.array([math.cos(azimuth), math.sin(azimuth), 0])
    middle = (points.min(axis=0) + points.max(axis=0)) / 2
    extent = np.linalg.norm(points.max(axis=0) - points.min(axis=0))
    where = middle + extent * draw.uniform(1.2, 3.0) * away
    axes = np.stack([right, np.cross(away, right), away])
    seen = (points - where) @ axes.T
    plane = seen[:, :2] / -seen[:, 2:]
    low, high = plane.min(axis=0), plane.max(axis=0)
    if framing:
        edge = (np.array([*body.vertices[figure.on_body()].mean(axis=0)[:2], height]) - where) @ axes.T
        bottom = edge[1] / -edge[2]
        low[1] = min(bottom, high[1] - 0.2 * (high[0] - low[0]))
    size = 1.02 * (high - low)
    camera, lens = add_camera(figure.scene)
    lens.sensor_fit, lens.sensor_width, lens.lens = "AUTO", 36, 36 / size.max()
    lens.shift_x, lens.shift_y = (high + low) / 2 / size.max()
    lens.clip_start, lens.clip_end = 0.01, 100
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = axes.T, where
    camera.matrix_world = Matrix(matrix)
    render = figure.scene.render
    render.resolution_x, render.resolution_y = (max(8, round(quality.size * side)) for side in size / size.max())
