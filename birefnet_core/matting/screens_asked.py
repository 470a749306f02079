"""What may be asked of despill and key. Needs no torch, so that a wrong word is refused at once."""

from __future__ import annotations

SCREENS = ("off", "auto", "green", "blue")


def check_screen(screen: str) -> None:
    """ValueError unless screen is one of SCREENS."""
    if screen not in SCREENS:
        raise ValueError(f"the screen must be off, auto, green or blue, not {screen!r}")


def check_screens(screen: str, despill: str, invert: bool) -> None:
    """ValueError unless what is to be keyed and despilled is known, and the subject is kept."""
    check_screen(screen)
    check_screen(despill)
    if invert and (screen, despill) != ("off", "off"):
        raise ValueError("a screen is taken from the subject, which invert leaves out: leave screen and despill off")
