"""One clip matted by several processes (torchrun), each a stretch of it, and joined without a seam.

Intra-only formats come out bit for bit as from one process: stabilisation looks RADIUS frames to each side, so that
every stretch is read with so many frames more. H.264 and VP9 begin each stretch with a key frame.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from .asked import Asked
from .formats import Format
from .left_out import note_left_out
from .matte import Matte, matte_clip
from .read import Clip, Span
from .stabilise import RADIUS
from .timecode import first_number, with_timecode
from .write import TIMES, Joined, numbered, refuse, remove, rename

LONGEST_RUN = timedelta(days=7)  # that a process waits for the others


def place() -> tuple[int, int]:
    """(rank, number of processes) as torchrun says; (0, 1) without it."""
    return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))


def own_device(asked: str) -> str:
    """Under torchrun with GPUs "auto" is this process's own one."""
    import torch

    local = os.environ.get("LOCAL_RANK")
    return f"cuda:{local}" if asked == "auto" and local and torch.cuda.is_available() else asked


def wait_for_all() -> None:
    """Returns when every process of the run got here."""
    import torch.distributed as distributed

    if place()[1] == 1:
        return
    if not distributed.is_initialized():
        distributed.init_process_group("gloo", timeout=LONGEST_RUN)
    distributed.barrier()


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
    wait: Callable[[], None] = wait_for_all,
    sound: bool = True,
    timecode: bool = True,
    metadata: dict[str, str] | None = None,
    overwrite: bool = False,
    asked: Asked | None = None,
    **options,
) -> Path:
    """As matte_clip, called by every process with the same arguments but rank. Process 0 joins what all wrote.

    A failure or interrupt in one process ends the run (torchrun stops the others) and leaves nothing behind. Clips
    whose file carries no times (H.264 in AVI) cannot be split exactly, nor can animated pictures be joined, nor can a
    hint that is carried along reach a stretch but through those before: process 0 mattes them alone.
    """
    whole = {"format": format, "sound": sound, "timecode": timecode, "metadata": metadata, "overwrite": overwrite}
    whole |= options
    one_by_one = asked is not None and asked.carried
    if not clip.times() or clip.count(span) < world or format.animation or one_by_one:
        if rank == 0:
            matte_clip(clip, path, matte, span=span, asked=asked, **whole)
        wait()
        return path
    refuse(path, format, overwrite)
    if rank == 0:
        note_left_out(clip.source, format, sound=sound)
    count, origin = clip.count(span), clip.first_pts(span)
    if timecode and rank == 0:
        metadata = with_timecode(metadata, clip, format, origin * clip.info.time_base, span.every)
    first, last = stretch(count, rank, world)
    before, after = min(RADIUS, first), min(RADIUS, count - last)
    if asked is not None:
        asked.check(clip.info.name, lambda: count)
        asked = asked.part(first - before, last + after)
    own = replace(span, skip=span.skip + (first - before) * span.every, count=last - first + before + after)
    parts = [path.with_name(f".{path.stem}.{index}-of-{world}{format.suffix}") for index in range(world)]
    try:
        matte_clip(clip, parts[rank], matte, format=format, span=own, sound=False, overwrite=True,
                   asked=asked, margin=(before, after), origin=origin, keep=False, **options)  # fmt: skip
        wait()
        if rank == 0:
            join(
                parts, path, clip, format, span, sound=sound, timecode=timecode, metadata=metadata, overwrite=overwrite
            )
        wait()
    finally:
        remove(parts[rank])
    return path


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
    """The parts' packets in one file, as they are, with the clip's sound; or their pictures in one folder."""
    temporary = path.with_name(f".{uuid.uuid4().hex}.part")
    try:
        if format.muxer is None:
            begin = clip.first_pts(span) * clip.info.time_base
            first = first_number(clip, format, begin, span.every, timecode=timecode)
            join_pictures(parts, temporary, numbered(format, path), first)
        else:
            begin, end = clip.seconds(span)
            with_sound = sound and clip.info.has_audio and span.every == 1
            joined = Joined(temporary, format, parts[0], metadata or {})
            try:
                if with_sound:
                    joined.add_sound(clip.source, begin, end)
                for part in parts:
                    joined.append(part)
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
