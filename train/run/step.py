"""One step of the optimiser: forward and backward, some pictures at a time, then an update of weights and average."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn as nn

from train.data.pairs import Batch
from train.recipe import Recipe

from .distributed import Processes, gradients_stay_here
from .losses import training_loss
from .normalise import normalise
from .optimise import learning_rate_share, training_mode_, update_average
from .options import TrainingError
from .precision import autocast
from .state import State
from .teachers import taught


@dataclass(frozen=True)
class Step:
    """losses: the mean over all processes: "loss", and the terms it is made of. norm: of the gradient, before it is
    clipped. share: of the full learning rate. stop: whether a process was asked to stop."""

    losses: dict[str, float]
    norm: float
    share: float
    stop: bool


def micro_batch(batch: int, recipe: Recipe, among: Processes) -> int:
    """How many pictures of a `batch` this process takes at a time: equal parts, at most `recipe.micro_batch` each.
    ValueError where the processes cannot share it."""
    share, rest = divmod(batch, among.world)
    if rest:
        raise ValueError(f"batch_size {batch} cannot be shared by {among.world} processes; use a multiple.")
    most = recipe.micro_batch or share
    return max(size for size in range(1, share + 1) if share % size == 0 and size <= most)


def train_step(state: State, batch: Batch, recipe: Recipe, among: Processes, *, stop: bool = False) -> Step:
    """Train `state` on this process's share of a batch. What is not finite is skipped; `stop`: this process was asked
    to. TrainingError where too many steps were skipped."""
    training_mode_(state.network, recipe, single=state.single)
    share = learning_rate_share(state.step, recipe)
    for group in state.optimiser.param_groups:
        group["lr"] = group["base_rate"] * share
    # Dropout and stochastic depth draw from torch's own generator: seeded so, a resumed run draws the same.
    seed = np.random.SeedSequence((recipe.seed, state.step, among.rank)).generate_state(1)
    torch.manual_seed(int(seed[0]))
    statistics = [(buffer, buffer.clone()) for buffer in state.network.buffers()]
    state.optimiser.zero_grad(set_to_none=True)
    losses = backward(state, batch, recipe, among)
    state.scaler.unscale_(state.optimiser)
    norm = nn.utils.clip_grad_norm_(state.network.parameters(), recipe.clip or math.inf)
    norm = (norm.full_tensor() if hasattr(norm, "full_tensor") else norm).item()
    # One exchange for all that the processes must agree on.
    *means, stops = among.mean([*losses.values(), float(stop)])
    losses = dict(zip(losses, means))
    if math.isfinite(losses["loss"]) and math.isfinite(norm):
        state.scaler.step(state.optimiser)
        if recipe.ema:
            update_average(state.average, state.network, min(recipe.ema, (1 + state.step) / (10 + state.step)))
    else:
        for buffer, before in statistics:  # the forward pass has put its NaN into BatchNorm's running averages
            buffer.copy_(before)
        _count_skip(state, losses["loss"], recipe)
    state.scaler.update()
    state.step += 1
    return Step(losses, norm, share, stops > 0)


def backward(state: State, batch: Batch, recipe: Recipe, among: Processes) -> dict[str, float]:
    """Forward and backward of this process's pictures, some at a time. Returns the mean loss and its terms."""
    phase = recipe.phase_at(state.step)
    micro = micro_batch(phase.batch_size, recipe, among)
    given = {name: tensor for name, tensor in batch._asdict().items() if tensor is not None}
    parts = [dict(zip(given, part)) for part in zip(*(tensor.split(micro) for tensor in given.values()))]
    sums: dict[str, torch.Tensor] = {}
    for number, part in enumerate(parts, start=1):
        part = Batch(**{name: tensor.to(among.device, non_blocking=True) for name, tensor in part.items()})
        with gradients_stay_here(state.called, number < len(parts)):
            with autocast(recipe.precision, among.device):
                part = taught(part, state.teachers)
                output = state.called(normalise(part.images), *([] if part.hints is None else [part.hints]))
            loss, terms = training_loss(output, part.alpha, phase.losses, part.labels, parts=len(parts) * among.world)
            # What a phase's losses leave out still takes part: several processes wait for all gradients.
            spare = [*output.gradient_predictions, *([] if output.class_logits is None else [output.class_logits])]
            loss_of_part = (loss + 0 * sum(tensor.float().mean() for tensor in spare)) / len(parts)
            state.scaler.scale(loss_of_part).backward()
        for name, value in {"loss": loss.detach(), **terms}.items():
            sums[name] = sums.get(name, 0) + value / len(parts)
    return dict(zip(sums, torch.stack([value.float() for value in sums.values()]).tolist()))


def _count_skip(state: State, loss: float, recipe: Recipe) -> None:
    """A gradient too large for fp16 is no fault while the scaler can still scale less."""
    if math.isfinite(loss) and state.scaler.get_scale() > 1:
        return
    state.skipped += 1
    if state.skipped > recipe.skip_limit:
        raise TrainingError(
            f"{state.skipped} steps gave a loss or gradient that is not finite; "
            "lower learning_rate, or use --precision fp32."
        )
