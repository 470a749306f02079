"""Frames' colours: what a clip that does not say so means by them, and conversions that keep to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..matting.coding import DYNAMIC, UNUSUAL, WIDE

if TYPE_CHECKING:
    import av

# Numbers of ITU-T H.273, as FFmpeg uses them.
RGB, BT709, UNSPECIFIED, BT601_PAL, BT601, BT2020 = 0, 1, 2, 5, 6, 9
# Where H.273 numbers primaries and curve otherwise than the matrix: both kinds of BT.601 have one curve, and 9 is not
# BT.2020's but a logarithmic one.
PRIMARIES, TRANSFERS = {10: BT2020}, {BT601_PAL: BT601, BT2020: 14, 10: 14}
LIMITED, FULL = 1, 2  # luma 16-235 or 0-255, as FFmpeg numbers ranges
SCALER = {BT709: 1, 4: 4, BT601_PAL: 5, BT601: 5, 7: 7, BT2020: 9, 10: 9}  # H.273 matrix -> the scaler's number
FLOATS = ("gbrpf32le", "gbrapf32le")
BILINEAR, BICUBIC, AREA = 2, 4, 32  # of the scaler
# Bilinear chroma without the scaler's shortcuts: ACCURATE_RND, FULL_CHR_H_INT and FULL_CHR_H_INP. A 1080p frame to RGB
# takes 7.5 ms of a CPU with and 1.1 ms without them, and then a matte differed by up to 8 % from that of the picture.
EXACT = BILINEAR | 0x40000 | 0x2000 | 0x4000
# Red's and blue's share of luma, by H.273's number of the matrix.
LUMA = {BT709: (0.2126, 0.0722), 4: (0.30, 0.11), 7: (0.212, 0.087), BT2020: (0.2627, 0.0593), 10: (0.2627, 0.0593)}
LUMA |= dict.fromkeys((BT601_PAL, BT601), (0.299, 0.114))


@dataclass(frozen=True)
class Colours:
    """H.273's numbers for a clip's colours; always limited range."""

    matrix: int
    primaries: int
    transfer: int

    @classmethod
    def of(cls, picture: av.VideoFrame, primaries: int = UNSPECIFIED, transfer: int = UNSPECIFIED) -> Colours:
        """A frame's colours, with its stream's primaries and transfer curve. What is left open is as players take it:
        BT.709 from 720 lines on, else BT.601."""
        matrix = picture.colorspace
        if matrix == RGB or picture.format.is_rgb:
            matrix = BT709
        if matrix not in SCALER:
            matrix = BT709 if picture.height >= 720 else BT601_PAL if picture.height == 576 else BT601
        return cls(
            matrix=matrix,
            primaries=PRIMARIES.get(matrix, matrix) if primaries in (0, UNSPECIFIED) else primaries,
            transfer=TRANSFERS.get(matrix, matrix) if transfer in (0, UNSPECIFIED) else transfer,
        )

    @property
    def dynamic(self) -> str:
        """The name of a curve of high dynamic range; "" for others."""
        return DYNAMIC.get(self.transfer, "")

    @property
    def curve(self) -> str:
        """The name of a curve that looks wrong where sRGB's is expected; "" for others."""
        return DYNAMIC.get(self.transfer) or UNUSUAL.get(self.transfer, "")

    @property
    def to_be_told(self) -> bool:
        """Whether they look wrong in a picture that says nothing, which is taken for sRGB."""
        return bool(self.curve) or self.primaries in WIDE

    def tag(self, context: av.VideoCodecContext) -> None:
        """Write them into an encoder's context."""
        context.colorspace, context.color_range = self.matrix, LIMITED
        context.color_primaries, context.color_trc = self.primaries, self.transfer


def to_pixels(picture: av.VideoFrame, pixels: str, colours: Colours) -> av.VideoFrame:
    """The frame in another YUV pixel format, in `colours` and limited range. Always a frame of its own, that may be
    written to."""
    if not picture.format.is_rgb and picture.colorspace != colours.matrix and picture.colorspace not in SCALER:
        picture.colorspace = colours.matrix
    given = _yuv(to_deep_rgb(picture), colours.matrix) if _by_floats(picture, pixels) else picture
    made = given.reformat(
        format=pixels, dst_colorspace=SCALER[colours.matrix], dst_color_range=LIMITED, interpolation=EXACT
    )
    if made is picture:
        made = copied(picture)
    return made


def _by_floats(picture: av.VideoFrame, pixels: str) -> bool:
    """Whether the scaler would miss white: it takes 255 << 8 for that of all RGB, and stretches no range to more than 8
    bits."""
    import av

    if _is_yuv(picture) and not _is_full(picture):
        return False
    wanted = av.VideoFormat(pixels).components[0].bits
    return _bits(picture) != 8 or (_is_yuv(picture) and wanted > 8)


def to_rgb(picture: av.VideoFrame, size: tuple[int, int] | None = None) -> np.ndarray:
    """The frame's colours, uint8 [H, W, 3]; at size (width, height) if given."""
    if picture.format.is_rgb and _bits(picture) > 8:  # the scaler cuts them off
        return integers(torch.from_numpy(to_deep_rgb(picture, size)).clamp(0, 1), 8)
    return _scaled(picture, "rgb24", size).to_ndarray()


def to_deep_rgb(picture: av.VideoFrame, size: tuple[int, int] | None = None) -> np.ndarray:
    """The frame's colours with all their bits, float32 [H, W, 3]: 0 is black and 1 white. YUV goes beyond both, as the
    whites of cameras do, and so do floats."""
    if picture.format.name in FLOATS and size in (None, (picture.width, picture.height)):
        values = [np.frombuffer(part, np.float32).reshape(part.height, -1) for part in picture.planes]
        return np.stack([values[index][:, : picture.width] for index in (2, 0, 1)], axis=-1)
    if _is_yuv(picture):
        return _rgb(picture, size)
    if _bits(picture) < 8:  # which the scaler shifts, so that white ends up at 248
        return to_rgb(picture, size).astype(np.float32) / 255
    # With alpha where it has that: the scaler of FFmpeg 8 leaves noise of gbrap16 where it is to drop the alpha.
    planes = _scaled(picture, "gbrap16le" if picture.format.name == "gbrap16le" else "gbrp16le", size)
    values = np.stack([plane(planes, index) for index in (2, 0, 1)], axis=-1).astype(np.float32)
    return np.minimum(values / _most(_bits(picture)), 1, out=values)


def from_deep_rgb(rgb: Tensor) -> av.VideoFrame:
    """A frame of floats from [H, W, 3], as of to_deep_rgb."""
    import av

    made = av.VideoFrame(rgb.shape[1], rgb.shape[0], "gbrpf32le")
    for part, channel in zip(made.planes, (1, 2, 0)):
        np.frombuffer(part, np.float32).reshape(part.height, -1)[:, : part.width] = rgb[..., channel].numpy()
    return made


def _rgb(picture: av.VideoFrame, size: tuple[int, int] | None) -> np.ndarray:
    """As to_deep_rgb, of YUV: the scaler enlarges the chroma and shifts to 16 bits, the matrix is ours, for the
    scaler's own ends at white."""
    _tag_open_matrix(picture)
    full, top, matrix = _is_full(picture), _most(_bits(picture)), picture.colorspace
    if full:  # called limited, or the scaler does more than shift
        picture = copied(picture, picture.format.name.replace("yuvj", "yuv"))
        picture.colorspace, picture.color_range = matrix, LIMITED
    has_alpha = any(component.is_alpha for component in picture.format.components)
    planes = _scaled(picture, "yuva444p16le" if has_alpha else "yuv444p16le", size)
    luma, blue, red = (plane(planes, index).astype(np.float32) for index in range(3))
    luma -= 0 if full else 16 << 8
    luma /= top if full else 219 << 8
    for chroma in (blue, red):
        chroma -= 128 << 8
        chroma /= top if full else 224 << 8
    of_red, of_blue = LUMA[matrix]
    of_green = 1 - of_red - of_blue
    rgb = np.empty((*luma.shape, 3), np.float32)
    red *= 2 * (1 - of_red)  # R - Y
    blue *= 2 * (1 - of_blue)  # B - Y
    np.add(luma, red, out=rgb[..., 0])
    np.add(luma, blue, out=rgb[..., 2])
    red *= of_red / of_green
    blue *= of_blue / of_green
    luma -= red
    np.subtract(luma, blue, out=rgb[..., 1])
    return rgb


def _yuv(rgb: np.ndarray, matrix: int) -> av.VideoFrame:
    """[H, W, 3] as of to_deep_rgb as YUV of 16 bits in limited range, cut off where that ends: whites at 109 %."""
    import av

    of_red, of_blue = LUMA[matrix]
    luma = rgb @ np.float32((of_red, 1 - of_red - of_blue, of_blue))
    made = av.VideoFrame(rgb.shape[1], rgb.shape[0], "yuv444p16le")
    chroma = ((rgb[..., channel] - luma) / (2 * (1 - own)) for channel, own in ((2, of_blue), (0, of_red)))
    for index, values in enumerate((luma, *chroma)):
        zero, steps = (16 << 8, 219 << 8) if index == 0 else (128 << 8, 224 << 8)
        plane(made, index)[:] = (values * steps + (zero + 0.5)).clip(0, 65535)
    made.colorspace, made.color_range = matrix, LIMITED
    return made


def to_seen(picture: av.VideoFrame, size: tuple[int, int]) -> Tensor:
    """What a network sees of a frame: RGB float32 [h, w, 3] 0..1 of size (width, height).

    The same as resizing the picture's RGB in floats, by 0.007 of 255 levels on average (1080p to 416; more in the
    outermost pixels, where the scaler repeats the border), in half the time: as planes that the scaler takes for YUV,
    of which it makes 16-bit results fast. Resizing in 8 bits would be off by 0.27 levels.
    """
    import av

    _tag_open_matrix(picture)
    rgb = picture.reformat(format="gbrp", interpolation=EXACT)
    planes = av.VideoFrame(picture.width, picture.height, "yuv444p")
    for index in range(3):
        plane(planes, index)[:] = plane(rgb, index)
    width, height = size
    small = planes.reformat(width=width, height=height, format="yuv444p16le", interpolation=EXACT)
    green, blue, red = (plane(small, index) for index in range(3))
    return torch.from_numpy(np.stack([red, green, blue], axis=-1).astype(np.float32) / (255 << 8))


def _is_yuv(picture: av.VideoFrame) -> bool:
    """Of three components; grey, palettes and XYZ are none."""
    kind = picture.format
    return not kind.is_rgb and len(kind.components) >= 3 and not kind.name.startswith("xyz")


def _is_full(picture: av.VideoFrame) -> bool:
    return picture.color_range == FULL or picture.format.name.startswith("yuvj")


def _bits(picture: av.VideoFrame) -> int:
    return picture.format.components[0].bits


def _most(bits: int) -> int:
    """What the scaler makes of the largest value of so many bits, shifted to 16."""
    bits = min(bits, 16)
    return (2**bits - 1) << (16 - bits)


def _tag_open_matrix(picture: av.VideoFrame) -> None:
    if not picture.format.is_rgb and picture.colorspace not in SCALER:
        picture.colorspace = Colours.of(picture).matrix


def _scaled(picture: av.VideoFrame, pixels: str, size: tuple[int, int] | None) -> av.VideoFrame:
    _tag_open_matrix(picture)
    width, height = size or (picture.width, picture.height)
    kind = _interpolation(picture, (width, height))
    return picture.reformat(width=width, height=height, format=pixels, interpolation=kind)


def _interpolation(picture: av.VideoFrame, size: tuple[int, int]) -> int:
    if size == (picture.width, picture.height):
        return EXACT
    shrinks = size[0] <= picture.width and size[1] <= picture.height
    return EXACT & ~BILINEAR | (AREA if shrinks else BICUBIC)


def resized(picture: av.VideoFrame, size: tuple[int, int]) -> av.VideoFrame:
    """The frame at size (width, height), in its own colours and with its own alpha."""
    if size == (picture.width, picture.height):
        return picture
    pixels = "rgba" if picture.format.name == "pal8" else picture.format.name  # the scaler makes no palettes
    kind = _interpolation(picture, size)
    return picture.reformat(width=size[0], height=size[1], format=pixels, interpolation=kind)


def own_alpha(picture: av.VideoFrame) -> np.ndarray | None:
    """The frame's own transparency [H, W] float32 0..1, None when its pixel format has none."""
    found = [index for index, component in enumerate(picture.format.components) if component.is_alpha]
    if not found:
        return None
    index, bits = found[0], picture.format.components[found[0]].bits
    if picture.format.is_planar and bits <= 16:
        # As it is stored: through the scaler opaque 10 and 12 bits become a step less.
        values = plane(picture, index)
        values = values.byteswap() if bits > 8 and picture.format.is_big_endian else values
        return values.astype(np.float32) / (2**bits - 1)
    pixels, most = ("rgba", 255) if bits <= 8 else ("rgba64le", 65535)
    return picture.reformat(format=pixels).to_ndarray()[..., 3].astype(np.float32) / most


def copied(picture: av.VideoFrame, pixels: str | None = None) -> av.VideoFrame:
    """A frame of its own with the same planes: what a decoder gives may still be its reference. pixels: what their
    format is to be called."""
    import av

    made = av.VideoFrame(picture.width, picture.height, pixels or picture.format.name)
    for target, plane in zip(made.planes, picture.planes):
        rows = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)
        width = min(plane.line_size, target.line_size)
        np.frombuffer(target, np.uint8).reshape(target.height, target.line_size)[:, :width] = rows[:, :width]
    return made


def plane(frame: av.VideoFrame, index: int) -> np.ndarray:
    """A writable view of one plane [h, w], uint8 or, for deeper formats, uint16."""
    found = frame.planes[index]
    kind = np.uint8 if frame.format.components[index].bits <= 8 else np.uint16
    return np.frombuffer(found, kind).reshape(found.height, -1)[:, : found.width]


def levels(alpha: Tensor, size: tuple[int, int], bits: int) -> np.ndarray:
    """alpha [h, w] 0..1, resized to `size` (width, height), as the nearest of 0..2^bits - 1: uint8 or uint16 [H, W].

    FFmpeg's scaler resizes and rounds at once: 416 x 416 to 1080p takes it 1.1 ms of a CPU, and floats 11.
    """
    import av

    if alpha.shape == (size[1], size[0]):
        return integers(alpha, bits)
    small = av.VideoFrame.from_ndarray(integers(alpha, 16), format="gray16le")
    kind = "gray" if bits == 8 else f"gray{bits}le"
    return plane(small.reformat(width=size[0], height=size[1], format=kind, interpolation=EXACT), 0)


def integers(alpha: Tensor, bits: int) -> np.ndarray:
    """0..1 -> the nearest of 0..2^bits - 1, as uint8 or uint16."""
    most = 2**bits - 1
    return (alpha * most + 0.5).numpy().astype(np.uint8 if bits <= 8 else np.uint16)
