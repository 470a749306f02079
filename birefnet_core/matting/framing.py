"""Cut-outs framed anew: trimmed to their subject, padded to a square."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .masks import FAINT, PIECE

HAZE = 0.02  # alpha up to which networks leave some far from the subject


@dataclass(frozen=True)
class Framed:
    """pixels [h, w, 3] and alpha [h, w] as they are to be written. position: (x, y) of their upper left corner in the
    picture they come from, in pixels; negative where they were padded."""

    pixels: Tensor
    alpha: Tensor
    position: tuple[int, int] = (0, 0)


def framed(pixels: Tensor, alpha: Tensor, *, trim: bool = False, square: float | None = None) -> Framed:
    """pixels [H, W, 3] and alpha [H, W] 0..1, trimmed to what is seen of the subject, then padded to a square around
    its middle. square: its margin on each side, as a share of the longer side; None: not padded.

    ValueError for a picture to be trimmed in which nothing is seen.
    """
    x = y = 0
    if trim:
        x, y, right, bottom = _bounds(alpha)
        pixels, alpha = pixels[y:bottom, x:right], alpha[y:bottom, x:right]
    if square is not None:
        height, width = alpha.shape
        side = round(max(height, width) * (1 + 2 * square))
        left, top = (side - width) // 2, (side - height) // 2
        pad = (left, side - width - left, top, side - height - top)
        pixels = F.pad(pixels.permute(2, 0, 1), pad).permute(1, 2, 0)
        alpha = F.pad(alpha, pad)
        x, y = x - left, y - top
    return Framed(pixels, alpha, (x, y))


def _bounds(alpha: Tensor) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) of the subject: of pieces with some substance and the soft pixels that hang together
    with them; of all that is seen where nothing has substance."""
    from scipy.ndimage import label

    alpha = alpha.cpu()
    seen, substance = alpha >= FAINT, alpha > PIECE
    if substance.any():
        around, count = label((alpha > HAZE).numpy())
        around = torch.from_numpy(around).long()
        pieces = torch.zeros(count + 1, dtype=torch.bool)
        pieces[around[substance]] = True
        seen = pieces[around]
    if not seen.any():
        raise ValueError("no subject was found to trim to")
    rows, columns = (torch.nonzero(seen.any(dim)).flatten() for dim in (1, 0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
