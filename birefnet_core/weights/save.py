"""From a network to a weight file: `save_model`."""

from __future__ import annotations

import os

import torch

from ..network import BiRefNet
from . import patch_order as patches
from .catalog import ModelSpec
from .files import write_weights
from .published import export_published

DTYPES = torch.float16, torch.bfloat16, torch.float32


def save_model(
    network: BiRefNet,
    path: str | os.PathLike[str],
    *,
    spec: ModelSpec,
    dtype: torch.dtype = torch.float16,
    extra: dict[str, str] | None = None,
) -> None:
    """Write `network` as safetensors in the published layout, with what `load_model` needs to know as metadata.

    spec.patch_order is the order written ("auto" means "2025"). `extra` adds lines of metadata, such as what it was
    trained with. What `dtype` cannot hold, such as a variance above float16's 65504, stays as it is. The file appears
    whole or not at all.

    Raises ValueError for another dtype, OSError where the file cannot be written.
    """
    if dtype not in DTYPES:
        raise ValueError(f"weights are saved as {', '.join(map(str, DTYPES))}, not {dtype}")
    order = patches.CANONICAL if spec.patch_order == "auto" else spec.patch_order
    weights = export_published(network, order)
    metadata = {
        "format": "pt",
        "name": spec.name,
        "architecture": network.architecture.to_json(),
        "size": "dynamic" if spec.size is None else "x".join(map(str, spec.size)),
        "mean": ",".join(map(str, spec.mean)),
        "std": ",".join(map(str, spec.std)),
        "edge_radius": str(spec.edge_radius),
        "task": spec.task,
        "patch_order": order,
        "licence": spec.licence,
        "source": spec.source,
        "note": spec.note,
        **(extra or {}),
    }
    write_weights(path, {k: _narrowed(v, dtype) if v.is_floating_point() else v for k, v in weights.items()}, metadata)


def _narrowed(value: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    cast = value.to(dtype)
    return value if (cast.isinf() & value.isfinite()).any() else cast
