"""The one rule by which training, cut-outs and evaluation read mattes, and tell masks that are none.

A matte is grey, or the transparency of a cut-out, and white where the subject is. Told, and refused unless asked for:

- coloured masks (classes in colours, with or without a palette): as grey, pure red would be an alpha of .30;
- masks of FEW levels or less, the brightest of which is not white: 0 and 1, 0 and 128, or class numbers;
- masks of few levels with areas between black and white, as trimaps (0, 128, 255) have them;
- anything whose brightest level is below FAINT.

What has many levels stays a matte although its brightest is not white (glass, smoke). `--mask-value` names the levels,
palette indices or colours that are the subject, or says `grey`: the grey values are alpha as they are.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from PIL import Image, ImageColor

from birefnet_core.picture_files import deep_levels, opened, upright

GREY = "grey"
OPAQUE = (255, 255)  # least and most alpha
FAINT = 0.16  # the most that a mask drawn in class numbers (0, 1, ...), or in the usual dark red for class 1, comes to
WHITE = 250  # of 255: as white as some programs write it
FEW, NEAR, NEARLY_ALL = 8, 2, 0.99  # so many levels, each with those within NEAR of it, hold nearly all pixels
AREA = 0.01  # of the pixels: what is no edge
COLOURED, SPOTS = 24, 1 / 2000  # the spread of channels that no grey JPEG has, in more than that share of the pixels
JPEG_NEAR = 32  # how far a JPEG's colours may be from those that were drawn
SHOWN = 4  # values named in a message

Value = int | str | tuple[int, int, int]


def parse_value(text: str) -> Value:
    """A `--mask-value`: a level or palette index, a colour ("#c08080", "192,128,128", "red"), or "grey"."""
    text = text.strip()
    if text.lower() in (GREY, "gray"):
        return GREY
    if text.isdecimal():
        return int(text)
    parts = text.split(",")
    if len(parts) == 3 and all(part.strip().isdecimal() and int(part) < 256 for part in parts):
        return tuple(int(part) for part in parts)
    try:
        return ImageColor.getcolor(text, "RGB")
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text}: give a level or palette index (1, 128), a colour (#c08080, 192,128,128), or {GREY}"
        ) from None


@dataclass(frozen=True)
class Matte:
    """A file as a matte. levels: uint8 or uint16 [H, W]. problem: why it is no matte, in one sentence; empty for one.
    coloured: it is the colours that are the problem."""

    levels: np.ndarray
    problem: str = ""
    coloured: bool = False


def read_mask(path: str | Path, *, cutout: bool = False, values: Sequence[Value] = ()) -> Matte:
    """A matte as the file holds it. Of a picture with transparency (a cut-out) its alpha channel is the matte,
    otherwise the grey value; deeper integers and floats 0..1 (TIFF) become uint16. EXIF orientation is applied.

    cutout: the alpha channel, if there is one, is the matte even where it is opaque everywhere: the file lies among
    cut-outs. A painting program writes grey mattes so, too, hence not by default.
    values: what is the subject, as of `parse_value`, instead of the white.

    Raises:
        ValueError: it cannot be read or has values beyond its range; names the file.
    """
    with opened(path) as picture:
        black, white = deep_levels(picture)
        near = JPEG_NEAR if picture.format in ("JPEG", "MPO") else 0
        picture = upright(picture)
        if values and GREY not in values:
            return Matte(np.where(_chosen(picture, values, cutout, near), np.uint8(255), np.uint8(0)))
        if picture.mode == "F":
            levels, colours = _sixteen_bits(np.asarray(picture)), ""
        elif picture.mode.startswith("I"):  # 16 bits arrive as I;16 or as I
            levels = _sixteen_bits((np.asarray(picture).astype(np.float64) - black) / (white - black))
            colours = ""
        else:
            alpha = _alpha(picture, cutout)
            levels = np.asarray(picture.convert("L") if alpha is None else alpha)
            colours = _colours(picture) if alpha is None else ""
    if values:
        return Matte(levels)
    return Matte(levels, _coloured(path, colours) if colours else faintness(path, levels), bool(colours))


def _sixteen_bits(values: np.ndarray) -> np.ndarray:
    least, most = values.min(), values.max()
    if not (least >= -0.01 and most <= 1.01):  # NaN is no less a failure
        raise ValueError(f"its values go from {least:g} to {most:g} where black is 0 and white is 1")
    return np.rint(values.clip(0, 1) * 65535).astype(np.uint16)


def _alpha(picture: Image.Image, cutout: bool) -> Image.Image | None:
    """The transparency that is the matte, of 8 bits or fewer; None where the grey value is."""
    alpha = transparency(picture)
    return alpha if alpha is not None and (cutout or alpha.getextrema() != OPAQUE) else None


def transparency(picture: Image.Image) -> Image.Image | None:
    """Of 8 bits or fewer; None where there is none."""
    if picture.mode.startswith("I") or not picture.has_transparency_data:
        return None
    return picture.convert("RGBA").getchannel("A")


def _chosen(picture: Image.Image, values: Sequence[Value], cutout: bool, near: int) -> np.ndarray:
    """Where [H, W] a picture has one of the values: a palette's index, a level, or a colour."""
    levels, rgb = _numbers(picture, cutout), None
    if levels is None or any(isinstance(value, tuple) for value in values):
        rgb = np.asarray(_rgb(picture)).astype(np.int16)
    found = np.zeros((picture.height, picture.width), bool)
    for value in values:
        if isinstance(value, int) and levels is not None:
            found |= np.abs(levels - value) <= near
        else:
            found |= np.abs(rgb - np.array(value)).max(axis=2) <= near
    return found


def _numbers(picture: Image.Image, cutout: bool) -> np.ndarray | None:
    """What whole numbers mean in a picture, as int32 [H, W]: palette indices, alpha, or levels; None where those of all
    three channels are meant. In black and white pictures white is 1."""
    if picture.mode in ("P", "PA"):
        return np.asarray(picture if picture.mode == "P" else picture.getchannel("P")).astype(np.int32)
    if (alpha := _alpha(picture, cutout)) is not None:
        return np.asarray(alpha).astype(np.int32)
    if picture.mode in ("L", "LA"):
        return np.asarray(picture.convert("L")).astype(np.int32)
    return np.asarray(picture).astype(np.int32) if picture.mode in ("1", "F") or picture.mode.startswith("I") else None


def _rgb(picture: Image.Image) -> Image.Image:
    return (picture.convert("RGBA") if picture.mode in ("P", "PA") else picture).convert("RGB")


def _colours(picture: Image.Image) -> str:
    """The commonest colours of a mask in words, with their palette indices; empty for a grey one."""
    if picture.mode in ("L", "LA", "1"):
        return ""
    rgb = _rgb(picture)
    spread = np.ptp(np.asarray(rgb).astype(np.int16), axis=2)
    if np.count_nonzero(spread > COLOURED) <= spread.size * SPOTS:
        return ""
    indices = np.asarray(picture) if picture.mode == "P" else None
    counts = sorted(rgb.getcolors(rgb.width * rgb.height), reverse=True)
    names = []
    for _, colour in counts[:SHOWN]:
        name = "#{:02x}{:02x}{:02x}".format(*colour)
        if indices is not None:
            name = f"{indices[(np.asarray(rgb) == colour).all(axis=2)][0]} {name}"
        names.append(name)
    return ", ".join([*names, "..."] if len(counts) > SHOWN else names)


def _coloured(path: str | Path, colours: str) -> str:
    return (
        f"{path} is coloured ({colours}): a matte is white where the subject is "
        f"(--mask-value COLOUR takes a class as the subject, --mask-value {GREY} takes it as grey)"
    )


def for_predictions(problem: str) -> str:
    """The problem of a mask among predictions, for which another option is meant."""
    return problem.replace("--mask-value", "--pred-value")


def is_coded(matte: Matte) -> bool:
    """Whether a matte is black and one other level that is not white. Predictions may be that, or faint, in single
    files; a whole folder of them is written in class numbers."""
    return bool(matte.problem) and len(levels := np.unique(matte.levels)) == 2 and levels[0] == 0


def faintness(path: str | Path, levels: np.ndarray) -> str:
    """What keeps levels from being a matte, in one sentence: they are too few, or all too dark. Empty for a matte, and
    for one without any foreground."""
    most, top = int(levels.max()), np.iinfo(levels.dtype).max
    if most == 0:
        return ""
    if 255 * most / top < WHITE:
        if most / top >= FAINT and not _are_few(np.rint(levels * (255 / top)).astype(np.uint8)):
            return ""
        what = f"is {most} of {top} at its brightest"
    elif (between := _area_between(levels)) is not None:
        what = f"has areas of {between} between black and white, as trimaps and class masks do"
    else:
        return ""
    there = [str(level) for level in np.unique(levels)]
    named = ", ".join([*(["..."] if len(there) > SHOWN else []), *there[-SHOWN:]])
    return (
        f"{path} {what}: a matte is white where the subject is (levels {named}; --mask-value {most} takes one as the "
        f"subject, --mask-value {GREY} takes them as alpha)"
    )


def _area_between(levels: np.ndarray) -> int | None:
    """Of a mask with FEW levels the one between its darkest and brightest that fills areas, not edges alone."""
    if min(levels.shape) < 3 or len(there := np.unique(levels)) > FEW:
        return None
    for level in there[1:-1]:
        whole = sliding_window_view(levels == level, (3, 3)).all(axis=(2, 3))
        if np.count_nonzero(whole) > AREA * levels.size:
            return int(level)
    return None


def _are_few(levels: np.ndarray) -> bool:
    """Whether FEW levels of 255, or those next to them, hold nearly all pixels."""
    counts, held = np.bincount(levels.ravel(), minlength=256), 0
    for _ in range(FEW):
        level = int(counts.argmax())
        around = slice(max(0, level - NEAR), level + NEAR + 1)
        held += counts[around].sum()
        counts[around] = 0
    return held >= NEARLY_ALL * levels.size
