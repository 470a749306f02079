"""ICC profiles of RGB pictures that are three curves and a matrix, as those of cameras, monitors and colour spaces are.

From their values to linear light, at any depth (Pillow's colour management knows 8 bits). ICC.1:2022, 8.3.3 and F.3.
"""

from __future__ import annotations

import struct

import numpy as np

from .icc import BROKEN, Curve, curve_of, tags_of

# XYZ of the white D50, as profiles have it, from linear light of sRGB's primaries (IEC 61966-2-1, adapted by Bradford).
SRGB = np.array([[0.43607, 0.38506, 0.14308], [0.22250, 0.71688, 0.06062], [0.01393, 0.09710, 0.71417]])


def to_light(profile: bytes) -> Curve | None:
    """What makes of values 0..1 [..., 3] of the colours that the profile describes linear light of sRGB's primaries,
    float32; colours that sRGB has not are below 0 or above 1. None for a damaged profile and other kinds, such as those
    with tables."""
    try:
        if profile[16:24] != b"RGB XYZ " or profile[36:40] != b"acsp":
            return None
        tags = tags_of(profile)
        if b"A2B0" in tags or b"A2B1" in tags:
            return None
        curves = [curve_of(tags[channel + b"TRC"]) for channel in (b"r", b"g", b"b")]
        columns = [struct.unpack_from(">3i", tags[channel + b"XYZ"], 8) for channel in (b"r", b"g", b"b")]
    except BROKEN:
        return None
    matrix = np.linalg.inv(SRGB) @ (np.array(columns).T / 65536)

    def converted(values: np.ndarray) -> np.ndarray:
        light = np.stack([curve(values[..., index].astype(np.float64)) for index, curve in enumerate(curves)], axis=-1)
        return (light @ matrix.T).astype(np.float32)

    return converted
