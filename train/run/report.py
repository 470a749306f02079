"""What a run says and leaves behind: rows of the log, validations, sheets, the best weights, the model."""

from __future__ import annotations

import math
from functools import partial

import torch

from birefnet_core.network import build_network
from birefnet_core.out_of_memory import is_out_of_memory
from train.data.sources import Data
from train.recipe import METRICS, Recipe, square
from train.shared.files import write_whole

from . import checkpoint, result
from .distributed import Processes
from .log import Log
from .options import Options
from .precision import autocast
from .result import Outcome
from .sheets import save_sheet
from .state import State
from .step import Step
from .validate import metric_table, validate

BEST = "best.pt"


class Report:
    """The writing of one run. `log` says lines and keeps rows."""

    def __init__(self, recipe: Recipe, data: Data, options: Options, among: Processes, step: int) -> None:
        """step: the run goes on after it, what the log has beyond is dropped."""
        self.recipe, self.data, self.options, self.out, self.among = recipe, data, options, options.out, among
        self.autocast = partial(autocast, recipe.precision, among.device)
        self.log = Log(self.out, step, quiet=not among.main)

    def step(self, state: State, step: Step, seconds: float) -> None:
        """Log a step that took so many seconds, waiting for its pictures included."""
        recipe = self.recipe
        before, drawn = (recipe.first_picture(number) for number in (state.step - 1, state.step))
        terms = {f"loss_{name}": value for name, value in step.losses.items() if name != "loss"}
        self.log.step(
            state.step,
            recipe.steps,
            drawn=drawn - before,
            left=recipe.first_picture(recipe.steps) - drawn,
            took=seconds,
            epoch=drawn / self.data.training.samples,
            pictures=drawn,
            learning_rate=step.share * recipe.learning_rate,
            gradient_norm=step.norm,
            skipped=state.skipped,
            loss=step.losses["loss"],
            **terms,
        )

    def validate(self, state: State, *, last: bool, at_a_time: int) -> None:
        """Score the averaged weights, keep them where they are the best so far, and give up where nothing has become
        better for too long. last: no step comes after this."""
        recipe = self.recipe
        self.among.copy_buffers_(state.average)
        score = partial(
            validate,
            state.average.eval(),
            size=square(recipe.validation_size),
            among=self.among,
            autocast=self.autocast,
            at_a_time=at_a_time,
        )
        scores = score(self.data.validation)
        values = {"mae": scores.mae, "iou": scores.iou}
        text = f"MAE {scores.mae:.4f}, IoU {scores.iou:.4f}"
        hinted = None if self.data.hinted is None else score(self.data.hinted)
        if hinted is not None:
            values |= {"hinted_mae": hinted.mae, "hinted_iou": hinted.iou}
            text += f"; with hints MAE {hinted.mae:.4f}, IoU {hinted.iou:.4f}"
        self.log.row(state.step, **values)
        better = self._is_better(values, state.best)
        note = " (best)" if better else ""
        self.log.say(f"step {state.step}: validation {text}{note}")
        # Validations need not fall on the steps that sheets are wanted at: the first one after it counts.
        due = state.step // recipe.sheet_every > (state.step - recipe.validate_every) // recipe.sheet_every
        if self.among.main and (due or last):
            save_sheet(self.out / f"sheet_{state.step:07d}.jpg", *scores.shown)
            if hinted is not None:
                save_sheet(self.out / f"sheet_{state.step:07d}_hints.jpg", *hinted.shown)
        state.stale = 0 if better else state.stale + 1
        if better:
            state.best = values
            self.save_best(state, values)
        if recipe.patience and state.stale >= recipe.patience and not last:
            self.log.say(f"no better {recipe.metric} in {state.stale} validations: stopping early")
            state.gave_up = True

    def _is_better(self, values: dict[str, float], best: dict[str, float]) -> bool:
        """By the recipe's metric; by its mean without and with hints, where there are hints."""
        metric = self.recipe.metric
        names = [name for name in (metric, f"hinted_{metric}") if name in values]
        value, known = (sum(each.get(name, math.nan) for name in names) for each in (values, best))
        return math.isfinite(value) and (not math.isfinite(known) or METRICS[metric](value, known) != known)

    def save_best(self, state: State, scores: dict[str, float]) -> None:
        """Keep the averaged weights as those that ship. All processes must call it."""
        best = {"average": checkpoint.network_state(state.average), "step": state.step, "scores": scores}
        if self.among.main:
            write_whole(self.out / BEST, lambda temporary: torch.save(best, temporary))

    def finish(self, state: State) -> None:
        """Ship the weights of the best validation, or the last ones where none gave a score, with their model card."""
        if not state.best:
            self.save_best(state, {})
        self.among.wait()
        if not self.among.main:
            return
        best = torch.load(self.out / BEST, map_location="cpu", weights_only=True)
        network = build_network(self.recipe.architecture)
        network.load_state_dict(best["average"])
        network.eval()
        outcome = Outcome(best["step"], state.step, best["scores"], self.data.names)
        model, order = self.out / result.MODEL, self.options.patch_order
        table = {} if self.data.validation is None else self.measure(network)
        result.save_card(self.out / result.CARD, recipe=self.recipe, outcome=outcome, table=table, patch_order=order)
        result.save_bundle(network.cpu(), model, recipe=self.recipe, outcome=outcome, patch_order=order)
        scores = ", ".join(f"{name} {value:.4f}" for name, value in outcome.scores.items())
        self.log.say(f"finished: {model} (step {outcome.step}{', validation ' + scores if scores else ''})")

    def measure(self, network: torch.nn.Module) -> dict[str, float]:
        """The model card's figures; none where a model that was trained in shards does not fit this device as a whole,
        which must not cost the user the model."""
        try:
            network.to(self.among.device, memory_format=torch.channels_last)
            return metric_table(network, self.data.validation, square(self.recipe.validation_size), self.autocast)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            self.log.say("Out of memory while the finished model was measured: its card has no table.")
            return {}
