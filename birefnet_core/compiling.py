"""How a failure of torch.compile is known."""

from __future__ import annotations


def why_not_compiled(error: BaseException) -> str:
    """The reason, on one line, where an error came from torch.compile itself; "" for any other."""
    if not type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
        return ""
    return " ".join(str(error).strip().split("\n\n")[0].split())  # what follows is about debugging torch
