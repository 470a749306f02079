"""The colours of the foreground alone, free of the background that shines through soft edges.

A soft pixel of a photograph is a mixture, image = alpha * foreground + (1 - alpha) * background. Pasted on another
background as it is, it brings the old one along: the halo around hair and fur.

The idea is that of Germer et al., "Fast Multi-Level Foreground Estimation" (2020): both layers shall explain the image
and be smooth where they are seen, solved from coarse to fine. Ours differs in what makes it quick in torch: only soft
pixels are solved, since elsewhere one layer is the image; a level takes the mean of the 3 x 3 neighbours, each layer
weighted by how much of it is seen there, and then the closest layers that explain the pixel, in closed form; and at
full resolution, where most of the pixels are, that last step alone remains, in bands that fit the cache.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from ..precision import torch_as_usual
from .tensors import check_images, unit

CLEAR = 0.5 / 255  # alpha that 8 bits would round to 0; 1 - CLEAR rounds to 1. A network's sigmoid never reaches either
FREEDOM = 0.02  # how far the layers may leave their neighbours' mean
FACTOR = 4  # between the coarse levels; 2 gives the same errors for more work
SMALLEST = 32  # pixels a side at which the pyramid ends
COARSEST_PASSES = 10  # there, from the layers' mean colours; 3 raise the error in wide soft regions by a fifth
PASSES = 4  # over the other levels; 3 raise the error by 1 to 2 in 100
GROUP = 2**23  # pixels solved at once, whole pictures
BANDS = {"cpu": 2**16, "other": 2**23}  # pixels a band at full resolution; on a CPU one that stays in the cache


@torch_as_usual()
@torch.no_grad()
def estimate_foreground(images: Tensor, alpha: Tensor, own_alpha: Tensor | None = None) -> Tensor:
    """The colour of the foreground at each pixel.

    images: [B, H, W, 3] or [B, H, W, 4] (the fourth channel is ignored), floating point 0..1 or uint8 0..255.
    alpha: [B, H, W], 1 = foreground, floating point 0..1, uint8 0..255 or bool.
    own_alpha: the transparency that the pictures came with, as alpha; None: they are opaque. It is straight: where it
    is below 1 the picture's colour is pure already, and a mixture only as far as alpha is lower. What it hides
    (own_alpha 0) takes no part.
    Values slightly outside are clamped. No argument is changed.

    Returns [B, H, W, 3] 0..1 on the device and in the dtype of images (float32 for uint8). Where alpha is 1 that is the
    image's colour exactly (with own_alpha: where alpha is no lower than that, unless it is 0), where it is 0 the colour
    of the foreground nearby, fading to its mean far away; a picture without any foreground comes back as it is.

    Raises ValueError when the arguments do not fit the above: shapes, types, NaN, a range that looks wrong.
    """
    check_images(images)
    alpha = _checked_alpha(alpha, images).to(images.device)
    if own_alpha is not None:
        own = unit(_checked_alpha(own_alpha, images, "own_alpha").to(images.device))
        hidden_whole = own.amax((1, 2), keepdim=True) <= CLEAR
        own = torch.where(hidden_whole, 1, own)  # as if opaque
        images, alpha = _filled(images, own), _share(alpha, own)
    return _of_opaque(images, alpha)


def _filled(images: Tensor, own: Tensor) -> Tensor:
    """images with the colours nearby in place of what their own alpha hides, which must not be taken for background."""
    seen = own > CLEAR
    return images if seen.all() else _of_opaque(torch.where(seen[..., None], images[..., :3], 0), seen)


def _share(alpha: Tensor, own: Tensor) -> Tensor:
    """How much of what a pixel shows is foreground: all of it where the picture's own alpha is no higher."""
    return torch.where(own > CLEAR, unit(alpha) / own.clamp(min=CLEAR), 0).clamp(max=1)


def _of_opaque(images: Tensor, alpha: Tensor) -> Tensor:
    count, height, width = alpha.shape
    dtype = torch.float32 if images.dtype == torch.uint8 else images.dtype
    colours = torch.empty(count, height, width, 3, dtype=dtype, device=images.device)
    group = max(1, GROUP // (height * width))
    for start in range(0, count, group):
        some = slice(start, start + group)
        _estimate(images[some, ..., :3], alpha[some], out=colours[some])
    return colours


def _checked_alpha(alpha: Tensor, images: Tensor, name: str = "alpha") -> Tensor:
    if not isinstance(alpha, Tensor):
        raise ValueError(f"{name} must be a tensor [B, H, W], not {type(alpha).__name__}")
    if alpha.shape != images.shape[:3]:
        wanted, got = list(images.shape[:3]), list(alpha.shape)
        raise ValueError(f"{name} must be {wanted}, one value for each pixel of images {list(images.shape)}, not {got}")
    if alpha.dtype in (torch.uint8, torch.bool) or not alpha.numel():
        return alpha
    if not alpha.is_floating_point():
        raise ValueError(f"{name} must be floating point 0..1, uint8 0..255 or bool, not {alpha.dtype}")
    least, most = (value.item() for value in alpha.aminmax())
    if not (least >= -0.5 and most <= 1.5):  # NaN fails too; a resizer's overshoot passes
        raise ValueError(f"{name} must lie within 0..1, not {least:g}..{most:g}")
    return alpha


def _estimate(images: Tensor, alpha: Tensor, *, out: Tensor) -> None:
    """images [N, H, W, 3] and alpha [N, H, W] as the caller has them -> out [N, H, W, 3]."""
    bands = list(_bands(alpha))
    count, height, width = alpha.shape
    half = -(-height // 2), -(-width // 2)
    colours = torch.ones(count, *half, 4, device=images.device)
    mattes = torch.empty(count, *half, 1, device=images.device)
    for index, rows, half_rows in bands:
        colours[index, half_rows, :, :3] = _reduced(unit(images[None, index, rows]), 2)[0]
        mattes[index, half_rows] = _snapped(_reduced(unit(alpha[None, index, rows, :, None]), 2)[0])
    levels = [(colours, mattes)]
    while max(levels[-1][0].shape[1:3]) > SMALLEST:
        levels.append(tuple(_reduced(pictures, FACTOR) for pictures in levels[-1]))
    coarse = None
    for level in reversed(levels):
        coarse = _solve(*level, coarse)
    anything = mattes.amax((1, 2, 3)).tolist()
    for index, rows, half_rows in bands:
        image = unit(images[index, rows])
        if anything[index]:
            foreground, background = (layer[index, half_rows] for layer in coarse)
            image = _finished(image, unit(alpha[index, rows]), foreground, background)
        out[index, rows] = image


def _bands(alpha: Tensor) -> Iterator[tuple[int, slice, slice]]:
    """(picture, rows, the same rows at half size) until all rows of alpha [N, H, W] have come."""
    count, height, width = alpha.shape
    band = BANDS.get(alpha.device.type, BANDS["other"])
    rows = max(2, band // width // 2 * 2)
    for index in range(count):
        for top in range(0, height, rows):
            bottom = min(top + rows, height)
            yield index, slice(top, bottom), slice(top // 2, (bottom + 1) // 2)


def _snapped(alpha: Tensor) -> Tensor:
    return 1 - F.threshold(1 - F.threshold(alpha, CLEAR, 0), CLEAR, 0)


def _reduced(pictures: Tensor, factor: int) -> Tensor:
    """Means of factor x factor pixels of [N, H, W, C]; sides are rounded up, what juts out takes no part.

    Means of image and alpha fit together as mixtures: the mean's layers are the layers' means, weighted by alpha.
    """
    return F.avg_pool2d(pictures.movedim(3, 1), factor, ceil_mode=True).movedim(1, 3)


def _solve(colour: Tensor, alpha: Tensor, coarse: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor]:
    """Foreground and background at one level, from those of the level below.

    colour: [N, h, w, 4], the image and 1. alpha: [N, h, w, 1]. coarse, and the result: two [N, h, w, 3 or more].
    Where alpha is 0 the foreground is the coarser level's. The background is of use only where alpha is not 1.
    """
    count, height, width, _ = colour.shape
    # What is seen of each layer, (alpha * F, alpha) and (1 - alpha) * (B, 1), inside a frame of which nothing is seen:
    # a sum of neighbours divided by its last component is their mean.
    stride = width + 2
    seen = colour.new_empty(count, height + 2, stride, 2, 4)
    for side in (seen[:, 0], seen[:, -1], seen[:, :, 0], seen[:, :, -1]):
        side.zero_()
    inner = seen[:, 1:-1, 1:-1]
    torch.mul(colour, alpha, out=inner[..., 0, :])
    torch.sub(colour, inner[..., 0, :], out=inner[..., 1, :])
    rows = seen.view(-1, 8)

    n, y, x = ((alpha > 0) & (alpha < 1))[..., 0].nonzero(as_tuple=True)  # the soft pixels
    place = (n * (height + 2) + y + 1) * stride + x + 1
    around = torch.tensor([-1, 0, 1], device=colour.device)
    around = place[:, None] + (around[:, None] * stride + around).flatten()  # [K, 9]
    soft = rows.index_select(0, place).view(-1, 2, 4)
    image, share = soft.sum(1, keepdim=True), soft[..., 3:]
    pull = share / (FREEDOM + share.square().sum(1, keepdim=True))
    if coarse is None:
        layers = torch.stack([_mean(colour, alpha.square()), _mean(colour, (1 - alpha).square())], 3)[n, 0, 0]
    else:
        layers = F.pad(_parents(coarse, n, y, x, FACTOR), (0, 1), value=1)
    for _ in range(COARSEST_PASSES if coarse is None else PASSES):
        rows.index_copy_(0, place, (layers * share).view(-1, 8))
        layers = _sum_of_rows(rows, around).view(-1, 2, 4)
        layers = layers / layers[..., 3:]
        # The closest layers that explain the image: argmin |sum(share * L) - image|^2 + FREEDOM * |L - layers|^2
        layers.addcmul_(pull, image - (layers * share).sum(1, keepdim=True)).clamp_(0, 1)

    foreground = colour[..., :3].contiguous()
    foreground.view(-1, 3).index_copy_(0, (n * height + y) * width + x, layers[:, 0, :3])
    spread = _mean(foreground, alpha) if coarse is None else _enlarged(coarse[0], height, width)
    foreground.lerp_(spread, (alpha == 0).float())
    rows.index_copy_(0, place, layers.view(-1, 8))
    return foreground, inner[..., 1, :3]


def _parents(coarse: tuple[Tensor, Tensor], n: Tensor, y: Tensor, x: Tensor, factor: int) -> Tensor:
    """The layers [K, 2, 3] of the coarse level's pixels above pixels (n, y, x) [K]."""
    y, x = (torch.div(index, factor, rounding_mode="floor") for index in (y, x))
    return torch.stack([layer[n, y, x] for layer in coarse], 1)


def _sum_of_rows(rows: Tensor, indices: Tensor) -> Tensor:
    """rows [P, C], indices [K, 9] -> [K, C]."""
    try:
        return F.embedding_bag(indices, rows, mode="sum")
    except NotImplementedError:  # not every backend has it
        return rows[indices].sum(1)


def _mean(colours: Tensor, weights: Tensor) -> Tensor:
    """The mean of colours [N, h, w, C] weighted by [N, h, w, 1], as one pixel; of no use where all weights are 0."""
    return (colours * weights).sum((1, 2), keepdim=True) / weights.sum((1, 2), keepdim=True).clamp(min=1e-6)


def _enlarged(colours: Tensor, height: int, width: int) -> Tensor:
    colours = F.interpolate(colours.movedim(3, 1), scale_factor=FACTOR, mode="bilinear", align_corners=False)
    return colours.movedim(1, 3)[:, :height, :width]


def _finished(image: Tensor, alpha: Tensor, foreground: Tensor, background: Tensor) -> Tensor:
    """A band at full resolution: what the layers of half the resolution say, made to explain each soft pixel.

    image: [h, w, 3], alpha: [h, w], the layers: [ceil(h / 2), ceil(w / 2), 3] -> [h, w, 3].
    """
    height, width = alpha.shape
    spread = F.interpolate(foreground[None].movedim(3, 1), scale_factor=2, mode="nearest")
    out = torch.lerp(image, spread[0].movedim(0, 2)[:height, :width], (alpha <= CLEAR).float()[..., None])
    y, x = ((alpha > CLEAR) & (alpha < 1 - CLEAR)).nonzero(as_tuple=True)
    front, back = _parents((foreground[None], background[None]), torch.zeros_like(y), y, x, 2).unbind(1)
    share = alpha[y, x][:, None]
    missing = image[y, x] - share * front - (1 - share) * back
    pull = share / (FREEDOM + share.square() + (1 - share).square())
    out[y, x] = torch.addcmul(front, pull, missing).clamp_(0, 1)
    return out
