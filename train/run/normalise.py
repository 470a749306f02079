"""What networks are fed in training: pictures with the statistics of ImageNet."""

from __future__ import annotations

import torch
from torch import Tensor

from birefnet_core.weights.catalog import IMAGENET_MEAN, IMAGENET_STD


def normalise(images: Tensor) -> Tensor:
    """[N,3,H,W] in 0..1 -> ImageNet statistics, as the whole suite feeds its networks."""
    mean = torch.tensor(IMAGENET_MEAN, device=images.device).view(3, 1, 1)
    return (images - mean) / torch.tensor(IMAGENET_STD, device=images.device).view(3, 1, 1)
