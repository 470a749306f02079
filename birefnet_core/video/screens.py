"""A clip before a green or blue screen: every frame keyed or despilled, the screen's colour steady over time."""

from __future__ import annotations

import torch
from torch import Tensor

from ..matting.despill import take_spill
from ..matting.key import keyed_alpha
from ..matting.screen import find_screen, steadied
from ..matting.screens_asked import none_seen, none_to_despill

SHARE = 0.2  # of what a frame shows of the screen, beside what the frames before have shown


class Screens:
    """Takes frames in the order in which they are shown.

    screen: "off", "auto", "green" or "blue", what frames are keyed by, and despilled; despill: the same for colours
    alone, of frames that are not keyed. "auto" looks for a screen in every frame, and holds on to the one it has found
    while it is still there. strength: of either despill, 0..1.
    """

    def __init__(self, screen: str, despill: str, strength: float = 1.0) -> None:
        self._screen, self._despill, self._strength = screen, despill, strength
        self._before = None
        self._frames = self._without = 0  # taken, and of these without the screen asked for

    def __call__(self, colours: Tensor, alpha: Tensor, foreground: Tensor | None) -> tuple[Tensor, Tensor] | None:
        """Alpha [H, W] and the foreground [H, W, 3] of a frame's colours [H, W, 3] and its matte [H, W]; None for a
        frame that shows no screen. foreground: the colours that estimate_foreground has made, if it has."""
        found = find_screen(colours, alpha, self._screen, self._before)
        keyed = found is not None and found.seen
        if not keyed:
            found = find_screen(colours, alpha, self._despill, self._before)
        self._frames += 1
        self._without += not (keyed or (self._screen == "off" and found is not None and found.seen))
        if found is None:
            return None
        screen = self._before = steadied(self._before, found, SHARE)
        if keyed:
            alpha, foreground = keyed_alpha(colours, alpha, screen), None
        out = torch.empty_like(colours)
        take_spill(colours, alpha, screen, self._strength, foreground=foreground, out=out)
        return alpha, out

    def told(self, name: str) -> str:
        """A sentence on how many of the frames taken did not show the screen asked for, "" where all did. name: of the
        file."""
        if not self._without:
            return ""
        if self._screen == "off":
            what = none_to_despill(self._despill)
        else:
            what = f"{none_seen(self._screen)}: the matte stays as it is"
        if self._frames == 1:
            return f"{name} shows {what}"
        return f"{name}: {self._without} of {self._frames} frames show {what}"
