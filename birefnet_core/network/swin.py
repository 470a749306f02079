"""Swin Transformer v1 as the published BiRefNet weights expect it: pad to a multiple of the window, then roll.

timm rolls first and pads after, which differs whenever a stage's map is not a multiple of the window (at 1024 with
window 12, always). Patch embedding, merging and MLP are timm's; attention and block are here.
"""

import torch
import torch.nn as nn
import torch.nn.functional as F
from einops import rearrange
from timm.layers import DropPath, Mlp, PatchEmbed
from timm.models.swin_transformer import PatchMerging
from torch.utils.checkpoint import checkpoint

# On a CPU the MLP goes over the tokens in chunks, so that its four times wider hidden layer stays in the cache: 65,536
# tokens of 192 channels take 0.27 s instead of 0.35 s, and 25 MB instead of 402 MB. In training it is computed again on
# the way back: a step of swin_v1_t on two pictures of 512 x 512 peaks at 2,883 instead of 3,499 MiB in the same time.
TOKENS_PER_CHUNK = 4096


class WindowAttention(nn.Module):
    """Self-attention inside windows, with relative position bias and, for shifted windows, the wrap-around mask."""

    def __init__(self, channels: int, heads: int, window: int, shift: int):
        super().__init__()
        self.heads, self.window, self.shift = heads, window, shift
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)
        self.register_buffer("relative_position_index", relative_position_index(window), persistent=False)
        self.register_buffer("masks", wrap_masks(window, shift), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x [B,H,W,C], H and W multiples of the window, already rolled by -shift -> the same shape."""
        bias = self.relative_position_bias_table[self.relative_position_index].to(x.dtype)
        bias = rearrange(bias, "q k h -> 1 h q k")
        if not self.shift:
            return self.attend(x, bias)
        # Only the windows of the last row and column hold pixels that the roll brought together, so only they are
        # masked: four regions with one bias each, no [windows, heads, N, N] mask.
        row, column = x.shape[1] - self.window, x.shape[2] - self.window
        right, bottom, corner = (bias.masked_fill(mask, float("-inf")) for mask in self.masks)
        return torch.cat(
            [
                torch.cat([self.attend(band[:, :, :column], main), self.attend(band[:, :, column:], last)], dim=2)
                for band, main, last in ((x[:, :row], bias, right), (x[:, row:], bottom, corner))
            ],
            dim=1,
        )

    def attend(self, x: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        """Attention in every window of x [B,H,W,C] with one bias [1,heads,N,N]."""
        if not x.numel():
            return x
        windows = rearrange(x, "b (r i) (s j) c -> (b r s) (i j) c", i=self.window, j=self.window)
        q, k, v = rearrange(self.qkv(windows), "b n (t h d) -> t b h n d", t=3, h=self.heads)
        windows = self.proj(rearrange(F.scaled_dot_product_attention(q, k, v, attn_mask=bias), "b h n d -> b n (h d)"))
        rows = x.shape[1] // self.window
        return rearrange(windows, "(b r s) (i j) c -> b (r i) (s j) c", b=x.shape[0], r=rows, i=self.window)


class SwinBlock(nn.Module):
    """Windowed attention and an MLP, each on normalised input with a residual. x [B,H,W,C] -> the same shape."""

    chunked = True  # the MLP on a CPU; not in a graph that is to be exported, whose sizes are another runtime's matter

    def __init__(self, channels: int, heads: int, window: int, shift: int, drop_path: float):
        super().__init__()
        self.window, self.shift = window, shift
        self.norm1 = nn.LayerNorm(channels)
        self.attn = WindowAttention(channels, heads, window, shift)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = Mlp(channels, 4 * channels)
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.drop_path(self.shifted_windows(self.norm1(x)))
        return x + self.drop_path(self.tokenwise(x))

    def tokenwise(self, x: torch.Tensor) -> torch.Tensor:
        """The MLP on normalised tokens. x [B,H,W,C] -> the same shape."""
        if x.device.type != "cpu" or not self.chunked:
            return self.mlp(self.norm2(x))
        chunks = x.flatten(0, 2).split(TOKENS_PER_CHUNK)
        return torch.cat([self.chunk(chunk) for chunk in chunks]).view_as(x)

    def chunk(self, tokens: torch.Tensor) -> torch.Tensor:
        """The MLP on a chunk of tokens [n,C] -> [n,C]; in training without keeping its hidden layer."""
        if not (self.training and torch.is_grad_enabled()):
            return self.mlp(self.norm2(tokens))
        return checkpoint(
            lambda some: self.mlp(self.norm2(some)), tokens, use_reentrant=False, preserve_rng_state=False
        )

    def shifted_windows(self, x: torch.Tensor) -> torch.Tensor:
        height, width = x.shape[1:3]
        x = F.pad(x, (0, 0, 0, -width % self.window, 0, -height % self.window))
        if self.shift:
            x = self.attn(x.roll((-self.shift, -self.shift), dims=(1, 2))).roll((self.shift, self.shift), dims=(1, 2))
        else:
            x = self.attn(x)
        return x[:, :height, :width]


class SwinStage(nn.Module):
    """Blocks that alternate between plain and shifted windows; `downsample` leads to the next stage."""

    def __init__(self, channels: int, heads: int, window: int, drop_paths: list[float], last: bool):
        super().__init__()
        self.blocks = nn.Sequential(
            *(SwinBlock(channels, heads, window, i % 2 * (window // 2), rate) for i, rate in enumerate(drop_paths))
        )
        self.downsample = nn.Identity() if last else PatchMerging(channels)


class Swin(nn.Module):
    """Four levels at strides 4, 8, 16, 32. [N,3,H,W] -> 4 x [N,C,H/s,W/s]. Names are those of the published keys."""

    def __init__(self, channels: int, depths: tuple[int, ...], heads: tuple[int, ...], window: int, drop_path: float):
        super().__init__()
        self.patch_embed = PatchEmbed(
            img_size=None, embed_dim=channels, patch_size=4, norm_layer=nn.LayerNorm, flatten=False, output_fmt="NHWC"
        )
        rates = [drop_path * i / (sum(depths) - 1) for i in range(sum(depths))]
        self.layers = nn.ModuleList()
        for i, depth in enumerate(depths):
            stage_rates, rates = rates[:depth], rates[depth:]
            self.layers.append(SwinStage(channels << i, heads[i], window, stage_rates, last=i == len(depths) - 1))
            self.add_module(f"norm{i}", nn.LayerNorm(channels << i))

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        x, levels = self.patch_embed(x), []
        for i, stage in enumerate(self.layers):
            x = stage.blocks(x)
            levels.append(getattr(self, f"norm{i}")(x).permute(0, 3, 1, 2))
            x = stage.downsample(x)
        return levels


def relative_position_index(window: int) -> torch.Tensor:
    """Row of the bias table for every pair of positions in a window: [N,N] int64, N = window squared."""
    position = torch.arange(window)
    row, column = (axis.flatten() for axis in torch.meshgrid(position, position, indexing="ij"))
    rows = row[:, None] - row + window - 1
    return rows * (2 * window - 1) + column[:, None] - column + window - 1


def wrap_masks(window: int, shift: int) -> torch.Tensor:
    """Pairs that must not see each other in the last column's, last row's and corner window: [3,N,N] bool."""
    wrapped = torch.arange(window) >= window - shift
    row, column = (axis.flatten() for axis in torch.meshgrid(wrapped, wrapped, indexing="ij"))
    bottom, right = row[:, None] != row, column[:, None] != column
    return torch.stack((right, bottom, right | bottom))
