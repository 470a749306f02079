"""S-measure, F- and E-measures and MAE, all from one count of the prediction's levels.

They compare the stretched prediction with the thresholded truth, and equal PySODMetrics 1.6.2, rounding included.
"""

from __future__ import annotations

import numpy as np

from .pair import Pair

F_WEIGHT = 0.3  # beta squared: precision counts more (Achanta et al., CVPR 2009)
_EPS = np.spacing(1)


def mae(pair: Pair) -> float:
    """Mean absolute error between the stretched prediction and the mask of the truth; 0 best."""
    background, foreground = pair.counts.sum(0)
    values = pair.stretched_values
    return float((background @ np.abs(values) + foreground @ np.abs(1 - values)) / pair.size)


def f_curve(pair: Pair) -> np.ndarray:
    """F-measure at the thresholds 255, 254 .. 0 of the prediction in 256 levels: [256]."""
    return _f_measure(*_above_every_level(pair), pair)


def adaptive_f(pair: Pair) -> float:
    return float(_f_measure(*_above_adaptive(pair), pair))


def e_curve(pair: Pair) -> np.ndarray:
    """Enhanced-alignment measure (Fan et al., IJCAI 2018) at the thresholds 255, 254 .. 0: [256]."""
    return _e_measure(*_above_every_level(pair), pair)


def adaptive_e(pair: Pair) -> float:
    return float(_e_measure(*_above_adaptive(pair), pair))


def s_measure(pair: Pair) -> float:
    """Structure-measure (Fan et al., ICCV 2017): the mean of its object-aware and region-aware parts (equation 6,
    weight 0.5), 1 best. Where the truth is all background it is 1 - mean, where all foreground the mean prediction.

    PySODMetrics gives NaN where the object's centroid lies in the last row or column, so that a quadrant is empty; here
    that quadrant weighs nothing.
    """
    background, foreground = pair.counts.sum(0)
    share = foreground.sum() / pair.size
    if share in (0, 1):
        mean = pair.stretched.mean()
        return float(mean if share else 1 - mean)
    values = pair.stretched_values
    by_object = share * _evenness(values, foreground) + (1 - share) * _evenness(1 - values, background)
    by_region = sum(
        _similarity(pair.stretched[part].mean(), values, *counts) * counts.sum() / pair.size
        for part, counts in zip(pair.quadrants, pair.counts)
        if counts.any()
    )
    return float(max(0.0, 0.5 * by_object + 0.5 * by_region))


def _above_every_level(pair: Pair) -> tuple[np.ndarray, np.ndarray]:
    """Pixels of background and foreground at or above 255, 254 .. 0."""
    of_level = (pair.stretched_values.clip(0, 1) * 255).astype(np.uint8)
    counts = pair.counts.sum(0)
    return tuple(np.bincount(of_level, weights=count, minlength=256)[::-1].cumsum() for count in counts)


def _above_adaptive(pair: Pair) -> tuple[float, float]:
    return tuple(pair.counts.sum(0)[:, pair.stretched_values >= pair.adaptive_threshold].sum(1).astype(np.float64))


def _f_measure(false: np.ndarray, true: np.ndarray, pair: Pair) -> np.ndarray:
    """Of `true` and `false` positives; 0 without a true one."""
    foreground = max(pair.counts[:, 1].sum(), 1)
    precision, recall = true / np.maximum(true + false, 1), true / foreground
    return (1 + F_WEIGHT) * precision * recall / np.where(true == 0, 1, F_WEIGHT * precision + recall)


def _e_measure(false: np.ndarray, true: np.ndarray, pair: Pair) -> np.ndarray:
    """Of a binary prediction only four kinds of pixel exist; the enhanced alignment of each times their number, over
    pixels - 1 (the authors' code; with it a perfect prediction is a hair above 1)."""
    size, foreground = pair.size, pair.counts[:, 1].sum()
    positive = true + false
    if foreground == 0:
        total = size - positive
    elif foreground == size:
        total = positive
    else:
        mean_prediction, mean_truth = positive / size, foreground / size
        missed = foreground - true
        total = 0
        for number, predicted, true_value in (
            (true, 1, 1),
            (false, 1, 0),
            (missed, 0, 1),
            (size - positive - missed, 0, 0),
        ):
            a, b = predicted - mean_prediction, true_value - mean_truth
            total = total + number * (2 * a * b / (a**2 + b**2 + _EPS) + 1) ** 2 / 4
    return total / (size - 1 + _EPS)


def _evenness(values: np.ndarray, counts: np.ndarray) -> float:
    """How close to 1, and how even, the values within one region are (equation 4, with the authors' lambda of 0.5)."""
    number = counts.sum()
    mean = counts @ values / number
    spread = np.sqrt(counts @ (values - mean) ** 2 / (number - 1)) if number > 1 else 0.0
    return 2 * mean / (mean**2 + 1 + spread + _EPS)


def _similarity(mean: float, values: np.ndarray, background: np.ndarray, foreground: np.ndarray) -> float:
    """SSIM of one region (one window), without its stabilising constants. `mean` is the prediction's, taken over
    pixels: where the region is flat, its rounding decides in PySODMetrics whether the score is 1 or 0."""
    number = background.sum() + foreground.sum()
    truth_mean = foreground.sum() / number
    off = values - mean
    divisor = number - 1 + _EPS
    spread = (background + foreground) @ off**2 / divisor
    truth_spread = (background.sum() * truth_mean**2 + foreground.sum() * (1 - truth_mean) ** 2) / divisor
    together = (foreground @ off * (1 - truth_mean) - background @ off * truth_mean) / divisor
    above = 4 * mean * truth_mean * together
    below = (mean**2 + truth_mean**2) * (spread + truth_spread)
    if above == 0:
        return 1.0 if below == 0 else 0.0
    return above / (below + _EPS)
