"""Packets to pictures, over what cannot be decoded: a picture that is lost is held by the one before it."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .notes import ClipNote, note
from .source import Source, VideoError, decode, decoder, video_stream

if TYPE_CHECKING:
    import av
    from av.container import InputContainer

HIDDEN = ("vp8", "libvpx")  # codecs with packets that are never shown
PLACES = 3  # of what is lost, that are named

Picture = tuple["av.VideoFrame", "int | None"]  # and its pts in the stream's ticks


class DamageNote(ClipNote):
    """Pictures of a clip could not be decoded; others stand in their places."""


@dataclass
class Damage:
    """What could not be decoded. strict: raise VideoError for the first of it. held, left: the seconds of lost pictures
    in whose place the one before them is shown, and of those that have no place; concealed: of those that FFmpeg
    patched up itself; file: where the file itself is damaged."""

    name: str
    strict: bool = False
    held: list[float] = field(default_factory=list)
    left: list[float] = field(default_factory=list)
    concealed: list[float] = field(default_factory=list)
    file: list[float] = field(default_factory=list)

    def said(self, seconds: float, reason: str) -> str:
        return f"{self.name} is cut off or damaged at {seconds:.2f} s: {reason}"

    def add(self, seconds: float, *, held: bool) -> None:
        if self.strict:
            raise VideoError(self.said(seconds, "a frame is missing"))
        (self.held if held else self.left).append(seconds)

    def conceal(self, seconds: float) -> None:
        if self.strict:
            raise VideoError(self.said(seconds, "a frame is damaged"))
        self.concealed.append(seconds)

    def tell(self, frame: float) -> None:
        """Say what there is, once. frame: seconds a frame."""
        if self.file:
            note(
                f"{self.name}: its file is damaged {places(self.file, frame)}; what stood there is left out", DamageNote
            )
        if self.concealed:
            which = "1 frame is" if len(self.concealed) == 1 else f"{len(self.concealed)} frames are"
            where = places(sorted(self.concealed), frame)
            note(f"{self.name}: {which} damaged ({where}); shown as FFmpeg conceals them", DamageNote)
            self.concealed = []
        lost, held, left = sorted({*self.held, *self.left}), len(self.held), len(self.left)
        if not lost:
            return
        done = [f"{held} held by the frame before"] * bool(held) + [f"{left} left out"] * bool(left)
        which = "1 frame" if len(lost) == 1 else f"{len(lost)} frames"
        note(f"{self.name}: {which} could not be decoded ({places(lost, frame)}); {', '.join(done)}", DamageNote)
        self.held, self.left = [], []


def places(seconds: list[float], frame: float) -> str:
    """ "at 1.00 s, 2.00-3.00 s and 4 more places" of sorted times; those a frame apart are one place."""
    runs: list[list[float]] = []
    for time in seconds:
        if runs and time - runs[-1][1] < 1.5 * frame:
            runs[-1][1] = time
        else:
            runs.append([time, time])
    named = [f"{low:.2f}" + (f"-{high:.2f}" if high > low else "") + " s" for low, high in runs[:PLACES]]
    more = len(runs) - PLACES
    if more > 0:
        return f"at {', '.join(named)} and {more} more place{'s' * (more > 1)}"
    return "at " + " and ".join([", ".join(named[:-1])] * (len(named) > 1) + named[-1:])


class Decoding:
    """One reading of a clip's pictures, lost ones held by the one before. packets: how many the file had, from the
    first one read on; last, stored: the ticks of the last picture given and of the last one read. timeless: the
    packets' times are not to be trusted."""

    def __init__(self, source: Source, damage: Damage, *, timeless: bool = False) -> None:
        self.packets = 0
        self._source, self._damage, self._timeless = source, damage, timeless
        self._picture: av.VideoFrame | None = None  # given last
        self.last: int | None = None
        self.stored: int | None = None
        self._waiting: list[int] = []  # pts of packets whose picture has not come
        self._errors: list[str] = []  # of the decoder, since the last picture
        self._from_start = True
        self._keys: list[tuple[int, int]] = []  # (which packet, its pts) of key frames, from the last one shown on

    def pictures(self, seek: int | None = None) -> Iterator[Picture]:
        """Each picture and its pts in the stream's ticks, in order; from the key frame at or before the tick `seek` on.
        VideoError when the file cannot be read any further."""
        self._from_start = seek is None
        yield from self._read(seek, "SLICE" if self._timeless else "AUTO")
        if self.last is not None and not self._timeless and (self._waiting or self._errors):
            # Decoding in several threads, FFmpeg loses what lies behind a damaged picture when the clip ends.
            self._waiting, self._errors = [], []
            yield from self._read(self.last if self._source.can_seek else None, "SLICE", behind=self.last)

    def rest(self) -> Iterator[Picture]:
        """What is lost at the end, held: for clips that are not cut off there."""
        yield from self._held(None)

    def _read(self, seek: int | None, threads: str, behind: int | None = None) -> Iterator[Picture]:
        """behind: give only pictures after this tick."""
        import av

        with self._source.open() as container:
            stream = video_stream(container, self._source)
            stream.thread_type = threads
            context = decoder(stream)
            self._tick, self._origin = stream.time_base, stream.start_time or 0
            self._hides = context.name in HIDDEN
            if seek is not None:
                container.seek(seek, stream=stream)
            skipped = self._keys[0][0] if behind is not None and seek is None and self._keys else 0
            for index, packet in enumerate(self._packets(container, stream)):
                if index < skipped:  # where the file cannot seek
                    continue
                if behind is None and packet.is_keyframe and packet.pts is not None:
                    self._key(index, packet.pts)
                old = behind is not None and packet.size and (packet.pts is None or packet.pts <= behind)
                if packet.size and not old and not self._timeless and packet.pts is not None and not packet.is_discard:
                    heapq.heappush(self._waiting, packet.pts)
                if packet.size:
                    self.packets += behind is None
                    self.stored = packet.pts
                try:
                    pictures = decode(context, packet)
                except av.error.FFmpegError as error:
                    if not old:
                        self._error(error.strerror)
                    continue
                for picture in pictures:
                    pts = None if self._timeless else picture.pts
                    if behind is not None and (pts is None or pts <= behind):
                        continue
                    yield from self._held(picture)
                    self._picture, self.last = picture, pts
                    if picture.is_corrupt:
                        self._damage.conceal(self._seconds(pts))
                    yield picture, pts

    def _key(self, index: int, pts: int) -> None:
        self._keys.append((index, pts))
        while len(self._keys) > 1 and self.last is not None and self._keys[1][1] <= self.last:
            del self._keys[0]

    def _packets(self, container: InputContainer, stream: av.VideoStream) -> Iterator[av.Packet]:
        import av

        try:
            yield from self._source.timeline.packets(container, stream)
        except av.error.FFmpegError as error:
            raise VideoError(self._damage.said(self._seconds(self.last), error.strerror)) from error

    def _held(self, picture: av.VideoFrame | None) -> Iterator[Picture]:
        """In place of what is lost before `picture` (None: at the end), the one before it."""
        lost: list[int | None] = []
        pts = None if picture is None else picture.pts
        while self._waiting and (picture is None or (pts is not None and self._waiting[0] <= pts)):
            first = heapq.heappop(self._waiting)
            if first != pts and first not in lost:
                lost.append(first)
        errors, self._errors = self._errors, []
        left = 0
        if self._timeless:
            lost = [None] * len(errors)
        elif self._picture is None:  # before the first that can be decoded, as in a broadcast that was cut out too
            lost = lost if errors and self._from_start else []
        elif self._hides or self._picture.interlaced_frame:
            # Of two packets, one may have no picture of its own: only what the decoder says counts.
            lost, left = [], len(errors)
        for pts in lost + [self.last] * left:
            self._damage.add(self._seconds(pts), held=self._picture is not None and not left)
        if self._picture is not None:
            for pts in lost:
                self.last = pts
                yield self._picture, pts

    def _error(self, reason: str) -> None:
        if self._damage.strict:
            raise VideoError(self._damage.said(self._seconds(self.last), reason))
        self._errors.append(reason)

    def _seconds(self, pts: int | None) -> float:
        return float(((self._origin if pts is None else pts) - self._origin) * self._tick)
