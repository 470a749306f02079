"""Synthetic shots before a green or blue screen, of which everything is known: the matte, and the foreground as it
would look without the screen's light on it.

A shot has what makes keying hard: a screen that is lit unevenly and not of one hue, light that the screen throws back
on the subject (most at its edges, some in patches inside), motion blur on some, a lens that is not quite sharp, grain,
and what JPEG leaves.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy import ndimage, signal

from .sets.paste import resample

SCREENS = {"green": (0.13, 0.62, 0.24), "blue": (0.10, 0.25, 0.68)}  # as a camera sees them in even light
KEY = {"green": 1, "blue": 2}  # the channel
LUMINANCE = np.array([0.2126, 0.7152, 0.0722], np.float32)
LONGER_SIDE = 512
MOVING = 0.3  # share of the shots with motion blur


@dataclass(frozen=True)
class Shot:
    """image: [H, W, 3] uint8. alpha [H, W] and foreground [H, W, 3] float32 0..1: the truth; the foreground is of use
    where alpha is above 0. spill: [H, W, 3], what the screen's light adds to it. colour: of the screen. moving: whether
    the subject is blurred by its motion."""

    image: np.ndarray
    alpha: np.ndarray
    foreground: np.ndarray
    spill: np.ndarray
    colour: str
    moving: bool


def shoot(cutout: Image.Image, colour: str, seed: int) -> Shot:
    """The cut-out (RGBA) before a screen. The same arguments give the same shot."""
    random = np.random.default_rng(seed)
    layer = _placed(cutout, random)
    moving = random.random() < MOVING
    if moving:
        layer = _moved(layer, random.uniform(8, 24), random.uniform(0, np.pi))
    layer = ndimage.gaussian_filter(layer, (*[random.uniform(0.3, 0.8)] * 2, 0))
    alpha = layer[..., 3]
    foreground = (layer[..., :3] / np.maximum(alpha, 1e-4)[..., None]).clip(0, 1)
    screen = _screen(alpha.shape, SCREENS[colour], random)
    lit = _bounced(foreground, alpha, screen, random)
    image = alpha[..., None] * lit + (1 - alpha[..., None]) * screen
    image += random.normal(0, random.uniform(0.002, 0.01), image.shape)
    return Shot(_compressed(image, random), alpha, foreground, lit - foreground, colour, moving)


def _placed(cutout: Image.Image, random: np.random.Generator) -> np.ndarray:
    """Premultiplied [H, W, 4] float32: the cut-out wholly inside a frame of 4:3 or 3:4."""
    width, height = (LONGER_SIDE, LONGER_SIDE * 3 // 4)[:: 1 if cutout.width >= cutout.height else -1]
    scale = min(random.uniform(0.55, 0.85) * min(width / cutout.width, height / cutout.height), 2)
    size = max(1, round(cutout.width * scale)), max(1, round(cutout.height * scale))
    layer = np.zeros((height, width, 4), np.float32)
    left, top = int(random.integers(0, width - size[0])), int(random.integers(0, height - size[1]))
    layer[top : top + size[1], left : left + size[0]] = resample(cutout, size)
    return layer


def _moved(layer: np.ndarray, length: float, angle: float) -> np.ndarray:
    """The mean of the layer along a straight way of so many pixels."""
    reach = int(np.ceil(length / 2)) + 1
    way = np.zeros((2 * reach + 1, 2 * reach + 1))
    for step in np.linspace(-length / 2, length / 2, 4 * round(length) + 1):
        y, x = reach + step * np.sin(angle), reach + step * np.cos(angle)
        for row, column in ((int(y), int(x)), (int(y) + 1, int(x)), (int(y), int(x) + 1), (int(y) + 1, int(x) + 1)):
            way[row, column] += (1 - abs(y - row)) * (1 - abs(x - column))
    moved = signal.fftconvolve(layer, way[..., None] / way.sum(), mode="same", axes=(0, 1))
    alpha = moved[..., 3:].clip(0, 1)
    return np.concatenate([moved[..., :3].clip(0, alpha), alpha], 2).astype(np.float32)


def _screen(shape: tuple[int, int], colour: tuple[float, ...], random: np.random.Generator) -> np.ndarray:
    """[H, W, 3]: brighter near a lamp, darker on one side, and of a slightly different hue from place to place."""
    own = np.array(colour) * random.uniform(0.8, 1.2) + random.normal(0, 0.025, 3)
    down, right = np.mgrid[-1 : 1 : shape[0] * 1j, -1 : 1 : shape[1] * 1j]
    spot = np.hypot(down - random.uniform(-1, 1), right - random.uniform(-1, 1)) / 2
    side = (down * random.normal() + right * random.normal()) / 4
    light = 1 - random.uniform(0.1, 0.45) * spot + random.uniform(0, 0.15) * side
    hue = np.stack([_patches(shape, random) for _ in range(3)], -1)
    return (own * light[..., None] * (1 + 0.04 * hue)).clip(0.01, 0.98).astype(np.float32)


def _patches(shape: tuple[int, int], random: np.random.Generator) -> np.ndarray:
    """Smooth noise, about -1..1, a few bumps a side."""
    coarse = random.uniform(-1, 1, (5, 5))
    grid = np.mgrid[0 : 4 : shape[0] * 1j, 0 : 4 : shape[1] * 1j]
    return ndimage.map_coordinates(coarse, grid, order=3, mode="nearest")


def _bounced(foreground: np.ndarray, alpha: np.ndarray, screen: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """The foreground in the screen's light, worked out in linear light: a share of the light on it comes from the
    screen, as much light in all as without; and towards its edges, where surfaces are seen at a slant, it mirrors the
    screen a little."""
    near = 2 * ndimage.gaussian_filter(1 - alpha, random.uniform(4, 16))  # about 1 at a straight edge
    inside = _patches(alpha.shape, random).clip(0, None)
    share = random.uniform(0.5, 2) * near + random.uniform(0.3, 1.5) * inside
    mirrored = (random.uniform(0, 0.1) * near**2).clip(0, 0.3)[..., None]
    bounce = _linear(screen.mean((0, 1)))
    light = 1 + share[..., None] * bounce
    light /= (light @ LUMINANCE)[..., None]
    return _encoded(_linear(foreground) * light * (1 - mirrored) + bounce * mirrored).astype(np.float32)


def _linear(values: np.ndarray) -> np.ndarray:
    return np.where(values <= 0.04045, values / 12.92, ((values.clip(0, None) + 0.055) / 1.055) ** 2.4)


def _encoded(values: np.ndarray) -> np.ndarray:
    values = values.clip(0, 1)
    return np.where(values <= 0.0031308, values * 12.92, 1.055 * values ** (1 / 2.4) - 0.055)


def _compressed(image: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """As JPEG leaves it, of every second shot with chroma at half size, as in most clips and many photographs."""
    file, image = io.BytesIO(), Image.fromarray(np.rint(image.clip(0, 1) * 255).astype(np.uint8))
    image.save(file, "JPEG", quality=int(random.integers(85, 97)), subsampling=int(random.choice([0, 2])))
    return np.array(Image.open(file))
