"""E4: painted portraits on painted landscapes, 241 images whose longer side is 448-512 pixels, with exact mattes.

Every portrait of people, beasts and ghosts in Battle for Wesnoth once, busts standing on the lower edge; the landscapes
are the game's own, those without figures (e4_backgrounds.txt). The art is GPL-2+ or CC-BY-SA-4.0: to measure with,
never to train weights on that ship under MIT.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from train.shared.debian import find_package, list_files, read_files

from . import composites
from .composites import Background

PACKAGE = "wesnoth-1.16-data"
SEED = 2024


def build(packages: str | Path, out: str | Path, *, backgrounds: Sequence[Background] | None = None) -> str:
    """Build E4 from the .deb file in `packages` into the new folder `out`, as e1.build does."""
    composites.check_new(out)
    portraits = read_portraits(find_package(packages, PACKAGE))
    if backgrounds is None:
        backgrounds = composites.listed_backgrounds("e4_backgrounds.txt")
    landscapes = composites.read_backgrounds(Path(packages), backgrounds)

    def write(folder: Path) -> str:
        return composites.write_composites(
            folder, portraits, landscapes, images=len(portraits), seed=SEED, standing=True
        )

    return composites.build_whole(out, write)


def read_portraits(package: Path) -> dict[str, Image.Image]:
    """RGBA portraits without their empty borders, by path. ValueError when the package has none."""
    paths = sorted(path for path in list_files(package) if "/images/portraits/" in path and path.endswith(".png"))
    if not paths:
        raise ValueError(f"{package} has no images/portraits/*.png: another version?")
    files = read_files(package, paths)
    return {path: composites.trimmed(Image.open(io.BytesIO(files[path])).convert("RGBA")) for path in paths}
