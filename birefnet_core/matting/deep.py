"""Picture files of 16 bits a channel with alpha, which Pillow does not write: PNG, TIFF, and EXR in linear light.

The pixels are encoded here or by FFmpeg; what else a file says is written by Pillow as into any other of its kind.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image, TiffImagePlugin

from .coding import PNG_START
from .linear import to_linear

PNG_PIXELS = (b"IHDR", b"IDAT", b"IEND")
STRIP = 1 << 22  # bytes of a TIFF that are packed at once
EXR_LINES = 16  # rows in a piece of an EXR
BAND = 64  # rows brought to linear light at once
XMP, ICC_PROFILE, EXIF_IFD, GPS_IFD = 700, 34675, 0x8769, 0x8825
STRAIGHT, PREMULTIPLIED = 2, 1  # of TIFF's tag ExtraSamples


def write_png(path: Path, rgba: np.ndarray, **options) -> None:
    """rgba: uint16 [H, W, 4], straight. options: as Image.save takes them for PNG."""
    import av

    context = _encoder("png", rgba.shape, "rgba64be", {"compression_level": "6", "pred": "mixed"})
    pixels = _chunks(_encoded(context, av.VideoFrame.from_ndarray(rgba, format="rgba64le").reformat(format="rgba64be")))
    like = io.BytesIO()
    Image.new("RGBA", (1, 1)).save(like, format="PNG", **{k: v for k, v in options.items() if k != "format"})
    others = [chunk for name, chunk in _chunks(like.getvalue()) if name not in PNG_PIXELS]
    head, *rest = [chunk for name, chunk in pixels if name in PNG_PIXELS]
    with open(path, "wb") as file:
        file.writelines([PNG_START, head, *others, *rest])


def put_position(path: Path, position: tuple[int, int]) -> None:
    """Let a PNG say where in a larger picture it lies: (x, y) in pixels."""
    put_chunk(path, b"oFFs", struct.pack(">iiB", *position, 0))


def put_chunk(path: Path, name: bytes, content: bytes) -> None:
    """Add a chunk to a PNG, before all others that may come in any order."""
    data = path.read_bytes()
    end = len(PNG_START) + 25  # of IHDR
    chunk, length = name + content, struct.pack(">I", len(content))
    path.write_bytes(data[:end] + length + chunk + struct.pack(">I", zlib.crc32(chunk)) + data[end:])


def _chunks(data: bytes) -> list[tuple[bytes, memoryview]]:
    """(name, all of it) of each chunk of a PNG."""
    found, place, view = [], len(PNG_START), memoryview(data)
    while place < len(data):
        (length,) = struct.unpack_from(">I", data, place)
        found.append((data[place + 4 : place + 8], view[place : place + 12 + length]))
        place += 12 + length
    return found


def write_tiff(
    path: Path,
    rgba: np.ndarray,
    *,
    premultiplied: bool = False,
    dpi: tuple[float, float] | None = None,
    exif: bytes = b"",
    icc_profile: bytes | None = None,
    xmp: bytes = b"",
    position: tuple[int, int] = (0, 0),
) -> None:
    """rgba: uint8 or uint16 [H, W, 4]; premultiplied: whether its colours are. dpi: pixels an inch. position: of the
    picture in a larger one, in pixels."""
    height, width, channels = rgba.shape
    bits = 8 * rgba.itemsize
    rows = max(1, STRIP // (width * channels * rgba.itemsize))
    strips = [_packed(rgba[first : first + rows]) for first in range(0, height, rows)]
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    _put_exif(tags, exif)
    tags[256], tags[257], tags[258] = width, height, (bits,) * channels
    tags[259], tags[262], tags[277], tags[278], tags[284] = 8, 2, channels, rows, 1  # deflate, RGB, rows, interleaved
    tags[279], tags[317] = tuple(map(len, strips)), 2  # each value less the one to its left
    tags[338] = PREMULTIPLIED if premultiplied else STRAIGHT
    across, down = dpi or (72.0, 72.0)
    if dpi or any(position):
        tags[282], tags[283], tags[296] = across, down, 2
    if any(position) and min(position) >= 0:  # TIFF has none outside
        tags[286], tags[287] = position[0] / across, position[1] / down
    if icc_profile:
        tags.tagtype[ICC_PROFILE], tags[ICC_PROFILE] = 7, icc_profile
    if xmp:
        tags.tagtype[XMP], tags[XMP] = 1, xmp
    # Pillow adds the place at which the directory ends.
    tags.tagtype[273], tags[273] = 4, tuple(sum(map(len, strips[:index])) for index in range(len(strips)))
    with open(path, "wb") as file:
        file.write(struct.pack("<2sHI", b"II", 42, 8) + tags.tobytes(8))
        file.writelines(strips)


def _packed(rows: np.ndarray) -> bytes:
    differences = rows.copy()
    differences[:, 1:] -= rows[:, :-1]
    return zlib.compress(differences.astype(rows.dtype.newbyteorder("<")).tobytes())


def _put_exif(tags: TiffImagePlugin.ImageFileDirectory_v2, exif: bytes) -> None:
    if not exif:
        return
    given = Image.Exif()
    given.load(exif)
    for tag, value in given.items():
        if tag not in (EXIF_IFD, GPS_IFD):
            tags[tag] = value
    for place in (EXIF_IFD, GPS_IFD):
        if inside := dict(given.get_ifd(place)):
            tags[place] = inside


def write_exr(
    path: Path,
    rgba: np.ndarray,
    *,
    to_light: Callable[[np.ndarray], np.ndarray] = to_linear,
    premultiplied: bool = True,
    dpi: tuple[float, float] | None = None,
) -> None:
    """rgba: float32 [H, W, 4] 0..1, straight; to_light makes linear light of colours [..., 3], by default of sRGB's. It
    is written as half floats, multiplied with alpha unless premultiplied is False. dpi: pixels an inch, of which EXR
    has those across."""
    import av

    height, width = rgba.shape[:2]
    frame = av.VideoFrame(width, height, "gbrapf32le")
    planes = [np.frombuffer(plane, np.float32).reshape(height, -1)[:, :width] for plane in frame.planes]
    for first in range(0, height, BAND):
        band = slice(first, first + BAND)
        light, alpha = to_light(rgba[band, :, :3]), rgba[band, :, 3]
        if premultiplied:
            light *= alpha[..., None]
        for plane, values in zip(planes, (light[..., 1], light[..., 2], light[..., 0], alpha)):
            plane[band] = values.astype(np.float16)  # rounded; the encoder would cut off
    options = {"format": "half", "compression": f"zip{EXR_LINES}"}
    data = _encoded(_encoder("exr", rgba.shape, "gbrapf32le", options), frame)
    path.write_bytes(with_attribute(data, b"xDensity", b"float", struct.pack("<f", dpi[0])) if dpi else data)


def put_windows(path: Path, position: tuple[int, int], whole: tuple[int, int]) -> None:
    """Let an EXR of scan lines say where in a larger picture it lies: position (x, y) of its upper left corner, and the
    (width, height) of the whole. Its data window moves there, the whole becomes its display window."""
    data = bytearray(path.read_bytes())
    (x, y), (places, end) = position, _header(data)
    left, top, right, bottom = struct.unpack_from("<4i", data, places[b"dataWindow"])
    for index in range(_pieces(data, places)):  # the table of where the pieces begin: each says its row
        (piece,) = struct.unpack_from("<Q", data, end + 8 * index)
        (row,) = struct.unpack_from("<i", data, piece)
        struct.pack_into("<i", data, piece, row + y)
    struct.pack_into("<4i", data, places[b"dataWindow"], left + x, top + y, right + x, bottom + y)
    struct.pack_into("<4i", data, places[b"displayWindow"], 0, 0, whole[0] - 1, whole[1] - 1)
    path.write_bytes(data)


def with_attribute(data: bytes, name: bytes, kind: bytes, content: bytes) -> bytes:
    """An EXR of scan lines whose header has this attribute, too. name, kind: of OpenEXR's standard attributes."""
    places, end = _header(data)
    added = name + b"\0" + kind + b"\0" + struct.pack("<i", len(content)) + content
    pieces = _pieces(data, places)
    begins = np.frombuffer(data, "<u8", pieces, end) + np.uint64(len(added))
    return data[: end - 1] + added + b"\0" + begins.astype("<u8").tobytes() + data[end + 8 * pieces :]


def _header(data: bytes) -> tuple[dict[bytes, int], int]:
    """Where in an EXR the content of each attribute begins, by name, and where the table of its pieces does."""
    places, place = {}, 8
    while data[place]:
        end = data.index(b"\0", place)
        name, start = bytes(data[place:end]), data.index(b"\0", end + 1) + 1  # after its type
        (size,) = struct.unpack_from("<i", data, start)
        places[name], place = start + 4, start + 4 + size
    return places, place + 1


def _pieces(data: bytes, places: dict[bytes, int]) -> int:
    _, top, _, bottom = struct.unpack_from("<4i", data, places[b"dataWindow"])
    return -(-(bottom + 1 - top) // EXR_LINES)


def _encoder(codec: str, shape: tuple[int, ...], pixels: str, options: dict[str, str]):
    import av

    context = av.CodecContext.create(codec, "w")
    context.height, context.width, context.pix_fmt = shape[0], shape[1], pixels
    context.time_base = Fraction(1, 25)
    context.options = options
    return context


def _encoded(context, frame) -> bytes:
    frame.pts = 0
    return b"".join(bytes(packet) for packet in [*context.encode(frame), *context.encode(None)])
