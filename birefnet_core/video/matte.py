"""A whole clip to a matted one as a stream: decode, matte in batches, stabilise, composite, encode.

Decoding and encoding run in threads of their own beside the network. One window of frames is in memory, however long
the clip.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from ..matting.screens_asked import check_screens
from ..matting.size import MASK
from ..precision import torch_as_usual
from .asked import EVERYTHING, Asked, Hints, together
from .behind import Background
from .carry import CUT, GONE, Carry
from .colour import BT709, Colours, resized, to_rgb, to_seen
from .even import is_uneven
from .formats import Format, find_format
from .interrupts import interrupts_held
from .left_out import note_how_shown, note_left_out, note_of_displays, refuse_dynamic
from .notes import note
from .paint import Painter, painter
from .read import Clip, Frame, Span, chained
from .screens import Screens
from .source import ClipInfo
from .stabilise import stabilised
from .strength import check_strength
from .threads import Behind, ahead, until_error
from .timecode import first_number, with_timecode
from .write import Writer

BATCH = 4  # frames handed to the network at once
AHEAD = 8  # decoded frames at most that wait for the network, and matted ones for the encoder
WAITING = 256 << 20  # bytes that either may take
# [n, h, w, 3], uint8 or float32 0..1 -> alpha [n, h, w] 0..1; with a hint [n, h, w] 0..1 behind it, and what that is
# (as of MattingModel.predict), of what it names
Matte = Callable[..., Tensor]


class Stopped(RuntimeError):
    """A run that did not come to its end. partial: where what was done is kept; __cause__ says why it stopped."""

    def __init__(self, message: str, partial: Path) -> None:
        super().__init__(message)
        self.partial = partial


@dataclass(frozen=True)
class Progress:
    """One frame further: done of total frames (an estimate where the file does not say), and that frame as the network
    saw it, pixels as of Seen, with its alpha [h, w], for previews."""

    done: int
    total: int
    pixels: Tensor
    alpha: Tensor


@dataclass(frozen=True)
class Look:
    """How the result looks. stabilise: 0 (frame by frame) to 1. background: of format h264, as of behind.backgrounds.
    clean_foreground: take the background's colour out of half-transparent pixels. invert: keep the background. alphas:
    how colours go with alpha, as of cutouts.check_alphas; None: as the format has it. screen, despill: the green or
    blue screen by which frames are keyed, or whose light is only taken out of their colours, as of screens.Screens;
    despill_strength: how much of it, 0..1."""

    stabilise: float = 0.0
    background: Background = "#00ff00"
    clean_foreground: bool = False
    invert: bool = False
    alphas: str | None = None
    screen: str = "off"
    despill: str = "off"
    despill_strength: float = 1.0


@dataclass
class Seen:
    """A frame on its way: pixels [h, w, 3] as the network sees it, uint8 or, resized, float32 0..1; and its alpha once
    there is one."""

    frame: Frame
    pixels: Tensor
    alpha: Tensor | None = field(default=None)


@torch_as_usual()
def matte_clip(
    clip: Clip,
    path: str | os.PathLike,
    matte: Matte,
    *,
    format: str | Format = "prores",
    size: tuple[int, int] | None = None,
    span: Span = Span(),  # noqa: B008 (frozen)
    look: Look = Look(),
    asked: Asked | None = None,
    batch: int = BATCH,
    sound: bool = True,
    square_pixels: bool = False,
    timecode: bool = True,
    metadata: dict[str, str] | None = None,
    overwrite: bool = False,
    margin: tuple[int, int] = (0, 0),
    origin: int | None = None,
    keep: bool = True,
    on_progress: Callable[[Progress], None] | None = None,
) -> Path:
    """Matte the frames of the span and write them in a format of formats.FORMATS.

    path: the file, or for png the folder. matte: what gives the alpha of frames, such as MattingModel.predict; size:
    (width, height) at which it sees them, float32; None, and with hints: whole frames, uint8. asked: what of the clip
    is wanted; None: everything salient. sound: carry the span's sound along (not
    with `every`). square_pixels: stretch frames whose pixels are not square; else they stay so. timecode: keep the
    clip's, moved to the first frame written. metadata: tags of the file. margin: so many first and last frames of the
    span are matted, for the stabilisation of the others, but not written; origin: the tick that becomes time 0, None:
    that of the first frame written; keep: whether a run that fails leaves what was done, which parts (split.py) do
    not. on_progress: called after each frame; what it raises ends the run.

    Frames keep their times. What was transparent in the clip stays so. Returns the path written.
    When the run fails or is interrupted, what was matted until then is completed and kept as `<name>.partial.<suffix>`
    and the error goes on (as Stopped where it is an Exception); an error of the writing itself leaves nothing behind.
    Nothing that was there is replaced unless overwrite says so, and then only by a whole result.
    Raises VideoError for a clip that cannot be read, ValueError for arguments, FileExistsError, OSError of the disk.
    """
    format = find_format(format) if isinstance(format, str) else format
    check_strength(look.stabilise)
    check_screens(look.screen, look.despill, look.invert, look.despill_strength)
    path = Path(path)
    info = clip.info
    if asked is not None:
        size = None  # what a hint names is looked at closely
        asked.check(info.name, lambda: clip.count(span))
        if not asked.carried and is_uneven(clip):
            note(
                f"{info.name}: its frames are shown for uneven times; the hints must be of these frames, not of those "
                "at an even rate: even_rate of Video Frames off"
            )
    frames = clip.frames(span)
    first = next(frames)
    colours = Colours.of(first.picture, info.primaries, info.transfer)
    full, aspect = written_size(info, format, square_pixels)
    refuse_dynamic(info, colours, format)
    rate = info.frame_rate / span.every
    screens = screens_of(look, format)
    paint = painter(
        format,
        full,
        colours,
        background=look.background,
        clean_foreground=look.clean_foreground,
        alphas=look.alphas,
        pixel_aspect=aspect,
        screens=screens,
    )
    begin = first.pts * info.time_base
    number = first_number(clip, format, begin, span.every, timecode=timecode)
    if timecode and keep:
        metadata = with_timecode(metadata, clip, format, begin, span.every)
    writer = Writer(
        path,
        format,
        size=full,
        frame_rate=rate,
        time_base=info.time_base,
        colours=Colours(BT709, BT709, BT709) if format.shows == "alpha" and colours.curve else colours,
        pixel_aspect=aspect,
        field_order=info.field_order,
        sound_of=clip.source if sound and info.has_audio and span.every == 1 else None,
        sound_from=begin,
        sound_to=clip.seconds(span)[1],
        metadata=metadata,
        first_number=number,
        overwrite=overwrite,
    )
    if keep:
        note_left_out(clip.source, format, sound=sound)
        note_how_shown(info, format, colours)
        note_of_displays(info, first.picture, format)
        if aspect != 1:
            note(f"{info.name}: {info.pixels_as_shown}, and stay so")
        elif format.animation and info.pixel_aspect != 1:
            note(
                f"{info.name}: {info.pixels_as_shown}; {format.label} knows square ones only, to which it is stretched"
            )
    zero = first.pts if origin is None else origin
    depth = _depth(clip, size)
    encoder = Behind(lambda frame, alpha: _encode(writer, paint, frame, alpha, zero, look.invert), depth)
    total = expected(clip, span)
    written = range(margin[0], (span.count or sys.maxsize) - margin[1])
    stops: list[BaseException] = []  # of on_progress; what is matted by then goes on to the file
    try:
        sized = (_sized(frame, writer.size) for frame in chained(first, frames))
        with ahead((_seen(frame, size) for frame in sized), depth) as seen:
            if asked is not None and asked.carried:
                alphas = _carried(seen, matte, batch, stops, asked, clip, span)
            else:
                alphas = _matted(seen, matte, batch, stops, None if asked is None else asked.hints)
            for index, item in enumerate(stabilised(alphas, look.stabilise)):
                if index in written:
                    encoder.put(item.frame, item.alpha)
                if on_progress is not None and not stops:
                    try:
                        on_progress(Progress(index + 1, max(index + 1, total), item.pixels, item.alpha))
                    except BaseException as stop:
                        stops.append(stop)
        if stops:
            raise stops[0]
        encoder.close()
        if screens is not None and (text := screens.told(info.name)):
            note(text)
        with interrupts_held():
            return writer.finish()
    except BaseException as error:
        with interrupts_held():
            _keep_what_is_done(writer, encoder, error, keep)
        raise


def written_size(info: ClipInfo, format: Format, square_pixels: bool) -> tuple[tuple[int, int], Fraction]:
    """The (width, height) in which a clip's frames are written, which boxes and points count, and the aspect of their
    pixels: animated pictures know square ones only."""
    if square_pixels or format.animation:
        return info.shown, Fraction(1)
    return (info.width, info.height), info.pixel_aspect


def screens_of(look: Look, format: Format) -> Screens | None:
    """What keys or despills the frames; None where nothing is asked of it, or only colours and none are shown."""
    if look.screen == "off" and (look.despill == "off" or format.shows == "alpha"):
        return None
    return Screens(look.screen, look.despill, look.despill_strength)


def _keep_what_is_done(writer: Writer, encoder: Behind, error: BaseException, keep: bool) -> None:
    """After an error of reading, matting or painting: encode what was matted, keep it as partial, and raise Stopped for
    an Exception. After one of writing, or unless `keep`: leave nothing."""
    if not keep or writer.finishing or writer.failed:  # finished, only a temporary file can be left to remove
        encoder.cancel()
        writer.discard()
        return
    try:
        encoder.close()
    except BaseException:
        if writer.failed:
            writer.discard()
            raise
    partial = writer.keep_partial()
    if partial is None:
        return
    done = f"the {writer.frames} frames done are in {partial}"
    if isinstance(error, Exception):
        raise Stopped(f"{error}; {done}", partial) from error
    note(f"stopped; {done}")


def _depth(clip: Clip, size: tuple[int, int] | None) -> int:
    """How many frames may wait: a frame takes about 3 bytes a pixel as decoded and 16 as the network sees it."""
    width, height = size or (clip.info.width, clip.info.height)
    frame = 3 * clip.info.width * clip.info.height + 16 * width * height
    return max(2, min(AHEAD, WAITING // frame))


def expected(clip: Clip, span: Span) -> int:
    """About how many frames the span has, without reading through the file."""
    info = clip.info
    end = info.duration if span.end is None else min(span.end, info.duration)
    frames = max(1, round((end - span.start) * info.frame_rate) - span.skip) if end else info.frames
    frames = max(1, -(-frames // span.every))
    return frames if span.count is None else min(frames, span.count)


def _sized(frame: Frame, size: tuple[int, int]) -> Frame:
    """The frame at the clip's size (width, height), which some streams change on the way."""
    if (frame.picture.width, frame.picture.height) == size:
        return frame
    return replace(frame, picture=resized(frame.picture, size))


def _seen(frame: Frame, size: tuple[int, int] | None) -> Seen:
    """The frame with what the network sees of it."""
    if size is None:
        return Seen(frame, torch.from_numpy(to_rgb(frame.picture)))
    return Seen(frame, to_seen(frame.picture, size))


def _matted(
    items: Iterator[Seen], matte: Matte, batch: int, stops: list[BaseException], hints: Hints | None = None
) -> Iterator[Seen]:
    """The items with their alphas, each with its own of the hints if there are any; those before an error of theirs
    too, in a last, smaller batch. No further batch is begun once there is something in `stops`."""
    errors: list[BaseException] = []
    items, done = until_error(items, errors), 0
    while not stops and (some := list(islice(items, batch))):
        pixels = torch.stack([item.pixels for item in some])
        own = () if hints is None else (together(hints[done : done + len(some)]), MASK)
        for item, alpha in zip(some, matte(pixels, *own).cpu(), strict=True):
            item.alpha = alpha
            yield item
        done += len(some)
    if errors:
        raise errors[0]


def _carried(
    items: Iterator[Seen], matte: Matte, batch: int, stops: list[BaseException], asked: Asked, clip: Clip, span: Span
) -> Iterator[Seen]:
    """The items with their alphas of what the first one's hint names, one by one: each hint comes from the alpha
    before. From a cut on as `asked` says."""
    carry = Carry(asked.hints[0], clip.info.frame_rate / span.every)
    first = True
    for item in items:
        if stops:
            return
        before, hint = carry.state, carry.hint(item.pixels)
        if carry.state == CUT:
            _note_at(clip, item, f"the hint ends at a cut: {asked.after_cut} is matted from there")
            yield from _after_cut(chained(item, items), matte, batch, stops, asked)
            return
        item.alpha = matte(item.pixels[None], hint[None], carry.hint_is)[0].cpu()
        carry.take(item.alpha)
        if first and carry.state == GONE:
            note(f"{clip.info.name}: the hint names nothing that is seen in the first frame, nothing is matted")
        elif carry.state == GONE != before:
            _note_at(clip, item, "what the hint asks for is no longer to be seen, nothing is matted from there")
        first = False
        yield item


def _after_cut(
    items: Iterator[Seen], matte: Matte, batch: int, stops: list[BaseException], asked: Asked
) -> Iterator[Seen]:
    if asked.after_cut == EVERYTHING:
        yield from _matted(items, matte, batch, stops)
        return
    for item in items:
        if stops:
            return
        item.alpha = torch.zeros(item.pixels.shape[:2])
        yield item


def _note_at(clip: Clip, item: Seen, what: str) -> None:
    seconds = float(item.frame.pts * clip.info.time_base)
    note(f"{clip.info.name}: {what} (at {seconds:.2f} s)")


def _encode(writer: Writer, paint: Painter, frame: Frame, alpha: Tensor, origin: int, invert: bool) -> None:
    pts = frame.pts - origin
    seconds = pts * writer.time_base
    writer.write(paint(frame.picture, 1 - alpha if invert else alpha, seconds), pts, frame.duration)
