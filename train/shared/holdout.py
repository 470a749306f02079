"""Which names are kept for validation."""

from __future__ import annotations

import zlib
from collections.abc import Iterable


def held_out(names: Iterable[str], percent: int) -> set[str]:
    """About `percent` of 100 of `names`, chosen by nothing but the names, so that more data changes no choice. Of two
    names or more at least one is held out and at least one is not, unless `percent` is 0."""
    numbers = {name: zlib.crc32(name.encode(errors="surrogateescape")) for name in names}
    if not percent or len(numbers) < 2:
        return set()
    held = {name for name, number in numbers.items() if number % 100 < percent}
    return held if 0 < len(held) < len(numbers) else {min(numbers, key=lambda name: (numbers[name], name))}
