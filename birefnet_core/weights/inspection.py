"""What a weight file is, or what is wrong with it: `examine` decides it for every file that is loaded, `inspect` tells.

A file's own metadata come first, then its keys and shapes (recognise.py); what does not fit its network is refused.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from ..network import Architecture, build_network
from . import patch_order as patches
from .catalog import ModelSpec, by_file
from .files import WeightsError, read_weights
from .metadata import own_spec
from .neighbours import as_published
from .published import misfits
from .recognise import recognise

TRY = "give the other if edges look torn"  # how a reason for a patch order ends that is worth a warning


@dataclass(frozen=True)
class Inspection:
    """What `inspect` found. `problem` is empty for a file that loads; else it is one sentence, and only the path is set
    beside it."""

    path: Path
    spec: ModelSpec | None = None
    architecture: Architecture | None = None
    dtype: str = ""
    parameters: int = 0
    patch_order_reason: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    layout: str = ""  # whose, where it is not the published one (neighbours.py)
    problem: str = ""

    @property
    def backbone(self) -> str:
        return self.spec.backbone if self.spec else ""

    @property
    def size(self) -> tuple[int, int] | None:
        """(width, height), None for a dynamic model or a file that is none."""
        return self.spec.size if self.spec else None

    @property
    def hint(self) -> bool:
        """Whether the network takes a hint beside the picture."""
        return self.architecture is not None and self.architecture.hint

    @property
    def patch_order(self) -> str:
        return self.spec.patch_order if self.spec else ""

    def __str__(self) -> str:
        if self.problem:
            return f"{self.path}\n  problem      {self.problem}"
        spec, size = self.spec, self.spec.size
        rows = {
            "name": spec.name,
            "layout": self.layout,
            "backbone": spec.backbone,
            "size": f"{size[0]} x {size[1]}" if size else "dynamic, 256-2304 a side",
            "edges": f"drawn after the picture, {spec.edge_radius} pixels" if spec.edge_radius else "",
            "hint": "takes one, which says what is asked for; only this suite loads it" if self.hint else "",
            "task": spec.task,
            "patch order": f"{spec.patch_order} ({self.patch_order_reason})",
            "dtype": self.dtype,
            "parameters": f"{self.parameters:,}",
            "licence": spec.licence or "not stated",
            "source": spec.source or "not stated",
            "note": spec.note,
        }
        return "\n".join([str(self.path)] + [f"  {label:<12} {value}" for label, value in rows.items() if value])


def inspect(path: str | os.PathLike[str], patch_order: str = "auto") -> Inspection:
    """What a weight file is: backbone, size, patch order and how that was decided, dtype, or what is wrong with it.

    A file that cannot be used is no error here: the answer's `problem` says why.
    """
    path = Path(path)
    check_patch_order(patch_order)
    try:
        weights, metadata = read_weights(path)
    except OSError as error:  # not ours to read, or a name that is too long
        return Inspection(path, problem=f"it cannot be read: {error.strerror or error}")
    except WeightsError as error:
        return Inspection(path, problem=str(error).removeprefix(f"{path}: "))
    return examine(path, weights, metadata, patch_order)


def check_patch_order(asked: str) -> None:
    if asked not in ("auto", *patches.ORDERS):
        raise ValueError(f"patch order must be one of auto, {', '.join(patches.ORDERS)}, got '{asked}'")


def examine(path: Path, weights: dict[str, torch.Tensor], metadata: dict[str, str], asked: str) -> Inspection:
    """What the tensors and metadata of a file are; `problem` says why they cannot be loaded. asked: as patch_order of
    `inspect`. Those of a neighbour's layout are told too; `as_published` gives what can be loaded."""
    weights, layout = as_published(weights)
    try:
        own = _own_architecture(metadata)
        architecture = own or recognise(weights)
        spec = own_spec(path, architecture.backbone, metadata) if own else _table_spec(path, architecture)
        with torch.device("meta"):
            problem = misfits(build_network(architecture), weights)
    except (ValueError, TypeError, RuntimeError) as error:  # the last: sizes in the metadata that torch cannot make
        problem = str(error)
    if problem:
        return Inspection(path, problem=problem)
    order, reason = _decide_patch_order(weights, metadata, spec, asked, layout)
    dtypes = sorted({str(v.dtype).removeprefix("torch.") for v in weights.values() if v.is_floating_point()})
    return Inspection(
        path=path,
        spec=replace(spec, patch_order=order, backbone=architecture.backbone),
        architecture=architecture,
        dtype=", ".join(dtypes),
        parameters=sum(v.numel() for v in weights.values() if v.is_floating_point()),
        patch_order_reason=reason,
        metadata=metadata,
        layout=layout,
    )


def _own_architecture(metadata: dict[str, str]) -> Architecture | None:
    """The architecture in metadata that this suite wrote; None where other tools use the same word for other things.
    ValueError for one of a newer version, whose size and normalisation must not be passed over in silence."""
    if "architecture" not in metadata:
        return None
    try:
        return Architecture.from_json(metadata["architecture"])
    except (ValueError, TypeError, RecursionError):
        if "patch_order" in metadata:
            raise
        return None


def _table_spec(path: Path, architecture: Architecture) -> ModelSpec:
    """The row of a published file's name, else what most published models have. Under a name that is not ours the
    patch order is left to the weights: "Portrait.safetensors" may be somebody's own."""
    row = by_file(path)
    if row is None or row.spec.backbone != architecture.backbone:
        return ModelSpec(path.stem, architecture.backbone, (1024, 1024))
    return row.spec if path.name == row.file_name else replace(row.spec, patch_order="auto")


def _decide_patch_order(weights, metadata, spec: ModelSpec, asked: str, layout: str) -> tuple[str, str]:
    """The order and, in words, how it was decided."""
    if asked != "auto":
        return asked, "as asked"
    if metadata.get("patch_order") in patches.ORDERS:
        return metadata["patch_order"], "the file's own metadata"
    order, score = patches.detect(weights)
    if spec.patch_order != "auto":
        reason = f"table of published models, {spec.name}"
        if order not in (None, spec.patch_order):  # published anew, perhaps, or somebody's own under that name
            reason += f", but the weights look like {order}, {abs(score):.0f} standard errors; {TRY}"
        return spec.patch_order, reason
    if order is not None:
        return order, f"the weights themselves, {abs(score):.0f} standard errors"
    if layout:
        return patches.CANONICAL, f"that of {layout}"
    return (
        patches.CANONICAL,
        f"undecided: the weights do not tell ({score:+.1f} standard errors); {TRY}",
    )
