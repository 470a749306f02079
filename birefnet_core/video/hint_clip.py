"""A clip of masks, such as the format `mask` and segmenters write, as the hints of another clip's frames."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy

import torch
from torch import Tensor

from .colour import own_alpha, to_rgb
from .read import Clip, Frame, Span
from .source import VideoError

LEAP = 100  # frames that are sooner decoded than looked for


class HintClip(Sequence):
    """The hints [h, w] 0..1 in the frames of a clip, each decoded when it is asked for: the transparency, 1 = opaque,
    where the first frame has some, else the brightness. What cannot be decoded is as of Clip. VideoError, when asked,
    where the clip ends before it says."""

    def __init__(self, clip: Clip) -> None:
        self._reading, self._numbers = _Reading(clip), range(clip.count())

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, index: int | slice) -> Tensor | HintClip:
        if isinstance(index, int):
            return self._reading.hint(self._numbers[index])
        part = copy(self)  # which reads the same clip on
        part._numbers = self._numbers[index]
        return part


class _Reading:
    """A clip's hints by their numbers: read on where these rise, as they do, and begun anew where they fall or leap."""

    def __init__(self, clip: Clip) -> None:
        self._clip = clip
        self._number, self._hint = -1, None  # the last one read
        self._frames: Iterator[Frame] = clip.frames()
        alpha = own_alpha(next(clip.frames(Span(count=1))).picture)
        self._is_cutout = alpha is not None and alpha.min() < 1

    def hint(self, number: int) -> Tensor:
        if not self._number <= number <= self._number + LEAP:
            self._number, self._frames = number - 1, self._clip.frames(Span(skip=number))
        while self._number < number:
            frame = next(self._frames, None)
            if frame is None:
                raise VideoError(f"{self._clip.info.name} ends after {self._number + 1} masks")
            self._number += 1
            if self._number == number:
                picture = frame.picture
                self._hint = torch.from_numpy(own_alpha(picture)) if self._is_cutout else _brightness(picture)
        return self._hint


def _brightness(picture) -> Tensor:
    return torch.from_numpy(to_rgb(picture)).float().mean(dim=2) / 255
