"""How good a matte is: MAE, IoU, soft IoU and the S-measure, one image at a time.

Every metric takes `alpha` and `truth`, arrays [H, W] in 0..1 (1 = foreground), and returns a float. A set's figure is
the mean over its images. Conventions, where the field has several:

- Truth is *foreground* where its 8-bit value is above 128, as PySODMetrics and the benchmarks have it; the same
  threshold makes the prediction's mask for IoU.
- MAE and soft IoU compare with the soft truth as it is; IoU and the S-measure with the thresholded truth.
- The prediction is taken as it is. PySODMetrics by default stretches every prediction to span 0..1 first
  (`normalize=True`), which hides a timid or all-grey matte; with `normalize=False` its figures are ours.
"""

from __future__ import annotations

import numpy as np

FOREGROUND = 128 / 255  # strictly above this
_EPS = np.spacing(1)


def mae(alpha: np.ndarray, truth: np.ndarray) -> float:
    """Mean absolute error, 0 best, 1 worst."""
    alpha, truth = _pair(alpha, truth)
    return float(np.abs(alpha - truth).mean())


def iou(alpha: np.ndarray, truth: np.ndarray) -> float:
    """Intersection over union of the two masks thresholded at FOREGROUND; 1 when both are empty."""
    alpha, truth = _pair(alpha, truth)
    return _overlap((alpha > FOREGROUND).astype(np.float64), (truth > FOREGROUND).astype(np.float64))


def soft_iou(alpha: np.ndarray, truth: np.ndarray) -> float:
    """Sum of the smaller over sum of the larger values, no threshold; 1 when both are all zero."""
    return _overlap(*_pair(alpha, truth))


def s_measure(alpha: np.ndarray, truth: np.ndarray) -> float:
    """Structure-measure (Fan et al., ICCV 2017), the mean of its object-aware and region-aware parts (equation 6,
    weight 0.5), 1 best. Where truth is all background it is 1 - mean(alpha), where all foreground mean(alpha).

    Agrees with PySODMetrics 1.6.2 to 1e-6 (tests/train/test_metrics.py). One difference: where the object's centroid
    lies in the last row or column, so that a quadrant is empty, PySODMetrics gives NaN; here that quadrant weighs
    nothing.
    """
    alpha, truth = _pair(alpha, truth)
    truth = truth > FOREGROUND
    share = truth.mean()
    if share == 0:
        return float(1 - alpha.mean())
    if share == 1:
        return float(alpha.mean())
    by_object = share * _object_score(alpha[truth]) + (1 - share) * _object_score(1 - alpha[~truth])
    return float(max(0.0, 0.5 * by_object + 0.5 * _region_score(alpha, truth)))


METRICS = {"MAE": mae, "IoU": iou, "soft IoU": soft_iou, "S-measure": s_measure}
LOWER_IS_BETTER = {"MAE"}


def score(alpha: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """All of METRICS for one image, by name."""
    return {name: metric(alpha, truth) for name, metric in METRICS.items()}


def _pair(alpha: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    alpha, truth = np.asarray(alpha, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    if alpha.ndim != 2 or alpha.shape != truth.shape or alpha.size == 0:
        raise ValueError(f"alpha and truth must be [H, W] of one size, got {alpha.shape} and {truth.shape}")
    for name, values in (("alpha", alpha), ("truth", truth)):
        if not (values.min() >= 0 and values.max() <= 1):  # also catches NaN
            raise ValueError(f"{name} must lie in 0..1, got {values.min()} to {values.max()}")
    return alpha, truth


def _overlap(a: np.ndarray, b: np.ndarray) -> float:
    union = np.maximum(a, b).sum()
    return float(np.minimum(a, b).sum() / union) if union > 0 else 1.0


def _object_score(values: np.ndarray) -> float:
    """How close to 1, and how even, the values within one region are (equation 4, with the authors' lambda of 0.5)."""
    mean = values.mean()
    spread = values.std(ddof=1) if values.size > 1 else 0.0
    return 2 * mean / (mean**2 + 1 + spread + _EPS)


def _region_score(alpha: np.ndarray, truth: np.ndarray) -> float:
    """SSIM in the four quadrants around the truth's centroid, weighted by their areas (section 3.1). The authors' cut
    is one past the rounded centroid."""
    rows, columns = truth.shape
    cut_row = int(np.round(truth.sum(1) @ np.arange(rows) / truth.sum())) + 1
    cut_column = int(np.round(truth.sum(0) @ np.arange(columns) / truth.sum())) + 1
    total = 0.0
    for down in (slice(0, cut_row), slice(cut_row, rows)):
        for right in (slice(0, cut_column), slice(cut_column, columns)):
            total += _similarity(alpha[down, right], truth[down, right].astype(np.float64)) * alpha[down, right].size
    return total / alpha.size


def _similarity(a: np.ndarray, b: np.ndarray) -> float:
    """SSIM of two whole regions (one window), without its stabilising constants."""
    if a.size == 0:
        return 0.0
    mean_a, mean_b = a.mean(), b.mean()
    off_a, off_b = a - mean_a, b - mean_b
    count = a.size - 1 + _EPS
    above = 4 * mean_a * mean_b * (off_a * off_b).sum() / count
    below = (mean_a**2 + mean_b**2) * ((off_a**2).sum() + (off_b**2).sum()) / count
    if above == 0:
        return 1.0 if below == 0 else 0.0
    return above / (below + _EPS)
