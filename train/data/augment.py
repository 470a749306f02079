"""What pictures and their mattes go through before a network sees them: the paper flips, recipes may ask for more."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from birefnet_core.matting.tensors import resize
from train.scenes.compositing import adjust, colour_matrix, gaussian_blur, homography, jpeg, sample
from train.tables import Augmentation


def augment(
    image: Tensor, alpha: Tensor, size: tuple[int, int], style: Augmentation, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """image [3,H,W] and alpha [1,H,W], 0..1 -> the same, augmented, at `size` (width, height)."""
    width, height = size
    both = torch.cat([image, alpha])
    if style.crop < 1:
        both = _crop(both, style.crop, rng)
    both = resize(both[None], (height, width))[0].clamp(0, 1)
    if rng.random() < style.flip:
        both = both.flip(2)
    if style.rotate:
        both = _rotate(both, math.radians(rng.normal(0, style.rotate)))
    image, alpha = both[:3], both[3:]
    if rng.random() < style.plain_background:
        colour = torch.from_numpy(rng.random(3).astype(np.float32)).view(3, 1, 1)
        image = image * alpha + colour * (1 - alpha)
    if style.colour:
        image = _recolour(image, style.colour, rng)
    if rng.random() < style.degrade:
        image = _degrade(image, rng)
    return image.contiguous(), alpha.contiguous()


def _crop(picture: Tensor, least: float, rng: np.random.Generator) -> Tensor:
    height, width = picture.shape[1:]
    crop_height, crop_width = (max(1, round(side * rng.uniform(least, 1))) for side in (height, width))
    top, left = rng.integers(height - crop_height + 1), rng.integers(width - crop_width + 1)
    return picture[:, top : top + crop_height, left : left + crop_width]


def _rotate(picture: Tensor, angle: float) -> Tensor:
    """Turned about its middle; what turns in at the corners is the picture's mirror image, matte included."""
    height, width = picture.shape[1:]
    # Frame coordinates are -1..1 along both sides: squares first, turn, then back, so that nothing is sheared.
    aspect = torch.diag(torch.tensor([width / height, 1.0, 1.0]))
    turn = homography(centre=(0, 0), half_size=(1, 1), angle=angle)
    return sample(picture, torch.linalg.inv(aspect) @ turn @ aspect, (height, width), padding="reflection")


def _recolour(image: Tensor, strength: float, rng: np.random.Generator) -> Tensor:
    matrix = colour_matrix(
        saturation=math.exp(rng.normal(0, 0.4 * strength)),
        hue=rng.normal(0, 0.05 * strength),
        gains=tuple(np.exp(rng.normal(0, 0.08 * strength, 3))),
    )
    contrast, brightness = math.exp(rng.normal(0, 0.2 * strength)), rng.normal(0, 0.1 * strength)
    return adjust(image, matrix, contrast=contrast, brightness=brightness)


def _degrade(image: Tensor, rng: np.random.Generator) -> Tensor:
    kind = rng.integers(3)
    if kind == 0:
        return gaussian_blur(image[None], torch.tensor([rng.uniform(0.3, 1.5)]))[0]
    if kind == 1:
        noise = torch.from_numpy(rng.standard_normal(image.shape, dtype=np.float32))
        return (image + rng.uniform(0.01, 0.05) * noise).clamp(0, 1)
    return jpeg(image[None], torch.tensor([rng.uniform(25, 95)]))[0]
