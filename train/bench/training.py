"""A training step beside the reference's: `python -m train.bench.training --against CHECKOUT`.

Forward, backward and AdamW, from the same random weights on the same pictures, dropout and stochastic depth off on both
sides. Each row of the table is a process of its own, so that peaks of memory do not mix.

The loss of the first step is what can be compared. Later ones part by rounding: with two pictures, batch normalisation
of the pooled branch has two values to go by. The reference beside itself, its weights off by 1e-7, differs by 1e-5 in
the first loss and by 4e-3 in the fourth (192 x 192); ours beside itself by 1.5e-5 and 2e-2.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from birefnet_core.bench import reference
from birefnet_core.bench.measure import Setting, in_new_process, peak_memory, write_random_weights
from birefnet_core.bench.report import duration, table
from birefnet_core.device import pick_device
from birefnet_core.network import Architecture, build_network
from birefnet_core.weights.files import read_weights
from birefnet_core.weights.published import load_published
from train.run.distributed import Processes
from train.run.losses import training_loss
from train.run.precision import AUTOCAST, choose_precision
from train.run.recompute import recompute_
from train.tables import LossWeights

RATE = 1e-5


@dataclass(frozen=True, kw_only=True)
class Case(Setting):
    """One row of the table: training steps, `steps` timed ones after one that warms up."""

    batch: int
    steps: int
    precision: str
    recompute: bool = False


@dataclass(frozen=True)
class Measurement:
    """seconds: median of a step. peak: bytes. losses: of all steps, the first included."""

    seconds: float
    peak: int
    losses: list[float]


def pictures(case: Case) -> tuple[Tensor, Tensor]:
    """Normalised images [N,3,S,S] of a disc each on noise, and its alpha [N,1,S,S]."""
    generator = torch.Generator().manual_seed(2)
    line = torch.linspace(-1, 1, case.size)
    centres = torch.rand(case.batch, 2, 1, 1, generator=generator) - 0.5
    distance = ((line[None, :, None] - centres[:, 0]) ** 2 + (line[None, None, :] - centres[:, 1]) ** 2).sqrt()
    alpha = ((0.4 - distance) * 20).clamp(0, 1)[:, None]
    images = torch.randn(case.batch, 3, case.size, case.size, generator=generator) * 0.5 + 2 * alpha - 1
    return images.to(case.device), alpha.to(case.device)


def measure(case: Case) -> Measurement:
    """Train one network for a few steps."""
    torch.set_num_threads(case.threads)
    torch.manual_seed(0)
    network, objective = _ours(case) if case.checkout is None else _theirs(case)
    network.to(case.device).train()
    optimiser = torch.optim.AdamW([p for p in network.parameters() if p.requires_grad], RATE)
    images, alpha = pictures(case)
    called = torch.compile(network) if case.compiled else network
    dtype = AUTOCAST[case.precision]
    seconds, losses = [], []
    for _ in range(case.steps + 1):
        began = time.perf_counter()
        optimiser.zero_grad()
        with torch.autocast(torch.device(case.device).type, dtype=dtype, enabled=dtype is not None):
            output = called(images)
        loss = objective(output, alpha)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())  # waits for a GPU
        seconds.append(time.perf_counter() - began)
    return Measurement(statistics.median(seconds[1:]), peak_memory(torch.device(case.device)), losses)


def _ours(case: Case) -> tuple[nn.Module, Callable]:
    network = build_network(case.architecture)
    load_published(network, read_weights(case.weights)[0])
    if case.recompute:
        recompute_(network)
    return network, lambda output, alpha: training_loss(output, alpha, LossWeights())[0]


def _theirs(case: Case) -> tuple[nn.Module, Callable]:
    """The reference with its own losses, as its train.py adds them up."""
    network = reference.load(case.checkout, case.architecture.backbone, case.weights)
    from loss import PixLoss  # the checkout's, which `reference.load` put on the path

    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if hasattr(module, "drop_prob"):
            module.drop_prob = 0.0
    pixel_loss, entropy = PixLoss(), nn.BCELoss()

    def objective(output, alpha: Tensor) -> Tensor:
        ((predictions, labels), maps), _ = output
        loss, _ = pixel_loss([each.float() for each in maps], alpha)
        for prediction, label in zip(predictions, labels):
            size = label.shape[2:]
            resized = F.interpolate(prediction.float(), size=size, mode="bilinear", align_corners=True)
            loss = loss + entropy(resized.sigmoid(), label.float().sigmoid())
        return loss

    return network, objective


def main(arguments: list[str] | None = None) -> int:
    """Measure and print a Markdown table; returns the exit status."""
    parser = argparse.ArgumentParser(prog="train.bench.training", description=__doc__.splitlines()[0])
    parser.add_argument("--against", type=Path, metavar="PATH", help="a checkout of ZhengPeng7/BiRefNet")
    parser.add_argument("--backbone", default="swin_v1_t", metavar="NAME")
    parser.add_argument("--size", type=int, default=512, help="side of the square pictures (default: 512)")
    parser.add_argument("--batch-size", type=int, default=2, help="pictures a step (default: 2)")
    parser.add_argument("--steps", type=int, default=3, help="timed steps, the median counts (default: 3)")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="fp32", choices=("auto", "fp32", "bf16"))
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default: 2)")
    parser.add_argument("--compile", action="store_true", help="also measure under torch.compile")
    given = parser.parse_args(arguments)
    if given.size < 32 or given.size % 32 or min(given.batch_size, given.steps, given.threads) < 1:
        parser.error("--size must be a multiple of 32; --batch-size, --steps and --threads at least 1")
    architecture = Architecture(given.backbone, dropout=0.0)
    try:
        if given.against is not None:
            reference.check_checkout(given.against)
        with tempfile.TemporaryDirectory() as folder:
            weights = Path(folder, "random.safetensors")
            write_random_weights(architecture, weights)
            device = pick_device(given.device)
            given.precision, _ = choose_precision(given.precision, None, Processes(device=device))
            ours = Case(
                architecture=architecture,
                weights=weights,
                checkout=None,
                size=given.size,
                batch=given.batch_size,
                steps=given.steps,
                device=str(device),
                precision=given.precision,
                threads=given.threads,
            )
            cases = {"ours": ours, "ours, --recompute": replace(ours, recompute=True)}
            if given.against is not None:
                cases = {"reference": replace(ours, checkout=given.against.resolve()), **cases}
            if given.compile:
                cases |= {f"{label}, compiled": replace(case, compiled=True) for label, case in cases.items()}
            measured = {label: in_new_process(measure, case) for label, case in cases.items()}
    except (ValueError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    where = f"{given.threads} CPU threads" if ours.device == "cpu" else torch.cuda.get_device_name()
    size = f"{given.size} x {given.size}, batch {given.batch_size}"
    print(f"### training step, {given.backbone}, {size}, {given.precision}, {where}\n")
    print(markdown(measured))
    return 0


def markdown(measured: dict[str, Measurement]) -> str:
    """The table; what is called "reference", where it is there, is what the others are compared with."""
    base = measured.get("reference")
    rows = []
    for label, each in measured.items():
        row = [label, duration(each.seconds), f"{each.peak / 2**20:,.0f} MiB", f"{each.losses[0]:.4f}"]
        if base is not None:
            off = abs(each.losses[0] - base.losses[0]) / abs(base.losses[0])
            row += [f"{base.seconds / each.seconds:.2f}", f"{each.peak / base.peak:.2f}", f"{off:.1e}"]
        rows.append(row)
    header = ["", "step", "peak memory", "first loss"]
    header += ["times as fast", "of the reference's memory", "relative loss difference"] if base else []
    return table(header, rows)


if __name__ == "__main__":
    sys.exit(main())
