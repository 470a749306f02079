"""`python -m birefnet_core matte IN... -o OUT`: its arguments, and which inputs are pictures (pictures.py) and which
clips (clips.py)."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

from ..matting.colour_names import parse_colour
from ..matting.outputs import PREMULTIPLIED, STRAIGHT, WRITE_OPTIONS
from ..matting.screens_asked import SCREENS, check_screens
from ..matting.size import DRAWN_RADIUS, EDGES, LARGEST_SIDE, MODES, checked, edge_radius, idle_radius
from . import clips, hints, pictures
from .clips import given as clip_options
from .inputs import find, left_out
from .models import add_models_dir, add_patch_order
from .outputs import check_out, names_a_file


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "inputs", nargs="+", metavar="IN", help="pictures, clips, folders, or patterns such as 'in/*.jpg'"
    )
    parser.add_argument("-o", "--out", required=True, metavar="OUT", help="a file for one input, else a folder")
    parser.add_argument(
        "--output",
        action="append",
        choices=pictures.KINDS,
        help="cutout: the picture with transparency; alpha: grey, white = foreground; composite: on --background. "
        "Repeatable, names then end in _cutout, _alpha, _composite (default: cutout)",
    )
    parser.add_argument(
        "--background",
        type=parse_background,
        metavar="COLOUR|FILE",
        help="composite on this: '#rrggbb', a name or a picture; clips also on a clip, which starts over at its end",
    )
    parser.add_argument(
        "--suffix",
        type=parse_suffix,
        metavar="SUFFIX",
        help="as what pictures are written into a folder: png (default) or webp, cut-outs also tif and exr, composites "
        "also jpg; a kind that is not written so stays png",
    )
    parser.add_argument(
        "--strip-metadata",
        action="store_true",
        help="leave out resolution, EXIF (camera, dates, the GPS position), XMP and timecode, which are kept otherwise "
        "where the output has a place for them",
    )
    parser.add_argument(
        "--depth",
        type=int,
        choices=(8, 16),
        default=8,
        help="bits of the alpha picture, and with --output cutout or --suffix tif of the cut-out (default: 8)",
    )
    parser.add_argument(
        "--alpha",
        choices=(STRAIGHT, PREMULTIPLIED),
        help="whether the colours of cut-outs are darkened by alpha, where the format allows both: tif, exr, prores "
        "(default: premultiplied in exr, straight elsewhere)",
    )
    parser.add_argument("--trim", action="store_true", help="cut pictures down to their subject")
    parser.add_argument(
        "--square",
        type=parse_margin,
        nargs="?",
        const=0.0,
        metavar="PERCENT",
        help="pad pictures to a square, with a margin of so much of their longer side (default: none)",
    )
    parser.add_argument(
        "--invert",
        action="store_true",
        help="keep the background instead of the foreground; not with --screen or --despill",
    )
    parser.add_argument(
        "--clean-foreground",
        action=argparse.BooleanOptionalAction,
        help="take the old background's colour out of soft edges (default: for pictures yes, for clips no)",
    )
    parser.add_argument(
        "--screen",
        choices=SCREENS,
        default="off",
        help="key by a green or blue screen, with the network's matte as the guide; auto: as the background shows",
    )
    parser.add_argument(
        "--despill",
        choices=SCREENS,
        default="off",
        help="take only the light of a green or blue screen off the subject (--screen does that too; beside it this is "
        "for what shows no screen to it)",
    )
    parser.add_argument(
        "--despill-strength",
        type=clips.parse_strength,
        metavar="0..1",
        help="how much of the screen's colour --despill and --screen take out (default: 1)",
    )
    parser.add_argument("--model", default="bundled", help="bundled, a published name or a file (default: bundled)")
    add_models_dir(parser)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, mps, ... (default: auto)")
    parser.add_argument(
        "--dtype",
        default="auto",
        choices=("auto", "float32", "float16", "bfloat16"),
        help="precision of the network (default: auto, half where the device is fast and right at it)",
    )
    add_patch_order(parser)
    parser.add_argument(
        "--size",
        type=parse_size,
        metavar="N|WxH",
        help="at which the network sees the picture (default: the model's own)",
    )
    parser.add_argument(
        "--mode",
        choices=MODES,
        default="whole",
        help="locate: a second, close look at small subjects; detail: edges and hair of large pictures before even "
        "backgrounds again, in their own pixels (default: whole)",
    )
    parser.add_argument(
        "--edges",
        choices=EDGES,
        default="auto",
        help="drawn: after the picture's own pixels, for any model; off: as the network gives them (default: auto, as "
        "the model says)",
    )
    parser.add_argument(
        "--edge-radius",
        type=int,
        metavar="PIXELS",
        help=f"how far drawn edges may move, at the network's size (default: the model's own, else {DRAWN_RADIUS})",
    )
    parser.add_argument("--keep-aspect", action="store_true", help="fit the picture's aspect inside the size")
    parser.add_argument("--recursive", action="store_true", help="folders with their sub-folders")
    parser.add_argument("--overwrite", action="store_true", help="replace outputs that exist (an input never is)")
    hints.add_arguments(parser)
    clips.add_arguments(parser)


def parse_background(text: str) -> str:
    if hints.is_there(text) and Path(text).is_file():
        return text
    try:
        parse_colour(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no file and no colour such as '#rrggbb' or white") from error
    return text


def parse_margin(text: str) -> float:
    try:
        percent = float(text.removesuffix("%"))
    except ValueError:
        percent = -1
    if not 0 <= percent <= 100:
        raise argparse.ArgumentTypeError(f"{text!r} is no margin: give percent of the longer side, 0 to 100")
    return percent / 100


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
        raise argparse.ArgumentTypeError(
            f"{text!r} is no size: give 1024 for a square or 2560x1440, at most {LARGEST_SIDE} a side"
        ) from error


def run(args: argparse.Namespace) -> int:
    """Exit code: 0 when every picture and clip was written, 1 when some were not.

    Raises ValueError or OSError, in one sentence, when nothing can be begun: no inputs, two that would share an output,
    an output that would replace an input, a model that does not load.
    """
    from ..progress import byte_bar
    from ..weights.places import locate

    sources, unmatched = find(args.inputs, recursive=args.recursive, out=args.out)
    check_out(args.out, single=len(sources) == 1)
    as_clip = args.format is not None and len(sources) == 1
    moving = [source for source in sources if as_clip or clips.is_clip(source[0])]
    still = [source for source in sources if source not in moving]
    if still and args.background and clips.is_clip(Path(args.background)) and Path(args.background).is_file():
        raise ValueError(f"--background {args.background}: pictures go on a colour or a picture, only clips on a clip")
    single = len(sources) == 1
    if args.edges == "off" and (idle := idle_radius("off", args.edge_radius, 0)):
        raise ValueError(f"--edge-radius: {idle}")
    try:
        edge_radius(args.edges, args.edge_radius, 0)
    except ValueError as error:
        raise ValueError(str(error).replace("edge_radius", "--edge-radius")) from None
    hints.check(args, single=single)
    check_screens(args.screen, args.despill, args.invert)
    picture_jobs = pictures.plan(
        still,
        args.out,
        pictures.kinds(args),
        single=single,
        suffix=args.suffix or ".png",
        depth=args.depth,
        alphas=args.alpha,
    )
    clip_jobs = clips.plan(moving, args, single=single, pictures=bool(still))
    if args.alpha and not moving and not any("cutout" in job.outputs for job in picture_jobs):
        raise ValueError(f"--alpha {args.alpha} is for cut-outs: add --output cutout")
    if args.after_cut != "nothing" and moving and not hints.given(args):
        raise ValueError(f"--after-cut {args.after_cut} does nothing without a hint: add --hint, --box or --point")
    refuse_idle(args, pictures=bool(still), clips=bool(moving), single=single)
    coloured = [job for job in picture_jobs if job.outputs.keys() != {"alpha"}]
    refuse_colourless(args, bool(coloured) or any(job.format.shows != "alpha" for job in clip_jobs))
    for pattern in unmatched:
        print(f"{pattern}: no pictures or clips there", file=sys.stderr)
    if not any(source.exists() for source, _ in sources):
        for source, _ in sources:
            print(f"{source} does not exist", file=sys.stderr)
        return 1
    weights = locate(args.model, args.models_dir, byte_bar(str(args.model)))
    # Imported only now: they bring torch, and what is wrong with the arguments was said without it.
    from ..matting import images
    from ..matting.load import load_model
    from ..video.split import from_all, own_device, place

    background = clips.background(args)
    if picture_jobs and isinstance(background, Path):
        background = images.read(background)
        if text := background.coding and background.coding.behind(args.background):
            print(text, file=sys.stderr)
    model = load_model(weights, device=own_device(args.device), dtype=args.dtype, patch_order=args.patch_order)
    if idle := idle_radius(args.edges, args.edge_radius, model.spec.edge_radius):
        raise ValueError(f"--edge-radius: {idle}")
    rank, world = place()
    from_all(None)  # before the work: where they do not meet, it is for nothing
    for text in left_out(args.inputs, recursive=args.recursive, out=args.out) if rank == 0 else ():
        print(text, file=sys.stderr)
    failed_clips = clips.run(model, clip_jobs, args)
    failed_pictures = pictures.matte_files(
        model,
        picture_jobs[rank::world],
        size=args.size,
        mode=args.mode,
        edges=args.edges,
        edge_radius=args.edge_radius,
        keep_aspect=args.keep_aspect,
        background=background,
        depth=args.depth,
        alphas=args.alpha,
        trim=args.trim,
        square=args.square,
        invert=args.invert,
        clean_foreground=args.clean_foreground is not False,
        screen=args.screen,
        despill=args.despill,
        despill_strength=clips.despill_strength(args),
        metadata=not args.strip_metadata,
        overwrite=args.overwrite,
        hint_of=partial(hints.of_picture, args),
    )
    # Waits for all processes, and the first one speaks for all: torchrun stops the others where one ends in an error.
    failed_clips, failed_pictures = (sum(counts) for counts in zip(*from_all((failed_clips, failed_pictures))))
    if rank > 0:
        return 0
    if clip_jobs:
        into = clip_jobs[0].out if single and names_a_file(args.out) else args.out  # pictures go into a folder
        print(f"{len(clip_jobs) - failed_clips} of {len(clip_jobs)} clips matted into {into}")
    if picture_jobs:
        print(f"{len(picture_jobs) - failed_pictures} of {len(picture_jobs)} pictures matted into {args.out}")
    return 1 if failed_clips or failed_pictures or unmatched else 0


def refuse_idle(args: argparse.Namespace, *, pictures: bool, clips: bool, single: bool) -> None:
    """ValueError for options that nothing among the inputs obeys: of clips without clips, of pictures without any."""
    idle = []
    if not clips:
        idle, kind = clip_options(args), "clips"
    elif not pictures:
        asked = {"--depth": args.depth != 8, "--suffix": args.suffix, "--trim": args.trim}
        idle = [name for name, given in (asked | {"--square": args.square is not None}).items() if given]
        kind = "pictures"
    if idle:
        raise ValueError(f"{' '.join(idle)}: only for {kind}, and there are none among the inputs")
    if args.suffix and single and names_a_file(args.out):
        raise ValueError(f"--suffix {args.suffix} is for folders: -o {args.out} names the file itself")


def refuse_colourless(args: argparse.Namespace, coloured: bool) -> None:
    """ValueError for options of colours where nothing written has any, or for the strength of no despill."""
    asked = {
        "--despill": args.despill != "off",
        "--despill-strength": args.despill_strength is not None,
        "--clean-foreground": args.clean_foreground,
        "--no-clean-foreground": args.clean_foreground is False,
    }
    idle = [name for name, given in asked.items() if given]
    if idle and not coloured:
        raise ValueError(f"{' '.join(idle)}: only for colours, and what is written has none, only alpha")
    if args.despill_strength is not None and (args.screen, args.despill) == ("off", "off"):
        raise ValueError(f"--despill-strength {args.despill_strength:g}: add --despill or --screen, else there is none")
