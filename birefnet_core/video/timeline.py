"""When a clip's packets are shown: one line of times for pictures and sound, also where the file's own begin again, and
the even rate that rounded times were made of."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from math import gcd
from statistics import median_low
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import av
    from av.container import InputContainer

# Containers whose readers know every packet's time from one table, in which nothing is joined or lost.
INDEXED = ("mov,mp4,m4a,3gp,3g2,mj2", "avi", "gif", "apng", "yuv4mpegpipe", "mxf")
MAY_LEAP = 0x0200  # FFmpeg's flag of containers whose clock may be set anew
BACK = 0.1  # seconds back in one stream that are no disorder but another clock
AHEAD = 10  # seconds without a packet of any stream that are no pause but another clock
OVERLAP = Fraction(1, 2)  # seconds of sound that may be lost where parts meet, so that the pictures go on evenly
MOVIE_TICK = Fraction(1, 500)  # seconds to which MP4 rounds a clip's length, at most: often 1/600 or 1/1000
COARSE = 2  # ticks a frame, up to which any times fit any rate
ROUNDED = Fraction(1, 10_000)  # of a rate that a file states; NTSC's differ from whole ones by ten times as much
RATES = tuple(Fraction(rate) for rate in (12, 15, 24, 25, 30, 48, 50, 60, 100, 120)) + tuple(
    Fraction(rate * 1000, 1001) for rate in (12, 15, 24, 30, 48, 60, 120)
)


@dataclass(frozen=True)
class Timeline:
    """shifts: by stream, from which of its packets on how many seconds are added to its times; empty for nearly every
    clip. pts: of the pictures, in order, in the stream's ticks; empty when the file does not carry them. held: ticks
    that the last of them is shown, 0 when the file does not say."""

    shifts: dict[int, list[tuple[int, Fraction]]] = field(default_factory=dict)
    pts: tuple[int, ...] = ()
    held: int = 0

    @property
    def joined(self) -> bool:
        """Whether times begin again on the way: places are then to be found by reading only, not by seeking."""
        return bool(self.shifts)

    def packets(self, container: InputContainer, stream: av.stream.Stream) -> Iterator[av.Packet]:
        """The stream's packets from where the container stands (its beginning where it is joined) on, with times on one
        line."""
        shifts = self.shifts.get(stream.index)
        if not shifts:
            yield from container.demux(stream)
            return
        begins = [first for first, _ in shifts]
        ticks = [0] + [round(shift / stream.time_base) for _, shift in shifts]
        for index, packet in enumerate(container.demux(stream)):
            shift = ticks[bisect_right(begins, index)]
            if packet.pts is not None:
                packet.pts += shift
            if packet.dts is not None:
                packet.dts += shift
            yield packet


def read_timeline(container: InputContainer, pictures: av.VideoStream) -> Timeline:
    """Read through a file just opened, without decoding."""
    streams = [pictures, *(stream for stream in container.streams.audio if stream.codec_context is not None)]
    parts = _Parts(leaps=bool(container.format.flags & MAY_LEAP))
    frames, last, duration = [], None, 0
    counts = dict.fromkeys((stream.index for stream in streams), 0)
    for packet in container.demux(streams):
        if packet.stream_index not in counts:
            continue  # at the end there is an empty packet of every stream
        index = counts[packet.stream_index]
        counts[packet.stream_index] += 1
        if packet.dts is None:
            if not packet.size:
                continue  # the end
            part = parts.latest_of(packet.stream_index)  # some of a stream's first packets have no decoding time
        else:
            part = parts.add(packet, index)
        if packet.stream_index == pictures.index and packet.size and not packet.is_discard:
            frames.append((part, packet.pts))
            if packet.pts is not None and (last is None or (part, packet.pts) > last):
                last, duration = (part, packet.pts), packet.duration
    offsets = parts.offsets([(part, pts) for part, pts in frames if pts is not None], pictures)
    if any(pts is None for _, pts in frames):
        return Timeline(parts.shifts(offsets))
    held = last_shown_for(last and last[1], duration, frames[-1][1] if frames else None, pictures)
    ticks = [round(offset / pictures.time_base) for offset in offsets]
    return Timeline(parts.shifts(offsets), tuple(sorted(pts + ticks[part] for part, pts in frames)), held)


class _Parts:
    """The parts of a file between which its clock was set anew: each stream comes to the next one with a packet whose
    time lies far from its last."""

    def __init__(self, leaps: bool) -> None:
        self._leaps = leaps
        self._ranges: list[list[float]] = []  # seconds from and up to, as the file counts, of each part
        self._spans: list[dict[int, list[Fraction]]] = []  # the same by stream and exact, of presentation
        self._changes: dict[int, list[tuple[int, int]]] = {}  # by stream: (its packet, the part that begins with it)
        self._last: dict[int, tuple[int, float]] = {}  # by stream: its part, its last packet's time there
        self._left: dict[tuple[int, int], float] = {}  # by stream and part: the same, of parts it has left

    def latest_of(self, stream: int) -> int:
        return self._last.get(stream, (max(0, len(self._ranges) - 1), 0.0))[0]

    def add(self, packet: av.Packet, index: int) -> int:
        """The part of a packet that has a decoding time; index: which of its stream."""
        stream, seconds = packet.stream_index, float(packet.dts * packet.time_base)
        part = self._part(stream, seconds)
        if stream in self._last and part != self._last[stream][0]:
            self._left[stream, self._last[stream][0]] = self._last[stream][1]
            self._changes.setdefault(stream, []).append((index, part))
        elif stream not in self._last and part:
            self._changes[stream] = [(0, part)]
        self._last[stream] = part, seconds
        length = float((packet.duration or 0) * packet.time_base)
        low, high = self._ranges[part]
        self._ranges[part] = [min(low, seconds), max(high, seconds + length)]
        if packet.pts is not None:
            begin = packet.pts * packet.time_base
            end = begin + (packet.duration or 0) * packet.time_base
            span = self._spans[part].setdefault(stream, [begin, end])
            span[0], span[1] = min(span[0], begin), max(span[1], end)
        return part

    def _part(self, stream: int, seconds: float) -> int:
        if not self._ranges:
            return self._new(seconds)
        part, last = self._last.get(stream, (len(self._ranges) - 1, None))
        if not self._leap(part, last, seconds):
            return part
        for older in reversed(range(part)):  # a single wrong time, and the stream goes on where it was
            if 0 <= seconds - self._left.get((stream, older), -AHEAD) < 1:
                return older
        newer = range(part + 1, len(self._ranges))
        return next((other for other in newer if self._near(other, seconds)), None) or self._new(seconds)

    def _leap(self, part: int, last: float | None, seconds: float) -> bool:
        back = last is not None and seconds < last - BACK
        return back or (self._leaps and seconds > self._ranges[part][1] + AHEAD)

    def _near(self, part: int, seconds: float) -> bool:
        low, high = self._ranges[part]
        return low - AHEAD < seconds < high + AHEAD

    def _new(self, seconds: float) -> int:
        self._ranges.append([seconds, seconds])
        self._spans.append({})
        return len(self._ranges) - 1

    def offsets(self, frames: list[tuple[int, int]], pictures: av.VideoStream) -> list[Fraction]:
        """Seconds to add to each part's times: its pictures go on one frame after the last ones, unless more than
        OVERLAP of the sound would be lost; then all of it goes on after all before. Where sound alone steps back it
        overlaps itself, and its times stay as they are."""
        if len(self._spans) < 2:
            return [Fraction(0)]
        of_part: dict[int, list[int]] = {}
        for part, pts in frames:
            of_part.setdefault(part, []).append(pts)
        offsets, ends, shown = [], [], []
        for part, spans in enumerate(self._spans):
            times = [pts * pictures.time_base for pts in sorted(of_part.get(part, ()))]
            begin = min((span[0] for span in spans.values()), default=Fraction(0))
            offset = Fraction(0)
            if ends and not times:
                offset = offsets[-1]
            elif ends:
                offset = max(ends) - begin
                if shown and offset - (max(shown) - times[0]) < OVERLAP:
                    offset = max(shown) - times[0]
            offsets.append(offset)
            if times:
                steps = [after - before for before, after in pairwise(times) if after > before]
                step = median_low(steps) if steps else 1 / Fraction(pictures.guessed_rate or 25)
                shown.append(times[-1] + step + offset)
            ends += [span[1] + offset for span in spans.values()]
            ends += shown[-1:]
        return offsets

    def shifts(self, offsets: list[Fraction]) -> dict[int, list[tuple[int, Fraction]]]:
        """As of Timeline."""
        found = {stream: [(index, offsets[part]) for index, part in every] for stream, every in self._changes.items()}
        return {stream: shifts for stream, shifts in found.items() if any(shift for _, shift in shifts)}


def last_shown_for(pts: int | None, duration: int | None, stored: int | None, pictures: av.VideoStream) -> int:
    """Ticks for which the clip's last picture is shown, 0 when the file does not say. stored: the time of the one
    stored last. MP4 has the times between decoding packets. Where they are shown in another order, only the last
    packet's is its own, or longer to make up the clip's length; of another the length says it."""
    duration = max(duration or 0, 0)
    reordered = "mp4" in pictures.container.format.name and pictures.codec_context.has_b_frames
    if not reordered or not pictures.duration or None in (pts, pictures.start_time):
        return duration
    left = max(0, pictures.start_time + pictures.duration - pts)
    if abs(left - duration) * pictures.time_base <= MOVIE_TICK:
        return duration
    return (min(duration, left) if pts == stored else left) or duration


def needs_reading(container: str, rate: Fraction, time_base: Fraction) -> bool:
    """Whether a clip's times may be other than its file says: joined, or rounded."""
    return container not in INDEXED or (1 / (rate * time_base)).denominator != 1


def even_rate(pts: tuple[int, ...], time_base: Fraction, hints: list[Fraction]) -> Fraction | None:
    """The rate (frames a second) at which frames shown at `pts` lie evenly, a few left out perhaps, once each time is
    rounded; None when there is none. hints: rates that the file's header states, of which a usual one is tried
    first."""
    if len(pts) < 2 or pts[-1] == pts[0]:
        return None
    steps = [after - before for before, after in pairwise(pts)]
    usual = median_low(steps)
    if not usual:
        return None
    measured = (len(pts) - 1) / ((pts[-1] - pts[0]) * time_base)
    hints = [rate for rate in hints if rate]
    rates = [_usual(rate) for rate in hints if _is_usual(rate)]  # of few frames the times fit several
    for guess in (measured, 1 / (usual * time_base)):
        rates += [
            rate for rate in sorted(RATES, key=lambda rate: abs(rate - guess))[:2] if abs(rate / guess - 1) < 0.05
        ]
    rates += [*hints, _plain(measured)]
    whole = gcd(*steps)
    for rounding in sorted({1, whole}):  # to the container's tick, or a coarser one of where the pictures were before
        for rate in rates:
            step = 1 / (rate * time_base)
            if abs(step - usual) <= rounding and _fits(pts, step, rounding):
                return rate
        if whole == usual:
            return 1 / (whole * time_base)
    return None


def _usual(rate: Fraction) -> Fraction:
    return min(RATES, key=lambda usual: abs(usual - rate))


def _is_usual(rate: Fraction) -> bool:
    """Whether it is one of RATES but for rounding, as of Matroska's whole nanoseconds a frame."""
    return abs(_usual(rate) / rate - 1) < ROUNDED


def usual_rate(seconds: Fraction) -> Fraction:
    """The rate of frames of this length: a usual one where that is near."""
    near = min(RATES, key=lambda rate: abs(rate * seconds - 1))
    return near if abs(near * seconds - 1) < 0.05 else _plain(1 / seconds)


def _plain(rate: Fraction) -> Fraction:
    """As a ratio of small numbers; what is too slow for one as it is."""
    plain = rate.limit_denominator(1001)
    return plain if abs(plain / rate - 1) < 0.01 else rate


def _fits(pts: tuple[int, ...], step: Fraction, rounding: int) -> bool:
    """Whether all `pts` lie on a grid of `step` ticks, no two on one place, rounded up or down or to the nearest."""
    if step <= COARSE * rounding:
        return False
    number, per = step.numerator, step.denominator  # in integers: Fractions take a hundred times as long
    least = most = 0
    last = -1
    for value in pts:
        scaled = (value - pts[0]) * per
        place = (2 * scaled + number) // (2 * number)
        off = scaled - place * number
        least, most = min(least, off), max(most, off)
        if place <= last or most - least > per * rounding:
            return False
        last = place
    return True
