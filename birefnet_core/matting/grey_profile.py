"""ICC profiles of grey pictures: from their values to those of sRGB, at any depth (Pillow's colour management knows 8
bits of grey). ICC.1:2022, 8.3.3."""

from __future__ import annotations

import numpy as np

from .icc import BROKEN, Curve, curve_of, tags_of


def to_srgb(profile: bytes) -> Curve | None:
    """What makes of values 0..1 of any shape, of the grey that the profile describes, those of sRGB grey that looks the
    same, float32 0..1. None for a damaged profile or another kind."""
    try:
        if profile[16:20] != b"GRAY" or profile[36:40] != b"acsp":
            return None
        curve = curve_of(tags_of(profile)[b"kTRC"])
    except BROKEN:
        return None
    lightness = profile[20:24] == b"Lab "

    def converted(values: np.ndarray) -> np.ndarray:
        light = curve(values.astype(np.float64)).clip(0, 1)
        return _encoded(_luminance(light) if lightness else light).astype(np.float32)

    return converted


def _luminance(lightness: np.ndarray) -> np.ndarray:
    """CIE lightness, 0..1 of 100, -> luminance 0..1."""
    root = (100 * lightness + 16) / 116
    return np.where(root > 6 / 29, root**3, (root - 4 / 29) * 3 * (6 / 29) ** 2)


def _encoded(light: np.ndarray) -> np.ndarray:
    """Linear light 0..1 -> values of sRGB."""
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
