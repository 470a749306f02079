"""Weighted F-measure (Margolin et al., CVPR 2014)."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from .pair import Pair

WINDOW = 3  # pixels to each side: the paper's 7 x 7 Gaussian
SIGMA = 5
STRIP = 64  # rows smoothed at a time: what fits the cache takes half as long
_EPS = np.spacing(1)


def weighted_f(pair: Pair) -> float:
    """Errors count less inside the object where their neighbourhood is right, and more (up to twice) far outside it;
    beta 1, 1 best, 0 where the truth is empty. Compares the stretched prediction with the mask of the truth, and equals
    PySODMetrics 1.6.2."""
    if not pair.truth.any():
        return 0.0
    here = _around(pair)
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
    smooth = _smoothed(dependent)

    inside = np.minimum(error[truth], smooth[truth])
    outside = error[wrong] * (2 - np.exp(np.log(0.5) / 5 * distance))
    true = truth.sum() - inside.sum()
    recall = 1 - inside.mean()
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


def _smoothed(values: np.ndarray) -> np.ndarray:
    """Under the window's Gaussian, 0 beyond the picture."""
    offsets = np.arange(-WINDOW, WINDOW + 1)
    kernel = np.exp(-(offsets**2) / (2 * SIGMA**2))
    kernel /= kernel.sum()
    padded = np.pad(values, ((WINDOW, WINDOW), (0, 0)))
    out = np.empty_like(values)
    for top in range(0, len(values), STRIP):
        rows = ndimage.correlate1d(padded[top : top + STRIP + 2 * WINDOW], kernel, axis=0)[WINDOW:-WINDOW]
        out[top : top + STRIP] = ndimage.correlate1d(rows, kernel, axis=1, mode="constant")
    return out


def _around(pair: Pair) -> tuple[slice, slice]:
    """The part of the picture outside of which nothing counts: foreground, errors, and the window around them."""
    touched = pair.truth | (pair.stretched_values > 0)[pair.levels]
    return tuple(
        slice(max(0, some[0] - WINDOW), some[-1] + WINDOW + 1)
        for some in (np.flatnonzero(touched.any(1)), np.flatnonzero(touched.any(0)))
    )
