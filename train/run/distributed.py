"""Several processes, as torchrun starts them: what they share, what each keeps, and which of them writes."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
import torch.nn as nn
from torch import Tensor

from birefnet_core.device import pick_device
from birefnet_core.network.birefnet import TrainingOutput
from birefnet_core.network.reconstruction import Supervision

from .recompute import units

PATIENCE = timedelta(hours=4)  # the others wait while the first process checks all files; NCCL gives up after minutes


@dataclass(frozen=True)
class Processes:
    """This process among `world`. The first (`main`) writes files and talks."""

    rank: int = 0
    world: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def main(self) -> bool:
        return self.rank == 0

    def mean(self, values: list[float]) -> list[float]:
        """Element by element over the processes."""
        if self.world == 1:
            return values
        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(tensor)
        return (tensor / self.world).tolist()

    def gather(self, values: list) -> list:
        """The lists of all processes as one, on all of them."""
        if self.world == 1:
            return values
        parts: list[list] = [[] for _ in range(self.world)]
        dist.all_gather_object(parts, values)
        return [value for part in parts for value in part]

    def wait(self) -> None:
        """Until all processes are here."""
        if self.world > 1:
            dist.barrier()

    def copy_buffers_(self, network: nn.Module) -> None:
        """The first process's BatchNorm statistics for all."""
        if self.world > 1:
            for buffer in network.buffers():
                dist.broadcast(buffer, 0)


@contextlib.contextmanager
def processes(device: str) -> Iterator[Processes]:
    """Join the others if torchrun started this process; `device` as on the command line. ValueError when a machine has
    fewer GPUs than processes."""
    world = int(os.environ.get("WORLD_SIZE", 1))
    if world == 1:
        yield Processes(device=pick_device(device))
        return
    local = int(os.environ.get("LOCAL_RANK", 0))
    picked = pick_device(device)
    if picked.type == "cuda":
        count = torch.cuda.device_count()
        if local >= count:
            raise ValueError(
                f"process {local + 1} of this machine has no GPU, there {'is' if count == 1 else 'are'} {count}: "
                f"start torchrun with --nproc-per-node {count}, or add --device cpu"
            )
        picked = torch.device("cuda", local)
        torch.cuda.set_device(picked)
    dist.init_process_group("nccl" if picked.type == "cuda" else "gloo", timeout=PATIENCE)
    try:
        yield Processes(dist.get_rank(), world, picked)
    finally:
        dist.destroy_process_group()


def distribute(network: nn.Module, among: Processes, *, shard: bool) -> nn.Module:
    """What is called in the training step instead of `network`: DistributedDataParallel around it, or itself with its
    parameters sharded over the processes (FSDP), for models that fit no single device. Sharding is in place."""
    if among.world == 1:
        return network
    if not shard:
        ids = [among.device] if among.device.type == "cuda" else None
        return nn.parallel.DistributedDataParallel(network, device_ids=ids)
    shard_(network, among)
    return network


def shard_(network: nn.Module, among: Processes) -> None:
    """Shard the parameters of `network` over all processes, block by block, in place."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard
    from torch.utils import _pytree as trees

    for kind in (TrainingOutput, Supervision):  # FSDP looks for tensors in what modules return
        if kind not in trees.SUPPORTED_NODES:
            trees.register_dataclass(kind)
    mesh = init_device_mesh(among.device.type, (among.world,))
    for unit in units(network):
        fully_shard(unit, mesh=mesh)
    fully_shard(network, mesh=mesh)


@contextlib.contextmanager
def gradients_stay_here(network: nn.Module, stay: bool) -> Iterator[None]:
    """Inside, if `stay`, backward passes only add up: all micro-batches but the last."""
    if isinstance(network, nn.parallel.DistributedDataParallel) and stay:
        with network.no_sync():
            yield
        return
    if hasattr(network, "set_requires_gradient_sync"):
        network.set_requires_gradient_sync(not stay)
    yield


def whole(tensor: Any) -> Any:
    """A sharded tensor as a whole, on the CPU; all processes must call it. Anything else as it is."""
    return tensor.full_tensor().cpu() if hasattr(tensor, "full_tensor") else tensor


def fill_(target: Tensor, values: Tensor) -> None:
    """Copy whole `values` into `target`, which may be sharded."""
    with torch.no_grad():
        target.copy_(as_sharded_as(target, values))


def as_sharded_as(target: Tensor, values: Tensor) -> Tensor:
    """`values` on the device of `target`, and sharded as it is."""
    if not hasattr(target, "full_tensor"):
        return values.to(target.device)
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(values.to(target.device), target.device_mesh, target.placements)
