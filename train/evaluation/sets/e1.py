"""E1: photographed cut-outs on photographs, 144 images whose longer side is 448-512 pixels, with exact mattes.

The cut-outs are those of Tux Paint's stamps that are photographs (e1_stamps.txt, chosen by eye: at least about 190
pixels long, solid, no drawings); the photographs come from two wallpaper packages, cropped where a thing in them
would draw the eye (e1_backgrounds.txt). Neither is training data.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from train.shared.debian import find_package, read_files
from train.shared.lists import read_list

from . import composites
from .composites import Background

STAMPS_PACKAGE = "tuxpaint-stamps-default"
STAMPS_FOLDER = "usr/share/tuxpaint/stamps/"
IMAGES = 144
SEED = 2022
TWO_STAMPS = 0.15  # share of images with two


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
    composites.check_new(out)
    cutouts = read_stamps(Path(packages), stamps if stamps is not None else listed_stamps())
    photographs = composites.read_backgrounds(
        Path(packages), backgrounds if backgrounds is not None else listed_backgrounds()
    )

    def write(folder: Path) -> str:
        return composites.write_composites(folder, cutouts, photographs, images=images, seed=SEED, two=TWO_STAMPS)

    return composites.build_whole(out, write)


def listed_stamps() -> list[str]:
    """The chosen stamps: paths below STAMPS_FOLDER."""
    return [line[0] for line in read_list(Path(__file__).with_name("e1_stamps.txt"))]


def listed_backgrounds() -> list[Background]:
    return composites.listed_backgrounds("e1_backgrounds.txt")


def read_stamps(packages: Path, names: Sequence[str]) -> dict[str, Image.Image]:
    """RGBA stamps without their empty borders, by name."""
    files = read_files(find_package(packages, STAMPS_PACKAGE), [STAMPS_FOLDER + name for name in names])
    stamps = {name: Image.open(io.BytesIO(files[STAMPS_FOLDER + name])).convert("RGBA") for name in names}
    return {name: composites.trimmed(stamp) for name, stamp in stamps.items()}
