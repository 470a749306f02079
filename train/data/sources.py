"""Where training pictures come from: the roots of `--data`, mixed with weights, and what is kept for validation.

A root is a cut-out pack (`foregrounds/` and `backgrounds/`, composed into scenes on the fly) or holds pictures with
mattes (`pairs.py`). A source gives `batch(indices, (width, height))` and says how many `samples` make its epoch.
"""

from __future__ import annotations

import json
import sys
import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from train.recipe import Recipe
from train.scenes.cutouts import Pack, read_pack
from train.scenes.scenes import Scenes
from train.shared.files import write_text
from train.shared.mattes import GREY, Value
from train.tables import HINT_KINDS

from .pairs import Batch, Pair, Pairs, check_pairs, class_name, find_pairs, split

LONGEST_EPOCH = 10**8
VALIDATION_SEED = 20_000_003
REPORT, CHECKED = "data-report.txt", "data-checked.json"


class Source(Protocol):
    """An endless sequence of pictures; `samples` of them are an epoch."""

    samples: int

    def batch(self, indices: Sequence[int], size: tuple[int, int]) -> Batch: ...


@dataclass(frozen=True)
class Root:
    """One `--data DIR[=WEIGHT]`: each of its pairs is drawn `weight` times an epoch."""

    path: Path
    weight: float = 1.0

    @classmethod
    def parse(cls, text: str) -> Root:
        """ValueError for a weight that is no positive number."""
        path, found, weight = text.rpartition("=")
        if not found or Path(text).exists():
            return cls(Path(text))
        try:
            number = float(weight)
        except ValueError:
            number = 0.0
        if not 0 < number < float("inf"):
            raise ValueError(f"--data {text}: the weight after = must be a number above 0, not {weight!r}.")
        return cls(Path(path), number)


@dataclass(frozen=True)
class Data:
    """What a run trains and is validated on.

    names: a line a data set, for the model card. fingerprint: a line a root, by which a resumed run knows its data.
    hinted: what is validated on with hints, where the recipe trains with them: the same pictures, or such.
    """

    training: Source
    validation: Source | None
    names: tuple[list[str], list[str]] = ([], [])
    fingerprint: list[str] = field(default_factory=list)
    hinted: Source | None = None


class SceneSource:
    """Composites of a cut-out pack; an epoch draws as many as there are cut-outs. hinted: share of the draws with a
    hint; 0 for batches without hints. kinds: relative chances of theirs."""

    def __init__(self, scenes: Scenes, hinted: float = 0.0, kinds: Mapping[str, float] = HINT_KINDS) -> None:
        self.scenes, self.hinted, self.kinds = scenes, hinted, kinds
        self.samples = len(scenes.pack.foregrounds)

    def batch(self, indices: Sequence[int], size: tuple[int, int]) -> Batch:
        if size[0] != size[1]:
            raise ValueError(f"Scenes of cut-outs are square: give a size with one side, not {size[0]} x {size[1]}.")
        if not self.hinted:
            return Batch(*self.scenes.batch(list(indices), size[0]))
        images, alpha, given = self.scenes.hinted_batch(list(indices), size[0], self.hinted, self.kinds)
        return Batch(images, alpha, hints=given)

    def with_hints(self, share: float, kinds: Mapping[str, float] = HINT_KINDS) -> SceneSource:
        """The same cut-outs, a `share` of the draws with a hint of one of these kinds."""
        return SceneSource(self.scenes, share, kinds)


class Row:
    """Sources one after the other, so many pictures of each: what is validated on."""

    def __init__(self, sources: Sequence[Source], counts: Sequence[int]) -> None:
        self.sources = list(sources)
        self.ends = np.cumsum(counts)
        self.samples = int(self.ends[-1])

    def _find(self, index: int) -> tuple[int, int]:
        """Picture `index` as (number of the source, index in it)."""
        number = int(np.searchsorted(self.ends, index, side="right"))
        return number, index - int(self.ends[number - 1] if number else 0)

    def batch(self, indices: Sequence[int], size: tuple[int, int]) -> Batch:
        places = [self._find(index) for index in indices]
        rows: list = [None] * len(places)
        for number in sorted({number for number, _ in places}):
            chosen = [row for row, place in enumerate(places) if place[0] == number]
            batch = self.sources[number].batch([places[row][1] for row in chosen], size)
            for position, row in enumerate(chosen):
                rows[row] = [None if part is None else part[position] for part in batch]
        device = rows[0][0].device  # scenes may be composed on a GPU, pairs never are
        return Batch(*(_stacked(part, device) for part in zip(*rows)))


def _stacked(part: Sequence[torch.Tensor | None], device: torch.device) -> torch.Tensor | None:
    """None where one of them is."""
    return None if any(each is None for each in part) else torch.stack([each.to(device) for each in part])


class Mixture(Row):
    """Sources shuffled into each other, each as often as its weight says: weight 2 draws every pair of a source twice
    an epoch, weight 0.5 half of them, the other half in the next epoch.

    ValueError where that makes an epoch of more than LONGEST_EPOCH pictures, whose order is held in memory.
    """

    def __init__(self, sources: Sequence[Source], weights: Sequence[float], *, seed: int) -> None:
        counts = [max(1, w * source.samples) for source, w in zip(sources, weights)]
        if sum(counts) > LONGEST_EPOCH:
            raise ValueError(
                f"with these weights of --data an epoch is {sum(counts):.3g} pictures, and may be {LONGEST_EPOCH:.0e}: "
                "give smaller ones, of the same proportion"
            )
        super().__init__(sources, [round(count) for count in counts])
        self.seed = seed

    def _find(self, index: int) -> tuple[int, int]:
        epoch, place = divmod(index, self.samples)
        number, offset = super()._find(int(self._shuffle(epoch)[place]))
        count = int(self.ends[number] - (self.ends[number - 1] if number else 0))
        return number, epoch * count + offset

    def _shuffle(self, epoch: int) -> np.ndarray:
        if getattr(self, "_shuffled", (None,))[0] != epoch:
            self._shuffled = epoch, np.random.default_rng((self.seed, epoch)).permutation(self.samples)
        return self._shuffled[1]


def _scenes(recipe: Recipe, pack: Pack, device: torch.device | str, *, held_out: bool = False) -> SceneSource:
    style, seed = recipe.scenes, recipe.seed
    if held_out:
        present = {picture.source for picture in pack.foregrounds}
        style = replace(style, sources={name: share for name, share in style.sources.items() if name in present})
        seed = VALIDATION_SEED
    return SceneSource(Scenes(pack.to(device), style, seed=seed))


@dataclass(frozen=True)
class _Contents:
    """What a root holds for training and for validation: two packs, or two lists of pairs."""

    root: Root
    packs: tuple[Pack, Pack] | None = None
    pairs: tuple[list[Pair], list[Pair]] = ([], [])

    def describe(self) -> str:
        what = f"{len(self.pairs[0])} pairs"
        if self.packs:
            what = f"{len(self.packs[0].foregrounds)} cut-outs over {len(self.packs[0].backgrounds)} backgrounds"
        often = "" if self.root.weight == 1 else f", drawn {self.root.weight:g} times an epoch"
        return f"{_name(self.root.path)} ({what}{often})"

    def fingerprint(self) -> str:
        names = [picture.name for picture in self.packs[0].foregrounds] if self.packs else []
        names += [pair.name for pair in self.pairs[0]]
        return f"{self.describe()} {_mark(names)}"


def read_data(
    roots: Sequence[Root],
    validation: Sequence[Path],
    recipe: Recipe,
    *,
    out: Path,
    workers: int = 4,
    device: torch.device | str = "cpu",
    main: bool = True,
    values: Sequence[Value] = (),
) -> Data:
    """Find, check and mix all roots. Files that cannot be used are listed in `out/data-report.txt` and left out.

    `validation` roots, of pairs, take the place of what the recipe holds out by name; what they hold is not trained on,
    even if it lies under one of `roots`. `values`: what of the masks is the subject
    (`mattes.parse_value`). `main`: this process writes the report (of several, only one does).

    Raises:
        ValueError: a root holds nothing usable; with the weights given an epoch is too long.
    """
    checker = _Checker(out, workers, main, tuple(values))
    validating = {pair.image.resolve() for path in validation for pair in find_pairs(path).pairs}
    contents = []
    for root in roots:
        if (root.path / "foregrounds").is_dir():
            contents.append(_Contents(root, packs=checker.pack(root.path, 0 if validation else recipe.hold_out)))
        else:
            pairs = split(checker.usable(root.path, but=validating), 0 if validation else recipe.hold_out)
            contents.append(_Contents(root, pairs=pairs))
    held, names_held, marks = [], [], [each.fingerprint() for each in contents]
    if values and GREY not in values:
        marks.append(f"of their masks {', '.join(map(str, values))}")
    for path in validation:
        pairs = _spread(checker.usable(path), recipe.validation_pictures)
        held.append((Pairs(pairs, workers=workers), len(pairs)))
        names_held.append(f"{_name(path)} ({len(pairs)} pairs)")
        marks.append(f"validated on {names_held[-1]} {_mark(pair.name for pair in pairs)}")
    for each in contents if recipe.hold_out and not validation else ():
        if each.packs:
            source = _scenes(recipe, each.packs[1], device, held_out=True)
            held.append((source, recipe.validation_pictures or source.samples))
            names_held.append(f"{_name(each.root.path)}, composites of held-out cut-outs ({held[-1][1]} pictures)")
        elif pairs := _spread(each.pairs[1], recipe.validation_pictures):
            held.append((Pairs(pairs, workers=workers), len(pairs)))
            names_held.append(f"{_name(each.root.path)}, held out by name ({len(pairs)} pairs)")
    names = ([each.describe() for each in contents], names_held)
    checker.write(names)
    training = _training_source(contents, recipe, workers, device)
    hinted = [(source.with_hints(1.0, recipe.hints.kinds), count) for source, count in held] if recipe.hint else []
    rows = [Row(*zip(*each)) if each else None for each in (held, hinted)]
    return Data(training, rows[0], names, marks, hinted=rows[1])


def _training_source(contents: list[_Contents], recipe: Recipe, workers: int, device: torch.device | str) -> Source:
    pairs = [pair for each in contents for pair in each.pairs[0]]
    classes = _classes(pairs, [each.root.path for each in contents if each.packs], recipe)
    options = {"augmentation": recipe.augmentation, "workers": workers, "classes": classes}
    sources: list[SceneSource | Pairs] = [
        _scenes(recipe, each.packs[0], device)
        if each.packs
        else Pairs(each.pairs[0], seed=recipe.seed + number, **options)
        for number, each in enumerate(contents)
    ]
    if recipe.hint:
        sources = [source.with_hints(recipe.hints.share, recipe.hints.kinds) for source in sources]
    weights = [each.root.weight for each in contents]
    return sources[0] if weights == [1] else Mixture(sources, weights, seed=recipe.seed)


def _spread(pairs: list[Pair], most: int) -> list[Pair]:
    """At most so many of them, evenly from first to last; all for 0."""
    count = min(len(pairs), most or len(pairs))
    return [pairs[number * len(pairs) // count] for number in range(count)]


def _name(path: Path) -> str:
    return path.resolve().name


def _mark(names: Iterable[str]) -> str:
    """Tells other names, or their other order, from these."""
    return f"{zlib.crc32(chr(10).join(names).encode(errors='surrogateescape')):08x}"


def _classes(pairs: list[Pair], cutouts: list[Path], recipe: Recipe) -> list[str]:
    """Class names in the order of the class head's outputs, if the recipe's network has one."""
    wanted = recipe.architecture.classes
    if not wanted:
        return []
    if cutouts:
        raise ValueError(
            f"{cutouts[0]} holds cut-outs, which have no class labels, and the recipe trains a class head: leave it "
            "away, or train without labels: --set architecture.classes=0"
        )
    names = sorted({class_name(pair) for pair in pairs})
    if len(names) > wanted:
        raise ValueError(
            f"The data has {len(names)} classes, the recipe's class head {wanted}: --set architecture.classes="
            f"{len(names)}, or 0 to train without labels."
        )
    return names


class _Checker:
    """Checks the pairs of all roots and remembers in the run's folder which are sound."""

    def __init__(self, out: Path, workers: int, main: bool, values: tuple[Value, ...] = ()) -> None:
        self.out, self.workers, self.main, self.values = out, workers, main, values
        self.lines: list[str] = []
        self.known: set[str] = set()
        if (out / CHECKED).is_file():
            checked = json.loads((out / CHECKED).read_text(encoding="utf-8"))
            self.known = {key for key, problem in checked.items() if not problem}

    def usable(self, root: Path, *, but: Collection[Path] = ()) -> list[Pair]:
        """The pairs under `root` that can be used, without the pictures in `but`."""
        found = find_pairs(root, self.values)
        pairs = [pair for pair in found.pairs if pair.image.resolve() not in but]
        if not pairs:
            raise ValueError(
                f"All pairs under {root} are under --validation too; leave that away, and some of them are held out."
            )
        problems = check_pairs(pairs, threads=self.workers, known=self.known, on_progress=self._progress)
        good = [pair for pair, problem in zip(pairs, problems) if not problem]
        bad = [*found.lonely, *filter(None, problems)]
        self._note(root, f"{len(good)} pairs", bad, good)
        if kept := len(found.pairs) - len(pairs):
            self.lines += [f"  not trained on: {kept} pairs that --validation names"]
        if not good:
            raise ValueError(f"None of the {len(problems)} pairs under {root} can be used; the first: {bad[0]}")
        return good

    def pack(self, root: Path, hold_out: int) -> tuple[Pack, Pack]:
        """A pack of cut-outs, (for training, held out)."""
        problems: list[str] = []
        packs = read_pack(root, threads=self.workers, hold_out=hold_out, problems=problems, values=self.values)
        cutouts, backgrounds = (sum(len(getattr(p, kind)) for p in packs) for kind in ("foregrounds", "backgrounds"))
        self._note(root, f"{cutouts} cut-outs, {backgrounds} backgrounds", problems)
        return packs

    def _note(self, root: Path, what: str, bad: list[str], good: Sequence[Pair] = ()) -> None:
        self.lines += [f"{root}: {what}, {len(bad)} left out"]
        self.lines += [f"  {folder}: {count} pairs" for folder, count in _by_folder(good).items()]
        self.lines += [f"  left out: {problem}" for problem in bad]
        if bad and self.main:
            print(f"{root}: {len(bad)} left out, see {self.out / REPORT}; the first: {bad[0]}", flush=True)

    def _progress(self, done: int, total: int) -> None:
        if self.main and total >= 200 and (done % 100 == 0 or done == total):
            end = "\r" if sys.stdout.isatty() and done < total else "\n"
            print(f"checking pairs, once: {done} of {total}", end=end, flush=True)

    def write(self, names: tuple[list[str], list[str]]) -> None:
        if not self.main:
            return
        lines = ["Training on:", *(f"  {name}" for name in names[0])]
        lines += ["Validating on:", *(f"  {name}" for name in names[1] or ["nothing"])]
        report = "\n".join([*lines, "", *self.lines, ""])
        write_text(self.out / REPORT, report)
        known = json.dumps(dict.fromkeys(sorted(self.known), ""), indent=0)
        write_text(self.out / CHECKED, known)


def _by_folder(pairs: Sequence[Pair]) -> dict[Path, int]:
    counts: dict[Path, int] = {}
    for pair in pairs:
        counts[pair.root] = counts.get(pair.root, 0) + 1
    return counts
