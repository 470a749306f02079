"""The reconstruction module (paper, section 3.3): BiRef blocks from the squeezed feature F^d up to the matte M."""

from dataclasses import dataclass

import torch
import torch.nn as nn
import torch.nn.functional as F

from .architecture import Architecture
from .deformable import DeformableConv2d
from .layers import ConvNorm, conv_norm, resize
from .reference import InwardReference, OutwardReference, gradient_label, image_gradient

KERNELS = (1, 1, 3, 7)  # hierarchical receptive fields
DILATIONS = (1, 6, 12, 18)  # the plain ASPP of the baseline (section 4.4)


class ReceptiveFields(nn.Module):
    """Parallel branches over one input and a pooled one, fused by a 1x1 convolution and normalised: F^theta -> F^d.

    The branches are deformable convolutions of 1, 1, 3 and 7 pixels in a reconstruction block, dilated ones in the
    baseline's ASPP. [N,C,h,w] -> [N,C,h,w].
    """

    def __init__(self, branches: list[nn.Module], channels: int, branch_channels: int, dropout: float):
        super().__init__()
        self.branches = nn.ModuleList(ConvNorm(branch, branch_channels) for branch in branches)
        self.pooled = conv_norm(channels, branch_channels, 1, bias=False)
        self.fuse = conv_norm(branch_channels * (len(branches) + 1), channels, 1, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # The 1x1 fusion of the concatenated branches is the sum of its slices applied to each branch: the [N,1280,h,w]
        # concatenation (335 MB at 256 x 256) is never built, and the pooled branch stays one pixel.
        fuse = self.fuse.conv
        *slices, pooled_slice = fuse.weight.chunk(len(self.branches) + 1, dim=1)
        fused = F.conv2d(F.relu(self.pooled(x.mean(dim=(2, 3), keepdim=True))), pooled_slice, fuse.bias)
        for branch, weight in zip(self.branches, slices):
            fused = fused + self.fused_branch(branch, weight, x)
        return self.dropout(F.relu(self.fuse.norm(fused)))

    def fused_branch(self, branch: ConvNorm, weight: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """conv(relu(branch(x)), weight): [N,C,h,w] -> [N,C,h,w]."""
        if self.training or not isinstance(branch.conv, DeformableConv2d):
            return F.conv2d(F.relu(branch(x)), weight)
        # Without batch statistics all of it is pixel by pixel, so it follows each chunk of the deformable convolution
        # while that is in the cache: a block at 256 x 256 takes 1.35 s instead of 2.0 s, and 134 MB less.
        fuse = weight.flatten(1).t()
        return branch.conv(x, then=lambda rows: branch.norm(rows[:, :, None, None]).flatten(1).relu_() @ fuse)


class ReconstructionBlock(nn.Module):
    """RB: squeeze to a few channels, look through hierarchical receptive fields, widen. [N,I,h,w] -> [N,O,h,w]."""

    def __init__(self, in_channels: int, out_channels: int, arch: Architecture):
        super().__init__()
        width, branch = arch.block_channels, arch.branch_channels
        self.conv_in = conv_norm(in_channels, width, 3)
        if arch.reconstruction:
            branches = [DeformableConv2d(width, branch, kernel) for kernel in KERNELS]
        else:
            branches = [_dilated(width, branch, dilation) for dilation in DILATIONS]
        self.fields = ReceptiveFields(branches, width, branch, arch.dropout)
        self.conv_out = conv_norm(width, out_channels, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv_out(self.fields(F.relu(self.conv_in(x))))


class ResidualBlocks(nn.Module):
    """The baseline's decoder block without RM: two residual blocks (section 4.4). [N,I,h,w] -> [N,O,h,w]."""

    def __init__(self, in_channels: int, out_channels: int, arch: Architecture):
        super().__init__()
        width = arch.block_channels
        self.shortcut = nn.Conv2d(in_channels, out_channels, 1)
        self.first = nn.ModuleList((conv_norm(in_channels, width, 3), conv_norm(width, out_channels, 3)))
        self.second = nn.ModuleList((conv_norm(out_channels, width, 3), conv_norm(width, out_channels, 3)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.shortcut(x) + self.first[1](F.relu(self.first[0](x))))
        return x + self.second[1](F.relu(self.second[0](x)))


@dataclass
class Supervision:
    """What one stage is trained on: side output M_i, gradient prediction and gradient label, each logits or None."""

    side_output: torch.Tensor | None = None
    gradient_prediction: torch.Tensor | None = None
    gradient_label: torch.Tensor | None = None


class BiRefBlock(nn.Module):
    """One stage of the decoder: inward reference, reconstruction block, outward reference (figure 4).

    grid: how many patches a side the image is cropped into (the stage's stride). `supervised`: the last stage has
    neither side output nor outward reference, the head follows it.
    """

    def __init__(
        self, in_channels: int, out_channels: int, inward_channels: int, grid: int, arch: Architecture, supervised: bool
    ):
        super().__init__()
        self.inward = InwardReference(grid, arch.inward_channels, inward_channels) if arch.inward_reference else None
        in_channels += inward_channels if arch.inward_reference else 0
        block = ReconstructionBlock if arch.reconstruction else ResidualBlocks
        self.reconstruction = block(in_channels, out_channels, arch)
        self.side_output = nn.Conv2d(out_channels, 1, 1) if supervised and arch.multi_stage_supervision else None
        self.outward = OutwardReference(out_channels) if supervised and arch.outward_reference else None

    def forward(self, x: torch.Tensor, image: torch.Tensor, gradient: torch.Tensor | None = None):
        """x [N,C,h,w], image [N,3,H,W] -> (F^d [N,O,h,w], Supervision). `gradient` G^gt is given in training only."""
        if self.inward is not None:
            x = torch.cat((x, self.inward(image)), dim=1)
        x = self.reconstruction(x)
        supervision = Supervision()
        training = gradient is not None
        if training and self.side_output is not None:
            supervision.side_output = self.side_output(x)
        if self.outward is not None:
            x, features = self.outward(x)
            if training:
                supervision.gradient_prediction = self.outward.prediction(features)
                supervision.gradient_label = gradient_label(gradient, supervision.side_output)
        return x, supervision


class Head(nn.Module):
    """The last 1x1 convolution, over the decoder's feature and an inward reference of single pixels: logits M.

    x [N,C,h,w], image [N,3,H,W] -> [N,1,H,W].
    """

    def __init__(self, channels: int, inward_channels: int, arch: Architecture):
        super().__init__()
        self.inward = InwardReference(1, arch.inward_channels, inward_channels) if arch.inward_reference else None
        self.conv = nn.Conv2d(channels + (inward_channels if arch.inward_reference else 0), 1, 1)

    def forward(self, x: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
        # All of it is linear, so the feature's half is applied before the upsampling (one channel at full size instead
        # of hundreds) and the image's half is one 5x5 convolution instead of two of 64 channels.
        weight, channels = self.conv.weight, x.shape[1]
        logits = resize(F.conv2d(x, weight[:, :channels], self.conv.bias), image.shape[-2:])
        return logits if self.inward is None else logits + self.inward_logits(image, weight[:, channels:])

    def inward_logits(self, image: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """weight * conv_out(conv_in(image)), exactly, borders included."""
        inner, outer = self.inward.conv_in, self.inward.conv_out
        fused = torch.einsum("om,mchw->ochw", weight[:, :, 0, 0], outer.weight)  # [1,64,3,3]
        fused_bias = weight[:, :, 0, 0] @ outer.bias

        def two_convolutions(strip: torch.Tensor) -> torch.Tensor:
            return F.conv2d(inner(strip), fused, fused_bias, padding=1)

        kernel = F.conv2d(inner.weight.transpose(0, 1), fused.flip(2, 3), padding=2).transpose(0, 1)  # [1,3,5,5]
        middle = F.conv2d(image, kernel, fused_bias + fused.sum((2, 3)) @ inner.bias)  # [N,1,H-4,W-4]
        # Towards the border the padding between the two convolutions matters: the outer two pixels take the long way.
        top, bottom = two_convolutions(image[:, :, :4])[:, :, :2], two_convolutions(image[:, :, -4:])[:, :, -2:]
        left, right = two_convolutions(image[..., :4])[..., 2:-2, :2], two_convolutions(image[..., -4:])[..., 2:-2, -2:]
        return torch.cat((top, torch.cat((left, middle, right), dim=3), bottom), dim=2)


class ReconstructionModule(nn.Module):
    """RM: four BiRef blocks with lateral connections between them, then the head."""

    def __init__(self, channels: tuple[int, int, int, int], inward: tuple[int, int, int, int], arch: Architecture):
        """channels: of the lateral features F_1..F_3 and of F^d, shallow to deep. inward: of each level's reference."""
        super().__init__()
        c1, c2, c3, c4 = channels
        i1, i2, i3, i4 = inward
        self.blocks = nn.ModuleList(
            (
                BiRefBlock(c4, c3, i4, 32, arch, supervised=True),
                BiRefBlock(c3, c2, i4, 16, arch, supervised=True),
                BiRefBlock(c2, c1, i3, 8, arch, supervised=True),
                BiRefBlock(c1, c1 // 2, i2, 4, arch, supervised=False),
            )
        )
        self.laterals = nn.ModuleList(nn.Conv2d(c, c, 1) for c in (c3, c2, c1))
        self.head = Head(c1 // 2, i1, arch)

    def forward(self, x: torch.Tensor, laterals: list[torch.Tensor], image: torch.Tensor, training: bool):
        """x = F^d [N,c4,H/32,W/32], laterals F_1, F_2, F_3 -> (logits [N,1,H,W], one Supervision a stage).

        Empties `laterals`: the largest, 100 MB at 1024 x 1024 with swin_v1_l, is gone before the last, hungriest stage.
        """
        gradient = image_gradient(image) if training else None
        supervisions = []
        for block, lateral in zip(self.blocks, self.laterals):
            x, supervision = block(x, image, gradient)
            feature = lateral(laterals.pop())
            x = resize(x, feature.shape[-2:]) + feature
            supervisions.append(supervision)
        del feature
        x, _ = self.blocks[-1](x, image)
        return self.head(x, image), supervisions


def _dilated(in_channels: int, out_channels: int, dilation: int) -> nn.Conv2d:
    kernel = 1 if dilation == 1 else 3
    padding = 0 if kernel == 1 else dilation
    return nn.Conv2d(in_channels, out_channels, kernel, padding=padding, dilation=dilation, bias=False)
