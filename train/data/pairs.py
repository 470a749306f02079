"""Folders of pictures and mattes: finding the pairs, checking them once, drawing them for training.

A root is a data set, or a folder of data sets. Wherever in it two folders beside each other hold pictures and mattes by
their names, files with the same stem are pairs:

    im/ + gt/                      DIS5K, HRSOD, COD and P3M as upstream lays them out
    Imgs/ + GT/, Image/ + GT_Object/              CAMO, COD10K
    HRSOD_train/ + HRSOD_train_mask/, DUTS-TR-Image/ + DUTS-TR-Mask/
    original_image/ or blurred_image/ + mask/     P3M
    images/ + masks/, image/ + alpha/, ...
"""

from __future__ import annotations

import copy
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from birefnet_core.matting.images import read
from birefnet_core.matting.tensors import resize
from birefnet_core.names import name_of
from birefnet_core.picture_files import READ_SUFFIXES
from train.shared import hints
from train.shared.holdout import held_out
from train.shared.mattes import Value, read_mask
from train.shared.pictures import check_sizes, read_matte
from train.tables import HINT_KINDS, Augmentation

from .augment import augment

IMAGE_WORDS = "im|imgs?|images?|original|original_image|blurred_image|rgb|input"
MATTE_WORDS = "gt|gts|gt_object|masks?|mattes?|alphas?|labels?"
IMAGES = re.compile(rf"(.*?)[-_ ]?(?:{IMAGE_WORDS})", re.IGNORECASE)
MATTES = re.compile(rf"(.*?)[-_ ]?(?:{MATTE_WORDS})", re.IGNORECASE)
RULE = "mattes 2"  # by which files are checked: what an older one found sound is looked at again
DEPTH = 4  # folders below a root that are looked into


@dataclass(frozen=True)
class Pair:
    """A picture and its matte. name: their stem. root: the data set's folder, for the report. values: what of the
    matte is the subject, where it is not the white (`mattes.parse_value`)."""

    image: Path
    matte: Path
    root: Path
    values: tuple[Value, ...] = ()

    @property
    def name(self) -> str:
        return self.image.stem

    def read(self) -> tuple[Tensor, Tensor]:
        """(image [3,H,W], alpha [1,H,W]), float32 0..1, both upright. ValueError (one sentence) for bad files."""
        image = read(self.image).pixels.permute(2, 0, 1)
        alpha = torch.from_numpy(read_matte(self.matte, values=self.values)).float()[None]
        check_sizes(self.image, image.shape[:0:-1], self.matte.name, alpha.shape[:0:-1])
        return image, alpha

    def check(self) -> str:
        """What is wrong with it, in one sentence; empty when nothing is."""
        try:
            _, alpha = self.read()
        except (ValueError, OSError) as error:
            return str(error)
        if not alpha.any():
            return f"{self.matte} is empty: no pixel is foreground"
        return read_mask(self.matte, values=self.values).problem


@dataclass(frozen=True)
class Found:
    """What a root holds. lonely: files without a mate, as sentences."""

    pairs: list[Pair] = field(default_factory=list)
    lonely: list[str] = field(default_factory=list)


def find_pairs(root: str | Path, values: Sequence[Value] = ()) -> Found:
    """All pairs under `root`, sorted; `values` as of `Pair`. ValueError when there is none, or no such folder."""
    root = Path(root)
    if not root.is_dir():
        raise ValueError(f"{root} is not a folder.")
    found = Found()
    for folder in [root, *_subfolders(root, DEPTH)]:
        for images, mattes in _image_and_matte_folders(folder):
            _match(images, mattes, found, tuple(values))
    if not found.pairs:
        raise ValueError(
            f"{root} has no pictures with mattes: put them into {root}/im and {root}/gt under the same names "
            "(photo.jpg, photo.png), or cut-outs into foregrounds/ and photographs into backgrounds/."
        )
    return found


def _subfolders(folder: Path, depth: int) -> list[Path]:
    if not depth:
        return []
    below = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    return [each for path in below for each in (path, *_subfolders(path, depth - 1))]


def _image_and_matte_folders(folder: Path) -> list[tuple[Path, Path]]:
    """Folders inside `folder` that belong together: the same name but for the word that says what they hold."""
    names = sorted(path.name for path in folder.iterdir() if path.is_dir())
    mattes: dict[str, str] = {}
    for name in names:  # of gt and mask the first
        if match := MATTES.fullmatch(name):
            mattes.setdefault(match[1].lower(), name)
    images: dict[str, str] = {}
    for name in sorted(names, reverse=True):  # of original_image and blurred_image the original
        match = IMAGES.fullmatch(name)
        stem = match[1].lower() if match else name.lower()
        if stem in mattes and not MATTES.fullmatch(name):
            images.setdefault(stem, name)
    return [(folder / images[stem], folder / mattes[stem]) for stem in sorted(images)]


def _pictures(folder: Path) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in READ_SUFFIXES and not path.name.startswith("."):
            found.setdefault(name_of(path), []).append(path)
    return found


def _match(images: Path, mattes: Path, found: Found, values: tuple[Value, ...]) -> None:
    ours, theirs = _pictures(images), _pictures(mattes)
    for folder in (*_subfolders(images, 1), *_subfolders(mattes, 1)):
        if _pictures(folder):
            found.lonely.append(f"{folder} holds pictures, which are not read: put them beside those above")
    for stem in sorted(set(ours) | set(theirs)):
        if stem not in theirs:
            found.lonely.extend(f"{path} has no matte {mattes.name}/{stem}.*" for path in ours[stem])
        elif stem not in ours:
            found.lonely.extend(f"{path} has no picture {images.name}/{stem}.*" for path in theirs[stem])
        elif len(ours[stem]) > 1 or len(theirs[stem]) > 1:
            names = ", ".join(path.name for path in [*ours[stem], *theirs[stem]])
            found.lonely.append(f"{images.parent} has more than one picture or matte called {stem}: {names}")
        else:
            found.pairs.append(Pair(ours[stem][0], theirs[stem][0], images.parent, values))


def check_pairs(
    pairs: Sequence[Pair], *, threads: int, known: set[str], on_progress: Callable[[int, int], None]
) -> list[str]:
    """For each pair what is wrong with it, or an empty text. Files are read only if `known` (the keys of pairs that an
    earlier check found sound, extended here) does not have them as they are now. A problem is never taken as known: a
    disk that was away, or a file that nobody might read, may be there the next time."""
    keys, problems = [_key(pair) for pair in pairs], [""] * len(pairs)
    new = [number for number, key in enumerate(keys) if key not in known]
    with ThreadPoolExecutor(max(1, threads)) as pool:
        found = pool.map(lambda number: pairs[number].check(), new)
        for done, (number, problem) in enumerate(zip(new, found), start=1):
            problems[number] = problem
            if not problem:
                known.add(keys[number])
            on_progress(done, len(new))
    return problems


def _key(pair: Pair) -> str:
    """Both files with size and time of change, so that a file that changed is checked again, and RULE. Empty when
    one is missing (a link that leads nowhere)."""
    try:
        stats = [path.stat() for path in (pair.image, pair.matte)]
    except OSError:
        return ""
    files = [f"{path} {s.st_size} {s.st_mtime_ns}" for path, s in zip((pair.image, pair.matte), stats)]
    return " | ".join([*files, RULE, *map(str, pair.values)])


def split(pairs: Sequence[Pair], percent: int) -> tuple[list[Pair], list[Pair]]:
    """(for training, held out), by name."""
    held = held_out((pair.name for pair in pairs), percent)
    return [pair for pair in pairs if pair.name not in held], [pair for pair in pairs if pair.name in held]


def class_name(pair: Pair) -> str:
    """The class in a DIS5K name, `1#Accessories#1#Bag#2339.png` -> "Bag". ValueError for other names."""
    parts = pair.name.split("#")
    if len(parts) < 5:
        raise ValueError(
            f"{pair.image.name} carries no class label (names such as 1#Accessories#1#Bag#2339.jpg do); "
            "train without: --set architecture.classes=0"
        )
    return parts[3]


class Batch(NamedTuple):
    """images [N,3,H,W] and alpha [N,1,H,W], float32 0..1; labels [N] class indices, or None; hints [N,1,H,W] 0..1
    (train/shared/hints.py), or None. With hints, alpha is that of what they ask for."""

    images: Tensor
    alpha: Tensor
    labels: Tensor | None = None
    hints: Tensor | None = None


class Pairs:
    """Pairs as a source of batches. `samples` is how many make an epoch.

    Picture `index` of the endless sequence is drawn from nothing but the seed, its epoch (index // samples) and the
    pair that this epoch's shuffle puts there: neither the batch size nor the number of workers changes it.
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        *,
        seed: int = 0,
        augmentation: Augmentation | None = None,
        workers: int = 1,
        classes: Sequence[str] = (),
        hinted: float = 0.0,
        kinds: Mapping[str, float] = HINT_KINDS,
    ) -> None:
        """`augmentation` None gives the pairs in their order and as they are. `classes`: their names, for labels.
        `hinted`: share of the draws with a hint; 0 for batches without hints. `kinds`: relative chances of theirs."""
        self.hinted, self.kinds = hinted, kinds
        self.pairs, self.seed, self.augmentation, self.classes = list(pairs), seed, augmentation, list(classes)
        self.samples = len(self.pairs)
        self.pool = ThreadPoolExecutor(max(1, workers), thread_name_prefix="pairs")
        self.bad: set[Path] = set()
        self.lock = threading.Lock()
        self._shuffle = lru_cache(maxsize=4)(self._shuffle)

    def batch(self, indices: Sequence[int], size: tuple[int, int]) -> Batch:
        """Pictures `indices` at `size` (width, height)."""
        drawn = list(self.pool.map(lambda index: self._draw(index, size), indices))
        images, alpha, labels, given = zip(*drawn)
        return Batch(
            torch.stack(images),
            torch.stack(alpha),
            torch.tensor(labels) if self.classes else None,
            torch.stack(given) if self.hinted else None,
        )

    def with_hints(self, share: float, kinds: Mapping[str, float] = HINT_KINDS) -> Pairs:
        """The same pairs, a `share` of the draws with a hint of one of these kinds."""
        twin = copy.copy(self)
        twin.hinted, twin.kinds = share, kinds
        return twin

    def _shuffle(self, epoch: int) -> np.ndarray:
        return np.random.default_rng((self.seed, epoch)).permutation(self.samples)

    def _draw(self, index: int, size: tuple[int, int]) -> tuple[Tensor, Tensor, int, Tensor | None]:
        epoch, place = divmod(index, self.samples)
        for attempt in range(self.samples):  # a file that went bad during the run is replaced by the next one
            place = (place + bool(attempt)) % self.samples
            number = place if self.augmentation is None else int(self._shuffle(epoch)[place])
            pair = self.pairs[number]
            try:
                image, alpha = pair.read()
            except (ValueError, OSError) as error:
                self._report(pair, error)
                continue
            label = self.classes.index(class_name(pair)) if self.classes else -1
            if self.augmentation is None:
                width, height = size
                both = resize(torch.cat([image, alpha])[None], (height, width))[0].clamp(0, 1)
                image, alpha = both[:3], both[3:]
            else:
                rng = np.random.default_rng((self.seed, epoch, number))
                image, alpha = augment(image, alpha, size, self.augmentation, rng)
            if not self.hinted:
                return image, alpha, label, None
            rng = np.random.default_rng((self.seed, epoch, number, hints.STREAM))
            drawn = hints.ask(alpha[0].numpy(), rng, self.hinted, self.kinds)
            asked, hint = (torch.from_numpy(each)[None] for each in drawn)
            return image, asked, label, hint
        raise ValueError("None of the pairs can be read any more; is the disk with the data still there?")

    def _report(self, pair: Pair, error: Exception) -> None:
        with self.lock:
            if pair.image not in self.bad:
                self.bad.add(pair.image)
                print(f"\nreplaced by the next picture: {error}", flush=True)
