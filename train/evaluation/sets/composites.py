"""Composites of cut-outs on photographs with exact mattes: what the evaluation sets have in common."""

from __future__ import annotations

import csv
import hashlib
import io
import os
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from train.shared.debian import find_package, read_files
from train.shared.lists import read_list
from train.shared.pictures import contact_sheet, save_picture, solid_box, to_grey

from .paste import paste, resample

SHAPES = [(4, 3), (3, 4), (1, 1), (3, 2), (2, 3)]  # width : height
LONGER_SIDE = (448, 512)  # pixels
LARGEST_ENLARGEMENT = 1.5  # of a cut-out; more looks blurred beside the photograph
OUTSIDE = 0.1  # share of a cut-out's side that may stick out of the picture


@dataclass(frozen=True)
class Background:
    """A photograph in a package, and the part of it to use as fractions (left, top, right, bottom) of its sides."""

    package: str
    path: str
    part: tuple[float, float, float, float] = (0, 0, 1, 1)


def listed_backgrounds(name: str) -> list[Background]:
    """Those of a list beside this file."""
    lines = read_list(Path(__file__).with_name(name))
    return [Background(line[0], line[1], tuple(map(float, line[2:6]))) for line in lines]


def trimmed(cutout: Image.Image) -> Image.Image:
    """An RGBA cut-out without the empty border around it."""
    return cutout.crop(solid_box(cutout, faint=12))  # cutting by hand leaves faint specks


def read_backgrounds(packages: Path, backgrounds: Sequence[Background]) -> dict[str, Image.Image]:
    """The photographs, cropped to their parts, by path and in the order given."""
    found = {}
    for package in sorted({background.package for background in backgrounds}):
        chosen = [background for background in backgrounds if background.package == package]
        files = read_files(find_package(packages, package), [background.path for background in chosen])
        for background in chosen:
            picture = Image.open(io.BytesIO(files[background.path])).convert("RGB")
            box = [round(part * side) for part, side in zip(background.part, picture.size * 2, strict=True)]
            found[background.path] = picture.crop(box)
    return {background.path: found[background.path] for background in backgrounds}


def build_whole(out: str | Path, write: Callable[[Path], str]) -> str:
    """Let `write` fill a folder, which becomes `out` when it is done. Returns what `write` returns. ValueError when
    `out` is not new or empty."""
    out = check_new(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        result = write(partial)
        partial.chmod(0o755)  # mkdtemp's folders are private
        if out.exists():
            out.rmdir()  # empty; Windows does not rename over it
        os.replace(partial, out)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return result


def check_new(out: str | Path) -> Path:
    """`out` without links. ValueError when it exists and is not an empty folder, or is one that cannot be replaced."""
    out = Path(out).resolve()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out} already exists: name a new folder, or remove it first")
    if out == Path.cwd() or os.path.ismount(out):
        raise ValueError(f"{out} cannot be replaced by the finished set: name a new folder in it")
    return out


def write_composites(
    folder: Path,
    cutouts: dict[str, Image.Image],
    photographs: dict[str, Image.Image],
    *,
    images: int,
    seed: int,
    two: float = 0.0,
    standing: bool = False,
    longer_side: tuple[int, int] = LONGER_SIDE,
    put: Callable[..., None] | None = None,
) -> str:
    """Write im/, gt/, index.csv and sheet.jpg. Cut-outs and photographs are drawn without repetition until all have
    been used. Returns a fingerprint of the pixels, so that two people can tell whether they measured on the same.

    two: the share of images with two cut-outs. standing: a cut-out whose lower edge was cut off (a bust) stands on the
    picture's lower edge. longer_side: of the images, from and to. put: how a cut-out is pasted, `place` by default.
    """
    put = put or place
    draw = random.Random(seed)
    next_cutout, next_photograph = endless(list(cutouts), draw), endless(list(photographs), draw)
    fingerprint, rows, strips = hashlib.sha256(), [], []
    for index in tqdm(range(images), unit="picture", disable=None):  # in a terminal
        photograph = next(next_photograph)
        image = background(photographs[photograph], draw, longer_side)
        matte = np.zeros(image.shape[:2], dtype=np.float32)
        names = [next(next_cutout) for _ in range(2 if draw.random() < two else 1)]
        for name in names:
            put(cutouts[name], image, matte, draw, standing=standing and is_cut_below(cutouts[name]))
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


def endless(names: list[str], draw: random.Random) -> Iterator[str]:
    """Every name once in random order, then again in another order, and so on."""
    while True:
        draw.shuffle(names)
        yield from names


def background(photograph: Image.Image, draw: random.Random, longer_side: tuple[int, int] = LONGER_SIDE) -> np.ndarray:
    """A random crop of the photograph as float32 [H, W, 3] in 0..1, its longer side of so many pixels, never enlarged
    where the photograph is large enough, mirrored half the time."""
    across, down = draw.choice(SHAPES)
    longer = draw.randint(*longer_side)
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


def place(
    cutout: Image.Image,
    image: np.ndarray,
    matte: np.ndarray,
    draw: random.Random,
    *,
    standing: bool = False,
    share: tuple[float, float] = (0.3, 0.9),
) -> None:
    """Paste the cut-out at a `share` of the picture's sides, anywhere, at most OUTSIDE of it beyond the border; if it
    is `standing`, on the lower edge."""
    height, width = matte.shape
    scale = draw.uniform(*share) * min(width / cutout.width, height / cutout.height)
    scale = min(scale, LARGEST_ENLARGEMENT)
    size = max(1, round(cutout.width * scale)), max(1, round(cutout.height * scale))
    if draw.random() < 0.5:
        cutout = cutout.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    left = round(draw.uniform(-OUTSIDE * size[0], width - (1 - OUTSIDE) * size[0]))
    top = round(draw.uniform(-OUTSIDE * size[1], height - (1 - OUTSIDE) * size[1]))
    paste(image, matte, resample(cutout, size), left, height - size[1] + 1 if standing else top)


def is_cut_below(cutout: Image.Image) -> bool:
    """Whether more than a tenth of the lowest row is opaque."""
    lowest = cutout.getchannel("A").crop((0, cutout.height - 1, cutout.width, cutout.height))
    return sum(lowest.histogram()[128:]) > 0.1 * cutout.width
