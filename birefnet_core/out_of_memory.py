"""How a want of memory is known on every device."""

from __future__ import annotations

import torch

OutOfMemoryError = torch.cuda.OutOfMemoryError  # torch.OutOfMemoryError is the same, since 2.5
WORDS = ("out of memory", "can't allocate memory", "not enough memory", "not enough gpu", "alloc_failed")


def is_out_of_memory(error: BaseException) -> bool:
    """Devices without an error class of their own say it in a RuntimeError's text."""
    if isinstance(error, (OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in WORDS)
