"""Bilateral reference (paper, section 3.4): the image looks inward, its gradients look outward."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from einops import rearrange

from .layers import conv_norm, resize


class InwardReference(nn.Module):
    """InRef: the image at its original resolution, cropped into patches of the feature map's size and stacked.

    image [N,3,H,W] -> [N,out,H/grid,W/grid]. Nothing is resized away, so every stage sees every pixel.
    """

    def __init__(self, grid: int, channels: int, out_channels: int):
        super().__init__()
        self.grid = grid
        self.conv_in = nn.Conv2d(3 * grid * grid, channels, 3, padding=1)
        self.conv_out = nn.Conv2d(channels, out_channels, 3, padding=1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        patches = rearrange(image, "n c (i h) (j w) -> n (c i j) h w", i=self.grid, j=self.grid)
        return self.conv_out(self.conv_in(patches.contiguous(memory_format=torch.channels_last)))


class OutwardReference(nn.Module):
    """OutRef: features that are trained to predict the image's gradients become an attention map A^G on F^d.

    x [N,C,h,w] -> (x * A^G [N,C,h,w], F^G [N,16,h,w]); `prediction` gives the gradient logits of F^G (training only).
    """

    def __init__(self, channels: int, gradient_channels: int = 16):
        super().__init__()
        self.gradient = conv_norm(channels, gradient_channels, 3)
        self.prediction = nn.Conv2d(gradient_channels, 1, 1)
        self.attention = nn.Conv2d(gradient_channels, 1, 1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        gradient = F.relu(self.gradient(x))
        return x * self.attention(gradient).sigmoid(), gradient


def image_gradient(image: torch.Tensor) -> torch.Tensor:
    """G^gt: the Laplacian of the mean over colour. [N,3,H,W] -> [N,1,H,W].

    A 5 x 5 kernel of ones with centre -24, divided by 48, reflecting at the border (parity/README.md).
    """
    grey = image.mean(dim=1, keepdim=True)
    kernel = torch.ones(1, 1, 5, 5, device=image.device, dtype=image.dtype)
    kernel[..., 2, 2] = -24
    return F.conv2d(F.pad(grey, (2, 2, 2, 2), mode="reflect"), kernel / 48)


def gradient_label(gradient: torch.Tensor, side_output: torch.Tensor | None) -> torch.Tensor:
    """G^m: the image's gradients masked by the stage's own prediction, so that the background's do not count.

    gradient [N,1,H,W]; side_output logits [N,1,h,w], or None without multi-stage supervision (no mask). The published
    code masks with the raw logits: no sigmoid and no dilation, unlike section 3.4.
    """
    return gradient if side_output is None else gradient * resize(side_output, gradient.shape[-2:])
