"""Flat drawings and line art: creatures with thin limbs, plants, houses, ornaments; and prints of all that can be
drawn, with the dots and the wear of printing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.random import Generator
from PIL import Image

from .canvas import Canvas, any_colour, around, curve, mesh, noise, over, to_picture
from .text import logo, text

INK = np.array([0.06, 0.06, 0.08], np.float32)


class Drawing:
    """Shapes over one another, each filled and outlined; with a `paper`, all filled with that and drawn in one ink."""

    def __init__(self, size: int, *, outline: float, ink: np.ndarray, paper: np.ndarray | None) -> None:
        self.size, self.outline, self.ink, self.paper = size, outline, ink, paper
        self.layer = np.zeros((size, size, 3), np.float32), np.zeros((size, size), np.float32)

    def put(self, colour: np.ndarray, mask: np.ndarray) -> None:
        self.layer = over((np.broadcast_to(colour, (self.size, self.size, 3)), mask), self.layer)

    def shape(self, points: np.ndarray, colour: np.ndarray) -> None:
        """A closed area."""
        filled = Canvas(self.size)
        filled.polygon(points)
        self.put(colour if self.paper is None else self.paper, filled.mask())
        if self.outline:
            self.stroke(np.concatenate([points, points[:1]]), self.outline, self.ink)

    def stroke(self, points: np.ndarray, width: float, colour: np.ndarray) -> None:
        canvas = Canvas(self.size)
        canvas.line(points, width)
        self.put(colour, canvas.mask())

    def limb(self, points: Sequence, width: float, colour: np.ndarray) -> None:
        """A thin arm or leg: a stroke with an outline."""
        line = curve(points)
        if self.outline and width > 2 * self.outline:
            self.stroke(line, width + 2 * self.outline, self.ink)
            self.stroke(line, width, colour if self.paper is None else self.paper)
        else:
            self.stroke(line, max(width, self.outline), self.ink if self.outline else colour)


def _oval(centre: Sequence[float], half: Sequence[float], rng: Generator, wobble: float = 0.05) -> np.ndarray:
    """An ellipse as if drawn by hand, [K,2]."""
    angles = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    far = 1 + wobble * sum(rng.normal(0, 1 / n) * np.cos(n * angles + rng.uniform(0, 6)) for n in (2, 3, 4))
    return np.stack([centre[0] + half[0] * far * np.cos(angles), centre[1] + half[1] * far * np.sin(angles)], axis=1)


def creature(page: Drawing, rng: Generator) -> None:
    """Stands on two thin legs, waves thin arms, has a head with a face, ears, horns or hair."""
    main, second = any_colour(rng, vivid=0.8), any_colour(rng, vivid=0.6)
    thin = rng.uniform(0.008, 0.03)
    hip, neck = rng.uniform(0.6, 0.7), rng.uniform(0.38, 0.45)
    half = rng.uniform(0.07, 0.16)
    for side in (-1, 1):
        root = 0.5 + side * half * 0.5
        foot = root + side * rng.uniform(0, 0.12)
        page.limb([(root, hip), (root + side * rng.uniform(-0.03, 0.07), (hip + 0.95) / 2), (foot, 0.94)], thin, main)
        page.shape(_oval((foot + side * 0.03, 0.94), (0.05, 0.025), rng), second)
        hand = (0.5 + side * rng.uniform(0.2, 0.4), rng.uniform(0.12, 0.7))
        elbow = (0.5 + side * rng.uniform(0.15, 0.25), rng.uniform(0.4, 0.6))
        page.limb([(0.5 + side * half * 0.8, neck + 0.06), elbow, hand], thin, main)
        page.shape(_oval(hand, (0.02, 0.02), rng), second)
    if rng.random() < 0.35:
        page.limb(
            [(0.5 + half * 0.6, hip - 0.02), (0.75, hip + 0.05), (rng.uniform(0.75, 0.92), rng.uniform(0.4, 0.7))],
            thin,
            main,
        )
    page.shape(_oval((0.5, (neck + hip) / 2), (half, (hip - neck) / 2 + 0.04), rng), main)
    if rng.random() < 0.5:
        page.shape(_oval((0.5, (neck + hip) / 2 + 0.02), (half * 0.6, (hip - neck) / 3), rng), second)
    _head(page, rng, (0.5, neck - 0.12), rng.uniform(0.1, 0.17), main, second)


def _head(page: Drawing, rng: Generator, centre: tuple[float, float], radius: float, main, second) -> None:
    x, y = centre
    kind = rng.integers(4)
    for side in (-1, 1):
        if kind == 0:  # ears
            tip = (x + side * radius * rng.uniform(0.6, 1.2), y - radius * rng.uniform(1.2, 2))
            page.shape(
                np.array(
                    [(x + side * radius * 0.2, y - radius * 0.8), tip, (x + side * radius * 0.9, y - radius * 0.3)]
                ),
                main,
            )
        elif kind == 1:  # feelers
            page.limb([(x + side * radius * 0.4, y - radius * 0.8), (x + side * radius, y - radius * 1.8)], 0.008, main)
            page.shape(_oval((x + side * radius, y - radius * 1.8), (0.015, 0.015), rng), second)
    if kind == 2:  # hair
        for at in np.linspace(-0.8, 0.8, int(rng.integers(5, 14))):
            page.limb(
                [(x + at * radius, y - radius * 0.6), (x + at * radius * 1.4, y - radius * rng.uniform(1.2, 1.6))],
                0.007,
                second,
            )
    page.shape(_oval((x, y), (radius * rng.uniform(0.9, 1.2), radius), rng), main)
    if kind == 3:  # a hat
        page.shape(
            np.array([(x - radius, y - radius * 0.7), (x, y - radius * 2.2), (x + radius, y - radius * 0.7)]), second
        )
    for side in (-1, 1):
        eye = (x + side * radius * 0.38, y - radius * 0.1)
        page.put(np.ones(3), _disc(page.size, eye, radius * 0.22))
        page.put(INK, _disc(page.size, eye, radius * 0.1))
    mouth = [
        (x - radius * 0.4, y + radius * 0.4),
        (x, y + radius * rng.uniform(0.3, 0.7)),
        (x + radius * 0.4, y + radius * 0.4),
    ]
    page.stroke(curve(mouth), 0.008, INK)


def _disc(size: int, centre: Sequence[float], radius: float) -> np.ndarray:
    canvas = Canvas(size)
    canvas.ellipse(centre, (radius, radius))
    return canvas.mask()


def beast(page: Drawing, rng: Generator) -> None:
    """Goes on four thin legs."""
    main, second = any_colour(rng, vivid=0.8), any_colour(rng, vivid=0.6)
    thin, back = rng.uniform(0.012, 0.04), rng.uniform(0.45, 0.55)
    for at in (0.3, 0.38, 0.62, 0.7):
        knee = (at + rng.normal(0, 0.03), (back + 0.95) / 2)
        page.limb([(at, back), knee, (at + rng.normal(0, 0.05), 0.94)], thin, main)
    page.limb(
        [(0.26, back - 0.03), (0.14, back - 0.1), (rng.uniform(0.05, 0.15), rng.uniform(0.2, 0.6))], thin * 0.7, main
    )
    page.shape(_oval((0.5, back), (0.27, rng.uniform(0.09, 0.17)), rng), main)
    neck = rng.uniform(0.12, 0.35)
    page.limb([(0.7, back - 0.03), (0.78, back - neck / 2), (0.8, back - neck)], thin * 1.8, main)
    _head(page, rng, (0.8, back - neck - 0.03), rng.uniform(0.07, 0.1), main, second)


def plant(page: Drawing, rng: Generator) -> None:
    """A stem with leaves and blossoms."""
    green, bloom = np.array([0.2, 0.55, 0.2]) * rng.uniform(0.6, 1.4), any_colour(rng, vivid=0.9)
    for _ in range(int(rng.integers(1, 4))):
        stem = curve(
            [
                (0.5 + rng.normal(0, 0.03), 0.97),
                (rng.uniform(0.35, 0.65), 0.6),
                (rng.uniform(0.2, 0.8), rng.uniform(0.15, 0.35)),
            ]
        )
        page.limb(stem[::8], rng.uniform(0.006, 0.02), green)
        for index in rng.integers(8, len(stem) - 8, int(rng.integers(2, 6))):
            tip = stem[index] + rng.normal(0, 0.14, 2)
            across = np.array([tip[1] - stem[index][1], stem[index][0] - tip[0]]) * 0.3
            middle = (stem[index] + tip) / 2
            leaf = np.concatenate(
                [curve([stem[index], middle + across, tip]), curve([tip, middle - across, stem[index]])]
            )
            page.shape(leaf, green * rng.uniform(0.7, 1.3))
        petals = around(stem[-1], rng.uniform(0.06, 0.12), int(rng.integers(5, 12)), inner=0.5)
        page.shape(petals, bloom)
        page.shape(_oval(stem[-1], (0.03, 0.03), rng), any_colour(rng))


def thing(page: Drawing, rng: Generator) -> None:
    """A house, a rocket, a cup or a cart, of plain shapes."""
    colours = [any_colour(rng, vivid=0.8) for _ in range(4)]
    kind = rng.integers(3)
    if kind == 0:  # a house with an aerial
        wide, eaves = rng.uniform(0.2, 0.35), rng.uniform(0.4, 0.55)
        page.limb([(0.5 + wide * 0.5, eaves - 0.1), (0.5 + wide * 0.5, 0.08)], 0.008, colours[3])
        page.shape(
            np.array([(0.5 - wide, eaves), (0.5 + wide, eaves), (0.5 + wide, 0.92), (0.5 - wide, 0.92)]), colours[0]
        )
        page.shape(np.array([(0.45 - wide, eaves), (0.5, eaves - 0.25), (0.55 + wide, eaves)]), colours[1])
        for at in (-0.5, 0.5):
            left = 0.5 + at * wide - 0.05
            page.shape(np.array([(left, 0.6), (left + 0.1, 0.6), (left + 0.1, 0.7), (left, 0.7)]), colours[2])
    elif kind == 1:  # a rocket or a lighthouse
        half = rng.uniform(0.08, 0.15)
        page.shape(np.array([(0.5 - 2 * half, 0.9), (0.5, 0.5), (0.5 + 2 * half, 0.9)]), colours[1])
        page.shape(
            np.concatenate(
                [
                    curve([(0.5 - half, 0.85), (0.5 - half, 0.4), (0.5, 0.06)]),
                    curve([(0.5, 0.06), (0.5 + half, 0.4), (0.5 + half, 0.85)]),
                ]
            ),
            colours[0],
        )
        page.shape(_oval((0.5, 0.42), (half * 0.5, half * 0.5), rng), colours[2])
    else:  # a cart or a bicycle
        radius = rng.uniform(0.12, 0.17)
        for at in (0.28, 0.72):
            page.limb(around((at, 0.75), radius, 10)[np.arange(11) % 10], 0.018, colours[2])
            for angle in np.linspace(0, np.pi, 5)[:-1]:
                reach = radius * np.array([np.cos(angle), np.sin(angle)])
                spoke = np.array([at, 0.75]) + np.outer([-1, 1], reach)
                page.stroke(spoke, 0.005, page.ink if page.outline else colours[2])
        page.limb([(0.28, 0.75), (0.45, 0.5), (0.72, 0.75)], 0.018, colours[0])
        page.limb([(0.45, 0.5), (0.66, 0.5), (0.68, 0.38), (0.78, 0.36)], 0.018, colours[0])
        page.shape(_oval((0.43, 0.46), (0.07, 0.025), rng), colours[1])


def ornament(page: Drawing, rng: Generator) -> None:
    """Rings, stars and spirals around a middle."""
    for far in sorted(rng.uniform(0.08, 0.46, int(rng.integers(3, 7))))[::-1]:
        kind, colour, count = rng.integers(3), any_colour(rng), int(rng.integers(3, 13))
        if kind == 0:
            page.shape(
                around((0.5, 0.5), far, count, turn=rng.random(), inner=float(rng.choice([1, 0.4, 0.7]))), colour
            )
        elif kind == 1:
            for centre in around((0.5, 0.5), far * 0.85, count):
                page.shape(_oval(centre, (far * 0.15, far * 0.15), rng, 0), colour)
        else:
            for tip in around((0.5, 0.5), far, count, turn=rng.random()):
                page.limb(
                    [(0.5, 0.5), (0.5 + (tip[0] - 0.5) * 0.5 + rng.normal(0, 0.02), 0.5 + (tip[1] - 0.5) * 0.5), tip],
                    rng.uniform(0.005, 0.015),
                    colour,
                )


THINGS = (creature, creature, creature, beast, beast, plant, thing, ornament)


def drawing(rng: Generator, size: int, fonts: Sequence[bytes]) -> Image.Image:
    """Flat colours, with black, coloured or no outlines."""
    outline = float(rng.choice([0, 0.005, 0.009, 0.014]))
    ink = INK if rng.random() < 0.75 else any_colour(rng, vivid=0.8) * 0.5
    page = Drawing(size, outline=outline, ink=ink, paper=None)
    THINGS[rng.integers(len(THINGS))](page, rng)
    return to_picture(*page.layer)


def line_art(rng: Generator, size: int, fonts: Sequence[bytes]) -> Image.Image:
    """Lines of one ink around areas of one paper, as in colouring books, comics and plans."""
    light = rng.random() < 0.8
    paper = np.full(3, rng.uniform(0.9, 1) if light else rng.uniform(0, 0.2), np.float32)
    ink = any_colour(rng, vivid=0.3) * 0.35 if light else 1 - 0.3 * any_colour(rng)
    page = Drawing(size, outline=rng.uniform(0.004, 0.012), ink=ink, paper=paper)
    THINGS[rng.integers(len(THINGS))](page, rng)
    return to_picture(*page.layer)


def print_(rng: Generator, size: int, fonts: Sequence[bytes]) -> Image.Image:
    """A print: a drawing, a logo or text in one or a few inks, as dots, worn, cracked or brushed."""
    source = (drawing, logo, text)[rng.integers(3)](rng, size, fonts)
    pixels = np.asarray(source, np.float32) / 255
    colour, alpha = pixels[..., :3], pixels[..., 3]
    kind = rng.integers(3)
    if kind == 0:  # dots whose size says how dark it is
        grey = colour.mean(axis=2)
        x, y = mesh(size)
        angle, pitch = rng.uniform(0, np.pi / 2), rng.uniform(40, 90)
        u, v = (x * np.cos(angle) + y * np.sin(angle)) * pitch, (y * np.cos(angle) - x * np.sin(angle)) * pitch
        far = np.hypot(u - np.floor(u) - 0.5, v - np.floor(v) - 0.5)
        reach = 0.25 + 0.45 * (1 - grey)
        alpha = alpha * ((reach - far) * size / pitch).clip(0, 1)
        colour = np.broadcast_to(any_colour(rng), colour.shape)
    elif kind == 1:  # worn
        wear = noise(size, rng, cells=rng.uniform(10, 40), octaves=4)
        alpha = alpha * ((rng.uniform(0.5, 1.6) - wear) * 6).clip(0, 1)
    else:  # brushed or cracked along one direction
        streaks = noise(size, rng, cells=60, octaves=2, stretch=12)
        streaks = streaks if rng.random() < 0.5 else streaks.T
        alpha = alpha * ((rng.uniform(0.3, 1.4) - streaks) * 4).clip(0, 1)
    thin = (0.5 + 0.4 * noise(size, rng, cells=20)).clip(0, 1)  # where the ink lies thinner
    return to_picture(colour, alpha * (1 - rng.uniform(0, 0.4) * thin))
