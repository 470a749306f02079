"""Recipes: TOML files that say everything a run depends on."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from birefnet_core.network import Architecture

from .losses import LossWeights
from .scenes import SceneStyle

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@dataclass(frozen=True)
class Phase:
    """A stretch of the run: up to the share `until` of all steps, at this size, batch size and loss."""

    until: float
    size: int
    batch_size: int
    losses: LossWeights = field(default_factory=LossWeights)


@dataclass(frozen=True)
class Recipe:
    """One training run. Lengths are in steps; learning rates are those after warm-up.

    Attributes:
        init: where the backbone's weights come from, "imagenet" or "none".
        model_size: side length the finished model is meant to be used at; goes into its metadata.
        task: goes into the metadata.
        freeze_backbone_statistics: keep the backbone's BatchNorm statistics as initialised (its weights still learn).
            Both scales of the image pyramid share them, so batch statistics would differ between training and use.
        ema: decay of the averaged weights, which are what is validated and shipped.
        clip: largest gradient norm.
    """

    name: str
    architecture: Architecture
    phases: tuple[Phase, ...]
    scenes: SceneStyle = field(default_factory=SceneStyle)
    init: str = "none"
    model_size: int = 512
    task: str = "general"
    steps: int = 1000
    seed: int = 0
    learning_rate: float = 1e-3
    backbone_learning_rate: float = 3e-4
    final_rate: float = 0.02
    weight_decay: float = 1e-2
    warmup_steps: int = 100
    ema: float = 0.998
    clip: float = 10.0
    freeze_backbone_statistics: bool = True
    validation_pictures: int = 96
    validation_size: int = 384
    validate_every: int = 500
    save_every: int = 100
    sheet_every: int = 500
    skip_limit: int = 50

    def phase_at(self, step: int) -> Phase:
        """The phase that step `step` (0-based) belongs to."""
        share = (step + 0.5) / self.steps
        return next((phase for phase in self.phases if share <= phase.until), self.phases[-1])

    def first_picture(self, step: int) -> int:
        """How many pictures all steps before `step` have drawn: the index of its first one."""
        return sum(self.phase_at(earlier).batch_size for earlier in range(step))


def _build(kind: type, values: dict[str, Any], where: str) -> Any:
    known = {entry.name for entry in fields(kind)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise ValueError(f"{where}: unknown {', '.join(unknown)}; known are {', '.join(sorted(known))}.")
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    try:
        return kind(**values)
    except TypeError as error:
        raise ValueError(f"{where}: {error}.") from error


def read_recipe(path: str | Path, *, overrides: dict[str, Any] | None = None) -> Recipe:
    """Read a TOML recipe. `overrides` replaces top-level values; `size` and `batch_size` replace those of every phase.

    Raises:
        ValueError: the file is not TOML, or a key is unknown, missing or impossible; names the file and the key.
        FileNotFoundError: there is no such file.
    """
    path = Path(path)
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path} is not a TOML file: {error}.") from error
    overrides = {name: value for name, value in (overrides or {}).items() if value is not None}
    for_phases = {name: overrides.pop(name) for name in ("size", "batch_size") if name in overrides}
    phases = []
    for phase in values.pop("phases", []):
        weights = _build(LossWeights, phase.pop("losses", {}), f"{path}, losses")
        phases.append(_build(Phase, {**phase, **for_phases, "losses": weights}, f"{path}, phases"))
    if (
        not phases
        or [phase.until for phase in phases] != sorted({phase.until for phase in phases})
        or phases[-1].until != 1
    ):
        raise ValueError(f"{path}: [[phases]] need a rising `until` that ends at 1.0.")
    for phase in phases:
        if phase.size % 32 or phase.size <= 0 or phase.batch_size < 2:
            raise ValueError(
                f"{path}: phases need a size that is a multiple of 32 and a batch_size of 2 or more (BatchNorm)."
            )
    values["architecture"] = _build(Architecture, values.get("architecture", {}), f"{path}, architecture")
    values["scenes"] = _build(SceneStyle, values.get("scenes", {}), f"{path}, scenes")
    return _build(Recipe, {**values, **overrides, "phases": tuple(phases)}, str(path))


def _flat(values: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(values, dict):
        pairs = values.items()
    elif isinstance(values, (list, tuple)) and values and isinstance(values[0], dict):
        pairs = enumerate(values)
    else:
        return {prefix: list(values) if isinstance(values, tuple) else values}
    flat: dict[str, Any] = {}
    for name, value in pairs:
        flat.update(_flat(value, f"{prefix}.{name}" if prefix else str(name)))
    return flat


def differences(ours: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    """Lines "key: old -> new" for every value in which two recipes (as dictionaries) differ."""
    ours, theirs = _flat(ours), _flat(theirs)
    return [
        f"{name}: {theirs.get(name, 'nothing')} -> {ours.get(name, 'nothing')}"
        for name in sorted(set(ours) | set(theirs))
        if ours.get(name) != theirs.get(name)
    ]


def as_dictionary(recipe: Recipe) -> dict[str, Any]:
    """The recipe as plain dictionaries, for a checkpoint or a report."""
    return asdict(recipe)
