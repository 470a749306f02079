"""How to run, as opposed to what to train, and what stops a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .distributed import Processes


class TrainingError(RuntimeError):
    """The run cannot go on; the message says why and what to change."""


class StoppedError(TrainingError):
    """A signal stopped the run where there was nothing to save."""


@dataclass
class Options:
    """How to run, as opposed to what to train (the recipe). These may change from one start to the next.

    Attributes:
        keep: how many of the last checkpoints stay.
        patch_order: of the result, "2024" or "2025".
        recompute: activation checkpointing. shard: FSDP instead of DDP, if there are several processes.
        sync_batch_norm: BatchNorm statistics over all processes, on GPUs; else each takes those of its own pictures, as
            the paper did.
    """

    out: Path
    keep: int = 2
    patch_order: str = "2025"
    reschedule: bool = False
    compile: bool = False
    recompute: bool = False
    shard: bool = False
    sync_batch_norm: bool = False


def idle_options(options: Options, among: Processes) -> list[str]:
    """A sentence on each option that does nothing among these processes."""
    said = []
    if options.shard and among.world == 1:
        said.append("--shard does nothing in one process: start several with torchrun.")
    if options.sync_batch_norm and (among.world == 1 or among.device.type != "cuda"):
        said.append("--sync-batch-norm does nothing here: it takes several processes, each on a GPU of its own.")
    return said
