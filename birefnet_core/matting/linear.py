"""Linear light, which EXR holds, from the values that clips and pictures hold.

1.0 is what a display shows as white: the curve of sRGB for what cameras write of standard range, as compositors read
pictures that say nothing else; for high dynamic range the reference white of ITU-R BT.2408, 203 cd/m2 of PQ and 75 %
of HLG.
"""

from __future__ import annotations

import numpy as np

PQ, HLG = 16, 18  # H.273's numbers of the transfer curves
REFERENCE_WHITE = 203  # cd/m2
# Curves of standard range that are plainly others than sRGB's, by the same numbers: values as light.
CURVES = {
    4: lambda values: values**2.2,
    5: lambda values: values**2.8,
    8: lambda values: values,
    9: lambda values: np.where(values > 0, 10 ** (2 * (values - 1)), 0),
    10: lambda values: np.where(values > 0, 10 ** (2.5 * (values - 1)), 0),
    17: lambda values: 52.37 / 48 * values**2.6,  # of cinemas, where white is 48 cd/m2
}


def to_linear(values: np.ndarray, transfer: int = 0) -> np.ndarray:
    """Values 0..1 of a picture as linear light, float32 of the same shape. transfer: H.273's number of the curve; any
    but PQ, HLG and CURVES is taken for sRGB's. Values above 1, as cameras have them, go on along the curve, but for PQ,
    which ends there; those below 0 are no light."""
    values = np.maximum(values, 0, dtype=np.float32)
    if transfer == PQ:
        return _pq(np.minimum(values, 1))
    if transfer == HLG:
        return _hlg(values) / _hlg(np.float32(0.75))
    if transfer in CURVES:
        return CURVES[transfer](values).astype(np.float32)
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4).astype(np.float32)


def _pq(values: np.ndarray) -> np.ndarray:
    """SMPTE ST 2084, in units of the reference white."""
    m1, m2 = 2610 / 16384, 2523 / 4096 * 128
    c1, c2, c3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
    power = values ** np.float32(1 / m2)
    return (10_000 / REFERENCE_WHITE * (np.maximum(power - c1, 0) / (c2 - c3 * power)) ** (1 / m1)).astype(np.float32)


def _hlg(values: np.ndarray) -> np.ndarray:
    """ARIB STD-B67: light of the scene, 0..1."""
    a = 0.17883277
    b, c = 1 - 4 * a, 0.5 - a * np.log(4 * a)
    return np.where(values <= 0.5, values**2 / 3, (np.exp((values - c) / a) + b) / 12).astype(np.float32)
