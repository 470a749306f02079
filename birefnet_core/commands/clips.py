"""The clips of `python -m birefnet_core matte`."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from ..matting.size import fit_inside, network_size
from ..video.formats import FORMATS, Format
from ..video.notes import notes_to
from ..video.read import Clip, Span
from ..video.source import SUFFIXES
from ..video.strength import check_strength
from . import hints
from .outputs import attempt, names_a_file, refuse_clashes

if TYPE_CHECKING:
    from ..matting.model import MattingModel
    from ..video.matte import Progress

DEFAULT = "prores"
DEFAULT_ON_BACKGROUND = "h264"


@dataclass(frozen=True)
class Job:
    """One clip, its name below an output folder, and the file or, for pictures, the folder it becomes. only: whether
    there is no other input."""

    source: Path
    name: Path
    only: bool
    out: Path
    format: Format


def add_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("clips")
    group.add_argument(
        "--format",
        choices=FORMATS,
        help="; ".join(f"{name}: {row.label}" for name, row in FORMATS.items())
        + ". Default: by OUT's suffix, else h264 with --background, else prores",
    )
    group.add_argument(
        "--stabilise",
        type=parse_strength,
        default=0.0,
        metavar="0..1",
        help="take flicker out of the matte; 0.8 suits most clips; 0: every frame by itself (default)",
    )
    group.add_argument("--start", type=float, default=0.0, metavar="SECONDS", help="begin there")
    group.add_argument("--end", type=float, metavar="SECONDS", help="end before there")
    group.add_argument("--frames", type=int, metavar="N", help="at most so many")
    group.add_argument("--every", type=int, default=1, metavar="N", help="one frame of N, without sound")
    group.add_argument(
        "--strict",
        action="store_true",
        help="stop at a frame that cannot be decoded (default: the one before it stays)",
    )
    group.add_argument("--square-pixels", action="store_true", help="stretch frames whose pixels are not square")
    group.add_argument(
        "--after-cut",
        choices=("nothing", "everything"),
        default="nothing",
        help="what is matted from the first cut on, where the hint of a first frame ends (default: nothing)",
    )
    group.add_argument("--no-sound", action="store_true", help="leave the sound away")


def given(args: argparse.Namespace) -> list[str]:
    """The options of clips that args ask for, by name: those that differ from what they are by themselves."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    alone = vars(parser.parse_args([]))
    return [f"--{name.replace('_', '-')}" for name, value in alone.items() if getattr(args, name) != value]


def parse_strength(text: str) -> float:
    try:
        check_strength(float(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no strength: give a number from 0 to 1") from error
    return float(text)


def despill_strength(args: argparse.Namespace) -> float:
    return 1.0 if args.despill_strength is None else args.despill_strength


def is_clip(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES


def plan(
    sources: list[tuple[Path, Path]], args: argparse.Namespace, *, single: bool, pictures: bool = False
) -> list[Job]:
    """Where each (clip, its name below an output folder) goes; a single input may go to a file named by -o. pictures:
    whether there are pictures among the inputs too.

    ValueError when two would share a name, one would replace an input, -o's suffix is not that of the format, or what
    was asked for is only of pictures or of another format.
    """
    if not sources:
        return []
    asked = "--output alpha" if "alpha" in (args.output or ()) else f"--depth {args.depth}" if args.depth != 8 else ""
    if args.format is None and asked:
        raise ValueError(f"{asked} is for pictures; say with --format what clips become, such as mask")
    out = Path(args.out)
    span(args)
    only, single = single, single and names_a_file(args.out)
    format = FORMATS[args.format or _default(out if single else None, args.background is not None)]
    if not (pictures and args.format):  # else the format is for the clips and the rest for the pictures
        _refuse_what_is_not_shown(format, args)
    if single and format.muxer and out.suffix.lower() != format.suffix:
        raise ValueError(f"{out}: the format {format.name} is written as {format.suffix}")
    if single and not format.muxer and out.suffix.lower() == _suffix(format):
        out = out.with_suffix("")  # the folder of the pictures
    jobs = [
        Job(path, name, only, out if single else out / name.with_suffix(format.suffix), format)
        for path, name in sources
    ]
    refuse_clashes((job.source for job in jobs), ((job.source, job.out) for job in jobs))
    return jobs


def span(args: argparse.Namespace) -> Span:
    """Which frames are asked for. ValueError, which names the option, for what cannot be."""
    try:
        return Span(start=args.start, end=args.end, every=args.every, count=args.frames)
    except ValueError as error:
        raise ValueError(f"--{error}".replace("--count", "--frames")) from None


def _refuse_what_is_not_shown(format: Format, args: argparse.Namespace) -> None:
    becomes = f"clips become {format.name}, {format.label}; choose with --format"
    if args.background is not None and format.shows != "composite":
        raise ValueError(f"--background {args.background} would not be seen: {becomes}")
    if args.output and set(args.output) != {format.shows}:
        raise ValueError(f"--output {' --output '.join(args.output)} is for pictures: {becomes}")


def _default(out: Path | None, on_background: bool) -> str:
    if out is not None:
        named = {_suffix(row): name for name, row in reversed(FORMATS.items())}
        if out.suffix.lower() not in named:
            raise ValueError(f"{out}: clips are not written as {out.suffix}, but as {' or '.join(sorted(named))}")
        return named[out.suffix.lower()]
    return DEFAULT_ON_BACKGROUND if on_background else DEFAULT


def _suffix(format: Format) -> str:
    """Of its files, or of the pictures in its folders."""
    return format.suffix or f".{format.codec}"


def run(model: MattingModel, jobs: list[Job], args: argparse.Namespace) -> int:
    """Matte every clip with a bar of progress on stderr. One that fails is reported there in one sentence and the rest
    go on. Returns how many failed, of which this process is to tell.

    Under torchrun, when there are as many clips as processes, every process takes whole clips; else all of them share
    each clip, and the first one tells what failed.
    """
    from ..video.split import place

    failed = 0
    rank, world = place()
    together = len(jobs) < world
    share, tells = ((rank, world), rank == 0) if together else ((), True)
    for job in jobs if together else jobs[rank::world]:
        with notes_to(lambda text: tqdm.write(text, file=sys.stderr)):
            done = attempt(job.source, partial(matte_job, model, job, args, *share), tell=tells)
        failed += tells and not done
    return failed


def matte_job(model: MattingModel, job: Job, args: argparse.Namespace, rank: int = 0, world: int = 1) -> Path:
    from ..video.matte import Look, matte_clip, written_size
    from ..video.split import agreed, matte_together

    def opened() -> tuple:
        clip = Clip(job.source, strict=args.strict)
        full, _ = written_size(clip.info, job.format, args.square_pixels)
        return clip, seen_size(model, clip, args), hints.of_clip(args, job.source, job.name, full, only=job.only)

    clip, size, asked = opened() if world == 1 else agreed(opened)

    def matte(pixels, hint=None, hint_is="anything"):
        edges = {"edges": args.edges, "edge_radius": args.edge_radius}
        return model.predict(pixels, size=size, mode=args.mode, hint=hint, hint_is=hint_is, **edges)

    with tqdm(desc=job.source.name, unit="frame", file=sys.stderr) as bar:

        def show(progress: Progress) -> None:
            bar.total = progress.total
            bar.update(progress.done - bar.n)

        options = {
            "format": job.format,
            "size": size if args.mode == "whole" else None,
            "span": span(args),
            "asked": asked,
            "look": Look(
                args.stabilise,
                background(args),
                bool(args.clean_foreground),
                args.invert,
                args.alpha,
                args.screen,
                args.despill,
                despill_strength(args),
            ),
            "sound": not args.no_sound,
            "square_pixels": args.square_pixels,
            "timecode": not args.strip_metadata,
            "overwrite": args.overwrite,
            "on_progress": show,
        }
        if world > 1:
            return matte_together(clip, job.out, matte, rank=rank, world=world, **options)
        return matte_clip(clip, job.out, matte, **options)


def seen_size(model: MattingModel, clip: Clip, args: argparse.Namespace) -> tuple[int, int]:
    """(width, height) at which the network sees the clip's frames."""
    size = network_size(args.size, model.spec.size, clip.info.shown)
    return fit_inside(clip.info.shown, size) if args.keep_aspect else size


def background(args: argparse.Namespace) -> str | Path:
    """A colour, or the path of a picture or a clip."""
    given = args.background or "white"
    return Path(given) if Path(given).is_file() else given
