"""The parts of a hint, told apart at its own resolution: boxes somebody drew, and the rest.

Several hints come as one map: boxes beside a stroke, a dot beside a box. Each says something else, so each is to be
read by itself. A filled upright rectangle is a box, and so is what overlapping ones make together. Beside a mask a disc
and a stroke of even width are marks that somebody drew, if they are not near it.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from .belonging import BROAD, is_disc, solid

NARROW, FEW = 0.02, 5  # of the picture's longer side, and pixels: a rectangle no wider may be a stroke or a dot
CORNERS = 12  # of the outline of two boxes that overlap; round things of more than FEW pixels a side have more
FINEST = 768  # of the longer side of a hint in which marks are looked for
EVEN = 0.8  # of what its length and width give, what a stroke covers
NARROWEST, SHORTEST = 0.014, 0.05  # of the longer side: of a dot, and of a stroke
LARGER = 2  # times the marks beside it: a mask
APART = 0.2  # of its size (the root of its area): how far from it they are
BESIDE = 3  # pixels around a box that are its own soft border


def boxes_and_rest(hint: Tensor) -> tuple[Tensor | None, Tensor | None]:
    """hint [h, w] 0..1, not empty -> the part of it that is boxes, and the part that is not, each like hint and 0
    elsewhere; None for what it does not have."""
    inside = solid(hint.numpy())
    pieces, _ = ndimage.label(inside)
    least = max(FEW, NARROW * max(inside.shape))
    places = ndimage.find_objects(pieces)
    found = [_is_boxes(pieces[place] == label, least) for label, place in enumerate(places, 1)]
    boxes = np.isin(pieces, 1 + np.flatnonzero(found))
    if not boxes.any():
        return None, hint
    if boxes.sum() == inside.sum():
        return hint, None
    near = torch.from_numpy(ndimage.binary_dilation(boxes, iterations=BESIDE) & ~(inside & ~boxes))
    return hint * near, hint * ~near


def marks_beside_mask(hint: Tensor) -> np.ndarray | None:
    """Where in hint [h, w], which has no boxes, marks are beside a mask: bool, of any size; None without both.

    A mask's own shreds are of other shapes, near it or most of it: none is taken for a mark of the 400 masks of the set
    `pairs` and the 720 that are made of E1's truths.
    """
    step = -(-max(hint.shape) // FINEST)
    inside = solid(hint[::step, ::step].numpy())
    pieces, _ = ndimage.label(inside, np.ones((3, 3)))
    places = ndimage.find_objects(pieces)
    drawn = [_is_mark(pieces[place] == label, inside.shape) for label, place in enumerate(places, 1)]
    marks = np.isin(pieces, 1 + np.flatnonzero(drawn))
    mask = inside & ~marks
    if not marks.any() or mask.sum() < LARGER * marks.sum():
        return None
    from_mask, from_marks = (ndimage.distance_transform_edt(~part) for part in (mask, marks))
    shreds = np.unique(pieces[marks & (from_mask < APART * mask.sum() ** 0.5)])
    near = marks & np.isin(pieces, shreds)
    return None if near.sum() == marks.sum() else (from_marks < from_mask) & ~near


def _is_mark(piece: np.ndarray, shape: tuple[int, int]) -> bool:
    """Whether a piece [h, w] bool, cut to its bounds, is a dot or a stroke as a round brush makes them, in a hint of
    that shape."""
    (shortest, longest), across = sorted(piece.shape), max(shape)
    even = shortest >= max(FEW, NARROWEST * across) and shortest > 0.85 * longest
    if even and piece.sum() < BROAD * shape[0] * shape[1]:
        return is_disc(piece)
    if longest < max(4 * FEW, SHORTEST * across):
        return False
    padded = np.pad(piece, 1)
    width = 2 * ndimage.distance_transform_edt(padded).max() - 1
    border = (padded & ~ndimage.binary_erosion(padded)).sum()
    return bool(width < 0.15 * longest and piece.sum() > EVEN * width * border / 2)


def _is_boxes(piece: np.ndarray, least: float) -> bool:
    """Whether a piece [h, w] bool, cut to its bounds, is a filled rectangle wider than `least`, or two that overlap."""
    if min(piece.shape) <= least or _corners(piece) > CORNERS:
        return False
    return bool(ndimage.distance_transform_cdt(np.pad(piece, 1)).max() > least / 2)


def _corners(piece: np.ndarray) -> int:
    """Of its outline, holes included."""
    padded = np.pad(piece, 1).astype(np.int8)
    around = padded[:-1, :-1] + padded[1:, :-1] + padded[:-1, 1:] + padded[1:, 1:]
    return int((around % 2).sum())
