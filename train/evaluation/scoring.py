"""Score the images of a data set in several processes, and go on where an interrupted run stopped."""

from __future__ import annotations

import base64
import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import connection
from pathlib import Path

import numpy as np

from train.shared.files import write_whole
from train.shared.mattes import Value, for_predictions, read_mask

from .metrics import Scores, measure

AHEAD = 4  # images in flight per process


@dataclass(frozen=True)
class Sample:
    """One picture of a data set: where its truth, its photograph and (unless a model makes it) its matte are.

    cutout: the prediction is one of a folder of cut-outs, so that its alpha channel is its matte. values, pred_values:
    what of the truth, and of the prediction, is the subject where it is not the white (`mattes.parse_value`)."""

    stem: str
    truth: Path
    image: Path | None = None
    prediction: Path | None = None
    cutout: bool = False
    values: tuple[Value, ...] = ()
    pred_values: tuple[Value, ...] = ()


def score_sample(sample: Sample) -> Scores:
    """Read a sample's matte and truth and measure them. ValueError names the file when one cannot be read or is no
    matte (a prediction may be faint, or empty), or when their sizes differ."""
    prediction = read_mask(sample.prediction, cutout=sample.cutout, values=sample.pred_values)
    mask = read_mask(sample.truth, values=sample.values)
    if mask.problem:
        raise ValueError(mask.problem)
    if prediction.coloured:
        raise ValueError(for_predictions(prediction.problem))
    alpha, truth = prediction.levels, mask.levels
    if alpha.shape != truth.shape:
        sizes = [f"{matte.shape[1]}x{matte.shape[0]}" for matte in (alpha, truth)]
        what = f"{sample.prediction} is {sizes[0]}, its truth {sample.truth} is {sizes[1]}"
        raise ValueError(f"{what}: make them the same size")
    return measure(alpha, truth)


def score_samples(samples: Iterable[Sample], *, processes: int) -> Iterator[tuple[Sample, Scores]]:
    """(sample, its scores) as they come; of several processes not in order. The next sample is taken only when there is
    room for it, so `samples` may be made on the way. Errors of `score_sample` come through."""
    if processes == 1:
        yield from ((sample, score_sample(sample)) for sample in samples)
        return
    with _pool(processes) as pool:
        waiting: dict[Future, Sample] = {}
        for sample in samples:
            waiting[pool.submit(score_sample, sample)] = sample
            if len(waiting) >= AHEAD * processes:
                yield from _finished(waiting)
        while waiting:
            yield from _finished(waiting)


@contextmanager
def _pool(processes: int) -> Iterator[ProcessPoolExecutor]:
    # spawn: forking a process in which torch has run threads may hang, and works nowhere but on Unix
    pool = ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), _live_and_die_with_the_parent)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _live_and_die_with_the_parent() -> None:
    """Leave interrupts to the parent, which ends its processes; end with it when it is killed and cannot."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_the_parent, daemon=True).start()


def _end_with_the_parent() -> None:
    connection.wait([multiprocessing.parent_process().sentinel])
    os._exit(1)


def _finished(waiting: dict[Future, Sample]) -> Iterator[tuple[Sample, Scores]]:
    for future in wait(waiting, return_when=FIRST_COMPLETED).done:
        yield waiting.pop(future), future.result()


class Journal:
    """The scores of an unfinished run, a line an image, so that the same command goes on where it was stopped.

    `key` (JSON values) says what was run; a file with another key is begun anew, and an image is scored again when its
    files have changed since. Without a `path` nothing is kept.
    """

    def __init__(self, path: Path | None, key: dict) -> None:
        self.path, self._known, self._begun = path, {}, False
        header = json.dumps(key).encode() + b"\n"
        lines = path.read_bytes().splitlines(keepends=True) if path and path.exists() else []
        self._lines = [header]  # to begin the file with
        for line in lines[1:] if lines[:1] == [header] else ():
            if entry := _entry(line):
                self._known[entry["stem"]] = entry
                self._lines.append(line)

    def known(self, sample: Sample) -> Scores | None:
        """What an earlier run found for a sample (its prediction named), if its files are the same still."""
        entry = self._known.get(sample.stem)
        if entry is None or entry["files"] != _marks(sample):
            return None
        curves = {name: np.frombuffer(base64.b64decode(text)) for name, text in entry["curves"].items()}
        return Scores(entry["figures"], curves)

    def add(self, sample: Sample, scores: Scores) -> None:
        if self.path is None:
            return
        curves = {name: base64.b64encode(curve.tobytes()).decode() for name, curve in scores.curves.items()}
        entry = {"stem": sample.stem, "files": _marks(sample), "figures": scores.figures, "curves": curves}
        line = json.dumps(entry).encode() + b"\n"
        if self._begun:
            with self.path.open("ab") as file:
                file.write(line)
        else:  # what an earlier run found is there until the new beginning is whole
            write_whole(self.path, lambda temporary: temporary.write_bytes(b"".join([*self._lines, line])))
            self._lines, self._begun = [], True

    def finish(self) -> None:
        """The run is complete: forget it, so that the next one scores everything."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)


def _entry(line: bytes) -> dict | None:
    """A line of a journal; None for one that was not written whole, by a killed run or on a full disk."""
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    whole = line.endswith(b"\n") and isinstance(entry, dict) and entry.keys() >= {"stem", "files", "figures", "curves"}
    return entry if whole else None


def _marks(sample: Sample) -> list[list]:
    """Path, size and time of every file of a sample, which change when it is written again; how it is read."""
    files = [path for path in (sample.truth, sample.image, sample.prediction) if path]
    states = [path.stat() if path.exists() else None for path in files]
    marks = [[str(path), state and state.st_size, state and state.st_mtime_ns] for path, state in zip(files, states)]
    return [*marks, [sample.cutout, *map(str, sample.values), "|", *map(str, sample.pred_values)]]


def score_all(
    samples: Iterable[Sample],
    journal: Journal,
    make: Callable[[Sample], None] | None,
    *,
    processes: int,
    on_scored: Callable[[], None],
) -> dict[str, Scores]:
    """The scores of every sample by stem, in the order of `samples`, from the journal where it knows them.

    make: writes a sample's prediction before it is scored. on_scored: called once an image.
    """
    samples = list(samples)
    scores = {sample.stem: journal.known(sample) for sample in samples}
    for known in scores.values():
        if known is not None:
            on_scored()

    def missing() -> Iterator[Sample]:
        for sample in samples:
            if scores[sample.stem] is None:
                if make:
                    make(sample)
                yield sample

    for sample, found in score_samples(missing(), processes=processes):
        journal.add(sample, found)
        scores[sample.stem] = found
        on_scored()
    return scores
