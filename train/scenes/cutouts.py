"""The cut-out pack in memory: RGBA foregrounds and background photographs, split by name for validation."""

from __future__ import annotations

import glob
import re
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from birefnet_core.matting.images import read
from birefnet_core.picture_files import READ_SUFFIXES
from train.shared.holdout import held_out
from train.shared.mattes import GREY, Value, faintness

VIEW = re.compile(r"(.+)_[0-9]{1,2}")


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
    """`<model>_<view>.webp` -> `<model>`: all views of one object fall on the same side of the split. A view has one
    digit or two; more are a camera's (IMG_0001, IMG_0002), whose pictures are not of one object."""
    match = VIEW.fullmatch(path.stem)
    return match[1] if match else path.stem


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
    """Pictures at any depth, through links too."""
    paths = map(Path, glob.iglob(f"{glob.escape(str(folder))}/**/*", recursive=True))
    return sorted(path for path in paths if path.suffix.lower() in READ_SUFFIXES)


def _usable(path: Path, channels: str, values: Sequence[Value]) -> Tensor | str:
    """The picture, or what is wrong with it, in one sentence. `values`: what of alpha is the subject, if not all."""
    try:
        pixels = read_picture(path, channels)
    except ValueError as error:
        return str(error)
    if channels != "RGBA":
        return pixels
    alpha = pixels[-1]
    if values and GREY not in values:
        alpha.copy_(255 * torch.isin(alpha, torch.tensor([v for v in values if isinstance(v, int)], dtype=torch.int32)))
    if not alpha.any():
        return f"{path} is transparent everywhere"
    if (alpha == 255).all():
        return f"{path} has no transparency: a whole rectangle is no cut-out"
    return pixels if values else faintness(path, alpha.numpy()) or pixels


def _refuse_lopsided(folder: Path, pictures: list[Picture], held: set[str]) -> None:
    """ValueError when most pictures have one name and this one is held out: hardly any would be left to train on."""
    name, count = Counter(picture.name for picture in pictures).most_common(1)[0]
    if name in held and count > len(pictures) / 2:
        raise ValueError(
            f"{folder}: {count} of {len(pictures)} pictures are taken for views of one thing, {name}, held out for "
            f"validation. If they show several, name them apart ({name}_1 and {name}_2 are views); else add others."
        )


def read_pack(
    root: str | Path,
    *,
    threads: int = 4,
    hold_out: int = 6,
    problems: list[str] | None = None,
    values: Sequence[Value] = (),
) -> tuple[Pack, Pack]:
    """Read `root/foregrounds/<source>/*` and `root/backgrounds/<source>/*` -> (training pack, validation pack).

    Every file is decoded once; the pack of about 3,400 cut-outs takes about 1 GB. Of 100 names `hold_out` are kept for
    validation; 0 leaves that pack empty. `values`: what of the alpha channel is the subject, where it is not the opaque
    (`mattes.parse_value`). Files that cannot be used are left out; `problems` gets a sentence on each.

    Raises:
        ValueError: a folder is missing or empty, its usable pictures are too few, or most have one name, which is held
            out.
    """
    root = Path(root)
    problems = [] if problems is None else problems
    halves: list[tuple[list[Picture], list[Picture]]] = []
    for kind, channels in (("foregrounds", "RGBA"), ("backgrounds", "RGB")):
        paths = _files(root / kind)
        if not paths:
            raise ValueError(
                f"No pictures under {root / kind}; --data needs foregrounds/<source>/*.webp and backgrounds/<source>/*."
            )
        with ThreadPoolExecutor(threads) as pool:
            decoded = list(pool.map(partial(_usable, channels=channels, values=values), paths))
        problems += [problem for problem in decoded if isinstance(problem, str)]
        pictures = [
            Picture(path.parent.name, model_name(path) if kind == "foregrounds" else path.stem, pixels)
            for path, pixels in zip(paths, decoded)
            if not isinstance(pixels, str)
        ]
        names = {picture.name for picture in pictures}
        if len(names) < (2 if hold_out else 1):
            raise ValueError(
                f"{root / kind}: of {len(paths)} files those that can be used have {len(names)} different names, and "
                "training needs one, validation another: add more."
                + (f" The first problem: {problems[0]}" if problems else "")
            )
        held = held_out(names, hold_out)
        _refuse_lopsided(root / kind, pictures, held)
        training, validation = ([p for p in pictures if (p.name in held) == wanted] for wanted in (False, True))
        halves.append((training, validation))
    return Pack(halves[0][0], halves[1][0]), Pack(halves[0][1], halves[1][1])
