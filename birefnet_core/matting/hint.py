"""Hint: which subject is asked for. The network sees all that is salient; a hint says which of it to keep.

A hint is a map 0..1 of any size, 1 = belongs to what is asked for: a mask, perfect or not, a filled box, a scribble or
a dot. An empty one asks for nothing. The network looks closely at what the hint names (a crop, as in locate.py), and of
its alpha stays what belongs to the hint (belonging.py). One that takes hints (network/hint.py) is also told what is
asked for, and when it looks again what has been decided so far. Not in the paper.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

from ..network.hint import SAYS_NOTHING
from .belonging import (
    AROUND,
    PAINTED,
    are_dots,
    chance,
    covers_little,
    edges_along,
    is_crowded,
    is_exceeded,
    is_thin,
    kept_and_lacked,
    kind_of,
    lies_within,
    may_be_dabs,
    may_be_painted,
    may_reach_over,
    others_of,
    outlines,
    reaches_over,
    said,
    shreds,
    size_of,
    solid,
    surrounds,
    unseen,
)
from .locate import Box, Size, padded
from .masks import FAINT, checked_masks, fit
from .model import drawn_after
from .parts import boxes_and_rest, marks_beside_mask
from .size import ANYTHING
from .tensors import resize, unit

DOT = 0.01  # radius of a drawn point, of the picture's longer side
BLOB = 0.12  # of the picture's sides: where the blob around a dot has fallen to .61
# The same around strokes at the first look, though networks are trained with BLOB. IoU of scribbles on 25 scenes of two
# that touch, 25 of two apart and 20 of one .748, .884, .829; with BLOB .646, .878, .859; with .08 .709 and .845.
STROKE = 0.05
FAINTLY = 0.1  # alpha that a network shows of what it is told a dot of, from which it has seen it
NEARBY = 0.15  # of the size (the root of the area) of what a network that is told a dot has shown: what more may belong
# Of the network's size: the looks of a network that is told dots, and then what it has shown. docs/hints.md has others;
# measured with the bundled model alone, at 416 pixels. What may be a thin mask is not seen well in so small a look.
LOOKS_AT_DOTS, LOOKS_AT_LINES = (0.62, 0.77, 1.0), (1.0, 1.0)
PAINTABLE = 96  # pixels: a hint of a smaller square, and of less than half the picture's sides, is not painted
EDGE_RADIUS = 4  # pixels at the size at which is decided, within which borders are drawn after the picture


def checked_hint(hint: Tensor, count: int) -> Tensor:
    """A hint for each of `count` pictures, as [count, h, w] float32 clamped to 0..1; h and w stay as they are.

    Takes [h, w], [1, h, w] (one hint for all) and [count, h, w], each also as [B, 1, h, w], floating point or bool.
    ValueError for other shapes and types, another number of hints, NaN, infinite values and values above 2.
    """
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
        hint[box_pixels(box, size)] = 1
    return hint


def box_pixels(box: Sequence[float], size: Size) -> tuple[slice, slice]:
    """The rows and columns that draw_boxes fills for a box; errors as there."""
    x, y, width, height = _numbers(box, 4, "a box must be (x, y, width, height)")
    if width <= 0 or height <= 0:
        raise ValueError(f"a box must have a positive width and height, not {width:g} x {height:g}")
    columns, rows = _within(x, x + width, size[0]), _within(y, y + height, size[1])
    if not columns or not rows:
        raise ValueError(f"the box {x:g}, {y:g}, {width:g}, {height:g} lies outside the {size[0]} x {size[1]} picture")
    return slice(*rows), slice(*columns)


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


def joined(hint: Tensor, drawn: Tensor) -> Tensor:
    """The hint that says what hint [n, h, w] and drawn [n | 1, H, W] say together, [n, H, W]; boxes stay boxes."""
    return torch.stack([_at_size(each, drawn.shape[1:]) for each in hint]).maximum(drawn.to(hint.device))


def _at_size(hint: Tensor, size: tuple[int, int]) -> Tensor:
    """hint [h, w] at size (height, width)."""
    if hint.max() <= FAINT:
        return hint.new_zeros(size)
    boxes, rest = boxes_and_rest(hint.cpu())
    planes = [] if rest is None else [fit(rest[None], *size)[0]]
    if boxes is not None:
        planes.append(F.interpolate(boxes[None, None], size, mode="nearest-exact")[0, 0])
    return torch.stack(planes).amax(0).to(hint.device)


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


Everything = tuple[np.ndarray, np.ndarray]  # alpha [h, w] of all that is salient, and the picture's colours [h, w, 3]


@dataclass
class _Part:
    """A part of a hint: its map [h, w] over the frame, its kind, once that is known, and what it says."""

    plane: Tensor
    kind: str | None
    says: np.ndarray | None = None
    unseen: Tensor | None = None  # its dots under which the network has seen nothing, over the box it has looked at

    def read(self, colours: np.ndarray, shown: np.ndarray, frame: Box, box: Box) -> np.ndarray:
        """How likely a pixel of the box belongs to what this part names, by what is seen of the box."""
        marked = _view(self.plane, frame, box).numpy()
        self.kind = self.kind or kind_of(marked, shown, colours)
        self.unseen = _unseen(marked, shown) if self.kind == "dot" else None
        self.says = said(colours, shown, marked, self.kind)
        return chance(self.says, shown, self.kind)

    def read_again(self, colours: np.ndarray, shown: np.ndarray, frame: Box, first: Box, box: Box) -> np.ndarray:
        """The same at a second look. A closer one is read anew; dots that were seen have said all in the first box."""
        if box != first and (self.kind != "dot" or self.unseen is not None):
            return self.read(colours, shown, frame, box)
        return chance(_view(torch.from_numpy(self.says), first, box).numpy(), shown, self.kind)


def _unseen(marked: np.ndarray, shown: np.ndarray) -> Tensor | None:
    """The dots of a hint [h, w] under which alpha [h, w] shows nothing, [h, w] 0 or 1; None where all are seen."""
    lost = unseen(marked, shown)
    return torch.from_numpy(lost).float() if lost.any() else None


def asked_for(
    image: Tensor,
    hint: Tensor,
    *,
    seen_of: Callable[[Size], Size],
    matte: Callable[..., Tensor],
    takes_hint: bool = False,
    hint_is: str = ANYTHING,
) -> Tensor:
    """The alpha [H, W] 0..1 of what hint [h, w] 0..1 asks for in image [H, W, C], on the image's device.

    seen_of: from a picture's (width, height) to that at which the network sees it. matte: from a picture [1, H, W, 3],
    what the network is told of it, a hint [1, h, w] 0..1 of any size or None, and `scale`, what of that size it sees it
    at, 1 if not given, to its alpha [1, H, W]; asked twice at most, of dots three times; once more where there may be
    broad dots, a line around something or marks beside a mask; of such marks as often again where the mask's answer
    does not show what they are on, and so where what seems to be a mask is painted on something.
    takes_hint: whether the network can be told; else it is always None. hint_is: one of HINT_IS: whether people may
    have drawn it, or it is known to be a mask, however it looks.
    """
    hint = hint.float().cpu()
    if hint.max() <= FAINT:
        return torch.zeros(image.shape[:2], device=image.device)
    everything = cache(partial(_untold, image, matte))  # of all that may look so, the first does
    by_hand = hint_is == ANYTHING
    ways = {"seen_of": seen_of, "matte": matte, "everything": everything, "takes_hint": takes_hint, "by_hand": by_hand}
    ask = partial(_asked_for, image, **ways)
    boxes, rest = boxes_and_rest(hint / hint.max())
    marks = _marks(image, rest, everything) if by_hand and rest is not None else None
    if marks is None:
        return ask(boxes, rest)
    alpha = ask(boxes, rest - marks)
    marks = _where(marks, unseen(_whole(marks, Box(0, 0, *image.shape[1::-1])), _small(alpha)))
    return alpha if marks.max() <= FAINT else alpha.maximum(ask(None, marks))


def _untold(image: Tensor, matte: Callable[..., Tensor]) -> Everything:
    """What the network shows of all of image [H, W, C] untold, [h, w], and its colours [h, w, 3]."""
    colours = image[..., :3]
    return _small(matte(colours[None], None)[0]), _small(colours)


def _marks(image: Tensor, rest: Tensor, everything: Callable[[], Everything]) -> Tensor | None:
    """What of a hint [h, w] without boxes somebody drew beside its mask, [h, w]; None without. That takes a look at
    everything where there may be such marks."""
    if (places := marks_beside_mask(rest)) is None:
        return None
    marks = _where(rest, places)
    own = shreds(solid(_whole(marks, Box(0, 0, *image.shape[1::-1]))), *everything())
    marks = marks - _where(marks, ndimage.binary_dilation(own, iterations=AROUND)) if own.any() else marks
    return marks if marks.max() > FAINT else None


def _whole(plane: Tensor, frame: Box) -> np.ndarray:
    """A map [h, w] over all of the frame, at the size at which is decided."""
    return _view(plane, frame, frame).numpy()


def _where(plane: Tensor, places: np.ndarray) -> Tensor:
    """A map [h, w], and 0 where `places` bool, of any size, says no."""
    kept = F.interpolate(torch.from_numpy(places)[None, None].float(), plane.shape, mode="nearest-exact")
    return plane * kept[0, 0]


def _asked_for(
    image: Tensor,
    boxes: Tensor | None,
    rest: Tensor | None,
    *,
    seen_of: Callable[[Size], Size],
    matte: Callable[..., Tensor],
    everything: Callable[[], Everything],
    takes_hint: bool,
    by_hand: bool,
    drawn: bool = False,
) -> Tensor:
    """asked_for of the boxes of a hint, and what it has besides, with no mask beside its dots and scribbles: [h, w] on
    the CPU, not both None. everything: what _untold gives, looked at when first asked. by_hand: whether people may have
    drawn it. drawn: whether what it has besides is known to be dots and scribbles."""
    height, width = image.shape[:2]
    alpha, frame = torch.zeros(height, width, device=image.device), Box(0, 0, width, height)
    if by_hand:
        boxes, rest = _filled_outlines(frame, boxes, rest, everything)
    marks = None if rest is None else _whole(rest, frame)
    unknown = by_hand and not drawn and rest is not None
    if unknown and may_be_dabs(solid(marks)) and lies_within(solid(marks), *everything()):
        rest = _dots(rest)
        marks = _whole(rest, frame)
    # What may be a dot says nothing of the subject's size: the first look is then at everything.
    thin = drawn or (marks is not None and is_thin(solid(marks)))
    box = first = frame if thin else _around(_as_told(boxes, rest, False), frame, seen_of)
    part = image[box.pixels][..., :3]
    # Into boxes alone it looks better untold: 22 scenes of two subjects, IoU .937, told .893.
    tells = takes_hint and rest is not None
    dots = thin and are_dots(solid(marks))
    given = _cut(_as_told(boxes, rest, thin, BLOB if dots else STROKE), frame, box)[None] if tells else None
    alone = takes_hint and thin and boxes is None
    looks = LOOKS_AT_DOTS if alone and dots else LOOKS_AT_LINES
    found = matte(part[None], given, looks[0])[0]
    colours, shown = _small(part), _small(found)
    if unknown and _is_painted(rest, solid(marks), frame, box, colours, shown, everything, takes_hint):
        same = {"seen_of": seen_of, "matte": matte, "everything": everything, "takes_hint": takes_hint}
        return _asked_for(image, boxes, rest, **same, by_hand=True, drawn=True)
    kind = "dot" if drawn else kind_of(marks, shown, colours) if alone else None
    if alone and kind == "dot":
        return _followed(image, rest, found, looks[1:], seen_of, matte)
    parts = [_Part(plane, kind) for plane, kind in ((boxes, "box"), (rest, kind)) if plane is not None]
    belongs = np.max([each.read(colours, shown, frame, box) for each in parts], axis=0)
    others = others_of(belongs, shown)
    if thin or is_crowded(others, belongs, shown):
        if thin:
            box = _next_box(parts, belongs, shown, frame, seen_of)
            part = image[box.pixels][..., :3]
        if takes_hint:
            found = matte(part[None], _decided(belongs, [each.unseen for each in parts], first, box)[None])[0]
        else:
            covering = [_view(plane, first, box) for plane in _painted_over(colours, others, belongs)]
            found = matte(_covered(part, covering)[None], None)[0]
        colours, shown = _small(part), _small(found)
        belongs = np.max([each.read_again(colours, shown, frame, first, box) for each in parts], axis=0)
    alpha[box.pixels] = _kept(part, found, colours, shown, belongs).to(alpha)
    return alpha


def _followed(
    image: Tensor,
    dots: Tensor,
    found: Tensor,
    looks: Sequence[float],
    seen_of: Callable[[Size], Size],
    matte: Callable[..., Tensor],
) -> Tensor:
    """What a network that was told dots [h, w] shows of them in the end, [H, W], after it has `found` [H, W] at first.
    That is the answer: nothing is left to decide. looks: the further ones, of its size. The rest as of asked_for."""
    frame = Box(0, 0, *image.shape[1::-1])
    for scale in looks:
        box, asked = _around_dots(dots, _small(found), frame, seen_of)
        found = torch.zeros(image.shape[:2], device=image.device)
        found[box.pixels] = matte(image[box.pixels][..., :3][None], asked[None], scale)[0].to(found)
    return found


def _around_dots(dots: Tensor, shown: np.ndarray, frame: Box, seen_of: Callable[[Size], Size]) -> tuple[Box, Tensor]:
    """Where a network that was told dots [h, w] looks again, and what it is told there: around what it has shown of the
    frame [h, w] and the dots under which it has not, or around the dots if it has seen none of them."""
    marked = _view(dots, frame, frame)
    lost = _unseen(marked.numpy(), solid(shown) & (shown > FAINTLY))
    if lost is not None and torch.equal(lost > 0, torch.from_numpy(solid(marked.numpy()))):
        box = _halfway(dots, frame)
        return box, _blob(_view(dots, frame, box))
    named = torch.from_numpy(shown)
    box = _around(named if lost is None else named.maximum(lost), frame, seen_of)
    asked = _decided(shown, [lost], frame, box)
    return box, asked.maximum(SAYS_NOTHING * _near(asked))


def _near(asked: Tensor) -> Tensor:
    """0 or 1 [h, w]: around what is asked for, as far as a network that was told a dot may have seen only a part.

    Where it was said not to belong, with two looks, IoU of dots fell from .822 to .810 on 22 scenes of two subjects and
    from .687 to .666 on 12 of one. With three looks it is .818 and .859 on 100 and 160 scenes within .1 of the size,
    .823 and .863 within .15, .808 and .864 within .2.
    """
    inside = solid(asked.numpy())
    away = ndimage.distance_transform_edt(~inside)
    return torch.from_numpy(away < NEARBY * inside.sum() ** 0.5).float()


def _decided(belongs: np.ndarray, lost: list[Tensor | None], first: Box, box: Box) -> Tensor:
    """What a network is told at a second look, [h, w]: what was found to belong, and the dots that are lost on it."""
    blobs = [_blob(_view(each, first, box)) for each in lost if each is not None]
    return torch.stack([_view(torch.from_numpy(belongs), first, box), *blobs]).amax(0).clamp(0, 1)


def _cut(asked: Tensor, frame: Box, box: Box) -> Tensor:
    """What of a map [h, w] that spans the frame lies in the box, [height, width] of it."""
    size = frame.size[::-1]
    return (asked if asked.shape == size else fit(asked[None], *size)[0])[box.pixels]


def told(hint: Tensor) -> Tensor:
    """hint [h, w] 0..1 as a network that takes hints is told it, in training too: with 1 as its greatest value, and
    dots and scribbles as a blob around them, like a mask of which little is known.

    Told as itself, with nothing said around it, a dot was not learnt in 2,500 steps: the matte was that of everything,
    IoU .42 on 22 scenes of two subjects. Told as a blob, which it had never seen, the same network followed it: .69.
    """
    hint = hint.float()
    if hint.max() <= FAINT:
        return hint
    boxes, rest = boxes_and_rest(hint / hint.max())
    thin = rest is not None and is_thin(solid(_whole(rest, Box(0, 0, *hint.shape[::-1]))))
    return _as_told(boxes, rest, thin)


def _as_told(boxes: Tensor | None, rest: Tensor | None, thin: bool, width: float = BLOB) -> Tensor:
    """The boxes of a hint, and what it has besides, which is a blob where it may be dots: [h, w], not both None."""
    planes = [boxes, _blob(rest, width) if thin else rest]
    return torch.stack([plane for plane in planes if plane is not None]).amax(0)


def _filled_outlines(
    frame: Box, boxes: Tensor | None, rest: Tensor | None, everything: Callable[[], Everything]
) -> tuple[Tensor | None, Tensor | None]:
    """The boxes of a hint, and what it has besides. A line that is drawn around something says "within" as a box does,
    and becomes one of that shape. That takes a look at everything where there may be such a line."""
    inside = None if rest is None else solid(_whole(rest, frame))
    around = []
    if inside is not None and outlines(inside):
        alpha, colours = everything()
        around = [each for each in outlines(inside, alpha) if surrounds(each & inside, each, alpha, colours)]
    if not around:
        return boxes, rest
    filled = np.logical_or.reduce(around)
    within = _where(torch.ones_like(rest), filled)
    left = inside & ~filled
    return (within if boxes is None else boxes.maximum(within)), (_where(rest, ~filled) if left.any() else None)


def _is_painted(
    rest: Tensor,
    whole: np.ndarray,
    frame: Box,
    box: Box,
    colours: np.ndarray,
    shown: np.ndarray,
    everything: Callable[[], Everything],
    was_told: bool,
) -> bool:
    """Whether what seems to be a mask [h, w], whose inside over the frame is `whole`, is painted on something, by what
    was seen of the box. Where that leaves it open, it takes a look at everything: told of a stroke, a network may show
    the stroke alone."""
    if rest.numel() < min(PAINTABLE**2, math.prod(frame.size) / 4):
        return False  # nobody paints so coarsely: it is another network's
    hint = _view(rest, frame, box).numpy()
    inside = solid(hint)
    if kind_of(hint, shown, colours) != "mask":
        return False
    edges = edges_along(inside, shown, colours)
    if was_told and is_exceeded(inside, shown, edges):
        return True
    if may_be_painted(edges) and (covers_little(inside, shown, PAINTED) or lies_within(whole, *everything(), PAINTED)):
        return True
    return may_reach_over(edges) and reaches_over(whole, *everything())


def _dots(dabs: Tensor) -> Tensor:
    """Dabs [h, w] as dots in their middles."""
    pieces, count = ndimage.label(solid(dabs.numpy()), np.ones((3, 3)))
    middles = ndimage.center_of_mass(pieces > 0, pieces, range(1, count + 1))
    return draw_points([(x + 0.5, y + 0.5) for y, x in middles], dabs.shape[::-1])


def _blob(marks: Tensor, width: float = BLOB) -> Tensor:
    """What falls off around marks [h, w] 0..1 from 1 to 0, and to .61 at `width` of the picture's sides: as wide and as
    high as in a square, for pictures are squeezed to a square for the network."""
    whole = Box(0, 0, marks.shape[1], marks.shape[0])
    inside = solid(_view(marks, whole, whole).numpy())
    away = ndimage.distance_transform_edt(~inside, sampling=[1 / side for side in inside.shape])
    blob = torch.from_numpy(np.exp(-0.5 * (away / width) ** 2)).float()
    return resize(blob[None, None], marks.shape)[0, 0].clamp(0, 1)


def seen_by_network(hint: Tensor, size: tuple[int, int]) -> Tensor:
    """hint [n, H, W] as the network sees it at size (height, width): [n, 1, height, width]. Made smaller, a pixel takes
    the most of those it stands for, so that a thin stroke is not lost."""
    least = [min(sides) for sides in zip(hint.shape[1:], size)]
    # Apple's GPUs are said to give wrong values where sides do not divide (pytorch issue 190064).
    given = hint[:, None].cpu() if hint.is_mps else hint[:, None]
    return resize(F.adaptive_max_pool2d(given, least).to(hint.device), size)


def _next_box(
    parts: list[_Part], belongs: np.ndarray, shown: np.ndarray, frame: Box, seen_of: Callable[[Size], Size]
) -> Box:
    """Where to look closely, after a look at the frame: around what belongs, which dots under which nothing was seen
    do too."""
    planes = [_view(part.plane, frame, frame) for part in parts]
    if ((belongs > 0.5) & (shown > 0.5)).any():
        planes = [torch.from_numpy(belongs)]
    elif all(part.kind == "dot" for part in parts):
        return _halfway(torch.stack(planes).amax(0), frame)
    return _around(torch.stack(planes).amax(0), frame, seen_of)


def _around(hint: Tensor, frame: Box, seen_of: Callable[[Size], Size]) -> Box:
    """Where the network looks: around all that the hint [h, w] over the frame names, padded."""
    height, width = hint.shape
    inside = torch.from_numpy(solid(hint.numpy()))
    rows, columns = (torch.nonzero(inside.any(axis)).flatten().tolist() for axis in (1, 0))
    named = Box(
        columns[0] * frame.right // width,
        rows[0] * frame.bottom // height,
        -(-(columns[-1] + 1) * frame.right // width),
        -(-(rows[-1] + 1) * frame.bottom // height),
    )
    return padded(named, frame.size, seen_of(frame.size))


def _halfway(hint: Tensor, frame: Box) -> Box:
    """A part of the frame, half as wide and high, with the hint [h, w] in its middle as far as it can be: where the
    network saw nothing under a dot in the whole picture."""
    rows, columns = (torch.nonzero(torch.from_numpy(solid(hint.numpy())).any(axis)).float().mean() for axis in (1, 0))
    width, height = max(1, frame.right // 2), max(1, frame.bottom // 2)
    left = round(columns.item() * frame.right / hint.shape[1] - width / 2)
    top = round(rows.item() * frame.bottom / hint.shape[0] - height / 2)
    left, top = max(0, min(left, frame.right - width)), max(0, min(top, frame.bottom - height))
    return Box(left, top, left + width, top + height)


def _view(plane: Tensor, outer: Box, inner: Box) -> Tensor:
    """What of a map [h, w] that spans the box `outer` lies in the box `inner`, at the size at which is decided."""
    size = size_of(*inner.size)
    finest = [round(side * whole / part) for side, whole, part in zip(size, outer.size[::-1], inner.size[::-1])]
    plane = resize(plane[None, None].float(), [min(side, most) for side, most in zip(plane.shape, finest)])
    places = [
        (2 * (start + (torch.arange(count) + 0.5) * length / count) / whole) - 1
        for start, count, length, whole in (
            (inner.top - outer.top, size[0], inner.size[1], outer.size[1]),
            (inner.left - outer.left, size[1], inner.size[0], outer.size[0]),
        )
    ]
    grid = torch.stack(torch.meshgrid(*places, indexing="ij")[::-1], 2)[None]
    return F.grid_sample(plane, grid, padding_mode="border", align_corners=False)[0, 0]


def _small(picture: Tensor) -> np.ndarray:
    """A picture [H, W, 3] or alpha [H, W] at the size at which is decided, float32 0..1."""
    planes = unit(picture if picture.ndim == 3 else picture[..., None]).movedim(2, 0)[None]
    small = resize(planes, size_of(*picture.shape[1::-1]))[0].movedim(0, 2).cpu().numpy()
    return small if picture.ndim == 3 else small[..., 0]


def _covered(part: Tensor, covering: list[Tensor]) -> Tensor:
    """part [H, W, 3] with colours (three maps) laid over it as the fourth map says."""
    *colours, where = (resize(plane[None, None], part.shape[:2])[0, 0].to(part.device) for plane in covering)
    covered = unit(part)
    for plane, colour in zip(covered.unbind(2), colours, strict=True):
        plane.lerp_(colour, where)
    return covered


def _painted_over(colours: np.ndarray, others: np.ndarray, belongs: np.ndarray) -> list[Tensor]:
    """Three planes of the background's colours [h, w], and where they are to cover what is not asked for."""
    free = torch.from_numpy(~(others > 0) & (belongs < 0.5)).float()
    planes = torch.cat([torch.from_numpy(colours).movedim(2, 0), torch.ones(1, *free.shape)]) * free
    filled = _pushed(planes[None])[0]
    return [*(filled[:3] / filled[3:].clamp(min=1e-6)), torch.from_numpy(others)]


def _pushed(planes: Tensor) -> Tensor:
    """Planes [1, 4, h, w], the fourth their weight, with the mean of what lies around where there is no weight."""
    if max(planes.shape[2:]) == 1:
        return planes
    coarse = _pushed(F.avg_pool2d(planes, 2, ceil_mode=True))
    coarse = coarse / coarse[:, 3:].clamp(min=1e-6)
    around = F.interpolate(coarse, planes.shape[2:], mode="bilinear")
    return planes + (1 - planes[:, 3:]) * around


def _kept(part: Tensor, found: Tensor, colours: np.ndarray, shown: np.ndarray, belongs: np.ndarray) -> Tensor:
    """What of alpha `found` [H, W] belongs, and what belongs that it lacks: [H, W] 0..1. Borders that alpha does not
    have are drawn after the picture, part [H, W, 3]."""
    keep, lacks = kept_and_lacked(shown, belongs)
    small = torch.from_numpy(colours).movedim(2, 0)
    keep, drawn = (drawn_after(part, torch.from_numpy(plane)[None], small, EDGE_RADIUS) for plane in (keep, belongs))
    lacks = resize(torch.from_numpy(lacks)[None, None], found.shape)[0, 0].to(found.device)
    return torch.maximum(found * keep.to(found.device), drawn.to(found.device) * lacks)
