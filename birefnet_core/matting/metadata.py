"""What a picture's file says of it beside its pixels: resolution, EXIF, XMP, made true of the mattes cut from it."""

from __future__ import annotations

import contextlib
import math
import re
from dataclasses import dataclass, replace

from PIL import Image, PngImagePlugin

from ..picture_files import ORIENTATION_TAG, exif_of

EXIF_IFD, GPS_IFD, INTEROP_IFD = 0x8769, 0x8825, 0xA005
X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT = 282, 283, 296
RESOLUTION = {X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT}
INCHES = 2
JFIF_UNITS, TAGGED_UNITS = {1: 1.0, 2: 2.54}, {INCHES: 1.0, 3: 2.54}  # inch and centimetre
WIDTH, HEIGHT = 256, 257
EXIF_WIDTH, EXIF_HEIGHT = 0xA002, 0xA003
# Tags that say how the pixels lie in the old file, or belong to another place in the new one: of a TIFF's directory,
# which is its EXIF too. Orientation among them, since the picture has been turned upright.
OF_THE_FILE = frozenset((254, 255, ORIENTATION_TAG, 700, 33723, 34377, 34675, 37724)).union(
    range(256, 267), range(273, 282), range(284, 294), (297, 301), range(317, 348), range(512, 533)
) - RESOLUTION  # fmt: skip
LONGEST_IN_JPEG = 65000  # bytes of EXIF or XMP; a segment ends at 65,535
XMP_CHUNK = "XML:com.adobe.xmp"


@dataclass(frozen=True)
class Metadata:
    """dpi: pixels an inch across and down, None where unknown. exif: from b"Exif\\0\\0" on, empty without any. xmp: an
    XMP packet, empty without one."""

    dpi: tuple[float, float] | None = None
    exif: bytes = b""
    xmp: bytes = b""


def metadata_of(image: Image.Image, size: tuple[int, int]) -> Metadata:
    """Of a picture as it was opened, true of it turned upright, size (width, height) then: no orientation, no preview,
    sizes and resolution as it stands. What is damaged is left away."""
    tags = exif_of(image)
    dpi = _dpi(image, tags)
    lying = getattr(image, "tag_v2", {})  # TIFFs are turned by Pillow, which forgets the orientation then
    turned = (lying.get(WIDTH), lying.get(HEIGHT)) == size[::-1] != size
    if dpi and (turned or tags.get(ORIENTATION_TAG) in (5, 6, 7, 8)):
        dpi = dpi[::-1]
    exif = b""
    with contextlib.suppress(Exception):
        exif = _exif(tags, size, dpi)
    return Metadata(dpi, exif, _xmp(image, size))


def save_options(metadata: Metadata, format: str) -> dict:
    """What Image.save takes to write it with Pillow's PNG, JPEG or WEBP; what a JPEG cannot hold is left away."""
    exif, xmp = metadata.exif, metadata.xmp
    options = {} if metadata.dpi is None else {"dpi": metadata.dpi}
    if format == "PNG":
        if xmp:
            options["pnginfo"] = PngImagePlugin.PngInfo()
            options["pnginfo"].add_itxt(XMP_CHUNK, xmp.decode("utf-8", "replace"))
    elif format == "JPEG":
        exif, xmp = (data if len(data) <= LONGEST_IN_JPEG else b"" for data in (exif, xmp))
        options |= {"xmp": xmp} if xmp else {}
    else:
        exif = _with_resolution(exif, metadata.dpi)  # WebP has no other place for it
        options |= {"xmp": xmp} if xmp else {}
    return options | ({"exif": exif} if exif else {})


def at_size(metadata: Metadata, size: tuple[int, int]) -> Metadata:
    """The same, true of the picture cut or padded to size (width, height)."""
    exif = metadata.exif
    if exif:
        tags = Image.Exif()
        tags.load(exif)
        exif = _exif(tags, size, None)
    return replace(metadata, exif=exif, xmp=_with_size(metadata.xmp, size))


def _dpi(image: Image.Image, tags: Image.Exif) -> tuple[float, float] | None:
    """As the file states it. Pillow's own `dpi` is made up where a TIFF (1) or a JPEG with EXIF (72) states none."""
    found = None
    with contextlib.suppress(Exception):
        if image.format in ("JPEG", "MPO"):
            found = _an_inch(image.info.get("jfif_density"), image.info.get("jfif_unit"), JFIF_UNITS)
        elif image.format != "TIFF":  # whose directory `tags` is
            found = image.info.get("dpi")
        if found is None and X_RESOLUTION in tags and Y_RESOLUTION in tags:
            numbers = tags[X_RESOLUTION], tags[Y_RESOLUTION]
            found = _an_inch(numbers, tags.get(RESOLUTION_UNIT, INCHES), TAGGED_UNITS)
        across, down = map(float, found or (0, 0))
        if all(math.isfinite(number) and 1 <= number < 2**16 for number in (across, down)):
            return across, down
    return None


def _an_inch(numbers: tuple | None, unit: int | None, units: dict[int, float]) -> tuple[float, float] | None:
    """Pixels an inch from pixels a unit; None where the unit says that only their ratio is meant."""
    if numbers is None or unit not in units:
        return None
    return float(numbers[0]) * units[unit], float(numbers[1]) * units[unit]


def _exif(tags: Image.Exif, size: tuple[int, int], dpi: tuple[float, float] | None) -> bytes:
    made = Image.Exif()
    for tag, value in tags.items():
        if tag not in OF_THE_FILE and tag not in (EXIF_IFD, GPS_IFD):
            made[tag] = value
    camera, place = dict(tags.get_ifd(EXIF_IFD)), dict(tags.get_ifd(GPS_IFD))
    if INTEROP_IFD in camera:
        camera[INTEROP_IFD] = dict(tags.get_ifd(INTEROP_IFD))
    camera |= {tag: side for tag, side in zip((EXIF_WIDTH, EXIF_HEIGHT), size, strict=True) if tag in camera}
    made.update({tag: directory for tag, directory in ((EXIF_IFD, camera), (GPS_IFD, place)) if directory})
    if made.keys() <= RESOLUTION:
        return b""
    if dpi:
        _set_resolution(made, dpi)
    return made.tobytes()


def _with_resolution(exif: bytes, dpi: tuple[float, float] | None) -> bytes:
    if dpi is None:
        return exif
    tags = Image.Exif()
    if exif:
        tags.load(exif)
    _set_resolution(tags, dpi)
    return tags.tobytes()


def _set_resolution(tags: Image.Exif, dpi: tuple[float, float]) -> None:
    tags[X_RESOLUTION], tags[Y_RESOLUTION], tags[RESOLUTION_UNIT] = *dpi, INCHES


def _xmp(image: Image.Image, size: tuple[int, int]) -> bytes:
    packet = image.info.get("xmp") or image.info.get(XMP_CHUNK) or b""
    if isinstance(packet, str):
        packet = packet.encode()
    if not isinstance(packet, bytes):
        return b""
    packet = _with_size(packet, size)
    packet = re.sub(rb"<(xmp|xap):Thumbnails\b.*?</\1:Thumbnails>", b"", packet, flags=re.DOTALL)
    return re.sub(rb"\s*xmpNote:HasExtendedXMP\s*=\s*\"[^\"]*\"", b"", packet)  # which stands in segments of its own


def _with_size(packet: bytes, size: tuple[int, int]) -> bytes:
    width, height = size
    true = {"tiff:Orientation": 1, "tiff:ImageWidth": width, "tiff:ImageLength": height}
    true |= {"exif:PixelXDimension": width, "exif:PixelYDimension": height}
    for name, value in true.items():
        attribute, element = rb"(\b%b\s*=\s*[\"'])[^\"']*", rb"(<%b>)[^<]*"
        for pattern in (attribute, element):
            packet = re.sub(pattern % name.encode(), rb"\g<1>%d" % value, packet)
    return packet
