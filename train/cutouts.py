"""The cut-out pack in memory: RGBA foregrounds and background photographs, split by name for validation."""

from __future__ import annotations

import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from birefnet_core.matting.images import READ_SUFFIXES, read

HELD_OUT_PERCENT = 6
ENOUGH_NAMES = 50  # leave validation without any name once in 22 times (0.94 ** 50)


@dataclass(frozen=True)
class Picture:
    """One decoded file: `pixels` uint8 [4,H,W] (straight alpha) for a foreground, [3,H,W] for a background."""

    source: str
    name: str
    pixels: Tensor


@dataclass(frozen=True)
class Pack:
    """Foregrounds and backgrounds of one side of the split."""

    foregrounds: list[Picture]
    backgrounds: list[Picture]

    def to(self, device: torch.device | str) -> Pack:
        """The same pictures on `device`, so that a GPU can composite for itself."""
        moved = [
            [Picture(picture.source, picture.name, picture.pixels.to(device)) for picture in pictures]
            for pictures in (self.foregrounds, self.backgrounds)
        ]
        return Pack(*moved)


def model_name(path: Path) -> str:
    """`<model>_<view>.webp` -> `<model>`: all views of one object fall on the same side of the split."""
    stem, _, view = path.stem.rpartition("_")
    return stem if stem and view.isdigit() else path.stem


def is_held_out(name: str, percent: int = HELD_OUT_PERCENT) -> bool:
    """Whether the object called `name` is kept for validation; depends on nothing but the name."""
    return zlib.crc32(name.encode()) % 100 < percent


def read_picture(path: Path, channels: str) -> Tensor:
    """Decode `path` as "RGBA" (opaque where the file has no transparency) or "RGB" into uint8 [C,H,W].

    Raises:
        ValueError: the file is not a readable picture; names the file.
    """
    picture = read(path)
    planes = [picture.pixels]
    if channels == "RGBA":
        planes.append((torch.ones_like(planes[0][..., 0]) if picture.alpha is None else picture.alpha)[..., None])
    return (torch.cat(planes, dim=2) * 255).round().byte().permute(2, 0, 1).contiguous()


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in READ_SUFFIXES)


def read_pack(root: str | Path, *, threads: int = 4) -> tuple[Pack, Pack]:
    """Read `root/foregrounds/<source>/*` and `root/backgrounds/<source>/*` -> (training pack, validation pack).

    Every file is decoded once; the pack of about 3,400 cut-outs takes about 1 GB.

    Raises:
        ValueError: a folder is missing or empty, a file cannot be read, or one side of the split would be empty.
    """
    root = Path(root)
    halves: list[tuple[list[Picture], list[Picture]]] = []
    for kind, channels in (("foregrounds", "RGBA"), ("backgrounds", "RGB")):
        paths = _files(root / kind)
        if not paths:
            raise ValueError(
                f"No pictures under {root / kind}; --data needs foregrounds/<source>/*.webp and backgrounds/<source>/*."
            )
        with ThreadPoolExecutor(threads) as pool:
            pixels = list(pool.map(partial(read_picture, channels=channels), paths))
        training, validation = [], []
        for path, decoded in zip(paths, pixels):
            picture = Picture(path.parent.name, model_name(path), decoded)
            (validation if is_held_out(picture.name) else training).append(picture)
        if not training:
            raise ValueError(f"Every picture under {root / kind} is held out for validation by its name; add more.")
        if not validation:
            names = len({picture.name for picture in training})
            raise ValueError(
                f"None of the {names} differently named pictures under {root / kind} falls to validation, for which "
                f"{HELD_OUT_PERCENT} in 100 names are kept; add more, about {ENOUGH_NAMES} names are enough."
            )
        halves.append((training, validation))
    return Pack(halves[0][0], halves[1][0]), Pack(halves[0][1], halves[1][1])
