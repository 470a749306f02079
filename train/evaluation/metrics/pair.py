"""One prediction with its truth, and what several metrics ask of them."""

from __future__ import annotations

from functools import cached_property

import numpy as np

FOREGROUND = 128 / 255  # strictly above this; the benchmarks' `> 128`


class Pair:
    """A prediction `alpha` and its `truth`, both [H, W]: uint8, uint16, or floats in 0..1 (1 = foreground).

    The prediction is kept as whole-numbered `levels` [H, W] and the `values` [L] in 0..1 they stand for, so that most
    metrics come from counting levels once instead of computing with pixels again and again. Everything is computed on
    first use and kept.

    Raises:
        ValueError: the shapes differ or are not [H, W], or floats leave 0..1.
    """

    def __init__(self, alpha: np.ndarray, truth: np.ndarray) -> None:
        alpha, truth = np.asarray(alpha), np.asarray(truth)
        if alpha.ndim != 2 or alpha.shape != truth.shape or alpha.size == 0:
            raise ValueError(f"alpha and truth must be [H, W] of one size, got {alpha.shape} and {truth.shape}")
        self.levels, self.values = _levels(alpha, "alpha")
        self.truth_levels, self.truth_values = _levels(truth, "truth")
        self.shape, self.size = alpha.shape, alpha.size

    @cached_property
    def truth(self) -> np.ndarray:
        """The truth as a mask."""
        return _above(self.truth_levels, self.truth_values, FOREGROUND)

    @cached_property
    def mask(self) -> np.ndarray:
        """The prediction, as it is, as a mask."""
        return _above(self.levels, self.values, FOREGROUND)

    def stretched_above(self, threshold: float) -> np.ndarray:
        """Where the stretched prediction is above `threshold`."""
        return _above(self.levels, self.stretched_values, threshold)

    @cached_property
    def stretched_values(self) -> np.ndarray:
        """`values`, stretched so that the prediction spans 0..1 (unless it is flat), as the benchmarks do first."""
        lowest, highest = self.values[self.levels.min()], self.values[self.levels.max()]
        if lowest == highest:
            return self.values
        return (self.values - lowest).clip(0) / (highest - lowest)

    @cached_property
    def stretched(self) -> np.ndarray:
        """The stretched prediction, float64."""
        return self.stretched_values[self.levels]

    @cached_property
    def bytes(self) -> np.ndarray:
        """The stretched prediction in 256 levels, cut off below as the benchmarks do (`astype(uint8)`)."""
        return (self.stretched_values.clip(0, 1) * 255).astype(np.uint8)[self.levels]

    @cached_property
    def adaptive_threshold(self) -> float:
        """Twice the mean of the stretched prediction, at most 1 (Achanta et al., CVPR 2009)."""
        return min(2 * self.stretched.mean(), 1.0)  # of pixels: a level may equal it, so rounding must be theirs

    @cached_property
    def centre(self) -> tuple[int, int]:
        """Where the S-measure cuts the picture in four: one past the rounded centroid of the truth (row, column)."""
        rows, columns = self.truth.sum(1), self.truth.sum(0)
        total = rows.sum()
        return tuple(int(np.round(side @ np.arange(side.size) / total)) + 1 for side in (rows, columns))

    @cached_property
    def quadrants(self) -> list[tuple[slice, slice]]:
        """The four parts around `centre`, in reading order; those on the right or below may be empty."""
        row, column = self.centre
        return [
            (down, right) for down in (slice(row), slice(row, None)) for right in (slice(column), slice(column, None))
        ]

    @cached_property
    def counts(self) -> np.ndarray:
        """Pixels by quadrant, truth (0, 1) and level: int64 [4, 2, L]. Of a truth without foreground the first quadrant
        holds everything."""
        if self._of_bytes:
            background = np.searchsorted(self.truth_values, FOREGROUND, side="right")
            joint = self._joint_counts
            return np.stack([joint[:, :, :background].sum(2), joint[:, :, background:].sum(2)], axis=1)
        levels = len(self.values)
        kind = np.uint16 if 2 * levels <= 1 << 16 else np.int64
        joint = self.levels + self.truth * kind(levels)
        return self._by_quadrant(joint, 2 * levels).reshape(4, 2, levels)

    @cached_property
    def _of_bytes(self) -> bool:
        return self.levels.dtype == np.uint8 and self.truth_levels.dtype == np.uint8

    @cached_property
    def _joint_counts(self) -> np.ndarray:
        """Pixels by quadrant, level of the prediction and level of the truth, of bytes: int64 [4, 256, 256]."""
        joint = self.levels.astype(np.uint16) * 256 + self.truth_levels
        return self._by_quadrant(joint, 1 << 16).reshape(4, 256, 256)

    def _by_quadrant(self, kinds: np.ndarray, number: int) -> np.ndarray:
        """Pixels of each of `number` kinds in each quadrant, or all in the first: [4, number]."""
        parts = self.quadrants if self.truth.any() else [(slice(None), slice(None)), *[(slice(0), slice(0))] * 3]
        return np.stack([np.bincount(kinds[part].ravel(), minlength=number) for part in parts])

    @cached_property
    def combinations(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The values of prediction and truth, both as they are, that fall on one pixel, and on how many: three [N]."""
        if not self._of_bytes:
            values = self.values[self.levels.ravel()], self.truth_values[self.truth_levels.ravel()]
            return *values, np.ones(self.size)
        counts = self._joint_counts.sum(0)
        alpha, truth = np.nonzero(counts)
        return self.values[alpha], self.truth_values[truth], counts[alpha, truth]


def _above(levels: np.ndarray, values: np.ndarray, threshold: float) -> np.ndarray:
    """`(values > threshold)[levels]` of ascending `values`, at a tenth of the time."""
    return levels >= np.searchsorted(values, threshold, side="right")


def _levels(map_: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray]:
    if map_.dtype in (np.uint8, np.uint16):
        highest = np.iinfo(map_.dtype).max
        return map_, np.arange(highest + 1) / highest
    map_ = map_.astype(np.float64)
    if not (map_.min() >= 0 and map_.max() <= 1):  # also catches NaN
        raise ValueError(f"{name} must lie in 0..1, got {map_.min()} to {map_.max()}")
    bytes_ = np.rint(map_ * 255).astype(np.uint8)
    if (bytes_ / 255 == map_).all():
        return bytes_, np.arange(256) / 255
    values, levels = np.unique(map_, return_inverse=True)
    return levels.reshape(map_.shape), values
