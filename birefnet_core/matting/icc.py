"""The tags of an ICC profile, and its curves. ICC.1:2022, 7.3, 10.6 and 10.18."""

from __future__ import annotations

import struct
from collections.abc import Callable

import numpy as np

Curve = Callable[[np.ndarray], np.ndarray]
BROKEN = (struct.error, ValueError, IndexError, KeyError, ZeroDivisionError)  # what reading a damaged profile raises


def tags_of(profile: bytes) -> dict[bytes, bytes]:
    """Signature -> content, of a profile's first hundred tags. struct.error for a damaged one."""
    (count,) = struct.unpack_from(">I", profile, 128)
    tags = {}
    for index in range(min(count, 100)):
        signature, offset, size = struct.unpack_from(">4sII", profile, 132 + 12 * index)
        tags[signature] = profile[offset : offset + size]
    return tags


def curve_of(tag: bytes) -> Curve:
    """A curveType or parametricCurveType as a function, which rises. One of BROKEN for anything else."""
    curve = _curve(tag)
    probe = curve(np.linspace(0, 1, 17))
    if not np.isfinite(probe).all() or probe[0] >= probe[-1]:
        raise ValueError("a curve that does not rise")
    return curve


def _curve(tag: bytes) -> Curve:
    if tag[:4] == b"curv":
        (count,) = struct.unpack_from(">I", tag, 8)
        if count == 0:
            return lambda values: values
        if count == 1:
            gamma = struct.unpack_from(">H", tag, 12)[0] / 256
            return lambda values: values**gamma
        table = np.frombuffer(tag, ">u2", count, 12) / 65535
        return lambda values: np.interp(values, np.linspace(0, 1, count), table)
    if tag[:4] != b"para":
        raise ValueError("no curve")
    (kind,) = struct.unpack_from(">H", tag, 8)
    count = {0: 1, 1: 3, 2: 4, 3: 5, 4: 7}[kind]
    numbers = [value / 65536 for value in struct.unpack_from(f">{count}i", tag, 12)]
    gamma, a, b = numbers[0], *(numbers[1:3] or (1, 0))
    # Above `start` (a x + b)^gamma + above, below it slope x + below.
    start, slope, above, below = {
        0: lambda: (-np.inf, 0, 0, 0),
        1: lambda: (-b / a, 0, 0, 0),
        2: lambda: (-b / a, 0, numbers[3], numbers[3]),
        3: lambda: (numbers[4], numbers[3], 0, 0),
        4: lambda: (numbers[4], numbers[3], numbers[5], numbers[6]),
    }[kind]()
    return lambda values: np.where(
        values >= start, np.maximum(a * values + b, 0) ** gamma + above, slope * values + below
    )
