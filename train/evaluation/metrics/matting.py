"""Metrics of alpha mattes: the prediction as it is beside the truth as it is, half transparent pixels included.

There is no trimap: every pixel of the picture counts. SAD, gradient and connectivity error are given in thousands, as
the matting papers do.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from .pair import Pair
from .strips import STRIP, runs

SIGMA = 1.4  # of the Gaussian whose derivative measures the gradient (Rhemann et al., CVPR 2009)
STEPS = 10  # thresholds 0.1, 0.2 .. 1 of the connectivity error
SLACK = 0.15  # a matte may rise this much above its connected level unpunished


def sad(pair: Pair) -> float:
    """Sum of absolute differences, in thousands."""
    alpha, truth, number = pair.combinations
    return float(number @ np.abs(alpha - truth) / 1000)


def mad(pair: Pair) -> float:
    """Mean absolute difference."""
    return sad(pair) * 1000 / pair.size


def mse(pair: Pair) -> float:
    """Mean squared difference."""
    alpha, truth, number = pair.combinations
    return float(number @ (alpha - truth) ** 2 / pair.size)


def soft_iou(pair: Pair) -> float:
    """Sum of the smaller over sum of the larger values; 1 when both are all zero."""
    alpha, truth, number = pair.combinations
    union = number @ np.maximum(alpha, truth)
    return float(number @ np.minimum(alpha, truth) / union) if union > 0 else 1.0


def gradient_error(pair: Pair) -> float:
    """Sum of the squared differences of the gradients' lengths, in thousands (Rhemann et al., CVPR 2009): alpha under
    first derivatives of a Gaussian, each kernel scaled to unit energy, the border repeated."""
    reach = int(np.ceil(SIGMA * np.sqrt(-2 * np.log(np.sqrt(2 * np.pi) * SIGMA * 0.01))))  # where it falls to 0.01
    offsets = np.arange(-reach, reach + 1)
    bell = np.exp(-(offsets**2) / (2 * SIGMA**2))
    slope = -offsets * bell
    bell, slope = bell / np.linalg.norm(bell), slope / np.linalg.norm(slope)
    padded = [
        (values, np.pad(levels, reach, mode="edge"))
        for values, levels in ((pair.values, pair.levels), (pair.truth_values, pair.truth_levels))
    ]
    total = 0.0
    for top in range(0, pair.shape[0], STRIP):
        alpha, truth = (values[levels[top : top + STRIP + 2 * reach]] for values, levels in padded)
        for run in runs(np.flatnonzero((alpha != truth).any(0))):  # only what is near a difference counts
            here = slice(None), slice(max(0, run.start - 2 * reach), run.stop + 2 * reach)
            lengths = [_gradient_length(matte[here], bell, slope) for matte in (alpha, truth)]
            total += np.square(lengths[0] - lengths[1]).sum()
    return float(total / 1000)


def _gradient_length(matte: np.ndarray, bell: np.ndarray, slope: np.ndarray) -> np.ndarray:
    """Of the pixels around which `matte` holds a whole kernel."""
    reach = len(bell) // 2
    inside = slice(reach, matte.shape[0] - reach), slice(reach, matte.shape[1] - reach)
    down, right = (
        ndimage.convolve1d(ndimage.convolve1d(matte, vertical, axis=0)[inside[0]], horizontal, axis=1)[:, inside[1]]
        for vertical, horizontal in ((slope, bell), (bell, slope))
    )
    return np.sqrt(down**2 + right**2)


def connectivity_error(pair: Pair) -> float:
    """Sum of the differences in connectedness, in thousands (Rhemann et al., CVPR 2009, with theta 0.15 and p 1).

    At each threshold the largest 4-connected region where both mattes reach it is what is connected. A pixel's level is
    the last threshold before it first falls out; how far a matte rises above that level is what is not connected.
    """
    thresholds = np.arange(1, STEPS + 1) / STEPS
    alpha = np.searchsorted(thresholds, pair.values, side="right").astype(np.uint8)[pair.levels]
    truth = np.searchsorted(thresholds, pair.truth_values, side="right").astype(np.uint8)[pair.truth_levels]
    both = np.minimum(alpha, truth)  # how many thresholds both reach
    held = np.zeros(pair.shape, dtype=np.uint8)
    rows, columns = np.flatnonzero(both.any(1)), np.flatnonzero(both.any(0))
    if rows.size:
        here = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        connected, largest = np.ones(both[here].shape, dtype=bool), None
        for step in range(1, STEPS + 1):
            largest = _largest_region(both[here] >= step, largest)
            connected &= largest
            held[here] += connected
    above = np.maximum(alpha, truth) > held  # elsewhere neither rises a whole step above its level
    level = held[above] / STEPS
    loose = []
    for values, levels in ((pair.values, pair.levels), (pair.truth_values, pair.truth_levels)):
        rise = values[levels[above]] - level
        loose.append(np.where(rise >= SLACK, rise, 0))
    return float(np.abs(loose[0] - loose[1]).sum() / 1000)


def _largest_region(mask: np.ndarray, guess: np.ndarray | None) -> np.ndarray:
    """`guess`: a region in which it probably lies."""
    regions, count = ndimage.label(mask)
    if count < 2:
        return mask
    if guess is not None:  # often one region is larger than all others together: no need to count them all
        inside = np.flatnonzero(guess & mask)
        if inside.size:
            likely = regions == regions.flat[inside[inside.size // 2]]
            if 2 * np.count_nonzero(likely) > np.count_nonzero(mask):
                return likely
    return regions == np.bincount(regions[mask]).argmax()
