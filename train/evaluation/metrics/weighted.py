"""Weighted F-measure (Margolin et al., CVPR 2014)."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from .pair import Pair
from .strips import STRIP, around, runs

WINDOW = 3  # pixels to each side: the paper's 7 x 7 Gaussian
SIGMA = 5
_EPS = np.spacing(1)


def weighted_f(pair: Pair) -> float:
    """Errors count less inside the object where their neighbourhood is right, and more (up to twice) far outside it;
    beta 1, 1 best, 0 where the truth is empty. Compares the stretched prediction with the mask of the truth, and equals
    PySODMetrics 1.6.2."""
    if not pair.truth.any():
        return 0.0
    here = around(pair.truth | pair.stretched_above(0), WINDOW)  # nothing counts outside of it
    truth = pair.truth[here]
    error = np.abs(pair.stretched[here] - truth)
    nearest = ndimage.distance_transform_edt(~truth, return_distances=False, return_indices=True)
    wrong = ~truth & (error > 0)
    distance = np.sqrt(sum((place[wrong] - own) ** 2 for place, own in zip(nearest, np.nonzero(wrong))))

    # A background pixel takes the error of the nearest foreground pixel before smoothing. Only those within the
    # window of a foreground pixel are ever looked at.
    band = _widened(truth) & ~truth
    dependent = np.where(truth, error, 0)
    dependent[band] = error[nearest[0][band], nearest[1][band]]
    imperfect = truth & (error > 0)
    inside = np.minimum(error[imperfect], _smoothed(dependent, imperfect)[imperfect])
    outside = error[wrong] * (2 - np.exp(np.log(0.5) / 5 * distance))
    foreground = np.count_nonzero(truth)
    true = foreground - inside.sum()
    recall = true / foreground
    precision = true / (true + outside.sum() + _EPS)
    return float(2 * recall * precision / (recall + precision + _EPS))


def _widened(mask: np.ndarray) -> np.ndarray:
    """The mask and what lies within the window of it."""
    for _ in range(WINDOW):
        rows = mask.copy()
        rows[1:] |= mask[:-1]
        rows[:-1] |= mask[1:]
        mask = rows.copy()
        mask[:, 1:] |= rows[:, :-1]
        mask[:, :-1] |= rows[:, 1:]
    return mask


def _smoothed(values: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Under the window's Gaussian, 0 beyond the picture; anything where not `wanted`."""
    offsets = np.arange(-WINDOW, WINDOW + 1)
    kernel = np.exp(-(offsets**2) / (2 * SIGMA**2))
    kernel /= kernel.sum()
    padded = np.pad(values, WINDOW)
    out = np.empty_like(values)
    for top in range(0, len(values), STRIP):
        rows = slice(top, top + STRIP)
        for run in runs(np.flatnonzero(wanted[rows].any(0))):
            near = padded[top : top + STRIP + 2 * WINDOW, run.start : run.stop + 2 * WINDOW]
            smooth = ndimage.correlate1d(near, kernel, axis=0)[WINDOW:-WINDOW]
            out[rows, run] = ndimage.correlate1d(smooth, kernel, axis=1)[:, WINDOW:-WINDOW]
    return out
