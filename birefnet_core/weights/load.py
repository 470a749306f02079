"""From a name or a file to a model that mattes: `load_model`, `inspect`, `save_model`."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch.overrides import TorchFunctionMode

from ..matting.model import MattingModel
from ..network import Architecture, BiRefNet, build_network
from ..precision import for_matting
from . import patch_order as patches
from .catalog import ModelSpec, by_file
from .files import WeightsError, read_weights, write_weights
from .metadata import own_spec
from .places import locate
from .published import export_published, load_published, misfits
from .recognise import recognise

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
TRY = "give the other if edges look torn"  # how a reason for a patch order ends that is worth a warning


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
    problem: str = ""

    @property
    def backbone(self) -> str:
        return self.spec.backbone if self.spec else ""

    @property
    def size(self) -> tuple[int, int] | None:
        """(width, height), None for a dynamic model or a file that is none."""
        return self.spec.size if self.spec else None

    @property
    def patch_order(self) -> str:
        return self.spec.patch_order if self.spec else ""

    def __str__(self) -> str:
        if self.problem:
            return f"{self.path}\n  problem      {self.problem}"
        spec, size = self.spec, self.spec.size
        rows = {
            "name": spec.name,
            "backbone": spec.backbone,
            "size": f"{size[0]} x {size[1]}" if size else "dynamic, 256-2304 a side",
            "edges": f"drawn after the picture, {spec.edge_radius} pixels" if spec.edge_radius else "",
            "task": spec.task,
            "patch order": f"{spec.patch_order} ({self.patch_order_reason})",
            "dtype": self.dtype,
            "parameters": f"{self.parameters:,}",
            "licence": spec.licence or "not stated",
            "source": spec.source or "not stated",
            "note": spec.note,
        }
        return "\n".join([str(self.path)] + [f"  {label:<12} {value}" for label, value in rows.items() if value])


def load_model(
    name: str | os.PathLike[str],
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
    patch_order: str = "auto",
    *,
    models_dir: str | os.PathLike[str] | None = None,
    fold: bool = True,
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
        on_progress: called with (bytes so far, bytes in all) of a download.

    Raises:
        WeightsError: a file that is not there, is broken or is something else; the message says what.
        DownloadError: the model could not be fetched.
        ValueError: no such model, device, dtype or patch order.
    """
    device = pick_device(device)
    dtype = pick_dtype(dtype, device)
    _check_patch_order(patch_order)
    path = locate(name, models_dir, on_progress)
    weights, metadata = read_weights(path)
    found = _examine(path, weights, metadata, patch_order)
    if found.problem:
        raise WeightsError(f"{path}: {found.problem}")
    if found.patch_order_reason.endswith(TRY):
        warnings.warn(f"{path.name}: patch order {found.patch_order_reason}", PatchOrderWarning, stacklevel=2)
    with _Undrawn():
        network = build_network(found.architecture, dropout=0.0, stochastic_depth=0.0)
    load_published(network, weights, found.spec.patch_order)
    network.eval().requires_grad_(False)
    if fold:
        network.fold_batch_norm_()
    network.to(device=device, dtype=dtype, memory_format=torch.channels_last)
    return MattingModel(network, found.spec)


def inspect(path: str | os.PathLike[str], patch_order: str = "auto") -> Inspection:
    """What a weight file is: backbone, size, patch order and how that was decided, dtype, or what is wrong with it.

    A file that cannot be used is no error here: the answer's `problem` says why.
    """
    path = Path(path)
    _check_patch_order(patch_order)
    try:
        weights, metadata = read_weights(path)
    except WeightsError as error:
        return Inspection(path, problem=str(error).removeprefix(f"{path}: "))
    return _examine(path, weights, metadata, patch_order)


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
    """
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
    return picked


def pick_dtype(dtype: str | torch.dtype, device: torch.device) -> torch.dtype:
    """What `precision.for_matting` says for "auto"; else what was asked for. ValueError for anything else."""
    if isinstance(dtype, torch.dtype) and dtype in DTYPES.values():
        return dtype
    if dtype == "auto":
        return for_matting(device)
    if dtype not in DTYPES:
        raise ValueError(f"dtype must be auto, {', '.join(DTYPES)}, got '{dtype}'")
    return DTYPES[dtype]


def _check_patch_order(asked: str) -> None:
    if asked not in ("auto", *patches.ORDERS):
        raise ValueError(f"patch order must be one of auto, {', '.join(patches.ORDERS)}, got '{asked}'")


def _examine(path: Path, weights: dict[str, torch.Tensor], metadata: dict[str, str], asked: str) -> Inspection:
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
    order, reason = _decide_patch_order(weights, metadata, spec, asked)
    dtypes = sorted({str(v.dtype).removeprefix("torch.") for v in weights.values() if v.is_floating_point()})
    return Inspection(
        path=path,
        spec=replace(spec, patch_order=order, backbone=architecture.backbone),
        architecture=architecture,
        dtype=", ".join(dtypes),
        parameters=sum(v.numel() for v in weights.values() if v.is_floating_point()),
        patch_order_reason=reason,
        metadata=metadata,
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


def _decide_patch_order(weights, metadata, spec: ModelSpec, asked: str) -> tuple[str, str]:
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
    return (
        patches.CANONICAL,
        f"undecided: the weights do not tell ({score:+.1f} standard errors); {TRY}",
    )
