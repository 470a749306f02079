"""How well masks overlap, as a whole and along their boundaries."""

from __future__ import annotations

import numpy as np

from .pair import Pair

BAND = 0.02  # of the diagonal: the width of the boundary in BIoU
RADII = 5  # boundary widths that mBA averages


def iou(pair: Pair) -> float:
    """Intersection over union of the two masks; 1 when both are empty."""
    return _overlap(pair.mask, pair.truth)


def boundary_iou(pair: Pair) -> float:
    """Boundary IoU (Cheng et al., CVPR 2021): IoU of the two masks' inner bands, 2 % of the diagonal wide. The border
    of the picture counts as boundary. 1 when both are empty."""
    return _overlap(_inner_band(pair.mask), _inner_band(pair.truth))


def boundary_iou_curve(pair: Pair) -> np.ndarray:
    """Upstream's Boundary IoU of a soft prediction: the stretched prediction less its local minimum, at the thresholds
    255, 254 .. 0, over the truth's band: [256]."""
    truth, rise = _inner_band(pair.truth), _inner_band(pair.bytes)
    true, both = (np.bincount(values, minlength=256)[::-1].cumsum() for values in (rise[truth], rise.ravel()))
    return true / (max(int(truth.sum()), 1) + both - true)


def boundary_accuracy(pair: Pair) -> float:
    """Mean boundary accuracy (mBA; Cheng et al., "CascadePSP", CVPR 2020): the share of pixels that are right within 1
    to (width + height) / 300 pixels of the truth's boundary, the mean over five widths. NaN where it has none."""
    right = pair.mask == pair.truth
    widest = sum(pair.shape) / 300
    radii = [1 + int((widest - 1) / RADII * step) for step in range(RADII)]
    foreground, background = (_widened(mask, max(radii)) for mask in (pair.truth, ~pair.truth))
    accuracies = []
    for radius in radii:
        band = _reached(foreground, radius) & _reached(background, radius)
        if not band.any():
            return float("nan")
        accuracies.append(right[band].mean())
    return float(np.mean(accuracies))


def _overlap(a: np.ndarray, b: np.ndarray) -> float:
    union = np.count_nonzero(a | b)
    return np.count_nonzero(a & b) / union if union else 1.0


def _inner_band(matte: np.ndarray) -> np.ndarray:
    """The matte (a mask, or bytes) less its minimum in a square around each pixel, empty outside of the picture."""
    reach = max(1, round(BAND * float(np.hypot(*matte.shape))))
    lowest = np.pad(matte.view(np.uint8), reach)
    for axis in (0, 1):
        lowest = _lowest(lowest, 2 * reach + 1, axis)
    return (matte.view(np.uint8) - lowest).view(matte.dtype)


def _lowest(values: np.ndarray, window: int, axis: int) -> np.ndarray:
    """The minimum of `window` neighbours along an axis, window - 1 shorter than before; by doubling: with a window of
    59 bytes ten times as fast as scipy's filter."""
    values = np.moveaxis(values, axis, 0)
    length, known = len(values) - window + 1, 1
    while known < window:
        step = min(known, window - known)
        values = np.minimum(values[:-step], values[step:])
        known += step
    return np.moveaxis(values[:length], 0, axis)


def _widened(mask: np.ndarray, most: int) -> list[np.ndarray]:
    """The mask grown 0, 1 .. `most` pixels to the left and right."""
    grown = [mask]
    for step in range(1, most + 1):
        out = grown[-1].copy()
        out[:, step:] |= mask[:, :-step]
        out[:, :-step] |= mask[:, step:]
        grown.append(out)
    return grown


def _reached(widened: list[np.ndarray], radius: int) -> np.ndarray:
    """The mask grown by a disc (OpenCV's ellipse of 2 radius + 1), row of the disc by row."""
    out = widened[radius].copy()
    for step in range(1, radius + 1):
        row = widened[round(float(np.sqrt(radius**2 - step**2)))]
        out[step:] |= row[:-step]
        out[:-step] |= row[step:]
    return out
