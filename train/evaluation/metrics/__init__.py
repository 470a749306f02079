"""How good a matte is. `measure` gives everything about one image; a set's figures are `summarise` of its images.

The metrics are of two kinds (`METRICS` says which):

- "segmentation": those of the paper's tables. The truth is a mask (its 8-bit value above 128), and the prediction is
  first stretched to span 0..1. They equal PySODMetrics 1.6.2 (its default, `normalize=True`), but for a NaN of its
  S-measure. Max and mean of F, E and BIoU are taken over 256 thresholds; a set's figure comes from the mean of its
  images' curves, so that the maximum is at one threshold for all.
- "matting": the prediction as it is. MAD, MSE, SAD, Grad, Conn and soft IoU compare with the soft truth, and are what
  to read for hair and glass; IoU, BIoU and mBA compare masks (above 128).

A matte that fits its soft truth perfectly has MAD 0, but not MAE 0: MAE compares with the mask, as the benchmarks do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from . import boundary, correction, matting, segmentation, weighted
from .pair import FOREGROUND, Pair

__all__ = ["CURVES", "FOREGROUND", "LOWER_IS_BETTER", "METRICS", "Metric", "Scores", "measure", "score", "summarise"]


@dataclass(frozen=True)
class Metric:
    """compute: of one Pair; or, of a metric that is taken from a curve, `curve` names it and `compute` reduces it."""

    compute: Callable
    kind: str  # "segmentation" or "matting"
    lower_is_better: bool = False
    curve: str | None = None


CURVES: dict[str, Callable[[Pair], np.ndarray]] = {
    "F": segmentation.f_curve,
    "E": segmentation.e_curve,
    "BIoU": boundary.boundary_iou_curve,
}
# To add one: a function of a Pair in a file beside this one, and a row here (contours, strips and thinning only help).
METRICS: dict[str, Metric] = {  # in the order of the paper's tables, then upstream's further columns, then matting
    "max F": Metric(np.max, "segmentation", curve="F"),
    "weighted F": Metric(weighted.weighted_f, "segmentation"),
    "MAE": Metric(segmentation.mae, "segmentation", lower_is_better=True),
    "S-measure": Metric(segmentation.s_measure, "segmentation"),
    "mean E": Metric(np.mean, "segmentation", curve="E"),
    "HCE": Metric(correction.hce, "segmentation", lower_is_better=True),
    "max E": Metric(np.max, "segmentation", curve="E"),
    "mean F": Metric(np.mean, "segmentation", curve="F"),
    "adaptive E": Metric(segmentation.adaptive_e, "segmentation"),
    "adaptive F": Metric(segmentation.adaptive_f, "segmentation"),
    "max BIoU": Metric(np.max, "segmentation", curve="BIoU"),
    "mean BIoU": Metric(np.mean, "segmentation", curve="BIoU"),
    "SAD": Metric(matting.sad, "matting", lower_is_better=True),
    "MSE": Metric(matting.mse, "matting", lower_is_better=True),
    "MAD": Metric(matting.mad, "matting", lower_is_better=True),
    "Grad": Metric(matting.gradient_error, "matting", lower_is_better=True),
    "Conn": Metric(matting.connectivity_error, "matting", lower_is_better=True),
    "IoU": Metric(boundary.iou, "matting"),
    "soft IoU": Metric(matting.soft_iou, "matting"),
    "BIoU": Metric(boundary.boundary_iou, "matting"),
    "mBA": Metric(boundary.boundary_accuracy, "matting"),
}
LOWER_IS_BETTER = {name for name, metric in METRICS.items() if metric.lower_is_better}


@dataclass(frozen=True)
class Scores:
    """One image: `figures` by name in METRICS (its own maximum, its own mean), `curves` [256] by name in CURVES. A
    figure is NaN where it is not defined: mBA of a truth without a boundary."""

    figures: dict[str, float]
    curves: dict[str, np.ndarray]


def measure(alpha: np.ndarray, truth: np.ndarray) -> Scores:
    """Everything about one image. `alpha` and `truth`: [H, W], uint8, uint16 or floats in 0..1, 1 = foreground.
    ValueError when they are not."""
    pair = Pair(alpha, truth)
    curves = {name: curve(pair) for name, curve in CURVES.items()}
    figures = {
        name: float(metric.compute(curves[metric.curve] if metric.curve else pair)) for name, metric in METRICS.items()
    }
    return Scores(figures, curves)


def score(alpha: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """The figures of `measure`."""
    return measure(alpha, truth).figures


def summarise(images: Iterable[Scores]) -> dict[str, float]:
    """A data set's figures by name in METRICS: means over its images, or of their mean curve. An image where a figure
    is NaN does not count for it; NaN when none counts. ValueError without images."""
    images = list(images)
    if not images:
        raise ValueError("no images to summarise")
    curves = {name: np.mean([image.curves[name] for image in images], axis=0) for name in CURVES}
    figures = {}
    for name, metric in METRICS.items():
        if metric.curve:
            figures[name] = float(metric.compute(curves[metric.curve]))
            continue
        values = [image.figures[name] for image in images if not np.isnan(image.figures[name])]
        figures[name] = float(np.mean(values)) if values else float("nan")
    return figures
