"""The borders of a mask as chains of pixels, and how many corners a polygon through a chain needs.

Borders are those of Suzuki & Abe, "Topological structural analysis of digitized binary images by border following"
(CVGIP 1985): one around every 8-connected component, one around every hole.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

# Directions counter-clockwise from the right, as (row, column) steps; bit k of a code: neighbour k is set.
STEPS = ((0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1), (1, 0), (1, 1))


LEFT, RIGHT = 1, 2  # bits: the border passes the left, the right side of a pixel


def _turns() -> tuple[bytes, bytes]:
    """[256 * 8] each: by neighbour code and the direction one came from, the first set neighbour counter-clockwise, and
    which sides of the pixel one passes on the way there."""
    directions, sides = bytearray(256 * 8), bytearray(256 * 8)
    for code in range(1, 256):
        for came_from in range(8):
            turns = next(turn for turn in range(1, 9) if code >> (came_from + turn) % 8 & 1)
            passed = {(came_from + turn) % 8 for turn in range(1, turns)}
            directions[code * 8 + came_from] = (came_from + turns) % 8
            sides[code * 8 + came_from] = LEFT * (4 in passed) + RIGHT * (0 in passed)
    return bytes(directions), bytes(sides)


NEXT, SIDES = _turns()


@dataclass
class Border:
    """chain: the flat indices (row * W + column) of its pixels in the order of following; pixels come again where the
    border runs back along a line. inside: the borders found within it, in that order. A hole's border belongs to the
    region around the hole."""

    hole: bool
    region: int
    parent: Border | None
    chain: np.ndarray | None = None
    inside: list[Border] = field(default_factory=list)


def borders(mask: np.ndarray) -> list[Border]:
    """Every border of a mask [H, W], ordered as OpenCV's `findContours` orders a tree: each before what lies inside it,
    and among neighbours the last found first.

    A border is found where the row by row scan comes upon a side of a run of pixels that no border has passed yet.
    """
    width = mask.shape[1]
    padded = np.pad(mask.astype(np.uint8), 1)
    wide, flat = width + 2, padded.ravel()
    steps = [row * wide + column for row, column in STEPS]
    codes = np.zeros(flat.size, dtype=np.uint8)
    reach = wide + 1  # nothing lies nearer than this to the ends of `flat`
    for bit, step in enumerate(steps):
        codes[reach:-reach] |= flat[reach + step : flat.size - reach + step] << bit
    codes = codes.tobytes()
    edges = np.flatnonzero(flat[1:] != flat[:-1])
    frame = Border(hole=True, region=0, parent=None)
    left_of, right_of = {}, {}  # the border that passes the left, the right side of a pixel
    regions = 0

    def follow(border: Border, start: int, outside: int) -> None:
        border.parent.inside.append(border)
        chain = _follow(start, outside, codes, steps, border, left_of, right_of)
        rows, columns = np.divmod(np.asarray(chain), wide)
        border.chain = (rows - 1) * width + columns - 1

    last = -1
    for first, end in zip((edges[::2] + 1).tolist(), edges[1::2].tolist()):  # a run of pixels
        if first not in left_of:
            # It lies in what lies to the left: outside of everything, or beside or within the last run's border.
            beside = right_of[last] if last // wide == first // wide else frame
            regions += 1
            follow(Border(False, regions, beside if beside.hole else beside.parent), first, outside=4)
        if end not in right_of:
            around = left_of[first]
            follow(Border(True, around.region, around.parent if around.hole else around), end, outside=0)
        last = end

    order, waiting = [], list(frame.inside)
    while waiting:
        order.append(waiting.pop())
        waiting += order[-1].inside
    return order


def _follow(
    start: int, outside: int, codes: bytes, steps: list[int], border: Border, left_of: dict, right_of: dict
) -> list[int]:
    """The pixels of one border, which it notes in `left_of` and `right_of`. `outside`: the direction from `start` in
    which the empty pixel lies."""
    code = codes[start]
    if code == 0:
        left_of[start] = right_of[start] = border
        return [start]
    came_from = next(turn % 8 for turn in range(outside + 7, outside - 1, -1) if code >> turn % 8 & 1)
    chain, pixel, first = [], start, came_from
    while True:
        chain.append(pixel)
        place = codes[pixel] * 8 + came_from
        sides = SIDES[place]
        if sides:
            if sides & LEFT:
                left_of[pixel] = border
            if sides & RIGHT:
                right_of[pixel] = border
        direction = NEXT[place]
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
