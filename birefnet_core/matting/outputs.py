"""Where mattes may be written, and as what. Needs no torch, so that what cannot be written is refused at once."""

from __future__ import annotations

from pathlib import Path

# Suffix -> Pillow's options, for each kind of output.
WRITE_OPTIONS = {
    "alpha": {".png": {"format": "PNG"}},
    "cutout": {
        ".png": {"format": "PNG"},
        ".webp": {"format": "WEBP", "lossless": True, "exact": True},  # exact keeps the colours where alpha is 0
        ".tif": {"format": "TIFF"},
        ".tiff": {"format": "TIFF"},
        ".exr": {"format": "EXR"},
    },
    "composite": {
        ".png": {"format": "PNG"},
        ".jpg": {"format": "JPEG", "quality": 95},
        ".jpeg": {"format": "JPEG", "quality": 95},
        ".webp": {"format": "WEBP", "quality": 95},
    },
}

STRAIGHT, PREMULTIPLIED = "straight", "premultiplied"  # colours as they are, or darkened by alpha
ALPHAS = {"TIFF": (STRAIGHT, PREMULTIPLIED), "EXR": (PREMULTIPLIED, STRAIGHT)}  # by default the first; else straight
DEEP = ("PNG", "TIFF", "EXR")  # formats that hold more than 8 bits


def is_premultiplied(path: Path, alphas: str | None) -> bool:
    """Whether the colours of a cut-out of this name are multiplied with alpha. alphas: as asked for; None: as the
    format has it. ValueError where the format has not what was asked for."""
    known = ALPHAS.get(write_options(path, "cutout")["format"], (STRAIGHT,))
    if alphas is not None and alphas not in known:
        raise ValueError(f"{path}: alpha {alphas}: in {path.suffix.lower()} it is {known[0]}")
    return (alphas or known[0]) == PREMULTIPLIED


def check_depth(path: Path, depth: int) -> None:
    """ValueError for a cut-out of 16 bits under a name whose format has 8."""
    if depth == 16 and write_options(path, "cutout")["format"] not in DEEP:
        raise ValueError(f"{path}: {path.suffix.lower()} has 8 bits; cut-outs of 16 are .png, .tif or .exr")


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
