"""A colour-difference key that the matte guides: alpha from how far a pixel's colour is from the screen's.

Where a network draws hair, motion blur and glass as it has learned them, a screen shows them exactly: a mixture of
subject and screen. Both ends of the mixture are looked up: the screen's colour is a smooth field found from the
background, and the subject's, its spill included, a field found from what nearby is surely subject. How far a pixel
lies from the one to the other is told by two differences, which are mixtures too: the screen channel's excess over the
others (screen.excess), and luminance, which cameras and files keep sharper than colour. That is done twice: once it is
known how much of each pixel is screen, the subject's colour is known in hair and thin things too. On the tuning shots
the second time takes the error of the soft region from .094 to .091 (blue) and from .085 to .081 (green); a third time
less still, but what is believed of a wide soft edge grows with every turn.

Grain, and colour that files keep at half size, are then taken out of it: around every pixel the key is fitted as a
linear function of the picture's colours, after either time. On 38 other shots before each screen that takes the error
of the soft region from .103 to .097 (blue) and from .096 to .089 (green), after the second time alone to .098 and .090.
A key of 1920 x 1080 takes 1.34 times as long; fitted at every pixel it would be no better in 2.5 times the time.

What the matte is sure of stays: its core, so that what is green on the subject is no hole, and what lies far outside,
so that stands and the studio beside the screen are not subject. Of what is near, only what hangs together with
something that the matte gives the subject may become more than the matte says: markers on the screen do not. Where the
subject has about the screen's colour the key cannot tell, and the matte stands.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from . import edges as guided
from .despill import LUMINANCE, check_strength, take_spill
from .fields import bands, cells, enlarged, filled, ramp
from .foreground import _checked_alpha
from .masks import cut_by_frame
from .screen import BACKGROUND, Screen, excess, find_screen
from .tensors import check_images, unit

SIDE = 1024  # cells of the longer side
CORE = 0.95  # alpha from which, as up to screen.BACKGROUND, the matte may be sure
SURE = 1 / 64  # of the longer side: how far around a place the matte must be sure for it to be core
REACH = 1 / 12  # of the longer side: how far beyond what the matte gives it the subject may go on
PRESENT = 0.1  # a cell with more that is not screen than this shows something
TAIL = 1 / 128  # of the longer side: how far beyond that it may fade away
# Of the longer side: what is so far to every side neither screen nor the matte's, and goes on to the picture's border,
# is the floor or the studio. What does not may be a limb that the network missed: without a look at the border the MAD
# of the tuning shots before green was .71 of the network's, .64 with it.
WIDE = 1 / 64
FREE = 0.3  # a pixel in which there seems to be less screen than this is the subject alone, whose spill it is
CLEAN = 0.02  # a key up to this is screen, and from 1 - this subject, before and after grain is taken out of it
GRAIN = 6  # pixels around each within which a key is linear in the picture's colours
MOSTLY = (0.5, 0.95)  # alpha from which, and up to which, a pixel says more and more of the subject's colour
# Of the screen's excess, between subject and screen: below the first the key cannot tell them apart.
APART = (0.25, 0.5)


@torch.no_grad()
def key(images: Tensor, alpha: Tensor, screen: str = "auto", despill: float = 1.0) -> tuple[Tensor, Tensor]:
    """The subjects of pictures before a screen.

    images: [B, H, W, 3] or [B, H, W, 4] (the fourth channel is ignored), floating point 0..1 or uint8 0..255.
    alpha: [B, H, W], 1 = subject, a network's matte: floating point 0..1, uint8 0..255 or bool.
    screen: "auto": green, blue or none, as the background shows; "green", "blue"; "off". A picture that shows no such
        screen keeps its alpha and its colours.
    despill: strength with which the screen's colour is taken out of the foreground, 0..1.

    Returns alpha [B, H, W] float32 and the foreground [B, H, W, 3] in the dtype of images (float32 for uint8), 0..1.
    Raises ValueError when the arguments do not fit the above.
    """
    check_images(images)
    check_strength(despill)
    keyed = unit(_checked_alpha(alpha, images).to(images.device)).float().clone()
    foreground = images[..., :3].clone() if images.is_floating_point() else unit(images[..., :3])
    for image, matte, out in zip(images, keyed, foreground, strict=True):
        found = find_screen(image, matte, screen)
        if found is not None and found.seen:
            key_before(found, image, matte, out, despill)
    return keyed, foreground


@torch.no_grad()
def key_before(screen: Screen, image: Tensor, alpha: Tensor, foreground: Tensor, despill: float = 1.0) -> None:
    """Key one image [H, W, 3 or 4] before a screen that it shows: alpha [H, W] float32 and foreground [H, W, 3], which
    begins as the image's colours, are changed in place. despill: as of `key`."""
    alpha.copy_(keyed_alpha(image, alpha, screen))
    if despill > 0:
        take_spill(image, alpha, screen, despill, out=foreground)


@torch.no_grad()
def keyed_alpha(image: Tensor, alpha: Tensor, screen: Screen) -> Tensor:
    """Alpha [H, W] of image [H, W, 3 or 4] before a screen that it shows, from a matte [H, W] float32."""
    factor = max(1, -(-max(alpha.shape) // SIDE))
    free, subject = _guides(image, alpha, screen, factor)
    rows_of_cells = bands(*alpha.shape, guided.SPACING)
    colours = torch.cat([cells(unit(image[rows, :, :3]).float(), guided.SPACING) for rows in rows_of_cells])
    keyed = _smoothed(image, colours, *_between(image, alpha, screen, subject, free, factor))
    subject = _cleared(image, keyed, screen, factor)
    del keyed  # a plane of the picture's size
    return _smoothed(image, colours, *_between(image, alpha, screen, subject, free, factor))


def _between(
    image: Tensor, alpha: Tensor, screen: Screen, subject: Tensor, free: Tensor, factor: int
) -> tuple[Tensor, Tensor]:
    """How far every pixel lies from the screen's colour to the subject's, of which there is one a cell; alpha [H, W]
    where that cannot be told; and how far that counts, [H, W] 0..1, 0 where the matte is never exceeded. free: [h, w,
    2], as of _guides."""
    height, width = alpha.shape
    result, counts = torch.empty_like(alpha), torch.empty_like(alpha)
    for rows in bands(height, width):
        behind = screen.at(rows, width)
        screen_signs = _signs(behind, screen.channel)
        way = _signs(enlarged(subject, rows, width, factor), screen.channel) - screen_signs
        there = _signs(unit(image[rows, :, :3]).float(), screen.channel) - screen_signs
        keyed = (there * way).sum(-1) / way.square().sum(-1).clamp(min=1e-4)
        keyed = ramp(keyed, CLEAN, 1 - CLEAN)
        keyable, more = enlarged(free, rows, width, factor).unbind(-1)
        keyed = torch.minimum(keyed, alpha[rows] + more)
        trust = ramp(way.square().sum(-1).sqrt() / screen_signs[..., 0].clamp(min=1e-3), *APART)
        result[rows] = torch.lerp(alpha[rows], keyed, trust * keyable)
        counts[rows] = trust * keyable * more
    return result, counts


def _smoothed(image: Tensor, colours: Tensor, keyed: Tensor, counts: Tensor) -> Tensor:
    """A key [H, W] without the grain of its image, as far as it counts, [H, W]: around every pixel linear in the
    colours (edges.py, fitted at every second one), as a mixture of one colour of the subject and one of the screen is.
    colours: the image's in cells of guided.SPACING pixels, [h, w, 3]."""
    height, width = keyed.shape
    small = torch.cat([colours, cells(keyed[..., None], guided.SPACING)], -1).movedim(2, 0)[None]
    fit = torch.cat([_fit(small, rows) for rows in bands(*small.shape[2:])], 2)[0].movedim(0, 2)
    result = torch.empty_like(keyed)
    for rows in bands(height, width):
        slope, offset = enlarged(fit, rows, width, guided.SPACING).split([3, 1], -1)
        fitted = (slope * unit(image[rows, :, :3]).float()).sum(-1) + offset[..., 0]
        result[rows] = torch.lerp(keyed[rows], ramp(fitted, CLEAN, 1 - CLEAN), counts[rows])
    return result


def _fit(small: Tensor, rows: slice) -> Tensor:
    """Some rows of the fit [1, 4, h, w] of a small key, the last plane of small [1, 4, h, w], to the colours in it."""
    radius = GRAIN // guided.SPACING
    top = max(0, rows.start - 2 * radius)
    around = small[:, :, top : rows.stop + 2 * radius]
    return guided.fit(around[:, 3:], around[:, :3], radius)[:, :, rows.start - top : rows.stop - top]


def _cleared(image: Tensor, keyed: Tensor, screen: Screen, factor: int) -> Tensor:
    """The subject's colour in cells [h, w, 3], once a first key [H, W] has told how much of each pixel is screen: of
    hair and thin things it is known now where they are."""
    height, width = keyed.shape
    maps = []
    for rows in bands(height, width, factor):
        alpha = keyed[rows, :, None]
        pure = (unit(image[rows, :, :3]).float() - (1 - alpha) * screen.at(rows, width)) / alpha.clamp(min=MOSTLY[0])
        weight = ramp(alpha, *MOSTLY)
        maps.append(cells(torch.cat([pure.clamp(0, 1) * weight, weight], -1), factor))
    pure, weight = torch.cat(maps).split([3, 1], -1)
    return filled(pure / weight.clamp(min=1e-6), weight[..., 0], 0.02)


def _signs(colours: Tensor, channel: int) -> Tensor:
    """By which subject and screen are told apart: colours [..., 3] -> excess and luminance [..., 2]."""
    return torch.stack([excess(colours, channel), colours @ colours.new_tensor(LUMINANCE)], -1)


def _guides(image: Tensor, alpha: Tensor, screen: Screen, factor: int) -> tuple[Tensor, Tensor]:
    """In cells: where the key counts and where it may give more than the matte, [h, w, 2] 0 or 1, and the subject's
    colour [h, w, 3]."""
    height, width = alpha.shape
    maps = []
    for rows in bands(height, width, factor):
        colours, matte = unit(image[rows, :, :3]).float(), alpha[rows]
        ratio = excess(colours, screen.channel) / excess(screen.at(rows, width), screen.channel).clamp(min=1e-3)
        kinds = torch.stack([ratio, matte >= CORE, matte > BACKGROUND], -1)
        maps.append(cells(torch.cat([colours, kinds], -1), factor))
    colours, ratio, sure, near = torch.cat(maps).split([3, 1, 1, 1], -1)
    across = max(height, width) / factor
    core = (_widest(1 - sure, max(1, round(SURE * across))) < 0.001).float()
    reachable = (_widest(near, max(1, round(REACH * across))) > 0).float()
    own = filled(ratio, core[..., 0], 0.02)
    screened = (ratio - own) / (1 - own).clamp(min=0.1)
    joined = _joined((screened < 1 - PRESENT) * reachable > 0, near > 0, max(1, round(TAIL * across)))
    joined = joined * (1 - _foreign((screened <= FREE) * (near == 0), max(1, round(WIDE * across))))
    alone = (_widest(1 - (screened <= FREE) * reachable * joined, 1) < 0.001).float()
    told = torch.maximum(core, alone)[..., 0]
    keyable = reachable * (1 - core) * told.any()  # a glass that is nowhere solid tells no colour of its own
    return torch.cat([keyable, joined], -1), filled(colours, told, 0.02)


def _joined(present: Tensor, own: Tensor, tail: int) -> Tensor:
    """Where what is present hangs together with the matte's own, both [h, w, 1], and `tail` cells around that, but for
    what is present there and loose: [h, w, 1] 0 or 1."""
    from scipy.ndimage import label

    pieces, count = label((present | own)[..., 0].cpu().numpy(), np.ones((3, 3)))
    of_own = np.zeros(count + 1, bool)
    of_own[np.unique(pieces[own[..., 0].cpu().numpy()])] = True
    joined = of_own[pieces]
    loose = ~joined & (pieces > 0)
    joined, loose = (torch.from_numpy(each)[..., None].to(own.device).float() for each in (joined, loose))
    return torch.maximum(joined, _widest(joined, tail) * (1 - _widest(loose, 1)))


def _foreign(free: Tensor, reach: int) -> Tensor:
    """The floor or the studio beside the screen, [h, w, 1] 0 or 1: of what is free of the screen and not the matte's,
    [h, w, 1] bool, what goes on to the picture's border and is wider than twice `reach` cells, with its corners."""
    from scipy.ndimage import label

    outside = cut_by_frame(label(free[..., 0].cpu().numpy())[0])
    outside = torch.from_numpy(outside)[..., None].to(free.device).float()
    wide = 1 - _widest(1 - outside, reach)
    return _widest(_widest(wide, 2 * reach) * outside, 2)


def _widest(values: Tensor, reach: int) -> Tensor:
    """The most within `reach` cells to every side, [h, w, 1]."""
    rows = F.max_pool2d(values[None, ..., 0], (2 * reach + 1, 1), 1, (reach, 0))
    return F.max_pool2d(rows, (1, 2 * reach + 1), 1, (0, reach))[0, ..., None]
