"""The training loop: draw, predict, compare, step; validate, save, resume."""

from __future__ import annotations

import copy
import math
import os
import signal
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn as nn

from birefnet_core.matting.model import is_out_of_memory
from birefnet_core.network import build_network

from . import checkpoint, depthwise, result
from .distributed import Processes, distribute, gradients_stay_here, shard_
from .files import write_whole
from .initialise import initialise_
from .log import Log
from .losses import training_loss
from .optimise import freeze_stages_, learning_rate_share, make_optimiser, training_mode_, update_average
from .pairs import Batch
from .precision import AUTOCAST, choose_precision
from .prefetch import prefetch
from .recipe import METRICS, Recipe, as_dictionary, square
from .recompute import recompute_
from .result import Outcome
from .sheets import save_sheet
from .sources import Data
from .validate import metric_table, normalise, validate


class TrainingError(RuntimeError):
    """The run cannot go on; the message says why and what to change."""


@dataclass
class Options:
    """How to run, as opposed to what to train (the recipe). These may change from one start to the next.

    Attributes:
        keep: how many of the last checkpoints stay.
        patch_order: of the result, "2024" or "2025".
        recompute: activation checkpointing. shard: FSDP instead of DDP, if there are several processes.
        sync_batch_norm: BatchNorm statistics over all processes, on GPUs; else each takes those of its own pictures, as
            the paper did.
    """

    out: Path
    keep: int = 2
    patch_order: str = "2025"
    reschedule: bool = False
    compile: bool = False
    recompute: bool = False
    shard: bool = False
    sync_batch_norm: bool = False


class Training:
    """One run in one folder. `run()` trains until the recipe's last step or a signal."""

    def __init__(self, recipe: Recipe, data: Data, options: Options, among: Processes | None = None) -> None:
        self.recipe = recipe = recipe.for_data(data.training.samples)
        self.data, self.options, self.out, self.among = data, options, options.out, among or Processes()
        self.micro = {phase.batch_size: self._micro_batch(phase.batch_size) for phase in recipe.phases}
        self.out.mkdir(parents=True, exist_ok=True)
        asked = as_dictionary(recipe) | {"data": data.fingerprint}
        state = checkpoint.load_latest(self.out, asked, reschedule=options.reschedule)
        self._check_shared(state["step"] if state else 0)
        recorded = state["recipe"]["precision"] if state else None
        precision, self.why = choose_precision(recipe.precision, recorded, self.among)
        self.recipe = replace(recipe, precision=precision)
        self.identity = asked | {"precision": precision}
        self.step, self.skipped, self.stale, self.gave_up = 0, 0, 0, False
        self.best: dict[str, float] = {}
        self._build(state)
        self.asked_to_stop = self.agreed_to_stop = False
        self.log = Log(self.out, self.step, quiet=not self.among.main)
        if self.among.main:
            checkpoint.sweep(self.out)

    def _check_shared(self, step: int) -> None:
        steps = set(self.among.gather([step]))
        if len(steps) > 1:
            raise ValueError(
                f"{self.out}: the processes see different checkpoints there, of steps {sorted(steps)}; --out must be a "
                "folder that all machines share."
            )

    def _micro_batch(self, batch: int) -> int:
        """How many pictures this process takes at a time: equal parts, at most `micro_batch` each."""
        share, rest = divmod(batch, self.among.world)
        if rest:
            raise ValueError(f"batch_size {batch} cannot be shared by {self.among.world} processes; use a multiple.")
        most = self.recipe.micro_batch or share
        return max(size for size in range(1, share + 1) if share % size == 0 and size <= most)

    def _build(self, state: dict | None) -> None:
        recipe, options, device = self.recipe, self.options, self.among.device
        torch.manual_seed(recipe.seed)
        network = build_network(recipe.architecture)
        if state is None:
            initialise_(network, recipe.init)
        freeze_stages_(network, recipe.frozen_stages)
        synced = options.sync_batch_norm and device.type == "cuda" and self.among.world > 1
        if synced:
            network = nn.SyncBatchNorm.convert_sync_batchnorm(network)
        self.single = min(self.micro.values()) == 1 and not synced
        sharded = options.shard and self.among.world > 1  # FSDP takes contiguous parameters only
        if not sharded:  # what is sharded goes to the device block by block, as it may not fit as a whole
            network = network.to(device, memory_format=torch.channels_last)
        self.network = network
        self.average = copy.deepcopy(self.network).eval() if recipe.ema else self.network
        if device.type == "cpu":
            depthwise.speed_up_depthwise_(self.network)
        if options.recompute:
            recompute_(self.network)
        if sharded and recipe.ema:
            shard_(self.average, self.among)
        called = distribute(self.network, self.among, shard=options.shard)
        self.called = torch.compile(called) if options.compile else called
        self.optimiser = make_optimiser(self.network, recipe)
        self.scaler = torch.amp.GradScaler(device.type, enabled=recipe.precision == "fp16")
        if state is not None:
            self._restore(state)

    def _restore(self, state: dict) -> None:
        checkpoint.load_network_(self.network, state["network"])
        if self.recipe.ema:
            checkpoint.load_network_(self.average, state["average"])
        checkpoint.load_optimiser_(self.optimiser, self.network, state["optimiser"])
        self.scaler.load_state_dict(state["scaler"])
        self.step, self.skipped, self.best = state["step"], state["skipped"], state["best"]
        if state["recipe"] == self.identity:  # with another length it has not given up yet
            self.stale, self.gave_up = state["stale"], state["gave_up"]

    def _state(self) -> dict:
        return {
            "network": checkpoint.network_state(self.network),
            "average": checkpoint.network_state(self.average) if self.recipe.ema else {},
            "optimiser": checkpoint.optimiser_state(self.optimiser, self.network),
            "scaler": self.scaler.state_dict(),
            "step": self.step,
            "skipped": self.skipped,
            "best": self.best,
            "stale": self.stale,
            "gave_up": self.gave_up,
            "recipe": self.identity,
        }

    def run(self) -> bool:
        """Train to the end. Returns False when a signal stopped the run first (the state is saved either way)."""
        made = self.step, self.options.patch_order
        if self.done and result.made_of(self.out / result.MODEL) == made:
            self.log.say(f"{self.out} is finished ({self.step} steps); nothing to do.")
            return True
        self.log.say(f"precision {self.recipe.precision}: {self.why}")
        if self.single:
            several = self.among.world > 1 and self.among.device.type == "cuda"
            more = " (--sync-batch-norm takes those of all processes)" if several else ""
            self.log.say(f"One picture at a time: BatchNorm keeps its statistics as they are{more}.")
        if self.options.compile:
            self.log.say("torch.compile: the first step of each picture size takes minutes.")
        handlers = {kind: signal.signal(kind, self._on_signal) for kind in (signal.SIGTERM, signal.SIGINT)}
        batches = prefetch(self._draw, range(self.step, self.step if self.done else self.recipe.steps))
        began = time.monotonic()
        try:
            for batch in batches:
                self._report(*self._train_step(batch), time.monotonic() - began)
                self._housekeeping()
                began = time.monotonic()
                # A signal that comes now has not reached the other processes: those stop after the next step.
                stop = self.asked_to_stop if self.among.world == 1 else self.agreed_to_stop
                if stop or self.done:
                    break
        except (RuntimeError, MemoryError) as error:
            if is_out_of_memory(error):
                raise TrainingError(self._out_of_memory()) from error
            raise
        finally:
            batches.close()
            for kind, handler in handlers.items():
                signal.signal(kind, handler)
        if not self.done:
            self._save()
            path = checkpoint.checkpoints(self.out)[-1]
            self.log.say(f"stopped at step {self.step}; saved {path}. The same command goes on from there.")
            return False
        self._finish()
        return True

    def _out_of_memory(self) -> str:
        size = max(self.micro.values())
        return (
            f"Out of memory with {size} {'pictures' if size > 1 else 'picture'} at a time on {self.among.device}. "
            f"Lower --micro-batch (the result stays the same but for BatchNorm statistics) or --size, or add "
            "--recompute (activation checkpointing), --precision bf16, or --shard with several GPUs. "
            "The same --out goes on from its last checkpoint where the recipe stays the same."
        )

    def _on_signal(self, number: int, frame) -> None:
        if self.among.main and not self.asked_to_stop:
            os.write(2, b"\nstopping after this step, then saving\n")  # print may not be called in a handler
        self.asked_to_stop = True

    def _draw(self, step: int) -> Batch:
        """This process's share of the step's pictures."""
        phase, first = self.recipe.phase_at(step), self.recipe.first_picture(step)
        share = phase.batch_size // self.among.world
        first += self.among.rank * share
        return self.data.training.batch(range(first, first + share), phase.sides(step, self.recipe.seed))

    def _autocast(self) -> torch.autocast:
        dtype = AUTOCAST[self.recipe.precision]
        return torch.autocast(self.among.device.type, dtype=dtype, enabled=dtype is not None)

    def _train_step(self, batch: Batch) -> tuple[dict[str, float], float, float]:
        """One step of the optimiser. Returns mean loss and terms, gradient norm, and share of the learning rate."""
        training_mode_(self.network, self.recipe, single=self.single)
        share = learning_rate_share(self.step, self.recipe)
        for group in self.optimiser.param_groups:
            group["lr"] = group["base_rate"] * share
        # Dropout and stochastic depth draw from torch's own generator: seeded so, a resumed run draws the same.
        seed = np.random.SeedSequence((self.recipe.seed, self.step, self.among.rank)).generate_state(1)
        torch.manual_seed(int(seed[0]))
        statistics = [(buffer, buffer.clone()) for buffer in self.network.buffers()]
        self.optimiser.zero_grad(set_to_none=True)
        losses = self._backward(batch)
        self.scaler.unscale_(self.optimiser)
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.clip or math.inf)
        norm = (norm.full_tensor() if hasattr(norm, "full_tensor") else norm).item()
        # One exchange for all that the processes must agree on.
        names = list(losses)
        *means, stop = self.among.mean([*losses.values(), float(self.asked_to_stop)])
        losses, self.agreed_to_stop = dict(zip(names, means)), stop > 0
        if math.isfinite(losses["loss"]) and math.isfinite(norm):
            self.scaler.step(self.optimiser)
            if self.recipe.ema:
                update_average(self.average, self.network, min(self.recipe.ema, (1 + self.step) / (10 + self.step)))
        else:
            for buffer, before in statistics:  # the forward pass has put its NaN into BatchNorm's running averages
                buffer.copy_(before)
            self._count_skip(losses["loss"])
        self.scaler.update()
        self.step += 1
        return losses, norm, share

    def _backward(self, batch: Batch) -> dict[str, float]:
        """Forward and backward of this process's pictures, some at a time. Returns the mean loss and terms."""
        phase = self.recipe.phase_at(self.step)
        micro = self.micro[phase.batch_size]
        parts = list(zip(*(tensor.split(micro) for tensor in batch if tensor is not None)))
        sums: dict[str, torch.Tensor] = {}
        for number, part in enumerate(parts, start=1):
            images, alpha, *labels = (tensor.to(self.among.device, non_blocking=True) for tensor in part)
            with gradients_stay_here(self.called, number < len(parts)):
                with self._autocast():
                    output = self.called(normalise(images))
                loss, terms = training_loss(output, alpha, phase.losses, *labels, parts=len(parts) * self.among.world)
                # What a phase's losses leave out still takes part: several processes wait for all gradients.
                spare = [*output.gradient_predictions, *([] if output.class_logits is None else [output.class_logits])]
                loss_of_part = (loss + 0 * sum(tensor.float().mean() for tensor in spare)) / len(parts)
                self.scaler.scale(loss_of_part).backward()
            for name, value in {"loss": loss.detach(), **terms}.items():
                sums[name] = sums.get(name, 0) + value / len(parts)
        return dict(zip(sums, torch.stack([value.float() for value in sums.values()]).tolist()))

    def _count_skip(self, loss: float) -> None:
        """A gradient too large for fp16 is no fault while the scaler can still scale less."""
        if math.isfinite(loss) and self.scaler.get_scale() > 1:
            return
        self.skipped += 1
        if self.skipped > self.recipe.skip_limit:
            raise TrainingError(
                f"{self.skipped} steps gave a loss or gradient that is not finite; "
                "lower learning_rate, or use --precision fp32."
            )

    def _report(self, losses: dict[str, float], norm: float, share: float, seconds: float) -> None:
        """Log a step that took so many seconds, waiting for its pictures included."""
        recipe = self.recipe
        before, drawn = (recipe.first_picture(step) for step in (self.step - 1, self.step))
        self.log.step(
            self.step,
            recipe.steps,
            drawn=drawn - before,
            left=recipe.first_picture(recipe.steps) - drawn,
            took=seconds,
            epoch=drawn / self.data.training.samples,
            pictures=drawn,
            learning_rate=share * recipe.learning_rate,
            gradient_norm=norm,
            skipped=self.skipped,
            loss=losses.pop("loss"),
            **{f"loss_{name}": value for name, value in losses.items()},
        )

    @property
    def done(self) -> bool:
        """Whether the last step is behind, or nothing has become better for too long."""
        return self.gave_up or self.step >= self.recipe.steps

    def _housekeeping(self) -> None:
        if self.data.validation is not None and (self.done or self.step % self.recipe.validate_every == 0):
            self._validate()
        if self.done or self.step % self.recipe.save_every == 0:
            self._save()

    def _save(self) -> None:
        state = self._state()
        if self.among.main:
            checkpoint.save(self.out, self.step, state, keep=self.options.keep)
        self.among.wait()

    def _validate(self) -> None:
        recipe = self.recipe
        self.among.copy_buffers_(self.average)
        scores = validate(
            self.average.eval(),
            self.data.validation,
            square(recipe.validation_size),
            among=self.among,
            autocast=self._autocast,
            at_a_time=max(self.micro.values()),
        )
        values = {"mae": scores.mae, "iou": scores.iou}
        known = self.best.get(recipe.metric)
        better = math.isfinite(values[recipe.metric]) and (
            known is None or METRICS[recipe.metric](values[recipe.metric], known) != known
        )
        self.log.row(self.step, **values)
        note = " (best)" if better else ""
        self.log.say(f"step {self.step}: validation MAE {scores.mae:.4f}, IoU {scores.iou:.4f}{note}")
        # Validations need not fall on the steps that sheets are wanted at: the first one after it counts.
        due = self.step // recipe.sheet_every > (self.step - recipe.validate_every) // recipe.sheet_every
        if self.among.main and (due or self.done):
            save_sheet(self.out / f"sheet_{self.step:07d}.jpg", *scores.shown)
        self.stale = 0 if better else self.stale + 1
        if better:
            self.best = values
            self._save_best(values)
        if recipe.patience and self.stale >= recipe.patience and not self.done:
            self.log.say(f"no better {recipe.metric} in {self.stale} validations: stopping early")
            self.gave_up = True

    def _save_best(self, scores: dict[str, float]) -> None:
        best = {"average": checkpoint.network_state(self.average), "step": self.step, "scores": scores}
        if self.among.main:
            write_whole(self.out / "best.pt", lambda temporary: torch.save(best, temporary))

    def _measure(self, network: torch.nn.Module) -> dict[str, float]:
        """The model card's figures; none where a model that was trained in shards does not fit this device as a whole,
        which must not cost the user the model."""
        try:
            network.to(self.among.device, memory_format=torch.channels_last)
            return metric_table(network, self.data.validation, square(self.recipe.validation_size), self._autocast)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            self.log.say("Out of memory while the finished model was measured: its card has no table.")
            return {}

    def _finish(self) -> None:
        """Ship the weights of the best validation, or the last ones where none gave a score."""
        if not self.best:
            self._save_best({})
        self.among.wait()
        if not self.among.main:
            return
        best = torch.load(self.out / "best.pt", map_location="cpu", weights_only=True)
        network = build_network(self.recipe.architecture)
        network.load_state_dict(best["average"])
        network.eval()
        outcome = Outcome(best["step"], self.step, best["scores"], self.data.names)
        model, order = self.out / result.MODEL, self.options.patch_order
        table = {} if self.data.validation is None else self._measure(network)
        result.save_card(self.out / result.CARD, recipe=self.recipe, outcome=outcome, table=table, patch_order=order)
        result.save_bundle(network.cpu(), model, recipe=self.recipe, outcome=outcome, patch_order=order)
        scores = ", ".join(f"{name} {value:.4f}" for name, value in outcome.scores.items())
        self.log.say(f"finished: {model} (step {outcome.step}{', validation ' + scores if scores else ''})")
