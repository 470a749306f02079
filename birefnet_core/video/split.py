"""One clip matted by several processes (torchrun), each a stretch of it, and joined without a seam.

Intra-only formats come out bit for bit as from one process: stabilisation looks RADIUS frames to each side, so that
every stretch is read with so many frames more. H.264 and VP9 begin each stretch with a key frame.
"""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from ..failures import FAILURES
from .asked import Asked
from .formats import Format
from .left_out import note_left_out
from .matte import Look, Matte, matte_clip, screens_of
from .read import Clip, Span
from .stabilise import RADIUS
from .timecode import first_number, with_timecode
from .write import TIMES, Joined, numbered, refuse, remove, rename

LONGEST_RUN = timedelta(days=7)  # that a process waits for the others
Result = TypeVar("Result")


class TogetherError(RuntimeError):
    """What failed in one of the processes; all of them raise it, with the same words."""


def place() -> tuple[int, int]:
    """(rank, number of processes) as torchrun says; (0, 1) without it."""
    return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))


def own_device(asked: str) -> str:
    """Under torchrun with GPUs "auto" is this process's own one."""
    import torch

    local = os.environ.get("LOCAL_RANK")
    return f"cuda:{local}" if asked == "auto" and local and torch.cuda.is_available() else asked


def from_all(said: Any) -> list[Any]:
    """Returns when every process of the run got here: what each of them has said, in their order. SystemExit where they
    cannot meet."""
    import torch.distributed as distributed

    world = place()[1]
    if world == 1:
        return [said]
    everything = [None] * world
    try:
        if not distributed.is_initialized():
            distributed.init_process_group("gloo", timeout=LONGEST_RUN)
        distributed.all_gather_object(everything, said)
    except (RuntimeError, ValueError) as error:  # not what a single file fails by
        raise SystemExit(
            f"the {world} processes of WORLD_SIZE do not find each other, or one has ended: {error}"
        ) from error
    return everything


def agreed(work: Callable[[], Result], exchange: Callable[[Any], list] = from_all) -> Result:
    """What `work` gives, once it is done in every process: then none waits for another that has failed.

    Raises TogetherError in all of them, with what the first one said, where it fails in any. An interrupt is not waited
    for: it ends the run.
    """
    failure, cause, result = "", None, None
    try:
        result = work()
    except FAILURES as error:
        failure, cause = str(error) or type(error).__name__, error
    first = next((each for each in exchange(failure) if each), "")
    if first:
        raise TogetherError(first) from cause
    return result


def stretch(count: int, rank: int, world: int) -> tuple[int, int]:
    """Which of `count` frames, from and up to, are this process's."""
    return count * rank // world, count * (rank + 1) // world


def matte_together(
    clip: Clip,
    path: Path,
    matte: Matte,
    *,
    format: Format,
    span: Span,
    rank: int,
    world: int,
    exchange: Callable[[Any], list] = from_all,
    sound: bool = True,
    timecode: bool = True,
    metadata: dict[str, str] | None = None,
    overwrite: bool = False,
    asked: Asked | None = None,
    **options,
) -> Path:
    """As matte_clip, called by every process with the same arguments but rank. Process 0 joins what all wrote.

    A failure in one process is raised in all, as TogetherError; an interrupt ends the run (torchrun stops the others).
    Either leaves nothing behind of a clip that is split, and of others what matte_clip leaves. Clips whose file carries
    no times (H.264 in AVI) cannot be split exactly, nor can animated pictures be joined, nor can a hint that is carried
    along, or what was seen of a green screen, reach a stretch but through those before: process 0 mattes them alone.
    """
    written = {"format": format, "sound": sound, "timecode": timecode, "metadata": metadata, "overwrite": overwrite}

    def is_for_one() -> bool:
        carries = (asked is not None and asked.carried) or screens_of(options.get("look", Look()), format) is not None
        return carries or format.animation or not clip.times() or clip.count(span) < world

    if exchange(agreed(is_for_one, exchange))[0]:  # the first one's word: others may see a file that still grows
        alone = partial(matte_clip, clip, path, matte, span=span, asked=asked, **written, **options)
        agreed(alone if rank == 0 else lambda: path, exchange)
        return path
    parts = [_part(path, format, index, world) for index in range(world)]
    own = partial(_stretch, clip, path, matte, format=format, span=span, rank=rank, world=world, asked=asked)
    try:
        agreed(partial(own, parts[rank], sound=sound, overwrite=overwrite, **options), exchange)
        agreed(partial(join, parts, path, clip, span=span, **written) if rank == 0 else lambda: None, exchange)
    finally:
        remove(parts[rank])
    return path


def _part(path: Path, format: Format, index: int, world: int) -> Path:
    """Where a stretch of what becomes `path` is written: the same in all processes, and hidden beside it."""
    name = hashlib.md5(f"{path.name} {index} of {world}".encode(errors="surrogateescape"), usedforsecurity=False)
    return path.with_name(f".{name.hexdigest()}{format.suffix}")


def _stretch(
    clip: Clip,
    path: Path,
    matte: Matte,
    part: Path,
    *,
    format: Format,
    span: Span,
    rank: int,
    world: int,
    asked: Asked | None,
    sound: bool,
    overwrite: bool,
    **options,
) -> None:
    """Matte this process's stretch of the clip, which becomes `path`, into `part`."""
    refuse(path, format, overwrite)
    if rank == 0:
        note_left_out(clip.source, format, sound=sound)
    count = clip.count(span)
    first, last = stretch(count, rank, world)
    before, after = min(RADIUS, first), min(RADIUS, count - last)
    if asked is not None:
        asked.check(clip.info.name, lambda: count)
        asked = asked.part(first - before, last + after)
    own = replace(span, skip=span.skip + (first - before) * span.every, count=last - first + before + after)
    matte_clip(clip, part, matte, format=format, span=own, sound=False, overwrite=True, asked=asked,
               margin=(before, after), origin=clip.first_pts(span), keep=False, **options)  # fmt: skip


def join(
    parts: list[Path],
    path: Path,
    clip: Clip,
    format: Format,
    span: Span,
    *,
    sound: bool,
    metadata: dict[str, str] | None,
    overwrite: bool,
    timecode: bool = True,
) -> None:
    """The parts' packets in one file, as they are, with the clip's sound; or their pictures in one folder. parts: one
    of each `stretch` of the span."""
    temporary = path.with_name(f".{uuid.uuid4().hex}.part")
    count, origin = clip.count(span), clip.first_pts(span)
    if timecode:
        metadata = with_timecode(metadata, clip, format, origin * clip.info.time_base, span.every)
    try:
        if format.muxer is None:
            first = first_number(clip, format, origin * clip.info.time_base, span.every, timecode=timecode)
            join_pictures(parts, temporary, numbered(format, path), first)
        else:
            begin, end = clip.seconds(span)
            with_sound = sound and clip.info.has_audio and span.every == 1
            joined = Joined(temporary, format, parts[0], metadata or {})
            try:
                if with_sound:
                    joined.add_sound(clip.source, begin, end)
                for index, part in enumerate(parts):
                    skipped = stretch(count, index, len(parts))[0] * span.every
                    tick = clip.first_pts(replace(span, skip=span.skip + skipped))
                    joined.append(part, (tick - origin) * clip.info.time_base)
                joined.finish(everything=True)
            except BaseException:
                joined.abandon()
                raise
        refuse(path, format, overwrite)
        rename(temporary, path)
    except BaseException:
        remove(temporary)
        raise


def join_pictures(parts: list[Path], folder: Path, names: str, number: int) -> None:
    folder.mkdir()
    times = ""
    for part in parts:
        pictures = [picture for picture in part.iterdir() if picture.name != TIMES]
        for picture in sorted(pictures, key=lambda picture: int(picture.stem.rpartition(".")[2])):
            os.replace(picture, folder / names.format(number))
            number += 1
        times += (part / TIMES).read_text()
    (folder / TIMES).write_text(times)
