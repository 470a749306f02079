"""E1: photographed cut-outs on photographs, 144 images whose longer side is 448-512 pixels, with exact mattes.

The cut-outs are those of Tux Paint's stamps that are photographs (e1_stamps.txt, chosen by eye: at least about 190
pixels long, solid, no drawings); the photographs come from two wallpaper packages, cropped where a thing in them
would draw the eye (e1_backgrounds.txt). Neither is training data.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
import random
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from train.evaluation_sets.debian import find_package, read_files
from train.evaluation_sets.paste import paste, resample
from train.pictures import contact_sheet, save_picture, to_grey

STAMPS_PACKAGE = "tuxpaint-stamps-default"
STAMPS_FOLDER = "usr/share/tuxpaint/stamps/"
IMAGES = 144
SEED = 2022
SHAPES = [(4, 3), (3, 4), (1, 1), (3, 2), (2, 3)]  # width : height
TWO_STAMPS = 0.15  # share of images with two
LARGEST_ENLARGEMENT = 1.5  # of a stamp; more looks blurred beside the photograph
OUTSIDE = 0.1  # share of a stamp's side that may stick out of the picture


@dataclass(frozen=True)
class Background:
    """A photograph in a package, and the part of it to use as fractions (left, top, right, bottom) of its sides."""

    package: str
    path: str
    part: tuple[float, float, float, float]


def build(
    packages: str | Path,
    out: str | Path,
    *,
    stamps: Sequence[str] | None = None,
    backgrounds: Sequence[Background] | None = None,
    images: int = IMAGES,
) -> str:
    """Build E1 from the .deb files in `packages` into the new folder `out` (im/, gt/, index.csv, sheet.jpg), whole or
    not at all. The same packages and Pillow version give the same pixels. Returns a fingerprint of the pixels, so
    that two people can tell whether they measured on the same images.

    `stamps` and `backgrounds` default to the lists beside this file. ValueError or FileNotFoundError name what is
    wrong with a package or with `out` (it must not exist, or be empty).
    """
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out} already exists: name a new folder, or remove it first")
    cutouts = _read_stamps(Path(packages), stamps if stamps is not None else listed_stamps())
    photographs = _read_backgrounds(Path(packages), backgrounds if backgrounds is not None else listed_backgrounds())
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        fingerprint = _write(partial, cutouts, photographs, images)
        partial.chmod(0o755)  # mkdtemp's folders are private
        if out.exists():
            out.rmdir()  # empty; Windows does not rename over it
        os.replace(partial, out)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return fingerprint


def listed_stamps() -> list[str]:
    """The chosen stamps: paths below STAMPS_FOLDER."""
    return [line[0] for line in _lines("e1_stamps.txt")]


def listed_backgrounds() -> list[Background]:
    return [Background(line[0], line[1], tuple(map(float, line[2:6]))) for line in _lines("e1_backgrounds.txt")]


def _lines(name: str) -> list[list[str]]:
    text = Path(__file__).with_name(name).read_text(encoding="utf-8")
    return [line.split() for line in text.splitlines() if line.strip() and not line.startswith("#")]


def _read_stamps(packages: Path, names: Sequence[str]) -> dict[str, Image.Image]:
    files = read_files(find_package(packages, STAMPS_PACKAGE), [STAMPS_FOLDER + name for name in names])
    return {name: _trimmed(Image.open(io.BytesIO(files[STAMPS_FOLDER + name])).convert("RGBA")) for name in names}


def _trimmed(stamp: Image.Image) -> Image.Image:
    solid = stamp.getchannel("A").point(lambda alpha: 255 * (alpha > 12))  # 12: cutting by hand leaves faint specks
    return stamp.crop(solid.getbbox())


def _read_backgrounds(packages: Path, backgrounds: Sequence[Background]) -> dict[str, Image.Image]:
    found = {}
    for package in sorted({background.package for background in backgrounds}):
        chosen = [background for background in backgrounds if background.package == package]
        files = read_files(find_package(packages, package), [background.path for background in chosen])
        for background in chosen:
            picture = Image.open(io.BytesIO(files[background.path])).convert("RGB")
            box = [round(part * side) for part, side in zip(background.part, picture.size * 2, strict=True)]
            found[background.path] = picture.crop(box)
    return {background.path: found[background.path] for background in backgrounds}  # in the list's order


def _write(folder: Path, stamps: dict[str, Image.Image], photographs: dict[str, Image.Image], images: int) -> str:
    draw = random.Random(SEED)
    next_stamp, next_photograph = _endless(list(stamps), draw), _endless(list(photographs), draw)
    fingerprint, rows, strips = hashlib.sha256(), [], []
    for index in range(images):
        photograph = next(next_photograph)
        image = _background(photographs[photograph], draw)
        matte = np.zeros(image.shape[:2], dtype=np.float32)
        names = [next(next_stamp) for _ in range(2 if draw.random() < TWO_STAMPS else 1)]
        for name in names:
            _place(stamps[name], image, matte, draw)
        stem = f"{index:03d}_{Path(names[0]).stem}"
        picture, truth = Image.fromarray(np.rint(image * 255).astype(np.uint8)), to_grey(matte)
        save_picture(picture, folder / "im" / f"{stem}.png")
        save_picture(truth, folder / "gt" / f"{stem}.png")
        fingerprint.update(picture.tobytes() + truth.tobytes())
        rows.append([stem, *picture.size, "; ".join(names), photograph, f"{matte.mean():.4f}"])
        strips.append((stem, [picture, truth]))
    with (folder / "index.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["stem", "width", "height", "stamps", "background", "foreground"], *rows])
    save_picture(contact_sheet(strips, across=8, cell=128), folder / "sheet.jpg")
    return fingerprint.hexdigest()[:16]


def _endless(names: list[str], draw: random.Random):
    """Every name once in random order, then again in another order, and so on."""
    while True:
        draw.shuffle(names)
        yield from names


def _background(photograph: Image.Image, draw: random.Random) -> np.ndarray:
    """A random crop of the photograph as float32 [H, W, 3] in 0..1, longer side 448-512 pixels, never enlarged where
    the photograph is large enough, mirrored half the time."""
    across, down = draw.choice(SHAPES)
    longer = draw.randint(448, 512)
    width, height = round(longer * across / max(across, down)), round(longer * down / max(across, down))
    largest = min(photograph.width / width, photograph.height / height)
    zoom = draw.uniform(min(largest, max(1.0, 0.4 * largest)), largest)
    crop_width, crop_height = round(width * zoom), round(height * zoom)
    left, top = draw.randint(0, photograph.width - crop_width), draw.randint(0, photograph.height - crop_height)
    box = (left, top, left + crop_width, top + crop_height)
    picture = photograph.resize((width, height), Image.Resampling.LANCZOS, box=box)
    if draw.random() < 0.5:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return np.asarray(picture, dtype=np.float32) / 255


def _place(stamp: Image.Image, image: np.ndarray, matte: np.ndarray, draw: random.Random) -> None:
    """Paste the stamp at 30-90 % of the picture's sides, anywhere, at most OUTSIDE of it beyond the border."""
    height, width = matte.shape
    scale = draw.uniform(0.3, 0.9) * min(width / stamp.width, height / stamp.height)
    scale = min(scale, LARGEST_ENLARGEMENT)
    size = max(1, round(stamp.width * scale)), max(1, round(stamp.height * scale))
    if draw.random() < 0.5:
        stamp = stamp.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    left = round(draw.uniform(-OUTSIDE * size[0], width - (1 - OUTSIDE) * size[0]))
    top = round(draw.uniform(-OUTSIDE * size[1], height - (1 - OUTSIDE) * size[1]))
    paste(image, matte, resample(stamp, size), left, top)
