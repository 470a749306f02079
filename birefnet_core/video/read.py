"""Reading clips: exactly the frames asked for, upright, with their times and their own transparency."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from numbers import Integral
from typing import TYPE_CHECKING

from .decode import Damage, Decoding, Picture
from .matroska import is_cut_off
from .source import ClipInfo, Source, VideoError, probe, video_stream
from .threads import until_error
from .timeline import even_rate, last_shown_for, needs_reading, read_timeline

if TYPE_CHECKING:
    import av

# Degrees counter-clockwise -> FFmpeg's filters.
TURNS = {
    0: [],
    90: [("transpose", "cclock")],
    180: [("hflip",), ("vflip",)],
    270: [("transpose", "clock")],
}
FINE = 10_000  # ticks a second at least, of clips whose frames are put back on their even rate
MOST_EVERY = 1_000_000  # frames; a rate of one in 2**31 is more than containers can say
SPARE = 3  # frames that may be missing where only what lies behind the pictures was cut off


@dataclass(frozen=True)
class Frame:
    """A decoded frame.

    picture: upright, in the clip's own pixel format and colours. pts: in ticks of ClipInfo.time_base since the clip's
    first frame. duration: ticks it is shown.
    """

    picture: av.VideoFrame
    pts: int
    duration: int


@dataclass(frozen=True)
class Span:
    """Which frames of a clip: from `start` seconds on (the first frame shown then or later), not those at `end` seconds
    or later, of these skip `skip` frames, then one of `every`, `count` at most (None: all)."""

    start: float = 0.0
    end: float | None = None
    skip: int = 0
    every: int = 1
    count: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.start < float("inf"):
            raise ValueError(f"start must be 0 or more seconds, not {self.start!r}")
        if self.end is not None and not self.start < self.end < float("inf"):
            raise ValueError(f"end must be a number of seconds after start ({self.start} s), not {self.end!r}")
        _check_whole("skip", self.skip, 0)
        _check_whole("every", self.every, 1, MOST_EVERY)
        if self.count is not None:
            _check_whole("count", self.count, 1)

    @property
    def whole(self) -> bool:
        return self == Span(every=self.every)


def _check_whole(name: str, value: int, least: int, most: float = math.inf) -> None:
    if not isinstance(value, Integral) or not least <= value <= most:
        limits = f"{least} or more" if most == math.inf else f"{least} to {most}"
        raise ValueError(f"{name} must be a whole number, {limits}, not {value!r}")


class Clip:
    """A clip and what is in it. Every iteration opens the file anew: iterations do not disturb each other.

    source: a path or an io.BytesIO. Frames that cannot be decoded are held by the one before, and a DamageNote says
    which; strict: they are an error. Times that begin again on the way go on, and those of an even rate that the file
    rounded are exact again. Raises VideoError, one sentence, unless a first frame can be decoded.
    """

    def __init__(
        self, source: str | os.PathLike | io.BytesIO | Source, name: str | None = None, *, strict: bool = False
    ) -> None:
        self.source = source if isinstance(source, Source) else Source(source, name)
        self._strict = strict
        self.info: ClipInfo = probe(self.source, strict)
        self._broken = [repair.time / 1000 for repair in self.source.repairs or ()]
        if strict and self._broken:
            raise VideoError(f"{self.info.name} is cut off or damaged at {self._broken[0]:.2f} s")
        self._stream_tick, self._step = self.info.time_base, None  # step: ticks a frame, of an even rate
        self._times: list[int] | None = None
        if needs_reading(self.info.container, self.info.frame_rate, self.info.time_base):
            self._read_through()

    def frames(self, span: Span = Span()) -> Iterator[Frame]:
        """The frames of the span, one after another.

        Raises VideoError when the clip ends before its header says, after the frames there are; when the span begins
        after its end; and if strict, for what cannot be decoded.
        """
        seek = self._seek_target(span) if (span.start or span.skip) and self.source.can_seek else None
        given = 0
        for index, frame in enumerate(self._from(span, seek)):
            if index % span.every:
                continue
            yield Frame(frame.picture, frame.pts, frame.duration * span.every)
            given += 1
            if given == span.count:
                return
        if not given:
            begin = f"{span.start:g} s" + (f" and {span.skip} frames" if span.skip else "")
            raise VideoError(f"{self.info.name} has no frames from {begin} on: it is {self.info.duration:.2f} s long")

    def count(self, span: Span = Span()) -> int:
        """How many frames the span has, without decoding them: exact where the file carries every frame's time."""
        times = self.times()
        if times:
            low, high = self._ticks(span)
            inside = sum(low <= pts < high for pts in times) - span.skip
        else:
            end = self.info.duration if span.end is None else min(span.end, self.info.duration)
            inside = round((end - span.start) * self.info.frame_rate) - span.skip
        kept = max(0, -(-inside // span.every))
        return kept if span.count is None else min(kept, span.count)

    def first_pts(self, span: Span) -> int:
        """The tick of the span's first frame. VideoError when there is none, or the file carries no times."""
        target = self._seek_target(span)
        if target is None:
            raise VideoError(f"{self.info.name} has no frame there that could be told without decoding")
        return target

    def seconds(self, span: Span = Span()) -> tuple[Fraction, Fraction | None]:
        """When the span's first frame is shown and when its last one ends, in seconds after the clip's first frame; the
        latter None where that is the clip's end."""
        tick = self.info.time_base
        end = None if span.end is None else Fraction(span.end)
        if not span.start and not span.skip and span.count is None:
            return self.info.first_pts * tick, end
        low, high = self._ticks(span)
        inside = [pts for pts in self.times() if low <= pts < high][span.skip :]
        if not inside:  # the file carries no times
            begin = Fraction(span.start) + span.skip / self.info.frame_rate
            length = None if span.count is None else span.count * span.every / self.info.frame_rate
            ends = [time for time in (end, None if length is None else begin + length) if time is not None]
            return begin, min(ends, default=None)
        begin = inside[0] * tick
        if span.count is None or span.count * span.every >= len(inside):
            return begin, end
        return begin, inside[span.count * span.every] * tick

    def times(self) -> list[int]:
        """Every frame's time in ticks since the first, in order; empty when the file does not carry them. Reads through
        the file once, without decoding. Frames before the first that can be decoded do not count."""
        if self._times is None:
            self._read_through()
        return self._times

    def end(self) -> int:
        """The tick at which the last of `times` ends, by the file or its average rate."""
        held = self._tick(self.source.timeline.held)
        return self.times()[-1] + (held or round(1 / (self.info.frame_rate * self.info.time_base)))

    def _read_through(self) -> None:
        """Read the packets' times, and set right by them what the header says of rate and length."""
        with self.source.open() as container:
            stream = video_stream(container, self.source)
            timeline = self.source.timeline = read_timeline(container, stream)
            self._times = []
            if _without_times(stream) or not timeline.pts:
                return
            origin = timeline.pts[0] if stream.start_time is None else stream.start_time
            hints = [self.info.frame_rate, stream.guessed_rate, stream.base_rate]
        pts = tuple(time - origin for time in timeline.pts)
        rate = even_rate(pts, self._stream_tick, hints)
        if rate is not None:
            self._set_rate(rate)
        if timeline.joined:
            end = self._tick(pts[-1]) * self.info.time_base + 1 / self.info.frame_rate
            average = self.info.frame_rate if rate else len(pts) / end
            self.info = replace(self.info, frame_rate=average, frames=len(pts), duration=float(end))
        self._times = [tick for tick in map(self._tick, pts) if tick >= self.info.first_pts]

    def _set_rate(self, rate: Fraction) -> None:
        """Count time in ticks of which a frame takes a whole number, where the file's are too coarse for that."""
        first = self.info.first_pts
        if (1 / (rate * self._stream_tick)).denominator != 1:
            self._step = rate.denominator * -(-FINE // rate.numerator)
            self.info = replace(self.info, time_base=1 / (rate * self._step))
        self.info = replace(self.info, frame_rate=rate, first_pts=self._tick(first))

    def _tick(self, pts: int) -> int:
        """Of a stream's tick since its start."""
        if self._step is None:
            return pts
        return round(pts * self._stream_tick * self.info.frame_rate) * self._step

    def _stream_ticks(self, tick: int) -> int:
        """The other way, rounded up: a frame's own tick at least, and not yet the next one's."""
        return tick if self._step is None else -(-tick * self.info.time_base // self._stream_tick)

    def _ticks(self, span: Span) -> tuple[int, float]:
        """From which tick on, and before which, a frame lies in the span's seconds. Times are rounded to ticks in the
        file, so that half a tick is let pass."""
        tick = self.info.time_base
        low = -(-(Fraction(span.start) - tick / 2) // tick)
        high = float("inf") if span.end is None else -(-(Fraction(span.end) - tick / 2) // tick)
        return int(low), high

    def _seek_target(self, span: Span) -> int | None:
        """The time, in ticks, of the span's first frame; None when only decoding from the start can tell."""
        low, high = self._ticks(span)
        inside = [pts for pts in self.times() if low <= pts < high]
        return inside[span.skip] if span.skip < len(inside) else None

    def _from(self, span: Span, target: int | None) -> Iterator[Frame]:
        """The frames from the span's first on to its end, each of them, by seeking to the tick `target` if given."""
        low, high = self._ticks(span)
        if target is not None:
            frames = self._decoded(seek=target)
            first = next(frames, None)
            if first is not None and first.pts <= target:
                yield from self._until(high, (frame for frame in chained(first, frames) if frame.pts >= target))
                return
            frames.close()  # the seek went past the target: decode from the start
        inside = (frame for frame in self._decoded() if frame.pts >= low)
        for index, frame in enumerate(self._until(high, inside)):
            if index >= span.skip:
                yield frame

    @staticmethod
    def _until(high: float, frames: Iterator[Frame]) -> Iterator[Frame]:
        for frame in frames:
            if frame.pts >= high:
                return
            yield frame

    def _decoded(self, seek: int | None = None) -> Iterator[Frame]:
        """Every frame from the key frame at or before the tick `seek` on; pts strictly rise."""
        info = self.info
        damage, until = Damage(info.name, self._strict), 0
        with self.source.open() as container:
            stream = video_stream(container, self.source)
            decoding = Decoding(self.source, damage, timeless=_without_times(stream))
            try:
                for frame in self._timed(self._pictures(decoding, stream, seek), decoding, stream):
                    until = frame.pts
                    yield frame
            finally:
                damage.file = [time for time in self._broken if (seek or 0) * info.time_base <= time]
                damage.file = [time for time in damage.file if time <= until * info.time_base]
                damage.tell(float(1 / info.frame_rate))

    def _pictures(self, decoding: Decoding, stream: av.VideoStream, seek: int | None) -> Iterator[Picture]:
        if seek:
            yield from decoding.pictures((stream.start_time or 0) + self._stream_ticks(seek))
        else:
            yield from decoding.pictures()
            self._check_length(stream, decoding.packets, decoding.last or 0)
        yield from decoding.rest()

    def _timed(self, pictures: Iterator[Picture], decoding: Decoding, stream: av.VideoStream) -> Iterator[Frame]:
        info, origin = self.info, stream.start_time
        tick_a_frame = self._step or max(1, round(1 / (info.frame_rate * info.time_base)))
        upright = _Upright(info)
        picture = shown = last = None
        own = (None, 0)  # of the last, as the file counts
        errors: list[BaseException] = []  # what was read before one is given first
        for new, pts in until_error(pictures, errors, (VideoError,)):
            if origin is None:
                origin = pts or 0
            tick = None if pts is None else self._tick(pts - origin)
            if tick is None or (last is not None and tick <= last):
                tick = 0 if last is None else last + (tick_a_frame if tick is None else 1)
            if last is not None:
                yield Frame(shown, last, tick - last)
            if new is not picture:
                picture, shown = new, upright(new)
            last, own = tick, (pts, new.duration)
        if last is not None:
            held = last_shown_for(*own, decoding.stored, stream)
            yield Frame(shown, last, self._tick(held) or tick_a_frame)
        if errors:
            raise errors[0]

    def _check_length(self, stream: av.VideoStream, packets: int, last: int) -> None:
        """VideoError when the file ended before its header says. last: the last frame's time as the stream counts.

        MP4's own index knows every packet (its frame count would count what an edit list cuts away), AVI's header the
        number of frames (a few may be dropped), Matroska's the size of the file.
        """
        promised = len(getattr(stream, "index_entries", ())) if "mp4" in self.info.container else 0
        if self.info.container == "avi":
            promised = int(stream.frames * 0.98) - 1
        if packets < promised:
            raise VideoError(f"{self.info.name} is cut off: it ends after {packets} of {promised} frames")
        if self.info.container == "matroska,webm":
            with self.source.raw() as file:
                cut_off = is_cut_off(file)
            length, shown = _tagged_length(stream.metadata), float(last * self._stream_tick)
            if cut_off and not 0 < length <= shown + SPARE / self.info.frame_rate:
                of = f" of {length:.2f}" if length else ""
                raise VideoError(f"{self.info.name} is cut off: it ends after {shown:.2f}{of} s")


def chained(first: Frame, rest: Iterator[Frame]) -> Iterator[Frame]:
    """Unlike itertools.chain it closes `rest`, and with it the file, when it is closed."""
    yield first
    yield from rest


def _without_times(stream: av.VideoStream) -> bool:
    """AVI has no times; FFmpeg's, by the order of packets, are wrong where frames are stored in another order."""
    return stream.container.format.name == "avi" and bool(stream.codec_context.has_b_frames)


def _tagged_length(metadata: dict[str, str]) -> float:
    """Seconds by Matroska's DURATION tag, "00:01:02.500000000"; 0 without one."""
    try:
        hours, minutes, seconds = metadata.get("DURATION", "").split(":")
        return 3600 * int(hours) + 60 * int(minutes) + float(seconds)
    except ValueError:
        return 0.0


class _Upright:
    """Turns frames upright in their own pixel format, through FFmpeg's filters."""

    def __init__(self, info: ClipInfo) -> None:
        self._steps = [("vflip",)] if info.mirrored else []
        self._steps += TURNS[info.rotation]
        self._graph, self._shape = None, None

    def __call__(self, picture: av.VideoFrame) -> av.VideoFrame:
        if not self._steps:
            return picture
        shape = (picture.width, picture.height, picture.format.name)
        if shape != self._shape:
            self._graph, self._shape = self._built(picture), shape
        self._graph.push(picture)
        return self._graph.pull()

    def _built(self, picture: av.VideoFrame) -> av.filter.Graph:
        import av

        graph = av.filter.Graph()
        steps = [graph.add_buffer(width=picture.width, height=picture.height, format=picture.format.name,
                                  time_base=picture.time_base or Fraction(1, 1000))]  # fmt: skip
        steps += [graph.add(*step) for step in self._steps]
        graph.link_nodes(*steps, graph.add("buffersink")).configure()
        return graph
