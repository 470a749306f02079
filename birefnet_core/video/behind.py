"""What stands behind the subject of a composite: a colour, a picture, or a clip or a batch that starts over."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import cycle
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .colour import integers, to_rgb
from .left_out import note_how_shown
from .notes import note
from .read import Clip, Frame, Span
from .source import VideoError, is_clip_file


@dataclass(frozen=True)
class Loop:
    """A part of a clip that starts over at its end."""

    clip: Clip
    span: Span = field(default_factory=Span)


Background = str | Path | Tensor | Clip | Loop
Behind = Callable[[Fraction], np.ndarray]  # seconds from the first frame written -> uint8 [H, W, 3]


def backgrounds(background: Background, size: tuple[int, int], pixel_aspect: Fraction) -> Behind:
    """What is behind the frame shown at a time, of size (width, height), in pixels of that aspect.

    background: "#rrggbb", a colour's name, the path of a picture or a clip, a picture [h, w, 3|4] or batch
    [n, h, w, 3|4] 0..1, of which each frame takes one in turn, or a clip or a Loop of it, which runs at its own rate as
    animated pictures do. All fill the frame, cut at their longer sides; what is transparent in them is black. To be
    asked once a frame, for rising times.
    ValueError for an unknown colour and an empty batch, ImageError or VideoError for a file that cannot be read.
    """
    if isinstance(background, Path) and is_clip_file(background):
        background = Clip(background)
    if isinstance(background, Clip):
        background = Loop(background)
    if isinstance(background, Loop):
        note_how_shown(background.clip.info, None)
        # A little ahead, for times that a file rounds: of two clips of one rate each frame meets one.
        looped, ahead = _Looped(background, size, pixel_aspect), 1 / (4 * background.clip.info.frame_rate)
        return lambda seconds: looped(seconds + ahead)
    if isinstance(background, Tensor) and background.ndim == 4:
        if len(background) == 0:
            raise ValueError("the batch of backgrounds is empty")
        if len(background) > 1:
            turns = cycle(background)
            return lambda seconds: filled(next(turns), size, pixel_aspect)
        background = background[0]
    still = filled(background, size, pixel_aspect)
    return lambda seconds: still


def filled(background: str | Path | Tensor, size: tuple[int, int], pixel_aspect: Fraction = Fraction(1)) -> np.ndarray:
    """A colour or a picture as uint8 [H, W, 3] of size (width, height), cut so that it looks right in pixels of that
    aspect; on black where the picture is transparent."""
    from ..matting import compose, images
    from ..matting.colour_names import parse_colour

    if isinstance(background, Tensor):
        pixels = compose.on_black(background.cpu())
    elif isinstance(background, Path):
        picture = images.read(background)
        pixels = picture.on_black
        if text := picture.coding and picture.coding.behind(str(background)):
            note(text)
    else:
        return np.full((size[1], size[0], 3), [round(255 * value) for value in parse_colour(background)], np.uint8)
    return _cut(integers(pixels, 8), size, pixel_aspect)


def _cut(pixels: np.ndarray, size: tuple[int, int], pixel_aspect: Fraction, own_aspect: Fraction = Fraction(1)):
    """The largest part that has the frame's shape as shown, around its middle. own_aspect: of the given pixels."""
    image = Image.fromarray(pixels)
    across, down = size[0] * float(pixel_aspect / own_aspect), size[1]
    scale = min(image.width / across, image.height / down)
    left, top = (image.width - across * scale) / 2, (image.height - down * scale) / 2
    box = (left, top, image.width - left, image.height - top)
    return np.array(image.resize(size, Image.Resampling.LANCZOS, box=box))


class _Looped:
    """A clip that begins again at its end, which is where it breaks off if it is damaged. Two of its frames are in
    memory."""

    def __init__(self, loop: Loop, size: tuple[int, int], pixel_aspect: Fraction) -> None:
        self._clip, self._span, self._size, self._aspect = loop.clip, loop.span, size, pixel_aspect
        self._begins = Fraction(0)  # seconds at which this turn began
        self._told = False
        self._turn()

    def _turn(self) -> None:
        self._frames: Iterator[Frame] = self._clip.frames(self._span)
        self._frame = next(self._frames)
        self._zero = self._frame.pts
        self._drawn: np.ndarray | None = None
        self._following = self._next()

    def _next(self) -> Frame | None:
        try:
            return next(self._frames, None)
        except VideoError as error:
            if not self._told:
                note(f"{error}; behind the subject it starts over there")
            self._told = True
            return None

    def _at(self, pts: int) -> Fraction:
        """The second of a tick in this turn."""
        return self._begins + (pts - self._zero) * self._clip.info.time_base

    def __call__(self, seconds: Fraction) -> np.ndarray:
        while True:
            if self._following is not None:
                if self._at(self._following.pts) > seconds:
                    break
                self._frame, self._drawn, self._following = self._following, None, self._next()
            else:
                end = self._at(self._frame.pts + self._frame.duration)
                if end > seconds or end == self._begins:  # a clip of no length stays as it is
                    break
                self._begins = end
                self._turn()
        if self._drawn is None:
            own = self._clip.info.pixel_aspect
            self._drawn = _cut(_on_black(self._frame), self._size, self._aspect, own)
        return self._drawn


def _on_black(frame: Frame) -> np.ndarray:
    from .colour import own_alpha

    pixels, alpha = to_rgb(frame.picture), own_alpha(frame.picture)
    if alpha is None:
        return pixels
    return integers(torch.from_numpy(pixels / 255 * alpha[..., None]), 8)
