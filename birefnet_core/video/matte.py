"""A whole clip to a matted one as a stream: decode, matte in batches, stabilise, composite, encode.

Decoding and encoding run in threads of their own beside the network. One window of frames is in memory, however long
the clip.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from ..matting.model import resize
from .colour import Colours, own_alpha, to_rgb
from .formats import Format, find_format
from .paint import Painter, painter
from .read import Clip, Frame, Span
from .stabilise import check_strength, stabilised
from .threads import Behind, ahead
from .write import Writer

BATCH = 4  # frames handed to the network at once
AHEAD = 8  # decoded frames waiting for the network, and matted ones waiting for the encoder
Matte = Callable[[Tensor], Tensor]  # uint8 [n, h, w, 3] -> alpha [n, h, w] 0..1


class Stopped(RuntimeError):
    """A run that did not come to its end. partial: where what was done is kept; __cause__ says why it stopped."""

    def __init__(self, message: str, partial: Path) -> None:
        super().__init__(message)
        self.partial = partial


@dataclass(frozen=True)
class Progress:
    """One frame further: done of total frames (an estimate where the file does not say), and that frame as the network
    saw it, pixels uint8 [h, w, 3], with its alpha [h, w], for previews."""

    done: int
    total: int
    pixels: Tensor
    alpha: Tensor


@dataclass(frozen=True)
class Look:
    """How the result looks. stabilise: 0 (frame by frame) to 1. background: of format h264, as of paint.painter.
    clean_foreground: take the background's colour out of half-transparent pixels. invert: keep the background."""

    stabilise: float = 0.0
    background: str | Path | Tensor = "#00ff00"
    clean_foreground: bool = False
    invert: bool = False


@dataclass
class Seen:
    """A frame on its way: pixels uint8 [h, w, 3] as the network sees it, and its alpha once there is one."""

    frame: Frame
    pixels: Tensor
    alpha: Tensor | None = field(default=None)


def matte_clip(
    clip: Clip,
    path: str | os.PathLike,
    matte: Matte,
    *,
    format: str | Format = "prores",
    size: tuple[int, int] | None = None,
    span: Span = Span(),  # noqa: B008 (frozen)
    look: Look = Look(),
    batch: int = BATCH,
    sound: bool = True,
    metadata: dict[str, str] | None = None,
    overwrite: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
) -> Path:
    """Matte the frames of the span and write them in a format of formats.FORMATS.

    path: the file, or for png the folder. matte: what gives the alpha of frames, such as MattingModel.predict; size:
    (width, height) at which it sees them, None: the clip's own. sound: carry the span's sound along (not with `every`).
    metadata: tags of the file. on_progress: called after each frame; what it raises ends the run.

    Frames keep their times. What was transparent in the clip stays so. Returns the path written.
    When the run fails or is interrupted, what was encoded until then is completed and kept as `<name>.partial.<suffix>`
    and the error goes on (as Stopped where it is an Exception); an error of the writing itself leaves nothing behind.
    Nothing that was there is replaced unless overwrite says so, and then only by a whole result.
    Raises VideoError for a clip that cannot be read, ValueError for arguments, FileExistsError, OSError of the disk.
    """
    format = find_format(format) if isinstance(format, str) else format
    check_strength(look.stabilise)
    path = Path(path)
    info = clip.info
    frames = clip.frames(span)
    first = next(frames)
    colours = Colours.of(first.picture)
    paint = painter(format, (info.width, info.height), colours, background=look.background,
                    clean_foreground=look.clean_foreground)  # fmt: skip
    start = first.pts * info.time_base
    writer = Writer(
        path,
        format,
        size=(info.width, info.height),
        frame_rate=info.frame_rate / span.every,
        time_base=info.time_base,
        colours=colours,
        pixel_aspect=info.pixel_aspect,
        sound_of=clip.source if sound and info.has_audio and span.every == 1 else None,
        sound_from=start,
        sound_to=_sound_end(clip, span, start),
        metadata=metadata,
        overwrite=overwrite,
    )
    total = expected(clip, span)
    frames = _chained(first, frames)
    try:
        encoder = Behind(lambda frame, alpha: _encode(writer, paint, frame, alpha, first.pts, look.invert), AHEAD)
        try:
            with ahead((_seen(frame, size) for frame in frames), AHEAD) as seen:
                for done, item in enumerate(stabilised(_matted(seen, matte, batch), look.stabilise), 1):
                    encoder.put(item.frame, item.alpha)
                    if on_progress is not None:
                        on_progress(Progress(done, max(done, total), item.pixels, item.alpha))
            encoder.close()
        except BaseException:
            if encoder.error is None:
                encoder.close()  # what was matted is encoded still
            else:
                encoder.cancel()
            raise
        return writer.finish()
    except BaseException as error:
        if encoder.error is not None or writer.finishing:
            writer.discard()
            raise
        partial = writer.keep_partial()
        if partial is not None and isinstance(error, Exception):
            raise Stopped(f"{error}; the {writer.frames} frames done are in {partial}", partial) from error
        raise


def expected(clip: Clip, span: Span) -> int:
    """About how many frames the span has, without reading through the file."""
    info = clip.info
    end = info.duration if span.end is None else min(span.end, info.duration)
    frames = max(1, round((end - span.start) * info.frame_rate) - span.skip) if end else info.frames
    frames = max(1, -(-frames // span.every))
    return frames if span.count is None else min(frames, span.count)


def _sound_end(clip: Clip, span: Span, start: Fraction) -> Fraction | None:
    """Seconds after the clip's first frame at which the span's sound ends; None: with the clip."""
    if span.count is not None:
        ends = start + span.count / clip.info.frame_rate
        times = clip.times()
        first = next((index for index, pts in enumerate(times) if pts * clip.info.time_base >= start), len(times))
        if first + span.count < len(times):
            ends = times[first + span.count] * clip.info.time_base
        return ends if span.end is None else min(ends, Fraction(span.end))
    return None if span.end is None else Fraction(span.end)


def _chained(first: Frame, rest: Iterator[Frame]) -> Iterator[Frame]:
    yield first
    yield from rest


def _seen(frame: Frame, size: tuple[int, int] | None) -> Seen:
    """The frame with what the network sees of it. Resized in 8 bits, which takes a tenth of the time of floats."""
    pixels = torch.from_numpy(to_rgb(frame.picture, fast=True))
    if size is not None:
        planes = pixels.permute(2, 0, 1)[None]
        pixels = resize(planes, (size[1], size[0]))[0].permute(1, 2, 0)
    return Seen(frame, pixels)


def _matted(items: Iterator[Seen], matte: Matte, batch: int) -> Iterator[Seen]:
    while some := list(islice(items, batch)):
        alphas = matte(torch.stack([item.pixels for item in some])).cpu()
        for item, alpha in zip(some, alphas, strict=True):
            item.alpha = alpha
            yield item


def _encode(writer: Writer, paint: Painter, frame: Frame, alpha: Tensor, origin: int, invert: bool) -> None:
    picture, (width, height) = frame.picture, writer.size
    if (picture.width, picture.height) != writer.size:  # some streams change it on the way
        picture = picture.reformat(width=width, height=height)
    if alpha.shape != (height, width):
        alpha = resize(alpha[None, None], (height, width))[0, 0].clamp_(0, 1)
    if invert:
        alpha = 1 - alpha
    own = own_alpha(picture)
    if own is not None:
        alpha = alpha * torch.from_numpy(own)
    writer.write(paint(picture, alpha), frame.pts - origin, frame.duration)
