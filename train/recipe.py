"""Recipes: TOML files that say everything a run depends on but the data and the machine."""

from __future__ import annotations

import math
import sys
import types
from bisect import bisect_right
from collections.abc import Collection, Iterable
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass, replace
from operator import attrgetter
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import numpy as np

from birefnet_core.network import Architecture
from birefnet_core.weights.catalog import LARGEST_EDGE_RADIUS
from train.tables import HINT_KINDS, INVENTED, LIGHTS, SIDE_MULTIPLE, Augmentation, HintStyle, LossWeights, SceneStyle

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


AUTO = "auto"
PRECISIONS = (AUTO, "fp32", "bf16", "fp16")
OPTIMISERS = ("adam", "adamw")
METRICS = {"mae": min, "iou": max}  # what validation computes, and whether less or more is better
INITS_OF_BACKBONES = ("none", "timm", "imagenet")
OF_PHASES = ("size", "dynamic", "square", "batch_size", "losses")
LIMITS = {  # (least, most): the numbers, by their dotted names
    (0, math.inf): "steps epochs seed micro_batch learning_rate backbone_learning_rate final_rate weight_decay "
    "warmup_steps clip validation_pictures validate_epochs patience skip_limit architecture.classes",
    (1, math.inf): "validate_every save_every sheet_every architecture.block_channels architecture.branch_channels "
    "architecture.inward_channels",
    (0, 1): "scenes.together scenes.holding scenes.behind scenes.closer scenes.camouflaged scenes.painted scenes.plain "
    "hints.share architecture.dropout augmentation.flip augmentation.colour augmentation.degrade "
    "augmentation.plain_background",
    (0, 0.999999): "ema",  # with 1 the averaged weights stay as they began
    (0, 0.99): "architecture.stochastic_depth",
    (0.01, 1): "augmentation.crop",
    (0, 99): "hold_out",
    (0, 4): "frozen_stages",
}
FREE = ("micro_batch", "save_every", "sheet_every")  # may change from one start of a run to the next


@dataclass(frozen=True)
class Phase:
    """A stretch of the run: up to the share `until` of all steps, at this size, batch size and loss.

    Attributes:
        size: side of a square, or [width, height]; sides are multiples of 32.
        batch_size: pictures a step in all, however many processes and micro-batches share them.
        dynamic: [least, most]: each step draws width and height between them instead of `size`.
        square: dynamic pictures are as high as wide, as those composed of cut-outs must be.
    """

    until: float
    size: int | tuple[int, ...]
    batch_size: int
    dynamic: tuple[int, ...] = ()
    square: bool = False
    losses: LossWeights = field(default_factory=LossWeights)

    def sides(self, step: int, seed: int) -> tuple[int, int]:
        """(width, height) of step `step`."""
        if not self.dynamic:
            return square(self.size)
        least, most = (side // SIDE_MULTIPLE for side in self.dynamic)
        width, height = np.random.default_rng((seed, step)).integers(least, most + 1, 2) * SIDE_MULTIPLE
        return int(width), int(width if self.square else height)


def square(size: int | tuple[int, ...]) -> tuple[int, int]:
    """A side, or (width, height), as (width, height)."""
    return (size, size) if isinstance(size, int) else (size[0], size[1])


@dataclass(frozen=True)
class Recipe:
    """One training run. Learning rates are those after warm-up.

    Attributes:
        steps, epochs: how long; one of the two. An epoch draws every pair (or cut-out) once; `for_data` turns epochs
            into steps.
        init: what the network starts from: "none", "timm" (the backbone, from timm's hub), "imagenet" (the backbone of
            `timm:tf_efficientnet_lite0`, from a package), a model's name, or a file of a model or of a backbone.
        architecture_from_init: take the architecture of the model that `init` names, and its size where --size is not
            given (train/run/initialise.py).
        shrink: two shares of that size: the one trained at, and the one that the finished model is validated and used
            at.
        model_size: what the finished model is meant to be used at, a side or [width, height], 0 for a dynamic model;
            goes into its metadata.
        edge_radius: how far the finished model's edges are drawn after the picture, in pixels at that size, 0 for not
            at all (birefnet_core/matting/edges.py); goes into the metadata. Training and its validation do without.
        hint: the network takes a hint beside the picture (birefnet_core/network/hint.py), and learns what it asks for:
            targets and hints are drawn from what the data has (train/shared/hints.py). Where it is not said, as the
            model that `architecture_from_init` takes, else not; false leaves that model's hint out.
        hints: how often, and of which kinds (`HintStyle`).
        teachers: models, by name or file: without a hint the mean of what they give is learnt in place of the truth.
            They see the pictures as large as the network does, whatever size they are made for.
        task, licence: go into the metadata.
        precision: of the forward pass: "fp32", or autocast to "bf16" or "fp16" (with a loss scaler). "auto": bf16 where
            the device computes it natively, else fp32 (train/run/precision.py); decided once a run, recorded with it.
        micro_batch: the most pictures that one process takes at a time; more are accumulated. 0: all of its share.
        frozen_stages: the first so many backbone stages stay as they are; 4 is the whole backbone.
        freeze_backbone_statistics: keep the backbone's BatchNorm statistics as initialised (its weights still learn).
            Both scales of the image pyramid share them, so batch statistics would differ between training and use.
        freeze_statistics: the same for every BatchNorm of the network. Single pictures at a time imply it.
        ema: decay of the averaged weights, which are what is validated and shipped; 0 for none.
        clip: largest gradient norm; 0 for none.
        hold_out: of 100 names, how many are kept for validation when no --validation is given.
        validation_pictures: the most to validate on, 0 for all. validation_size as `Phase.size`.
        validate_every, save_every, sheet_every: in steps. validate_epochs: in epochs, instead of validate_every.
        metric: "mae" or "iou"; the best weights by it are the result. patience: stop after so many validations without
            a better one; 0 for never.
        skip_limit: steps with a loss that is not finite before the run gives up.
    """

    name: str
    phases: tuple[Phase, ...]
    architecture: Architecture = field(default_factory=Architecture)
    scenes: SceneStyle = field(default_factory=SceneStyle)
    augmentation: Augmentation = field(default_factory=Augmentation)
    init: str = "none"
    architecture_from_init: bool = False
    shrink: tuple[float, ...] = (1.0, 1.0)
    model_size: int | tuple[int, ...] = 512
    edge_radius: int = 0
    hint: bool | None = None
    hints: HintStyle = field(default_factory=HintStyle)
    teachers: tuple[str, ...] = ()
    task: str = "general"
    licence: str = ""
    steps: int = 0
    epochs: float = 0.0
    seed: int = 0
    precision: str = AUTO
    micro_batch: int = 0
    optimiser: str = "adamw"
    learning_rate: float = 1e-3
    backbone_learning_rate: float = 3e-4
    final_rate: float = 0.02
    weight_decay: float = 1e-2
    warmup_steps: int = 100
    ema: float = 0.998
    clip: float = 10.0
    frozen_stages: int = 0
    freeze_backbone_statistics: bool = True
    freeze_statistics: bool = False
    hold_out: int = 6
    validation_pictures: int = 96
    validation_size: int | tuple[int, ...] = 384
    validate_every: int = 500
    validate_epochs: float = 0.0
    metric: str = "mae"
    patience: int = 0
    save_every: int = 100
    sheet_every: int = 500
    skip_limit: int = 50

    def for_data(self, samples: int) -> Recipe:
        """This recipe with epochs of `samples` pictures counted in steps."""
        begins = [0.0, *(phase.until for phase in self.phases)]
        pictures = sum((p.until - begin) * p.batch_size for begin, p in zip(begins, self.phases))  # a step, on average
        steps = math.ceil(self.epochs * samples / pictures) if self.epochs else self.steps
        every = max(1, round(self.validate_epochs * samples / pictures)) if self.validate_epochs else 0
        return replace(self, steps=steps, validate_every=every or self.validate_every)

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
    if get_origin(kind) is types.UnionType:  # a side, or a list of them
        kind = get_args(kind)[isinstance(value, list)]
    container, entries = get_origin(kind), get_args(kind)
    if container is tuple and isinstance(value, list):
        return tuple(_value(entries[0], entry, file, f"{key}[{index}]") for index, entry in enumerate(value))
    if container is dict and isinstance(value, dict):
        return {name: _value(entries[1], entry, file, f"{key}.{name}") for name, entry in value.items()}
    accepted = (int, float) if kind is float else container or kind
    if not isinstance(value, accepted) or isinstance(value, bool) != (kind is bool) or not _is_finite(value):
        quotes = isinstance(value, str) and value.startswith("[")  # which shells take away
        how = f""": write it as TOML does, {key}=["a", "b"], the whole in single quotes""" if quotes else ""
        raise ValueError(f"{file}: {key} must be {IN_WORDS.get(container or kind, 'a table')}, not {value!r}{how}.")
    return value


def _is_finite(value: Any) -> bool:
    """TOML has nan and inf; none of a recipe's numbers may be one."""
    return not isinstance(value, float) or math.isfinite(value)


def _check(recipe: Recipe, file: Path) -> None:
    """Refuse numbers that would only fail in the middle of a run."""
    untils = [phase.until for phase in recipe.phases]
    if not untils or untils != sorted(set(untils)) or untils[0] <= 0 or untils[-1] != 1:
        raise ValueError(f"{file}: [[phases]] need a rising `until` that ends at 1.0.")
    sizes = [("phases: size", phase.size) for phase in recipe.phases]
    sizes += [("phases: dynamic", phase.dynamic) for phase in recipe.phases if phase.dynamic]
    sizes += [("model_size", recipe.model_size)] if recipe.model_size != 0 else []
    for name, size in [*sizes, ("validation_size", recipe.validation_size)]:
        if not isinstance(size, int) and len(size) != 2:
            raise ValueError(f"{file}: {name} must be one side or two, not {list(size)}.")
        for side in square(size):
            if side % SIDE_MULTIPLE or side <= 0:
                raise ValueError(f"{file}: {name} must be a multiple of {SIDE_MULTIPLE}, not {side}.")
    if any(phase.dynamic and phase.dynamic[0] > phase.dynamic[1] for phase in recipe.phases):
        raise ValueError(f"{file}: phases: dynamic must be [least, most].")
    for phase in recipe.phases:
        if phase.batch_size < 1:
            raise ValueError(f"{file}: phases: batch_size must be 1 or more, not {phase.batch_size}.")
        if phase.square and not phase.dynamic:
            raise ValueError(f"{file}: phases: square is for dynamic sizes; give dynamic = [least, most] too.")
        for name, weight in asdict(phase.losses).items():
            if weight < 0:
                raise ValueError(f"{file}: losses.{name} must not be negative, not {weight}.")
    if bool(recipe.steps) == bool(recipe.epochs):
        raise ValueError(f"{file}: give either steps or epochs, as a number above 0.")
    for (least, most), names in LIMITS.items():
        for name in names.split():
            if not least <= (value := attrgetter(name)(recipe)) <= most:
                least_said = f"be {least} or more" if least else "not be negative"
                wanted = least_said if most == math.inf else f"be {least} to {most}"
                raise ValueError(f"{file}: {name} must {wanted}, not {value}.")
    if not 0 <= recipe.edge_radius <= LARGEST_EDGE_RADIUS:
        raise ValueError(f"{file}: edge_radius must be 0 to {LARGEST_EDGE_RADIUS} pixels, not {recipe.edge_radius}.")
    if len(recipe.shrink) != 2 or not all(0 < share <= 1 for share in recipe.shrink):
        raise ValueError(f"{file}: shrink must be two shares above 0 and at most 1, not {list(recipe.shrink)}.")
    _check_hints(recipe.hints, file)
    _check_scenes(recipe.scenes, file)
    for name, known in (("precision", PRECISIONS), ("optimiser", OPTIMISERS), ("metric", tuple(METRICS))):
        if getattr(recipe, name) not in known:
            raise ValueError(f"{file}: {name} must be one of {', '.join(known)}, not {getattr(recipe, name)!r}.")
    if recipe.architecture_from_init and recipe.init in INITS_OF_BACKBONES:
        raise ValueError(f"{file}: this recipe goes on from a model; name it with --init: a file, or a published name.")


def _check_hints(style: HintStyle, file: Path) -> None:
    _check_names(style.kinds, HINT_KINDS, "hints.kinds", file)
    _check_shares(style.kinds.values(), "hints.kinds", file)


def _check_scenes(style: SceneStyle, file: Path) -> None:
    if not all(len(extent) == 3 and 0 < extent[1] <= extent[2] for extent in style.extents):
        raise ValueError(f"{file}: scenes.extents must be [share, least, most] each, the sizes above 0.")
    _check_shares([extent[0] for extent in style.extents], "scenes.extents", file)
    if len(style.cut_extent) != 2 or not 0 < style.cut_extent[0] <= style.cut_extent[1]:
        raise ValueError(f"{file}: scenes.cut_extent must be [least, most] above 0, not {list(style.cut_extent)}.")
    _check_names(style.lights, LIGHTS, "scenes.lights", file)
    if min(style.lights.values(), default=0) < 0 or sum(style.lights.values()) > 1 + 1e-9:
        raise ValueError(f"{file}: the shares of scenes.lights must not be negative, nor more than 1 in sum.")
    _check_names(style.invented, INVENTED, "scenes.invented", file)
    if style.invented:
        _check_shares(style.invented.values(), "scenes.invented", file)


def _check_names(names: Iterable[str], known: Iterable[str], table: str, file: Path) -> None:
    if unknown := sorted(set(names) - set(known)):
        raise ValueError(f"{file}: {table}: unknown {', '.join(unknown)}; known are {', '.join(known)}.")


def _check_shares(shares: Collection[float], name: str, file: Path) -> None:
    if min(shares, default=0) < 0 or not 0 < sum(shares) < math.inf:
        raise ValueError(f"{file}: the shares of {name} must not be negative, one above 0, and their sum finite.")


def read_recipe(path: str | Path, *, overrides: dict[str, Any] | None = None) -> Recipe:
    """Read a TOML recipe and, where it names a `base`, the recipe (beside it) whose values it changes.

    `overrides` replaces values by dotted names ("architecture.backbone"); `size`, `batch_size`, `dynamic`, `square` and
    "losses.<term>" are those of every phase, and `size` is that of validation and of the model too. `phases`, all of
    them, comes before those.

    Raises:
        ValueError: the file is not TOML, or a key is unknown, missing, of another type or impossible; names the file
            and the key.
        FileNotFoundError: there is no such file.
    """
    path = Path(path)
    values = {"phases": [], **_read_values(path)}
    overrides = {name: value for name, value in (overrides or {}).items() if value is not None}
    for length, other in (("steps", "epochs"), ("epochs", "steps")):
        if length in overrides and other not in overrides:
            values.pop(other, None)
    if "size" in overrides:
        overrides = {"model_size": overrides["size"], "validation_size": overrides["size"], **overrides}
    if overrides.get("dynamic") == []:
        overrides = {"square": False, **overrides}  # which goes with it
    if values.get("architecture_from_init") and overrides.get("init") in INITS_OF_BACKBONES:
        values["architecture_from_init"] = False  # asked for outright; train.py says what that means
        values["frozen_stages"] = 0
    for name, value in sorted(overrides.items(), key=lambda item: item[0] != "phases"):
        in_phases = name.split(".")[0] in OF_PHASES and isinstance(values["phases"], list)
        for table in values["phases"] if in_phases else [values]:
            _put(table, name, value, path)
    recipe = _build(Recipe, values, path)
    _check(recipe, path)
    if recipe.hint is None and recipe.architecture_from_init and not recipe.architecture.hint:
        return recipe  # as the model it starts from (take_architecture)
    return with_hint(recipe, recipe.architecture.hint if recipe.hint is None else recipe.hint, overrides, str(path))


def with_hint(recipe: Recipe, hint: bool, given: Collection[str], where: str) -> Recipe:
    """The recipe for a network that takes a hint and learns it, or that takes none.

    ValueError, which begins with `where`, if it cannot learn it, or if values of `hints` are `given`, by name, for one
    that takes none.
    """
    if hint and not recipe.hints.share:
        raise ValueError(f"{where}: with hints.share 0 the network learns no hint: set it above 0, or hint to false.")
    idle = sorted(name for name in given if name.partition(".")[0] == "hints")
    if idle and not hint:
        raise ValueError(f"{where}: {', '.join(idle)} would do nothing: the network takes no hint, set hint to true.")
    return replace(recipe, hint=hint, architecture=replace(recipe.architecture, hint=hint))


def _read_values(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there, or is no file; give a TOML file such as those in train/recipes.")
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not a TOML file: {error}.") from error
    base = values.pop("base", None)
    return values if base is None else _merge(_read_values(path.parent / base), values)


def _merge(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`base` with `changes`; tables are merged, everything else (lists of phases too) is replaced."""
    merged = dict(base)
    for name, value in changes.items():
        both = isinstance(value, dict) and isinstance(base.get(name), dict)
        merged[name] = _merge(base[name], value) if both else value
    return merged


def _put(table: Any, name: str, value: Any, file: Path) -> None:
    """Set the value of a dotted name in a table. ValueError where something on the way is no table."""
    *way, last = name.split(".")
    for index, step in enumerate(way):
        if not isinstance(table, dict):
            break  # _build says what is wrong with a phase that is none
        table = table.setdefault(step, {})
        if isinstance(table, list) and step == "phases":
            own = ".".join(part for part in name.split(".")[index + 1 :] if not part.isdigit())
            raise ValueError(f"{file}: {name} is nothing by itself: give {own} for every phase, or all of phases.")
        if not isinstance(table, dict):
            raise ValueError(f"{file}: {name}: {'.'.join(way[: index + 1])} is {table!r}, and has no {last}.")
    if isinstance(table, dict):
        table[last] = value


def parse_value(text: str) -> Any:
    """A value as TOML writes it; what is not TOML is a text ("swin_v1_t" needs no quotes)."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


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
    """Lines "key: old -> new" for every value in which two recipes (as dictionaries) differ, but for those in FREE.
    What `theirs`, of an older checkpoint, does not know is at its default there. Where our precision is still to be
    chosen ("auto"), it is theirs."""
    ours, theirs = _flat(ours), _flat(_filled(Recipe, theirs))
    if ours.get("precision") == AUTO:
        ours["precision"] = theirs["precision"]
    return [
        f"{name}: {theirs.get(name, 'nothing')} -> {ours.get(name, 'nothing')}"
        for name in sorted(set(ours) | set(theirs))
        if ours.get(name) != theirs.get(name) and name not in FREE
    ]


def _filled(kind: Any, values: Any) -> Any:
    """The dictionary of a dataclass with the defaults of what it lacks, in tables and lists of tables within too. A
    table whose keys are free is not filled: what it does not name is not asked for."""
    if is_dataclass(kind) and isinstance(values, dict):
        kinds = get_type_hints(kind)
        return _defaults(kind) | {name: _filled(kinds.get(name), value) for name, value in values.items()}
    if get_origin(kind) is tuple and isinstance(values, (list, tuple)):
        return type(values)(_filled(get_args(kind)[0], value) for value in values)
    return values


def _defaults(kind: type) -> dict[str, Any]:
    values = {}
    for one in fields(kind):
        if one.default is not MISSING or one.default_factory is not MISSING:
            value = one.default if one.default_factory is MISSING else one.default_factory()
            values[one.name] = asdict(value) if is_dataclass(value) else value
    return values


def as_dictionary(recipe: Recipe) -> dict[str, Any]:
    """The recipe as plain dictionaries, for a checkpoint or a report."""
    return asdict(recipe)
