"""Locate: what a pass over the whole picture found is looked at again, alone, at the network's full size.

To a network that sees the whole of a large picture at its own size a small subject is a few pixels. Here the first pass
only says where subjects are; a second pass sees each of them on a crop, and its alpha replaces the first one's there,
faded in along the crop's border. Not in the paper.

The constants were chosen on every third image of E1 and of `python -m train.evaluation.sets small`, with the first
bundled weights. Mean absolute error and IoU on the small subjects: without a second look .105 and .26, as it is here
.098 and .51 (on E1 .0933 and .712, then .0928 and .726); with crops of the network's aspect instead of the subject's
.102 and .48. On 28 of those images, where it has .52, IoU falls to .41 with a first pass at half the size and to .45
with a crop for the largest subject only. With the sixth generation, on all 100 small subjects: MAD .0156 to .0141, IoU
.635 to .754; on the 144 images of E1 .0147 to .0146, .895 to .903.

Growing crops changes 16 of these 244 images, some for the better (a truck from .73 to .95), some for the worse (where
the first pass found the wrong thing, more of it is found): without it small subjects are .0128, .753 and E1 .0144,
.905. Kept all the same: a subject cut on a straight line is wrong for certain. To grow only where what was cut off
hangs together with what the first pass saw is worse on those that change.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

THRESHOLD = 0.5  # alpha above which the first pass found something
SHARE = 0.2  # of the largest component's sum of alpha that makes another component worth a look
PADDING = 0.25  # of a component's sides, added on each side; 0.5: IoU .48
SMALLEST = 0.5  # of the size at which the network sees a crop: enlarged at most 2 times. 1: IoU .45, E1 .713
GAIN = 1.2  # by which a crop must be seen larger than before (square root of the areas' ratio) to be worth a pass
MOST = 3  # crops a picture
FADE = 0.1  # of a crop's sides
SEAM = 0.25  # by which a second look must see more in the faded border of its crop to have cut something off there
SEAM_LENGTH = 0.01  # of that border's length, on which it must
GROWTH = 0.5  # of a crop's length, by which it grows beyond a side where it has cut something off

Size = tuple[int, int]  # (width, height)


@dataclass(frozen=True)
class Box:
    """Whole pixels of a picture, right and bottom excluded."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def size(self) -> Size:
        return self.right - self.left, self.bottom - self.top

    @property
    def pixels(self) -> tuple[slice, slice]:
        """Index of [H, W, ...]."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def overlaps(self, other: Box) -> bool:
        across = min(self.right, other.right) > max(self.left, other.left)
        return across and min(self.bottom, other.bottom) > max(self.top, other.top)

    def joined(self, other: Box) -> Box:
        """The smallest box around both."""
        return Box(
            min(self.left, other.left),
            min(self.top, other.top),
            max(self.right, other.right),
            max(self.bottom, other.bottom),
        )


def look_again(
    alpha: Tensor, coarse: Tensor, *, seen_of: Callable[[Size], Size], matte: Callable[[Box], Tensor]
) -> None:
    """Improve the first pass's alpha [H, W] of a picture in place, one crop at a time.

    coarse: the first pass's alpha [h, w] at the network's size. seen_of: from a picture's size to that at which the
    network sees it. matte: from a box of the picture to its alpha [height, width], seen by itself.

    Nothing changes where there is nothing to gain: no subject found, or one that fills the picture. What the first
    pass found outside the crops stays. A crop in which the second look sees what goes on beyond it (of a portrait in
    the dark the first one saw only the face) grows and is looked at again, until nothing is cut off on a straight line
    or it is the whole picture, which the first pass saw.
    """
    height, width = alpha.shape
    for box in crops(coarse, (width, height), seen_of):
        while box.size != (width, height):
            crop = matte(box)
            if (larger := grown(box, crop, alpha)) == box:
                merge(alpha, crop, box)
                break
            box = larger


def crops(coarse: Tensor, size: Size, seen_of: Callable[[Size], Size]) -> list[Box]:
    """Where in a picture of this size a second look is worth it, largest subject first; the boxes do not overlap."""
    height, width = coarse.shape
    seen = seen_of(size)
    found = [
        Box(
            box.left * size[0] // width,
            box.top * size[1] // height,
            -(-box.right * size[0] // width),
            -(-box.bottom * size[1] // height),
        )
        for box in subjects(coarse)
    ]
    boxes = [padded(box, size, seen) for box in _apart(found, size, seen)[:MOST]]
    return [box for box in boxes if _enlargement(box.size, seen_of) >= GAIN * _enlargement(size, seen_of)]


def subjects(coarse: Tensor) -> list[Box]:
    """The connected components above THRESHOLD of alpha [h, w], the one with the largest sum of alpha first."""
    import numpy as np
    from scipy import ndimage

    values = coarse.float().cpu().numpy()
    labels, count = ndimage.label(values > THRESHOLD)
    if not count:
        return []
    sums = ndimage.sum(values, labels, np.arange(1, count + 1))
    slices = ndimage.find_objects(labels)
    order = [index for index in np.argsort(-sums, kind="stable") if sums[index] >= SHARE * sums.max()]
    return [Box(x.start, y.start, x.stop, y.stop) for y, x in (slices[index] for index in order)]


def _apart(boxes: list[Box], size: Size, seen: Size) -> list[Box]:
    """Join boxes until their crops no longer overlap; what is joined stands where the first of it stood."""
    apart: list[Box] = []
    for box in boxes:
        place = len(apart)
        while near := [other for other in apart if padded(box, size, seen).overlaps(padded(other, size, seen))]:
            place = min(place, apart.index(near[0]))
            apart = [other for other in apart if other not in near]
            for other in near:
                box = box.joined(other)
        apart.insert(place, box)
    return apart


def padded(box: Box, size: Size, seen: Size) -> Box:
    """The crop for box: padded, of at least SMALLEST, moved into the picture."""
    left, right = _side(box.left, box.right, size[0], SMALLEST * seen[0])
    top, bottom = _side(box.top, box.bottom, size[1], SMALLEST * seen[1])
    return Box(left, top, right, bottom)


def _side(start: int, stop: int, limit: int, least: float) -> tuple[int, int]:
    length = min(limit, round(max((stop - start) * (1 + 2 * PADDING), least)))
    first = (start + stop - length) // 2
    first = max(0, min(first, limit - length))
    return first, first + length


def _enlargement(size: Size, seen_of: Callable[[Size], Size]) -> float:
    """How much larger the network sees a picture of this size; the mean of both sides."""
    seen = seen_of(size)
    return (seen[0] * seen[1] / (size[0] * size[1])) ** 0.5


def grown(box: Box, crop: Tensor, alpha: Tensor) -> Box:
    """box, longer by GROWTH beyond each side inside the picture at which its second look, crop [h, w], sees a subject
    that alpha [H, W] lacks: in the border in which `merge` would fade it away."""
    height, width = alpha.shape
    lost = (crop > THRESHOLD) & (crop - alpha[box.pixels] > SEAM)
    left, right = _beyond(lost.T, box.left, box.right, width)
    top, bottom = _beyond(lost, box.top, box.bottom, height)
    return Box(left, top, right, bottom)


def _beyond(lost: Tensor, start: int, stop: int, limit: int) -> tuple[int, int]:
    """start and stop of a crop's side, further apart where lost [stop - start, ...] says so at its first or last."""
    length, border = stop - start, math.ceil(max(1.0, FADE * (stop - start)))
    least = max(1, round(SEAM_LENGTH * lost.shape[1]))
    more = math.ceil(GROWTH * length)
    first = max(0, start - more) if lost[:border].any(0).sum() >= least else start
    last = min(limit, stop + more) if lost[-border:].any(0).sum() >= least else stop
    return first, last


def merge(alpha: Tensor, crop: Tensor, box: Box) -> None:
    """Lay the alpha of a crop over alpha [H, W], in place; where both agree nothing changes."""
    height, width = alpha.shape
    columns = _fade(box.left, box.right, width, alpha)
    rows = _fade(box.top, box.bottom, height, alpha)
    alpha[box.pixels].lerp_(crop, rows[:, None] * columns)


def _fade(start: int, stop: int, limit: int, like: Tensor) -> Tensor:
    """Weights [stop - start] of a crop: 1, falling to nearly 0 at its ends, but not where the picture ends too."""
    length = stop - start
    fade = max(1.0, FADE * length)
    middles = torch.arange(length, device=like.device) + 0.5
    weights = torch.ones(length, dtype=like.dtype, device=like.device)
    if start > 0:
        weights = weights.minimum(middles / fade)
    if stop < limit:
        weights = weights.minimum((length - middles) / fade)
    return weights
