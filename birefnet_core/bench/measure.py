"""What one process of the bench does: load one network, run it, tell time and memory."""

from __future__ import annotations

import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn as nn

from ..matting.load import load_model
from ..network import Architecture, build_network
from ..network.deformable import DeformableConv2d
from ..weights.files import write_weights
from ..weights.published import export_published
from . import reference

# Stage -> the modules whose time it is, in our network and in the reference's. What no module covers (resizing,
# concatenation, laterals) is "rest"; the reference's upsampling before the head is there too.
OUR_STAGES = {
    "backbone": ["localization.backbone"],
    "squeeze": ["localization.squeeze"],
    **{f"decoder stage {4 - i}": [f"reconstruction.blocks.{i}"] for i in range(4)},
    "head": ["reconstruction.head"],
}
REFERENCE_STAGES = {
    "backbone": ["bb"],
    "squeeze": ["squeeze_module"],
    **{
        f"decoder stage {i}": [
            f"decoder.{part}"
            for part in (f"ipt_blk{i + 1}", f"decoder_block{i}", f"gdt_convs_{i}", f"gdt_convs_attn_{i}")
        ]
        for i in (4, 3, 2, 1)
    },
    "head": ["decoder.ipt_blk1", "decoder.conv_out1"],
}
# Its convolutional backbones are called part by part.
REFERENCE_PARTS = [f"bb.conv{i}" for i in (1, 2, 3, 4)]


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What is measured, in which circumstances. checkout: of the reference, None for our network."""

    architecture: Architecture
    weights: Path
    checkout: Path | None
    size: int
    device: str
    threads: int
    compiled: bool = False


@dataclass(frozen=True, kw_only=True)
class Case(Setting):
    """One row of the table: forward passes."""

    dtype: str
    repeats: int


@dataclass(frozen=True)
class Measurement:
    """seconds: median of a forward pass. peak: bytes, resident in the whole process on a CPU, allocated on a GPU.
    logits [1,1,size,size] float32. stages: seconds each, empty when compiled."""

    seconds: float
    peak: int
    logits: np.ndarray
    stages: dict[str, float]
    device_name: str


def in_new_process(function: Callable, *arguments):
    """function(*arguments), run in a fresh interpreter. RuntimeError when that process dies."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            return pool.submit(function, *arguments).result()
        except BrokenProcessPool:
            raise RuntimeError(
                "a measuring process was killed, most likely for want of memory: try a smaller --size"
            ) from None


@torch.no_grad()
def write_random_weights(architecture: Architecture, path: Path) -> None:
    """The same random weights for everybody, in the published layout: values of the size that trained ones have, and
    sampling offsets of a few pixels."""
    network = build_network(architecture)
    generator = torch.Generator().manual_seed(0)
    for name, value in network.state_dict().items():
        if not value.is_floating_point():
            continue
        noise = torch.randn(value.shape, generator=generator)
        if name.endswith("running_var"):
            value.copy_(1 + 0.2 * noise.clamp(-2, 2))
        elif value.ndim > 1:
            value.copy_(noise / value[0].numel() ** 0.5)
        else:
            value.copy_(0.1 * noise + (1.0 if name.endswith("weight") else 0.0))
    for module in network.modules():
        if isinstance(module, DeformableConv2d):
            module.offset.weight.mul_(2)
    metadata = {"architecture": architecture.to_json(), "patch_order": "2025"}
    write_weights(path, export_published(network), metadata)


def measure(case: Case) -> Measurement:
    """Load and run one network. Raises RuntimeError with one sentence when it cannot be loaded or run."""
    torch.set_num_threads(case.threads)
    device, dtype = torch.device(case.device), getattr(torch, case.dtype)
    whose = "our network" if case.checkout is None else "the reference"
    try:
        network, stages = _load(case, device, dtype)
        generator = torch.Generator().manual_seed(1)
        image = torch.randn(1, 3, case.size, case.size, generator=generator).to(device, dtype)
        with torch.inference_mode():
            return _measure(network, stages, image, case)
    except NotImplementedError as error:
        reason = str(error).splitlines()[0]
        raise RuntimeError(f"{whose} does not run in {case.dtype} on {case.device}: {reason}") from None


def _load(case: Case, device: torch.device, dtype: torch.dtype) -> tuple[nn.Module, dict[str, list[str]]]:
    """The network as its users load it, and what its stages consist of."""
    if case.checkout is None:
        return load_model(case.weights, device, dtype).network, OUR_STAGES
    network = reference.load(case.checkout, case.architecture.backbone, case.weights)
    return network.to(device, dtype), REFERENCE_STAGES


def _measure(network: nn.Module, stages: dict[str, list[str]], image: torch.Tensor, case: Case) -> Measurement:
    def forward() -> torch.Tensor:
        result = run(image)
        return result[-1] if isinstance(result, list) else result

    run = torch.compile(network) if case.compiled else network
    if image.is_cuda:
        torch.cuda.reset_peak_memory_stats(image.device)
    logits = forward()  # the warm-up
    seconds = statistics.median(_seconds(forward, image.device) for _ in range(case.repeats))
    return Measurement(
        seconds=seconds,
        peak=peak_memory(image.device),
        logits=logits.float().cpu().numpy(),
        stages={} if case.compiled else _stage_seconds(network, stages, forward, image.device, case.repeats),
        device_name=torch.cuda.get_device_name(image.device) if image.is_cuda else image.device.type,
    )


def _seconds(forward: Callable[[], torch.Tensor], device: torch.device) -> float:
    _synchronise(device)
    start = time.perf_counter()
    forward()
    _synchronise(device)
    return time.perf_counter() - start


def _stage_seconds(
    network: nn.Module, stages: dict[str, list[str]], forward: Callable, device: torch.device, repeats: int
) -> dict[str, float]:
    """Seconds of each stage and of the rest, the mean of `repeats` passes, by forward hooks."""
    modules = dict(network.named_modules())
    spent, started, handles = dict.fromkeys(stages, 0.0), {}, []

    def watch(module: nn.Module, stage: str) -> None:
        def before(*_) -> None:
            _synchronise(device)
            started[module] = time.perf_counter()

        def after(*_) -> None:
            _synchronise(device)
            spent[stage] += time.perf_counter() - started[module]

        handles.extend((module.register_forward_pre_hook(before), module.register_forward_hook(after)))

    for stage, names in stages.items():
        if names == ["bb"] and REFERENCE_PARTS[0] in modules:
            names = REFERENCE_PARTS
        for name in names:
            if name in modules:
                watch(modules[name], stage)
    total = sum(_seconds(forward, device) for _ in range(repeats))
    for handle in handles:
        handle.remove()
    spent["rest"] = total - sum(spent.values())
    return {stage: seconds / repeats for stage, seconds in spent.items()}


def peak_memory(device: torch.device) -> int:
    """Bytes: the most that was allocated on a GPU, else the most this process had resident."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    status = Path("/proc/self/status")
    if status.is_file():
        # Not ru_maxrss: on Linux that starts at what the parent process had.
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
