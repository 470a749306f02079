"""Pictures of the evaluation: reading photographs and mattes, writing them whole, laying them out on one sheet."""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageOps

from birefnet_core.names import name_of, readable
from birefnet_core.picture_files import READ_SUFFIXES, opened

from .files import write_whole
from .mattes import OPAQUE, Value, read_mask, transparency

PROBED = 20  # pictures of a folder that are looked at


def by_stem(folder: str | Path) -> dict[str, Path]:
    """The picture files of a folder (not of its subfolders) by stem, sorted. ValueError when the folder is missing or
    empty, or when two files share a stem."""
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in READ_SUFFIXES or path.name.startswith("."):
            continue
        if (stem := name_of(path)) in found:
            both = f"both {found[stem].name} and {path.name}"
            raise ValueError(f"{folder} has {both}: pairs are matched by stem, keep one")
        found[stem] = path
    if not found:
        raise ValueError(f"{folder} has no pictures ({', '.join(sorted(READ_SUFFIXES))})")
    return found


def pairs_of(folder: Path) -> list[tuple[str, Path, Path]]:
    """(stem, picture, matte) of a set of im/ and gt/, sorted. ValueError as of `by_stem`, and for a picture without
    its matte."""
    images, truths = by_stem(folder / "im"), by_stem(folder / "gt")
    return [(stem, path, mate(truths, path, folder / "gt")) for stem, path in images.items()]


def mate(files: dict[str, Path], of: Path, folder: Path) -> Path:
    """That of `files`, which are those of `folder` by stem, which has the name of this picture. ValueError for none."""
    if (found := files.get(name_of(of))) is None:
        raise ValueError(f"{of} has no picture of the same name in {folder}")
    return found


def read_image(path: str | Path) -> Image.Image:
    """An RGB photograph in 8 bits, read as the suite reads what it mattes (upright, CMYK and 16 bits converted).
    ValueError naming the file when it cannot be read."""
    from birefnet_core.matting.images import read  # brings torch, which scoring a folder does without

    return Image.fromarray((read(path).pixels * 255).round().byte().numpy())


def read_pair(image: str | Path, matte: str | Path) -> tuple[Image.Image, np.ndarray]:
    """A photograph as of `read_image` and its matte as of `read_matte`. ValueError also if their sizes differ."""
    picture, alpha = read_image(image), read_matte(matte)
    check_sizes(image, picture.size, matte, alpha.shape[::-1])
    return picture, alpha


def check_sizes(image: str | Path, size: tuple[int, ...], matte: str | Path, size_of_matte: tuple[int, ...]) -> None:
    """ValueError, which names both, unless a picture and its matte have one size, (width, height)."""
    if size != size_of_matte:
        first, second = (" x ".join(map(str, sides)) for sides in (size, size_of_matte))
        raise ValueError(f"{image} is {first}, its matte {matte} is {second}")


def are_cutouts(paths: Iterable[Path]) -> bool:
    """Whether the pictures of one folder carry their mattes as transparency: one of the first PROBED shows some.
    ValueError naming a file that cannot be read."""
    return any(_has_transparent_pixels(path) for path in itertools.islice(paths, PROBED))


def _has_transparent_pixels(path: Path) -> bool:
    with opened(path) as picture:
        alpha = transparency(picture)
        return alpha is not None and alpha.getextrema() != OPAQUE


def read_matte(path: str | Path, *, cutout: bool = False, values: Sequence[Value] = ()) -> np.ndarray:
    """A matte as float64 [H, W] in 0..1; `mattes.read_mask` says how it is read.

    Not the suite's reader: that gives float32, in which k / 255 * 255 is not k, and the metrics count levels."""
    levels = read_levels(path, cutout=cutout, values=values)
    return levels / np.iinfo(levels.dtype).max


def read_levels(path: str | Path, *, cutout: bool = False, values: Sequence[Value] = ()) -> np.ndarray:
    """A matte as the file holds it: uint8 or uint16 [H, W], read as by `mattes.read_mask`, whether it is one or not."""
    return read_mask(path, cutout=cutout, values=values).levels


def to_grey(matte: np.ndarray) -> Image.Image:
    """A matte [H, W] in 0..1 as an 8-bit picture, rounded to the nearest level."""
    return Image.fromarray(np.rint(np.clip(matte, 0, 1) * 255).astype(np.uint8))


def solid_box(cutout: Image.Image, faint: int = 8) -> tuple[int, int, int, int] | None:
    """(left, top, right, bottom) of what has more alpha than `faint` of 255 in an RGBA picture, None for nothing."""
    return cutout.getchannel("A").point(lambda alpha: 255 * (alpha > faint)).getbbox()


def picture_to_write(text: str) -> Path:
    """The type of an option that names a picture to be written: an error at once, not after hours of measuring, where
    its suffix names no format."""
    path = Path(text)
    if Image.registered_extensions().get(path.suffix.lower()) not in Image.SAVE:
        raise argparse.ArgumentTypeError(f"{text} names no kind of picture that can be written: give a .jpg or .png")
    return path


def save_picture(picture: Image.Image, path: str | Path) -> None:
    """Write a picture whole or not at all; the suffix of `path` names the format. Missing folders are made."""
    write_whole(path, lambda temporary: picture.save(temporary, quality=92))


def contact_sheet(
    rows: Sequence[tuple[str, Sequence[Image.Image]]], *, across: int = 1, cell: int = 192
) -> Image.Image:
    """Lay out labelled strips of pictures on one sheet to look at.

    `rows`: (label, pictures side by side), each picture shrunk or enlarged to fit `cell` x `cell` pixels; `across`
    strips stand beside each other. Returns an RGB picture. ValueError without rows.
    """
    if not rows:
        raise ValueError("a contact sheet needs at least one picture")
    caption, gap = 14, 4
    wide = max(len(pictures) for _, pictures in rows) * cell + 3 * gap
    high = cell + caption + gap
    sheet = Image.new("RGB", (across * wide, -(-len(rows) // across) * high), (32, 32, 32))
    draw = ImageDraw.Draw(sheet)
    for index, (label, pictures) in enumerate(rows):
        left, top = index % across * wide, index // across * high
        draw.text((left + 2, top + 1), readable(label), fill=(235, 235, 235))
        for column, picture in enumerate(pictures):
            sheet.paste(ImageOps.contain(picture.convert("RGB"), (cell, cell)), (left + column * cell, top + caption))
    return sheet
