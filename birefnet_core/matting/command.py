"""`python -m birefnet_core matte IN... -o OUT`: mattes of picture files and of clips (video.command)."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from ..video import command as video
from .colour_names import parse_colour
from .inputs import find, left_out
from .outputs import WRITE_OPTIONS, refuse_clashes, refuse_existing, write_options
from .size import MODES, checked, fit_inside, network_size

if TYPE_CHECKING:
    from .model import MattingModel

KINDS = ("cutout", "alpha", "composite")


@dataclass(frozen=True)
class Job:
    """One picture: where it is, and where each kind of output goes."""

    source: Path
    outputs: dict[str, Path]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "inputs", nargs="+", metavar="IN", help="pictures, clips, folders, or patterns such as 'in/*.jpg'"
    )
    parser.add_argument("-o", "--out", required=True, metavar="OUT", help="a file for one input, else a folder")
    parser.add_argument(
        "--output",
        action="append",
        choices=KINDS,
        help="cutout: the picture with transparency; alpha: grey, white = foreground; composite: on --background. "
        "Repeatable, names then end in _cutout, _alpha, _composite (default: cutout)",
    )
    parser.add_argument(
        "--background",
        type=parse_background,
        metavar="COLOUR",
        help="composite on this, '#rrggbb' or a name; clips also on a picture file",
    )
    parser.add_argument(
        "--suffix",
        type=parse_suffix,
        metavar="SUFFIX",
        help="as what pictures are written into a folder: png (default), webp, of composites also jpg; a kind that is "
        "not written so stays png",
    )
    parser.add_argument(
        "--strip-metadata",
        action="store_true",
        help="leave out resolution, EXIF (camera, dates, the GPS position), XMP and timecode, which are kept otherwise "
        "where the output has a place for them",
    )
    parser.add_argument("--depth", type=int, choices=(8, 16), default=8, help="bits of the alpha picture (default: 8)")
    parser.add_argument("--invert", action="store_true", help="keep the background instead of the foreground")
    parser.add_argument(
        "--clean-foreground",
        action=argparse.BooleanOptionalAction,
        help="take the old background's colour out of soft edges (default: for pictures yes, for clips no)",
    )
    parser.add_argument("--model", default="bundled", help="bundled, a published name or a file (default: bundled)")
    parser.add_argument("--models-dir", type=Path, help="where downloaded models are (default: models/ in the pack)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, mps, ... (default: auto)")
    parser.add_argument("--dtype", default="auto", choices=("auto", "float32", "float16", "bfloat16"))
    parser.add_argument("--patch-order", default="auto", choices=("auto", "2024", "2025"))
    parser.add_argument(
        "--size",
        type=parse_size,
        metavar="N|WxH",
        help="at which the network sees the picture (default: the model's own)",
    )
    parser.add_argument(
        "--mode", choices=MODES, default="whole", help="locate: a second, close look at small subjects (default: whole)"
    )
    parser.add_argument("--keep-aspect", action="store_true", help="fit the picture's aspect inside the size")
    parser.add_argument("--recursive", action="store_true", help="folders with their sub-folders")
    parser.add_argument("--overwrite", action="store_true", help="replace outputs that exist (an input never is)")
    video.add_arguments(parser)


def parse_background(text: str) -> str:
    if Path(text).is_file():
        return text
    try:
        parse_colour(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no file and no colour such as '#rrggbb' or white") from error
    return text


def parse_suffix(text: str) -> str:
    suffix = f".{text.lower().removeprefix('.')}"
    known = {suffix for options in WRITE_OPTIONS.values() for suffix in options}
    if suffix not in known:
        names = ", ".join(sorted(known))
        raise argparse.ArgumentTypeError(f"{text!r} is no suffix that pictures are written with: {names}")
    return suffix


def parse_size(text: str) -> int | tuple[int, int]:
    sides = text.lower().split("x")
    try:
        numbers = tuple(int(side) for side in sides)
        return checked(numbers[0] if len(numbers) == 1 else numbers)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no size: give 1024 for a square or 2560x1440") from error


def run(args: argparse.Namespace) -> int:
    """Exit code: 0 when every picture and clip was written, 1 when some were not.

    Raises ValueError or OSError, in one sentence, when nothing can be begun: no inputs, two that would share an output,
    an output that would replace an input, a model that does not load.
    """
    from ..progress import byte_bar
    from ..weights.places import locate

    sources, unmatched = find(args.inputs, recursive=args.recursive)
    as_clip = args.format is not None and len(sources) == 1
    found = [source for source in sources if as_clip or video.is_clip(source[0])]
    pictures = [source for source in sources if source not in found]
    if pictures and args.background and Path(args.background).is_file():
        raise ValueError(f"--background {args.background}: pictures go on a colour, only clips on a picture")
    jobs = plan(pictures, args.out, kinds(args), single=len(sources) == 1, suffix=args.suffix or ".png")
    clips = video.plan(found, args, single=len(sources) == 1, pictures=bool(pictures))
    refuse_idle(args, pictures=bool(pictures), clips=bool(found), single=len(sources) == 1)
    for pattern in unmatched:
        print(f"{pattern}: no pictures or clips there", file=sys.stderr)
    if not any(source.exists() for source, _ in sources):
        for source, _ in sources:
            print(f"{source} does not exist", file=sys.stderr)
        return 1
    weights = locate(args.model, args.models_dir, byte_bar(str(args.model)))
    # Imported only now: they bring torch, and what is wrong with the arguments was told without it.
    from ..video.split import own_device, place
    from ..weights.load import load_model

    model = load_model(weights, device=own_device(args.device), dtype=args.dtype, patch_order=args.patch_order)
    rank, world = place()
    for text in left_out(args.inputs, recursive=args.recursive) if rank == 0 else ():
        print(text, file=sys.stderr)
    jobs = jobs[rank::world]
    failed = video.run(model, clips, args)
    if clips:
        print(f"{len(clips) - failed} of {len(clips)} clips matted into {args.out}")
    if not jobs:
        return 1 if failed or unmatched else 0
    failed_pictures = matte_files(
        model,
        jobs,
        size=args.size,
        mode=args.mode,
        keep_aspect=args.keep_aspect,
        background=args.background or "white",
        depth=args.depth,
        invert=args.invert,
        clean_foreground=args.clean_foreground is not False,
        metadata=not args.strip_metadata,
        overwrite=args.overwrite,
    )
    print(f"{len(jobs) - failed_pictures} of {len(jobs)} pictures matted into {args.out}")
    return 1 if failed or failed_pictures or unmatched else 0


def refuse_idle(args: argparse.Namespace, *, pictures: bool, clips: bool, single: bool) -> None:
    """ValueError for options that nothing among the inputs obeys: of clips without clips, of pictures without any."""
    idle = []
    if not clips:
        idle, kind = video.given(args), "clips"
    elif not pictures:
        idle = [name for name, given in (("--depth", args.depth != 8), ("--suffix", args.suffix)) if given]
        kind = "pictures"
    if idle:
        raise ValueError(f"{' '.join(idle)}: only for {kind}, and there are none among the inputs")
    if args.suffix and single and names_a_file(args.out):
        raise ValueError(f"--suffix {args.suffix} is for folders: -o {args.out} names the file itself")


def kinds(args: argparse.Namespace) -> list[str]:
    """The kinds of output asked for; --background stands for a composite, --depth 16 for alpha."""
    asked = set(args.output or ())
    if args.background is not None:
        asked.add("composite")
    if args.depth == 16:
        asked.add("alpha")
    return [kind for kind in KINDS if kind in asked] or ["cutout"]


def plan(
    sources: list[tuple[Path, Path]], out: str, kinds: list[str], *, single: bool = False, suffix: str = ".png"
) -> list[Job]:
    """Where everything goes. Raises ValueError when two outputs would share a name or one would replace an input, or
    when a kind is not written with its suffix."""
    jobs = [Job(source, outputs(name, single, out, kinds, suffix)) for source, name in sources]
    for job in jobs:
        for kind, path in job.outputs.items():
            write_options(path, kind)
    written = ((job.source, path) for job in jobs for path in job.outputs.values())
    refuse_clashes((source for source, _ in sources), written)
    return jobs


def names_a_file(out: str) -> bool:
    """Whether -o, given for one input, is the output itself rather than a folder for it."""
    return bool(Path(out).suffix) and not out.endswith(("/", os.sep)) and not Path(out).is_dir()


def outputs(name: Path, single: bool, out: str, kinds: list[str], suffix: str = ".png") -> dict[str, Path]:
    """The output of each kind for the picture called name; single: it is the only input, and may go to a file. suffix:
    of files in a folder."""
    single = single and names_a_file(out)
    base = Path(out) if single else Path(out) / name.with_suffix(suffix)
    if len(kinds) == 1:
        return {kinds[0]: base}
    suffix = base.suffix.lower()
    suffixes = {kind: suffix if suffix in WRITE_OPTIONS[kind] else ".png" for kind in kinds}
    return {kind: base.with_name(f"{base.stem}_{kind}{suffixes[kind]}") for kind in kinds}


def matte_files(model: MattingModel, jobs: list[Job], **options) -> int:
    """Matte and write every job, options as of matte_file, with a progress bar on stderr.

    A job that fails is reported there in one sentence and the rest go on. Returns how many failed.
    """
    failed = 0
    with tqdm(jobs, unit="picture", file=sys.stderr) as progress:
        for job in progress:
            try:
                matte_file(model, job, **options)
            except (ValueError, OSError, RuntimeError, ArithmeticError, MemoryError) as error:
                failed += 1
                text = str(error) or type(error).__name__
                tqdm.write(text if str(job.source) in text else f"{job.source}: {text}", file=sys.stderr)
    return failed


def matte_file(
    model: MattingModel,
    job: Job,
    *,
    size: int | tuple[int, int] | None = None,
    mode: str = "whole",
    keep_aspect: bool = False,
    background: str = "white",
    depth: int = 8,
    invert: bool = False,
    clean_foreground: bool = True,
    metadata: bool = True,
    overwrite: bool = False,
) -> None:
    """Read, matte and write one picture. What was transparent in the file is transparent in its mattes.

    size, mode: as of MattingModel.predict; with keep_aspect, size is the box inside which the picture's aspect is
    fitted. background: of a composite. depth: bits of an alpha picture. invert: keep the background.
    clean_foreground: take the old background's colour out of the soft edges of cut-outs and composites. metadata: keep
    the file's resolution, EXIF and XMP. overwrite: replace existing outputs.
    """
    from . import images
    from .foreground import estimate_foreground

    for path in job.outputs.values():
        refuse_existing(path, overwrite)
    picture = images.read(job.source)
    height, width = picture.pixels.shape[:2]
    if keep_aspect:
        size = fit_inside((width, height), network_size(size, model.spec.size, (width, height)))
    alpha = model.predict(picture.pixels[None], size=size, mode=mode)[0]
    if invert:
        alpha = 1 - alpha
    pixels, own = picture.pixels, picture.alpha
    if clean_foreground and job.outputs.keys() - {"alpha"}:
        pixels = estimate_foreground(pixels[None], alpha[None], None if own is None else own[None])[0]
    if own is not None:
        alpha = alpha * own
    saving = {"metadata": picture.metadata if metadata else images.NOTHING, "overwrite": overwrite}
    for kind, path in job.outputs.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        if kind == "alpha":
            images.write_alpha(path, alpha, depth=depth, **saving)
        elif kind == "cutout":
            images.write_cutout(path, pixels, alpha, icc_profile=picture.icc_profile, **saving)
        else:
            images.write_composite(path, pixels, alpha, background, icc_profile=picture.icc_profile, **saving)
