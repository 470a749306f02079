"""Human correction effort: about how many clicks it takes to mend a mask (Qin et al., ECCV 2022, section 4)."""

from __future__ import annotations

import numpy as np

from .contours import borders, count_corners
from .pair import Pair
from .strips import around
from .thinning import skeleton

RELAX = 5  # gamma: pixels by which a border may be off
TOLERANCE = 2.0  # of the polygons, in pixels


def hce(pair: Pair) -> float:
    """Relaxed HCE with gamma 5: corners of the polygons one would click along wrong regions, plus one click for each
    region that is wrong as a whole. 0 best, no upper bound, grows with the picture. Compares the stretched prediction
    above 0.5 with the mask of the truth, and equals PySODMetrics 1.6.2 with scikit-image 0.25 and OpenCV 4.14.

    Regions thinner than about twice gamma are forgiven, except where a piece of the truth's skeleton is missed."""
    predicted = pair.stretched_above(0.5)
    if (predicted == pair.truth).all():
        return 0.0
    here = around(pair.truth | predicted, RELAX + 3)  # RELAX steps there and back fit
    truth, predicted = pair.truth[here], predicted[here]
    kept = truth & predicted
    core = _eroded(truth | predicted, RELAX)
    false = _recovered(predicted & ~truth, core, ~truth)
    missed = truth & ~predicted
    missed = _recovered(missed, core, ~predicted) | (missed & skeleton(truth) if missed.any() else missed)
    mend_false = _mending(false, kept | missed)
    mend_missed = _mending(missed, ~(kept | false | missed))
    corners = count_corners(mend_false[0] + mend_missed[0], TOLERANCE)
    return float(corners + mend_false[1] + mend_missed[1])


def _recovered(wrong: np.ndarray, core: np.ndarray, free: np.ndarray) -> np.ndarray:
    """The wrong pixels that are left when those near a right border are forgiven: what lies in the core, grown RELAX
    steps within `free`."""
    grown = wrong & core
    for _ in range(RELAX):
        grown = _dilated(grown) & free
    return grown & wrong


def _eroded(mask: np.ndarray, steps: int) -> np.ndarray:
    """Eroded by a cross; what lies outside of the picture takes nothing away."""
    for _ in range(steps):
        mask = ~_dilated(~mask)
    return mask


def _dilated(mask: np.ndarray) -> np.ndarray:
    """Dilated by a cross of 3 x 3."""
    out = mask.copy()
    out[1:] |= mask[:-1]
    out[:-1] |= mask[1:]
    out[:, 1:] |= mask[:, :-1]
    out[:, :-1] |= mask[:, 1:]
    return out


def _mending(wrong: np.ndarray, neighbour: np.ndarray) -> tuple[list[np.ndarray], int]:
    """What must be clicked to mend the `wrong` pixels: the stretches [N, 2] of their borders along `neighbour`, each
    pixel in the first that has it, and the number of regions that touch `neighbour` nowhere."""
    if not wrong.any():
        return [], 0
    along = _dilated(neighbour).ravel()
    found = borders(wrong)
    pixels = np.concatenate([border.chain for border in found])
    to_click = np.zeros(pixels.size, dtype=bool)
    candidates = np.flatnonzero(along[pixels])
    to_click[candidates[np.unique(pixels[candidates], return_index=True)[1]]] = True
    stretches: list[np.ndarray] = []
    touching, end = set(), 0
    for border in found:
        begin, end = end, end + len(border.chain)
        some = _stretches(border.chain, to_click[begin:end], wrong.shape[1])
        if some:
            touching.add(border.region)
            stretches += some
    regions = sum(not border.hole for border in found)
    return stretches, regions - len(touching)


def _stretches(chain: np.ndarray, chosen: np.ndarray, width: int) -> list[np.ndarray]:
    """The runs of chosen pixels along one border, as (x, y). Where the last run ends beside the beginning of the first
    they are one: as in the authors' code, the first is appended to the last turned round."""
    places = np.flatnonzero(chosen)
    if not places.size:
        return []
    points = np.stack([chain[places] % width, chain[places] // width], axis=1)
    runs = np.split(points, np.flatnonzero(np.diff(places) > 1) + 1)
    if len(runs) > 1 and np.abs(runs[0][0] - runs[-1][-1]).max() == 1:
        runs[-1] = np.concatenate([runs[-1], runs[0][::-1]])
        del runs[0]
    return runs
