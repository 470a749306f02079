"""What networks are fed in training: pictures with the statistics of ImageNet."""

from __future__ import annotations

import torch
from torch import Tensor

from birefnet_core.weights.catalog import IMAGENET_MEAN, IMAGENET_STD, ModelSpec

IMAGENET = IMAGENET_MEAN, IMAGENET_STD


def normalise(images: Tensor, statistics: tuple[tuple[float, ...], tuple[float, ...]] = IMAGENET) -> Tensor:
    """[N,3,H,W] in 0..1 less a mean and divided by a standard deviation, of each channel."""
    mean, deviation = (torch.tensor(values, device=images.device).view(3, 1, 1) for values in statistics)
    return (images - mean) / deviation


def check_statistics(spec: ModelSpec, name: str) -> None:
    """ValueError unless a model that training is to begin from was made for what networks are fed here."""
    if (spec.mean, spec.std) != IMAGENET:
        raise ValueError(
            f"{name} was made for pictures with mean {spec.mean} and std {spec.std}, and training feeds its networks "
            f"ImageNet's, {IMAGENET_MEAN} and {IMAGENET_STD}: begin from another model"
        )
