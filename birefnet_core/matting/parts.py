"""The parts of a hint, told apart at its own resolution: boxes somebody drew, and the rest.

Several hints come as one map: boxes beside a stroke, a dot beside a box. Each says something else, so each is to be
read by itself. A filled upright rectangle is a box, and so is what overlapping ones make together.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from .belonging import solid

NARROW, FEW = 0.02, 5  # of the picture's longer side, and pixels: a rectangle no wider may be a stroke or a dot
CORNERS = 12  # of the outline of two boxes that overlap; round things of more than FEW pixels a side have more
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
