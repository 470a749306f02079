"""Opening picture files: a closed list of formats, upright, what stands for black and white. Needs no torch, so that
matting and scoring read files by the same rules."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import struct
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, PngImagePlugin, PpmImagePlugin, TiffImagePlugin, UnidentifiedImageError

from .memory import free_memory

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
    "HEIF": (".heic", ".heif", ".hif"),
}
# Modules that read a format, any of them, where Pillow alone may not; and what to say where there is none.
READERS = {"AVIF": ("PIL._avif", "pillow_avif"), "HEIF": ("pillow_heif",)}
ADVICE = {
    "AVIF": "an AVIF picture, which Pillow reads since 11.3: python -m pip install --upgrade pillow",
    "HEIF": "a HEIC picture: to read it, python -m pip install pillow-heif",
}
MISSING = frozenset(name for name, modules in READERS.items() if not any(map(find_spec, modules)))
READ_SUFFIXES = frozenset(suffix for name in FORMATS if name not in MISSING for suffix in FORMATS[name])

BYTES_A_PIXEL = 60  # of memory, to matte a picture and write all kinds of output (measured: 57)
PNG_BITS = 24  # where in a PNG file its bits a channel are said
ORIENTATION_TAG = 0x0112
TIFF_BITS, TIFF_COMPRESSION, TIFF_PHOTOMETRIC, TIFF_SAMPLES, TIFF_PLANAR = 258, 259, 262, 277, 284
TIFF_FORMAT = 339
TIFF_WHITE_IS_ZERO, BIG_TIFF = 0, 43
TIFF_COLOURS = {0: "grey", 1: "grey", 2: "RGB", 3: "a palette", 5: "CMYK", 6: "YCbCr", 8: "Lab"}
TIFF_VALUES = {1: "whole numbers", 2: "whole numbers with a sign", 3: "floating point"}
VARIES = 255  # for the bits of a JPEG 2000 whose channels differ
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


def is_hidden(path: Path, folder: Path) -> bool:
    """Whether a path below a folder, or a folder between, has a name that begins with a dot: previews, what a Mac
    leaves beside every file on other systems' disks (._a.jpg). They are nobody's pictures."""
    return any(part.startswith(".") for part in path.relative_to(folder).parts)


@contextlib.contextmanager
def opened(path: str | os.PathLike) -> Iterator[Image.Image]:
    """A file's picture with its pixels loaded, the first of an animation, as it lies in the file; but a level or colour
    of a PNG that stands for transparency has become an alpha channel (other than of 16-bit grey, in info still).

    Raises ImageError for a missing, foreign or damaged file, one that does not fit in memory, one of a format that
    needs a package which is not installed, and for what goes wrong inside the block.
    """
    path = Path(path)
    if path.is_dir():
        raise ImageError(f"{path} is a folder, not a picture")
    if not path.exists():
        raise ImageError(f"{path} does not exist")
    _register()
    try:
        # An open file, not a name: from a name Pillow maps the pixels, and those of a rotated TIFF come sheared.
        with open(path, "rb") as file, _identified(file) as image:
            _check_memory(image)
            _part_layers(image)
            image.load()
            if image.format == "PNG" and image.mode in ("1", "L", "RGB") and "transparency" in image.info:
                image = _with_alpha(image, path)
            yield image
    except UnidentifiedImageError as error:
        missing = _missing_format(path)
        advice = (
            ADVICE[missing] if missing else _unread_tiff(path) or f"not a picture we can read ({', '.join(FORMATS)})"
        )
        raise ImageError(f"{path} is {advice}") from error
    except MemoryError:
        raise
    except Exception as error:  # on damaged files Pillow's decoders raise nearly anything
        raise ImageError(f"{path} cannot be read: {error or type(error).__name__}") from error


@functools.cache
def _register() -> None:
    """Have Pillow know its own formats and those of packages that are installed beside it."""
    Image.init()
    with contextlib.suppress(ImportError):
        if not find_spec("PIL._avif"):
            import pillow_avif  # noqa: F401
    with contextlib.suppress(ImportError):
        import pillow_heif

        pillow_heif.register_heif_opener()


def _identified(file: BinaryIO) -> Image.Image:
    """As Image.open, of FORMATS only, and without its limit of pixels, above which it speaks of decompression bombs."""
    start = file.read(16)
    for name in FORMATS:
        if name not in Image.OPEN:
            continue
        factory, accepts = Image.OPEN[name]
        if accepts and accepts(start) is not True:  # a text says which library is missing
            continue
        file.seek(0)
        with contextlib.suppress(SyntaxError, IndexError, TypeError, struct.error):  # not of this format after all
            return factory(file, "")
    raise UnidentifiedImageError


def _check_memory(image: Image.Image) -> None:
    """ValueError for a picture beyond Pillow's limit that would not fit in memory."""
    width, height = image.size
    need, free = width * height * BYTES_A_PIXEL, free_memory()
    if Image.MAX_IMAGE_PIXELS and width * height > 2 * Image.MAX_IMAGE_PIXELS and free is not None and need > free:
        raise ValueError(
            f"{width} x {height} pixels take about {need / 2**30:.1f} GiB of memory and {free / 2**30:.1f} GiB are "
            "free: scale it down"
        )


def _missing_format(path: Path) -> str | None:
    """Which of the formats that we could read, were a package installed, the file is of by its first bytes."""
    with open(path, "rb") as file:
        start = file.read(64)
    if start[4:8] != b"ftyp":
        return None
    size = min(int.from_bytes(start[:4], "big"), 64)
    brands = {start[place : place + 4] for place in (8, *range(16, size, 4))}
    if brands & {b"avif", b"avis"}:
        name = "AVIF"
    elif brands & {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}:
        name = "HEIF"
    else:
        return None
    return name if name in MISSING else None


def _unread_tiff(path: Path) -> str:
    """Which layout a TIFF has that Pillow does not know, and what to do; "" for other and for damaged files."""
    with contextlib.suppress(Exception), open(path, "rb") as file:  # Pillow raises nearly anything
        head = file.read(8)
        if not head.startswith(tuple(TiffImagePlugin.PREFIXES)):
            return ""
        head += file.read(8) if head[2] == BIG_TIFF or head[3] == BIG_TIFF else b""
        tags = TiffImagePlugin.ImageFileDirectory_v2(head)
        file.seek(tags.next)
        tags.load(file)
        colours = TIFF_COLOURS.get(tags.get(TIFF_PHOTOMETRIC), "unknown colours")
        values = TIFF_VALUES.get(np.max(tags.get(TIFF_FORMAT, 1)), "unknown values")
        channels, bits = tags.get(TIFF_SAMPLES, 1), np.max(tags[TIFF_BITS])
        layout = f"{colours} in {channels} channel{'s' * (channels > 1)} of {bits} bits, {values}"
        return f"a TIFF of a layout that is not read ({layout}): save it as RGB, RGBA or grey of 8 or 16 bits"
    return ""


def _with_alpha(image: Image.Image, path: Path) -> Image.Image:
    """A PNG with an alpha channel, 0 where it has the level or colour that its tRNS chunk names.

    Pillow compares that number, which the file gives in its own bits, with pixels that it has brought to 8."""
    with open(path, "rb") as file:
        file.seek(PNG_BITS)
        bits = file.read(1)[0]
    key, pixels = np.array(image.info.pop("transparency")), np.asarray(image)
    if image.mode == "1":
        other = pixels != (key > 0)
    elif image.mode == "L":
        most = 2**bits - 1
        other = pixels != (key & most) * (255 // most)
    elif bits == 8:
        other = (pixels != key & 255).any(2)
    else:
        other = (deep_values(path, image, lambda lying: lying) != key).any(2)
    if image.mode == "1":  # Pillow before 13 gives it no alpha
        name, image = image.format, image.convert("L")
        image.format = name
    image.putalpha(Image.fromarray(other.astype(np.uint8) * 255))
    return image


LOWER = {"16B": "16L", "16L": "16B", "16N": "16B" if sys.byteorder == "little" else "16L"}  # the other byte first
PREMULTIPLIED = "RGBa"  # Pillow's name for a TIFF's colours that are darkened by alpha


def deep_values(path: Path, image: Image.Image, turned: Callable[[Image.Image], Image.Image]) -> np.ndarray | None:
    """The values of a PNG or TIFF of 16 bits, or a PPM of more than 8, of which Pillow gives the upper bytes: uint16
    [H, W, 2|3|4], grey with alpha, RGB, RGBA (alpha straight) or, of mode CMYK, inks; None for other files.

    image: the file as it was opened. turned: what is to be done with a picture as it lies, such as `upright`."""
    if image.format == "PPM":  # which always stands upright
        return _deep_ppm(path)
    factory = {"PNG": PngImagePlugin.PngImageFile, "TIFF": TiffImagePlugin.TiffImageFile}.get(image.format)
    if factory is None or image.mode not in ("LA", "RGB", "RGBA", "CMYK"):
        return None

    def decoded(change: Callable[[str], str]) -> np.ndarray:
        with open(path, "rb") as file, factory(file) as again:
            _part_layers(again)
            again.tile = [_with_raw_mode(tile, change(_raw_mode(tile))) for tile in again.tile]
            if again.mode == "LA":
                again._mode = "RGBA"  # as many bytes
            again.load()
            return np.array(turned(again)).astype(np.uint16)

    with open(path, "rb") as file, factory(file) as again:
        modes = {_raw_mode(tile) for tile in again.tile} if _part_layers(again) else set()
    if modes == {"LA;16B"}:
        both = decoded(lambda mode: "RGBA")  # of grey and of alpha
        return both[..., 0::2] << 8 | both[..., 1::2]
    if not modes or not all(_is_deep(mode) for mode in modes):
        return None
    low = decoded(_swapped)
    if not any(mode.startswith(PREMULTIPLIED) for mode in modes):
        return np.asarray(turned(image))[..., : low.shape[2]].astype(np.uint16) << 8 | low
    return _straight(decoded(_as_stored) << 8 | low)


def _deep_ppm(path: Path) -> np.ndarray | None:
    with open(path, "rb") as file, PpmImagePlugin.PpmImageFile(file) as image:
        decoder, _, start, how = image.tile[0]
        white = how[1] if decoder in ("ppm", "ppm_plain") else 255
        if image.mode != "RGB" or white <= 255:
            return None
        (width, height), _ = image.size, file.seek(start)
        data = file.read()
    if decoder == "ppm_plain":
        values = np.array(re.sub(rb"#[^\r\n]*", b"", data).split()).astype(np.uint32)
    else:
        values = np.frombuffer(data, ">u2", width * height * 3).astype(np.uint32)
    values = np.minimum(values[: width * height * 3], white).reshape(height, width, 3)
    return ((values * 65535 + white // 2) // white).astype(np.uint16)


def stated_bits(path: Path, image: Image.Image) -> int:
    """Bits a channel, as TIFF and JPEG 2000 state them; 8 for other files."""
    if image.format == "JPEG2000":
        with open(path, "rb") as file:
            _, header, rest = file.read(200).partition(b"ihdr")
        return (rest[10] & 0x7F) + 1 if header and rest[10] != VARIES else 8
    return int(np.max(getattr(image, "tag_v2", {}).get(TIFF_BITS, 8)))


def _raw_mode(tile: tuple) -> str:
    return tile[3][0] if isinstance(tile[3], tuple) else tile[3]


def _with_raw_mode(tile: tuple, mode: str) -> tuple:
    given = (mode, *tile[3][1:]) if isinstance(tile[3], tuple) else mode
    return tile._replace(args=given)


def _is_deep(raw_mode: str) -> bool:
    colours, _, order = raw_mode.partition(";")
    return order in LOWER and colours in ("RGB", "RGBX", "RGBA", "CMYK", PREMULTIPLIED, *"RGBA")


def _swapped(raw_mode: str) -> str:
    """That takes the lower byte for the upper one."""
    colours, _, order = _as_stored(raw_mode).partition(";")
    return f"{colours};{LOWER[order]}"


def _as_stored(raw_mode: str) -> str:
    return raw_mode.replace(PREMULTIPLIED, "RGBA")


def _straight(values: np.ndarray) -> np.ndarray:
    """uint16 [H, W, 4] of which the colours are darkened by alpha."""
    alpha = values[..., 3:].astype(np.float32)
    colours = values[..., :3] * (65535 / np.maximum(alpha, 1))
    return np.dstack([np.minimum(colours + 0.5, 65535).astype(np.uint16), values[..., 3]])


def _part_layers(image: Image.Image) -> bool:
    """Let a TIFF of 16 bits whose colours lie in layers be read as such: Pillow takes them for layers of 8 bits.

    Whether raw modes can tell how it is read: not of packed layers, of which libtiff gives the upper bytes."""
    tags, bands = getattr(image, "tag_v2", {}), image.getbands()
    if tags.get(TIFF_PLANAR) != 2 or np.max(tags.get(TIFF_BITS, 1)) != 16:
        return True
    if tags.get(TIFF_COMPRESSION, 1) != 1 or any(_raw_mode(tile) == PREMULTIPLIED[-1] for tile in image.tile):
        return False
    order = "16B" if tags.prefix == b"MM" else "16L"
    in_layer = len(image.tile) // max(1, tags.get(TIFF_SAMPLES, 1))
    image.tile = [
        _with_raw_mode(tile, image.mode if len(bands) == 1 else f"{bands[index // in_layer]};{order}")
        for index, tile in enumerate(image.tile[: in_layer * len(bands)])
    ]
    return True


def exif_of(image: Image.Image) -> Image.Exif:
    """The picture's EXIF; empty where it is damaged, which is no fault of the picture."""
    with contextlib.suppress(Exception):  # Pillow raises nearly anything
        tags = image.getexif()
        tags.get(ORIENTATION_TAG)
        return tags
    return Image.Exif()


def upright(image: Image.Image) -> Image.Image:
    """The picture turned by its EXIF orientation; as it lies where that is damaged. Alpha is straight: of grey TIFFs
    Pillow leaves it premultiplied."""
    orientation = exif_of(image).get(ORIENTATION_TAG)
    image = image.transpose(UPRIGHT[orientation]) if orientation in UPRIGHT else image
    return image.convert("LA") if image.mode == "La" else image


def is_grey(image: Image.Image) -> bool:
    """Whether the picture's values are levels of grey, of any depth, with or without transparency."""
    return image.mode in ("1", "L", "LA", "F") or image.mode.startswith("I")


def deep_levels(image: Image.Image) -> tuple[int, int]:
    """The integers that stand for black and white in grey of more than 8 bits: of TIFFs some have 12, in some 0 is
    white. Of the picture as it was opened: turned upright it has lost what says so."""
    tags = getattr(image, "tag_v2", {})
    bits = np.max(tags.get(TIFF_BITS, 16))
    black, white = 0, 2 ** min(int(bits), 16) - 1
    return (white, black) if tags.get(TIFF_PHOTOMETRIC) == TIFF_WHITE_IS_ZERO else (black, white)
