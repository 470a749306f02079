"""From a weight file to its network: `load_network`."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import torch
from torch.overrides import TorchFunctionMode

from ..network import BiRefNet, build_network
from ..network.hint import drop_hints_
from .catalog import ModelSpec
from .files import WeightsError, read_weights
from .inspection import TRY, check_patch_order, examine
from .neighbours import as_published
from .published import load_published


class PatchOrderWarning(UserWarning):
    """Nothing tells a file's patch order, so that "2025" was assumed; or the weights contradict the table."""


class _Undrawn(TorchFunctionMode):
    """New parameters stay as memory has them: all of them are about to be loaded, and drawing random numbers for
    swin_v1_l takes 1.0 of the 2.3 s that loading it takes."""

    DRAWS = (torch.Tensor.uniform_, torch.Tensor.normal_, torch.Tensor.erfinv_)

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if getattr(function, "__module__", "") == "torch.nn.init" or function in self.DRAWS:
            return args[0] if args else kwargs["tensor"]
        return function(*args, **(kwargs or {}))


def load_network(
    path: str | os.PathLike[str], patch_order: str = "auto", *, fold: bool = True, hint: bool = True
) -> tuple[BiRefNet, ModelSpec]:
    """The network of a weight file, on the CPU in float32 and ready to run, and what its file says of it.

    patch_order: "auto", "2024" or "2025", see `patch_order.py`. fold: fold batch normalisation into the convolutions;
    False keeps a network that can be exported again. hint: whether a network that takes hints shall take them; without,
    it mattes everything.

    Raises:
        WeightsError: a file that is not there, is broken or is something else; the message says what.
        ValueError: no such patch order.
    """
    path = Path(path)
    check_patch_order(patch_order)
    weights, metadata = read_weights(path)
    found = examine(path, weights, metadata, patch_order)
    if found.problem:
        raise WeightsError(f"{path}: {found.problem}")
    if found.patch_order_reason.endswith(TRY):
        warnings.warn(f"{path.name}: patch order {found.patch_order_reason}", PatchOrderWarning, stacklevel=3)
    with _Undrawn():
        network = build_network(found.architecture, dropout=0.0, stochastic_depth=0.0)
    load_published(network, as_published(weights)[0], found.spec.patch_order)
    network.eval().requires_grad_(False)
    if not hint:
        drop_hints_(network)
    if fold:
        network.fold_batch_norm_()
    return network, found.spec
