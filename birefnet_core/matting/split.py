"""One picture, several subjects: which part of the alpha is whose. Layers made of the parts, laid over each other, show
the subjects as they stood together."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .masks import FAINT, SOLID, blur

SPECK = 0.01  # of the largest piece's alpha: smaller pieces are none
SMOOTH = 2.0  # pixels; standard deviation of the blur after which is decided whose a pixel is
BETWEEN = 0.2  # of a subject's size (the root of its alpha's sum), up to which from both a pixel is between two
BLURRED = 0.01  # what a straight edge that is blurred has left at 2.3 of the standard deviations; a corner has at 1.6
NESTED = 0.05  # of alpha, by which the smallest subject goes before the largest where both claim a pixel


def pieces(alpha: Tensor, most: int) -> Tensor:
    """The parts of alpha [H, W] that hang together, each with its soft edge: [N, H, W], N <= most, the one with the
    largest sum first. No part of a pixel's alpha is in two of them; specks are in none.

    Pieces are told apart where alpha is at least SOLID and touch by a side or a corner; what is softer goes to the
    nearest piece that it hangs together with.
    """
    from scipy.ndimage import label, sum_labels

    values, touching = alpha.float().cpu().numpy(), np.ones((3, 3))
    solid, count = label(values >= SOLID, touching)
    if not count:
        return alpha.new_zeros(0, *alpha.shape)
    sums = np.asarray(sum_labels(values, solid, range(1, count + 1)))
    largest = [index + 1 for index in np.argsort(-sums, kind="stable") if sums[index] >= SPECK * sums.max()]
    owner = _owners(solid, label(values > FAINT, touching)[0], np.array(largest))
    parts = [np.where(owner == piece, values, 0) for piece in largest[:most]]
    return torch.from_numpy(np.stack(parts)).to(alpha)


def _owners(solid: np.ndarray, around: np.ndarray, pieces: np.ndarray) -> np.ndarray:
    """Of every pixel the nearest of `pieces`, labels of `solid` [H, W], that it hangs together with, as labels of
    `around` [H, W] say; 0 for none."""
    from scipy.ndimage import distance_transform_edt, find_objects

    owner, region_of = np.zeros_like(solid), np.zeros(solid.max() + 1, int)
    region_of[solid] = around
    for region, place in enumerate(find_objects(around), 1):
        own = pieces[region_of[pieces] == region]
        here = around[place] == region
        if len(own) > 1:
            others = ~np.isin(solid[place], own)
            nearest = distance_transform_edt(others, return_distances=False, return_indices=True)
            owner[place][here] = solid[place][tuple(nearest)][here]
        elif len(own):
            owner[place][here] = own[0]
    return owner


def overlap(alphas: Tensor) -> bool:
    """Whether any pixel belongs to more than one of alphas [N, H, W]."""
    return bool(((alphas > FAINT).sum(0) > 1).any())


def shared_out(alphas: Tensor, together: Tensor) -> Tensor:
    """alphas [N, H, W] of N subjects, each seen by itself, so that no pixel counts twice: [N, H, W].

    together: the alpha [H, W] of all of them, seen at once. Where only one subject is, its alpha stays. Where several
    claim a pixel, all of it goes to one of them: to the one with the most alpha, or, where they are as good as equal
    (a hat and who wears it), to the smaller one. That pixel's alpha is what `together` says, at least the largest of
    the claims and at most their sum. Between two, where each may be cut off for the other's sake, it is what `together`
    says in any case, and what none claims goes to the nearer one. So the result adds up to the alpha of the union, and
    so does what layers give that are laid over each other; shares of a half each would let a quarter of the background
    through.
    """
    seen = alphas > FAINT
    nearly = blur(alphas[:, None].float(), BETWEEN / 2 * float(alphas.sum() / len(alphas)) ** 0.5)[:, 0]
    between = (nearly > BLURRED).sum(0) > 1
    most = torch.where(between, 1, alphas.sum(0).clamp(max=1))
    union = together.maximum(alphas.amax(0)).minimum(most)
    ranks = torch.empty(len(alphas), device=alphas.device)
    ranks[alphas.sum((1, 2)).argsort(descending=True, stable=True)] = torch.linspace(
        0, NESTED, len(alphas), device=alphas.device
    )
    claims = blur(alphas[:, None].float(), SMOOTH)[:, 0] + ranks[:, None, None]  # else the border would be ragged
    owner = torch.where(seen.any(0), torch.where(seen, claims, 0).argmax(0), nearly.argmax(0))
    return torch.where(torch.arange(len(alphas), device=alphas.device)[:, None, None] == owner, union, 0)


def content_rect(alpha: Tensor) -> tuple[int, int, int, int]:
    """(left, top, width, height) of what is seen of alpha [H, W]; (0, 0, 0, 0) when nothing is."""
    seen = alpha > FAINT
    if not seen.any():
        return 0, 0, 0, 0
    (top, bottom), (left, right) = (torch.nonzero(seen.any(axis)).flatten()[[0, -1]].tolist() for axis in (1, 0))
    return left, top, right - left + 1, bottom - top + 1
