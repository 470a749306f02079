"""Metrics of alpha mattes: the prediction as it is beside the truth as it is, half transparent pixels included.

There is no trimap: every pixel of the picture counts. SAD, gradient and connectivity error are given in thousands, as
the matting papers do.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from .pair import Pair

SIGMA = 1.4  # of the Gaussian whose derivative measures the gradient (Rhemann et al., CVPR 2009)
STEPS = 10  # thresholds 0.1, 0.2 .. 1 of the connectivity error
SLACK = 0.15  # a matte may rise this much above its connected level unpunished


def sad(pair: Pair) -> float:
    """Sum of absolute differences, in thousands."""
    return float(np.abs(pair.difference).sum() / 1000)


def mad(pair: Pair) -> float:
    """Mean absolute difference."""
    return float(np.abs(pair.difference).mean())


def mse(pair: Pair) -> float:
    """Mean squared difference."""
    return float(np.square(pair.difference).mean())


def soft_iou(pair: Pair) -> float:
    """Sum of the smaller over sum of the larger values; 1 when both are all zero."""
    union = np.maximum(pair.alpha, pair.soft_truth).sum()
    return float(np.minimum(pair.alpha, pair.soft_truth).sum() / union) if union > 0 else 1.0


def gradient_error(pair: Pair) -> float:
    """Sum of the squared differences of the gradients' lengths, in thousands (Rhemann et al., CVPR 2009): alpha under
    first derivatives of a Gaussian, each kernel scaled to unit energy, the border repeated."""
    reach = int(np.ceil(SIGMA * np.sqrt(-2 * np.log(np.sqrt(2 * np.pi) * SIGMA * 0.01))))  # where it falls to 0.01
    offsets = np.arange(-reach, reach + 1)
    bell = np.exp(-(offsets**2) / (2 * SIGMA**2))
    slope = -offsets * bell
    bell, slope = bell / np.linalg.norm(bell), slope / np.linalg.norm(slope)
    here = _where_they_differ(pair, margin=2 * reach)  # so far away the lengths are the same in both
    if here is None:
        return 0.0
    lengths = []
    for matte in (pair.alpha[here], pair.soft_truth[here]):
        sides = (
            ndimage.convolve1d(ndimage.convolve1d(matte, down, axis=0, mode="nearest"), right, axis=1, mode="nearest")
            for down, right in ((slope, bell), (bell, slope))
        )
        lengths.append(np.hypot(*sides))
    return float(np.square(lengths[0] - lengths[1]).sum() / 1000)


def connectivity_error(pair: Pair) -> float:
    """Sum of the differences in connectedness, in thousands (Rhemann et al., CVPR 2009, with theta 0.15 and p 1).

    At each threshold the largest 4-connected region where both mattes reach it is what is connected. A pixel's level is
    the last threshold before it first falls out; how far a matte rises above that level is what is not connected.
    """
    if _where_they_differ(pair) is None:
        return 0.0
    lower = np.minimum(pair.alpha, pair.soft_truth)
    level = np.ones(pair.shape)
    undecided = np.ones(pair.shape, dtype=bool)
    for step in range(1, STEPS + 1):
        fallen = undecided & ~_largest_region(lower >= step / STEPS)
        level[fallen] = (step - 1) / STEPS
        undecided &= ~fallen
    loose = (np.where(rise >= SLACK, rise, 0) for rise in (pair.alpha - level, pair.soft_truth - level))
    return float(np.abs(next(loose) - next(loose)).sum() / 1000)


def _largest_region(mask: np.ndarray) -> np.ndarray:
    regions, count = ndimage.label(mask)
    if count < 2:
        return mask
    sizes = np.bincount(regions.ravel())
    sizes[0] = 0
    return regions == sizes.argmax()


def _where_they_differ(pair: Pair, margin: int = 0) -> tuple[slice, slice] | None:
    """The smallest part of the picture with all differences, `margin` wider; None without one."""
    different = pair.difference != 0
    rows, columns = np.flatnonzero(different.any(1)), np.flatnonzero(different.any(0))
    if not rows.size:
        return None
    return tuple(slice(max(0, some[0] - margin), some[-1] + margin + 1) for some in (rows, columns))
