"""Which subject: the hint that a node's inputs `hint` and `boxes` make together."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from . import host
from .apply_mask import is_no_mask

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
    asked = drawn = None if boxes is None else _drawn(boxes, count, (width, height))
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


def asked_of(hint: Tensor | None, after_cut: str, size: tuple[int, int]) -> Any:
    """What of a clip with frames of size (height, width) is wanted, as of matte_clip: what MASK hint asks for, a mask
    for each frame or the first one's; None: everything. ValueError, one sentence, for what is no mask."""
    from ..birefnet_core.matting.masks import checked_masks
    from ..birefnet_core.video.asked import Asked

    if hint is None:
        return None
    # [B, H, W] is checked frame by frame, later: of a long clip a copy of all may not fit.
    by_frame = isinstance(hint, Tensor) and hint.ndim == 3 and len(hint) > 1
    hint = hint.cpu() if by_frame else checked_masks(hint, "hint").cpu()
    if is_no_mask(hint, size):
        host.say(EMPTY)
        return None
    if not hint.any():
        host.say(NOTHING)
    return Asked(hint, after_cut)


def _drawn(boxes: Any, count: int, size: tuple[int, int]) -> Tensor:
    """boxes as masks [1 | count, H, W], 1 within them."""
    import torch

    from ..birefnet_core.matting.hint import draw_boxes
    from .boxes import parsed

    lists = parsed(boxes, size)
    _check_count(len(lists), count, "lists of boxes")
    return torch.stack([draw_boxes([box.pixels for box in of_image], size) for of_image in lists])


def _check_count(given: int, images: int, what: str) -> None:
    if given not in (1, images):
        image = f"{images} image{'s' * (images != 1)}"
        raise ValueError(
            f"{given} {what} do not go with {image}: give one for all or one each, or cut each out by itself with "
            "Split Subjects (BiRefNet)"
        )
