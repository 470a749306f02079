"""How the network looks at a picture: at what size, and what becomes of its edges.

Sizes are (width, height), sides are multiples of STRIDE.
"""

from __future__ import annotations

from numbers import Integral

from ..weights.catalog import LARGEST_EDGE_RADIUS

MODES = ("whole", "locate", "detail")
ANYTHING, MASK = HINT_IS = "anything", "mask"  # what a hint may be, and what it is known to be
EDGES = ("auto", "off", "drawn")  # as the model says, as the network gives them, drawn after the picture (edges.py)
DRAWN_RADIUS = 6  # pixels of the network's size, that of the bundled model
STRIDE = 32
LARGEST_SIDE = 16384  # more is a slip of the finger: seven times that of the largest published model
DYNAMIC_SIDES = (256, 2304)  # the range the published dynamic models were trained on


def edge_radius(edges: str, asked: int | None, own: int) -> int:
    """How far edges are drawn after the picture, in pixels of the network's size; 0 for not at all.

    edges: of EDGES. asked: the radius where they are drawn; None: the model's own, else DRAWN_RADIUS. own: the model's,
    0 where it draws none, which "auto" leaves so. ValueError for others.
    """
    if edges not in EDGES:
        raise ValueError(f"edges must be one of {', '.join(EDGES)}, not {edges!r}")
    if asked is not None and (isinstance(asked, bool) or not isinstance(asked, Integral)):
        raise ValueError(f"edge_radius must be a whole number of pixels, not {asked!r}")
    if asked is not None and not 1 <= asked <= LARGEST_EDGE_RADIUS:
        raise ValueError(f"edge_radius must be 1 to {LARGEST_EDGE_RADIUS} pixels, not {asked}")
    return {"auto": own and (asked or own), "off": 0, "drawn": asked or own or DRAWN_RADIUS}[edges]


def idle_radius(edges: str, asked: int | None, own: int) -> str:
    """Why a radius that was asked for does nothing, "" where it does something. Arguments and errors as of
    edge_radius."""
    if asked is None or edge_radius(edges, asked, own):
        return ""
    why = "edges are off" if edges == "off" else "the model draws no edges by itself"
    return f"an edge radius of {asked} does nothing, since {why}: choose edges drawn, or leave it out"


def network_size(
    size: int | tuple[int, int] | None, spec_size: tuple[int, int] | None, picture_size: tuple[int, int]
) -> tuple[int, int]:
    """What the caller asked for, else the model's own size, else (dynamic models) the picture's own size.

    size: a side of a square, (width, height), or None. spec_size: the model's (width, height), None for dynamic.
    Returns (width, height), both rounded to multiples of 32. ValueError as of `checked`.
    """
    if size is not None:
        return rounded(checked(size))
    return rounded(spec_size) if spec_size is not None else dynamic_size(picture_size)


def checked(size: int | tuple[int, int]) -> tuple[int, int]:
    """An int (square) or a pair as (width, height); ValueError unless the sides are integers from 1 to LARGEST_SIDE."""
    sides = (size, size) if isinstance(size, Integral) else size
    valid = isinstance(sides, (tuple, list)) and len(sides) == 2
    if not valid or not all(isinstance(side, Integral) and not isinstance(side, bool) and side > 0 for side in sides):
        raise ValueError(f"size must be a positive integer or a pair (width, height) of them, not {size!r}")
    if max(sides) > LARGEST_SIDE:
        raise ValueError(f"size must be at most {LARGEST_SIDE} pixels a side, not {size!r}")
    return int(sides[0]), int(sides[1])


def rounded(size: tuple[float, float]) -> tuple[int, int]:
    """Each side to the nearest multiple of 32, at least 32."""
    width, height = (max(STRIDE, int(side / STRIDE + 0.5) * STRIDE) for side in size)
    return width, height


def dynamic_size(picture_size: tuple[int, int]) -> tuple[int, int]:
    """The picture's own size, scaled so that its sides lie within 256-2304.

    The aspect is kept unless it is more extreme than 9 : 1, where both limits cannot hold without a squeeze.
    """
    least, most = DYNAMIC_SIDES
    scale = min(1.0, most / max(picture_size))
    scale = max(scale, least / min(picture_size))
    return rounded(tuple(min(most, side * scale) for side in picture_size))


def fit_inside(picture_size: tuple[int, int], box: tuple[int, int]) -> tuple[int, int]:
    """The largest size with the picture's aspect inside box, rounded to multiples of 32. All are (width, height)."""
    scale = min(limit / side for limit, side in zip(box, picture_size, strict=True))
    return rounded(tuple(side * scale for side in picture_size))
