"""A clip's sound: copied packet by packet where the container takes its codec, else encoded again, kept in time.

Pictures cost hours and sound costs nothing: packets of sound that are damaged are left away, and where no more can be
had of it the clip goes on without.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from .formats import Format
from .notes import ClipNote, note
from .source import Source, audio_stream, video_stream

if TYPE_CHECKING:
    import av
    from av.container import OutputContainer

BIT_RATES = {"aac": 192_000, "libopus": 160_000}
CHUNK = 1024  # samples a frame handed to an encoder that takes any number
GAP = 0.05  # seconds without samples that are filled with silence; resamplers hold back less
COMMON_RATE = 48_000  # for sound whose own rate the encoder does not take
LOWEST_MP3 = 16_000  # samples a second, below which MP4 takes no MP3
LONGEST_PACKET = Fraction(1, 8)  # seconds; for packets that do not tell, as Matroska's first of AAC, which starts it up


class SoundWarning(ClipNote):
    """The rest of a clip's sound could not be read; its pictures go on."""


class Sound:
    """The first audio stream of a source, from `start` to `end` seconds after the clip's first frame, put into an
    opened container beside the pictures. `feed(until)` muxes what lies before that time, `close` lets go of the file.
    Sound that cannot be read or encoded ends with a SoundWarning.
    """

    def __init__(
        self, source: Source, container: OutputContainer, format: Format, *, start: Fraction, end: Fraction | None
    ) -> None:
        self._name, self._opened = source.name, source.open()
        self._input = self._opened.__enter__()
        self._container = container
        self._stream = audio_stream(self._input)
        pictures = video_stream(self._input, source.name)
        zero = Fraction((pictures.start_time or 0) * pictures.time_base)
        self._start, self._end = zero + start, None if end is None else zero + end
        if start > 0:
            # To a moment before: seeking by another stream's key frames may land late.
            self._input.seek(max(0, int((self._start - 1) / self._stream.time_base)), stream=self._stream)
        if _goes_as_it_is(self._stream, format):
            self._packets = self._copied(container.add_stream_from_template(self._stream))
        else:
            self._packets = self._encoded(_encoder(container, self._stream, format))
        self._waiting: tuple[Fraction, av.Packet] | None = None

    def feed(self, until: Fraction | None) -> None:
        """Mux what begins before `until` seconds after the output's start; all that is left for None."""
        import av

        while (entry := self._waiting or self._next()) is not None:
            self._waiting = None
            if until is not None and entry[0] >= until:
                self._waiting = entry
                return
            try:
                self._container.mux_one(entry[1])
            except av.error.InvalidDataError:  # a damaged packet, which a muxer that looks into them refuses
                continue

    def _next(self) -> tuple[Fraction, av.Packet] | None:
        """The next packet and when it begins; None at the end, and after an error, which ends the iterator."""
        import av

        try:
            return next(self._packets, None)
        except (av.error.FFmpegError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            note(f"{self._name}: its sound ends early ({reason})", SoundWarning)
            return None

    def close(self) -> None:
        self._packets.close()
        self._opened.__exit__(None, None, None)

    def _copied(self, target: av.AudioStream) -> Iterator[tuple[Fraction, av.Packet]]:
        tick, last = self._stream.time_base, None
        shift = round(self._start / tick)
        for packet in self._input.demux(self._stream):
            if packet.dts is None or packet.pts is None:
                continue
            if last is not None and packet.dts <= last:
                continue  # a broadcast that was joined: muxers take no packet from before the last
            last = packet.dts
            begins = packet.pts * tick
            if begins + (packet.duration * tick if packet.duration else LONGEST_PACKET) < self._start:
                continue
            if self._end is not None and begins >= self._end:
                return
            packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
            packet.stream = target
            yield begins - self._start, packet

    def _encoded(self, target: av.AudioStream) -> Iterator[tuple[Fraction, av.Packet]]:
        import av

        context = target.codec_context
        rate = context.sample_rate
        size = context.frame_size or CHUNK
        fifo = av.AudioFifo()
        resampler = Resampler(context.format.name, context.layout.name, rate)
        given = None  # samples handed to the encoder, from the output's start on

        def packets(frame) -> Iterator[tuple[Fraction, av.Packet]]:
            for packet in context.encode(frame):
                packet.stream = target
                yield Fraction(packet.pts * packet.time_base), packet

        for frame, begins in self._samples(resampler):
            if given is None:
                given = max(0, begins)
            frame.pts = None
            fifo.write(frame)
            while (piece := fifo.read(size)) is not None:
                piece.pts, piece.time_base = given, Fraction(1, rate)
                given += piece.samples
                yield from packets(piece)
        if (piece := fifo.read()) is not None:
            piece.pts, piece.time_base = given, Fraction(1, rate)
            yield from packets(piece)
        if given is not None:
            yield from packets(None)

    def _samples(self, resampler: Resampler) -> Iterator[tuple[av.AudioFrame, int]]:
        """Resampled frames inside the span, cut to the sample, each with the sample it begins at."""
        end = None if self._end is None else round((self._end - self._start) * resampler.rate)
        for frame, begins in _placed(_decoded(self._input, self._stream), resampler, self._start):
            if begins + frame.samples <= 0:
                continue
            if end is not None and begins >= end:
                return
            low = max(0, -begins)
            high = frame.samples if end is None else min(frame.samples, end - begins)
            yield _cut(frame, low, high), begins + low


class Resampler:
    """Frames of any kind to one format, layout and rate, by their names. Broadcasts go from stereo to 5.1 on the way,
    which FFmpeg's resampler refuses."""

    def __init__(self, format: str, layout: str, rate: int) -> None:
        self.format, self.layout, self.rate = format, layout, rate
        self._inner, self._kind = None, None  # FFmpeg's, and the kind of frames it takes

    def resample(self, frame: av.AudioFrame | None) -> list[av.AudioFrame]:
        """What a frame completes; for None, at the end, what is still held back."""
        import av

        kind = frame and (frame.format.name, frame.layout.name, frame.sample_rate)
        made = []
        if self._inner is not None and kind != self._kind:
            made, self._inner = self._inner.resample(None), None
        if frame is None:
            return made
        if self._inner is None:
            self._inner = av.AudioResampler(format=self.format, layout=self.layout, rate=self.rate)
            self._kind = kind
        return made + self._inner.resample(frame)


def _placed(decoded: Iterator, resampler: Resampler, start: Fraction) -> Iterator[tuple[av.AudioFrame, int]]:
    """Resampled frames, one right after the other, each with the sample after `start` seconds that it begins at. Where
    the source has a gap (lost packets, a codec that sends nothing in silence), silence keeps what follows in time."""
    rate, position = resampler.rate, None
    for source in decoded:
        due = None
        if source is not None and source.pts is not None:
            due = round((source.pts * source.time_base - start) * rate)
        if position is None:
            position = due if due is not None else round(-start * rate)
        while due is not None and due - position > GAP * rate:
            silence = _silence(resampler, min(rate, due - position))
            yield silence, position
            position += silence.samples
        for frame in resampler.resample(source):
            yield frame, position
            position += frame.samples


def _silence(resampler: Resampler, samples: int) -> av.AudioFrame:
    import av

    made = av.AudioFrame(resampler.format, resampler.layout, samples, align=1)
    made.sample_rate = resampler.rate
    for plane in made.planes:
        np.frombuffer(plane, np.uint8)[:] = 0  # every format of the encoders here is signed
    return made


def _decoded(container, stream: av.AudioStream) -> Iterator:
    """Every frame, and None at the end, which empties a resampler. Damaged packets, of which each decoder says so in
    its own way, are passed over, as players do."""
    import av

    for packet in container.demux(stream):
        if not packet.size and packet.dts is not None:
            continue  # a packet with nothing in it; without a time it is the end, where the decoder gives what it holds
        try:
            yield from stream.codec_context.decode(packet if packet.size else None)
        except av.error.FFmpegError:
            continue
    yield None


def _cut(frame: av.AudioFrame, low: int, high: int) -> av.AudioFrame:
    import av

    if low == 0 and high == frame.samples:
        return frame
    samples = frame.to_ndarray()
    channels = 1 if frame.format.is_planar else len(frame.layout.channels)
    piece = np.ascontiguousarray(samples[:, low * channels : high * channels])
    made = av.AudioFrame.from_ndarray(piece, format=frame.format.name, layout=frame.layout.name)
    made.sample_rate = frame.sample_rate
    return made


def _goes_as_it_is(stream: av.AudioStream, format: Format) -> bool:
    if not stream.codec_context.sample_rate:  # nothing is known of it yet: a broadcast's sound may begin late, or never
        return False
    codec = stream.codec_context.codec.canonical_name  # the decoder's own name is, for MP3, mp3float
    too_slow = codec == "mp3" and stream.codec_context.sample_rate < LOWEST_MP3
    return codec in format.copies and not too_slow


def _encoder(container: OutputContainer, stream: av.AudioStream, format: Format) -> av.AudioStream:
    """Mono stays mono, all else becomes stereo."""
    import av

    rate = stream.codec_context.sample_rate
    if format.audio == "libopus" or rate not in av.Codec(format.audio, "w").audio_rates:
        rate = COMMON_RATE
    target = container.add_stream(format.audio, rate=rate)
    target.codec_context.layout = "mono" if stream.codec_context.channels == 1 else "stereo"
    target.codec_context.bit_rate = BIT_RATES[format.audio]
    target.codec_context.open(strict=False)
    return target


def read_samples(source: Source, start: Fraction, end: Fraction | None) -> tuple[np.ndarray, int] | None:
    """The first audio stream between two times: samples float32 [channels, S] and their rate; None without sound."""
    with source.open() as container:
        stream = audio_stream(container)
        if stream is None:
            return None
        pictures = video_stream(container, source.name)
        zero = Fraction((pictures.start_time or 0) * pictures.time_base)
        context = stream.codec_context
        rate = context.sample_rate or COMMON_RATE
        resampler = Resampler("fltp", context.layout.name if context.channels else "stereo", rate)
        pieces = []
        for frame, begins in _placed(_decoded(container, stream), resampler, zero + start):
            if begins + frame.samples <= 0:
                continue
            samples = frame.to_ndarray()
            if not pieces:
                pieces.append(np.zeros((len(samples), max(0, begins)), np.float32))
            pieces.append(samples[:, max(0, -begins) :])
            if end is not None and begins + frame.samples >= (end - start) * rate:
                break
    samples = np.concatenate(pieces, axis=1) if pieces else np.zeros((1, 0), np.float32)
    return (samples if end is None else samples[:, : round((end - start) * rate)]), rate
