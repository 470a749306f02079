"""Temporal stabilisation (placeholder while the filter is being measured)."""


def check_strength(strength):
    if not 0 <= strength <= 1:
        raise ValueError(f"stabilise must lie between 0 (off) and 1, not {strength!r}")


def stabilised(items, strength):
    yield from items
