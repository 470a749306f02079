"""Which subject: the hint that a node's inputs `hint` and `boxes` make together."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

from torch import Tensor

from . import host
from .apply_mask import is_no_mask
from .boxes import Box, parsed

NOTHING = "nothing is asked for: no hint is painted and there are no boxes. To take everything, disconnect them"
EMPTY = "the hint is Load Image's empty mask, nothing is painted on it yet: everything is looked for"


def hint_from(hint: Tensor | None, boxes: Any, images: Tensor) -> Tensor | None:
    """The hint [1 | B, h, w] 0..1 for images [B, H, W, C]; None without either input.

    hint: MASK of any size. The empty one that Load Image gives for a file without transparency is no hint. boxes:
    BOUNDING_BOX in any of its forms; the boxes of an image are one hint. Given both, what lies in either is asked for.

    ValueError, one sentence, for what is no hint and no box, and where there is neither one for all nor one for each.
    """
    from ..birefnet_core.matting.hint import joined
    from ..birefnet_core.matting.masks import checked_masks
    from ..birefnet_core.matting.model import check_images

    if hint is None and boxes is None:
        return None
    check_images(images)
    count, height, width = images.shape[:3]
    asked = drawn = None
    if boxes is not None:
        lists = parsed(boxes, (width, height))
        _check_count(len(lists), count, "lists of boxes")
        asked = drawn = _drawn(lists, (width, height))
    if hint is not None:
        hint = checked_masks(hint, "hint")
        _check_count(len(hint), count, "hints")
        if not is_no_mask(hint, (height, width)):
            asked = hint if drawn is None else joined(hint, drawn)
        elif drawn is None:
            host.say(EMPTY)
    if asked is not None and not asked.any():
        host.say(NOTHING)
    return asked


def asked_of(hint: Tensor | None, boxes: Any, after_cut: str, size: tuple[int, int]) -> Any:
    """What of a clip with frames of size (height, width) is wanted, as of matte_clip: what MASK hint and BOUNDING_BOX
    boxes ask for, a mask and a list of boxes for each frame or the first one's; None: everything.

    ValueError, one sentence, for what is no mask and no box, and where only one of the two is for each frame.
    """
    from ..birefnet_core.video.asked import Asked

    hint = None if hint is None else _masks_of_clip(hint, size, alone=boxes is None)
    if hint is None and boxes is None:
        return None
    hints = hint if boxes is None else _with_boxes(hint, boxes, size)
    if not hints.any():
        host.say(NOTHING)
    return Asked(hints, after_cut)


def _masks_of_clip(hint: Tensor, size: tuple[int, int], *, alone: bool) -> Tensor | None:
    """MASK hint [B, h, w] on the CPU; None for Load Image's empty one, of which the log speaks if it is `alone`."""
    from ..birefnet_core.matting.masks import checked_masks

    # [B, H, W] is checked frame by frame, later: of a long clip a copy of all may not fit.
    by_frame = isinstance(hint, Tensor) and hint.ndim == 3 and len(hint) > 1
    hint = hint.cpu() if by_frame else checked_masks(hint, "hint").cpu()
    if not is_no_mask(hint, size):
        return hint
    if alone:
        host.say(EMPTY)
    return None


def _with_boxes(hint: Tensor | None, boxes: Any, size: tuple[int, int]) -> Tensor | BoxesByFrame:
    """The hint of the first frame, or those of each, that boxes ask for, and the masks of hint if there are any."""
    from ..birefnet_core.matting.hint import box_pixels, joined
    from ..birefnet_core.matting.masks import checked_masks

    lists = parsed(boxes, size[::-1])
    if hint is not None and len(hint) != len(lists):
        raise ValueError(
            f"hint has {len(hint)} masks and boxes {len(lists)} lists of boxes: give one of both, for the first frame, "
            "or one for each frame"
        )
    if len(lists) > 1:
        for box in chain(*lists):  # here, as a frame's own are drawn when it is its turn
            box_pixels(box.pixels, size[::-1])
        for mask in () if hint is None else hint:
            checked_masks(mask, "hint")
        return BoxesByFrame(lists, size, hint)
    drawn = _drawn(lists, size[::-1])
    return drawn if hint is None else joined(hint, drawn)


class BoxesByFrame(Sequence):
    """The hints [H, W] of a clip's frames, each drawn of its boxes and joined with its mask when it is asked for: of a
    long clip all of them may not fit."""

    def __init__(self, lists: list[list[Box]], size: tuple[int, int], masks: Tensor | None) -> None:
        """lists, masks [n, h, w]: one for each frame, checked. size: of the frames, (height, width)."""
        self._lists, self._size, self._masks = lists, size, masks

    def any(self) -> bool:
        return any(self._lists) or (self._masks is not None and bool(self._masks.any()))

    def __len__(self) -> int:
        return len(self._lists)

    def __getitem__(self, index: int | slice) -> Tensor | BoxesByFrame:
        masks = None if self._masks is None else self._masks[index]
        if isinstance(index, slice):
            return BoxesByFrame(self._lists[index], self._size, masks)
        [drawn] = _drawn([self._lists[index]], self._size[::-1])
        if masks is None:
            return drawn
        from ..birefnet_core.matting.hint import joined

        return joined(masks[None], drawn[None])[0]


def _drawn(lists: list[list[Box]], size: tuple[int, int]) -> Tensor:
    """Lists of boxes as masks [n, H, W], 1 within them. size: (width, height)."""
    import torch

    from ..birefnet_core.matting.hint import draw_boxes

    return torch.stack([draw_boxes([box.pixels for box in boxes], size) for boxes in lists])


def _check_count(given: int, images: int, what: str) -> None:
    if given not in (1, images):
        image = f"{images} image{'s' * (images != 1)}"
        raise ValueError(
            f"{given} {what} do not go with {image}: give one for all or one each, or cut each out by itself with "
            "Split Subjects (BiRefNet)"
        )
