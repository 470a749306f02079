"""The borders of a mask as chains of pixels, and how many corners a polygon through a chain needs.

Borders are those of Suzuki & Abe, "Topological structural analysis of digitized binary images by border following"
(CVGIP 1985): one around every 8-connected component, one around every hole.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

# Directions counter-clockwise from the right, as (row, column) steps; bit k of a code: neighbour k is set.
STEPS = ((0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1), (1, 0), (1, 1))


def _next_direction() -> bytes:
    """[256 * 8]: by neighbour code and the direction one came from, the first set neighbour counter-clockwise."""
    table = bytearray(256 * 8)
    for code in range(1, 256):
        for came_from in range(8):
            turns = next(turn for turn in range(1, 9) if code >> (came_from + turn) % 8 & 1)
            table[code * 8 + came_from] = (came_from + turns) % 8
    return bytes(table)


NEXT = _next_direction()


def borders(mask: np.ndarray) -> list[np.ndarray]:
    """Every border of a mask [H, W] as the flat indices (row * W + column) of its pixels in the order of following.

    Pixels come again where the border runs back along a line. The borders are ordered as OpenCV's `findContours`
    orders a tree: each before what lies inside it, and among neighbours the last found first.
    """
    width = mask.shape[1]
    padded = np.pad(mask.astype(np.uint8), 1)
    wide = width + 2
    steps = [row * wide + column for row, column in STEPS]
    codes = np.zeros(padded.size, dtype=np.uint8)
    flat = padded.ravel()
    for bit, step in enumerate(steps):
        codes |= np.roll(flat, -step) << bit
    codes = codes.tobytes()
    found = []
    for start, hole in _starts(padded):
        chain = _follow(start, 0 if hole else 4, codes, steps)
        rows, columns = np.divmod(np.asarray(chain), wide)
        found.append((rows - 1) * width + columns - 1)
    return found


def _starts(padded: np.ndarray) -> list[tuple[int, bool]]:
    """(first pixel, is it a hole's border) in the order of `borders`."""
    components, _ = ndimage.label(padded, np.ones((3, 3)))
    outsides, _ = ndimage.label(padded == 0)
    outsides = outsides.ravel()
    # A border's first pixel in reading order: a component's own, or the one left of a hole's.
    of_component, of_outside = _firsts(components.ravel()), _firsts(outsides)
    components = components.ravel()
    inner: dict[int, list[int]] = {}  # holes by the component around them
    outer: dict[int, list[int]] = {}  # components by the hole, or the outside, around them
    for hole, first in of_outside.items():
        if hole != outsides[0]:
            inner.setdefault(components[first - 1], []).append(hole)
    for component, first in of_component.items():
        outer.setdefault(outsides[first - 1], []).append(component)
    order: list[tuple[int, bool]] = []
    waiting = [(component, False) for component in outer.get(outsides[0], [])]
    while waiting:
        which, hole = waiting.pop()
        order.append((of_outside[which] - 1, True) if hole else (of_component[which], False))
        waiting += [(each, not hole) for each in (outer if hole else inner).get(which, [])]
    return order


def _firsts(labels: np.ndarray) -> dict[int, int]:
    """The first index of every label but 0, in order of that index."""
    places = np.flatnonzero(labels)[::-1]
    first = np.zeros(labels.max() + 1, dtype=np.intp)
    first[labels[places]] = places  # the last one written stays
    order = np.argsort(first[1:]) + 1
    return dict(zip(order.tolist(), first[order].tolist()))


def _follow(start: int, outside: int, codes: bytes, steps: list[int]) -> list[int]:
    """The pixels of one border. `outside`: the direction from `start` in which the empty pixel lies."""
    code = codes[start]
    if code == 0:
        return [start]
    came_from = next(turn % 8 for turn in range(outside + 7, outside - 1, -1) if code >> turn % 8 & 1)
    chain, pixel, first = [], start, came_from
    while True:
        chain.append(pixel)
        direction = NEXT[codes[pixel] * 8 + came_from]
        pixel += steps[direction]
        came_from = direction ^ 4
        if pixel == start and came_from == first:
            return chain


def count_corners(chains: list[np.ndarray], tolerance: float) -> int:
    """Corners of the open polygons that approximate `chains` ([N, 2] of distinct integer points each) to `tolerance`
    pixels: Ramer-Douglas-Peucker with the distance from the segment, then a pass over the result that drops corners on
    nearly straight lines, as `approxPolyDP` of OpenCV 4.14 does. (Earlier versions took the distance from the endless
    line; they count fewer corners where a chain turns back.)"""
    if not chains:
        return 0
    lengths = np.array([len(chain) for chain in chains])
    points = np.concatenate(chains).astype(np.int64)
    ends = lengths.cumsum() - 1
    starts = ends - lengths + 1
    kept = np.zeros(len(points), dtype=bool)
    kept[starts] = kept[ends] = True
    while True:  # all segments of one depth at once
        long = ends - starts > 1
        starts, ends = starts[long], ends[long]
        if not starts.size:
            break
        farthest, distance = _farthest(points, starts, ends)
        split = distance > tolerance**2 * ((points[ends] - points[starts]) ** 2).sum(1)
        corner = farthest[split]
        kept[corner] = True
        starts, ends = np.concatenate([starts[split], corner]), np.concatenate([corner, ends[split]])
    owner = np.repeat(np.arange(len(chains)), lengths)[kept]
    corners = np.split(points[kept], np.flatnonzero(np.diff(owner)) + 1)
    return sum(_corners_left(chain.tolist(), tolerance) if len(chain) > 2 else len(chain) for chain in corners)


def _farthest(points: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For segments start..end of `points`: the first inner point farthest from the segment, and the square of its
    distance times the square of the segment's length, a whole number."""
    inner = ends - starts - 1
    firsts = inner.cumsum() - inner
    index = np.arange(inner.sum()) + np.repeat(starts + 1 - firsts, inner)
    offset = points[index] - np.repeat(points[starts], inner, axis=0)
    segment = np.repeat(points[ends] - points[starts], inner, axis=0)
    length = (segment**2).sum(1)
    along = (offset * segment).sum(1)
    distance = (offset[:, 1] * segment[:, 0] - offset[:, 0] * segment[:, 1]) ** 2
    before, beyond = along < 0, along > length
    distance[before] = (offset[before] ** 2).sum(1) * length[before]
    distance[beyond] = ((offset - segment)[beyond] ** 2).sum(1) * length[beyond]
    largest = np.maximum.reduceat(distance, firsts)
    hits = np.flatnonzero(distance == np.repeat(largest, inner))
    return index[hits[np.searchsorted(hits, firsts)]], largest


def _corners_left(corners: list[list[int]], tolerance: float) -> int:
    """How many of at least three corners stay. A corner goes when it is within tolerance / sqrt 2 of the (oblique) line
    between its neighbours and the path does not turn back there; the corner after a dropped one is never dropped."""
    left, index, last = len(corners), 1, len(corners) - 1
    before = corners[0]
    while index < last and left > 2:
        (x0, y0), (x, y), (x1, y1) = before, corners[index], corners[index + 1]
        dx, dy = x1 - x0, y1 - y0
        off = (x - x0) * dy - (y - y0) * dx
        ahead = (x - x0) * (x1 - x) + (y - y0) * (y1 - y)
        if off**2 <= 0.5 * tolerance**2 * (dx**2 + dy**2) and dx and dy and ahead >= 0:
            left -= 1
            index += 1
        before = corners[index]
        index += 1
    return left
