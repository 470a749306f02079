"""What may be asked of despill and key. Needs no torch, so that a wrong word is refused at once."""

from __future__ import annotations

SCREENS = ("off", "auto", "green", "blue")


def check_screen(screen: str) -> None:
    """ValueError unless screen is one of SCREENS."""
    if screen not in SCREENS:
        raise ValueError(f"the screen must be off, auto, green or blue, not {screen!r}")


def none_seen(screen: str) -> str:
    """What a picture shows that shows no such screen, for messages."""
    what = "green or blue screen" if screen == "auto" else f"{screen} screen"
    return f"no {what} where the mask says background"


def none_to_despill(despill: str) -> str:
    """What a picture shows that shows no screen to take the light of off, and what is done then, for messages."""
    then = "colours stay as they are" if despill == "auto" else f"a usual {despill} is taken for its light"
    return f"{none_seen(despill)}: {then}"


def check_strength(strength: float) -> None:
    """ValueError unless strength, of despill, is 0..1."""
    if not 0 <= strength <= 1:
        raise ValueError(f"the strength of despill must be 0..1, not {strength:g}")


def check_screens(screen: str, despill: str, invert: bool, strength: float = 1.0) -> None:
    """ValueError unless what is to be keyed and despilled is known and of one colour, and the subject is kept."""
    check_screen(screen)
    check_screen(despill)
    check_strength(strength)
    if {screen, despill} == {"green", "blue"}:
        raise ValueError(f"screen is {screen} and despill {despill}: a shot has one screen, so name one colour")
    if invert and (screen, despill) != ("off", "off"):
        raise ValueError("a screen is taken from the subject, which invert leaves out: leave screen and despill off")
