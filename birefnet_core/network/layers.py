"""The few pieces every part of the network shares."""

import torch
import torch.nn as nn
import torch.nn.functional as F


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

    @torch.no_grad()
    def fold_(self) -> None:
        """Fold the normalisation into the convolution, on new tensors: a host may hold the old ones memory-mapped."""
        if isinstance(self.norm, nn.Identity):
            return
        norm, conv = self.norm, self.conv
        scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        bias = 0 if conv.bias is None else conv.bias
        conv.weight = nn.Parameter(conv.weight * scale.view(-1, 1, 1, 1), requires_grad=False)
        conv.bias = nn.Parameter((bias - norm.running_mean) * scale + norm.bias, requires_grad=False)
        self.norm = nn.Identity()


def conv_norm(in_channels: int, out_channels: int, kernel: int, *, bias: bool = True) -> ConvNorm:
    """A `ConvNorm` around an ordinary same-size convolution."""
    return ConvNorm(nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2, bias=bias), out_channels)
