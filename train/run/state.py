"""What a run has learnt so far: the network, its averaged weights, the optimiser, and the counts of the loop."""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.nn as nn

from birefnet_core.network import build_network
from train.recipe import Recipe

from . import checkpoint, depthwise
from .distributed import Processes, distribute, shard_
from .initialise import initialise_
from .optimise import freeze_stages_, make_optimiser
from .options import Options
from .recompute import recompute_
from .teachers import load_teachers


class State:
    """Built from a recipe, or from what `record` wrote into a checkpoint; both give the same run from there on.

    Attributes:
        network: what is trained. average: what is validated and shipped, the network itself without `ema`.
        called: the network as a training step calls it: distributed over processes, compiled.
        teachers: models from which the matte without a hint is learnt.
        single: BatchNorm keeps its statistics, since no process sees two pictures at a time.
        step: how many are done. skipped: of these, with a loss or gradient that was not finite.
        best: scores of the best validation. stale: validations since then. gave_up: stopped early for that.
    """

    def __init__(
        self,
        recipe: Recipe,
        options: Options,
        among: Processes,
        identity: dict[str, Any],
        *,
        micro_batch: int,
        recorded: dict[str, Any] | None = None,
    ) -> None:
        """identity: the recipe and the data as recorded with the state. micro_batch: the least number of pictures at a
        time. recorded: what `record` gave, None to start afresh."""
        self.identity, self.ema = identity, recipe.ema
        self.step, self.skipped, self.stale, self.gave_up = 0, 0, 0, False
        self.best: dict[str, float] = {}
        torch.manual_seed(recipe.seed)
        network = build_network(recipe.architecture)
        if recorded is None:
            initialise_(network, recipe.init)
        freeze_stages_(network, recipe.frozen_stages)
        synced = options.sync_batch_norm and among.device.type == "cuda" and among.world > 1
        if synced:
            network = nn.SyncBatchNorm.convert_sync_batchnorm(network)
        self.teachers = load_teachers(recipe.teachers, among.device)
        self.single = micro_batch == 1 and not synced
        sharded = options.shard and among.world > 1  # FSDP takes contiguous parameters only
        if not sharded:  # what is sharded goes to the device block by block, as it may not fit as a whole
            network = network.to(among.device, memory_format=torch.channels_last)
        self.network = network
        self.average = copy.deepcopy(network).eval() if recipe.ema else network
        if among.device.type == "cpu":
            depthwise.speed_up_depthwise_(network)
        if options.recompute:
            recompute_(network)
        if sharded and recipe.ema:
            shard_(self.average, among)
        called = distribute(network, among, shard=options.shard)
        self.called = torch.compile(called) if options.compile else called
        self.optimiser = make_optimiser(network, recipe)
        self.scaler = torch.amp.GradScaler(among.device.type, enabled=recipe.precision == "fp16")
        if recorded is not None:
            self._restore(recorded)

    def _restore(self, recorded: dict[str, Any]) -> None:
        checkpoint.load_network_(self.network, recorded["network"])
        if self.ema:
            checkpoint.load_network_(self.average, recorded["average"])
        checkpoint.load_optimiser_(self.optimiser, self.network, recorded["optimiser"])
        self.scaler.load_state_dict(recorded["scaler"])
        self.step, self.skipped, self.best = recorded["step"], recorded["skipped"], recorded["best"]
        if recorded["recipe"] == self.identity:  # with another length it has not given up yet
            self.stale, self.gave_up = recorded["stale"], recorded["gave_up"]

    def record(self) -> dict[str, Any]:
        """All of it as a checkpoint holds it. Where the network is sharded, all processes must call this."""
        return {
            "network": checkpoint.network_state(self.network),
            "average": checkpoint.network_state(self.average) if self.ema else {},
            "optimiser": checkpoint.optimiser_state(self.optimiser, self.network),
            "scaler": self.scaler.state_dict(),
            "step": self.step,
            "skipped": self.skipped,
            "best": self.best,
            "stale": self.stale,
            "gave_up": self.gave_up,
            "recipe": self.identity,
        }
