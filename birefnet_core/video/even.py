"""A clip of uneven frame times as one of an even rate, for those who know frames and a rate only."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from statistics import median_low

from .notes import note
from .read import FINE, Clip, Frame
from .timeline import usual_rate

HIGHEST = 60  # frames a second, unless the clip has more on average


def evened(clip: Clip) -> Clip:
    """The clip itself where at its average rate no frame would be more than half a frame off its time; else the same
    pictures at the rate that most of them have, some repeated or left out, with a note that says so."""
    rate = _rate(clip)
    if rate is None:
        return clip
    made = EvenClip(clip, rate)
    note(
        f"{clip.info.name}: its frames are shown for uneven times; given are {_shown(rate)} a second, to keep them "
        f"with the sound ({len(clip.times())} frames become {len(made.times())})"
    )
    return made


def is_uneven(clip: Clip) -> bool:
    """Whether frames and a rate do not tell when they are shown."""
    return _rate(clip) is not None


def tell_uneven(clip: Clip) -> None:
    """A note that frames and a rate do not tell when they are shown, where that is so."""
    if is_uneven(clip):
        note(
            f"{clip.info.name}: its frames are shown for uneven times; fps is their average, and the sound goes its way"
        )


def _shown(rate: Fraction) -> str:
    return f"{float(rate):.2f}".rstrip("0").rstrip(".")


def _rate(clip: Clip) -> Fraction | None:
    """The even rate for a clip of uneven times; None for others, and where the file does not carry them."""
    times, average = clip.times(), clip.info.frame_rate * clip.info.time_base  # frames a tick
    off = [time * average - index for index, time in enumerate(times)]
    if len(times) < 3 or max(off) - min(off) <= 1:
        return None
    usual = median_low([after - before for before, after in pairwise(times)])
    return min(usual_rate(max(1, usual) * clip.info.time_base), max(Fraction(HIGHEST), clip.info.frame_rate))


class EvenClip(Clip):
    """A clip at another, even rate: at each of its times the picture that the clip shows then, or from less than half a
    frame later on. Spans count its own frames."""

    def __init__(self, clip: Clip, rate: Fraction) -> None:
        self.source, self._clip, self._rate = clip.source, clip, rate
        self._step = rate.denominator * -(-FINE // rate.numerator)  # ticks a frame
        self._base = clip.info.time_base
        self._places = [self._place(time) for time in clip.times()]
        self._end = max(self._place(clip.end()), self._places[-1] + 1)
        self._times = [place * self._step for place in range(self._places[0], self._end)]
        self.info = replace(
            clip.info,
            frame_rate=rate,
            time_base=1 / (rate * self._step),
            frames=len(self._times),
            first_pts=self._times[0],
        )

    def _place(self, tick: int) -> int:
        """Which frame of the even rate begins nearest to a tick of the clip."""
        return int(tick * self._base * self._rate + Fraction(1, 2))

    def _decoded(self, seek: int | None = None) -> Iterator[Frame]:
        if seek is not None:
            seek = self._clip.times()[max(0, bisect_right(self._places, seek // self._step) - 1)]
        held = begins = None
        for frame in self._clip._decoded(seek):
            place = self._place(frame.pts)
            if held is not None:
                yield from self._repeated(held, begins, place)
            held, begins = frame, place
        if held is not None:
            yield from self._repeated(held, begins, self._end)

    def _repeated(self, frame: Frame, first: int, end: int) -> Iterator[Frame]:
        for place in range(first, end):
            yield Frame(frame.picture, place * self._step, self._step)
