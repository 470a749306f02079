"""From a name or a file to a model that mattes: `load_model`."""

from __future__ import annotations

import os
from collections.abc import Callable

import torch

from ..device import pick_device
from ..precision import pick_dtype, torch_as_usual
from ..weights.inspection import check_patch_order
from ..weights.load import load_network
from ..weights.places import locate
from .model import MattingModel


@torch_as_usual()
def load_model(
    name: str | os.PathLike[str],
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
    patch_order: str = "auto",
    *,
    models_dir: str | os.PathLike[str] | None = None,
    fold: bool = True,
    hint: bool = True,
    on_progress: Callable[[int, int], None] | None = None,
) -> MattingModel:
    """A model ready to matte.

    Args:
        name: "bundled", a weight file, or a published name, which is downloaded into `models_dir` unless it is there.
        device: "auto" (CUDA, XPU, MPS, else CPU) or a torch device.
        dtype: "auto" (float16 on CUDA, float32 elsewhere: `precision.py`), "float32", "float16", "bfloat16" or a
            torch.dtype.
        patch_order: "auto", "2024" or "2025": the channel order of the file's image patches, see `patch_order.py`.
        models_dir: `models/` in the pack by default.
        fold: fold batch normalisation into the convolutions; False keeps a network that can be exported again.
        hint: whether a network that takes hints is told them. False: they are followed as with every other model
            (docs/hints.md).
        on_progress: called with (bytes so far, bytes in all) of a download.

    Raises:
        WeightsError: a file that is not there, is broken or is something else; the message says what.
        DownloadError: the model could not be fetched.
        ValueError: no such model, device, dtype or patch order.
    """
    device = pick_device(device)
    dtype = pick_dtype(dtype, device)
    check_patch_order(patch_order)
    network, spec = load_network(locate(name, models_dir, on_progress), patch_order, fold=fold, hint=hint)
    network.to(device=device, dtype=dtype, memory_format=torch.channels_last)
    return MattingModel(network, spec)
