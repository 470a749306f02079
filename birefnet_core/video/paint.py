"""From a frame and its alpha to the frame that is encoded: cut-out, composite, mask, side by side.

Everything is done in the clip's own YUV colours and, where it can be, in the pixel format that is encoded. Blending is
linear, so that the result is that of blending encoded RGB, without two conversions (30 ms for a 1080p frame; FFmpeg's
maskedmerge takes 4).
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..matting.tensors import resize
from .behind import Background, Behind, backgrounds
from .colour import Colours, from_deep_rgb, levels, own_alpha, plane, to_deep_rgb, to_pixels
from .cutouts import check_alphas, cutouts
from .formats import Format
from .screens import Screens

if TYPE_CHECKING:
    import av

CHECKS = 16  # pixels a square of the checkerboard
FULL = "yuv444p"
Painter = Callable[["av.VideoFrame", Tensor, Fraction], "av.VideoFrame"]


def painter(
    format: Format,
    size: tuple[int, int],
    colours: Colours,
    *,
    background: Background = "#00ff00",
    clean_foreground: bool = False,
    alphas: str | None = None,
    pixel_aspect: Fraction = Fraction(1),
    screens: Screens | None = None,
) -> Painter:
    """What makes the frame to encode from a source frame of `size` (width, height), the alpha [h, w] 0..1 of any size
    that the network gives it, and the time in seconds at which it is shown. What is transparent in the frame itself
    stays so.

    background: of a composite, as of behind.backgrounds. clean_foreground: take the background's colour out of
    half-transparent pixels. alphas: of a cut-out, as of cutouts.check_alphas. pixel_aspect: width / height of the
    frames' pixels as shown. screens: what keys or despills the frames; the painter then takes a clip's frames in order.
    ValueError for an unknown colour, images.ImageError for a picture that cannot be read.
    """
    if format.shows != "cutout" or alphas is not None:
        check_alphas(format, alphas)
    behind = backgrounds(background, size, pixel_aspect) if format.shows == "composite" else None
    show = _shown(format, size, colours, behind, alphas)
    clean = clean_foreground and format.shows != "alpha"

    def paint(picture, alpha, seconds=Fraction(0)):
        own, foreground = own_alpha(picture), picture
        if own is not None or clean or screens is not None:
            own = None if own is None else torch.from_numpy(own)
            alpha = resize(alpha[None, None], (picture.height, picture.width))[0, 0].clamp(0, 1)
        if clean or screens is not None:
            rgb = torch.from_numpy(to_deep_rgb(picture))
            inside = rgb.clamp(0, 1)
            colours = _clean(inside, alpha, own) if clean else None
            alpha, colours = (screens and screens(inside, alpha, colours)) or (alpha, colours)
            if colours is not None:  # what the subject has beyond white and black stays on it
                foreground = from_deep_rgb(colours.clamp(0, 1) + alpha[..., None] * (rgb - inside))
        return show(picture, foreground, alpha if own is None else alpha * own, seconds)

    return paint


def _shown(
    format: Format, size: tuple[int, int], colours: Colours, behind: Behind | None, alphas: str | None
) -> Callable:
    """What makes the frame to encode from source, the same with its foreground's colours, alpha and the time."""
    if format.shows == "alpha":
        return lambda picture, foreground, alpha, seconds: _mask(size, alpha)
    if format.shows == "cutout":
        cutout = cutouts(format, colours, alphas)
        return lambda picture, foreground, alpha, seconds: cutout(foreground, alpha)
    side_by_side = format.shows == "side-by-side"
    pixels = FULL if side_by_side or size[0] % 2 or size[1] % 2 else format.pixels
    merge = _Merge(size, pixels, colours)
    board = checkerboard(size)

    def composite(picture, foreground, alpha, seconds):
        background = board if behind is None else behind(seconds)
        merged = merge(to_pixels(foreground, pixels, colours), alpha, background)
        if side_by_side:
            merged = _beside(to_pixels(picture, FULL, colours), _grey(size, alpha), merged)
        return merged if pixels == format.pixels else to_pixels(_even(merged), format.pixels, colours)

    return composite


def checkerboard(size: tuple[int, int]) -> np.ndarray:
    """uint8 [H, W, 3] of two greys."""
    width, height = size
    odd = (np.arange(height)[:, None] // CHECKS + np.arange(width)[None, :] // CHECKS) % 2
    return np.where(odd[..., None], np.uint8(160), np.uint8(96)).repeat(3, axis=2)


def _clean(rgb: Tensor, alpha: Tensor, own: Tensor | None) -> Tensor:
    """The foreground's own colours in a picture [H, W, 3]. alpha, own: the network's and the frame's own, [H, W]."""
    from ..matting.foreground import estimate_foreground

    return estimate_foreground(rgb[None], alpha[None], None if own is None else own[None])[0]


def _mask(size: tuple[int, int], alpha: Tensor) -> av.VideoFrame:
    import av

    width, height = ((side + 1) // 2 * 2 for side in size)
    made = av.VideoFrame(width, height, "yuv420p")
    plane(made, 0)[:] = np.pad(_luma(size, alpha), ((0, height - size[1]), (0, width - size[0])), mode="edge")
    for chroma in (1, 2):
        plane(made, chroma)[:] = 128
    return made


def _grey(size: tuple[int, int], alpha: Tensor) -> av.VideoFrame:
    import av

    made = av.VideoFrame(*size, FULL)
    for index, values in enumerate((_luma(size, alpha), 128, 128)):
        plane(made, index)[:] = values
    return made


def _luma(size: tuple[int, int], alpha: Tensor) -> np.ndarray:
    return levels(alpha * (219 / 255) + 16 / 255, size, 8)


def _beside(*frames: av.VideoFrame) -> av.VideoFrame:
    import av

    made = av.VideoFrame(sum(frame.width for frame in frames), frames[0].height, FULL)
    for index in range(3):
        plane(made, index)[:] = np.hstack([plane(frame, index) for frame in frames])
    return made


def _even(frame: av.VideoFrame) -> av.VideoFrame:
    """With its last column or row repeated where the sides are odd."""
    import av

    odd = frame.width % 2, frame.height % 2
    if not any(odd):
        return frame
    made = av.VideoFrame(frame.width + odd[0], frame.height + odd[1], FULL)
    for index in range(3):
        plane(made, index)[:] = np.pad(plane(frame, index), ((0, odd[1]), (0, odd[0])), mode="edge")
    return made


def _frame(rgb: np.ndarray) -> av.VideoFrame:
    import av

    return av.VideoFrame.from_ndarray(rgb, format="rgb24")


class _Merge:
    """front over a background [H, W, 3] uint8 through alpha, by FFmpeg's maskedmerge."""

    def __init__(self, size: tuple[int, int], pixels: str, colours: Colours) -> None:
        import av

        self._pixels, self._colours, self._count = pixels, colours, 0
        self._given: np.ndarray | None = None  # the background that was converted last
        width, height = size
        self._mask = av.VideoFrame(width, height, pixels)
        graph = av.filter.Graph()
        merge, self._sink = graph.add("maskedmerge"), graph.add("buffersink")
        tick = Fraction(1, 1000)
        self._inputs = [graph.add_buffer(width=width, height=height, format=pixels, time_base=tick) for _ in range(3)]
        for index, given in enumerate(self._inputs):
            given.link_to(merge, 0, index)
        merge.link_to(self._sink)
        graph.configure()
        self._graph = graph

    def __call__(self, front: av.VideoFrame, alpha: Tensor, background: np.ndarray) -> av.VideoFrame:
        if background is not self._given:
            self._given = background
            self._background = to_pixels(_frame(background), self._pixels, self._colours)
        planes = [plane(self._mask, index) for index in range(3)]
        planes[0][:] = levels(alpha, (planes[0].shape[1], planes[0].shape[0]), 8)
        chroma = planes[0] if planes[1].shape == planes[0].shape else levels(alpha, planes[1].shape[::-1], 8)
        planes[1][:] = planes[2][:] = chroma
        self._count += 1
        for given, frame in zip(self._inputs, (self._background, front, self._mask)):
            frame.pts, frame.time_base = self._count, Fraction(1, 1000)
            given.push(frame)
        return self._sink.pull()
