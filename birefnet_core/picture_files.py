"""Opening picture files: a closed list of formats, upright, what stands for black and white. Needs no torch, so that
matting and scoring read files by the same rules."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

# Pillow's name of each format we read, and the suffixes by which a folder's pictures are found. A closed list: among
# Pillow's other readers are some that start programs (EPS).
FORMATS = {
    "PNG": (".png",),
    "JPEG": (".jpg", ".jpeg", ".jfif"),
    "MPO": (".mpo",),
    "WEBP": (".webp",),
    "AVIF": (".avif",),
    "TIFF": (".tif", ".tiff"),
    "GIF": (".gif",),
    "BMP": (".bmp",),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
    "JPEG2000": (".jp2",),
    "TGA": (".tga",),
}
READ_SUFFIXES = frozenset(suffix for suffixes in FORMATS.values() for suffix in suffixes)

ORIENTATION_TAG = 0x0112
TIFF_BITS, TIFF_PHOTOMETRIC, TIFF_WHITE_IS_ZERO = 258, 262, 0
UPRIGHT = {  # what brings a picture with this EXIF orientation upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class ImageError(ValueError):
    """A file that is not a picture we can read; the text is one sentence that begins with the file's name."""


@contextmanager
def opened(path: str | os.PathLike) -> Iterator[Image.Image]:
    """A file's picture with its pixels loaded, the first of an animation, as it lies in the file.

    Raises ImageError for a missing, foreign, damaged or oversized (Pillow's decompression bomb limit) file, and for
    what goes wrong inside the block.
    """
    path = Path(path)
    if path.is_dir():
        raise ImageError(f"{path} is a folder, not a picture")
    if not path.exists():
        raise ImageError(f"{path} does not exist")
    Image.init()
    try:
        # An open file, not a name: from a name Pillow maps the pixels, and those of a rotated TIFF come sheared.
        with open(path, "rb") as file, Image.open(file, formats=[f for f in FORMATS if f in Image.OPEN]) as image:
            image.load()
            yield image
    except UnidentifiedImageError as error:
        raise ImageError(f"{path} is not a picture we can read ({', '.join(FORMATS)})") from error
    except MemoryError:
        raise
    except Exception as error:  # on damaged files Pillow's decoders raise nearly anything
        raise ImageError(f"{path} cannot be read: {error or type(error).__name__}") from error


def upright(image: Image.Image) -> Image.Image:
    """The picture turned by its EXIF orientation; as it lies where that is damaged."""
    try:
        orientation = image.getexif().get(ORIENTATION_TAG)
    except Exception:  # damaged EXIF in a sound picture
        return image
    return image.transpose(UPRIGHT[orientation]) if orientation in UPRIGHT else image


def deep_levels(image: Image.Image) -> tuple[int, int]:
    """The integers that stand for black and white in grey of more than 8 bits: of TIFFs some have 12, in some 0 is
    white. Of the picture as it was opened: turned upright it has lost what says so."""
    tags = getattr(image, "tag_v2", {})
    bits = np.max(tags.get(TIFF_BITS, 16))
    black, white = 0, 2 ** min(int(bits), 16) - 1
    return (white, black) if tags.get(TIFF_PHOTOMETRIC) == TIFF_WHITE_IS_ZERO else (black, white)
