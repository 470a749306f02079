"""A clip's sound: copied packet by packet where the container takes its codec, else encoded again, kept in time.

Pictures cost hours and sound costs nothing: packets of sound that are damaged are left away, and where no more can be
had of it the clip goes on without. `write.py` feeds it beside the pictures; `read_samples` gives the sound of a batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from .formats import Format
from .notes import ClipNote, note
from .source import Source, audio_streams, video_stream

if TYPE_CHECKING:
    import av
    from av.container import InputContainer, OutputContainer

BIT_RATES = {"aac": 192_000, "libopus": 160_000}  # up to stereo; more channels have half of it each
# The same loudspeakers by the names that encoders know; and the layouts an encoder takes, from the largest. FFmpeg's
# AAC takes more, but players, its own decoder among them, then know the number of channels only.
RENAMED = {"5.0(side)": "5.0", "5.1(side)": "5.1"}
LAYOUTS = {
    "aac": ("7.1", "5.1", "5.0", "quad", "4.0", "3.0", "2.1", "stereo"),
    "libopus": ("7.1", "6.1", "5.1", "5.0", "quad", "3.0", "stereo"),
}
GENERIC = ("", "SoundHandler")  # names that muxers give to tracks without one
# Languages that FFmpeg writes into MOV only by the names its table of Macintosh languages has for them.
IN_MOV = {
    "bod": "tib", "cym": "wel", "cze": "ces", "deu": "ger", "ell": "gre", "eus": "baq", "fas": "per", "fre": "fra",
    "hrv": "hr ", "hye": "arm", "isl": "ice", "kat": "geo", "mkd": "mac", "msa": "may", "mya": "bur", "nld": "dut",
    "rum": "ron", "slo": "slk", "sqi": "alb", "srp": "sr ", "swe": "sve", "zho": "chi",
}  # fmt: skip
OF_MOV = {"sve": "swe", "hr": "hrv", "sr": "srp"}  # its names that stand in no other list
CHUNK = 1024  # samples a frame handed to an encoder that takes any number
GAP = 0.05  # seconds without samples that are filled with silence; resamplers hold back less
KINDS = {"s16": np.int16, "s32": np.int32, "flt": np.float32, "dbl": np.float64}  # FFmpeg's samples
COMMON_RATE = 48_000  # for sound whose own rate the encoder does not take
LOWEST_MP3 = 16_000  # samples a second, below which MP4 takes no MP3
LONGEST_PACKET = Fraction(1, 8)  # seconds; for packets that do not tell, as Matroska's first of AAC, which starts it up


class SoundWarning(ClipNote):
    """The rest of a clip's sound could not be read; its pictures go on."""


class Sound:
    """One sound track of a source, the `track`-th of source.audio_streams, from `start` to `end` seconds after the
    clip's first frame, put into an opened container beside the pictures with its language, title and flags.
    `feed(until)` muxes what lies before that time, `close` lets go of the file: each track reads its own, in step with
    the others. Sound that cannot be read or encoded ends with a SoundWarning.
    """

    def __init__(
        self,
        source: Source,
        container: OutputContainer,
        format: Format,
        *,
        start: Fraction,
        end: Fraction | None,
        track: int = 0,
    ) -> None:
        self._name, self._source, self._opened = source.name, source, source.open()
        self._input = self._opened.__enter__()
        self._container = container
        streams = audio_streams(self._input)
        self._stream = streams[track]
        self._called = "its sound" if len(streams) == 1 else f"its sound track {track + 1}"
        pictures = video_stream(self._input, source)
        zero = Fraction((pictures.start_time or 0) * pictures.time_base)
        self._start, self._end = zero + start, None if end is None else zero + end
        if start > 0 and source.can_seek:
            # To a moment before: seeking by another stream's key frames may land late.
            self._input.seek(max(0, int((self._start - 1) / self._stream.time_base)), stream=self._stream)
        if _goes_as_it_is(self._stream, format):
            target = container.add_stream_from_template(self._stream)
            self._packets = self._copied(target)
        else:
            target = self._encoder(format)
            self._packets = self._encoded(target)
        _describe(target, self._stream, format)
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
            note(f"{self._name}: {self._called} ends early ({reason})", SoundWarning)
            return None

    def close(self) -> None:
        self._packets.close()
        self._opened.__exit__(None, None, None)

    def _copied(self, target: av.AudioStream) -> Iterator[tuple[Fraction, av.Packet]]:
        tick, last = self._stream.time_base, None
        shift = round(self._start / tick)
        for packet in self._source.timeline.packets(self._input, self._stream):
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

    def _encoder(self, format: Format) -> av.AudioStream:
        import av

        context = self._stream.codec_context
        rate = context.sample_rate
        if format.audio == "libopus" or rate not in av.Codec(format.audio, "w").audio_rates:
            rate = COMMON_RATE
        layout, own = _layout(format.audio, context), context.layout.name
        if (
            context.channels > 2
            and layout != RENAMED.get(own, own)
            and own != f"{len(av.AudioLayout(layout).channels)} channels"
        ):
            note(f"{self._name}: {self._called} of {own} becomes {layout}, the nearest that {format.name} has")
        target = self._container.add_stream(format.audio, rate=rate)
        target.codec_context.layout = layout
        target.codec_context.bit_rate = BIT_RATES[format.audio] * max(2, len(target.codec_context.layout.channels)) // 2
        target.codec_context.open(strict=False)
        return target

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
        for frame, begins in _placed(_decoded(self._source, self._input, self._stream), resampler, self._start):
            if begins + frame.samples <= 0:
                continue
            if end is not None and begins >= end:
                return
            low = max(0, -begins)
            high = frame.samples if end is None else min(frame.samples, end - begins)
            yield _cut(frame, low, high), begins + low


def audio_tracks(source: Source) -> int:
    """How many sound tracks it has that can be decoded."""
    with source.open() as container:
        return len(audio_streams(container))


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
    for samples in _samples_in(made):
        samples[:] = 0  # every format of the encoders here is signed
    return made


def _samples_in(frame: av.AudioFrame) -> list[np.ndarray]:
    """Writable views of a frame's samples: [S] a channel, or for packed formats one of all channels in turn. PyAV's own
    to_ndarray crashes with eight channels: it takes what lies behind the eighth for another one."""
    channels, kind = len(frame.layout.channels), KINDS[frame.format.packed.name]
    count, length = (channels, 1) if frame.format.is_planar else (1, channels)
    return [np.frombuffer(plane, kind)[: frame.samples * length] for plane in frame.planes[:count]]


def _decoded(source: Source, container: InputContainer, stream: av.AudioStream) -> Iterator:
    """Every frame, and None at the end, which empties a resampler. Damaged packets, of which each decoder says so in
    its own way, are passed over, as players do; and so is what overlaps where parts of a file meet."""
    import av

    end = None
    for packet in source.timeline.packets(container, stream):
        if not packet.size and packet.dts is not None:
            continue  # a packet with nothing in it; without a time it is the end, where the decoder gives what it holds
        try:
            frames = stream.codec_context.decode(packet if packet.size else None)
        except av.error.FFmpegError:
            continue
        for frame in frames:
            if source.timeline.joined and frame.pts is not None:
                length = Fraction(frame.samples, frame.sample_rate)
                begins = frame.pts * frame.time_base
                if end is not None and begins + length / 2 < end:
                    continue
                end = begins + length
            yield frame
    yield None


def _cut(frame: av.AudioFrame, low: int, high: int) -> av.AudioFrame:
    import av

    if low == 0 and high == frame.samples:
        return frame
    channels = 1 if frame.format.is_planar else len(frame.layout.channels)
    made = av.AudioFrame(frame.format.name, frame.layout.name, high - low, align=1)
    made.sample_rate = frame.sample_rate
    for target, samples in zip(_samples_in(made), _samples_in(frame)):
        target[:] = samples[low * channels : high * channels]
    return made


def _goes_as_it_is(stream: av.AudioStream, format: Format) -> bool:
    if not stream.codec_context.sample_rate:  # nothing is known of it yet: a broadcast's sound may begin late, or never
        return False
    codec = stream.codec_context.codec.canonical_name  # the decoder's own name is, for MP3, mp3float
    too_slow = codec == "mp3" and stream.codec_context.sample_rate < LOWEST_MP3
    return codec in format.copies and not too_slow


def _layout(codec: str, source: av.AudioCodecContext) -> str:
    """The source's layout by the name that the encoder takes; where it takes none, the largest it does that has no more
    channels. Sound of which nothing is known yet (0 channels) becomes stereo."""
    import av

    count, own = source.channels, RENAMED.get(source.layout.name, source.layout.name)
    if count < 3:
        return "mono" if count == 1 else "stereo"
    if own in LAYOUTS[codec]:
        return own
    return next(name for name in LAYOUTS[codec] if len(av.AudioLayout(name).channels) <= count)


def language_of(stream: av.AudioStream) -> str:
    """ISO 639-2's three letters; "" where the file does not say."""
    language = stream.metadata.get("language", "").strip()
    return "" if language == "und" else OF_MOV.get(language, language)


def title_of(stream: av.AudioStream) -> str:
    """The track's name; "" where it has none. In MOV and MP4 it stands in one of two places."""
    names = (stream.metadata.get(key, "") for key in ("title", "name", "handler_name"))
    return next((name for name in names if name not in GENERIC), "")


def _describe(target: av.AudioStream, stream: av.AudioStream, format: Format) -> None:
    """Language, title and flags. Formats that know no flags (MXF, whose tracks are often the channels of one sound)
    leave them all unset: then every track is one that is heard."""
    from av.stream import Disposition

    language, title = language_of(stream), title_of(stream)
    if language:
        target.metadata["language"] = IN_MOV.get(language, language) if format.muxer == "mov" else language
    if title:
        target.metadata["title"] = title
        if format.muxer in ("mov", "mp4"):
            target.metadata["handler_name"] = title
    flagged = any(other.disposition & Disposition.default for other in stream.container.streams.audio)
    flags = stream.disposition if flagged else stream.disposition | Disposition.default
    target.disposition = Disposition(flags).value  # PyAV 16 takes numbers only


def read_samples(
    source: Source, start: Fraction, end: Fraction | None, track: int = 0
) -> tuple[np.ndarray, int] | None:
    """The sound between two times: samples float32 [channels, S] and their rate; None without sound.

    track: which of several sound tracks, from 1 on; 0: the first, or of a file that keeps its channels in tracks of
    their own (MXF) the first two as left and right, and a note says which. ValueError for a track that is not there.
    """
    with source.open() as container:
        streams = audio_streams(container)
        if streams and track not in range(len(streams) + 1):
            raise ValueError(f"{source.name} has no sound track {track}: {_listed(streams)}")
        apart = (
            len(streams) > 1
            and container.format.name == "mxf"
            and all(stream.codec_context.channels == 1 for stream in streams)
        )
        if len(streams) > 1 and not track:
            taken = "1 and 2 are taken as left and right" if apart else "1 is taken"
            note(f"{source.name} has {_listed(streams)}: {taken}; sound_track chooses another")
    if not streams:
        return None
    if not apart or track:
        return _read_track(source, max(1, track), start, end)
    (left, rate), (right, _) = (_read_track(source, number, start, end) for number in (1, 2))
    length = max(left.shape[1], right.shape[1])
    return np.concatenate([np.pad(side, ((0, 0), (0, length - side.shape[1]))) for side in (left, right)]), rate


def _listed(streams: list[av.AudioStream]) -> str:
    """ "2 sound tracks (1: eng, 2: deu Commentary)" """
    tracks = (" ".join(part for part in (language_of(stream), title_of(stream)) if part) for stream in streams)
    named = ", ".join(f"{number}: {text or 'unnamed'}" for number, text in enumerate(tracks, 1))
    return f"{len(streams)} sound track{'s' if len(streams) > 1 else ''} ({named})"


def _read_track(source: Source, track: int, start: Fraction, end: Fraction | None) -> tuple[np.ndarray, int]:
    with source.open() as container:
        stream = audio_streams(container)[track - 1]
        pictures = video_stream(container, source)
        zero = Fraction((pictures.start_time or 0) * pictures.time_base)
        context = stream.codec_context
        rate = context.sample_rate or COMMON_RATE
        resampler = Resampler("fltp", context.layout.name if context.channels else "stereo", rate)
        pieces = []
        for frame, begins in _placed(_decoded(source, container, stream), resampler, zero + start):
            if begins + frame.samples <= 0:
                continue
            samples = np.stack(_samples_in(frame))
            if not pieces:
                pieces.append(np.zeros((len(samples), max(0, begins)), np.float32))
            pieces.append(samples[:, max(0, -begins) :])
            if end is not None and begins + frame.samples >= (end - start) * rate:
                break
    samples = np.concatenate(pieces, axis=1) if pieces else np.zeros((1, 0), np.float32)
    return (samples if end is None else samples[:, : round((end - start) * rate)]), rate
