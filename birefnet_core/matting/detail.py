"""Detail: where the first pass was uncertain, alpha is looked for again in the picture's own pixels.

Around an edge the first pass knows, a few of its own pixels further, what is surely subject and what is surely not. A
pixel between the two is a mixture of their colours: alpha is where its colour lies on the line through both, each of
which has an alpha of its own, so that smoke that is nowhere opaque stays smoke. That is done twice, first at the
network's size, after which more is sure, then tile by tile at the picture's. It counts only in the band around what was
uncertain, and only as far as the mixture explains the pixel's colour: a colour that lies off the line says nothing, and
there the first pass stays. So it does where little around is sure, and where mixtures contradict it by more than it was
uncertain. It costs no pass of the network, and works with every one. Not in the paper; docs/detail.md has what it
brings and what was tried beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from ..out_of_memory import OutOfMemoryError, is_out_of_memory
from .edges import window
from .locate import Box, Size
from .tensors import resize, unit

GAIN = 1.5  # a picture less than this many times as large as the network sees it has nothing to gain
UNCERTAIN = (0.05, 0.95)  # alpha between these
REACH = 3  # pixels of the network's size by which the band reaches outwards beyond what is uncertain
INSIDE = 1  # and inwards, where a gap that the first pass did not see at all is rare
SURE = 0.8  # alpha from which on a place is subject, and up to 1 - this background, the more so the nearer to 1 and 0
NEAR = 6  # pixels of the network's size: radius of the window from which the colours come
FURTHER = {1: 1.0, 2: 0.05, 4: 0.002}  # weight of windows this many times as wide, for where nothing sure is near
HAZE = (0.01, 0.03)  # mean alpha of what is surely background: nothing up to the one, itself from the other on
VARIED = 30.0  # how much less a mixture is believed the more the sure colours vary along its line, for its length
FEW = 1e-5  # mean weight of what is sure around a place at which a mixture is believed by half
NOISE = 0.003  # squared distance of two colours that are too alike to tell a mixture of them
OFF = 0.1  # distance from the line at which a colour counts .6, at twice that .14
AWAY = 3  # pixels of the network's size from what is uncertain to what is certain
UNEXPLAINED = 2.0  # times what is uncertain around: the change of mean alpha from which nothing is believed
EVEN = 0.07  # mean uncertainty around the soft edge of an even shape; among hair there is more
WRONG = 0.05  # mean of what is found in certain background from which the colours are not believed to tell it
TILE = 1024  # pixels a side
SMALLEST = 64  # of a tile where memory runs out


def refine(alpha: Tensor, images: Tensor, seen: Size, device: torch.device | None = None) -> Iterator[float]:
    """Improve alpha [n, H, W] 0..1 of images [n, H, W, C] in place; yields after each tile how many of them are done,
    a part of one counted as such.

    seen: the (width, height) at which the network saw the picture. device: where to work, by default alpha's. Nothing
    changes where the first pass was certain, or saw the picture about as large as it is. OutOfMemoryError when the
    picture at the network's size, or a small tile, does not fit in memory; a large tile is quartered.
    """
    for index, (own, image) in enumerate(zip(alpha, images, strict=True)):
        for share in _refine_one(own, image, seen, device):
            yield index + share


def _refine_one(alpha: Tensor, image: Tensor, seen: Size, device: torch.device | None) -> Iterator[float]:
    height, width = alpha.shape
    if max(width / seen[0], height / seen[1]) < GAIN:
        return
    size = min(height, seen[1]), min(width, seen[0])
    device = device or alpha.device
    maps = _unless_full(partial(_maps, alpha, image, size, device), device)
    if maps is None:
        raise OutOfMemoryError(f"not enough memory on {device} for the detail of one {width} x {height} picture")
    belief = maps[:, 8:].amax(1, keepdim=True)
    boxes = [box for box in _tiles((width, height)) if _touches(belief, box, (width, height))]
    done, area = 0, sum(box.size[0] * box.size[1] for box in boxes)
    while boxes:
        box = boxes.pop(0)
        found = _unless_full(partial(_found, alpha, image, maps, box), device)
        if found is not None:
            alpha[box.pixels] = found
            done += box.size[0] * box.size[1]
            yield done / area
        elif max(box.size) > SMALLEST:
            boxes[:0] = _quarters(box)
        else:
            raise OutOfMemoryError(f"not enough memory on {device} for {SMALLEST} x {SMALLEST} pixels of detail")


def _unless_full(work: Callable[[], Tensor], device: torch.device) -> Tensor | None:
    """work(); None when memory runs out, and what torch keeps of the GPU's is then given back."""
    try:
        return work()
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    if device.type == "cuda":  # after the except clause: until then the error keeps the failed work's tensors
        torch.cuda.empty_cache()
    return None


def _maps(alpha: Tensor, image: Tensor, size: tuple[int, int], device: torch.device) -> Tensor:
    """At size (height, width): the ends of mixtures, and how far to believe what is more and what is less than before,
    [1, 8 + 2, h, w]."""
    band = _band(alpha, size, device)
    if not band.any():
        return band.expand(-1, 10, -1, -1)
    colours = torch.cat([_small(unit(plane), size, device) for plane in image[..., :3].unbind(2)], dim=1)
    coarse = _small(alpha, size, device)
    ends, enough = _ends(colours, coarse)
    belief = band * _trust(colours, ends, coarse)
    found = _blended(coarse, mixture(colours, ends, coarse), belief * enough)
    ends, enough = _ends(colours, found)
    return torch.cat([ends, belief * enough], dim=1)


def mixture(colours: Tensor, ends: Tensor, before: Tensor) -> Tensor:
    """Alpha [n, 1, h, w] by where colours [n, 3, h, w] lie on the line through two others, ends [n, 8, h, w]: the
    colour and the alpha of the subject, then of the background; `before` [n, 1, h, w] as far as that cannot be told."""
    subject, most, background, least = ends.split((3, 1, 3, 1), dim=1)
    line, beyond = subject - background, colours - background
    length, apart = line.square().sum(1, keepdim=True), (most - least).clamp(min=0.1)
    along = ((beyond * line).sum(1, keepdim=True) + NOISE * (before - least) / apart) / (length + NOISE)
    found = (least + along * apart).clamp(0, 1)
    off = (beyond - (found - least) / apart * line).square().sum(1, keepdim=True)
    return torch.lerp(before, found, torch.exp(off / (-2 * OFF**2)))


def _small(plane: Tensor, size: tuple[int, int], device: torch.device) -> Tensor:
    """plane [H, W] at size (height, width): [1, 1, h, w], on the device."""
    return resize(plane[None, None].float().to(device), size)


def _band(alpha: Tensor, size: tuple[int, int], device: torch.device) -> Tensor:
    """[1, 1, h, w] 0..1: 1 on and around what is uncertain, falling to 0 at the band's border."""
    uncertain = (alpha > UNCERTAIN[0]) & (alpha < UNCERTAIN[1])
    some = (_small(uncertain, size, device) > 0.01).float()
    wide, near = (F.max_pool2d(some, 2 * reach + 1, 1, reach) for reach in (REACH, INSIDE))
    outside = _small(alpha, size, device) < 0.5
    return window(torch.where(outside, wide, near), 1)


def _ends(colours: Tensor, alpha: Tensor) -> tuple[Tensor, Tensor]:
    """The colour and the alpha of what is surely subject, and of what is surely not, around every place [1, 8, h, w],
    and how far there is enough of both, each of one colour [1, 1, h, w] 0..1."""
    weights = [((each - SURE) / (1 - SURE)).clamp(0, 1) for each in (alpha, 1 - alpha)]
    maps = torch.cat([colours, alpha, colours.square()], dim=1)
    (subject, much), (background, little) = (_around(maps, weight) for weight in weights)
    even = _even(subject, background)
    subject, background = subject[:, :4], background[:, :4]
    subject[:, 3:] = 1 - _without_haze(1 - subject[:, 3:])
    background[:, 3:] = _without_haze(background[:, 3:])
    least = torch.minimum(much, little)
    return torch.cat([subject, background], dim=1), even * least / (least + FEW)


def _even(subject: Tensor, background: Tensor) -> Tensor:
    """[1, 1, h, w] 0..1: 1 where both, means of colours, alpha and squares of colours [1, 7, h, w], are of one colour
    each; the less, the more they vary along the line from one to the other, as if their channels varied together."""
    line = subject[:, :3] - background[:, :3]
    length = line.square().sum(1, keepdim=True)
    varied = 0
    for each in (subject, background):
        spread = (each[:, 4:] - each[:, :3].square()).clamp(min=0).sqrt()
        varied = varied + (line.abs() * spread).sum(1, keepdim=True).square() / (length + 1e-6)
    return 1 / (1 + VARIED * varied / 2 / (length + NOISE))


def _without_haze(alpha: Tensor) -> Tensor:
    """0 for what a first pass leaves where there is nothing; what is more, as it is."""
    return alpha * ((alpha - HAZE[0]) / (HAZE[1] - HAZE[0])).clamp(0, 1)


def _trust(colours: Tensor, ends: Tensor, alpha: Tensor) -> Tensor:
    """[1, 2, h, w] 0..1: how far to believe, around every place, mixtures that find more than the first pass, and such
    that find less: not where they move the mean of alpha further than what is uncertain there explains, as subject in
    the background's colours does, or a shadow in the subject's; and none that find more where they find subject in
    what is certainly background, a little away from what is uncertain."""
    found = mixture(colours, ends, alpha)
    moved = window(found - alpha, NEAR)
    unsure = window(torch.minimum(alpha, 1 - alpha), NEAR) + 0.003
    limit = UNEXPLAINED * unsure * (unsure / EVEN).square().clamp(min=1)
    more, less = (1 - (way.clamp(min=0) / limit).square().clamp(max=1) for way in (moved, -moved))
    certain = 1 - F.max_pool2d((alpha > UNCERTAIN[0]).float(), 2 * AWAY + 1, 1, AWAY)
    wrong = window((found - alpha).abs() * certain, NEAR)
    told = (1 - wrong / (WRONG * window(certain, NEAR).clamp(min=0.01))).clamp(0, 1)
    return torch.cat([more * told, less], dim=1)


def _blended(before: Tensor, found: Tensor, belief: Tensor) -> Tensor:
    """What was found, as far as it is believed: belief [1, 2, h, w] where it is more than before, where it is less."""
    return torch.lerp(before, found, torch.where(found > before, belief[:, :1], belief[:, 1:]))


def _around(colours: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """The weighted mean of colours [1, n, h, w] around every place, and the mean weight there [1, 1, h, w]."""
    maps, total = torch.cat([colours * weight, weight], dim=1), 0
    for times, share in FURTHER.items():
        wide = F.avg_pool2d(maps, times, ceil_mode=True, count_include_pad=False)
        total = total + share * resize(window(wide, NEAR), maps.shape[2:])
    return total[:, :-1] / total[:, -1:].clamp(min=1e-9), total[:, -1:]


def _tiles(size: Size) -> list[Box]:
    width, height = size
    corners = [(left, top) for top in range(0, height, TILE) for left in range(0, width, TILE)]
    return [Box(left, top, min(left + TILE, width), min(top + TILE, height)) for left, top in corners]


def _quarters(box: Box) -> list[Box]:
    across, down = (-(-side // 2) for side in box.size)
    corners = [(left, top) for top in range(box.top, box.bottom, down) for left in range(box.left, box.right, across)]
    return [Box(left, top, min(left + across, box.right), min(top + down, box.bottom)) for left, top in corners]


def _touches(band: Tensor, box: Box, size: Size) -> bool:
    """Whether any of the band [1, 1, h, w] over a picture of this size lies in the box."""
    (width, height), (rows, columns) = size, band.shape[2:]
    # One further on each side: the way to the picture's size is bilinear.
    across = slice(max(0, box.left * columns // width - 1), -(-box.right * columns // width) + 1)
    down = slice(max(0, box.top * rows // height - 1), -(-box.bottom * rows // height) + 1)
    return bool(band[..., down, across].any())


def _found(alpha: Tensor, image: Tensor, maps: Tensor, box: Box) -> Tensor:
    """The improved alpha [h, w] of a box of alpha [H, W], on its device."""
    here = _part(maps, box, alpha.shape)
    before = alpha[box.pixels].to(maps.device)[None, None]
    colours = unit(image[box.pixels][..., :3].to(maps.device)).permute(2, 0, 1)[None]
    return _blended(before, mixture(colours, here[:, :8], before), here[:, 8:])[0, 0].to(alpha.device)


def _part(maps: Tensor, box: Box, shape: tuple[int, int]) -> Tensor:
    """What of maps [1, n, h, w] over a picture of this shape lies in the box, at the picture's size."""
    # Clamped to the outermost centres, as padding_mode="border" does, which MPS has not before torch 2.13.
    places = [
        (2 * (torch.arange(start, stop, device=maps.device) + 0.5) / whole - 1).clamp(1 / side - 1, 1 - 1 / side)
        for start, stop, whole, side in (
            (box.top, box.bottom, shape[0], maps.shape[2]),
            (box.left, box.right, shape[1], maps.shape[3]),
        )
    ]
    grid = torch.stack(torch.meshgrid(*places, indexing="ij")[::-1], dim=2)[None]
    return F.grid_sample(maps, grid, align_corners=False)
