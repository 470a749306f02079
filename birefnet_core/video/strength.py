"""How much clips are stabilised. Needs no torch."""

from __future__ import annotations


def check_strength(strength: float) -> None:
    """ValueError unless 0 <= strength <= 1."""
    if not 0 <= strength <= 1:
        raise ValueError(f"stabilise must lie between 0 (off) and 1, not {strength!r}")
