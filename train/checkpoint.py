"""Run folders: checkpoints that are whole or absent, and the recipe a folder belongs to."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch

from .files import write_whole
from .recipe import Recipe, as_dictionary, differences

KEPT = 2
PATTERN = re.compile(r"step_(\d+)\.pt$")


def checkpoints(folder: Path) -> list[Path]:
    """Checkpoints in `folder`, oldest first."""
    found = [(int(match[1]), path) for path in folder.glob("step_*.pt") if (match := PATTERN.search(path.name))]
    return [path for _, path in sorted(found)]


def save(folder: Path, step: int, state: dict[str, Any]) -> Path:
    """Write the checkpoint of `step` and drop all but the last two."""
    path = folder / f"step_{step:07d}.pt"
    write_whole(path, lambda temporary: torch.save(state, temporary))
    for old in checkpoints(folder)[:-KEPT]:
        old.unlink(missing_ok=True)
    return path


def load_latest(folder: Path, recipe: Recipe, *, reschedule: bool = False) -> dict[str, Any] | None:
    """The newest checkpoint's state, or None in a fresh folder.

    `reschedule` accepts another number of steps: the schedule goes on at the same step of the new length.

    Raises:
        ValueError: the folder belongs to another recipe; the message lists every difference.
    """
    found = checkpoints(folder)
    if not found:
        return None
    state = torch.load(found[-1], map_location="cpu", weights_only=True)
    changed = differences(as_dictionary(recipe), state["recipe"])
    if reschedule:
        changed = [line for line in changed if not line.startswith("steps:")]
    if changed:
        raise ValueError(
            f"{folder} was trained with another recipe; use another --out, or the same recipe. "
            + "\n  ".join(["Differences (there -> now):", *changed])
        )
    return state
