"""Colours as people write them. Needs no torch."""

from __future__ import annotations

import re

from PIL import ImageColor


def parse_colour(text: str) -> tuple[float, float, float]:
    """ "#rgb", "#rrggbb" (the # may be left out) or a name that Pillow knows -> red, green, blue in 0..1.

    ValueError, one sentence, for anything else, colours with transparency among them.
    """
    name = text.strip() if isinstance(text, str) else ""
    if re.fullmatch(r"[0-9a-fA-F]{3}|[0-9a-fA-F]{6}", name):
        name = f"#{name}"
    try:
        channels = ImageColor.getrgb(name)
    except ValueError as error:
        raise ValueError(f"{text!r} is no colour: give '#rrggbb', '#rgb' or a name such as white") from error
    if not all(0 <= channel <= 255 for channel in channels):  # as of rgb(300, 0, 0)
        raise ValueError(f"{text!r} is no colour: its parts are beyond 0 to 255")
    if len(channels) != 3:
        raise ValueError(f"{text!r} is a colour with transparency: give '#rrggbb', '#rgb' or a name such as white")
    red, green, blue = (channel / 255 for channel in channels)
    return red, green, blue
