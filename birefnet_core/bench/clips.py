"""Generated clips with known alpha: a cut-out that moves over a photograph, as a film camera would see it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor


@dataclass(frozen=True)
class KnownClip:
    """frames: uint8 [T, H, W, 3]; alpha: [T, H, W] 0..1 float32, exact; name: what is in it and how it moves."""

    frames: Tensor
    alpha: Tensor
    name: str


@dataclass(frozen=True)
class Motion:
    """What happens in a clip of `frames` frames, in fractions of the frame's width: the object travels by `travel`,
    turns by `turn` radians and grows by `grow`; the background pans by `pan`; the sensor adds noise of `noise` of the
    range (standard deviation, fresh in every frame)."""

    name: str
    travel: float = 0.0
    turn: float = 0.0
    grow: float = 0.0
    pan: float = 0.0
    noise: float = 0.008


MOTIONS = (
    Motion("still"),
    Motion("slow", travel=0.1, turn=0.05),
    Motion("fast", travel=0.5, turn=0.3),
    Motion("grows", grow=0.3, travel=0.05),
    Motion("camera pans", pan=0.3),
    Motion("both move", pan=-0.15, travel=0.25, turn=-0.1),
)


def known_clips(pack: Path, *, count: int = 12, frames: int = 24, size: tuple[int, int] = (320, 432)) -> Iterator:
    """`count` KnownClips from a pack with foregrounds/*/*.webp (RGBA, straight alpha) and backgrounds/*/*.webp, evenly
    spread over its names, every motion in turn. size: (height, width). ValueError when the pack has neither."""
    cutouts = sorted(Path(pack, "foregrounds").glob("[!.]*/[!.]*.webp"))
    photographs = sorted(Path(pack, "backgrounds").glob("[!.]*/[!.]*.webp"))
    if not cutouts or not photographs:
        raise ValueError(f"{pack} has no foregrounds/*/*.webp or no backgrounds/*/*.webp")
    for index in range(count):
        cutout = cutouts[(2 * index + 1) * len(cutouts) // (2 * count)]
        photograph = photographs[(2 * index + 1) * len(photographs) // (2 * count)]
        motion = MOTIONS[index % len(MOTIONS)]
        rgba = np.array(Image.open(cutout).convert("RGBA"))
        back = np.array(Image.open(photograph).convert("RGB"))
        clip_frames, alpha = moving(rgba, back, motion, frames=frames, size=size, seed=index)
        yield KnownClip(clip_frames, alpha, f"{cutout.stem}, {motion.name}")


def moving(
    cutout: np.ndarray, background: np.ndarray, motion: Motion, *, frames: int, size: tuple[int, int], seed: int = 0
) -> tuple[Tensor, Tensor]:
    """cutout uint8 [h, w, 4] moving over background uint8 [h', w', 3] -> frames uint8 [T, H, W, 3], alpha [T, H, W].

    Both are resampled with sub-pixel positions, the cut-out with its colours multiplied by alpha.
    """
    generator = torch.Generator().manual_seed(seed)
    height, width = size
    layer = _planes(cutout)
    layer[:, :3] *= layer[:, 3:]
    layer = _shrunk(layer, 0.7 * height)
    back = _shrunk(_planes(background), 1.5 * height)
    object_half = layer.shape[3] / width, layer.shape[2] / height
    view = 0.62 * min(back.shape[3] / width, back.shape[2] / height)
    view_half = back.shape[3] / (width * view), back.shape[2] / (height * view)
    made, alphas = [], []
    for index in range(frames):
        t = index / max(1, frames - 1) - 0.5
        grown = 1 + motion.grow * t
        front = _look(layer, size, (2 * motion.travel * t, 0.1), object_half, angle=motion.turn * t, scale=grown)
        behind = _look(back, size, (2 * motion.pan * t, 0.0), view_half, padding="border")
        picture = front[:, :3] + (1 - front[:, 3:]) * behind
        picture = picture + motion.noise * torch.randn(picture.shape, generator=generator)
        made.append((picture[0].clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0))
        alphas.append(front[0, 3].clamp(0, 1))
    return torch.stack(made), torch.stack(alphas)


def _planes(picture: np.ndarray) -> Tensor:
    return torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255


def _shrunk(picture: Tensor, longest: float) -> Tensor:
    """Scaled so that the longest side of [1, C, h, w] is at most `longest` pixels."""
    scale = longest / max(picture.shape[2:])
    if scale >= 1:
        return picture
    return F.interpolate(picture, scale_factor=scale, mode="bilinear", antialias=True)


def _look(
    picture: Tensor,
    size: tuple[int, int],
    centre: tuple[float, float],
    half: tuple[float, float],
    *,
    angle: float = 0.0,
    scale: float = 1.0,
    padding: str = "zeros",
) -> Tensor:
    """picture [1, C, h, w] placed into a frame of size (H, W) with its centre at `centre` and half its sides `half`, in
    frame units (the frame spans -1..1), turned by angle -> [1, C, H, W]."""
    height, width = size
    x = (torch.arange(width) + 0.5) * 2 / width - 1 - centre[0]
    y = (torch.arange(height) + 0.5) * 2 / height - 1 - centre[1]
    aspect = width / height
    sine, cosine = math.sin(angle), math.cos(angle)
    u = (cosine * x[None, :] + sine * y[:, None] / aspect) / (half[0] * scale)
    v = (-sine * x[None, :] * aspect + cosine * y[:, None]) / (half[1] * scale)
    return F.grid_sample(picture, torch.stack([u, v], dim=-1)[None], padding_mode=padding, align_corners=False)
