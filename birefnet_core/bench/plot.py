"""Curves as a small picture."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

SIZE, MARGINS = (900, 420), (56, 40, 16, 40)  # width and height; left, top, right and bottom of the curves
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999999")
SCALE = 2  # drawn larger, so that lines come out smooth


def curves(title: str, lines: dict[str, Sequence[float]], *, below: str, faint: Sequence[str] = ()) -> Image.Image:
    """A curve of values 0..1 for each name, over their places 0, 1, ... `below` says what these are. faint: names of
    curves drawn thin and left out of the legend."""
    image = Image.new("RGB", [side * SCALE for side in SIZE], "white")
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(13 * SCALE)
    left, top, right, bottom = (
        MARGINS[0] * SCALE,
        MARGINS[1] * SCALE,
        (SIZE[0] - MARGINS[2]) * SCALE,
        (SIZE[1] - MARGINS[3]) * SCALE,
    )
    longest = max(len(values) for values in lines.values()) - 1

    def place(x: float, y: float) -> tuple[float, float]:
        return left + (right - left) * x / max(1, longest), bottom - (bottom - top) * y

    draw.text((left, 10 * SCALE), title, "black", font)
    for tick in range(6):
        draw.line([place(0, tick / 5), place(longest, tick / 5)], "#dddddd", SCALE)
        draw.text((8 * SCALE, place(0, tick / 5)[1] - 8 * SCALE), f"{tick / 5:.1f}", "black", font)
    for tick in range(0, longest + 1, max(1, round(longest / 10))):
        draw.text((place(tick, 0)[0] - 8 * SCALE, bottom + 4 * SCALE), str(tick), "black", font)
    draw.text((left, bottom + 20 * SCALE), below, "black", font)
    named = [name for name in lines if name not in faint]
    for index, (name, values) in enumerate(lines.items()):
        colour = COLOURS[index % len(COLOURS)] if name not in faint else "#bbbbbb"
        width = SCALE * (1 if name in faint else 2)
        draw.line([place(x, y) for x, y in enumerate(values)], colour, width, joint="curve")
        if name in named:
            row = bottom - (len(named) - named.index(name)) * 18 * SCALE - 8 * SCALE
            draw.line([(left + 10 * SCALE, row + 8 * SCALE), (left + 34 * SCALE, row + 8 * SCALE)], colour, 3 * SCALE)
            draw.text((left + 42 * SCALE, row), name, "black", font)
    return image.resize(SIZE, Image.Resampling.LANCZOS)
