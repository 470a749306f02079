"""Hints to train with: what of a picture is asked for, and how somebody might say so.

A hint is [H,W] float32: 1 where a pixel belongs to what is asked for, 0 where it does not. It may be a good mask, a
poor one, a box, or a blob around a dot or a scribble (birefnet_core/matting/hint.py, `told`). SAYS_NOTHING everywhere
is no hint: all that is salient is asked for. All is drawn from the generator given, so a sample's own seed decides it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from itertools import pairwise

import numpy as np
import torch
from numpy.random import Generator
from scipy import ndimage

from birefnet_core.matting.hint import told
from birefnet_core.network.hint import SAYS_NOTHING
from train.tables import HINT_KINDS, HintStyle

STREAM = 16  # ends the seed of a sample's hint, which is not to change what else is drawn for that sample
SHARE = HintStyle.share  # of the draws have a hint, where a recipe says nothing else
ONE = 0.75  # of the choices among several subjects ask for one of them
LEAST = 12  # solid pixels without which nothing can be asked for
LEAST_SHARE = 0.001  # of the picture, likewise: a smaller rest of something hidden tells nobody what was meant
COARSE = 192  # the longer side at which shapes are worked on; their exact border does not matter


def choose(visible: np.ndarray, rng: Generator) -> np.ndarray:
    """Which subjects are asked for: bool [K] with at least one True, of those with enough to be seen; none where none
    has. visible [K,H,W]: the visible alpha of each subject."""
    least = max(LEAST, LEAST_SHARE * visible[0].size) if len(visible) else LEAST
    seen = np.flatnonzero((visible > 0.5).sum(axis=(1, 2)) >= least)
    chosen = np.zeros(len(visible), bool)
    if len(seen):
        count = 1 if len(seen) == 1 or rng.random() < ONE else int(rng.integers(2, len(seen) + 1))
        chosen[rng.choice(seen, count, replace=False)] = True
    return chosen


def pieces(alpha: np.ndarray) -> np.ndarray:
    """alpha [H,W] 0..1 in the connected pieces of its solid part, each with the soft pixels that are nearest to it:
    [K,H,W], summing up to alpha. Specks belong to the piece next to them."""
    labels, count = ndimage.label(alpha > 0.5)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    large = np.flatnonzero(sizes >= max(LEAST, 0.02 * sizes.sum())) + 1
    if len(large) < 2:
        return alpha[None]
    nearest = ndimage.distance_transform_edt(~np.isin(labels, large), return_distances=False, return_indices=True)
    owner = labels[tuple(nearest)]
    return np.stack([np.where(owner == label, alpha, 0) for label in large]).astype(np.float32)


def ask(
    alpha: np.ndarray, rng: Generator, share: float = SHARE, kinds: Mapping[str, float] = HINT_KINDS
) -> tuple[np.ndarray, np.ndarray]:
    """(alpha of what is asked for, hint), both [H,W], for a picture with this alpha [H,W]: all of it or some of its
    pieces with a hint, in a `share` of the draws; else all of it without."""
    if rng.random() < share:
        parts = pieces(alpha)
        chosen = choose(parts, rng)
        if chosen.any():
            asked = parts[chosen].sum(axis=0)
            return asked, draw_hint(asked, parts[chosen], rng, kinds)
    return alpha, no_hint(alpha.shape)


def no_hint(shape: tuple[int, int]) -> np.ndarray:
    """[H,W] that says nothing."""
    return np.full(shape, SAYS_NOTHING, np.float32)


def draw_hint(
    alpha: np.ndarray, subjects: np.ndarray, rng: Generator, kinds: Mapping[str, float] = HINT_KINDS
) -> np.ndarray:
    """A hint for what has this alpha [H,W] 0..1, of one of `kinds`, drawn in proportion to what they say. subjects
    [K,H,W] are those asked for, of which each gets its own box, dot or scribble."""
    shares = np.array([kinds.get(kind, 0.0) for kind in KINDS])  # in this order, whatever the recipe's is
    kind = list(KINDS)[int(rng.choice(len(KINDS), p=shares / shares.sum()))]
    drawn_of = [each for each in subjects if (each > 0.5).any()] if kind in MARKS else [alpha]
    hint = np.max([KINDS[kind](each, rng) for each in drawn_of or [alpha]], axis=0) if (alpha > 0.5).any() else alpha
    if hint.max() < 0.5:  # blurred or cut away; and what asks for nothing is no hint to learn from
        hint = alpha / max(float(alpha.max()), 1e-6)
    return told(torch.from_numpy(np.ascontiguousarray(hint, np.float32).clip(0, 1))).numpy()


def _exact(alpha: np.ndarray, rng: Generator) -> np.ndarray:
    return alpha


def _eroded(alpha: np.ndarray, rng: Generator) -> np.ndarray:
    return _moved(alpha, -rng.uniform(0.01, 0.12))


def _dilated(alpha: np.ndarray, rng: Generator) -> np.ndarray:
    return _moved(alpha, rng.uniform(0.01, 0.15))


def _shifted(alpha: np.ndarray, rng: Generator) -> np.ndarray:
    return _slid(_solid(alpha), _size(alpha) * rng.uniform(0.02, 0.15), rng)


def _blurred(alpha: np.ndarray, rng: Generator) -> np.ndarray:
    return _at_coarse(alpha, lambda small: ndimage.gaussian_filter(small, rng.uniform(0.02, 0.12) * _size(small)))


def _coarser(alpha: np.ndarray, rng: Generator) -> np.ndarray:
    """At an 8th to a 32nd of the picture's size, as the masks of language and tracking models are."""
    return _stretched(_shrunk(alpha, round(math.exp(rng.uniform(math.log(8), math.log(32))))), alpha.shape)


def _box(alpha: np.ndarray, rng: Generator) -> np.ndarray:
    """The box around it, somewhat loose or tight."""
    hint, height, width = np.zeros_like(alpha), *alpha.shape
    rows, columns = (np.flatnonzero((alpha > 0.5).any(axis)) for axis in (1, 0))
    ends = []
    for line, limit in ((rows, height), (columns, width)):
        slack = 0.06 * (line[-1] + 1 - line[0]) * rng.normal(0.3, 1, 2)
        start, stop = round(line[0] - slack[0]), round(line[-1] + 1 + slack[1])
        start = min(max(start, 0), limit - 1)
        ends.append(slice(start, max(start + 1, min(stop, limit))))
    hint[ends[0], ends[1]] = 1
    return hint


def _dots(alpha: np.ndarray, rng: Generator) -> np.ndarray:
    """One dot inside it, seldom more."""
    count = 1 if rng.random() < 0.8 else int(rng.integers(2, 4))
    return _drawn(alpha.shape, [_inside(alpha, rng) for _ in range(count)], _pen(alpha, rng))


def _scribble(alpha: np.ndarray, rng: Generator) -> np.ndarray:
    """A line between points inside it, which may leave it on the way."""
    corners = [_inside(alpha, rng) for _ in range(int(rng.integers(2, 6)))]
    steps = np.linspace(0, 1, max(alpha.shape))[:, None]
    line = np.concatenate([start + (stop - start) * steps for start, stop in pairwise(corners)])
    return _drawn(alpha.shape, line, _pen(alpha, rng))


def _wrong(alpha: np.ndarray, rng: Generator) -> np.ndarray:
    """A mask that lacks a side, has a piece too much, or lies well beside."""
    kind, hint = rng.integers(3), _solid(alpha)
    if kind == 0:
        angle, (row, column) = rng.uniform(0, 2 * math.pi), _inside(alpha, rng)
        y, x = np.ogrid[: alpha.shape[0], : alpha.shape[1]]
        return hint * ((y - row) * math.sin(angle) + (x - column) * math.cos(angle) > 0)
    if kind == 1:
        place = rng.uniform(0, 1, 2) * alpha.shape
        return np.maximum(hint, _drawn(alpha.shape, [place], max(1.0, rng.uniform(0.05, 0.25) * _size(alpha))))
    return _slid(hint, _size(alpha) * rng.uniform(0.2, 0.4), rng)


KINDS: dict[str, Callable[[np.ndarray, Generator], np.ndarray]] = {
    "exact": _exact,
    "eroded": _eroded,
    "dilated": _dilated,
    "shifted": _shifted,
    "blurred": _blurred,
    "coarser": _coarser,
    "box": _box,
    "dots": _dots,
    "scribble": _scribble,
    "wrong": _wrong,
}
ROUGH_MASKS = {"blurred": 0.4, "coarser": 0.3, "eroded": 0.15, "dilated": 0.15}  # such as a first look gives
MARKS = {"box", "dots", "scribble"}  # drawn for each subject by itself


def in_words(style: HintStyle) -> str:
    """What is drawn how often, for a model card."""
    whole = sum(style.kinds.values())
    kinds = ", ".join(f"{name} {100 * share / whole:.0f} %" for name, share in style.kinds.items() if share)
    return f"in {100 * style.share:.0f} % of the draws, of these {kinds}"


def _solid(alpha: np.ndarray) -> np.ndarray:
    return (alpha > 0.5).astype(np.float32)


def _size(alpha: np.ndarray) -> float:
    """The root of the solid part's area, in pixels."""
    return math.sqrt(max(1, int((alpha > 0.5).sum())))


def _inside(alpha: np.ndarray, rng: Generator) -> np.ndarray:
    """(row, column) of a solid pixel, drawn evenly."""
    rows, columns = np.nonzero(alpha > 0.5)
    index = rng.integers(len(rows))
    return np.array([rows[index], columns[index]], float)


def _pen(alpha: np.ndarray, rng: Generator) -> float:
    """A radius in pixels."""
    return max(1.0, rng.uniform(0.005, 0.025) * max(alpha.shape))


def _drawn(shape: tuple[int, int], points, radius: float) -> np.ndarray:
    """1 within `radius` of one of `points` (row, column), each the centre of its pixel."""
    away = np.ones(shape, bool)
    places = np.rint(np.asarray(points)).astype(int).clip(0, np.array(shape) - 1)
    away[places[:, 0], places[:, 1]] = False
    # Nothing outside this window is near, and most of the picture is.
    window = tuple(
        slice(max(0, low - math.ceil(radius)), high + math.ceil(radius) + 1)
        for low, high in zip(places.min(axis=0), places.max(axis=0))
    )
    hint = np.zeros(shape, np.float32)
    hint[window] = ndimage.distance_transform_edt(away[window]) <= radius
    return hint


def _moved(alpha: np.ndarray, share: float) -> np.ndarray:
    """Its border moved outward by a share of its size; inward, by half its depth at most, so that something stays."""

    def move(small: np.ndarray) -> np.ndarray:
        solid, by = small > 0.5, share * _size(small)
        if by > 0:
            return (ndimage.distance_transform_edt(~solid) <= by).astype(np.float32)
        depth = ndimage.distance_transform_edt(solid)
        return (depth > min(-by, depth.max() / 2)).astype(np.float32)

    return _at_coarse(alpha, move)


def _slid(hint: np.ndarray, by: float, rng: Generator) -> np.ndarray:
    """Moved by so many pixels in any direction."""
    angle = rng.uniform(0, 2 * math.pi)
    down, right = (round(by * part(angle)) for part in (math.sin, math.cos))
    height, width = hint.shape
    moved = np.zeros_like(hint)
    to, source = (
        (slice(max(0, s * down), height + min(0, s * down)), slice(max(0, s * right), width + min(0, s * right)))
        for s in (1, -1)
    )
    moved[to] = hint[source]
    return moved


def _at_coarse(alpha: np.ndarray, change: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """`change` applied to a copy of COARSE pixels a side at most, which it costs little to filter."""
    factor = -(-max(alpha.shape) // COARSE)
    return change(alpha) if factor == 1 else _stretched(change(_shrunk(alpha, factor)), alpha.shape)


def _shrunk(alpha: np.ndarray, factor: int) -> np.ndarray:
    """The mean of each factor x factor pixels; of what is left over at the border too."""
    height, width = alpha.shape
    padded = np.pad(alpha, ((0, -height % factor), (0, -width % factor)), mode="edge")
    return padded.reshape(-(-height // factor), factor, -(-width // factor), factor).mean(axis=(1, 3))


def _stretched(small: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Bilinear, pixel centres at pixel centres."""
    grids = []
    for length, target in zip(small.shape, shape):
        grids.append(((np.arange(target) + 0.5) * length / target - 0.5).clip(0, length - 1))
    return ndimage.map_coordinates(small, np.meshgrid(*grids, indexing="ij"), order=1, mode="nearest")
