"""Pictures of the evaluation: reading photographs and mattes, writing them whole, laying them out on one sheet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageOps

from train.files import write_whole

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"}


def by_stem(folder: str | Path) -> dict[str, Path]:
    """The picture files of a folder (not of its subfolders) by stem, sorted. ValueError when the folder is missing or
    empty, or when two files share a stem."""
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in SUFFIXES or path.name.startswith("."):
            continue
        if path.stem in found:
            both = f"both {found[path.stem].name} and {path.name}"
            raise ValueError(f"{folder} has {both}: pairs are matched by stem, keep one")
        found[path.stem] = path
    if not found:
        raise ValueError(f"{folder} has no pictures ({', '.join(sorted(SUFFIXES))})")
    return found


def read_image(path: str | Path) -> Image.Image:
    """An RGB photograph in 8 bits, read as the suite reads what it mattes (upright, CMYK and 16 bits converted).
    ValueError naming the file when it cannot be read."""
    from birefnet_core.matting.images import read  # brings torch, which scoring a folder does without

    return Image.fromarray((read(path).pixels * 255).round().byte().numpy())


def read_matte(path: str | Path) -> np.ndarray:
    """A matte as float64 [H, W] in 0..1; `read_levels` says how it is read.

    Not the suite's reader: that gives float32, in which k / 255 * 255 is not k, and the metrics count levels."""
    levels = read_levels(path)
    return levels / np.iinfo(levels.dtype).max


def read_levels(path: str | Path) -> np.ndarray:
    """A matte as the file holds it: uint8 or uint16 [H, W]. Of a picture with transparency (a cut-out) its alpha
    channel is the matte, otherwise the grey value; floats (TIFF) 0..1 become uint16. EXIF orientation is applied.
    ValueError naming the file when it cannot be read or has floats beyond 0..1."""
    picture = ImageOps.exif_transpose(_open(path))
    if picture.mode == "F":
        values = np.asarray(picture)
        if not (values.min() >= -0.01 and values.max() <= 1.01):  # NaN is no less a failure
            raise ValueError(f"{path}: floats from {values.min():g} to {values.max():g}; a matte's must be 0 to 1")
        return np.rint(values.clip(0, 1) * 65535).astype(np.uint16)
    if picture.mode.startswith("I"):  # 16 bits arrive as I;16 or as I
        return np.clip(np.asarray(picture), 0, 65535).astype(np.uint16)
    if "A" in picture.getbands() or "transparency" in picture.info:
        alpha = picture.convert("RGBA").getchannel("A")
        if alpha.getextrema() != (255, 255):
            return np.asarray(alpha)
    return np.asarray(picture.convert("L"))


def to_grey(matte: np.ndarray) -> Image.Image:
    """A matte [H, W] in 0..1 as an 8-bit picture, rounded to the nearest level."""
    return Image.fromarray(np.rint(np.clip(matte, 0, 1) * 255).astype(np.uint8))


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
        draw.text((left + 2, top + 1), label, fill=(235, 235, 235))
        for column, picture in enumerate(pictures):
            sheet.paste(ImageOps.contain(picture.convert("RGB"), (cell, cell)), (left + column * cell, top + caption))
    return sheet


def _open(path: str | Path) -> Image.Image:
    try:
        with open(path, "rb") as file:  # not by name: see images.read
            picture = Image.open(file)
            picture.load()
    except Exception as error:  # Pillow raises many kinds, DecompressionBombError among them
        raise ValueError(f"{path} cannot be read as a picture: {error}") from None
    return picture
