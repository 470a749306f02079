"""Contact sheets: input, target and prediction side by side, as one picture one can look at."""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from train.shared.pictures import save_picture


def save_sheet(path: Path, images: Tensor, alpha: Tensor, predicted: Tensor, *, columns: int = 4) -> None:
    """Write triplets (input | target | prediction), `columns` of them in a row.

    images [N,3,H,W], alpha and predicted [N,1,H,W], all 0..1. The suffix of `path` decides the format.
    """
    triplets = torch.cat([images, alpha.expand_as(images), predicted.expand_as(images)], dim=3)
    rows = [torch.cat(list(row), dim=2) for row in triplets.split(columns)]
    widest = max(row.shape[2] for row in rows)
    rows = [torch.nn.functional.pad(row, (0, widest - row.shape[2])) for row in rows]
    pixels = (torch.cat(rows, dim=1).clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
    save_picture(Image.fromarray(pixels), path)
