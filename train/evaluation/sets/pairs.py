"""pairs: two or three of E1's cut-outs on one photograph, one of them asked for by a hint; 80 images.

In every other image (`kind` in index.csv, and in the stem) the one asked for touches another, lies before it or behind
it. The truth, gt/, is its visible alpha: what lies before it hides it. Beside im/ and gt/ there is hints/KIND/, from
the truth:

- perfect: the truth itself
- eroded, dilated: its solid part (at least half opaque), by a disc of 2 to 6 % of the subject's size (the root of its
  area), 2 pixels at least
- shifted: the solid part, by 4 to 8 % of its size
- coarser: the truth at a sixteenth of the picture's size
- box: the box around its solid part, filled
- dot: one dot at a point inside, no less than half as deep as the deepest

What people draw by hand is in no file. Whoever measures makes it of the truth, by the picture's name (`DRAWN`):

- outline: a line around it, 6 to 14 % of its size away
- scribble: thin strokes from point to point inside it, as far as they are inside
- painted: so with a broad brush, of 8 % of its size to either side
- soft: so with a brush that is soft and lets the picture through
- strokes: six to nine short ones that do not hang together, with a brush of half that width

To make it and to measure on it:

    python -m train.evaluation.sets pairs --packages FOLDER --out pairs
    python -m train.evaluation.hints --model bundled --data pairs
"""

from __future__ import annotations

import csv
import hashlib
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage
from tqdm import tqdm

from birefnet_core.matting.hint import draw_points
from train.shared.pictures import contact_sheet, save_picture, to_grey

from . import composites, e1
from .composites import Background
from .paste import resample

IMAGES = 80
SEED = 2026
THREE = 0.25  # share of images with three cut-outs
SHARE = (0.35, 0.65)  # of the picture's sides that a cut-out takes
VISIBLE = 0.5  # of the asked one that must be seen
APART = 6  # pixels: those that do not touch are no nearer
OVERLAPS = (0.002, 0.04), (0.04, 0.35)  # of the smaller of two that touch: side by side, or one before the other
TRIES = 5000
COARSER = 16


@dataclass(frozen=True)
class Scene:
    image: np.ndarray  # [H, W, 3] float32 0..1
    truth: np.ndarray  # [H, W]: the visible alpha of the one asked for
    names: list[str]  # of all cut-outs, the rearmost first
    asked: int  # which of them


def build(
    packages: str | Path,
    out: str | Path,
    *,
    stamps: Sequence[str] | None = None,
    backgrounds: Sequence[Background] | None = None,
    images: int = IMAGES,
) -> str:
    """Build the set as e1.build does, from the same packages: whole or not at all, the same pixels every time. Returns
    their fingerprint."""
    composites.check_new(out)
    cutouts = e1.read_stamps(Path(packages), stamps if stamps is not None else e1.listed_stamps())
    photographs = composites.read_backgrounds(
        Path(packages), backgrounds if backgrounds is not None else e1.listed_backgrounds()
    )
    return composites.build_whole(out, lambda folder: write(folder, cutouts, photographs, images=images, seed=SEED))


def write(
    folder: Path,
    cutouts: dict[str, Image.Image],
    photographs: dict[str, Image.Image],
    *,
    images: int,
    seed: int,
) -> str:
    """Write im/, gt/, hints/, index.csv and sheet.jpg, of any cut-outs and photographs -> a fingerprint."""
    draw = random.Random(seed)
    next_cutout = composites.endless(list(cutouts), draw)
    next_photograph = composites.endless(list(photographs), draw)
    fingerprint, rows, strips = hashlib.sha256(), [], []
    for index in tqdm(range(images), unit="picture", disable=None):  # in a terminal
        photograph, touching = next(next_photograph), index % 2 == 1
        names = [next(next_cutout) for _ in range(3 if draw.random() < THREE else 2)]
        background = composites.background(photographs[photograph], draw)
        scene = _scene(background, names, cutouts, draw, touching=touching)
        kind = "touching" if touching else "apart"
        stem = f"{index:03d}_{kind}_{Path(scene.names[scene.asked]).stem}"
        picture, truth = Image.fromarray(np.rint(scene.image * 255).astype(np.uint8)), to_grey(scene.truth)
        save_picture(picture, folder / "im" / f"{stem}.png")
        save_picture(truth, folder / "gt" / f"{stem}.png")
        fingerprint.update(picture.tobytes() + truth.tobytes())
        hints = {name: to_grey(make(scene.truth, draw)) for name, make in HINTS.items()}
        for name, hint in hints.items():
            save_picture(hint, folder / "hints" / name / f"{stem}.png")
            fingerprint.update(hint.tobytes())
        rows.append([stem, kind, *picture.size, "; ".join(scene.names), scene.asked, photograph])
        strips.append((stem, [picture, truth]))
    with (folder / "index.csv").open("w", newline="", encoding="utf-8") as file:
        heads = ["stem", "kind", "width", "height", "stamps", "asked", "background"]
        csv.writer(file).writerows([heads, *rows])
    save_picture(contact_sheet(strips, across=5, cell=160), folder / "sheet.jpg")
    return fingerprint.hexdigest()[:16]


def _scene(
    background: np.ndarray,
    names: list[str],
    cutouts: dict[str, Image.Image],
    draw: random.Random,
    *,
    touching: bool,
) -> Scene:
    """Cut-outs laid on the background at random until they lie as they should. ValueError when they never do."""
    height, width = background.shape[:2]
    asked, overlap = draw.randrange(len(names)), draw.choice(OVERLAPS)
    for attempt in range(TRIES):
        small = 0.999**attempt  # where there is no room for them, smaller ones find some
        layers = [_layer(cutouts[name], (width, height), small, draw) for name in names]
        visible = layers[asked][..., 3].copy()
        for layer in layers[asked + 1 :]:
            visible *= 1 - layer[..., 3]
        others = [layer for layer in layers if layer is not layers[asked]]
        if _lie_well(layers[asked], visible, others, overlap if touching else None):
            image = background
            for layer in layers:
                image = layer[..., :3] + (1 - layer[..., 3:]) * image
            return Scene(image, visible, names, asked)
    raise ValueError(f"found no place for {', '.join(names)} in a picture of {width} x {height}")


def _layer(cutout: Image.Image, size: tuple[int, int], small: float, draw: random.Random) -> np.ndarray:
    """The cut-out at SHARE of a frame's sides, somewhere within it: premultiplied [H, W, 4]."""
    scale = small * draw.uniform(*SHARE) * min(limit / side for limit, side in zip(size, cutout.size, strict=True))
    scale = min(scale, composites.LARGEST_ENLARGEMENT)
    width, height = (max(1, round(side * scale)) for side in cutout.size)
    if draw.random() < 0.5:
        cutout = cutout.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    left, top = draw.randint(0, size[0] - width), draw.randint(0, size[1] - height)
    layer = np.zeros((size[1], size[0], 4), np.float32)
    layer[top : top + height, left : left + width] = resample(cutout, (width, height))
    return layer


def _lie_well(
    asked: np.ndarray, visible: np.ndarray, others: list[np.ndarray], overlap: tuple[float, float] | None
) -> bool:
    """Whether enough of the asked one is seen, and it overlaps one of the others by so much of the smaller's area and
    none by more, or, for None, is apart from all."""
    own = _solid(asked[..., 3])
    if _solid(visible).sum() < VISIBLE * own.sum():
        return False
    solid = [_solid(layer[..., 3]) for layer in others]
    if overlap is None:
        far = ndimage.distance_transform_edt(~own) > APART
        return all(far[other].all() for other in solid)
    most = max((own & other).sum() / min(own.sum(), other.sum()) for other in solid)
    return overlap[0] <= most <= overlap[1]


def _solid(alpha: np.ndarray) -> np.ndarray:
    return alpha >= 0.5


def _moved(truth: np.ndarray, by: float) -> np.ndarray:
    """The solid part, its border moved outward by so many pixels."""
    solid = _solid(truth)
    return (ndimage.distance_transform_edt(~solid) <= by) if by > 0 else (ndimage.distance_transform_edt(solid) > -by)


def _size(truth: np.ndarray) -> float:
    return math.sqrt(_solid(truth).sum())


def _eroded(truth: np.ndarray, draw: random.Random) -> np.ndarray:
    deepest = ndimage.distance_transform_edt(_solid(truth)).max()  # of something thin half stays
    return _moved(truth, -min(max(2.0, draw.uniform(0.02, 0.06) * _size(truth)), deepest / 2))


def _dilated(truth: np.ndarray, draw: random.Random) -> np.ndarray:
    return _moved(truth, max(2.0, draw.uniform(0.02, 0.06) * _size(truth)))


def _shifted(truth: np.ndarray, draw: random.Random) -> np.ndarray:
    angle, length = draw.uniform(0, 2 * math.pi), draw.uniform(0.04, 0.08) * _size(truth)
    by = round(length * math.sin(angle)), round(length * math.cos(angle))
    return ndimage.shift(_solid(truth).astype(np.float32), by, order=0)


def _coarser(truth: np.ndarray, draw: random.Random) -> np.ndarray:
    height, width = (max(1, round(side / COARSER)) for side in truth.shape)
    return np.asarray(Image.fromarray(truth).resize((width, height), Image.Resampling.BOX))


def _box(truth: np.ndarray, draw: random.Random) -> np.ndarray:
    (place,) = ndimage.find_objects(_solid(truth).astype(int))
    box = np.zeros(truth.shape)
    box[place] = 1
    return box


def _dot(truth: np.ndarray, draw: random.Random) -> np.ndarray:
    inside = np.argwhere(_deep(truth))
    row, column = inside[draw.randrange(len(inside))]
    return draw_points([(column + 0.5, row + 0.5)], truth.shape[::-1]).numpy()


def _outline(truth: np.ndarray, draw: random.Random) -> np.ndarray:
    """A line of a pen's width whose turns are wider than the subject's, cut off by the frame."""
    around = draw.uniform(0.06, 0.14) * _size(truth)
    pad = math.ceil(3 * around)
    solid = np.pad(ndimage.binary_fill_holes(_solid(truth)), pad)
    within = ndimage.gaussian_filter((ndimage.distance_transform_edt(~solid) < around).astype(float), around / 2) > 0.5
    away = np.where(within, ndimage.distance_transform_edt(within), ndimage.distance_transform_edt(~within))
    return (away <= _pen(truth))[pad:-pad, pad:-pad]


def _scribble(truth: np.ndarray, draw: random.Random) -> np.ndarray:
    return _strokes(truth, np.argwhere(_deep(truth)), _pen(truth), draw)


def _painted(truth: np.ndarray, draw: random.Random) -> np.ndarray:
    return _strokes(truth, np.argwhere(_solid(truth)), max(1.0, 0.08 * _size(truth)), draw) & _solid(truth)


def _soft(truth: np.ndarray, draw: random.Random) -> np.ndarray:
    return 0.7 * ndimage.gaussian_filter(_painted(truth, draw).astype(np.float32), 0.04 * _size(truth))


def _short_strokes(truth: np.ndarray, draw: random.Random) -> np.ndarray:
    inside, size = np.argwhere(_solid(truth)), _size(truth)
    strokes = np.zeros(truth.shape, bool)
    for _ in range(draw.randint(6, 9)):
        start, angle = inside[draw.randrange(len(inside))], draw.uniform(0, 2 * math.pi)
        stop = start + 0.12 * size * np.array([math.sin(angle), math.cos(angle)])
        strokes |= _line(truth, np.array([start, stop]), max(1.0, 0.035 * size))
    return strokes & _solid(truth)


def _strokes(truth: np.ndarray, corners: np.ndarray, radius: float, draw: random.Random) -> np.ndarray:
    """Three strokes between four of the corners, as far as they are inside."""
    return _line(truth, corners[[draw.randrange(len(corners)) for _ in range(4)]], radius)


def _line(truth: np.ndarray, corners: np.ndarray, radius: float) -> np.ndarray:
    """A line from corner to corner, as far as it is inside."""
    steps = np.linspace(0, 1, sum(truth.shape))[:, None]
    line = np.concatenate([start + (stop - start) * steps for start, stop in pairwise(corners)])
    line = np.unique(np.rint(line).astype(int), axis=0)
    line = line[((line >= 0) & (line < truth.shape)).all(axis=1)]
    free = np.ones(truth.shape, bool)
    free[tuple(line[_solid(truth)[tuple(line.T)]].T)] = False
    return ndimage.distance_transform_edt(free) <= radius


def _deep(truth: np.ndarray) -> np.ndarray:
    """Inside it, no less than half as deep as the deepest."""
    depth = ndimage.distance_transform_edt(_solid(truth))
    return depth >= depth.max() / 2


def _pen(truth: np.ndarray) -> float:
    """Half of a line's width, in pixels."""
    return max(1.0, 0.006 * max(truth.shape))


HINTS: dict[str, Callable[[np.ndarray, random.Random], np.ndarray]] = {
    "perfect": lambda truth, draw: truth,
    "eroded": _eroded,
    "dilated": _dilated,
    "shifted": _shifted,
    "coarser": _coarser,
    "box": _box,
    "dot": _dot,
}
DRAWN: dict[str, Callable[[np.ndarray, random.Random], np.ndarray]] = {
    "outline": _outline,
    "scribble": _scribble,
    "painted": _painted,
    "soft": _soft,
    "strokes": _short_strokes,
}
