"""Which precision a run computes in: what was asked for, what the run was begun in, or what suits the device."""

from __future__ import annotations

import torch

from birefnet_core.precision import in_words, is_native, share_of_float32
from train.recipe import AUTO

from .distributed import Processes

AUTOCAST = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


def choose_precision(asked: str, recorded: str | None, among: Processes) -> tuple[str, str]:
    """(precision, why), the same in all processes, which must call it together.

    asked: as in a recipe; "auto" takes what is `recorded` with the run, and in a new one bf16 where all processes'
    devices compute it natively, else fp32.
    """
    if asked != AUTO:
        return asked, "as asked"
    share = max(among.gather([share_of_float32(torch.bfloat16, among.device)]))
    measured = f"bfloat16 {in_words(share)}" + (", on the slowest device" if among.world > 1 else "")
    if recorded is not None:
        return recorded, f"as this run was begun ({measured})"
    return ("bf16" if is_native(share) else "fp32"), measured


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """The forward pass in `precision`: "fp32" leaves it as it is."""
    dtype = AUTOCAST[precision]
    return torch.autocast(device.type, dtype=dtype, enabled=dtype is not None)
