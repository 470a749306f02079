"""Generated clips with known alpha: a cut-out that moves over a photograph, as a film camera would see it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

NOISE = 0.008  # of a sensor: standard deviation, of the range


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
    noise: float = NOISE


MOTIONS = (
    Motion("still"),
    Motion("slow", travel=0.1, turn=0.05),
    Motion("fast", travel=0.5, turn=0.3),
    Motion("grows", grow=0.3, travel=0.05),
    Motion("camera pans", pan=0.3),
    Motion("both move", pan=-0.15, travel=0.25, turn=-0.1),
)


@dataclass(frozen=True)
class Crossing:
    """frames: uint8 [T, H, W, 3], of two cut-outs that cross. asked, other: what is seen of each, [T, H, W] 0..1
    float32, exact. name: what is in it and what happens."""

    frames: Tensor
    asked: Tensor
    other: Tensor
    name: str


@dataclass(frozen=True)
class Meeting:
    """How two cut-outs meet: `front`: the asked one passes in front; their heights in shares of the frame's; the
    asked one travels by `travel` frame widths, the other as far the other way times `against`; the camera pans by
    `pan`, and the asked one grows by `grow`."""

    name: str
    front: bool
    heights: tuple[float, float] = (0.6, 0.6)
    travel: float = 0.55
    against: float = 1.0
    pan: float = 0.0
    grow: float = 0.0


MEETINGS = (
    Meeting("in front", front=True),
    Meeting("behind", front=False),
    Meeting("in front, overtaking", front=True, travel=0.7, against=-0.3, pan=0.1),
    Meeting("hidden by a larger one", front=False, heights=(0.45, 0.75), travel=0.8),
    Meeting("behind, camera pans", front=False, pan=0.25, grow=0.2),
    Meeting("in front of a larger one", front=True, heights=(0.45, 0.75), pan=-0.15),
)


def known_clips(pack: Path, *, count: int = 12, frames: int = 24, size: tuple[int, int] = (320, 432)) -> Iterator:
    """`count` KnownClips from a pack with foregrounds/*/*.webp (RGBA, straight alpha) and backgrounds/*/*.webp, evenly
    spread over its names, every motion in turn. size: (height, width). ValueError when the pack has neither."""
    cutouts, photographs = _in_pack(pack)
    for index in range(count):
        cutout = cutouts[(2 * index + 1) * len(cutouts) // (2 * count)]
        photograph = photographs[(2 * index + 1) * len(photographs) // (2 * count)]
        motion = MOTIONS[index % len(MOTIONS)]
        rgba = np.array(Image.open(cutout).convert("RGBA"))
        back = np.array(Image.open(photograph).convert("RGB"))
        clip_frames, alpha = moving(rgba, back, motion, frames=frames, size=size, seed=index)
        yield KnownClip(clip_frames, alpha, f"{cutout.stem}, {motion.name}")


def _in_pack(pack: Path) -> tuple[list[Path], list[Path]]:
    """Its cut-outs and its photographs. ValueError where it lacks either."""
    cutouts = sorted(Path(pack, "foregrounds").glob("[!.]*/[!.]*.webp"))
    photographs = sorted(Path(pack, "backgrounds").glob("[!.]*/[!.]*.webp"))
    if not cutouts or not photographs:
        raise ValueError(f"{pack} has no foregrounds/*/*.webp or no backgrounds/*/*.webp")
    return cutouts, photographs


def crossings(
    pack: Path, *, count: int = 6, frames: int = 100, size: tuple[int, int] = (320, 432), seed: int = 0
) -> Iterator[Crossing]:
    """`count` Crossings from a pack as of known_clips, every meeting in turn, of cut-outs and photographs drawn with
    `seed`."""
    cutouts, photographs = _in_pack(pack)
    random = np.random.default_rng(seed)
    for index in range(count):
        meeting = MEETINGS[index % len(MEETINGS)]
        pair = [cutouts[place] for place in random.choice(len(cutouts), 2, replace=len(cutouts) < 2)]
        rgba = [np.array(Image.open(path).convert("RGBA")) for path in pair]
        back = np.array(Image.open(photographs[random.integers(len(photographs))]).convert("RGB"))
        made, asked, other = meet(rgba[0], rgba[1], back, meeting, frames=frames, size=size, seed=index)
        yield Crossing(made, asked, other, f"{pair[0].stem} and {pair[1].stem}, {meeting.name}")


def meet(
    asked: np.ndarray,
    other: np.ndarray,
    background: np.ndarray,
    meeting: Meeting,
    *,
    frames: int,
    size: tuple[int, int],
    seed: int = 0,
) -> tuple[Tensor, Tensor, Tensor]:
    """Two cut-outs uint8 [h, w, 4] that cross over background uint8 [h', w', 3] -> frames uint8 [T, H, W, 3] and what
    is seen of either, [T, H, W] each."""
    generator = torch.Generator().manual_seed(seed)
    layers = []
    for cutout, share in zip((asked, other), meeting.heights):
        layer = _planes(cutout)
        layer[:, :3] *= layer[:, 3:]
        scale = min(share * size[0] / layer.shape[2], 0.4 * size[1] / layer.shape[3])
        layer = F.interpolate(layer, scale_factor=scale, mode="bilinear", antialias=True)
        layers.append((layer, (layer.shape[3] / size[1], layer.shape[2] / size[0])))
    behind = _behind(background, size)
    made, seen = [], ([], [])
    for index in range(frames):
        t = index / max(1, frames - 1) - 0.5
        travels = meeting.travel, -meeting.against * meeting.travel
        scales = 1 + meeting.grow * t, 1.0
        looks = [
            _look(layer, size, (2 * travel * t + 0.02 * place, 0.1 * place), half, scale=scale)
            for place, ((layer, half), travel, scale) in enumerate(zip(layers, travels, scales))
        ]
        near, far = looks if meeting.front else looks[::-1]
        picture = near[:, :3] + (1 - near[:, 3:]) * (far[:, :3] + (1 - far[:, 3:]) * behind(2 * meeting.pan * t))
        picture = picture + NOISE * torch.randn(picture.shape, generator=generator)
        made.append(_as_frame(picture))
        alphas = near[0, 3].clamp(0, 1), ((1 - near[0, 3]) * far[0, 3]).clamp(0, 1)
        for kept, alpha in zip(seen, alphas if meeting.front else alphas[::-1]):
            kept.append(alpha)
    return torch.stack(made), torch.stack(seen[0]), torch.stack(seen[1])


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
    behind = _behind(background, size)
    object_half = layer.shape[3] / width, layer.shape[2] / height
    made, alphas = [], []
    for index in range(frames):
        t = index / max(1, frames - 1) - 0.5
        grown = 1 + motion.grow * t
        front = _look(layer, size, (2 * motion.travel * t, 0.1), object_half, angle=motion.turn * t, scale=grown)
        picture = front[:, :3] + (1 - front[:, 3:]) * behind(2 * motion.pan * t)
        picture = picture + motion.noise * torch.randn(picture.shape, generator=generator)
        made.append(_as_frame(picture))
        alphas.append(front[0, 3].clamp(0, 1))
    return torch.stack(made), torch.stack(alphas)


def _behind(background: np.ndarray, size: tuple[int, int]) -> Callable[[float], Tensor]:
    """background uint8 [h, w, 3] -> what a frame of size (H, W) shows of it, [1, 3, H, W], when the camera has panned
    by so many frame units."""
    height, width = size
    back = _shrunk(_planes(background), 1.5 * height)
    view = 0.62 * min(back.shape[3] / width, back.shape[2] / height)
    half = back.shape[3] / (width * view), back.shape[2] / (height * view)
    return lambda pan: _look(back, size, (pan, 0.0), half, padding="border")


def _as_frame(picture: Tensor) -> Tensor:
    """[1, 3, H, W] 0..1 -> uint8 [H, W, 3]."""
    return (picture[0].clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0)


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
