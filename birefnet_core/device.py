"""Which device to compute on."""

from __future__ import annotations

import torch


def pick_device(device: str | torch.device) -> torch.device:
    """The torch device for a name; "auto" takes the first accelerator there is. ValueError for one torch cannot use."""
    if device == "auto":
        for kind in ("cuda", "xpu", "mps"):
            backend = getattr(torch, kind, None)
            if backend is not None and backend.is_available():
                return torch.device(kind)
        return torch.device("cpu")
    try:
        picked = torch.device(device)
        torch.empty(0, device=picked)
    except (RuntimeError, AssertionError, ImportError) as error:  # NotImplementedError is a RuntimeError
        reason = str(error).splitlines()[0].split(". ")[0]  # torch goes on with a list of all its backends
        raise ValueError(f"device '{device}' cannot be used here: {reason}") from None
    if picked.type == "meta":
        raise ValueError(f"device '{device}' cannot be used here: it keeps shapes, no numbers")
    return picked
