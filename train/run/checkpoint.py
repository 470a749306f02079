"""Run folders: checkpoints that are whole or absent, and the recipe a folder belongs to."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
import torch.nn as nn

from birefnet_core.whole import is_unfinished
from train.recipe import differences
from train.shared.files import write_whole

from .distributed import as_sharded_as, fill_, whole
from .teachers import WEIGHTS

PATTERN = re.compile(r"step_(\d+)\.pt$")
LENGTH = ("steps:", "epochs:")


def checkpoints(folder: Path) -> list[Path]:
    """Checkpoints in `folder`, oldest first."""
    found = [(int(match[1]), path) for path in folder.glob("step_*.pt") if (match := PATTERN.search(path.name))]
    return [path for _, path in sorted(found)]


def save(folder: Path, step: int, state: dict[str, Any], *, keep: int) -> Path:
    """Write the checkpoint of `step` and drop all but the last `keep`."""
    path = folder / f"step_{step:07d}.pt"
    write_whole(path, lambda temporary: torch.save(state, temporary))
    for old in checkpoints(folder)[:-keep]:
        old.unlink(missing_ok=True)
    return path


def sweep(folder: Path) -> None:
    """Remove what a killed process was writing."""
    for unfinished in folder.glob(".*"):
        if is_unfinished(unfinished):
            unfinished.unlink(missing_ok=True)


def load_latest(folder: Path, recipe: dict[str, Any], *, reschedule: bool = False) -> dict[str, Any] | None:
    """The newest checkpoint's state, or None in a fresh folder. `recipe`: what the run now depends on.

    `reschedule` accepts another number of steps: the schedule goes on at the same step of the new length.

    Raises:
        ValueError: the folder belongs to another recipe (the message lists every difference), or the newest checkpoint
            cannot be read.
    """
    found = checkpoints(folder)
    if not found:
        return None
    try:
        state = torch.load(found[-1], map_location="cpu", weights_only=True)
    except Exception as error:  # of a damaged file torch raises nearly anything
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise ValueError(f"{found[-1]} cannot be read ({reason}); remove it to go on from the one before.") from error
    recipe = {key: value for key, value in recipe.items() if key != WEIGHTS or key in state["recipe"]}
    changed = differences(recipe, state["recipe"])
    if reschedule:
        changed = [line for line in changed if not line.startswith(LENGTH)]
    if changed:
        longer = all(line.startswith(LENGTH) for line in changed)
        raise ValueError(
            f"{folder} was trained with another recipe; use another --out, or the same recipe"
            + (", or --reschedule to go on with the new length. " if longer else ". ")
            + "\n  ".join(["Differences (there -> now):", *changed])
        )
    return state


def network_state(network: nn.Module) -> dict[str, Any]:
    """The state dict, whole even if the network is sharded (then all processes must call it)."""
    return {name: whole(value) for name, value in network.state_dict().items()}


def load_network_(network: nn.Module, state: dict[str, Any]) -> None:
    """The reverse of `network_state`, on any number of processes."""
    own = network.state_dict()
    if own.keys() != state.keys():
        raise ValueError("The checkpoint is of another network; use another --out.")
    for name, value in own.items():
        fill_(value, state[name])


def optimiser_state(optimiser: torch.optim.Optimizer, network: nn.Module) -> dict[str, dict[str, Any]]:
    """What the optimiser remembers of each parameter, by the parameter's name. (The groups follow from the recipe.)"""
    return {
        name: {key: whole(value) for key, value in optimiser.state[parameter].items()}
        for name, parameter in network.named_parameters()
        if parameter in optimiser.state
    }


def load_optimiser_(optimiser: torch.optim.Optimizer, network: nn.Module, state: dict[str, dict[str, Any]]) -> None:
    """The reverse of `optimiser_state`, on any number of processes."""
    for name, parameter in network.named_parameters():
        for key, value in state.get(name, {}).items():
            # Adam counts its steps on the CPU; all else lies where, and is sharded as, the parameter is.
            like = parameter if value.shape == parameter.shape and key != "step" else None
            optimiser.state[parameter][key] = value if like is None else as_sharded_as(like, value)
