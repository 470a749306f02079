"""The screen behind a subject: whether there is one, green or blue, and its colour at every pixel.

It is found from what the matte calls background. The light on a screen is seldom even, so its colour is a smooth field
over the picture, known where the screen is seen and continued behind the subject.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from .fields import bands, cells, enlarged, filled
from .screens_asked import check_screen
from .tensors import unit

CHANNEL = {"green": 1, "blue": 2}
STUDIO = {"green": (0.0, 0.69, 0.25), "blue": (0.0, 0.28, 0.73)}  # for pictures that show nothing of theirs
SIDE = 128  # cells of the longer side
BACKGROUND = 0.05  # alpha up to which a pixel is background
# The same where half of the background is so clear: thin things that a matte misses leave a trace in it. On the tuning
# shots' one with such things the soft region's error was .045 so, and .050 with BACKGROUND alone.
CLEAR = 0.02
LEAST = 0.005  # share of the picture's cells in which a screen must be seen
MOST = 0.5  # share of the background that a screen must fill to be taken for one
LINGERING = 0.25  # the same where the frame before showed that screen
STAYING = 0.8  # and so much of where it was seen then, and is background, must still be of its colour
# What makes a colour a screen's: how far its channel stands above both others, as a share of itself, and how far red
# may stand above blue as a share of that. Leaves and lawns are yellowish, the sky pale; a screen may be too, in warm
# light or as a camera sees it, and a colour that was named need only be there.
PURITY = {"green": 0.3, "blue": 0.52}
YELLOWEST = 0.5
LEADING = 0.1  # PURITY of a colour that was named
DARKEST = 0.1  # of the channel; black has no colour
UNEVEN = 0.25  # how much of its excess the screen's colour may vary from cell to cell
SMOOTHNESS = 0.5
CUT = 0.1  # mean difference of the screen's colour from frame to frame that is another shot, not its light


@dataclass(frozen=True)
class Screen:
    """colour: "green" or "blue". field: its colour in cells [h, w, 3] 0..1 of `factor` pixels. where: in which of them
    the picture shows it, [h, w]. seen: whether it does so at all; else the field is the colour of studio screens, and
    nothing but their hue is known."""

    colour: str
    field: Tensor
    factor: int
    where: Tensor
    seen: bool

    @property
    def channel(self) -> int:
        return CHANNEL[self.colour]

    def at(self, rows: slice, width: int) -> Tensor:
        """The screen's colour at the pixels of some rows, [rows, width, 3]."""
        return enlarged(self.field, rows, width, self.factor)


@torch.no_grad()
def find_screen(image: Tensor, alpha: Tensor, screen: str = "auto", before: Screen | None = None) -> Screen | None:
    """The screen of one picture.

    image: [H, W, 3 or 4] floating point 0..1 or uint8. alpha: [H, W] 0..1, 1 = subject. screen: "auto": green, blue or
    none, as the background shows; "green" and "blue": that one, also where little or nothing of it is seen; "off".
    before: of a clip, the screen last seen, which "auto" takes to be there still when no more than LINGERING of the
    background is left of it, that a share near MOST does not make it come and go.
    Returns None for none. ValueError for another word.
    """
    check_screen(screen)
    if screen == "off":
        return None
    factor = max(1, -(-max(alpha.shape) // SIDE))
    colours, known = _background(image, alpha, factor)
    for colour in CHANNEL if screen == "auto" else [screen]:
        like = known & _of_screen(colours, colour, named=screen != "auto")
        if like.float().mean() < LEAST or (screen == "auto" and like.sum() < _most(like, known, colour, before)):
            continue
        field, even = _field(colours, like, CHANNEL[colour])
        if even or screen != "auto":
            return Screen(colour, field, factor, like, True)
    if screen == "auto":
        return None
    field = torch.tensor(STUDIO[screen], device=alpha.device).expand(*colours.shape)
    return Screen(screen, field, factor, torch.zeros_like(known), False)


def steadied(before: Screen | None, now: Screen | None, share: float) -> Screen | None:
    """The screen of a clip's frame, from that of the frame before and what this one shows: its light changes slowly, a
    frame's own estimate trembles. share: 0..1, what the new one counts for; after a cut to other light all."""
    if before is None or now is None or not (before.seen and now.seen):
        return now
    if now.colour != before.colour or now.field.shape != before.field.shape:
        return now
    cut = (now.field - before.field).abs().mean() > CUT
    return now if cut else replace(now, field=torch.lerp(before.field, now.field, share))


def excess(colours: Tensor, channel: int) -> Tensor:
    """How far a channel stands above the mean of the others: [..., 3] -> [...]. Of a mixture it is the mixture of what
    its parts have, and light without colour does not change it."""
    return 1.5 * colours[..., channel] - 0.5 * colours.sum(-1)


def _background(image: Tensor, alpha: Tensor, factor: int) -> tuple[Tensor, Tensor]:
    """The colours of cells [h, w, 3], and which of them are background as are all around them, [h, w]."""
    height, width = alpha.shape
    colours, shares = [], []
    for rows in bands(height, width, factor):
        matte = unit(alpha[rows])
        colours.append(cells(unit(image[rows, :, :3]), factor))
        shares.append(cells(torch.stack([matte <= CLEAR, matte <= BACKGROUND], -1).float(), factor))
    clear, known = (torch.cat(shares) > 0.999).unbind(-1)
    known = clear if clear.sum() >= known.sum() / 2 else known
    inner = -F.max_pool2d(-known.float()[None, None], 3, 1, 1)[0, 0] > 0
    return torch.cat(colours), inner if inner.float().mean() >= LEAST else known


def _of_screen(colours: Tensor, colour: str, named: bool) -> Tensor:
    """Which colours [..., 3] may be a screen's. named: whether it was said that the screen is of that colour."""
    own = colours[..., CHANNEL[colour]]
    one, other = (colours[..., channel] for channel in range(3) if channel != CHANNEL[colour])
    above = own - torch.maximum(one, other)
    if named:
        return (own > DARKEST) & (above >= LEADING * own)
    yellow = (colours[..., 0] - colours[..., 2]) > YELLOWEST * above
    return (own > DARKEST) & (above >= PURITY[colour] * own) & ~yellow


def _most(like: Tensor, known: Tensor, colour: str, before: Screen | None) -> Tensor:
    """How many of the cells known to be background [h, w] must be like a screen's."""
    if before is None or before.colour != colour or before.where.shape != like.shape:
        return MOST * known.sum()
    there = before.where & known
    stays = there.any() and like[there].float().mean() >= STAYING
    return (LINGERING if stays else MOST) * known.sum()


def _field(colours: Tensor, like: Tensor, channel: int) -> tuple[Tensor, bool]:
    """The screen's colour everywhere, and whether it is as even as a screen: twice, the second time without what the
    first finds to be something else, such as a subject's hair or a stand."""
    weight = like.float()
    middle = excess(colours[like], channel).median()
    for _ in range(2):
        field = filled(colours, weight, SMOOTHNESS)
        away = (colours - field).abs().amax(-1)
        weight = like.float() * (away <= 0.3 * middle)
        if not weight.any():
            return field, False
    return filled(colours, weight, SMOOTHNESS), bool(away[like].median() <= UNEVEN * middle)
