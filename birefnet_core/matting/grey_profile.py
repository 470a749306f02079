"""ICC profiles of grey pictures: from their values to those of sRGB, at any depth (Pillow's colour management knows 8
bits of grey). ICC.1:2022, 10.6, 10.18 and 8.3.3."""

from __future__ import annotations

import struct
from collections.abc import Callable

import numpy as np

Curve = Callable[[np.ndarray], np.ndarray]


def to_srgb(profile: bytes) -> Curve | None:
    """What makes of values 0..1 of any shape, of the grey that the profile describes, those of sRGB grey that looks the
    same, float32 0..1. None for a damaged profile or another kind."""
    try:
        if profile[16:20] != b"GRAY" or profile[36:40] != b"acsp":
            return None
        curve = _curve(_tag(profile, b"kTRC"))
        lightness = profile[20:24] == b"Lab "
        probe = curve(np.linspace(0, 1, 17))
    except (struct.error, ValueError, IndexError, KeyError, ZeroDivisionError):
        return None
    if not np.isfinite(probe).all() or probe[0] >= probe[-1]:
        return None

    def converted(values: np.ndarray) -> np.ndarray:
        light = curve(values.astype(np.float64)).clip(0, 1)
        return _encoded(_luminance(light) if lightness else light).astype(np.float32)

    return converted


def _tag(profile: bytes, name: bytes) -> bytes:
    (count,) = struct.unpack_from(">I", profile, 128)
    tags = {}
    for index in range(min(count, 100)):
        signature, offset, size = struct.unpack_from(">4sII", profile, 132 + 12 * index)
        tags[signature] = profile[offset : offset + size]
    return tags[name]


def _curve(tag: bytes) -> Curve:
    """A curveType or parametricCurveType as a function. KeyError, ValueError, struct.error for anything else."""
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


def _luminance(lightness: np.ndarray) -> np.ndarray:
    """CIE lightness, 0..1 of 100, -> luminance 0..1."""
    root = (100 * lightness + 16) / 116
    return np.where(root > 6 / 29, root**3, (root - 4 / 29) * 3 * (6 / 29) ** 2)


def _encoded(light: np.ndarray) -> np.ndarray:
    """Linear light 0..1 -> values of sRGB."""
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
