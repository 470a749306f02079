"""Writing clips: pictures and sound into one container, under a temporary name until it is whole."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from math import floor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..matting.coding import CHROMATICITIES
from ..matting.deep import with_attribute
from ..matting.outputs import refuse_existing
from ..names import shortened
from ..whole import speaks_of
from .animated import put_end
from .colour import LIMITED, Colours
from .formats import Format
from .sound import Sound, audio_tracks
from .source import Source
from .webm import PLACE, put_aspect

if TYPE_CHECKING:
    import av

TIMES = "times.txt"  # beside numbered pictures: the time of each, which their names do not tell


class Writer:
    """An output that appears under its name by `finish`, under `<name>.partial` by `keep_partial`, or not at all by
    `discard`. One of the three must be called.

    path: the file, or the folder of numbered pictures. size: (width, height) of the frames given. time_base: seconds a
    tick of their pts. sound_of, sound_from, sound_to: where the sound comes from and which seconds of it. metadata:
    tags of the container. first_number: of a folder's pictures. Raises FileExistsError when path exists and may not be
    replaced, OSError when the disk fails.
    """

    def __init__(
        self,
        path: Path,
        format: Format,
        *,
        size: tuple[int, int],
        frame_rate: Fraction,
        time_base: Fraction,
        colours: Colours,
        pixel_aspect: Fraction = Fraction(1),
        field_order: str = "",
        sound_of: Source | None = None,
        sound_from: Fraction = Fraction(0),
        sound_to: Fraction | None = None,
        metadata: dict[str, str] | None = None,
        first_number: int = 1,
        overwrite: bool = False,
    ) -> None:
        refuse(path, format, overwrite)
        self.path, self.size, self.frames, self.finishing = path, size, 0, False
        self.failed = False  # whether an error was its own: what is written by then is not to be relied upon
        self._format, self._overwrite = format, overwrite
        self.time_base, self._colours = time_base, colours
        path.parent.mkdir(parents=True, exist_ok=True)
        self._temporary = path.with_name(f".{uuid.uuid4().hex}.part")
        self._output: _Pictures | _Encoded | None = None
        try:
            with speaks_of(path, self._temporary):
                if format.muxer is None:
                    names = numbered(format, path)
                    self._output = _Pictures(
                        self._temporary, format, names, first_number, size, time_base, pixel_aspect
                    )
                    self._output.context.framerate = frame_rate
                    if colours.to_be_told:
                        self._output.tag(colours)
                    return
                self._output = _Encoded(self._temporary, format, metadata or {})
                self._output.add_pictures(size, frame_rate, time_base, colours, pixel_aspect, field_order)
                if sound_of is not None and format.audio:
                    self._output.add_sound(sound_of, sound_from, sound_to)
        except BaseException:
            self.discard()
            raise

    def write(self, frame: av.VideoFrame, pts: int, duration: int) -> None:
        """Encode one frame, shown for `duration` ticks from `pts` on."""
        frame.pts, frame.duration, frame.time_base = pts, duration, self.time_base
        if not frame.format.is_rgb:
            frame.colorspace, frame.color_range = self._colours.matrix, LIMITED
        with self._failing():
            self._output.write(frame)
        self.frames += 1

    def finish(self) -> Path:
        """Complete the output and give it its name; as partial where it cannot have that: FileExistsError when it was
        taken meanwhile, OSError when what is to be replaced is in use, as Windows has it."""
        self.finishing = True
        with self._failing():
            self._output.finish(everything=True)
            try:
                refuse(self.path, self._format, self._overwrite)
                rename(self._temporary, self.path)
            except OSError as error:
                kind = FileExistsError if isinstance(error, FileExistsError) else OSError
                raise kind(f"{error}; this clip is whole, in {self._name_partial()}") from None
        return self.path

    @contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            with speaks_of(self.path, self._temporary):
                yield
        except BaseException:
            self.failed = True
            raise

    def keep_partial(self) -> Path | None:
        """Complete what was written so far and name it as partial; None when nothing was."""
        if not self.frames:
            self.discard()
            return None
        try:
            with self._failing():
                self._output.finish(everything=False)
        except BaseException:
            self.discard()
            raise
        return self._name_partial()

    def _name_partial(self) -> Path:
        # What a folder of pictures is called may have a dot, which begins no suffix.
        suffix = "" if self._temporary.is_dir() else self.path.suffix
        stem = shortened(self.path.name.removesuffix(suffix), len(f".partial-999{suffix}"))
        path = _free(self.path.parent, f"{stem}.partial", suffix)
        os.replace(self._temporary, path)
        return path

    def discard(self) -> None:
        """Leave nothing behind."""
        if self._output is not None:
            self._output.abandon()
        remove(self._temporary)


class _File:
    """One file of pictures and sound. It is opened here and handed to FFmpeg as a Python file, for then every error of
    the disk is raised: FFmpeg itself closes its files without a look."""

    def __init__(self, path: Path, format: Format, metadata: dict[str, str]) -> None:
        import av

        self._format, self._path = format, path
        self._file = open(path, "xb")  # noqa: SIM115 (closed by finish or abandon)
        try:
            options = dict(format.muxer_options)
            self._container = av.open(self._file, "w", format=format.muxer, container_options=options)
        except BaseException:
            self._file.close()
            raise
        self._container.metadata.update(metadata)
        self._sounds: list[Sound] = []
        self._shown = Fraction(0)  # seconds of pictures written
        self._aspect = Fraction(1)  # of pixels, where it has to be written into the header afterwards
        self._end = 0  # pts at which the last picture ends
        self._lead: int | None = None  # by which the first one is decoded before it is shown

    def add_sound(self, source: Source, start: Fraction, end: Fraction | None) -> None:
        for track in range(audio_tracks(source)):
            self._sounds.append(Sound(source, self._container, self._format, start=start, end=end, track=track))

    def _place_for_aspect(self, aspect: Fraction) -> None:
        """WebM keeps the pixels' aspect in its header alone, from where PyAV cannot put it."""
        if self._format.muxer == "webm" and aspect != 1:
            self._aspect = aspect
            self._stream.metadata["title"] = PLACE

    def _mux(self, packets: list[av.Packet], begins: Fraction, ends: Fraction) -> None:
        """Mux what the encoder gave for a picture shown between two times, and the sound up to it."""
        self._container.mux(packets)
        self._shown = ends
        for sound in self._sounds:
            sound.feed(begins)

    def _hold(self, last: av.Packet) -> None:
        """Let the last packet last until the last picture ends: MP4 ends with the packet stored last, which with H.264
        need not be the picture shown last. No longer than that, or its average frame rate is less than the clip's."""
        last.duration = max(last.duration or 0, self._end - self._lead - last.dts)

    def finish(self, *, everything: bool) -> None:
        """everything: with the sound to its end, else as far as there are pictures."""
        for sound in self._sounds:
            sound.feed(None if everything else self._shown)
            sound.close()
        self._container.close()
        self._file.flush()
        if self._aspect != 1:
            put_aspect(self._path, self._aspect)
        put_end(self._path, self._format.muxer, self._shown)
        os.fsync(self._file.fileno())
        self._file.close()

    def abandon(self) -> None:
        for close in (*(sound.close for sound in self._sounds), self._container.close, self._file.close):
            try:
                close()
            except Exception:  # what is thrown away need not be sound, and the disk may be full
                continue


class _Encoded(_File):
    """Pictures that are encoded here."""

    def add_pictures(self, size, frame_rate, time_base, colours, pixel_aspect, field_order) -> None:
        options = {**self._format.options, **(self._format.fields.get(field_order) or {})}
        self._stream = self._container.add_stream(self._format.codec, rate=frame_rate, options=options)
        order = {"top": "tff", "bottom": "bff"}.get(field_order) if field_order in self._format.fields else None
        told = not self._format.animation or colours.to_be_told
        self._marks = _marks(colours, f":field_mode={order}" if order else "") if told else None
        context = self._stream.codec_context
        context.width, context.height, context.pix_fmt = *_coded_size(size, self._format), self._format.pixels
        context.time_base = self._stream.time_base = time_base
        context.thread_type = "AUTO"
        context.sample_aspect_ratio = pixel_aspect
        self._place_for_aspect(pixel_aspect)
        colours.tag(context)
        self._durations: dict[int, int] = {}  # by pts, of the frames that are in the encoder

    def write(self, frame: av.VideoFrame) -> None:
        self._durations[frame.pts], self._end = frame.duration, frame.pts + frame.duration
        begins, ends = frame.pts * frame.time_base, self._end * frame.time_base
        marked = frame if self._marks is None else self._marks(frame)
        self._mux(self._timed(self._stream.encode(marked)), begins, ends)

    def _timed(self, packets: list[av.Packet]) -> list[av.Packet]:
        """With each frame's own duration, where encoders put the average: the last picture would not be held."""
        for packet in packets:
            packet.duration = self._durations.pop(packet.pts, packet.duration)
            if self._lead is None:
                self._lead = packet.pts - packet.dts
        return packets

    def finish(self, *, everything: bool) -> None:
        packets = self._timed(self._stream.encode(None))
        if packets:
            self._hold(packets[-1])
        self._container.mux(packets)
        super().finish(everything=everything)


class Joined(_File):
    """Pictures that were encoded before, into files of the same format one after another in time."""

    def __init__(self, path: Path, format: Format, first: Path, metadata: dict[str, str]) -> None:
        import av

        super().__init__(path, format, metadata)
        with av.open(str(first)) as part:
            pictures = part.streams.video[0]
            self._stream = self._container.add_stream_from_template(pictures)
            # Neither comes along: the tag tells ProRes 4444 from 422, the metadata that VP9 has alpha.
            self._stream.codec_context.codec_tag = pictures.codec_context.codec_tag
            self._stream.metadata.update(pictures.metadata)
            aspect = pictures.sample_aspect_ratio or Fraction(1)
            self._stream.codec_context.sample_aspect_ratio = aspect
            self._place_for_aspect(aspect)
        self._last: av.Packet | None = None  # not muxed yet

    def append(self, path: Path, begins: Fraction) -> None:
        """Its packets as they are, the first one's picture shown `begins` seconds after the joined file's: MP4 rounds
        what it says of that itself to milliseconds. Decoding times, which may overlap where parts meet, are made to
        rise."""
        import av

        with av.open(str(path)) as part:
            pictures, shift = part.streams.video[0], None
            for packet in part.demux(pictures):
                if packet.dts is None:
                    continue
                tick = packet.time_base
                if shift is None:
                    shift = floor(begins / tick + Fraction(1, 2)) - packet.pts  # halves up, as FFmpeg rounds them
                packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                if self._last is None:
                    self._lead = packet.pts - packet.dts
                else:
                    packet.dts = max(packet.dts, self._last.dts + 1)
                    self._append(self._last)
                packet.stream, self._last = self._stream, packet
                self._end = max(self._end, packet.pts + (packet.duration or 0))

    def _append(self, packet: av.Packet) -> None:
        tick = packet.time_base
        self._mux([packet], packet.pts * tick, (packet.pts + (packet.duration or 0)) * tick)

    def finish(self, *, everything: bool) -> None:
        if self._last is not None:
            self._hold(self._last)
            self._append(self._last)
        super().finish(everything=everything)


def _marks(colours: Colours, more: str = "") -> Marks:
    """Tells frames their colours: ProRes and PNG are written as frames have it, not as the encoder's context, and
    frames made on the way have nothing. PyAV's take it themselves since 17 only."""
    return Marks("setparams", f"color_primaries={colours.primaries}:color_trc={colours.transfer}{more}")


class Marks:
    """Marks frames by one of FFmpeg's filters that leave their pixels alone, such as setfield and setparams."""

    def __init__(self, filter: str, options: str) -> None:
        self._filter, self._options, self._graph = filter, options, None

    def __call__(self, frame: av.VideoFrame) -> av.VideoFrame:
        import av

        if self._graph is None:
            self._graph = av.filter.Graph()
            given = self._graph.add_buffer(
                width=frame.width, height=frame.height, format=frame.format.name, time_base=frame.time_base
            )
            self._graph.link_nodes(given, self._graph.add(self._filter, self._options), self._graph.add("buffersink"))
            self._graph.configure()
        self._graph.push(frame)
        marked = self._graph.pull()
        marked.duration, marked.colorspace, marked.color_range = frame.duration, frame.colorspace, frame.color_range
        return marked


class _Pictures:
    """A folder of numbered pictures, and a text file of their times in seconds."""

    def __init__(
        self,
        folder: Path,
        format: Format,
        names: str,
        first: int,
        size: tuple[int, int],
        time_base: Fraction,
        aspect: Fraction,
    ) -> None:
        import av

        folder.mkdir()
        self._folder, self._names, self._number, self._times = folder, names, first, []
        self._marks: Marks | None = None  # of pictures that say what their colours are
        self._primaries: tuple = ()  # of EXR, to be told
        self.context = self._context = av.CodecContext.create(format.codec, "w")
        self._context.width, self._context.height, self._context.pix_fmt = *size, format.pixels
        self._context.time_base = time_base
        # FFmpeg writes the aspect as PNG's pixels a unit, across and down, which are the other way round.
        self._context.sample_aspect_ratio = 1 / aspect if format.codec == "png" else aspect
        self._context.thread_type = "AUTO"
        self._context.options = dict(format.options)

    def write(self, frame: av.VideoFrame) -> None:
        self._times.append(float(frame.pts * frame.time_base))
        self._save(self._context.encode(frame if self._marks is None else self._marks(frame)))

    def tag(self, colours: Colours) -> None:
        """Let each picture say what its colours are: PNG in a chunk (cICP), EXR its primaries."""
        if self._context.codec.name == "exr":
            self._primaries = CHROMATICITIES.get(colours.primaries, ())
            return
        self._marks = _marks(colours)
        self._context.color_primaries, self._context.color_trc = colours.primaries, colours.transfer

    def _save(self, packets: list[av.Packet]) -> None:
        for packet in packets:
            data = bytes(packet)
            if self._primaries:
                data = with_attribute(data, b"chromaticities", b"chromaticities", np.float32(self._primaries).tobytes())
            (self._folder / self._names.format(self._number)).write_bytes(data)
            self._number += 1

    def finish(self, *, everything: bool) -> None:
        self._save(self._context.encode(None))
        (self._folder / TIMES).write_text("".join(f"{time:.6f}\n" for time in self._times))

    def abandon(self) -> None:
        pass


def numbered(format: Format, folder: Path) -> str:
    """The names of the pictures in a folder, to be formatted with their numbers; of EXR as compositors name them."""
    name = folder.name.replace("{", "{{").replace("}", "}}")
    return f"{name}.{{:04d}}.exr" if format.linear else f"{{:06d}}.{format.codec}"


def _coded_size(size: tuple[int, int], format: Format) -> tuple[int, int]:
    width, height = size
    if format.shows == "side-by-side":
        width *= 3
    if format.even:
        width, height = (width + 1) // 2 * 2, (height + 1) // 2 * 2
    return width, height


def refuse(path: Path, format: Format, overwrite: bool) -> None:
    """FileExistsError when path exists and may not be replaced. A folder of pictures may take the place of another one
    of our own making and of the same kind only, never of anything else."""
    if format.muxer is not None:
        refuse_existing(path, overwrite)
    elif path.exists():
        if not overwrite:
            raise FileExistsError(f"{path} exists and is not overwritten (--overwrite allows it)")
        if not path.is_dir() or not (path / TIMES).is_file():
            raise FileExistsError(f"{path} is not a folder of pictures made from a clip, and is left alone")
        kept = {TIMES, f".{format.codec}"}
        others = [file.name for file in path.iterdir() if not {file.name, file.suffix} & kept and file.name[0] != "."]
        if others:
            raise FileExistsError(
                f"{path} has {min(others)} in it, which .{format.codec} pictures do not replace: choose another name"
            )


def rename(temporary: Path, path: Path) -> None:
    """A folder in the way is moved aside first, and removed when the new one is in place."""
    if not path.is_dir():
        os.replace(temporary, path)
        return
    aside = path.with_name(f".{uuid.uuid4().hex}.old")
    os.replace(path, aside)
    try:
        os.replace(temporary, path)
    except BaseException:
        os.replace(aside, path)
        raise
    remove(aside)


def remove(path: Path) -> None:
    """A file or a folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):  # of a read-only disk
            path.unlink(missing_ok=True)


def _free(folder: Path, stem: str, suffix: str) -> Path:
    """A path of this name, with a number where it is taken: what was kept before is not lost."""
    count, free = 1, folder / f"{stem}{suffix}"
    while free.exists():
        count += 1
        free = folder / f"{stem}-{count}{suffix}"
    return free
