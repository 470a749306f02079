"""The frames of a clip as one tensor, when they fit in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

from ..memory import free_memory
from .colour import own_alpha, resized, to_deep_rgb, to_rgb
from .left_out import note_how_shown
from .notes import note
from .read import Clip, Span
from .sound import read_samples

SPARE = 0.9  # of the free memory that a batch may take


@dataclass(frozen=True)
class Batch:
    """frames: [B, H, W, 3] float32 0..1. alpha: the clip's own, [B, H, W] 0..1, None without transparency. frame_rate:
    of these frames, a second. sound: samples [channels, S] float32 and their rate, None without sound."""

    frames: Tensor
    alpha: Tensor | None
    frame_rate: Fraction
    sound: tuple[Tensor, int] | None


def read_batch(
    clip: Clip,
    span: Span,
    *,
    longest_side: int = 0,
    square_pixels: bool = False,
    sound_track: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
) -> Batch:
    """Decode a span of a clip into memory. longest_side: shrinks larger frames to it, 0 keeps their size.
    square_pixels: stretches frames whose pixels are not square; else they stay as stored, and a note says so.
    sound_track: as of audio.read_samples.

    Raises MemoryError, with the figures, before anything is decoded when the frames would not fit, VideoError as
    Clip.frames does.
    """
    count = max(1, clip.count(span))  # where there is none, Clip.frames says so
    note_how_shown(clip.info, None)
    width, height = fitted(clip, longest_side, square_pixels)
    if clip.info.pixel_aspect != 1 and not square_pixels:
        shown = " x ".join(str(side) for side in clip.info.shown)
        note(f"{clip.info.name}: {clip.info.pixels_as_shown}; square_pixels makes its frames {shown}")
    need = count * height * width * 4 * (4 if clip.info.has_alpha else 3)
    check_memory(need, f"{count} frames of {width} x {height} from {clip.info.name}")
    frames = torch.empty(count, height, width, 3)
    alphas = torch.empty(count, height, width) if clip.info.has_alpha else None
    times, before = [], None
    for frame in clip.frames(span):
        done = len(times)
        if done == count:
            break
        picture = frame.picture
        if picture is before:  # held, or repeated
            for each in (frames, alphas):
                if each is not None:
                    each[done] = each[done - 1]
        else:
            frames[done] = torch.from_numpy(_unit(picture, (width, height), clip.info.bits))
            if alphas is not None:
                alphas[done] = torch.from_numpy(own_alpha(resized(picture, (width, height))))
        before = picture
        times.append(frame.pts * clip.info.time_base)
        if on_progress is not None:
            on_progress(len(times), count)
    end = clip.seconds(span)[1]
    sound = read_samples(clip.source, times[0], end, sound_track) if clip.info.has_audio else None
    return Batch(
        frames=frames[: len(times)],
        alpha=None if alphas is None else alphas[: len(times)],
        frame_rate=rate_of(times, clip.info.frame_rate / span.every),
        sound=None if sound is None else (torch.from_numpy(sound[0]), sound[1]),
    )


def rate_of(times: list[Fraction], average: Fraction) -> Fraction:
    """Frames a second of frames shown at `times` (seconds): the clip's average, unless these, part of a clip of uneven
    times, would last longer or shorter with it by more than a frame."""
    steps, length = len(times) - 1, times[-1] - times[0]
    if not length or abs(steps / average - length) <= 1 / average:
        return average
    return steps / length


def fitted(clip: Clip, longest_side: int, square_pixels: bool = False) -> tuple[int, int]:
    """(width, height) of the clip's frames, shrunk to the longest side given; then even, as H.264 wants them."""
    if not longest_side >= 0:  # nor NaN
        raise ValueError(f"longest_side must be 0, for the clip's own, or more, not {longest_side}")
    width, height = clip.info.shown if square_pixels else (clip.info.width, clip.info.height)
    if not longest_side or max(width, height) <= longest_side:
        return width, height
    return even((width, height), longest_side / max(width, height))


def even(size: tuple[int, int], scale: float) -> tuple[int, int]:
    """(width, height) times scale, to the nearest even sides."""
    width, height = (max(2, round(side * scale / 2) * 2) for side in size)
    return width, height


def _unit(picture, size: tuple[int, int], bits: int) -> np.ndarray:
    if bits > 8:
        return to_deep_rgb(picture, size).clip(0, 1)
    return to_rgb(picture, size).astype(np.float32) / 255


def check_memory(need: int, what: str) -> None:
    """MemoryError unless `need` bytes are free, as far as this system tells."""
    free = free_memory()
    if free is not None and need > SPARE * free:
        raise MemoryError(
            f"{what} take {need / 2**30:.1f} GiB of memory and {free / 2**30:.1f} GiB are free: ask for fewer "
            "frames or a smaller longest side, or matte the clip as a stream with Matte Video"
        )
