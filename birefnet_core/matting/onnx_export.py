"""A model as one ONNX file, with what a runtime needs to know of it: `export_onnx`.

Beside the file, X.onnx, lie X.json, which says the same as its metadata, and for more than 2 GB X.onnx.data, the
weights. torch.onnx brings neither onnx nor onnxscript; only this module needs them.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ..network import BiRefNet
from ..network.backbones import find_backbone
from ..network.exportable import DEFORM_CONV_OPSET, exportable
from ..network.localization import LocalizationModule
from ..whole import whole_file
from .size import STRIDE, checked, rounded

if TYPE_CHECKING:
    from ..weights.catalog import ModelSpec

LOWEST_OPSET, OPSET = 18, 20  # what torch.onnx writes natively; what onnxruntime reads since 1.17
DTYPES = ("float32", "float16")
ONE_FILE = 2**31 - 2**24  # bytes of weights: a protobuf message holds less than 2 GiB, the graph included
# As upstream's own exports call them, so that code written for those finds them; with preprocessing they mean something
# else and are called otherwise, so that no code for the one feeds the other.
INPUT, OUTPUT, HINT = "input_image", "output_image", "hint"
PICTURE, ALPHA = "image", "alpha"
# What is traced for any size: sides at which no two sizes inside the network happen to be alike, nor any to be 1, which
# torch.export would take for the rule. Nothing is computed, so large ones cost nothing.
TRACED = (101 * STRIDE, 67 * STRIDE)


class Preprocessed(nn.Module):
    """From pictures of any size to their alpha at the same size, around a network that takes one size.

    image [N,3,H,W], 0..1 or uint8, and hint [N,1,h,w] at the network's size, (h, w), or None -> alpha [N,1,H,W] 0..1.
    size: (height, width); None: the network takes the pictures as they are.
    """

    def __init__(self, network: nn.Module, spec: ModelSpec, size: tuple[int, int] | None):
        super().__init__()
        self.network, self.size = network, size
        self.register_buffer("mean", torch.tensor(spec.mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(spec.std).view(1, 3, 1, 1))

    def forward(self, image: Tensor, hint: Tensor | None = None) -> Tensor:
        colours = image.float() / 255 if image.dtype == torch.uint8 else image.clamp(0, 1)
        if self.size is None:
            return self.network((colours - self.mean) / self.std, hint).sigmoid()
        seen = _resize(colours, torch.tensor(self.size), self.size)
        alpha = self.network((seen - self.mean) / self.std, hint).sigmoid()
        sides = torch.onnx.ops.symbolic("Shape", (image,), {"start": 2}, dtype=torch.int64, shape=(2,), version=15)
        return _resize(alpha, sides, image.shape[2:]).clamp(0, 1)


class Halved(nn.Module):
    """A network in half precision between tensors in float32, which every caller has."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, image: Tensor, hint: Tensor | None = None) -> Tensor:
        return self.network(image.half(), None if hint is None else hint.half()).float()


def export_onnx(
    network: BiRefNet,
    spec: ModelSpec,
    path: Path,
    *,
    size: int | tuple[int, int] | None = None,
    opset: int = OPSET,
    dynamic: bool = False,
    dtype: str = "float32",
    preprocessing: bool = False,
    uint8: bool = False,
    decompose: bool = False,
    hint: bool = True,
    one_file: int = ONE_FILE,
) -> list[Path]:
    """Write `network` as an ONNX file for batches of any size; returns the files, each whole or none of them there.

    Without preprocessing the graph takes `input_image` [N,3,H,W], normalised, and gives `output_image`, logits
    [N,1,H,W]; with it, it takes `image` [N,3,H,W], RGB 0..1 of any size, and gives `alpha` [N,1,H,W] 0..1. A network
    that takes hints has a second input, `hint` [N,1,H,W] 0..1, .5 everywhere for none. All are float32.

    network: in evaluation mode with folded normalisation, as `load_network` gives it; not changed.
    size: of the network's input, a side or (width, height), multiples of 32; None: the model's own.
    dynamic: any sides that are multiples of 32. A model without a size of its own is exported so unless size is given.
    dtype: of weights and arithmetic, but for deformable convolution, whose positions need float32.
    uint8: with preprocessing, pictures of 0..255.
    decompose: deformable convolution as GridSample, not DeformConv, which needs opset 19 and fewer runtimes have.
    hint: False leaves the second input out: the graph mattes everything, as without a hint.
    one_file: bytes of weights above which they lie in a file of their own.

    Raises ValueError for arguments that do not go together, RuntimeError where a package is missing or torch.onnx
    fails, OSError where the file cannot be written.
    """
    check_packages()
    backbone = network.architecture.backbone
    if spec.size is None and size is None:
        dynamic = True
    elif dynamic and size is not None:
        raise ValueError("a graph for any size has no size: give either, not both")
    wanted = size if size is not None else TRACED if dynamic else rounded(spec.size)
    sides = _checked_size(wanted, network.localization, backbone)
    if dtype not in DTYPES:
        raise ValueError(f"dtype must be {' or '.join(DTYPES)}, got {dtype!r}")
    if uint8 and not preprocessing:
        raise ValueError("uint8 pictures need the preprocessing in the graph")
    if dynamic and not find_backbone(backbone).pyramid:
        raise ValueError(f"{backbone} cannot be exported for any size: the position of every patch is computed for one")
    lowest = LOWEST_OPSET if decompose else DEFORM_CONV_OPSET
    if opset < lowest:
        why = "what torch.onnx writes" if decompose else "that of DeformConv; GridSample in its place takes 18"
        raise ValueError(f"opset must be at least {lowest}, {why}, got {opset}")

    size = None if dynamic else sides
    architecture = replace(network.architecture, hint=network.architecture.hint and hint)
    description = describe(architecture, spec, size, dtype, preprocessing, uint8, decompose, opset)
    graph = exportable(network, decompose=decompose, dynamic=dynamic)
    graph = Halved(graph.half()) if dtype == "float16" else graph
    if preprocessing:
        graph = Preprocessed(graph, spec, None if dynamic else sides[::-1])
    program = _trace(graph.eval(), description, architecture.hint, sides, dynamic, opset)
    program.model.metadata_props.update(
        {key: value if isinstance(value, str) else json.dumps(value) for key, value in description.items()}
    )
    return _write(program.model, Path(path), description, one_file)


def describe(architecture, spec, size, dtype, preprocessing, uint8, decompose, opset) -> dict:
    """What the file says of itself, in its metadata and the JSON beside it. size: (width, height), None for any."""
    sides = "NCHW, sides multiples of 32" if size is None else f"NCHW, {size[0]} x {size[1]} (width x height)"
    picture = sides if size is None else "NCHW, any size"
    inputs = {INPUT: f"{sides}, RGB, (value 0..1 - mean) / std, float32"}
    outputs = {OUTPUT: f"{sides}, logits, float32: alpha is their sigmoid"}
    if preprocessing:
        inputs = {PICTURE: f"{picture}, RGB, {'0..255, uint8' if uint8 else '0..1, float32'}"}
        outputs = {ALPHA: f"{picture}, 0..1, 1 = foreground, float32"}
    if architecture.hint:
        inputs[HINT] = f"{sides}, 1 = belongs to what is asked for, 0 = does not, 0.5 = nothing is said, float32"
    return {
        "name": spec.name,
        "task": spec.task,
        "backbone": spec.backbone,
        "architecture": architecture.to_json(),
        "size": "dynamic" if size is None else list(size),
        "mean": list(spec.mean),
        "std": list(spec.std),
        "patch_order": spec.patch_order,
        "edge_radius": spec.edge_radius,
        "edges": "as the network gives them; to draw them after the picture, edge_radius pixels, is not in the file",
        "licence": spec.licence or "not stated",
        "source": spec.source,
        "note": spec.note,
        "dtype": dtype,
        "opset": opset,
        "deformable_convolution": "GridSample" if decompose else "DeformConv",
        "inputs": inputs,
        "outputs": outputs,
    }


def check_packages() -> None:
    """RuntimeError, which says what to install, unless torch can export here."""
    absent = [name for name in ("onnx", "onnxscript") if importlib.util.find_spec(name) is None]
    if absent:
        raise RuntimeError(f"export needs {' and '.join(absent)}, not installed here: pip install {' '.join(absent)}")
    if not hasattr(torch.onnx, "ops"):
        raise RuntimeError(f"export needs torch 2.8 or newer, this is {torch.__version__}")


def _checked_size(size, encoder: LocalizationModule, backbone: str) -> tuple[int, int]:
    width, height = checked(size)
    if width % encoder.multiple or height % encoder.multiple or min(width, height) < encoder.smallest:
        raise ValueError(
            f"sides must be multiples of {encoder.multiple} and for {backbone} at least {encoder.smallest}, got "
            f"{width} x {height}"
        )
    return width, height


def _trace(graph: nn.Module, description: dict, hinted: bool, sides: tuple[int, int], dynamic: bool, opset: int):
    """The torch.onnx program of `graph`. sides: (width, height) at which it is traced."""
    width, height = sides
    batch = torch.export.Dim("batch", min=1, max=2**15)
    known = {0: batch}
    anything = {
        0: batch,
        2: STRIDE * torch.export.Dim("height_32", min=2, max=2**10),
        3: STRIDE * torch.export.Dim("width_32", min=2, max=2**10),
    }
    dtype = torch.uint8 if "uint8" in next(iter(description["inputs"].values())) else torch.float32
    if PICTURE in description["inputs"] and not dynamic:
        free = {
            0: batch,
            2: torch.export.Dim("height", min=2, max=2**15),
            3: torch.export.Dim("width", min=2, max=2**15),
        }
        inputs, shapes = [torch.zeros(2, 3, height + 3, width + 5, dtype=dtype)], [free]
    else:
        inputs, shapes = [torch.zeros(2, 3, height, width, dtype=dtype)], [anything if dynamic else known]
    if hinted:
        inputs.append(torch.zeros(2, 1, height, width))
        shapes.append(anything if dynamic else known)
    with _quiet():
        try:
            return torch.onnx.export(
                graph,
                tuple(inputs),
                dynamo=True,
                opset_version=opset,
                dynamic_shapes=tuple(shapes),
                input_names=list(description["inputs"]),
                output_names=list(description["outputs"]),
                verbose=False,
            )
        except Exception as error:  # its errors have no base of their own
            advice = "; export it for one size" if dynamic else ""
            reason = (str(error.__cause__ or error).strip() or type(error).__name__).splitlines()[0]
            raise RuntimeError(f"torch.onnx cannot export {description['backbone']}: {reason}{advice}") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporter says of its own doings."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _write(model, path: Path, description: dict, one_file: int) -> list[Path]:
    """Write an onnx_ir model; the ONNX file comes last, so that where it is, all is."""
    import onnx
    import onnx_ir

    weights, note = path.with_name(f"{path.name}.data"), path.with_suffix(".json")
    apart = sum(value.const_value.nbytes for value in model.graph.initializers.values()) > one_file
    text = {**description, "files": [path.name, *([weights.name] if apart else [])]}
    with whole_file(path) as temporary, whole_file(note) as temporary_note:
        temporary_note.write_text(json.dumps(text, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        if not apart:
            onnx_ir.save(model, temporary)
            return [path, note]
        with whole_file(weights) as temporary_weights:
            onnx_ir.save(model, temporary, external_data=temporary_weights.name)
            proto = onnx.load(temporary, load_external_data=False)
            for tensor in proto.graph.initializer:
                for entry in tensor.external_data:
                    if entry.key == "location":
                        entry.value = weights.name
            temporary.write_bytes(proto.SerializeToString())
    return [path, note, weights]


def _resize(images: Tensor, sides: Tensor, shape) -> Tensor:
    """As tensors.resize, antialiased. images [N,C,H,W]; sides: (height, width), a tensor; shape: the same to torch."""
    attributes = {"mode": "linear", "coordinate_transformation_mode": "half_pixel", "axes": [2, 3]}
    attributes |= {
        "antialias": 1,
        "exclude_outside": 1,
    }  # as torch at the borders, where it else repeats the last pixel
    return torch.onnx.ops.symbolic(
        "Resize",
        (images, None, None, sides),
        attributes,
        dtype=images.dtype,
        shape=(*images.shape[:2], *shape),
        version=LOWEST_OPSET,
    )
