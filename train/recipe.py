"""Recipes: TOML files that say everything a run depends on."""

from __future__ import annotations

import sys
from bisect import bisect_right
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from birefnet_core.network import Architecture

from .losses import LossWeights
from .scenes import SIDE_MULTIPLE, SceneStyle

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
        init: what the network starts from: "none", "imagenet" (the backbone), a model's name or a file of weights.
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

    def _share(self, step: int) -> float:
        return (step + 0.5) / self.steps

    def phase_at(self, step: int) -> Phase:
        """The phase that step `step` (0-based) belongs to."""
        share = self._share(step)
        return next((phase for phase in self.phases if share <= phase.until), self.phases[-1])

    def first_picture(self, step: int) -> int:
        """How many pictures all steps before `step` have drawn: the index of its first one."""
        ends = [bisect_right(range(step), phase.until, key=self._share) for phase in self.phases[:-1]]
        return sum(
            (end - begin) * phase.batch_size for phase, begin, end in zip(self.phases, [0, *ends], [*ends, step])
        )


IN_WORDS = {str: "a text", int: "a whole number", float: "a number", bool: "true or false", tuple: "a list"}


def _build(kind: type, values: Any, file: Path, key: str = "") -> Any:
    """A table of TOML as the dataclass `kind`; tables within become dataclasses too, lists tuples."""
    where = f"{file}: {key}" if key else str(file)
    if not isinstance(values, dict):
        raise ValueError(f"{where} must be a table, not {values!r}.")
    kinds = get_type_hints(kind)
    if unknown := sorted(set(values) - set(kinds)):
        raise ValueError(f"{where}: unknown {', '.join(unknown)}; known are {', '.join(sorted(kinds))}.")
    needed = {entry.name for entry in fields(kind) if entry.default is MISSING and entry.default_factory is MISSING}
    if missing := sorted(needed - set(values)):
        raise ValueError(f"{where} lacks {', '.join(missing)}.")
    prefix = f"{key}." if key else ""
    return kind(**{name: _value(kinds[name], value, file, f"{prefix}{name}") for name, value in values.items()})


def _value(kind: Any, value: Any, file: Path, key: str) -> Any:
    if is_dataclass(kind):
        return _build(kind, value, file, key)
    container, entries = get_origin(kind), get_args(kind)
    if container is tuple and isinstance(value, list):
        return tuple(_value(entries[0], entry, file, f"{key}[{index}]") for index, entry in enumerate(value))
    if container is dict and isinstance(value, dict):
        return {name: _value(entries[1], entry, file, f"{key}.{name}") for name, entry in value.items()}
    accepted = (int, float) if kind is float else container or kind
    if not isinstance(value, accepted) or isinstance(value, bool) != (kind is bool):
        raise ValueError(f"{file}: {key} must be {IN_WORDS.get(container or kind, 'a table')}, not {value!r}.")
    return value


def _check(recipe: Recipe, file: Path) -> None:
    """Refuse numbers that would only fail in the middle of a run."""
    untils = [phase.until for phase in recipe.phases]
    if not untils or untils != sorted(set(untils)) or untils[-1] != 1:
        raise ValueError(f"{file}: [[phases]] need a rising `until` that ends at 1.0.")
    sizes = [("phases: size", phase.size) for phase in recipe.phases]
    for name, size in [*sizes, ("validation_size", recipe.validation_size)]:
        if size % SIDE_MULTIPLE or size <= 0:
            raise ValueError(f"{file}: {name} must be a multiple of {SIDE_MULTIPLE}, not {size}.")
    for phase in recipe.phases:
        if phase.batch_size < 2:
            raise ValueError(f"{file}: phases: batch_size must be 2 or more (BatchNorm), not {phase.batch_size}.")
    for name in ("steps", "validation_pictures", "validate_every", "save_every", "sheet_every"):
        if getattr(recipe, name) < 1:
            raise ValueError(f"{file}: {name} must be 1 or more, not {getattr(recipe, name)}.")


def read_recipe(path: str | Path, *, overrides: dict[str, Any] | None = None) -> Recipe:
    """Read a TOML recipe. `overrides` replaces top-level values; `size` and `batch_size` replace those of every phase.

    Raises:
        ValueError: the file is not TOML, or a key is unknown, missing, of another type or impossible; names the file
            and the key.
        FileNotFoundError: there is no such file.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there, or is no file; give a TOML file such as those in train/recipes.")
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not a TOML file: {error}.") from error
    overrides = {name: value for name, value in (overrides or {}).items() if value is not None}
    for_phases = {name: overrides.pop(name) for name in ("size", "batch_size") if name in overrides}
    recipe = _build(Recipe, {"architecture": {}, "phases": [], **values, **overrides}, path)
    recipe = replace(recipe, phases=tuple(replace(phase, **for_phases) for phase in recipe.phases))
    _check(recipe, path)
    return recipe


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
