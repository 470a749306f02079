"""The light of a green or blue screen taken off its subject.

A soft pixel before a screen is a mixture with it, and the screen's colour is known there: it is subtracted, and what is
left is the subject's. Where that tells little, what estimate_foreground found may stand in. On the subject itself the
screen shines back from edges and smooth places. There its colour is taken out until the screen's channel stands no
higher than the mean of the others, along a line on which luminance stays.

Real green of the subject looks like spill, but is stronger than what a screen throws back, or of another hue. Where the
sure inside of the subject has such colours over more than a reflection's width, they stay, and so does what is near.
Where no screen is seen around, a matte that takes such a subject for screen is not believed if the pixel as it is looks
more like the sure subject nearby than what would be left of it, or if nothing would be left.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .fields import bands, cells, enlarged, filled, ramp
from .foreground import _checked_alpha
from .screen import Screen, excess, find_screen
from .screens_asked import check_strength
from .tensors import check_images, unit

LUMINANCE = (0.2126, 0.7152, 0.0722)
SIDE = 192  # cells of the longer side in which the subject's own colours are looked for
INSIDE = 0.98  # alpha from which a pixel is the subject alone
# Of the screen's excess: from the second on a colour is no spill, if its hue is another or whatever its hue is.
OTHER, STRONG = (0.1, 0.25), (0.2, 0.35)
SAME_HUE = (0.85, 0.97)  # cosine between two colours without their grey: from the second on one hue
AROUND = 4  # cells around a place of which OWN_SHARE must have such colours for them to be the subject's own
OWN_SHARE = (0.1, 0.3)
SAME = 0.85  # of the screen's colour, more or less in each channel: from there on a pixel shows the screen
SEEN = 0.3  # share of such pixels from which the screen is seen in a cell
MIXED = 1 / 96  # of the longer side: how far around a place the screen is looked for before the matte is not believed
# Where it is not seen, the matte is less and less believed as the unmixed colour is so many times as far from the
# subject's as the pixel itself, or as it says so much more of the screen than there can be. On the 16 tuning shots of
# subjects with green that takes their error from .0171 to .0157 (nothing done: .0159); others stay as they are.
FARTHER, LACKING = (1.0, 1.5), (0.05, 0.2)
GRAIN = 0.03  # of a channel, which says nothing
LEAST_SHARE = 0.1  # of the subject in a pixel whose colour can be told
MOSTLY_SCREEN = (0.85, 1.0)  # share of the screen in a pixel from which ever less is told of the subject's colour


@torch.no_grad()
def despill(
    images: Tensor, alpha: Tensor, screen: str = "auto", strength: float = 1.0, *, foreground: Tensor | None = None
) -> Tensor:
    """Images without the screen's colour on the subject and in its soft edge.

    images: [B, H, W, 3] or [B, H, W, 4] (the fourth channel is ignored), floating point 0..1 or uint8 0..255.
    alpha: [B, H, W], 1 = subject, floating point 0..1, uint8 0..255 or bool.
    screen: "auto": green, blue or none, as the background shows (screen.py); "green", "blue"; "off".
    strength: 0 (nothing) to 1.
    foreground: [B, H, W, 3] floating point 0..1, what estimate_foreground has made of them: then a strength of 0, or no
        screen, gives that, and it stands where the screen does not tell the subject's colour (take_spill).

    Returns [B, H, W, 3] 0..1 in the dtype of images (float32 for uint8); the values given where there is nothing to do.
    Raises ValueError when the arguments do not fit the above.
    """
    check_images(images)
    check_strength(strength)
    alpha = unit(_checked_alpha(alpha, images).to(images.device))
    given = images[..., :3] if foreground is None else foreground
    result = given.clone() if given.is_floating_point() else unit(given)
    for index, (image, matte, out) in enumerate(zip(images, alpha, result, strict=True)):
        found = find_screen(image, matte, screen)
        if found is not None and strength > 0:
            own = None if foreground is None else foreground[index]
            take_spill(image, matte, found, strength, foreground=own, out=out)
    return result


def take_spill(
    image: Tensor, alpha: Tensor, screen: Screen, strength: float, *, foreground: Tensor | None = None, out: Tensor
) -> None:
    """image [H, W, 3 or 4] and alpha [H, W] before a known screen -> out [H, W, 3], which may be image or foreground.

    foreground: [H, W, 3], the colours of estimate_foreground, if they were asked for. The screen is the better guide to
    what shows through a soft edge, so they stand where it tells little: in pixels that are nearly all screen, beyond
    the edge, where subjects are of the screen's colour themselves, and everywhere where no screen is seen. Before green
    (docs/screens.md) the soft region's error is .061 so, .063 unmixed alone and .072 of the estimate alone.
    """
    height, width = alpha.shape
    factor = max(1, -(-max(alpha.shape) // SIDE))
    subject = subjects(image, alpha, screen, factor)
    for rows in bands(height, width):
        colours, behind = unit(image[rows, :, :3]).float(), screen.at(rows, width)
        own, ratio, far = enlarged(subject[..., :3], rows, width, factor).unbind(-1)
        given = pure = colours if foreground is None else foreground[rows].float()
        matte = alpha[rows].float()
        if screen.seen:
            shown = shown_of_screen(colours, behind, screen.channel, ratio)
            pure = mixed = unmixed(colours, matte, behind, shown)
            if foreground is not None:
                untold = torch.maximum(own, ramp(shown, *MOSTLY_SCREEN))[..., None]
                pure = torch.lerp(mixed.clamp(0, 1), given, untold)
            if ((far > 0) & (matte < 1)).any():
                nearby = enlarged(subject[..., 3:], rows, width, factor)
                solid = far * torch.maximum(unlike(mixed, colours, nearby), lacking(colours, behind, matte))
                pure = torch.lerp(pure, colours, solid[..., None])
                matte, own = torch.maximum(matte, solid), torch.maximum(own, solid)
        pure = limited(pure, behind, screen.channel, own, matte)
        out[rows] = torch.lerp(given, pure.clamp(0, 1), strength).to(out.dtype)


def shown_of_screen(colours: Tensor, behind: Tensor, channel: int, ratio: Tensor) -> Tensor:
    """How much of the screen there is in colours [..., 3] by their excess, [...], 0 at least. ratio [...]: the
    subject's own excess beside the screen's."""
    most = excess(behind, channel).clamp(min=1e-3)
    return ((excess(colours, channel) / most - ratio) / (1 - ratio).clamp(min=0.1)).clamp(min=0)


def at_most(colours: Tensor, behind: Tensor) -> Tensor:
    """How much of what is behind there can be in colours [..., 3], [...] 0..1: more would leave less than black."""
    return ((colours + GRAIN) / (behind + GRAIN)).amin(-1).clamp(0, 1)


def lacking(colours: Tensor, behind: Tensor, alpha: Tensor) -> Tensor:
    """How surely alpha [...] says more of the screen than there can be in colours [..., 3], [...] 0..1."""
    return ramp(1 - alpha - at_most(colours, behind), *LACKING)


def unlike(pure: Tensor, colours: Tensor, nearby: Tensor) -> Tensor:
    """How far unmixed colours [..., 3] are less like the subject's nearby than those of the picture, [...] 0..1."""
    from_pure, from_given = ((each - nearby).abs().mean(-1) for each in (pure.clamp(0, 1), colours))
    return ramp(from_pure / (from_given + GRAIN), *FARTHER)


def unmixed(colours: Tensor, alpha: Tensor, behind: Tensor, shown: Tensor) -> Tensor:
    """The subject's colour [..., 3] in mixtures with what is behind it. No more of that is taken out than alpha [...]
    says, nor than is shown [...] of it, nor than there can be."""
    share = torch.minimum(torch.minimum(1 - alpha, shown), at_most(colours, behind))
    share = share.clamp(max=1 - LEAST_SHARE)[..., None]
    return (colours - share * behind) / (1 - share)


def limited(colours: Tensor, behind: Tensor, channel: int, own: Tensor, alpha: Tensor) -> Tensor:
    """Colours [..., 3] whose channel stands no higher than the mean of the others, as far as `own` [...] 0..1 does not
    say that the subject is of such a colour. Luminance stays."""
    above, most = excess(colours, channel), excess(behind, channel).clamp(min=1e-3)
    own = torch.maximum(own, _of_other_hue(colours, behind, above / most) * (alpha >= INSIDE))
    share = above.clamp(min=0) * (1 - own) / most
    tint = behind - (behind @ behind.new_tensor(LUMINANCE))[..., None]
    return colours - share[..., None] * tint


def subjects(image: Tensor, alpha: Tensor, screen: Screen, factor: int) -> Tensor:
    """In cells [h, w, 6], told by the subject's sure inside and spread from there: how far it has the screen's colour
    itself, 0..1, its excess beside the screen's, and as the last three its colour; the third, not spread, is how far a
    place is from all screen that is seen, 0 or 1."""
    height, width = alpha.shape
    maps = []
    for rows in bands(height, width, factor):
        colours, behind = unit(image[rows, :, :3]).float(), screen.at(rows, width)
        ratio = excess(colours, screen.channel) / excess(behind, screen.channel).clamp(min=1e-3)
        strong = torch.maximum(_of_other_hue(colours, behind, ratio), ramp(ratio, *STRONG))
        same = torch.minimum(at_most(colours, behind), at_most(behind, colours)) > SAME
        kinds = torch.stack([alpha[rows] >= INSIDE, same, strong, ratio], -1)
        maps.append(cells(torch.cat([kinds, colours], -1), factor))
    sure, same, strong, ratio, *colours = torch.cat(maps).unbind(-1)
    deep = (-F.max_pool2d(-sure[None], 5, 1, 2)[0] > 0.999).float()
    around = [F.avg_pool2d(each[None], 2 * AROUND + 1, 1, AROUND)[0] for each in (deep * strong, deep)]
    own = ramp(around[0] / around[1].clamp(min=1e-6), *OWN_SHARE)
    own, ratio, *nearby = filled(torch.stack([own, ratio, *colours], -1), deep, 0.05).unbind(-1)
    reach = max(1, round(MIXED * max(height, width) / factor))
    seen = F.max_pool2d((same > SEEN).float()[None], 2 * reach + 1, 1, reach)[0]
    return torch.stack([own, ratio, (1 - seen) * deep.any(), *nearby], -1)


def _of_other_hue(colours: Tensor, behind: Tensor, ratio: Tensor) -> Tensor:
    """How far colours [..., 3] are of the screen's channel but not of its hue, 0..1: no light of the screen's."""
    hues = [each - each.mean(-1, keepdim=True) for each in (colours, behind)]
    return ramp(ratio, *OTHER) * (1 - ramp(F.cosine_similarity(*hues, dim=-1), *SAME_HUE))
