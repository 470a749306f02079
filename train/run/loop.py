"""The training loop: draw, step, report; validate, save, resume."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

from birefnet_core.compiling import why_not_compiled
from birefnet_core.out_of_memory import is_out_of_memory
from train.data.pairs import Batch
from train.data.sources import Data
from train.recipe import Recipe, as_dictionary

from . import checkpoint, result
from .distributed import Processes
from .options import Options, StoppedError, TrainingError, idle_options
from .precision import choose_precision
from .prefetch import prefetch
from .report import Report
from .state import State
from .step import Step, micro_batch, train_step
from .teachers import weights_of_teachers


class Training:
    """One run in one folder. `run()` trains until the recipe's last step or a signal."""

    def __init__(self, recipe: Recipe, data: Data, options: Options, among: Processes | None = None) -> None:
        """Begin the run, or take it up from its last checkpoint.

        Raises:
            ValueError: the folder is another run's or not shared by all processes, or they cannot share a batch.
        """
        recipe = recipe.for_data(data.training.samples)
        self.data, self.options, self.out, self.among = data, options, options.out, among or Processes()
        self.at_a_time = [micro_batch(phase.batch_size, recipe, self.among) for phase in recipe.phases]
        self.out.mkdir(parents=True, exist_ok=True)
        asked = as_dictionary(recipe) | {"data": data.fingerprint} | weights_of_teachers(recipe.teachers)
        recorded = checkpoint.load_latest(self.out, asked, reschedule=options.reschedule)
        self._check_shared(recorded["step"] if recorded else 0)
        begun_in = recorded["recipe"]["precision"] if recorded else None
        precision, self.why = choose_precision(recipe.precision, begun_in, self.among)
        self.recipe = recipe = replace(recipe, precision=precision)
        identity = asked | {"precision": precision}
        least = min(self.at_a_time)
        self.state = State(recipe, options, self.among, identity, micro_batch=least, recorded=recorded)
        self.report = Report(recipe, data, options, self.among, self.state.step)
        self.asked_to_stop = False
        if self.among.main:
            checkpoint.sweep(self.out)

    def run(self) -> bool:
        """Train to the end. Returns False when a signal stopped the run first (the state is saved either way).

        Raises:
            TrainingError: out of memory, or too many steps that were not finite.
        """
        if self.done and result.made_of(self.out / result.MODEL) == (self.state.step, self.options.patch_order):
            self.report.log.say(f"{self.out} is finished ({self.state.step} steps); nothing to do.")
            return True
        self._announce()
        to_do = range(self.state.step, self.state.step if self.done else self.recipe.steps)
        with self._memory(), signals(self._on_signal), contextlib.closing(prefetch(self._draw, to_do)) as batches:
            began = time.monotonic()
            for batch in batches:
                step = self._train_step(batch)
                self.report.step(self.state, step, time.monotonic() - began)
                self._housekeeping()
                began = time.monotonic()
                # A signal that comes now has not reached the other processes: those stop after the next step.
                if self.done or (self.asked_to_stop if self.among.world == 1 else step.stop):
                    break
        if self.done:
            self.report.finish(self.state)
            return True
        self._save()
        path = checkpoint.checkpoints(self.out)[-1]
        self.report.log.say(f"stopped at step {self.state.step}; saved {path}. The same command goes on from there.")
        return False

    @property
    def done(self) -> bool:
        """Whether the last step is behind, or nothing has become better for too long."""
        return self.state.gave_up or self.state.step >= self.recipe.steps

    def _draw(self, step: int) -> Batch:
        """This process's share of the step's pictures."""
        phase, first = self.recipe.phase_at(step), self.recipe.first_picture(step)
        share = phase.batch_size // self.among.world
        first += self.among.rank * share
        return self.data.training.batch(range(first, first + share), phase.sides(step, self.recipe.seed))

    def _train_step(self, batch: Batch) -> Step:
        return train_step(self.state, batch, self.recipe, self.among, stop=self.asked_to_stop)

    def _housekeeping(self) -> None:
        if self.data.validation is not None and (self.done or self.state.step % self.recipe.validate_every == 0):
            self.report.validate(self.state, last=self.done, at_a_time=max(self.at_a_time))
        if self.done or self.state.step % self.recipe.save_every == 0:
            self._save()

    def _save(self) -> None:
        recorded = self.state.record()
        if self.among.main:
            checkpoint.save(self.out, self.state.step, recorded, keep=self.options.keep)
        self.among.wait()

    def _check_shared(self, step: int) -> None:
        steps = set(self.among.gather([step]))
        if len(steps) > 1:
            raise ValueError(
                f"{self.out}: the processes see different checkpoints there, of steps {sorted(steps)}; --out must be a "
                "folder that all machines share."
            )

    def _announce(self) -> None:
        say = self.report.log.say
        say(f"precision {self.recipe.precision}: {self.why}")
        if self.state.single:
            several = self.among.world > 1 and self.among.device.type == "cuda"
            more = " (--sync-batch-norm takes those of all processes)" if several else ""
            say(f"One picture at a time: BatchNorm keeps its statistics as they are{more}.")
        for idle in idle_options(self.options, self.among):
            say(idle)
        if self.options.compile:
            say("torch.compile: the first step of each picture size takes minutes.")

    def _on_signal(self, number: int, frame) -> None:
        if self.among.main and not self.asked_to_stop:
            os.write(2, b"\nstopping after this step, then saving\n")  # print may not be called in a handler
        self.asked_to_stop = True

    @contextlib.contextmanager
    def _memory(self) -> Iterator[None]:
        """Inside, a want of memory becomes a TrainingError that says what to lower, and a failure of torch.compile one
        that says so."""
        try:
            yield
        except Exception as error:
            reason = why_not_compiled(error)
            if reason and self.asked_to_stop:  # the compiler got the signal too
                raise StoppedError("stopped while the network was compiled; the same command goes on.") from error
            if reason:
                raise TrainingError(
                    f"torch.compile does not work here, leave --compile out; the same --out goes on: {reason}"
                ) from error
            if not is_out_of_memory(error):
                raise
            size = max(self.at_a_time)
            raise TrainingError(
                f"Out of memory with {size} {'pictures' if size > 1 else 'picture'} at a time on {self.among.device}. "
                f"Lower --micro-batch (the result stays the same but for BatchNorm statistics) or --size, or add "
                "--recompute (activation checkpointing), --precision bf16, or --shard with several GPUs. "
                "The same --out goes on from its last checkpoint where the recipe stays the same."
            ) from error


@contextlib.contextmanager
def signals(handler: Callable) -> Iterator[None]:
    """Inside, `handler` is called on SIGTERM and SIGINT."""
    before = {kind: signal.signal(kind, handler) for kind in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for kind, one in before.items():
            signal.signal(kind, one)
