"""What of a clip is asked for: a hint for each frame, or one for the first, which is carried along (carry.py)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..matting.masks import checked_masks, fit

NOTHING, EVERYTHING = "nothing", "everything"
AFTER_CUT = (NOTHING, EVERYTHING)
Hints = Sequence[Tensor]  # [h, w] 0..1 each, or a tensor of them; what is sliced is one too


@dataclass(frozen=True)
class Asked:
    """hints: of any size, stretched over the frame as it is read, upright: as Video Frames gives it; one for each frame
    that is matted, or one for the first. after_cut: what is matted from the first cut on when it was one."""

    hints: Hints
    after_cut: str = NOTHING

    def __post_init__(self) -> None:
        if self.after_cut not in AFTER_CUT:
            raise ValueError(f"after a cut {' or '.join(AFTER_CUT)} is matted, not {self.after_cut!r}")

    @property
    def carried(self) -> bool:
        return len(self.hints) == 1

    def check(self, name: str, count: Callable[[], int]) -> None:
        """ValueError, one sentence, for what is no hint, and unless there is one, or one for each of the clip's count()
        frames that are matted."""
        if isinstance(self.hints, Tensor):
            if self.hints.ndim != 3:
                raise ValueError(f"{name}: hints must be [B, H, W], not {list(self.hints.shape)}")
            for hint in self.hints:  # one at a time: a copy of all may not fit
                checked_masks(hint, "hint")
        if not len(self.hints):
            raise ValueError(f"{name}: there is no hint: give one for the first frame, or one for each")
        if not self.carried and len(self.hints) != (frames := count()):
            raise ValueError(
                f"{name}: {len(self.hints)} hints do not go with {frames} frames: give one for the first frame, which "
                "is carried along, or one for each"
            )

    def part(self, start: int, stop: int) -> Asked:
        """What is asked for of these of the frames, from and up to, where there is a hint for each."""
        return replace(self, hints=self.hints[start:stop])


def together(hints: Hints) -> Tensor:
    """As one tensor [n, h, w], of the first one's size."""
    if isinstance(hints, Tensor):
        return hints
    height, width = hints[0].shape
    return torch.cat([fit(checked_masks(hint, "hint"), height, width) for hint in hints])
