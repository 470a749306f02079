"""BOUNDING_BOX in all its forms: what ComfyUI's nodes send for one box or several, for one image or a batch."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

SIDES = ("x", "y", "width", "height")
THOUSANDTHS = ("ymin", "xmin", "ymax", "xmax")  # of an element's "bbox", in thousandths of the picture

Size = tuple[int, int]  # (width, height)


@dataclass(frozen=True)
class Box:
    """pixels: (x, y, width, height), as they were given. metadata: what else the box says of itself, such as its name;
    keys that stand beside the sides (SAM 3's score) are among it."""

    pixels: tuple[float, float, float, float]
    metadata: dict[str, Any] = field(default_factory=dict)


def parsed(boxes: Any, size: Size) -> list[list[Box]]:
    """Lists of boxes from what a BOUNDING_BOX wire brings: one list that serves all images, or one for each.

    boxes: one box; a list of boxes, for all images; a list with a list of boxes for each image; or any of these as JSON
    text or array. A box is a dict of x, y, width, height in pixels (float or int) with `metadata` or without, the four
    numbers alone, or an element of Create Bounding Boxes, whose `bbox` is (ymin, xmin, ymax, xmax) in thousandths of
    the picture. size: that of the pictures, (width, height).

    ValueError, one sentence, for anything else. Where a box lies is not looked at here (draw_boxes in hint.py is who
    draws it).
    """
    if isinstance(boxes, str):
        boxes = _from_text(boxes)
    elif hasattr(boxes, "tolist"):  # an array or tensor
        boxes = boxes.tolist()
    if _is_box(boxes):
        return [[_box(boxes, size)]]
    if not isinstance(boxes, (list, tuple)):
        raise ValueError(f"boxes must be a list of boxes {{x, y, width, height}}, not {_shown(boxes)}")
    if boxes and all(_is_list(entry) or entry is None for entry in boxes):
        return [_boxes(entry or (), size) for entry in boxes]  # None: no boxes in that image
    return [_boxes(boxes, size)]


def _from_text(text: str) -> Any:
    try:
        return json.loads(text) if text.strip() else []
    except (ValueError, RecursionError):
        raise ValueError(f"boxes is text but no JSON: {_shown(text)}") from None


def _is_list(value: Any) -> bool:
    """Whether a value is the list of an image's boxes, and not a box in four numbers."""
    return isinstance(value, (list, tuple)) and not _is_box(value)


def _is_box(value: Any) -> bool:
    if isinstance(value, Mapping):
        return True
    return isinstance(value, (list, tuple)) and bool(value) and not _holds_more(value)


def _holds_more(value: Any) -> bool:
    """Whether a list holds boxes, lists of them or None, and not numbers."""
    return any(entry is None or isinstance(entry, (list, tuple, Mapping)) for entry in value)


def _boxes(values: Any, size: Size) -> list[Box]:
    """The boxes of a list; ValueError says which one is none."""
    found = []
    for number, value in enumerate(values, 1):
        try:
            found.append(_box(value, size))
        except ValueError as error:
            raise ValueError(f"box {number} of {len(values)}: {error}" if len(values) > 1 else str(error)) from None
    return found


def _box(value: Any, size: Size) -> Box:
    if isinstance(value, Mapping):
        own = value.get("metadata")
        beside = {key: other for key, other in value.items() if key not in (*SIDES, "bbox", "metadata")}
        metadata = {**beside, **(own if isinstance(own, Mapping) else {})}
        if "bbox" in value:
            return Box(_from_thousandths(value["bbox"], size), metadata)
        missing = [side for side in SIDES if side not in value]
        if missing:
            raise ValueError(f"a box must have x, y, width and height: {_shown(dict(value))} has no {missing[0]}")
        return Box(_numbers([value[side] for side in SIDES], SIDES), metadata)
    if isinstance(value, (list, tuple)) and _holds_more(value):
        raise ValueError(
            f"a box must be x, y, width, height, not {_shown(value)}: give a list of boxes, or such a list for each "
            "image"
        )
    return Box(_numbers(value, SIDES))


def _from_thousandths(bbox: Any, size: Size) -> tuple[float, float, float, float]:
    ymin, xmin, ymax, xmax = _numbers(bbox, THOUSANDTHS)
    if not all(-1 <= value <= 1001 for value in (ymin, xmin, ymax, xmax)):
        raise ValueError(
            f"a bbox is in thousandths of the picture, 0..1000, not {_shown(bbox)}: give pixels as x, y, width, height"
        )
    (left, right), (top, bottom) = sorted((xmin, xmax)), sorted((ymin, ymax))
    width, height = size[0] / 1000, size[1] / 1000
    return left * width, top * height, (right - left) * width, (bottom - top) * height


def _numbers(values: Any, names: tuple[str, ...]) -> tuple[float, float, float, float]:
    if not isinstance(values, (list, tuple)) or len(values) != len(names):
        raise ValueError(f"a box must be {', '.join(names)}, not {_shown(values)}")
    for name, value in zip(names, values, strict=True):
        if isinstance(value, (bool, str)) or not hasattr(value, "__float__") or not _is_finite(value):
            raise ValueError(f"the {name} of a box must be a number, not {_shown(value)}")
    return tuple(map(float, values))


def _is_finite(value: Any) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer that no float can hold
        return False


def _shown(value: Any) -> str:
    """A value in a message, on one line and not for ever."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 80 else f"{text[:77]}..."
