"""All kinds of drawn cut-outs by name, and their fonts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from train.shared.debian import find_package, list_files, read_files
from train.shared.pictures import solid_box

from .drawing import drawing, line_art, print_
from .glass import glass
from .glow import glow, smoke
from .text import logo, text

KINDS: dict[str, Callable] = {  # (generator, size, fonts) -> RGBA [size, size]
    "Text": text,
    "Logos": logo,
    "Prints": print_,
    "Drawings": drawing,
    "LineArt": line_art,
    "Glow": glow,
    "Smoke": smoke,
    "Glass": glass,
}
FONT_SUFFIXES = (".ttf", ".otf", ".ttc")


def draw(kind: str, number: int, fonts: Sequence[bytes], *, seed: int, size: int) -> Image.Image:
    """Cut-out `number` of a kind, cropped to what is to be seen: RGBA. The same arguments give the same picture."""
    rng = np.random.default_rng((seed, list(KINDS).index(kind), number))
    picture = KINDS[kind](rng, size, fonts)
    return picture.crop(solid_box(picture) or (0, 0, size, size))


def read_fonts(packages: Path, names: Sequence[str]) -> list[bytes]:
    """Every font of these Debian packages. ValueError and FileNotFoundError as of `read_files`; or there is none."""
    fonts = []
    for name in names:
        package = find_package(packages, name)
        paths = sorted(path for path in list_files(package) if path.endswith(FONT_SUFFIXES))
        if not paths:
            raise ValueError(f"{package} holds no font: another version?")
        files = read_files(package, paths)
        fonts += [files[path] for path in paths]
    return fonts
