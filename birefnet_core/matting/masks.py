"""Mask tools: levels, grow and shrink, choke, feather, holes, specks, the largest piece; all on soft masks.

Masks are floating point [B, H, W], 0..1, 1 = foreground, on any device. Nothing here changes its arguments.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .tensors import check_values, resize

SOLID = 0.5  # at and above this a pixel belongs to the subject, where a decision is needed
FAINT = 0.5 / 255  # below this a pixel is black in 8 bits
PIECE = 0.1  # above this a pixel is part of a piece, where pieces are counted; below it, the haze that networks leave
HALO = 8  # times as many pixels as a speck has at most: what is wider is no halo of its
FILL_STEPS = 20
COARSE_SIGMA = 4.0  # pixels; a blur wider than twice that is done at lower resolution


def checked_masks(masks: Tensor, name: str = "mask") -> Tensor:
    """Masks as [B, H, W] float32, clamped to 0..1. Takes [H, W], [B, H, W] and [B, 1, H, W], as nodes hand them around.

    name: what messages call a mask. ValueError for other shapes, for masks that are neither floating point nor bool,
    and for NaN, infinite values or values above 2.
    """
    if not isinstance(masks, Tensor):
        raise ValueError(f"a {name} must be a tensor [B, H, W], not {type(masks).__name__}")
    check_values(masks, f"a {name}")
    shape = list(masks.shape)
    if len(shape) not in (2, 3, 4) or (len(shape) == 4 and shape[1] != 1):
        raise ValueError(f"a {name} must be [B, H, W], not {shape}")
    if 0 in shape[-2:]:
        raise ValueError(f"a {name} must have at least one pixel a side, not {shape}")
    if 0 in shape:
        raise ValueError(f"the {name} is an empty batch")
    if not (masks.is_floating_point() or masks.dtype == torch.bool):
        raise ValueError(f"a {name} must be floating point 0..1, not {masks.dtype}")
    masks = masks.reshape(-1, *shape[-2:]).float()
    least, most = (value.item() for value in masks.aminmax())
    if not (abs(least) < math.inf and abs(most) < math.inf):
        raise ValueError(f"the {name} has NaN or infinite values")
    if most > 2:
        raise ValueError(f"the {name} goes up to {most:g}, which looks like 0..255: divide by 255")
    return masks.clamp(0, 1)


def fit(masks: Tensor, height: int, width: int) -> Tensor:
    """masks [B, H, W] resized to [B, height, width], bilinear and antialiased; other aspects are stretched."""
    return resize(masks[:, None], (height, width))[:, 0].clamp(0, 1)


def levels(masks: Tensor, black: float = 0.0, white: float = 1.0) -> Tensor:
    """Values up to black become 0, values from white become 1, what lies between is spread over 0..1.

    Equal points make a hard mask: 1 above them. ValueError unless 0 <= black <= white <= 1.
    """
    if not 0 <= black <= white <= 1:
        raise ValueError(
            f"the black point must not be above the white point, both in 0..1, not {black:g} and {white:g}"
        )
    if black == white:
        return (masks > black).to(masks.dtype)
    return ((masks - black) / (white - black)).clamp(0, 1)


def grow(masks: Tensor, pixels: int) -> Tensor:
    """Dilate by a disc of this radius in pixels; negative: shrink (erode). Soft edges keep their profile.

    What lies outside the frame takes no part: a subject that the frame cuts does not shrink away from its border.
    """
    if pixels < 0:
        return 1 - grow(1 - masks, -pixels)
    return _dilate(masks, pixels) if pixels else masks.clone()


def _dilate(masks: Tensor, radius: int) -> Tensor:
    """The disc row by row: the maximum over a horizontal run, then over the rows that have a run.

    The maximum of a run is that of two shorter runs that cover it, of a power of two in length, so that a row costs
    three passes whatever its length, and the disc 3 * radius instead of radius ** 2.
    """
    height, width = masks.shape[1:]
    reach = min(radius, width - 1)
    runs, length = F.pad(masks, (reach, reach)), 1  # runs[x] is the maximum of [x, x + length)
    grown = torch.zeros_like(masks)
    for row in reversed(range(min(radius, height - 1) + 1)):  # the short runs first
        half = min(math.isqrt(radius * radius - row * row), reach)
        while 2 * length <= 2 * half + 1:
            runs, length = torch.maximum(runs[..., :-length], runs[..., length:]), 2 * length
        left, right = reach - half, reach + half + 1 - length
        run = torch.maximum(runs[..., left : left + width], runs[..., right : right + width])
        for there, here in ((grown[:, row:], run[:, : height - row]), (grown[:, : height - row], run[:, row:])):
            torch.maximum(there, here, out=there)
    return grown


def choke(masks: Tensor, amount: float) -> Tensor:
    """Move soft edges inwards without eroding them: what is 0 or 1 stays so, and with it hair and the width of an edge,
    while what lies between becomes more transparent. amount: 0 (nothing) to 1 (all that is soft goes); negative:
    outwards, down to -1. ValueError when it is out of that.
    """
    if not -1 <= amount <= 1:
        raise ValueError(f"choke must be -1..1, not {amount:g}")
    if amount < 0:
        return 1 - choke(1 - masks, -amount)
    return torch.where(masks < 1, masks * (1 - amount) / (1 - amount * masks).clamp(min=1e-6), masks)


def feather(masks: Tensor, pixels: float) -> Tensor:
    """Soften the edge over about `pixels` to either side: a Gaussian blur of half that standard deviation.

    Beyond the frame the border goes on, so that a subject which the frame cuts keeps its full alpha there.
    ValueError when pixels is negative.
    """
    if not pixels >= 0:
        raise ValueError(f"feather must be 0 or more pixels, not {pixels:g}")
    if pixels == 0:
        return masks.clone()
    return blur(masks[:, None], pixels / 2)[:, 0].clamp(0, 1)


def blur(maps: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of [N, 1, H, W]; a wide one at reduced resolution, where it is as good and far cheaper."""
    reduce = int(min(sigma / COARSE_SIGMA, *maps.shape[2:]))
    if reduce > 1:
        height, width = maps.shape[2:]
        # A whole cell beyond every border, so that it is the border that goes on, and not the mean of a cell within it
        padding = (reduce, reduce + -width % reduce, reduce, reduce + -height % reduce)
        small = F.avg_pool2d(F.pad(maps, padding, mode="replicate"), reduce)
        # What averaging and the way back blur by themselves: a box's variance and a triangle's
        rest = math.sqrt(sigma**2 - (reduce**2 - 1) / 12 - (reduce**2) / 6)
        large = F.interpolate(blur(small, rest / reduce), scale_factor=reduce, mode="bilinear", align_corners=False)
        return large[:, :, reduce : reduce + height, reduce : reduce + width]
    radius = math.ceil(3 * sigma)
    offsets = torch.arange(-radius, radius + 1, device=maps.device, dtype=maps.dtype)
    window = torch.exp(-(offsets**2) / (2 * sigma**2))
    window /= window.sum()
    maps = F.conv2d(F.pad(maps, (radius, radius, 0, 0), mode="replicate"), window[None, None, None])
    return F.conv2d(F.pad(maps, (0, 0, radius, radius), mode="replicate"), window[None, None, :, None])


def fill_holes(masks: Tensor) -> Tensor:
    """Raise what is enclosed to what encloses it: a pixel becomes as opaque as the weakest place of the strongest ring
    around it, in steps of 1 / FILL_STEPS. Edges towards the outside stay as soft as they are.

    What the frame cuts off is not enclosed. Rings count where their pixels touch by a side or a corner.
    """
    return _each(masks, _filled)


def _filled(mask: np.ndarray) -> np.ndarray:
    from scipy.ndimage import label

    filled = mask.copy()
    for step in range(1, FILL_STEPS + 1):
        level = step / FILL_STEPS
        solid = mask >= level - FAINT
        if not solid.any():
            break
        # scipy's binary_fill_holes grows pixel by pixel: on 6 megapixels all steps take 3.9 s, so 1.2 s.
        pieces, _ = label(~solid)
        inside = (pieces > 0) & ~cut_by_frame(pieces)
        filled[inside] = np.maximum(filled[inside], level)
    return filled


def cut_by_frame(pieces: np.ndarray) -> np.ndarray:
    """Which pixels lie in pieces, numbered from 1 on, that touch the border: [H, W]."""
    cut = np.zeros(pieces.max() + 1, bool)
    for border in (pieces[0], pieces[-1], pieces[:, 0], pieces[:, -1]):
        cut[border] = True
    cut[0] = False
    return cut[pieces]


def despeckle(masks: Tensor, pixels: int) -> Tensor:
    """Remove pieces of fewer than so many pixels, and fill holes of fewer. Others keep their values.

    Pieces are what is above PIECE and touches by a side or a corner; holes are the pieces of 1 - mask, those that the
    frame cuts off too, unless there is no other background. A speck goes with the haze around it. In a wider haze, as
    of smoke, it becomes as faint as that.
    ValueError when pixels is negative.
    """
    if not pixels >= 0:
        raise ValueError(f"despeckle must be 0 or more pixels, not {pixels:g}")
    if pixels < 2:
        return masks.clone()
    return _each(masks, lambda mask: _despeckled(mask, pixels))


def _despeckled(mask: np.ndarray, pixels: int) -> np.ndarray:
    from scipy.ndimage import label

    mask = _without_specks(mask, pixels)
    inverse = 1 - mask
    filled = _without_specks(inverse, pixels)
    if not (filled > PIECE).any():  # the background as a whole is no hole, however small the picture
        pieces, _ = label(inverse > FAINT, np.ones((3, 3)))
        filled = np.where(cut_by_frame(pieces), inverse, filled)
    return np.where(filled < inverse, 1 - filled, mask)


def _without_specks(mask: np.ndarray, pixels: int) -> np.ndarray:
    from scipy.ndimage import distance_transform_edt, label

    touching = np.ones((3, 3))
    pieces, _ = label(mask > PIECE, touching)
    areas = np.bincount(pieces.ravel())
    areas[0] = pixels
    specks = areas[pieces] < pixels
    hazes, _ = label(mask > FAINT, touching)  # a piece and the haze around it, which may join it to others
    own = ~specks
    if specks.any():
        away, nearest = distance_transform_edt(~specks, return_indices=True)
        own &= away > 1 + 1.5 * np.sqrt(areas[pieces[tuple(nearest)]])  # what is nearer may be a speck's halo
    own |= (pieces > 0) & ~specks
    wide = np.bincount(hazes.ravel(), ~specks.ravel()) >= HALO * pixels
    stays = wide | (np.bincount(hazes.ravel(), own.ravel()) >= pixels)
    stays[0] = True
    cleared = np.where(stays[hazes], mask, np.float32(0))
    within = specks & stays[hazes]
    if within.any():
        haze = (pieces == 0) & (hazes > 0) & stays[hazes]
        beside = distance_transform_edt(~haze, return_distances=False, return_indices=True)
        cleared[within] = mask[tuple(beside[:, within])]
    return cleared


def keep_largest(masks: Tensor) -> Tensor:
    """Keep the largest piece of each mask and set the others to 0.

    Pieces are told apart where the mask is at least SOLID (or half its maximum, if that is lower) and touch by a side
    or a corner; the largest has the largest sum. It keeps its soft edge: all that is connected with it and nearer to it
    than to any other piece.
    """
    return _each(masks, _largest)


def _largest(mask: np.ndarray) -> np.ndarray:
    from scipy.ndimage import distance_transform_edt, label, sum_labels

    touching = np.ones((3, 3))
    pieces, count = label(mask >= max(min(SOLID, mask.max() / 2), FAINT), touching)
    if not count:
        return mask
    largest = 1 + int(np.argmax(sum_labels(mask, pieces, range(1, count + 1))))
    seen, _ = label(mask > FAINT, touching)
    kept = np.isin(seen, np.unique(seen[pieces == largest]))
    if (pieces[kept] > 0).sum() > (pieces == largest).sum():  # a soft bridge to another piece
        nearest = distance_transform_edt(pieces == 0, return_distances=False, return_indices=True)
        kept &= pieces[tuple(nearest)] == largest
    return np.where(kept, mask, 0)


def _each(masks: Tensor, function: Callable[[np.ndarray], np.ndarray]) -> Tensor:
    """Apply a function of float32 arrays [H, W] to each mask, on the CPU."""
    results = [torch.from_numpy(function(mask)) for mask in masks.float().cpu().numpy()]
    return torch.stack(results).to(masks) if results else masks.clone()
