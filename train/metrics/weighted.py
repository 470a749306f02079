"""Weighted F-measure (Margolin et al., CVPR 2014)."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from .pair import Pair

WINDOW = 3  # pixels to each side: the paper's 7 x 7 Gaussian
SIGMA = 5
_EPS = np.spacing(1)


def weighted_f(pair: Pair) -> float:
    """Errors count less inside the object where their neighbourhood is right, and more (up to twice) far outside it;
    beta 1, 1 best, 0 where the truth is empty. Compares the stretched prediction with the mask of the truth, and equals
    PySODMetrics 1.6.2."""
    if not pair.truth.any():
        return 0.0
    here = _around(pair)
    truth, error = pair.truth[here], np.abs(pair.stretched[here] - pair.truth[here])
    distance, nearest = ndimage.distance_transform_edt(~truth, return_indices=True)

    # A background pixel takes the error of the nearest foreground pixel before smoothing. Only those within the
    # window of a foreground pixel are ever looked at.
    dependent = error.copy()
    band = ~truth & (distance < (WINDOW + 1) * np.sqrt(2))
    dependent[band] = error[nearest[0][band], nearest[1][band]]
    offsets = np.arange(-WINDOW, WINDOW + 1)
    kernel = np.exp(-(offsets**2) / (2 * SIGMA**2))
    kernel /= kernel.sum()
    for axis in (0, 1):
        dependent = ndimage.correlate1d(dependent, kernel, axis=axis, mode="constant")

    inside = np.minimum(error[truth], dependent[truth])
    wrong = ~truth & (error > 0)
    outside = error[wrong] * (2 - np.exp(np.log(0.5) / 5 * distance[wrong]))
    true = truth.sum() - inside.sum()
    recall = 1 - inside.mean()
    precision = true / (true + outside.sum() + _EPS)
    return float(2 * recall * precision / (recall + precision + _EPS))


def _around(pair: Pair) -> tuple[slice, slice]:
    """The part of the picture outside of which nothing counts: foreground, errors, and the window around them."""
    touched = pair.truth | (pair.stretched_values > 0)[pair.levels]
    return tuple(
        slice(max(0, some[0] - WINDOW), some[-1] + WINDOW + 1)
        for some in (np.flatnonzero(touched.any(1)), np.flatnonzero(touched.any(0)))
    )
