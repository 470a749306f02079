"""Composites as tensor arithmetic: place objects, shade, blur, compress. Works on any device; nothing here is random.

Colours are floats in 0..1. A *layer* is [N,4,H,W] with colours already multiplied by alpha ("premultiplied"), which is
the only form that may be resampled or blurred: straight colours would bleed whatever lies under alpha 0 into the edge.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

LUMA = (0.299, 0.587, 0.114)


def premultiply(rgba: Tensor) -> Tensor:
    """Straight-alpha [...,4,H,W] -> colours times alpha."""
    return torch.cat([rgba[..., :3, :, :] * rgba[..., 3:, :, :], rgba[..., 3:, :, :]], dim=-3)


def over(front: Tensor, back: Tensor) -> Tensor:
    """Porter-Duff "over" for premultiplied layers [N,4,H,W]; also right when `back` is an opaque [N,3,H,W] picture."""
    return front[:, : back.shape[1]] + (1 - front[:, 3:]) * back


def homography(
    *,
    centre: tuple[float, float],
    half_size: tuple[float, float],
    angle: float = 0.0,
    shear: float = 0.0,
    perspective: tuple[float, float] = (0.0, 0.0),
    flip: bool = False,
) -> Tensor:
    """3 x 3 matrix from frame coordinates (-1..1, y down) to the object's own coordinates (-1..1).

    `half_size` is half the object's width and height in frame units (1 = as large as the frame), `angle` in radians.
    """
    sine, cosine = math.sin(angle), math.cos(angle)
    width, height = half_size[0] * (-1 if flip else 1), half_size[1]
    move = torch.tensor([[1.0, 0.0, -centre[0]], [0.0, 1.0, -centre[1]], [0.0, 0.0, 1.0]], dtype=torch.float32)
    turn = torch.tensor([[cosine, sine, 0.0], [-sine + shear, cosine, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float32)
    scale = torch.tensor(
        [[1 / width, 0.0, 0.0], [0.0, 1 / height, 0.0], [perspective[0], perspective[1], 1.0]], dtype=torch.float32
    )
    return scale @ turn @ move


def sample(picture: Tensor, matrix: Tensor, size: tuple[int, int], *, padding: str = "zeros") -> Tensor:
    """Look `picture` [C,h,w] (premultiplied if it has alpha) up through `matrix` -> [C,H,W] for `size` = (H, W).

    Pictures that shrink are averaged down first (whole factors), so that bilinear look-up does not alias.
    """
    height, width = size
    matrix = matrix.to(picture.device)
    shrink = [picture.shape[2 - axis] * matrix[axis, :2].norm().item() / (width, height)[axis] for axis in (0, 1)]
    factor_x, factor_y = (max(1, int(value)) for value in shrink)
    if factor_x > 1 or factor_y > 1:
        factor_x, factor_y = min(factor_x, picture.shape[2]), min(factor_y, picture.shape[1])
        picture = F.avg_pool2d(picture[None], (factor_y, factor_x), ceil_mode=True, count_include_pad=False)[0]
    x = (torch.arange(width, device=picture.device) + 0.5) * 2 / width - 1
    y = (torch.arange(height, device=picture.device) + 0.5) * 2 / height - 1
    points = [row[0] * x[None, :] + row[1] * y[:, None] + row[2] for row in matrix]
    grid = torch.stack([points[0] / points[2], points[1] / points[2]], dim=-1)
    return F.grid_sample(picture[None], grid[None], padding_mode=padding, align_corners=False)[0]


def gaussian_blur(maps: Tensor, sigma: Tensor, *, radius: int = 6) -> Tensor:
    """Blur [N,C,H,W] by `sigma` [N] pixels each (0 = unchanged), borders replicated. Exact up to sigma = radius / 3."""
    count, channels = maps.shape[:2]
    offsets = torch.arange(-radius, radius + 1, device=maps.device, dtype=maps.dtype)
    window = torch.exp(-(offsets**2) / (2 * sigma.clamp(min=1e-3).to(maps)[:, None] ** 2))
    window = (window / window.sum(dim=1, keepdim=True)).repeat_interleave(channels, dim=0)
    stacked = F.pad(maps.reshape(1, count * channels, *maps.shape[2:]), [radius] * 4, mode="replicate")
    stacked = F.conv2d(stacked, window[:, None, None, :], groups=count * channels)
    stacked = F.conv2d(stacked, window[:, None, :, None], groups=count * channels)
    return stacked.reshape_as(maps)


def defocus(images: Tensor, sigma: Tensor, *, reduce: int = 4) -> Tensor:
    """Wide blur [N,C,H,W] by `sigma` [N] pixels, computed at 1/`reduce` of the resolution; sides divide by `reduce`."""
    small = gaussian_blur(F.avg_pool2d(images, reduce), sigma / reduce)
    return F.interpolate(small, size=images.shape[-2:], mode="bilinear", align_corners=False)


def focal_plane(size: int, steepness: Tensor, angle: Tensor, offset: Tensor) -> Tensor:
    """How far out of focus a tilted ground is -> 0..1 [N,1,S,S]: a ramp rising by `steepness` [N] a half frame towards
    `angle` [N] radians, one half at `offset` [N] (-1..1). 1 everywhere where `steepness` is 0."""
    x = (torch.arange(size, device=angle.device) + 0.5) * 2 / size - 1
    steepness, angle, offset = (value[:, None, None] for value in (steepness, angle, offset))
    along = x[None, None, :] * angle.cos() + x[None, :, None] * angle.sin()
    ramp = (0.5 + steepness * (along - offset)).clamp(0, 1)
    return torch.where(steepness > 0, ramp, torch.ones_like(ramp))[:, None]


def cast_shadow(background: Tensor, alpha: Tensor, *, shift: Tensor, sigma: Tensor, strength: Tensor) -> Tensor:
    """Darken `background` [N,3,H,W] by a blurred copy of `alpha` [N,1,H,W].

    `shift` [N,2] (x, y) in frame units, `sigma` [N] pixels, `strength` [N] 0..1. The shadow is no part of the alpha.
    """
    matrix = torch.zeros(alpha.shape[0], 2, 3, device=alpha.device)
    matrix[:, 0, 0] = matrix[:, 1, 1] = 1.0
    matrix[:, :, 2] = -shift.to(alpha.device)
    grid = F.affine_grid(matrix, list(alpha.shape), align_corners=False)
    shadow = defocus(F.grid_sample(alpha, grid, align_corners=False), sigma)
    return background * (1 - strength.to(alpha.device)[:, None, None, None] * shadow)


def match_colours(layer: Tensor, background: Tensor, amount: Tensor) -> Tensor:
    """Move mean and spread of a premultiplied layer's colours towards the background's by `amount` [N] 0..1."""
    colour, alpha = layer[:, :3], layer[:, 3:]
    area = alpha.sum(dim=(2, 3), keepdim=True).clamp(min=1e-3)
    mean = colour.sum(dim=(2, 3), keepdim=True) / area
    spread = ((colour - mean * alpha) ** 2).sum(dim=(2, 3), keepdim=True).div(area).sqrt().clamp(min=0.02)
    aim_mean = background.mean(dim=(2, 3), keepdim=True)
    aim_spread = background.std(dim=(2, 3), keepdim=True)
    share = amount.to(layer)[:, None, None, None]
    gain = 1 + share * ((aim_spread / spread).clamp(0.6, 1.6) - 1)
    moved = gain * (colour - mean * alpha) + (mean + share * (aim_mean - mean)) * alpha
    return torch.cat([torch.minimum(moved.clamp(min=0), alpha), alpha], dim=1)


def colour_matrix(*, saturation: float, hue: float, gains: tuple[float, float, float]) -> Tensor:
    """3 x 3 matrix: saturation (1 = unchanged), hue turn in radians about the grey axis, gain per channel."""
    grey = torch.tensor(LUMA).expand(3, 3)
    saturate = saturation * torch.eye(3) + (1 - saturation) * grey
    cosine, sine = math.cos(hue), math.sin(hue)
    axis = torch.full((3, 3), 1 / 3)
    cross = torch.tensor([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]]) / math.sqrt(3)
    turn = cosine * torch.eye(3) + (1 - cosine) * axis + sine * cross
    return torch.diag(torch.tensor(gains, dtype=torch.float32)) @ turn @ saturate


def adjust(colour: Tensor, matrix: Tensor, *, contrast: float = 1.0, brightness: float = 0.0) -> Tensor:
    """Apply a colour matrix, contrast about mid grey and brightness to straight colours [3,H,W]; clamps to 0..1."""
    turned = (matrix.to(colour) @ colour.flatten(1)).view_as(colour)
    return ((turned - 0.5) * contrast + 0.5 + brightness).clamp(0, 1)


def paint(images: Tensor, radius: int) -> Tensor:
    """As if painted with a brush of `radius` pixels: every pixel of [N,3,H,W] takes the mean of that quadrant beside it
    which varies least (Kuwahara's filter, 1976)."""
    height, width = images.shape[-2:]
    padded = F.pad(images, (radius,) * 4, mode="replicate")
    mean = F.avg_pool2d(padded, radius + 1, 1)
    varies = (F.avg_pool2d(padded**2, radius + 1, 1) - mean**2).sum(dim=1, keepdim=True)
    corners = [(y, x) for y in (0, radius) for x in (0, radius)]
    means, spreads = (
        torch.stack([each[..., y : y + height, x : x + width] for y, x in corners]) for each in (mean, varies)
    )
    calmest = spreads.argmin(dim=0, keepdim=True).expand(1, *images.shape)
    return means.gather(0, calmest)[0].clamp(0, 1)


def _dct_matrix(device: torch.device) -> Tensor:
    k, n = torch.arange(8.0, device=device)[:, None], torch.arange(8.0, device=device)[None, :]
    matrix = torch.cos(math.pi * (2 * n + 1) * k / 16) / 2
    matrix[0] /= math.sqrt(2)
    return matrix


# ITU T.81 Annex K, tables K.1 and K.2
_LUMA_STEPS = """16 11 10 16 24 40 51 61 12 12 14 19 26 58 60 55 14 13 16 24 40 57 69 56 14 17 22 29 51 87 80 62
18 22 37 56 68 109 103 77 24 35 55 64 81 104 113 92 49 64 78 87 103 121 120 101 72 92 95 98 112 100 103 99"""
_CHROMA_STEPS = """17 18 24 47 99 99 99 99 18 21 26 66 99 99 99 99 24 26 56 99 99 99 99 99 47 66 99 99 99 99 99 99
99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99"""
_TO_YCC = torch.tensor([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])


def _code_plane(plane: Tensor, steps: str, scale: Tensor) -> Tensor:
    """Quantise one plane [N,H,W] (sides multiples of 8, centred on 0, 0..255 units) in its 8 x 8 cosine blocks."""
    dct = _dct_matrix(plane.device)
    table = torch.tensor([float(step) for step in steps.split()], device=plane.device).view(8, 8)
    table = (table * scale[:, None, None] / 100).round().clamp(1, 255)[:, None, None]
    blocks = plane.unflatten(2, (-1, 8)).unflatten(1, (-1, 8)).transpose(2, 3)
    coded = (dct @ blocks @ dct.T / table).round() * table
    return (dct.T @ coded @ dct).transpose(2, 3).flatten(3, 4).flatten(1, 2)


def jpeg(images: Tensor, quality: Tensor) -> Tensor:
    """What JPEG at `quality` [N] (1..100) with 4:2:0 chroma does to [N,3,H,W]; sides multiples of 16."""
    quality = quality.to(images).clamp(1, 100)
    scale = torch.where(quality < 50, 5000 / quality, 200 - 2 * quality)
    to_ycc = _TO_YCC.to(images)
    ycc = torch.einsum("dc,nchw->ndhw", to_ycc, images) * 255
    luma = _code_plane(ycc[:, 0] - 128, _LUMA_STEPS, scale) + 128
    chroma = F.avg_pool2d(ycc[:, 1:], 2)
    chroma = torch.stack([_code_plane(chroma[:, i], _CHROMA_STEPS, scale) for i in range(2)], dim=1)
    chroma = F.interpolate(chroma, scale_factor=2, mode="bilinear", align_corners=False)
    ycc = torch.cat([luma[:, None], chroma], dim=1)
    return (torch.einsum("dc,nchw->ndhw", torch.linalg.inv(to_ycc), ycc) / 255).clamp(0, 1)
