"""Which subject, said on the command line: `--hint`, `--box` and `--point`."""

from __future__ import annotations

import argparse
import math
import os
import re
from collections.abc import Collection, Sequence
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING

from ..names import entry, name_of
from ..picture_files import READ_SUFFIXES, ImageError, is_hidden
from ..video.source import SUFFIXES as CLIPS
from ..video.source import is_clip_file

if TYPE_CHECKING:
    from torch import Tensor

    from ..video.asked import Asked, Hints


def add_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("which subject")
    group.add_argument(
        "--hint",
        type=parse_place,
        metavar="MASK|CLIP|DIR",
        help="a mask of what is asked for, white = belongs to it, perfect or not; or a folder with a mask of the same "
        "name, whatever its suffix, for each input. Of a clip it is that of the first frame, which is carried along; a "
        "clip of masks has one for each frame, as has a folder of that name, or DIR itself for a single clip, in the "
        "order of their numbers",
    )
    group.add_argument(
        "--box",
        action="append",
        type=parse_box,
        metavar="X,Y,W,H",
        help="what is asked for lies within, in pixels, of a clip in its first frame; repeatable",
    )
    group.add_argument(
        "--point", action="append", type=parse_point, metavar="X,Y", help="the one at this pixel; repeatable"
    )


def parse_place(text: str) -> Path:
    if not is_there(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no mask and no folder: it does not exist")
    return Path(text)


def is_there(text: str) -> bool:
    """Whether there is such a file or folder; ArgumentTypeError where that cannot be told."""
    try:
        return Path(text).exists()
    except OSError as error:  # too long for a name, or in a folder that may not be entered
        raise argparse.ArgumentTypeError(f"{text!r} cannot be looked at: {error.strerror}") from error


def parse_box(text: str) -> tuple[float, ...]:
    box = parse_numbers(text, "x,y,w,h")
    if min(box[2:]) <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no box: its width and height must be positive")
    return box


def parse_point(text: str) -> tuple[float, ...]:
    point = parse_numbers(text, "x,y")
    if min(point) < 0:
        raise argparse.ArgumentTypeError(f"{text!r} is in no picture: x and y begin at 0")
    return point


def parse_numbers(text: str, form: str) -> tuple[float, ...]:
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) != form.count(",") + 1 or not all(map(math.isfinite, numbers)):
        raise argparse.ArgumentTypeError(f"{text!r} is not {form}, numbers of pixels")
    return numbers


def given(args: argparse.Namespace) -> bool:
    return bool(args.hint or args.box or args.point)


def check(args: argparse.Namespace, *, single: bool) -> None:
    """ValueError when one mask is to serve several inputs."""
    if args.hint is not None and not args.hint.is_dir() and not single:
        raise ValueError(f"--hint {args.hint} is for one input: name a folder with a mask for each")


def of_picture(args: argparse.Namespace, name: Path, size: tuple[int, int]) -> Tensor | None:
    """The hint [1, h, w] 0..1 that args ask for in the picture called `name` below its folder, of size (width, height):
    what mask, boxes and points say together; None when nothing is said. ValueError for a mask that is missing or cannot
    be read, and for a box or point outside the picture."""

    if not given(args):
        return None
    return _together(args, None if args.hint is None else read_hint(mask_of(args.hint, name)), size)


def of_clip(args: argparse.Namespace, source: Path, name: Path, size: tuple[int, int], *, only: bool) -> Asked | None:
    """What args ask for of the clip `source`, called `name` below its folder, whose frames are written in size (width,
    height); None: everything. only: whether it is the only input. Errors as of of_picture."""
    from ..video.asked import Asked

    if not given(args):
        return None
    hints = None if args.hint is None else hints_of(args.hint, source, name, only=only, strict=args.strict)
    if hints is not None and len(hints) > 1:
        if args.box or args.point:
            raise ValueError(f"--box and --point are of the first frame, and {args.hint} has {len(hints)} masks for it")
        if args.after_cut != "nothing":
            raise ValueError(f"--after-cut {args.after_cut} does nothing, since {args.hint} has a mask for each frame")
        return Asked(hints, args.after_cut)
    return Asked(_together(args, hints[0] if hints else None, size), args.after_cut)


def _together(args: argparse.Namespace, hint: Tensor | None, size: tuple[int, int]) -> Tensor:
    """What a mask [h, w], boxes and points say together: [1, h, w]."""
    from ..matting.hint import draw_boxes, draw_points, joined

    if not (args.box or args.point):
        return hint[None]
    drawn = draw_boxes(args.box or (), size).maximum(draw_points(args.point or (), size))[None]
    return drawn if hint is None else joined(hint[None], drawn)


def hints_of(place: Path, source: Path, name: Path, *, only: bool, strict: bool = False) -> Hints:
    """The hints of the clip `source`: those of a clip of masks, or in files. strict: as of Clip. VideoError, and errors
    as of frames_of."""
    from ..video.hint_clip import HintClip
    from ..video.read import Clip

    paths = frames_of(place, source, name, only=only)
    if len(paths) == 1 and is_clip_file(paths[0]):
        return HintClip(Clip(paths[0], strict=strict))
    return HintFiles(paths)


def frames_of(place: Path, source: Path, name: Path, *, only: bool) -> list[Path]:
    """The masks of the clip `source`, called `name`, in the order of their numbers: `place` itself, or in that folder
    the picture of the clip's name, or those in a folder of its name; of the only input else all that are there; else
    the other clip of its name. ValueError without.
    """
    if not place.is_dir():
        return [place]
    folder = _folder_of(place, name)
    own = entry(folder, name.stem)
    if not own.is_dir() and (found := _named(folder, name, READ_SUFFIXES)):
        return [_only(found, folder)]
    inside = own if own.is_dir() else place if only else None
    paths = [path for path in inside.iterdir() if _is_one_of(path, READ_SUFFIXES)] if inside else []
    if not paths and own.is_dir():
        raise ValueError(f"there is no mask for it in {own}")
    in_order = sorted(paths, key=lambda path: ([int(digits) for digits in re.findall(r"\d+", path.stem)], path.name))
    return in_order or [_clip_of(folder, source, name)]


def _clip_of(folder: Path, source: Path, name: Path) -> Path:
    """The clip of masks in a folder for the clip `source`, called `name`, which is another than that. ValueError
    without exactly one."""
    found = [path for path in _named(folder, name, CLIPS) if os.path.realpath(path) != os.path.realpath(source)]
    return _only(found, folder)


class HintFiles(Sequence):
    """The hints [h, w] in files, each read when it is asked for."""

    def __init__(self, paths: list[Path]) -> None:
        self._paths = paths

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int | slice) -> Tensor | HintFiles:
        found = self._paths[index]
        return HintFiles(found) if isinstance(index, slice) else read_hint(found)


def mask_of(place: Path, name: Path) -> Path:
    """`place`, or the mask in that folder that belongs to the input called `name`. ValueError without exactly one."""
    if not place.is_dir():
        return place
    folder = _folder_of(place, name)
    return _only(_named(folder, name, READ_SUFFIXES), folder)


def _only(found: list[Path], folder: Path) -> Path:
    if not found:
        raise ValueError(f"there is no mask for it in {folder}")
    if len(found) > 1:
        raise ValueError(f"{folder} has several masks for it: {', '.join(sorted(path.name for path in found))}")
    return found[0]


def _folder_of(place: Path, name: Path) -> Path:
    """Where in a folder of masks those of the input called `name` are."""
    return reduce(entry, name.parent.parts, place)


def _named(folder: Path, name: Path, suffixes: Collection[str]) -> list[Path]:
    """The masks in it of the input called `name`, none where there is no such folder; OSError, with the folder's name,
    where that may not be read."""
    inside = folder.iterdir() if folder.is_dir() else ()
    return [path for path in inside if name_of(path) == name_of(name) and _is_one_of(path, suffixes)]


def _is_one_of(path: Path, suffixes: Collection[str]) -> bool:
    return path.suffix.lower() in suffixes and not is_hidden(path, path.parent)


def read_hint(path: Path) -> Tensor:
    """The hint [h, w] 0..1 in a picture file: where it is transparent in parts that, 1 = opaque, else its brightness.
    ImageError for a file that cannot be read, and for one that moves."""
    from ..matting import images

    if is_clip_file(path):
        raise ImageError(f"{path} moves, and the hint of a picture, or of one frame, is one picture")
    picture = images.read(path)
    if picture.alpha is not None and picture.alpha.min() < 1:
        return picture.alpha
    return picture.pixels.mean(dim=-1)
