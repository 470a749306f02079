"""The few pieces every part of the network shares."""

import torch
import torch.nn as nn
import torch.nn.functional as F

from .folding import fold_


def resize(x: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Bilinear with aligned corners, as the published weights were trained. x [N,C,h,w] -> [N,C,*size]."""
    return x if x.shape[-2:] == size else F.interpolate(x, size=size, mode="bilinear", align_corners=True)


class ConvNorm(nn.Module):
    """A convolution followed by batch normalisation, which `fold_` merges for inference."""

    def __init__(self, conv: nn.Module, channels: int):
        super().__init__()
        self.conv = conv
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.conv(x))

    def fold_(self) -> None:
        """Once; in evaluation mode."""
        if isinstance(self.norm, nn.BatchNorm2d):
            fold_(self.conv, self.norm)
            self.norm = nn.Identity()


def conv_norm(in_channels: int, out_channels: int, kernel: int, *, bias: bool = True) -> ConvNorm:
    """A `ConvNorm` around an ordinary same-size convolution."""
    return ConvNorm(nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2, bias=bias), out_channels)
