"""Where mattes may be written, and as what. Needs no torch, so that what cannot be written is refused at once."""

from __future__ import annotations

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


def refuse_existing(path: Path, overwrite: bool) -> None:
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder, not a file name to write to")
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists and is not overwritten (--overwrite allows it)")
