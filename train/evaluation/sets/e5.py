"""E5: large subjects, 88 images whose longer side is 384-448 pixels: E1's larger cut-outs and rendered people at 0.8 to
1.6 of the frame, most of them running out of it, on E1's photographs, with exact mattes.

E1 pastes its subjects at half the frame and cannot see that a network which looks closely loses the middle of what is
large. The people are made as those of the training pack are, from seeds far from its; rendering them needs bpy.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from train.scenes.renders.lights import unpack_lights
from train.scenes.renders.people import PersonJob, read_bodies
from train.scenes.renders.render import Quality, render_all
from train.shared.processes import processes_for

from . import composites, e1
from .composites import Background
from .paste import paste, resample

SEED = 2027
LEAST_SIDES = (300, 120)  # pixels of a stamp's longer and shorter side; smaller ones would be enlarged too much
LONGER_SIDE = (384, 448)  # pixels
EXTENT = (0.8, 1.6)  # of a cut-out; at 1 it just fits into the frame
LARGEST_ENLARGEMENT = 2.0
OUTSIDE = 0.2  # share of the smaller of cut-out and frame by which a cut-out may miss a side of the frame
SHOWN = 0.45  # the least share of a cut-out that is seen
COVERED = 0.9  # the most of the frame that it takes
TRIES = 200
PEOPLE, FIRST_PERSON = 30, 100_000  # the pack's people are numbered from 0
QUALITY = Quality(size=576, samples=16)


def build(
    packages: str | Path,
    out: str | Path,
    *,
    stamps: Sequence[str] | None = None,
    backgrounds: Sequence[Background] | None = None,
    people: int = PEOPLE,
    quality: Quality = QUALITY,
) -> str:
    """Build the set as e1.build does: whole or not at all. One image a cut-out. Needs bpy, unless `people` is 0."""
    packages = Path(packages)
    composites.check_new(out)
    cutouts = e1.read_stamps(packages, stamps if stamps is not None else e1.listed_stamps())
    cutouts = {name: stamp for name, stamp in cutouts.items() if _large(stamp)}
    photographs = composites.read_backgrounds(
        packages, backgrounds if backgrounds is not None else e1.listed_backgrounds()
    )
    if people:
        cutouts |= render_people(packages, people, quality)

    def write(folder: Path) -> str:
        return composites.write_composites(
            folder,
            cutouts,
            photographs,
            images=len(cutouts),
            seed=SEED,
            standing=True,
            longer_side=LONGER_SIDE,
            put=place,
        )

    return composites.build_whole(out, write)


def _large(stamp: Image.Image) -> bool:
    return max(stamp.size) >= LEAST_SIDES[0] and min(stamp.size) >= LEAST_SIDES[1]


def render_people(packages: Path, count: int, quality: Quality) -> dict[str, Image.Image]:
    """So many people that training never sees, by "People/name" or "Busts/name"."""
    read_bodies(packages)  # says at once what is wrong with the package
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "lights").mkdir()
        lights = tuple(unpack_lights(packages, folder / "lights"))
        numbers = range(FIRST_PERSON, FIRST_PERSON + count)
        jobs = [PersonJob(number, packages, folder / "renders", lights, quality) for number in numbers]
        render_all(jobs, processes=processes_for(8 * len(jobs)))
        found = sorted((folder / "renders").glob("[!.]*/[!.]*.webp"))
        return {f"{path.parent.name}/{path.stem}": Image.open(path).convert("RGBA") for path in found}


def place(
    cutout: Image.Image, image: np.ndarray, matte: np.ndarray, draw: random.Random, *, standing: bool = False
) -> None:
    """Paste the cut-out at EXTENT of the frame so that COVERED and SHOWN hold; if it is `standing`, on the lower edge
    and its top within the frame, or not far above."""
    if draw.random() < 0.5:
        cutout = cutout.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    for _ in range(TRIES):
        layer, left, top = _drawn(cutout, matte.shape, draw, standing)
        seen = np.zeros_like(matte)
        paste(np.zeros_like(image), seen, layer, left, top)
        if seen.mean() <= COVERED and seen.sum() >= SHOWN * layer[..., 3].sum():
            return paste(image, matte, layer, left, top)
    raise ValueError(f"found no place for a cut-out of {cutout.size} in a picture of {matte.shape[::-1]}")


def _drawn(
    cutout: Image.Image, shape: tuple[int, int], draw: random.Random, standing: bool
) -> tuple[np.ndarray, int, int]:
    """The cut-out at a size and a place: premultiplied pixels, left, top."""
    height, width = shape
    scale = draw.uniform(*EXTENT) * min(width / cutout.width, height / cutout.height)
    scale = min(scale, LARGEST_ENLARGEMENT)
    size = max(1, round(cutout.width * scale)), max(1, round(cutout.height * scale))
    left, top = (_corner(side, frame, draw) for side, frame in zip(size, (width, height)))
    if standing:
        highest = height - size[1] + 1
        top = round(draw.uniform(highest, max(highest, 0.05 * height)))
    return resample(cutout, size), left, top


def _corner(side: int, frame: int, draw: random.Random) -> int:
    """Where one side of a cut-out begins: within the frame, or the frame within it, or OUTSIDE beyond that."""
    beyond = OUTSIDE * min(side, frame)
    return round(draw.uniform(min(0, frame - side) - beyond, max(0, frame - side) + beyond))
