"""Hint: which subject is asked for. The network sees all that is salient; a hint says which of it to keep.

A hint is a map 0..1 of any size, 1 = belongs to what is asked for: a mask, perfect or not, a filled box, a scribble or
a dot. An empty one asks for nothing. The network looks closely at what the hint names (a crop, as in locate.py), and of
its alpha stays what belongs to the hint. Not in the paper.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .locate import Box, Size, look_again, padded
from .masks import FAINT, checked_masks, fit
from .tensors import resize

DOT = 0.01  # radius of a drawn point, of the picture's longer side
BAND = 0.1  # of the subject's size: how far around the hint's border the network decides


def checked_hint(hint: Tensor, count: int) -> Tensor:
    """A hint for each of `count` pictures, as [count, h, w] float32 clamped to 0..1; h and w stay as they are.

    Takes [h, w], [1, h, w] (one hint for all) and [count, h, w], each also as [B, 1, h, w], floating point or bool.
    ValueError for other shapes and types, another number of hints, NaN, infinite values and values above 2.
    """
    if isinstance(hint, Tensor) and hint.dtype == torch.bool:
        hint = hint.float()
    hint = checked_masks(hint, "hint")
    if len(hint) not in (1, count):
        raise ValueError(f"{len(hint)} hints do not go with {count} pictures: give one for all, or one each")
    return hint.expand(count, -1, -1)


def draw_boxes(boxes: Sequence[Sequence[float]], size: Size) -> Tensor:
    """The hint [h, w] that says "within these boxes": 1 inside, 0 elsewhere. No boxes: an empty hint.

    boxes: (x, y, width, height) each, in pixels; what is outside the picture is cut off. size: the picture's (width,
    height). ValueError for what is no such box, has no positive width and height or lies outside the picture.
    """
    hint = torch.zeros(size[1], size[0])
    for box in boxes:
        x, y, width, height = _numbers(box, 4, "a box must be (x, y, width, height)")
        if width <= 0 or height <= 0:
            raise ValueError(f"a box must have a positive width and height, not {width:g} x {height:g}")
        columns, rows = _within(x, x + width, size[0]), _within(y, y + height, size[1])
        if not columns or not rows:
            raise ValueError(
                f"the box {x:g}, {y:g}, {width:g}, {height:g} lies outside the {size[0]} x {size[1]} picture"
            )
        hint[slice(*rows), slice(*columns)] = 1
    return hint


def draw_points(points: Sequence[Sequence[float]], size: Size) -> Tensor:
    """The hint [h, w] that says "this one": a dot at each point. No points: an empty hint.

    points: (x, y) each, in pixels. size: the picture's (width, height). ValueError for what is no such point or lies
    outside the picture.
    """
    hint = torch.zeros(size[1], size[0])
    radius = max(1.0, DOT * max(size))
    rows, columns = torch.arange(size[1]).view(-1, 1) + 0.5, torch.arange(size[0]) + 0.5
    for point in points:
        x, y = _numbers(point, 2, "a point must be (x, y)")
        if not (0 <= x <= size[0] and 0 <= y <= size[1]):
            raise ValueError(f"the point {x:g}, {y:g} lies outside the {size[0]} x {size[1]} picture")
        hint[(columns - x) ** 2 + (rows - y) ** 2 <= radius**2] = 1
    return hint


def _numbers(values: Sequence[float], count: int, what: str) -> list[float]:
    """`values` as finite floats; ValueError, which begins with `what`, unless there are `count` of them."""
    try:
        numbers = [float(value) for value in values]
    except (TypeError, ValueError):
        numbers = []
    if len(numbers) != count or not all(map(math.isfinite, numbers)) or isinstance(values, str):
        raise ValueError(f"{what} in pixels, not {values!r}")
    return numbers


def _within(start: float, stop: float, limit: int) -> tuple[int, int] | None:
    """The whole pixels of [start, stop), at least one, as far as they are in 0..limit; None when none is."""
    if stop <= 0 or start >= limit:
        return None
    first = min(max(round(start), 0), limit - 1)
    return first, max(min(round(stop), limit), first + 1)


def asked_for(
    image: Tensor, hint: Tensor, *, seen_of: Callable[[Size], Size], matte: Callable[[Tensor], Tensor]
) -> Tensor:
    """The alpha [H, W] 0..1 of what hint [h, w] 0..1 asks for in image [H, W, C], on the image's device.

    seen_of: from a picture's (width, height) to that at which the network sees it. matte: from a picture [1, H, W, C]
    to its alpha [1, H, W], of everything.
    """
    height, width = image.shape[:2]
    alpha = torch.zeros(height, width, device=image.device)
    hint = hint.float().cpu()
    if hint.max() <= FAINT:
        return alpha
    box = _crop(hint, (width, height), seen_of)
    part = image[box.pixels]
    found = matte(part[None])[0]
    inner = fit(_part(hint, box, (width, height))[None], *found.shape)[0]
    alpha[box.pixels] = _belonging(found.cpu().numpy(), inner.numpy()).to(alpha)
    return alpha


def asked_of_network(
    image: Tensor, hint: Tensor, *, seen_of: Callable[[Size], Size], matte: Callable[[Tensor], Tensor]
) -> Tensor:
    """As `asked_for`, by a network that takes the hint itself: in the whole picture, then closely where it found
    something small there (locate.py). The pictures given to `matte` have the hint as their fourth channel, in their own
    type.
    """
    height, width = image.shape[:2]
    alpha = torch.zeros(height, width, device=image.device)
    if hint.max() <= FAINT:
        return alpha
    says = fit(hint.float()[None].to(image.device), height, width)[0]
    says = (255 * says).round() if image.dtype == torch.uint8 else says
    hinted = torch.cat((image[..., :3], says.to(image.dtype)[..., None]), dim=-1)
    alpha.copy_(matte(hinted[None])[0])
    look_again(alpha, hinted, alpha, seen_of=seen_of, matte=matte)
    return alpha


def seen_by_network(hint: Tensor, size: tuple[int, int]) -> Tensor:
    """hint [n, H, W] as the network sees it at size (height, width): [n, 1, height, width]. Made smaller, a pixel takes
    the most of those it stands for, so that a thin stroke is not lost."""
    least = [min(sides) for sides in zip(hint.shape[1:], size)]
    return resize(F.adaptive_max_pool2d(hint[:, None], least), size)


def _crop(hint: Tensor, size: Size, seen_of: Callable[[Size], Size]) -> Box:
    """Where the network looks: around all that the hint names, padded, in a picture of this size."""
    height, width = hint.shape
    rows, columns = (torch.nonzero(hint.amax(axis) > FAINT).flatten().tolist() for axis in (1, 0))
    named = Box(
        columns[0] * size[0] // width,
        rows[0] * size[1] // height,
        -(-(columns[-1] + 1) * size[0] // width),
        -(-(rows[-1] + 1) * size[1] // height),
    )
    return padded(named, size, seen_of(size))


def _part(hint: Tensor, box: Box, size: Size) -> Tensor:
    """What of the hint lies in a box of the picture: [bottom - top, right - left]."""
    return fit(hint[None], size[1], size[0])[0][box.pixels]


def _belonging(alpha: np.ndarray, hint: np.ndarray) -> Tensor:
    """Of alpha [H, W] what is connected with the hint [H, W] and no further than a band from it."""
    from scipy.ndimage import distance_transform_edt, label

    inside = hint > min(0.5, hint.max() / 2)
    band = max(1.0, BAND * math.sqrt(inside.sum()))
    depth = distance_transform_edt(inside) - distance_transform_edt(~inside)
    pieces, _ = label(alpha > 0.5)
    near = np.isin(pieces, np.unique(pieces[inside]))
    near = distance_transform_edt(~(near & (pieces > 0))) < band / 2
    kept = np.where(depth > -band, np.where(near, alpha, 0), 0)
    return torch.from_numpy(np.where(depth > band, 1, kept).astype(np.float32))
