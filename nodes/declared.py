"""What nodes declare of their numbers, lists and texts, kept for values that other nodes give, too."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from numbers import Real
from typing import Any

import numpy as np

from ..birefnet_core.precision import torch_as_usual


def as_declared(work: Callable) -> Callable:
    """A node's function that takes only what its INPUT_TYPES declare. ComfyUI holds widgets to their limits, but no
    value that comes from another node, such as a number computed as NaN.

    Whole numbers may come as 2.0. Left alone is what the node's own VALIDATE_INPUTS takes, as ComfyUI leaves it.
    ValueError, one sentence that names the input, for what lies outside.
    """
    signature = inspect.signature(work)

    @functools.wraps(work)
    def checked(self, *args, **kwargs):
        given = signature.bind(self, *args, **kwargs)
        for name, (kind, options) in _inputs(type(self)).items():
            if name in given.arguments:
                given.arguments[name] = _value(name, given.arguments[name], kind, options)
        with torch_as_usual():  # other packs may have left another
            return work(*given.args, **given.kwargs)

    return checked


@functools.cache
def _inputs(node: type) -> dict[str, tuple]:
    """What a node declares, but for what its own VALIDATE_INPUTS takes. Asked once: lists of files and GPUs, which may
    change and for which folders are searched, are among the latter."""
    own = inspect.signature(node.VALIDATE_INPUTS).parameters if hasattr(node, "VALIDATE_INPUTS") else ()
    types = node.INPUT_TYPES()
    return {name: each for name, each in {**types["required"], **types.get("optional", {})}.items() if name not in own}


def _value(name: str, value: Any, kind: str | list[str], options: dict[str, Any]) -> Any:
    """The value of an input of a kind that is typed or chosen; others as they are. ValueError where it is none."""
    if isinstance(kind, list):
        if not isinstance(value, str) or value not in kind:
            raise ValueError(f"{name} must be one of {', '.join(kind)}, not {value!r}")
    elif kind in ("INT", "FLOAT"):
        return _number(name, value, kind == "INT", options["min"], options["max"])
    elif kind == "BOOLEAN":
        if not isinstance(value, (Real, np.bool_)) or value not in (0, 1):
            raise ValueError(f"{name} must be true or false, not {value!r}")
        return bool(value)
    elif kind == "STRING":
        if not isinstance(value, str):
            raise ValueError(f"{name} must be a text, not {value!r}")
        if "\0" in value:
            raise ValueError(f"{name} must not contain a character of code 0: {value!r}")
    return value


def _number(name: str, value: Any, whole: bool, least: float, most: float) -> int | float:
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    if not is_number or not least <= value <= most or (whole and value != int(value)):
        kind = "a whole number" if whole else "a number"
        limits = " to ".join(str(int(limit) if limit == int(limit) else limit) for limit in (least, most))
        raise ValueError(f"{name} must be {kind} from {limits}, not {value!r}")
    return int(value) if whole else float(value)
