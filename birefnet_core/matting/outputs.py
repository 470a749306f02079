"""Where mattes may be written, and as what. Needs no torch, so that what cannot be written is told at once."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

# Suffix -> Pillow's options, for each kind of output.
WRITE_OPTIONS = {
    "alpha": {".png": {"format": "PNG"}},
    "cutout": {
        ".png": {"format": "PNG"},
        ".webp": {"format": "WEBP", "lossless": True, "exact": True},  # exact keeps the colours where alpha is 0
    },
    "composite": {
        ".png": {"format": "PNG"},
        ".jpg": {"format": "JPEG", "quality": 95},
        ".jpeg": {"format": "JPEG", "quality": 95},
        ".webp": {"format": "WEBP", "quality": 95},
    },
}


def write_options(path: Path, kind: str) -> dict:
    """Pillow's options for writing kind under this name; ValueError when its suffix will not do."""
    known = WRITE_OPTIONS[kind]
    if path.suffix.lower() not in known:
        article = "an" if kind[0] in "aeiou" else "a"
        raise ValueError(f"{path}: {article} {kind} is written as {' or '.join(known)}")
    return known[path.suffix.lower()]


def refuse_clashes(sources: Iterable[Path], outputs: Iterable[tuple[Path, Path]]) -> None:
    """ValueError when one of `outputs`, (source, path it is written to), would replace an input or another output."""
    taken = {_real(source): source for source in sources}
    becoming: dict[str, Path] = {}
    for source, path in outputs:
        place = _real(path)
        if place in taken:
            raise ValueError(f"{path} would replace the input {taken[place]}: choose another -o")
        if place in becoming:
            raise ValueError(f"{becoming[place]} and {source} would both become {path}: matte them apart")
        becoming[place] = source


def _real(path: Path) -> str:
    return os.path.normcase(os.path.realpath(path))


def refuse_existing(path: Path, overwrite: bool) -> None:
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder, not a file name to write to")
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists and is not overwritten (--overwrite allows it)")
