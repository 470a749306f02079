"""Score mattes against the truth: the paper's table, the figures as CSV and JSON, and a sheet of the worst cases.

A data set is a folder with im/ (photographs) and gt/ (mattes), paired by stem. Either mattes that lie in a folder:

    python train/evaluate.py --pred PREDICTIONS --gt TRUTH
    python train/evaluate.py --pred PREDICTIONS --data SET          # the sheet then shows the photographs too

or those of a model, made here (its name, or the path of a checkpoint; several data sets, one row each):

    python train/evaluate.py --model bundled --data SET --data SET2 --out RESULTS

With --out, RESULTS holds summary.csv, summary.json, images.csv (every image), worst-SET.jpg and, of a model, its
mattes as pred/SET/*.png; and a run that was stopped goes on where it was when the same command is given again. What
the metrics mean is said in train/evaluation/metrics/__init__.py. Mattes are grey pictures, or cut-outs, of which the
alpha channel counts. A model's are rounded to 8 bits before they are scored, so that scoring them again from the saved
files gives the same figures.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import json
import math
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from PIL import Image
from tqdm import tqdm

if not __package__:  # run as a script: the repository on the path in place of train/
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from birefnet_core.names import let_stdout_take_any_name
from train.evaluation.metrics import LOWER_IS_BETTER, METRICS, Scores, summarise
from train.evaluation.scoring import Journal, Sample, score_all
from train.shared.files import write_text
from train.shared.mattes import Value, for_predictions, is_coded, parse_value, read_mask
from train.shared.pictures import (
    PROBED,
    are_cutouts,
    by_stem,
    contact_sheet,
    read_image,
    read_matte,
    save_picture,
    to_grey,
)
from train.shared.processes import processes_for

SHOWN = 5  # names listed in a message
WORST_BY = "MAD"
MOST_ON_A_SHEET = 500  # JPEG holds 65,535 pixels a side, which is room for 620


@dataclass(frozen=True)
class Result:
    """The scores of one data set's images by stem."""

    name: str
    images: dict[str, Scores]

    @cached_property
    def summary(self) -> dict[str, float]:
        """The data set's figures by name in METRICS."""
        return summarise(self.images.values())

    def worst(self, count: int) -> list[str]:
        """The stems with the largest MAD, worst first."""
        return sorted(self.images, key=lambda stem: -self.images[stem].figures[WORST_BY])[:count]


def pair(truths: Path, others: Path, what: str, *, partial: bool = False) -> dict[str, tuple[Path, Path]]:
    """(truth, other) files by stem. ValueError, with names, when a truth has no mate, unless `partial`; files without
    a truth are mentioned on stderr and left out."""
    of_truth, of_other = by_stem(truths), by_stem(others)
    missing = [stem for stem in of_truth if stem not in of_other]
    extra = [stem for stem in of_other if stem not in of_truth]
    if extra:
        print(f"note: {_named(extra)} in {others}: no truth in {truths}, left out", file=sys.stderr)
    if missing:
        message = f"{_named(missing)} of {truths} has no {what} in {others}"
        if not partial or len(missing) == len(of_truth):
            raise ValueError(f"{message} (pairs have the same stem; --partial scores the others)")
        print(f"note: {message}, left out", file=sys.stderr)
    return {stem: (path, of_other[stem]) for stem, path in of_truth.items() if stem in of_other}


def samples_of(
    *,
    gt: Path,
    images: Path | None,
    pred: Path | None,
    partial: bool = False,
    values: Sequence[Value] = (),
    pred_values: Sequence[Value] = (),
) -> list[Sample]:
    """The samples of one data set, paired by stem. At least one of `images` and `pred` must be given; `values` and
    `pred_values` as of `Sample`. ValueError where all of the first predictions are black and a level not white."""
    photographs = pair(gt, images, "image", partial=partial) if images else None
    predictions = pair(gt, pred, "prediction", partial=partial) if pred else None
    mates = [pairs for pairs in (photographs, predictions) if pairs is not None]
    stems = [stem for stem in mates[0] if all(stem in pairs for pairs in mates)]
    cutouts = bool(pred) and are_cutouts(predictions[stem][1] for stem in stems)
    if pred:
        probed = (predictions[stem][1] for stem in stems[:PROBED])
        mattes = [read_mask(path, cutout=cutouts, values=pred_values) for path in probed]
        if all(map(is_coded, mattes)):
            raise ValueError(for_predictions(mattes[0].problem))
    return [
        Sample(
            stem,
            truth=mates[0][stem][0],
            image=photographs[stem][1] if photographs else None,
            prediction=predictions[stem][1] if predictions else None,
            cutout=cutouts,
            values=tuple(values),
            pred_values=tuple(pred_values),
        )
        for stem in stems
    ]


def evaluate(
    name: str,
    samples: list[Sample],
    *,
    make: Callable[[Sample], None] | None = None,
    journal: Journal | None = None,
    processes: int | None = None,
) -> Result:
    """Score every sample; each names its prediction, which `make`, if given, writes first. ValueError names the file
    that cannot be read or whose size is not its truth's."""
    with tqdm(total=len(samples), desc=name, unit="image", disable=not sys.stderr.isatty()) as bar:
        scores = score_all(
            samples,
            journal or Journal(None, {}),
            make,
            processes=processes or processes_for(len(samples)),
            on_scored=bar.update,
        )
    return Result(name, scores)


def matte_maker(model, size: tuple[int, int] | None, mode: str) -> Callable[[Sample], None]:
    """A function that mattes a sample's photograph with a MattingModel and writes its prediction, in 8 bits."""
    from birefnet_core.matting.images import read

    def make(sample: Sample) -> None:
        pixels = read(sample.image).pixels
        save_picture(to_grey(model.predict(pixels[None], size=size, mode=mode)[0].numpy()), sample.prediction)

    return make


def table(results: list[Result], kind: str) -> str:
    """The figures of one kind of metric as text, one row a data set; an arrow tells which way is better."""
    names = [name for name, metric in METRICS.items() if metric.kind == kind]
    heads = ["data set", "images", *(f"{name} {'↓' if name in LOWER_IS_BETTER else '↑'}" for name in names)]
    rows = [[r.name, str(len(r.images)), *(_figure(r.summary[name]) for name in names)] for r in results]
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    lines = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in [heads, *rows]]
    return "\n".join(lines)


def worst_sheet(result: Result, samples: list[Sample], count: int) -> Image.Image:
    """The worst cases by MAD: photograph (where known), truth, matte."""
    of_stem = {sample.stem: sample for sample in samples}
    rows = []
    for stem in result.worst(count):
        sample, figures = of_stem[stem], result.images[stem].figures
        pictures = [read_image(sample.image)] if sample.image else []
        truth = read_matte(sample.truth, values=sample.values)
        mattes = truth, read_matte(sample.prediction, cutout=sample.cutout, values=sample.pred_values)
        pictures += map(to_grey, mattes)
        label = "  ".join(f"{metric} {figures[metric]:.3f}" for metric in (WORST_BY, "IoU", "S-measure"))
        rows.append((f"{stem}  {label}", pictures))
    return contact_sheet(rows, across=2)


def save_figures(results: list[Result], out: Path) -> None:
    """summary.csv, summary.json and images.csv in `out`. A figure that is not defined is an empty cell, or null."""
    rows = [[r.name, len(r.images), *map(_cell, r.summary.values())] for r in results]
    write_text(out / "summary.csv", _csv([["data set", "images", *METRICS], *rows]))
    rows = [[r.name, stem, *map(_cell, scores.figures.values())] for r in results for stem, scores in r.images.items()]
    write_text(out / "images.csv", _csv([["data set", "image", *METRICS], *rows]))
    summary = {
        r.name: {"images": len(r.images)} | {name: _cell(value, None) for name, value in r.summary.items()}
        for r in results
    }
    write_text(out / "summary.json", json.dumps(summary, indent=2) + "\n")


def main(arguments: list[str] | None = None) -> list[Result]:
    let_stdout_take_any_name()  # redirected on Windows it has no arrows either
    options = _options(arguments)
    try:
        results = _run(options)
    except (ValueError, ArithmeticError, OSError) as error:  # ArithmeticError: the network gave NaN
        raise SystemExit(f"not evaluated: {error}") from None
    except BrokenExecutor:
        reason = "one of the processes was killed or crashed, perhaps for want of memory (--processes 1 takes least)"
        raise SystemExit(f"not evaluated: {reason}{_goes_on(options)}") from None
    except KeyboardInterrupt:
        raise SystemExit(f"stopped{_goes_on(options)}") from None
    print(table(results, "segmentation"), table(results, "matting"), sep="\n\n")
    if options.out:
        print(f"\nFigures and sheets of the worst cases are in {options.out}")
    return results


def _goes_on(options: argparse.Namespace) -> str:
    return "; the same command goes on from here" if options.out else ""


def _run(options: argparse.Namespace) -> list[Result]:
    model = _load(options) if options.model is not None else None
    make = matte_maker(model, options.size, options.mode) if model else None
    if model:
        if model.takes_hint:
            print(
                f"note: {options.model} takes a hint; it is measured without, on all that is salient", file=sys.stderr
            )
        spec = model.spec
        expected = [spec.size, spec.mean, spec.std, spec.edge_radius]  # by these the same weights give another alpha
        key = {"model": _fingerprint(model), "spec": expected, "size": options.size, "mode": options.mode}
    else:
        key = {"pred": str(options.pred.resolve())}
    results, scored, journals = [], [], []
    with tempfile.TemporaryDirectory() as elsewhere:
        for name, gt, images in _data_sets(options):
            values = dict(values=options.mask_value, pred_values=options.pred_value)
            samples = samples_of(gt=gt, images=images, pred=options.pred, partial=options.partial, **values)
            if model:
                mattes = (options.out or Path(elsewhere)) / "pred" / name
                samples = [replace(sample, prediction=mattes / f"{sample.stem}.png") for sample in samples]
            journal = Journal(options.out / f"unfinished-{name}.jsonl" if options.out else None, key)
            result = evaluate(name, samples, make=make, journal=journal, processes=options.processes)
            results.append(result)
            scored.append(samples)
            journals.append(journal)
    if options.out:
        save_figures(results, options.out)
        for result, samples in zip(results, scored):
            _save_sheet(result, samples, options)
    for journal in journals:
        journal.finish()
    return results


def _save_sheet(result: Result, samples: list[Sample], options: argparse.Namespace) -> None:
    """A sheet that cannot be made is a note, no reason to withhold figures."""
    path = options.out / f"worst-{result.name}.jpg"
    try:
        path.unlink(missing_ok=True)  # one of other mattes would be taken for these
        save_picture(worst_sheet(result, samples, options.worst), path)
    except (ValueError, OSError) as error:
        print(f"note: {path} was not made: {error}", file=sys.stderr)


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--pred", type=Path, metavar="FOLDER", help="mattes to score")
    what.add_argument(
        "--model", metavar="NAME_OR_FILE", help="a model to score: bundled, a published name, a checkpoint"
    )
    parser.add_argument("--gt", type=Path, metavar="FOLDER", help="true mattes (with --pred)")
    parser.add_argument(
        "--data", type=Path, action="append", default=[], metavar="SET", help="has im/, gt/; repeatable"
    )
    for name, whose in (("mask", "the true masks"), ("pred", "the mattes to score")):
        parser.add_argument(
            f"--{name}-value",
            action="append",
            type=parse_value,
            default=[],
            metavar="VALUE",
            help=f"what is the subject in {whose} where it is not the white: a level or palette index, a colour "
            "(#c08080), several of them; or grey: take grey values as alpha",
        )
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="write the figures and sheets here")
    parser.add_argument("--worst", type=int, default=16, metavar="N", help="images on the sheet of worst cases (16)")
    parser.add_argument("--partial", action="store_true", help="score what has a mate instead of stopping")
    parser.add_argument("--size", type=_size, metavar="N or WxH", help="the model's input size (its own by default)")
    parser.add_argument(
        "--mode",
        choices=("whole", "locate", "detail"),
        default="whole",
        help="locate: small subjects get a second look; detail: edges get one, in the picture's own pixels (whole)",
    )
    parser.add_argument("--device", default="auto", help="where the model runs (auto)")
    parser.add_argument(
        "--processes", type=int, metavar="N", help="that score at a time (as many as the machine gives)"
    )
    options = parser.parse_args(arguments)
    if bool(options.gt) == bool(options.data):
        parser.error("give the truth as either --gt FOLDER or --data SET")
    if options.gt and options.model is not None:
        parser.error("--model needs photographs: give --data SET (a folder with im/ and gt/) instead of --gt")
    if options.pred and len(options.data) > 1:
        parser.error("--pred goes with one --data")
    names = [folder.resolve().name for folder in options.data]
    if len(set(names)) < len(names):
        parser.error(f"two data sets have the same folder name ({', '.join(names)}), which is their name in the table")
    if not 1 <= options.worst <= MOST_ON_A_SHEET:
        parser.error(f"--worst takes 1 to {MOST_ON_A_SHEET} images")
    if options.processes is not None and options.processes < 1:
        parser.error("--processes needs at least 1")
    return options


def _data_sets(options: argparse.Namespace) -> list[tuple[str, Path, Path | None]]:
    """(name, truth folder, image folder) of each data set."""
    if options.gt:
        folder = options.gt.resolve()
        return [(folder.parent.name if folder.name.lower() == "gt" else folder.name, options.gt, None)]
    return [(folder.resolve().name, folder / "gt", folder / "im") for folder in options.data]


def _load(options: argparse.Namespace):
    import birefnet_core
    from birefnet_core.weights.download import DownloadError

    try:
        return birefnet_core.load_model(options.model, device=options.device)
    except DownloadError as error:
        raise ValueError(str(error)) from error


def _fingerprint(model) -> str:
    """Of a model's weights: a file of the same name may hold others tomorrow."""
    digest = hashlib.sha256()
    for name, tensor in model.network.state_dict().items():
        digest.update(name.encode() + tensor.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _size(text: str) -> tuple[int, int]:
    try:
        width, height = map(int, text.lower().split("x")) if "x" in text.lower() else (int(text),) * 2
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text}: give a number such as 1024, or WIDTHxHEIGHT") from None
    return width, height


def _figure(value: float) -> str:
    if math.isnan(value):
        return "-"
    return f"{value:.4f}" if value < 10 else f"{value:.1f}"


def _cell(value: float, blank: str | None = "") -> float | str | None:
    return blank if math.isnan(value) else value


def _named(stems: list[str]) -> str:
    shown = ", ".join(stems[:SHOWN])
    return f"{len(stems)} ({shown}{', ...' if len(stems) > SHOWN else ''})"


def _csv(rows: list[list]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # stopped so, too, it takes its processes along
    main()
