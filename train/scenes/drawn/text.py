"""Text: words and lines in many fonts, filled, outlined, raised, bent; and logos: signs with or without text."""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageDraw, ImageFont

from .canvas import FINER, Canvas, any_colour, around, blurred, mesh, over, to_picture, warped

SYLLABLES = (
    *("ka", "lo", "mi", "re", "sta", "ton", "vel", "qui", "do", "ber", "an", "ix", "fu", "gra"),
    *("hel", "jo", "nu", "pri", "sol", "ter", "um", "wy", "zan", "ee", "oft", "chi", "bra"),
)
HAN = "山水火風月日木金土人大小中上下口心手花海空光星夢新春夏秋冬東西南北あいうえおかきくけこさしすせそアカサタナ"


@cache
def _font(data: bytes, pixels: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(io.BytesIO(data), pixels)


def _word(rng: Generator, han: bool) -> str:
    if han and rng.random() < 0.6:
        return "".join(rng.choice(list(HAN), int(rng.integers(1, 5))))
    if rng.random() < 0.12:
        return str(rng.integers(1, 10 ** int(rng.integers(1, 5)))) + str(rng.choice(["", "%", "!", "€", "th"]))
    word = "".join(rng.choice(SYLLABLES, int(rng.integers(1, 4))))
    return [word, word.upper(), word.title()][rng.integers(3)] + ("!" if rng.random() < 0.08 else "")


def _has_han(font: bytes) -> bool:
    """Whether it draws these signs, and not one box for all of them."""
    face = _font(font, 40)
    return bytes(face.getmask("山")) != bytes(face.getmask("水"))


def written(rng: Generator, fonts: Sequence[bytes], size: int, *, lines: int | None = None) -> np.ndarray:
    """The mask of some words, as large as the frame allows."""
    font = fonts[rng.integers(len(fonts))]
    han = _has_han(font)
    count = lines or int(rng.choice([1, 1, 1, 2, 2, 3, 6]))
    text = "\n".join(
        " ".join(_word(rng, han) for _ in range(int(rng.integers(1, 3 + (count > 3))))) for _ in range(count)
    )
    side = size * FINER
    pen = ImageDraw.Draw(Image.new("L", (1, 1)))
    stroke = rng.choice([0, 0, 0.02, 0.05])
    options = {"spacing": side * 0.02, "align": str(rng.choice(["left", "center", "right"]))}
    box = pen.multiline_textbbox((0, 0), text, _font(font, 100), stroke_width=round(100 * stroke), **options)
    pixels = max(8, int(100 * 0.86 * side / max(box[2] - box[0], box[3] - box[1], 1)))
    face = ImageFont.truetype(io.BytesIO(font), pixels)
    picture = Image.new("L", (side, side))
    ImageDraw.Draw(picture).multiline_text(
        (side / 2, side / 2), text, 255, face, anchor="mm", stroke_width=round(pixels * stroke), **options
    )
    return np.asarray(picture.resize((size, size), Image.Resampling.BOX), np.float32) / 255


def fill(rng: Generator, size: int) -> np.ndarray:
    """A colour [3], or a ramp or stripes of two [S,S,3]."""
    first, second = any_colour(rng), any_colour(rng)
    kind = rng.random()
    if kind < 0.6:
        return first
    x, y = mesh(size)
    angle = rng.uniform(0, 2 * np.pi)
    ramp = (x - 0.5) * np.cos(angle) + (y - 0.5) * np.sin(angle)
    share = (ramp / 1.4 + 0.5).clip(0, 1) if kind < 0.9 else 0.5 + 0.5 * np.sign(np.sin(ramp * rng.uniform(20, 120)))
    return first + (second - first) * share[..., None]


def _grown(mask: np.ndarray, by: float) -> np.ndarray:
    """Its border moved outward by so many frames, softly."""
    return (blurred(mask, by) * 4).clip(0, 1)


def _bent(mask: np.ndarray, rng: Generator) -> np.ndarray:
    x, y = mesh(len(mask))
    if rng.random() < 0.5:  # an arc
        down = rng.uniform(-0.8, 0.8) * ((x - 0.5) ** 2 - 0.08) + 0 * y
    else:  # a wave
        down = rng.uniform(0.02, 0.06) * np.sin(2 * np.pi * (rng.uniform(0.7, 2) * x + rng.random())) + 0 * y
    return warped(mask, np.zeros_like(down), down)


def text(rng: Generator, size: int, fonts: Sequence[bytes]) -> Image.Image:
    """Words, filled; with an outline, as an outline alone, or standing out."""
    mask = written(rng, fonts, size)
    if rng.random() < 0.25:
        mask = _bent(mask, rng)
    colour, kind = fill(rng, size), rng.random()
    if kind < 0.2:  # with an outline
        outline = _grown(mask, rng.uniform(0.004, 0.012))
        below = np.broadcast_to(any_colour(rng), (size, size, 3)), outline
        return to_picture(*over((np.broadcast_to(colour, (size, size, 3)), mask), below))
    if kind < 0.3:  # an outline alone
        outline = (_grown(mask, rng.uniform(0.004, 0.008)) - mask).clip(0, 1)
        return to_picture(colour, outline)
    if kind < 0.45:  # raised: copies of a darker colour behind it
        steps, (right, down) = int(rng.integers(3, 14)), rng.choice([-1, 1], 2)
        solid = mask
        for step in range(1, steps):
            solid = np.maximum(solid, np.roll(mask, (down * step * size // 384, right * step * size // 384), (0, 1)))
        below = np.broadcast_to(np.asarray(colour) * rng.uniform(0.25, 0.6), (size, size, 3)), solid
        return to_picture(*over((np.broadcast_to(colour, (size, size, 3)), mask), below))
    if kind < 0.55:  # see-through, as watermarks and window lettering are
        mask = mask * rng.uniform(0.45, 0.85)
    return to_picture(colour, mask)


def logo(rng: Generator, size: int, fonts: Sequence[bytes]) -> Image.Image:
    """A sign: a plain shape that holds another or letters, perhaps in a ring; or rays, bars and arcs."""
    sides = int(rng.choice([3, 4, 5, 6, 8, 60, 60]))
    inner = rng.uniform(0.4, 0.8) if rng.random() < 0.3 and sides < 60 else 1.0
    turn = rng.choice([0.0, np.pi / sides]) if sides != 4 else 0.0  # a square that fills its frame is no cut-out
    canvas = Canvas(size)
    canvas.polygon(around((0.5, 0.5), 0.46, sides, turn=turn, inner=inner))
    if rng.random() < 0.5:  # a ring
        canvas.polygon(around((0.5, 0.5), 0.41, sides, turn=turn, inner=inner), 0)
        if rng.random() < 0.7:
            canvas.polygon(around((0.5, 0.5), 0.38, sides, turn=turn, inner=inner))
    shape, colour = canvas.mask(), fill(rng, size)
    mark = _mark(rng, size, fonts)
    if rng.random() < 0.4:  # the mark is cut out of it
        return to_picture(colour, shape * (1 - mark))
    other = np.broadcast_to(fill(rng, size), (size, size, 3))
    return to_picture(*over((other, mark * (shape > 0)), (np.broadcast_to(colour, (size, size, 3)), shape)))


def _mark(rng: Generator, size: int, fonts: Sequence[bytes]) -> np.ndarray:
    """What a logo shows: letters, a star, rays, bars, or an arrow; in the middle of the frame."""
    kind = rng.integers(5)
    if kind == 0:
        letters = Image.fromarray(np.rint(written(rng, fonts, size, lines=1) * 255).astype(np.uint8))
        small = letters.resize((int(size * 0.6),) * 2, Image.Resampling.BOX)
        picture = Image.new("L", (size, size))
        picture.paste(small, (int(size * 0.2), int(size * 0.2)))
        return np.asarray(picture, np.float32) / 255
    canvas = Canvas(size)
    if kind == 1:
        canvas.polygon(around((0.5, 0.5), 0.25, int(rng.integers(4, 9)), inner=rng.uniform(0.3, 0.6)))
    elif kind == 2:
        count = int(rng.integers(6, 16))
        for angle in 2 * np.pi * np.arange(count) / count:
            tip = [(0.5 + far * np.sin(angle), 0.5 - far * np.cos(angle)) for far in (0.1, 0.28)]
            canvas.line(tip, rng.uniform(0.01, 0.03))
        canvas.ellipse((0.5, 0.5), (0.1, 0.1))
    elif kind == 3:
        count = int(rng.integers(2, 6))
        for bar in range(count):
            left = 0.28 + 0.44 * bar / count
            canvas.polygon(
                [(left, y) for y in (0.7, 0.7 - rng.uniform(0.1, 0.4))]
                + [(left + 0.3 / count, 0.35), (left + 0.3 / count, 0.7)]
            )
    else:
        canvas.polygon([(0.3, 0.45), (0.52, 0.45), (0.52, 0.32), (0.74, 0.5), (0.52, 0.68), (0.52, 0.55), (0.3, 0.55)])
    return canvas.mask()
