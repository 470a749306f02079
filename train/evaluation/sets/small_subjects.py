"""small: E1's photographed cut-outs small in large photographs, 100 images whose longer side is 1600-2000 pixels.

A subject takes 5-20 % of the frame's sides. Of the images 76 show one subject, 8 two, 10 one that the frame cuts, 6
none at all: index.csv says which in its column `kind`, and so does each stem. To measure `--mode locate` on:

    python -m train.evaluation.sets small --packages FOLDER --out small
    python train/evaluate.py --model bundled --data small --mode whole
    python train/evaluate.py --model bundled --data small --mode locate
"""

from __future__ import annotations

import csv
import hashlib
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from train.shared.pictures import contact_sheet, save_picture, to_grey

from . import composites, e1
from .composites import Background
from .paste import paste, resample

KINDS = {"one": 76, "two": 8, "cut": 10, "none": 6}
SEED = 2023
LONGER_SIDE = (1600, 2000)  # pixels
SHARE = (0.05, 0.20)  # of the frame's sides that a subject takes
SHAPES = [(4, 3), (3, 4), (1, 1), (3, 2), (2, 3), (16, 9)]  # width : height
LARGEST_ENLARGEMENT = 1.5  # of a photograph
CUT = (0.2, 0.5)  # share of a cut subject's side that is outside


def build(
    packages: str | Path,
    out: str | Path,
    *,
    stamps: Sequence[str] | None = None,
    backgrounds: Sequence[Background] | None = None,
    kinds: dict[str, int] = KINDS,
) -> str:
    """Build the set as e1.build does, from the same packages: whole or not at all, the same pixels every time. Returns
    their fingerprint. Photographs too small for a frame are left out."""
    composites.check_new(out)
    cutouts = e1.read_stamps(Path(packages), stamps if stamps is not None else e1.listed_stamps())
    photographs = composites.read_backgrounds(
        Path(packages), backgrounds if backgrounds is not None else e1.listed_backgrounds()
    )
    photographs = {name: picture for name, picture in photographs.items() if _shapes(picture)}
    if not photographs:
        raise ValueError(f"none of the photographs can fill a frame of {LONGER_SIDE[1]} pixels")
    return composites.build_whole(out, lambda folder: _write(folder, cutouts, photographs, kinds))


def _shapes(photograph: Image.Image) -> list[tuple[int, int]]:
    """The shapes in which a frame of any LONGER_SIDE can be cut from the photograph."""
    return [
        (across, down)
        for across, down in SHAPES
        if max(across, down) * min(photograph.width / across, photograph.height / down) * LARGEST_ENLARGEMENT
        >= LONGER_SIDE[1]
    ]


def _write(folder: Path, stamps: dict[str, Image.Image], photographs: dict[str, Image.Image], kinds) -> str:
    draw = random.Random(SEED)
    next_stamp, next_photograph = composites.endless(list(stamps), draw), composites.endless(list(photographs), draw)
    fingerprint, rows, strips = hashlib.sha256(), [], []
    for index, kind in enumerate(kind for kind, count in kinds.items() for _ in range(count)):
        photograph = next(next_photograph)
        image = _frame(photographs[photograph], draw)
        matte = np.zeros(image.shape[:2], dtype=np.float32)
        names = [next(next_stamp) for _ in range({"two": 2, "none": 0}.get(kind, 1))]
        for name in names:
            _place(stamps[name], image, matte, draw, cut=kind == "cut")
        stem = "_".join([f"{index:03d}", kind, *(Path(name).stem for name in names[:1])])
        picture, truth = Image.fromarray(np.rint(image * 255).astype(np.uint8)), to_grey(matte)
        save_picture(picture, folder / "im" / f"{stem}.png")
        save_picture(truth, folder / "gt" / f"{stem}.png")
        fingerprint.update(picture.tobytes() + truth.tobytes())
        rows.append([stem, kind, *picture.size, "; ".join(names), photograph, f"{matte.mean():.5f}"])
        strips.append((stem, [each.reduce(4) for each in (picture, truth)]))
    with (folder / "index.csv").open("w", newline="", encoding="utf-8") as file:
        heads = ["stem", "kind", "width", "height", "stamps", "background", "foreground"]
        csv.writer(file).writerows([heads, *rows])
    save_picture(contact_sheet(strips, across=5), folder / "sheet.jpg")
    return fingerprint.hexdigest()[:16]


def _frame(photograph: Image.Image, draw: random.Random) -> np.ndarray:
    """A random crop of the photograph as float32 [H, W, 3] in 0..1, mirrored half the time."""
    across, down = draw.choice(_shapes(photograph))
    longer = draw.randint(*LONGER_SIDE)
    width, height = (round(longer * side / max(across, down)) for side in (across, down))
    largest = min(photograph.width / width, photograph.height / height)
    zoom = draw.uniform(min(1.0, largest), largest)
    crop_width, crop_height = width * zoom, height * zoom
    left, top = draw.uniform(0, photograph.width - crop_width), draw.uniform(0, photograph.height - crop_height)
    box = (left, top, min(left + crop_width, photograph.width), min(top + crop_height, photograph.height))
    picture = photograph.resize((width, height), Image.Resampling.LANCZOS, box=box)
    if draw.random() < 0.5:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return np.asarray(picture, dtype=np.float32) / 255


def _place(stamp: Image.Image, image: np.ndarray, matte: np.ndarray, draw: random.Random, *, cut: bool) -> None:
    """Paste the stamp at SHARE of the frame's sides, never enlarged, inside the frame or cut by one of its sides."""
    height, width = matte.shape
    scale = min(1.0, draw.uniform(*SHARE) * min(width / stamp.width, height / stamp.height))
    size = max(1, round(stamp.width * scale)), max(1, round(stamp.height * scale))
    if draw.random() < 0.5:
        stamp = stamp.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    corner = [draw.uniform(0, frame - side) for frame, side in zip((width, height), size, strict=True)]
    if cut:
        axis, outside = draw.randrange(2), draw.uniform(*CUT)
        frame, side = (width, height)[axis], size[axis]
        corner[axis] = draw.choice([-outside * side, frame - (1 - outside) * side])
    paste(image, matte, resample(stamp, size), round(corner[0]), round(corner[1]))
