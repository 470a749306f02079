"""A hint for the first frame of a clip, carried along: what is asked for in a frame comes from the frames before it.

Three things tell where the subject is: its last alpha, moved as the picture moved there; its colours, beside those of
all else; and how it looked when it was last seen whole, moved as it moves. So of two that cross each stays itself, and
one that was covered is known when it comes back. All is decided at the small size at which motion is found, and what is
kept is a second of small pictures. Not in the paper.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor

from ..matting.size import ANYTHING, MASK
from .motion import Matcher, View, look_up

SEEN, COVERED, GONE, CUT = "seen", "covered", "gone", "cut"  # states of what is asked for
AWAY = 1.5  # seconds after which one that is covered is gone
LEAST = 0.08  # share of the subject that must be seen; with less it is covered, or left the frame
SPECK = 0.01  # share of the subject; smaller pieces are none of it
MOSTLY = 0.5  # share that must be seen for its speed to be told from it
LOOKS, APART = 8, 1 / 8  # how often its look is remembered, and every how many seconds
ALIKE, WHOLE = 0.7, 0.85  # of its largest area: with which a look is worth remembering, and the last one is taken
FITS = 16 / 255  # difference from how it looked at which that says nothing
FOUND = 0.3  # share of its look that must fit for it to be there
SURE = 12 / 255  # difference from the frame before with which its motion counts 1/e
FURTHER = 0.01  # share that must fit more for each place further from where it is expected, up to REACH
MARGIN = 0.1  # of its size, by which it may change until its look is renewed
SLOWLY = 12  # places a second, up to a place a frame, by which motion must differ to be another
DOUBT = 0.15  # how much the mask of the frame before counts where motion is not sure
REACH = 2, 10  # places in which its look is searched for around where it is expected, at first and at most
FARTHEST = 60  # places in which it is at most, once covered, around where it was last seen
COARSELY = 2  # places from one to the next where so many are searched
LEAVING = 0.5  # share of it that must have been in the frame when last seen for it to be covered, not leaving
FLOW, LOOK, BEYOND = 3.0, 1.5, 3.0  # weights of the evidence; colours speak for themselves
BINS = 12  # of a colour histogram, a channel
ODDS = 2.0  # that a colour gives at most, natural logarithm
STEADY = 0.2  # share of the last step in the speed
SLOW = 0.1  # share of what is new in what is learnt of colours


class Carry:
    """Gives each frame's hint and takes its alpha, by turns. state: SEEN, COVERED (not to be seen, but it may come
    back), GONE or CUT; from the last two there is no way back. hint_is: what the last hint is, as of predict: the
    first frame's is anybody's, those that are carried are masks."""

    def __init__(self, hint: Tensor, rate: float) -> None:
        """hint: [h, w] 0..1, of any size, for the first frame. rate: frames a second."""
        self.state, self.hint_is = SEEN, ANYTHING
        self._first, self._rate = hint, float(rate)
        self._view: View | None = None
        self._subject: _Subject | None = None

    def hint(self, pixels: Tensor) -> Tensor:
        """The hint [h, w] 0..1 for the next frame [H, W, 3], all of one size, uint8 or float32 0..1; all 0 where
        nothing is to be seen of the subject, and from a cut on."""
        before, self._view = self._view, View(pixels)
        if before is None:
            self._matcher = Matcher(self._view.grey.shape)
            self._matcher.push(self._view.grey)
            return self._first
        self.hint_is = MASK
        nothing = torch.zeros(self._view.smooth.shape[1:])
        if self.state == CUT:
            return nothing
        # Twice: the motion to the frame before is known when the next has come, and that one's own copy will do.
        self._matcher.push(self._view.grey)
        motion = self._view.motion_to(before, self._matcher.push(self._view.grey)[0])
        if self._view.is_cut_from(before, motion):
            self.state = CUT
        if self.state in (CUT, GONE):
            return nothing
        return self._subject.expected(before, self._view, motion, self.state)

    def take(self, alpha: Tensor) -> None:
        """The alpha [H, W] 0..1 that the frame of the last hint got."""
        if self.state in (CUT, GONE):
            return
        size = self._view.smooth.shape[1:]
        mask = F.interpolate(alpha[None, None].float(), size=size, mode="bilinear", antialias=True)[0, 0]
        if self._subject is None:
            self._subject = _Subject(self._view.smooth, mask, self._rate)
            self.state = SEEN if mask.sum() >= 1 else GONE
        else:
            self.state = self._subject.seen(self._view.smooth, mask)


@dataclass(frozen=True)
class _Look:
    """How the subject once looked: the frame [3, h, w], its mask [h, w], and how far it had come by then, in places."""

    picture: Tensor
    mask: Tensor
    place: Tensor

    def at(self, place: Tensor) -> tuple[Tensor, Tensor]:
        """picture and mask moved to where the subject has come to `place`."""
        planes = shifted(torch.cat([self.picture, self.mask[None]]), place - self.place)
        return planes[:3], planes[3]


class _Subject:
    """What is known of the subject, at the small size. Motion to the frame before points back: it is its negative that
    the subject moves by."""

    def __init__(self, picture: Tensor, mask: Tensor, rate: float) -> None:
        self._rate, self._mask = rate, mask
        self._place = torch.zeros(2)  # how far it has come
        self._speed = torch.zeros(2)  # places a frame, beside the camera's
        self._unseen = self._since = self._steps = 0  # frames: covered, since its look was remembered, in its speed
        self._found = 0  # frames: as long as it was covered, then ever less
        self._last = self._place  # where it was last seen, moved with the camera
        self._looks = deque([_Look(picture, mask, self._place)], LOOKS)
        self._colours = _Colours(picture, mask)

    def expected(self, before: View, view: View, motion: Tensor, state: str) -> Tensor:
        """The hint [h, w] for the next frame, from what is known by now."""
        moved = look_up(self._mask[None], motion)[0]
        sure = torch.exp(-((view.difference(before, motion)[0] / SURE) ** 2))
        trusted = sure > 0.5
        self._camera = -median_of(motion, trusted & (moved < 0.5))
        steps = [self._speed + self._camera]
        if state == SEEN:
            steps.append(-median_of(motion, moved > 0.5))
        goes = self._find(view.smooth, steps, state)
        picture, self._whole = self._look.at(self._place + self._step)
        flow = torch.full_like(moved, -1 / FLOW) if state == COVERED else self._flow(motion, moved, sure, goes)
        odds = self._colours.odds(view.smooth)
        fits = (1 - (picture - view.smooth).abs().mean(0) / FITS).clamp(-1.5, 1) * self._whole
        fits = torch.where((odds > 0) & (fits < 0), fits / 2, fits)  # it moves its limbs
        beyond = 1 - grown(self._whole, MARGIN * math.sqrt(self._whole.sum()))
        self._score = FLOW * flow + odds + LOOK * fits - BEYOND * beyond
        return self._without_specks(((torch.sigmoid(2 * self._score) - 0.1) / 0.8).clamp(0, 1))

    def _find(self, picture: Tensor, steps: list[Tensor], state: str) -> Tensor:
        """Look for the subject in the next frame, as it went so far, or as the picture moves where it was, which may be
        what covers it: its look decides. The one of these `steps` that it took."""
        self._area = max(look.mask.sum() for look in self._looks)  # seen whole, not when half covered
        self._look = next(look for look in reversed(self._looks) if look.mask.sum() >= WHOLE * self._area)
        reach = min(REACH[0] + max(self._unseen, self._found), REACH[1])
        found = [aligned(self._look, picture, self._place + step, reach) for step in steps]
        best, goes = max(zip(found, steps), key=lambda pair: pair[0][0])
        self._last = self._last + self._camera
        self._otherwise = False
        if state == COVERED and best[0] < FOUND:  # behind what covers it, it may wait or turn back
            far = min(REACH[0] + math.ceil((1 + self._speed.norm()) * self._unseen), FARTHEST)
            best = aligned(self._look, picture, self._last, far)
            self._otherwise = best[0] >= FOUND
        if best[0] < FOUND:
            best, goes = found[0], steps[0]
        self._fit, place = best
        self._step = place - self._place
        return goes

    def _flow(self, motion: Tensor, moved: Tensor, sure: Tensor, goes: Tensor) -> Tensor:
        """How much the motion to the frame before speaks for the subject, [h, w] -2..1, when it `goes` so: `moved` is
        its mask of then, as the picture moves.

        Of 180 clips of two of the same colours that meet, 40 were swapped or split while all that came from elsewhere
        counted alike, however it moves, and 7 while a place a frame was no other way; with this 2 are.
        """
        other_way = min(1, SLOWLY / self._rate) + self._step.norm() / 2
        apart = (motion + goes.view(2, 1, 1)).norm(dim=0) / other_way
        along, away = torch.exp(-(apart**2)), 1 - torch.exp(-((2 * apart) ** 2))
        flow = 2 * moved - 1
        # What was its own and surely goes another way covers it; what was not and goes its way, where it is, is a part
        # of it that was lost.
        own = flow * (sure * along).clamp_min(DOUBT) - sure * away * (1 - self._whole / 2)
        other = flow * sure * (1 + away - along * self._whole)
        return torch.where(flow > 0, own, other)

    def _without_specks(self, hint: Tensor) -> Tensor:
        """The hint [h, w] without pieces too small to be the subject's; empty where too little of it is left."""
        from scipy.ndimage import label

        pieces, count = label(hint.numpy() > 0)
        pieces = torch.from_numpy(pieces).long()
        areas = torch.bincount(pieces.flatten(), hint.flatten(), count + 1)
        kept = areas >= SPECK * self._area
        kept[0] = False
        hint = hint * kept[pieces]
        return hint if hint.sum() >= LEAST / 2 * self._area else torch.zeros_like(hint)

    def seen(self, picture: Tensor, mask: Tensor) -> str:
        """Learn from the alpha [h, w] that the frame got; the state of the subject."""
        self._place = self._place + self._step
        self._mask = mask = mask * torch.sigmoid(3 * (self._score + 1))  # not what belongs to another
        whole, area = self._area, mask.sum()
        if area < LEAST * whole:
            self._unseen += 1
            leaving = self._look.at(self._last)[1].sum() < LEAVING * whole
            left = self._whole.sum() < 0.1 * whole and (leaving or self._unseen == 1)
            return GONE if left or self._unseen > AWAY * self._rate else COVERED
        self._found = max(self._unseen, self._found - 1)
        self._unseen, self._last = 0, self._place
        if self._otherwise:
            self._steps, self._speed = 0, torch.zeros(2)  # it no longer goes as it went
        elif area > MOSTLY * whole and self._fit > FOUND:
            self._steps += 1
            self._speed = self._speed.lerp(self._step - self._camera, max(STEADY, 1 / self._steps))
        self._since += 1
        if self._since >= APART * self._rate and ALIKE < area / whole < 1 / ALIKE:
            self._since = 0
            self._looks.append(_Look(picture, mask, self._place))
            self._colours.learn(picture, mask)
        return SEEN


class _Colours:
    """Which colours are the subject's, and which those of all else, half of it near the subject."""

    def __init__(self, picture: Tensor, mask: Tensor) -> None:
        self._own, self._other = self._counted(picture, mask)

    def _counted(self, picture: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        near = grown(mask, math.sqrt(mask.sum()) / 2)
        own, others = mask**2, (1 - mask) ** 2
        return histogram(picture, own), (histogram(picture, others) + histogram(picture, near * others)) / 2

    def learn(self, picture: Tensor, mask: Tensor) -> None:
        own, other = self._counted(picture, mask)
        self._own, self._other = self._own.lerp(own, SLOW), self._other.lerp(other, SLOW)

    def odds(self, picture: Tensor) -> Tensor:
        """log(subject : other) of each place's colour [h, w]."""
        odds = torch.log((self._own + 1e-4) / (self._other + 1e-4)).clamp(-ODDS, ODDS)
        return odds.flatten()[binned(picture)]


def binned(picture: Tensor) -> Tensor:
    """In which bin of a histogram each place [h, w] of a picture [3, h, w] 0..1 falls."""
    red, green, blue = (picture * BINS).long().clamp(0, BINS - 1)
    return (red * BINS + green) * BINS + blue


def histogram(picture: Tensor, weights: Tensor) -> Tensor:
    """Share of each colour [BINS, BINS, BINS], neighbours counted in."""
    counts = torch.bincount(binned(picture).flatten(), weights.flatten(), BINS**3).float()
    counts = F.pad(counts.view(1, 1, BINS, BINS, BINS), [1] * 6, mode="replicate")
    counts = F.avg_pool3d(counts, 3, 1)[0, 0]
    return counts / counts.sum().clamp_min(1e-6)


def median_of(field: Tensor, places: Tensor) -> Tensor:
    """The median [2] of each component of [2, h, w] over the places [h, w] that are true; 0 without any."""
    return field[:, places].median(dim=1).values if places.any() else torch.zeros(2)


def shifted(planes: Tensor, by: Tensor) -> Tensor:
    """planes [C, h, w] moved by (right, down) places; 0 where nothing was."""
    _, height, width = planes.shape
    x = (torch.arange(width) + 0.5 - by[0]) * (2 / width) - 1
    y = (torch.arange(height) + 0.5 - by[1]) * (2 / height) - 1
    grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)
    return F.grid_sample(planes[None], grid[None], align_corners=False)[0]


def aligned(look: _Look, picture: Tensor, place: Tensor, reach: int) -> tuple[float, Tensor]:
    """What share of a look fits the picture [3, h, w] where, up to `reach` places around `place`, it fits best, and
    where that is; `place` where it fits nowhere."""
    pixels, mask = look.at(place)
    rows, columns = ((mask.amax(axis) > 0.5).nonzero().flatten() for axis in (1, 0))
    if not len(rows):
        return 0.0, place
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    pixels, mask = pixels[:, top:bottom, left:right], mask[top:bottom, left:right]
    around = F.pad(picture[None], [reach] * 4, mode="replicate")[0]
    around = around[:, top : bottom + 2 * reach, left : right + 2 * reach]
    price, whole = FURTHER * min(1, REACH[1] / reach), mask.sum().item()

    def share(down: int, over: int) -> float:
        there = around[:, down : down + mask.shape[0], over : over + mask.shape[1]]
        fits = torch.exp(-(((there - pixels).abs().mean(0) / FITS) ** 2))
        return (mask * fits).sum().item() / whole - price * math.hypot(down - reach, over - reach)

    every = range(0, 2 * reach + 1, 1 if reach <= REACH[1] else COARSELY)
    shares = {at: share(*at) for at in product(every, every)}
    down, over = max(shares, key=shares.get)
    if every.step > 1:
        near = [[min(max(at + step, 0), 2 * reach) for step in (-1, 0, 1)] for at in (down, over)]
        shares = {at: share(*at) for at in product(*near)}
        down, over = max(shares, key=shares.get)
    best = shares[down, over]
    if best < FOUND:
        return best, place
    return best, place + torch.tensor([over - reach, down - reach], dtype=torch.float32)


def grown(mask: Tensor, places: float) -> Tensor:
    """mask [h, w] dilated by a square."""
    reach = max(1, round(places))
    wide = F.max_pool2d(mask[None, None], (1, 2 * reach + 1), 1, (0, reach))
    return F.max_pool2d(wide, (2 * reach + 1, 1), 1, (reach, 0))[0, 0]
