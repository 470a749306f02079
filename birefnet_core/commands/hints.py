"""Which subject, said on the command line: `--hint`, `--box` and `--point`."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING

from ..picture_files import READ_SUFFIXES, is_hidden

if TYPE_CHECKING:
    from torch import Tensor


def add_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("which subject")
    group.add_argument(
        "--hint",
        type=parse_place,
        metavar="MASK|DIR",
        help="a mask of what is asked for, white = belongs to it, perfect or not; or a folder with a mask of the same "
        "name, whatever its suffix, for each input",
    )
    group.add_argument(
        "--box",
        action="append",
        type=parse_box,
        metavar="X,Y,W,H",
        help="what is asked for lies within, in pixels; repeatable",
    )
    group.add_argument(
        "--point", action="append", type=parse_point, metavar="X,Y", help="the one at this pixel; repeatable"
    )


def parse_place(text: str) -> Path:
    if not Path(text).exists():
        raise argparse.ArgumentTypeError(f"{text!r} is no mask and no folder: it does not exist")
    return Path(text)


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
    from ..matting.hint import draw_boxes, draw_points
    from ..matting.masks import fit

    if not given(args):
        return None
    drawn = []
    if args.box:
        drawn.append(draw_boxes(args.box, size))
    if args.point:
        drawn.append(draw_points(args.point, size))
    if args.hint is not None:
        hint = read_hint(mask_of(args.hint, name))
        if not drawn:
            return hint[None]
        drawn.append(fit(hint[None], *drawn[0].shape)[0])
    together = drawn[0]
    for other in drawn[1:]:
        together = together.maximum(other)
    return together[None]


def mask_of(place: Path, name: Path) -> Path:
    """`place`, or the mask in that folder that belongs to the picture called `name`. ValueError without exactly one."""
    if not place.is_dir():
        return place
    folder = place / name.parent
    found = [path for path in folder.glob("*") if path.stem == name.stem and _is_picture(path)]
    if not found:
        raise ValueError(f"there is no mask for it in {folder}")
    if len(found) > 1:
        raise ValueError(f"{folder} has several masks for it: {', '.join(sorted(path.name for path in found))}")
    return found[0]


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in READ_SUFFIXES and not is_hidden(path, path.parent)


def read_hint(path: Path) -> Tensor:
    """The hint [h, w] 0..1 in a picture file: where it is transparent in parts that, 1 = opaque, else its brightness.
    ImageError for a file that cannot be read."""
    from ..matting import images

    picture = images.read(path)
    if picture.alpha is not None and picture.alpha.min() < 1:
        return picture.alpha
    return picture.pixels.mean(dim=-1)
