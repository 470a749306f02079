"""The training loop: draw, predict, compare, step; validate, save, resume."""

from __future__ import annotations

import copy
import csv
import math
import signal
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn as nn
from torch import Tensor

from birefnet_core.network import build_network
from birefnet_core.weights.catalog import IMAGENET_MEAN, IMAGENET_STD, ModelSpec
from birefnet_core.weights.load import save_model

from . import checkpoint, depthwise
from .cutouts import Pack
from .files import write_whole
from .initialise import initialise_
from .losses import training_loss
from .prefetch import prefetch
from .recipe import Recipe, as_dictionary
from .scenes import Scenes
from .sheets import save_sheet

PRECISIONS = {"bf16": torch.bfloat16, "fp32": None}
VALIDATION_SEED = 20_000_003
LOG_FIELDS = ("step", "pictures", "seconds", "rate", "learning_rate", "gradient_norm", "loss", "terms", "mae", "iou")


class TrainingError(RuntimeError):
    """The run cannot go on; the message says why and what to change."""


def normalise(images: Tensor) -> Tensor:
    """[N,3,H,W] in 0..1 -> ImageNet statistics, as the whole suite feeds its networks."""
    mean = torch.tensor(IMAGENET_MEAN, device=images.device).view(3, 1, 1)
    return (images - mean) / torch.tensor(IMAGENET_STD, device=images.device).view(3, 1, 1)


def learning_rate_share(step: int, recipe: Recipe) -> float:
    """Share of the full learning rate at `step`: linear warm-up, then half a cosine down to `final_rate`."""
    if step < recipe.warmup_steps:
        return (step + 1) / recipe.warmup_steps
    progress = (step - recipe.warmup_steps) / max(1, recipe.steps - recipe.warmup_steps)
    return recipe.final_rate + (1 - recipe.final_rate) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def make_optimiser(network: nn.Module, recipe: Recipe) -> torch.optim.AdamW:
    """AdamW with a rate of its own for the backbone, and no decay of norms and biases."""
    backbone = {id(parameter) for parameter in network.localization.backbone.parameters()}
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for parameter in network.parameters():
        groups.setdefault((id(parameter) in backbone, parameter.ndim > 1), []).append(parameter)
    return torch.optim.AdamW(
        [
            {
                "params": parameters,
                "base_rate": recipe.backbone_learning_rate if in_backbone else recipe.learning_rate,
                "weight_decay": recipe.weight_decay if decays else 0.0,
            }
            for (in_backbone, decays), parameters in groups.items()
        ]
    )


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Exponential moving average of weights and of BatchNorm statistics."""
    ours, theirs = average.state_dict(), network.state_dict()
    floating = [name for name in ours if ours[name].is_floating_point()]
    torch._foreach_lerp_([ours[name] for name in floating], [theirs[name] for name in floating], 1 - decay)


@dataclass
class Options:
    """How to run, as opposed to what to train (the recipe)."""

    out: Path
    device: torch.device
    precision: str = "bf16"
    reschedule: bool = False


class Training:
    """One run in one folder. `run()` trains until the recipe's last step or a signal."""

    def __init__(self, recipe: Recipe, training: Pack, validation: Pack, options: Options) -> None:
        self.recipe, self.options, self.out = recipe, options, options.out
        self.out.mkdir(parents=True, exist_ok=True)
        state = checkpoint.load_latest(self.out, recipe, reschedule=options.reschedule)
        torch.manual_seed(recipe.seed)
        network = build_network(recipe.architecture)
        if state is None:
            initialise_(network, recipe.init)
        self.network = network.to(options.device, memory_format=torch.channels_last)
        self.average = copy.deepcopy(self.network).eval()
        if options.device.type == "cpu":
            depthwise.speed_up_depthwise_(self.network)
        self.optimiser = make_optimiser(self.network, recipe)
        self.scenes = Scenes(training.to(options.device), recipe.scenes, seed=recipe.seed)
        self.validation = Scenes(validation.to(options.device), self._held_out_style(validation), seed=VALIDATION_SEED)
        self.step, self.skipped, self.best = 0, 0, math.inf
        self.asked_to_stop = False
        self.started, self.rate = time.monotonic(), 0.0
        if state is not None:
            self._restore(state)

    def _held_out_style(self, validation: Pack):
        style = self.recipe.scenes
        present = {picture.source for picture in validation.foregrounds}
        sources = {source: share for source, share in style.sources.items() if source in present}
        return replace(style, sources=sources)

    def _restore(self, state: dict) -> None:
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self.skipped, self.best = state["step"], state["skipped"], state["best"]

    def _state(self) -> dict:
        return {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
            "skipped": self.skipped,
            "best": self.best,
            "recipe": as_dictionary(self.recipe),
        }

    def run(self) -> bool:
        """Train to the end. Returns False when a signal stopped the run first (the state is saved either way)."""
        result = self.out / "model.safetensors"
        if self.step >= self.recipe.steps and result.is_file():
            print(f"{self.out} is finished ({self.step} steps); nothing to do.")
            return True
        first = self.step
        handlers = {kind: signal.signal(kind, self._on_signal) for kind in (signal.SIGTERM, signal.SIGINT)}
        batches = prefetch(self._draw, range(first, self.recipe.steps))
        try:
            for batch in batches:
                self._train_step(*batch)
                self._housekeeping()
                if self.asked_to_stop:
                    break
        finally:
            batches.close()
            for kind, handler in handlers.items():
                signal.signal(kind, handler)
        if self.step < self.recipe.steps:
            path = checkpoint.save(self.out, self.step, self._state())
            print(f"\nstopped at step {self.step}; saved {path}. The same command goes on from there.")
            return False
        self._finish(result)
        return True

    def _on_signal(self, number: int, frame) -> None:
        self.asked_to_stop = True

    def _draw(self, step: int) -> tuple[Tensor, Tensor]:
        phase, first = self.recipe.phase_at(step), self.recipe.first_picture(step)
        return self.scenes.batch(range(first, first + phase.batch_size), phase.size)

    def _autocast(self) -> torch.autocast:
        dtype = PRECISIONS[self.options.precision]
        return torch.autocast(self.options.device.type, dtype=dtype, enabled=dtype is not None)

    def _train_step(self, images: Tensor, alpha: Tensor) -> None:
        began = time.monotonic()
        self._training_mode()
        share = learning_rate_share(self.step, self.recipe)
        for group in self.optimiser.param_groups:
            group["lr"] = group["base_rate"] * share
        statistics = [(buffer, buffer.clone()) for buffer in self.network.buffers()]
        with self._autocast():
            output = self.network(normalise(images))
        loss, terms = training_loss(output, alpha, self.recipe.phase_at(self.step).losses)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.clip)
        if torch.isfinite(loss) and torch.isfinite(norm):
            self.optimiser.step()
            update_average(self.average, self.network, min(self.recipe.ema, (1 + self.step) / (10 + self.step)))
        else:
            for buffer, before in statistics:  # the forward pass has put its NaN into BatchNorm's running averages
                buffer.copy_(before)
            self._count_skip()
        self.step += 1
        self._report(loss.item(), norm.item(), share, terms, len(images) / (time.monotonic() - began))

    def _training_mode(self) -> None:
        self.network.train()
        if self.recipe.freeze_backbone_statistics:
            for module in self.network.localization.backbone.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()

    def _count_skip(self) -> None:
        self.skipped += 1
        if self.skipped > self.recipe.skip_limit:
            raise TrainingError(
                f"{self.skipped} steps gave a loss or gradient that is not finite; "
                "lower learning_rate, or use --precision fp32."
            )

    def _report(self, loss: float, norm: float, share: float, terms: dict[str, Tensor], rate: float) -> None:
        self.rate = rate if not self.rate else 0.95 * self.rate + 0.05 * rate
        written = " ".join(f"{name} {value.item():.4f}" for name, value in terms.items())
        left = (self.recipe.first_picture(self.recipe.steps) - self.recipe.first_picture(self.step)) / self.rate
        line = (
            f"{self.step}/{self.recipe.steps}  {self.rate:.2f} pictures/s  {left / 60:.0f} min left  loss {loss:.3f}"
            + f"  {written}"
            + (f"  skipped {self.skipped}" if self.skipped else "")
        )
        if sys.stdout.isatty():
            print(f"\r{line:<118}", end="", flush=True)
        elif self.step % 20 == 0 or self.step <= 3:
            print(line, flush=True)
        if self.step % 20 == 0 or self.step == self.recipe.steps:
            self._log(
                gradient_norm=f"{norm:.3f}",
                loss=f"{loss:.4f}",
                terms=written,
                learning_rate=f"{share * self.recipe.learning_rate:.3e}",
            )

    def _log(self, **values: str) -> None:
        path = self.out / "log.csv"
        fresh = not path.exists()
        row = {
            "step": self.step,
            "pictures": self.recipe.first_picture(self.step),
            "seconds": f"{time.monotonic() - self.started:.0f}",
            "rate": f"{self.rate:.2f}",
            **values,
        }
        with path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, LOG_FIELDS)
            if fresh:
                writer.writeheader()
            writer.writerow(row)

    def _housekeeping(self) -> None:
        last = self.step == self.recipe.steps
        if last or self.step % self.recipe.validate_every == 0:
            mae, iou = self.validate()
            self._log(mae=f"{mae:.5f}", iou=f"{iou:.5f}")
            better = mae < self.best
            print(f"\nstep {self.step}: held-out MAE {mae:.4f}, IoU {iou:.4f}{' (best)' if better else ''}", flush=True)
            if better:
                self.best = mae
                best = {
                    "average": self.average.state_dict(),
                    "step": self.step,
                    "mae": mae,
                    "recipe": as_dictionary(self.recipe),
                }
                write_whole(self.out / "best.pt", lambda temporary: torch.save(best, temporary))
        if last or self.step % self.recipe.save_every == 0:
            checkpoint.save(self.out, self.step, self._state())

    @torch.no_grad()
    def validate(self) -> tuple[float, float]:
        """Mean absolute error and mean IoU (at alpha 0.5) of the averaged network on held-out objects and backgrounds.

        Writes a contact sheet of the first pictures where the recipe asks for one at this step.
        """
        recipe, errors, overlaps, shown = self.recipe, [], [], []
        for first in range(0, recipe.validation_pictures, 8):
            indices = range(first, min(first + 8, recipe.validation_pictures))
            images, alpha = self.validation.batch(indices, recipe.validation_size)
            with self._autocast():
                predicted = self.average(normalise(images)).float().sigmoid()
            errors.append((predicted - alpha).abs().mean(dim=(1, 2, 3)))
            ours, true = predicted > 0.5, alpha > 0.5
            common, union = (ours & true).sum(dim=(1, 2, 3)), (ours | true).sum(dim=(1, 2, 3))
            overlaps.append(
                torch.where(union > 0, common / union.clamp(min=1), torch.ones_like(union, dtype=torch.float32))
            )
            if len(shown) < 2:
                shown.append((images, alpha, predicted))
        if self.step % recipe.sheet_every == 0 or self.step == recipe.steps:
            save_sheet(self.out / f"sheet_{self.step:07d}.jpg", *(torch.cat(parts) for parts in zip(*shown)))
        return torch.cat(errors).mean().item(), torch.cat(overlaps).mean().item()

    def _finish(self, result: Path) -> None:
        """Ship the averaged weights of the best validation."""
        best = torch.load(self.out / "best.pt", map_location="cpu", weights_only=True)
        network = build_network(self.recipe.architecture)
        network.load_state_dict(best["average"])
        save_bundle(network.eval(), result, recipe=self.recipe, step=best["step"], mae=best["mae"])
        print(f"\nfinished: {result} (step {best['step']}, held-out MAE {best['mae']:.4f})")


def save_bundle(network: nn.Module, path: Path, *, recipe: Recipe, step: int, mae: float) -> None:
    """Write `network` as fp16 safetensors in the published layout, with what it needs and how it came about."""
    spec = ModelSpec(
        name=recipe.name,
        backbone=recipe.architecture.backbone,
        size=(recipe.model_size, recipe.model_size),
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        task=recipe.task,
        patch_order="2025",
        licence="MIT",
        source="trained with train/train.py",
        note="",
    )
    extra = {"recipe": recipe.name, "steps": str(step), "held_out_mae": f"{mae:.5f}"}
    save_model(network, path, spec=spec, extra=extra)
