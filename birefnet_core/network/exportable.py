"""The network in operators that ONNX has: `exportable` gives a copy of it for `torch.onnx`, with the same values.

Deformable convolution becomes ONNX's own operator (DeformConv, opset 19), or GridSample, which more runtimes have.
64 -> 256 channels at 256 x 256 with a 7 x 7 kernel in onnxruntime 1.32 on two CPU threads: DeformConv 3.8 s, 1,042 MB
and 2e-6 from ours, GridSample 5.1 s, 1,411 MB and 2e-5. DeformConv a kernel row at a time needs no less.
"""

from __future__ import annotations

import copy

import torch
import torch.nn as nn
import torch.nn.functional as F
from timm.layers import Conv2dSame

from .birefnet import BiRefNet
from .deformable import DeformableConv2d
from .swin import SwinBlock, WindowAttention

DEFORM_CONV_OPSET = 19


class Exportable(nn.Module):
    """What `exportable` returns: as BiRefNet in evaluation mode, without its checks of the input."""

    def __init__(self, network: BiRefNet):
        super().__init__()
        self.localization, self.reconstruction = network.localization, network.reconstruction

    def forward(self, image: torch.Tensor, hint: torch.Tensor | None = None) -> torch.Tensor:
        (*laterals, squeezed), _ = self.localization(image, hint)
        return self.reconstruction(squeezed, laterals, image, training=False)[0]


def exportable(network: BiRefNet, *, decompose: bool = False, dynamic: bool = False) -> Exportable:
    """A copy of `network`, in evaluation mode and folded, that `torch.onnx` can export.

    decompose: deformable convolution as GridSample in place of DeformConv. dynamic: for sides that are not known.
    """
    network = copy.deepcopy(network).eval().requires_grad_(False)
    kinds = {DeformableConv2d: Sampled if decompose else Deformed, WindowAttention: MaskedAttention}
    if dynamic:
        kinds |= {Conv2dSame: Padded, nn.Conv2d: Strided, nn.MaxPool2d: Strided}
    for parent in list(network.modules()):
        if isinstance(parent, SwinBlock):
            parent.chunked = False
        for name, child in parent.named_children():
            kind = kinds.get(type(child))
            if kind in (Strided, Padded) and (step(child) == 1 or getattr(child, "ceil_mode", False)):
                continue
            if kind is not None:
                setattr(parent, name, kind(child))
    return Exportable(network).eval()


class Deformed(nn.Module):
    """`DeformableConv2d` as one DeformConv. In float32 whatever the network's precision: a runtime that adds offsets in
    half precision to positions would be off by whole pixels."""

    def __init__(self, conv: DeformableConv2d):
        super().__init__()
        self.offset, self.modulator, self.weight, self.bias = conv.offset, conv.modulator, conv.weight, conv.bias
        self.kernel = conv.weight.shape[-1]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        modulator = 2 * self.modulator(x).sigmoid()
        inputs = (each.float() for each in (x, self.weight, self.offset(x), modulator))
        out = self.convolve(*inputs).to(x.dtype)
        return out if self.bias is None else out + self.bias[:, None, None]

    def convolve(self, x, weight, offset, modulator) -> torch.Tensor:
        """float32, as `deformable_conv2d` takes them."""
        kernel, count = self.kernel, x.shape[0]
        return torch.onnx.ops.symbolic(
            "DeformConv",
            (x, weight, offset, None, modulator),
            {"kernel_shape": [kernel, kernel], "pads": [kernel // 2] * 4},
            dtype=x.dtype,
            shape=(count, weight.shape[0], *x.shape[2:]),
            version=DEFORM_CONV_OPSET,
        )


class Sampled(Deformed):
    """`DeformableConv2d` by GridSample, a row of the kernel at a time: all of it at once would take a buffer as large
    as the kernel times the feature map."""

    def convolve(self, x, weight, offset, modulator) -> torch.Tensor:
        kernel, (count, channels, height, width) = self.kernel, x.shape
        offset = offset.reshape(count, kernel, kernel, 2, height, width)
        modulator = modulator.reshape(count, kernel, kernel, height, width)
        tap = torch.arange(kernel).view(kernel, 1, 1) - kernel // 2
        row, column = torch.arange(height).view(1, height, 1), torch.arange(width).view(1, 1, width)
        rows = []
        for i in range(kernel):
            y, x_ = offset[:, i, :, 0] + (row + (i - kernel // 2)), offset[:, i, :, 1] + (column + tap)
            # -1 and 1 are the outer edges of the picture.
            grid = torch.stack(((2 * x_ + 1) / width - 1, (2 * y + 1) / height - 1), dim=-1)
            sampled = F.grid_sample(x, grid.reshape(count, kernel * height, width, 2), align_corners=False)
            columns = sampled.reshape(count, channels, kernel, height, width) * modulator[:, None, i]
            matrix = weight[:, :, i].reshape(weight.shape[0], channels * kernel, 1, 1)
            rows.append(F.conv2d(columns.reshape(count, channels * kernel, height, width), matrix))
        return sum(rows[1:], rows[0])


class MaskedAttention(nn.Module):
    """`WindowAttention` in few operators, with a mask for each window: what `torch.onnx` needs grows with their number,
    and the four regions of the original may be empty where sides are not known."""

    def __init__(self, attention: WindowAttention):
        super().__init__()
        self.attention = attention

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        own = self.attention
        batch, height, width, channels = x.shape
        side, heads = own.window, own.heads
        rows, columns, tokens = height // side, width // side, side * side
        count = batch * rows * columns
        x = x.reshape(batch, rows, side, columns, side, channels).transpose(2, 3).reshape(count, tokens, channels)
        qkv = own.qkv(x).reshape(count, tokens, 3, heads, channels // heads).permute(2, 0, 3, 1, 4)
        query, key, value = qkv.unbind(0)
        scores = (query * (channels // heads) ** -0.5) @ key.transpose(-2, -1)
        scores = scores + own.relative_position_bias_table[own.relative_position_index].permute(2, 0, 1)
        if own.shift:
            mask = self.mask(rows, columns).to(x.dtype)
            scores = scores.reshape(batch, rows * columns, heads, tokens, tokens) + mask
            scores = scores.reshape(count, heads, tokens, tokens)
        x = own.proj((scores.softmax(-1) @ value).transpose(1, 2).reshape(count, tokens, channels))
        x = x.reshape(batch, rows, columns, side, side, channels).transpose(2, 3)
        return x.reshape(batch, height, width, channels)

    def mask(self, rows: int, columns: int) -> torch.Tensor:
        """Minus infinity for pairs that must not see each other: [rows * columns, 1, N, N]."""
        right, bottom, _ = (torch.zeros(each.shape).masked_fill(each, float("-inf")) for each in self.attention.masks)
        last_row = (torch.arange(rows) == rows - 1)[:, None, None, None]
        last_column = (torch.arange(columns) == columns - 1)[:, None, None]
        nothing = torch.zeros(())
        mask = torch.where(last_row, bottom, nothing) + torch.where(last_column, right, nothing)
        return mask.reshape(rows * columns, 1, *right.shape)


class Strided(nn.Module):
    """A convolution or pooling that makes its input smaller, and says its output's size in the simplest words: what
    torch says of one after the other grows until it takes hours to reason about."""

    def __init__(self, module: nn.Module):
        super().__init__()
        self.module = module

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        own, out = self.module, self.module(x)
        settings = (pair(value) for value in (own.kernel_size, own.stride, own.padding, own.dilation))
        shape = (*out.shape[:2], *(smaller(*each) for each in zip(x.shape[2:], *settings, strict=True)))
        return torch.onnx.ops.symbolic("Identity", (out,), {}, dtype=out.dtype, shape=shape, version=14)


class Padded(nn.Module):
    """timm's `Conv2dSame`, whose padding depends on the picture's size, as ONNX's own SAME_UPPER."""

    def __init__(self, conv: Conv2dSame):
        super().__init__()
        self.conv = conv

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        conv = self.conv
        sides = [
            side // stride if divides(stride, side) else -(-side // stride)
            for side, stride in zip(x.shape[2:], conv.stride, strict=True)
        ]
        attributes = {
            "auto_pad": "SAME_UPPER",
            "kernel_shape": list(conv.kernel_size),
            "strides": list(conv.stride),
            "dilations": list(conv.dilation),
            "group": conv.groups,
        }
        return torch.onnx.ops.symbolic(
            "Conv",
            (x, conv.weight, conv.bias),
            attributes,
            dtype=x.dtype,
            shape=(x.shape[0], conv.out_channels, *sides),
            version=11,
        )


def step(module: nn.Module) -> int:
    """The larger of a convolution's or pooling's strides."""
    return max(pair(module.stride))


def pair(value) -> tuple[int, int]:
    """A setting as torch's modules keep it, of rows and columns."""
    return value if isinstance(value, tuple) else (value, value)


def divides(stride: int, side) -> bool:
    """Whether it does for every value that side, a number or a symbol, may have."""
    from torch.fx.experimental.symbolic_shapes import statically_known_true

    return statically_known_true(side % stride == 0)


def smaller(side, kernel: int, stride: int, padding: int, dilation: int):
    """The side of a convolution's output."""
    more = 2 * padding - dilation * (kernel - 1) - 1
    return side // stride + more // stride + 1 if divides(stride, side) else (side + more) // stride + 1
