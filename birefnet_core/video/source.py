"""Opening a clip: which files are clips at all, what is in them, and one sentence when they are not."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from .animation import as_clip, is_animation, moves
from .matroska import Repair, Repaired, repairs
from .timeline import Timeline

if TYPE_CHECKING:
    import av
    from av.container import InputContainer

# FFmpeg's name of each container we read and the suffixes by which a folder's clips are found. A closed list: among
# FFmpeg's other readers are play lists, which open further files and addresses that a stranger's clip may name.
CONTAINERS = {
    "mov,mp4,m4a,3gp,3g2,mj2": (".mp4", ".mov", ".m4v", ".3gp"),
    "matroska,webm": (".mkv", ".webm"),
    "avi": (".avi",),
    "mpegts": (".ts", ".mts", ".m2ts"),
    "mpeg": (".mpg", ".mpeg", ".vob"),
    "asf": (".wmv", ".asf"),
    "flv": (".flv",),
    "ogg": (".ogv",),
    "mxf": (".mxf",),
    "nut": (".nut",),
    "yuv4mpegpipe": (".y4m",),
    "gif": (),  # .gif and .apng files count as pictures in a folder, but named as a clip they are read as one
    "apng": (),
}
SUFFIXES = frozenset(suffix for suffixes in CONTAINERS.values() for suffix in suffixes)
HIGHEST_RATE = 1000  # frames a second; beyond it the header is damaged, or the clip is no clip
LONGEST_SIDE = 16384  # pixels; of a damaged header too, and more than any encoder here takes

ENOUGH = 100  # pictures of one stream; another that has none by then, or but one, is a still

# Decoders that keep the transparency FFmpeg's own drop, for streams whose metadata say they have it.
ALPHA_DECODERS = {"vp9": "libvpx-vp9", "vp8": "libvpx"}


def is_clip_file(path: Path) -> bool:
    """Whether a file is a clip: by its suffix, or as an animated picture by what is in it."""
    return path.suffix.lower() in SUFFIXES or moves(path)


class VideoError(ValueError):
    """A file that is not a clip we can read; the text is one sentence that begins with the file's name."""


@dataclass(frozen=True)
class ClipInfo:
    """What is in a clip.

    name: to call it by in messages. container: FFmpeg's name of it, as of CONTAINERS. width, height: pixels, upright.
    frame_rate: average, frames a second. time_base: seconds a tick of pts. frames: how many its header promises, or its
    length times the rate, 0 when not known. duration: seconds by its header, 0 when not known. first_pts: ticks from
    the stream's start to the first frame that can be decoded, 0 but for what was cut out of a broadcast. mirrored,
    rotation: to stand upright a stored frame is flipped top to bottom if mirrored, then turned counter-clockwise by so
    many degrees. bits: a colour channel. has_alpha, has_audio. pixel_aspect: width / height of a pixel as shown.
    primaries, transfer: numbers of H.273 (colour.py). field_order: which field of interlaced frames comes first, "top"
    or "bottom"; "" for whole frames.
    """

    name: str
    container: str
    width: int
    height: int
    frame_rate: Fraction
    time_base: Fraction
    frames: int
    duration: float
    first_pts: int
    mirrored: bool
    rotation: int
    bits: int
    has_alpha: bool
    has_audio: bool
    pixel_aspect: Fraction
    primaries: int
    transfer: int
    field_order: str = ""

    @property
    def pixels_as_shown(self) -> str:
        """What is to be said of pixels that are not square."""
        aspect = self.pixel_aspect
        return f"its pixels are {float(aspect):.3f} times as wide as high ({aspect.numerator}:{aspect.denominator})"

    @property
    def shown(self) -> tuple[int, int]:
        """(width, height) in square pixels. The lines stay as they are stored, and grow longer or shorter; even, as
        H.264 wants them."""
        if self.pixel_aspect == 1:
            return self.width, self.height
        turned = self.rotation in (90, 270)
        length = self.height / self.pixel_aspect if turned else self.width * self.pixel_aspect
        length = min(LONGEST_SIDE, max(2, round(length / 2) * 2))
        return (self.width, length) if turned else (length, self.height)


class Source:
    """A clip to open as often as needed: a path, or the bytes of a clip (io.BytesIO, as ComfyUI hands out). timeline:
    when its packets are shown, once a Clip has read it."""

    def __init__(self, source: str | os.PathLike | io.BytesIO, name: str | None = None) -> None:
        self.timeline = Timeline()
        self.pictures: int | None = None  # which stream, once it has been looked for
        self._animation: bytes | None = None  # in place of the file, if it is one, once it has been opened
        self.repairs: list[Repair] | None = None  # of a damaged Matroska file, once it has been opened
        self.container = ""  # as of CONTAINERS, once it has been opened
        if isinstance(source, io.BytesIO):
            self._data: bytes | None = source.getvalue()
            self.path = None
            self.name = name or "the clip"
            return
        self._data, self.path = None, Path(source)
        self.name = name or str(source)
        if self.path.is_dir():
            raise VideoError(f"{self.name} is a folder, not a clip")
        if not self.path.is_file():
            raise VideoError(f"{self.name} does not exist")

    @property
    def can_seek(self) -> bool:
        """Not where times are joined; nor where FFmpeg seeks by bytes, to a place whose times are not yet sure (MPEG
        program streams) or counted from there on (animated pictures), so that frames would be wrong."""
        return not self.timeline.joined and self.container not in ("mpeg", "apng", "gif")

    @contextmanager
    def open(self) -> Iterator[InputContainer]:
        """The opened container. VideoError, one sentence, when the file is damaged, foreign or a still picture."""
        container = self._opened()
        if container.format.name == "matroska,webm" and self.repairs is None:
            with self.raw() as file:
                self.repairs = repairs(file)
            if self.repairs:
                container.close()
                container = self._opened()
        self.container = container.format.name
        with container:
            yield container

    def _opened(self) -> InputContainer:
        import av

        if self._animation is None:
            self._animation = self._read_animation()
        # "file:" and the lists keep a name such as concat:... and a play list inside a renamed file from being obeyed.
        in_memory = self.path is None or self.repairs or self._animation
        place = self.raw() if in_memory else f"file:{os.fspath(self.path)}"
        place = Repaired(place, self.repairs) if self.repairs else place
        options = {"format_whitelist": ",".join(CONTAINERS), "protocol_whitelist": "file"}
        try:
            return av.open(place, container_options=options, metadata_errors="replace")
        except (av.error.FFmpegError, OSError) as error:
            raise VideoError(f"{self.name} {self._what_it_is(error)}") from error

    def raw(self) -> BinaryIO:
        """Its bytes, as a file to close."""
        if self._animation:
            return io.BytesIO(self._animation)
        return io.BytesIO(self._data) if self.path is None else open(self.path, "rb")

    def _read_animation(self) -> bytes:
        """What stands for a picture that moves; nothing for a clip."""
        with self.raw() as file:
            if not is_animation(file):
                return b""
            file.seek(0)
            try:
                return as_clip(file) or b""
            except MemoryError:
                raise
            except Exception as error:  # on damaged files Pillow's decoders raise nearly anything
                raise VideoError(f"{self.name} cannot be read: {error or type(error).__name__}") from error

    def _what_it_is(self, error: Exception) -> str:
        from PIL import Image

        try:
            with self.raw() as file, Image.open(file) as image:
                return f"is a still picture ({image.format}), not a clip"
        except Exception:  # no picture either
            reason = getattr(error, "strerror", None) or error
            return f"is not a clip we can read, or it is cut off or damaged ({reason})"


def video_stream(container: InputContainer, source: Source) -> av.VideoStream:
    """The first stream of moving pictures that can be decoded; cover art and other stills are none. VideoError without
    one."""
    name = source.name
    if source.pictures is None:
        source.pictures = _find_pictures(source)
    if source.pictures >= 0:
        stream = container.streams[source.pictures]
        stream.thread_type = "AUTO"
        return stream
    if _moving(container):
        raise VideoError(f"{name} has pictures of a codec that FFmpeg cannot decode")
    if container.streams.audio:
        raise VideoError(f"{name} has sound only, no pictures")
    raise VideoError(f"{name} has no pictures in it")


def _moving(container: InputContainer) -> list[av.VideoStream]:
    from av.stream import Disposition

    return [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]


def _find_pictures(source: Source) -> int:
    """The index of the clip's stream, -1 without one. Of several the first that has a second picture: one alone is a
    cover that is not marked as such."""
    with source.open() as container:
        streams = [stream for stream in _moving(container) if stream.codec_context is not None]  # FFmpeg has a decoder
        if len(streams) < 2:
            return streams[0].index if streams else -1
        counts = dict.fromkeys((stream.index for stream in streams), 0)
        for packet in container.demux(streams):
            if packet.size:
                counts[packet.stream_index] += 1
            if ENOUGH in counts.values():
                break
        return next((index for index, count in counts.items() if count > 1), streams[0].index)


def audio_streams(container: InputContainer) -> list[av.AudioStream]:
    """The streams of sound that can be decoded."""
    return [stream for stream in container.streams.audio if stream.codec_context is not None]


def decoder(stream: av.VideoStream) -> av.VideoCodecContext:
    """What decodes the stream's packets, with its alpha where it has any."""
    import av

    name = ALPHA_DECODERS.get(stream.codec_context.name)
    tags = {key.lower(): value for key, value in stream.metadata.items()}
    if name is None or tags.get("alpha_mode") != "1":
        return stream.codec_context
    context = av.CodecContext.create(name, "r")
    context.extradata = stream.codec_context.extradata
    context.thread_count = os.cpu_count() or 1
    return context


def probe(source: Source, strict: bool = False) -> ClipInfo:
    """Open a clip, decode its first frame and say what is in it. VideoError when nothing can be decoded; if strict,
    when what comes first cannot."""

    with source.open() as container:
        stream = video_stream(container, source)
        name = source.name
        errors: list[av.error.FFmpegError] = []
        frame = first_frame(container, stream, errors)
        if errors and (strict or frame is None):
            raise VideoError(f"{name} cannot be decoded: {errors[0].strerror}") from errors[0]
        if frame is None:
            raise VideoError(f"{name} has no frames: its pictures are missing or cut off")
        rate = stream.average_rate or _guessed_rate(frame, stream)
        if not rate or not 0 < rate <= HIGHEST_RATE:
            raise VideoError(f"{name} says it has {rate or 0} frames a second, which none has: its header is damaged")
        if max(frame.width, frame.height) > LONGEST_SIDE:
            raise VideoError(f"{name} is {frame.width} x {frame.height}, more than {LONGEST_SIDE} pixels a side")
        rotation = round(frame.rotation / 90) * 90 % 360
        aspect = stream.sample_aspect_ratio or Fraction(1)
        width, height = frame.width, frame.height
        if rotation in (90, 270):
            width, height, aspect = height, width, 1 / aspect
        duration = _duration(container, stream)
        return ClipInfo(
            name=name,
            container=container.format.name,
            width=width,
            height=height,
            frame_rate=Fraction(rate),
            time_base=Fraction(stream.time_base),
            frames=stream.frames or round(duration * rate),
            duration=duration,
            first_pts=_ticks_before(frame, stream),
            mirrored=_is_mirrored(frame),
            rotation=rotation,
            bits=max(component.bits for component in frame.format.components),
            has_alpha=any(component.is_alpha for component in frame.format.components),
            has_audio=bool(audio_streams(container)),
            pixel_aspect=Fraction(aspect),
            primaries=stream.codec_context.color_primaries,
            transfer=stream.codec_context.color_trc,
            field_order="" if rotation or _is_mirrored(frame) else _field_order(frame, stream),
        )


def _guessed_rate(frame: av.VideoFrame, stream: av.VideoStream) -> Fraction | None:
    """The rate of a clip that states none, as an animated PNG of two frames: FFmpeg's guess, unless that is the ticks
    in which times are counted; then by how long its first frame is shown."""
    rate = stream.guessed_rate or stream.base_rate
    if frame.duration and (not rate or rate > HIGHEST_RATE):
        return 1 / (frame.duration * stream.time_base)
    return rate


def _field_order(frame: av.VideoFrame, stream: av.VideoStream) -> str:
    """FFmpeg tells the order of fields (2, 4: as stored and as shown first top; 3, 5: bottom) by the stream only."""
    if not frame.interlaced_frame:
        return ""
    order = getattr(stream.codec_context, "field_order", 0)  # since PyAV 17; bottom first is what DV has
    return "bottom" if order in (3, 5) else "top"


def _is_mirrored(frame: av.VideoFrame) -> bool:
    """Whether the frame's display matrix mirrors besides turning, which frame.rotation does not tell."""
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return False
    a, b, _, c, d, *_ = np.frombuffer(matrix, np.int32).tolist()
    return a * d < b * c


def first_frame(container: InputContainer, stream: av.VideoStream, errors: list[Exception]) -> av.VideoFrame | None:
    """The first frame that can be decoded. errors: gets what the decoder says of those before it."""
    import av

    stream.thread_type = "SLICE"  # in several threads FFmpeg loses the frames of a short clip behind a damaged one
    context = decoder(stream)
    try:
        for packet in container.demux(stream):
            try:
                for frame in decode(context, packet):
                    return frame
            except av.error.FFmpegError as error:
                errors.append(error)
    except av.error.FFmpegError as error:
        errors.append(error)
    return None


def decode(context: av.VideoCodecContext, packet: av.Packet) -> list[av.VideoFrame]:
    """The frames that a packet completes. An empty packet with a time stands for a dropped frame (AVI), one without for
    the end of the stream, where the decoder gives what it still holds."""
    if packet.size:
        return context.decode(packet)
    return context.decode(None) if packet.dts is None else []


def _duration(container: InputContainer, stream: av.VideoStream) -> float:
    if stream.duration is not None:
        return float(stream.duration * stream.time_base)
    return (container.duration or 0) / 1e6


def _ticks_before(frame: av.VideoFrame, stream: av.VideoStream) -> int:
    if frame.pts is None or stream.start_time is None:
        return 0
    return max(0, frame.pts - stream.start_time)
