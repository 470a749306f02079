"""Score mattes against the truth: a table per data set, the figures as CSV and JSON, and a sheet of the worst cases.

A data set is a folder with im/ (photographs) and gt/ (mattes), paired by stem. Either mattes that lie in a folder:

    python train/evaluate.py --pred PREDICTIONS --gt TRUTH
    python train/evaluate.py --pred PREDICTIONS --data SET          # the sheet then shows the photographs too

or those of a model, made here (its name, or the path of a checkpoint; several data sets, one row each):

    python train/evaluate.py --model bundled --data SET --data SET2 --out RESULTS

With --out, RESULTS holds summary.csv, summary.json, images.csv (every image), worst-SET.jpg and, of a model, its
mattes as pred/SET/*.png. What the metrics mean is said in train/metrics.py. A model's mattes are rounded to 8 bits
before they are scored, so that scoring them again from the saved files gives the same figures.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

if not __package__:  # run as a script: the repository on the path in place of train/
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from train.files import write_whole
from train.metrics import LOWER_IS_BETTER, METRICS, score
from train.pictures import by_stem, contact_sheet, read_image, read_matte, save_picture, to_grey

SHOWN = 5  # names listed in a message


@dataclass(frozen=True)
class Sample:
    """One picture of a data set: where its truth, its photograph and (unless a model makes it) its matte are."""

    stem: str
    truth: Path
    image: Path | None = None
    prediction: Path | None = None


@dataclass
class Result:
    """The figures of one data set: per image by stem, and their means."""

    name: str
    images: dict[str, dict[str, float]] = field(default_factory=dict)

    def means(self) -> dict[str, float]:
        return {metric: float(np.mean([figures[metric] for figures in self.images.values()])) for metric in METRICS}

    def worst(self, count: int) -> list[str]:
        """The stems with the largest MAE, worst first."""
        return sorted(self.images, key=lambda stem: -self.images[stem]["MAE"])[:count]


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


def samples_of(*, gt: Path, images: Path | None, pred: Path | None, partial: bool = False) -> list[Sample]:
    """The samples of one data set, paired by stem. At least one of `images` and `pred` must be given."""
    photographs = pair(gt, images, "image", partial=partial) if images else None
    predictions = pair(gt, pred, "prediction", partial=partial) if pred else None
    mates = [pairs for pairs in (photographs, predictions) if pairs is not None]
    stems = [stem for stem in mates[0] if all(stem in pairs for pairs in mates)]
    return [
        Sample(
            stem,
            truth=mates[0][stem][0],
            image=photographs[stem][1] if photographs else None,
            prediction=predictions[stem][1] if predictions else None,
        )
        for stem in stems
    ]


def evaluate(name: str, samples: list[Sample], matte_of: Callable[[Sample], np.ndarray]) -> Result:
    """Score every sample. ValueError names the picture when a matte and its truth differ in size."""
    result = Result(name)
    for done, sample in enumerate(samples, 1):
        alpha, truth = matte_of(sample), read_matte(sample.truth)
        if alpha.shape != truth.shape:
            sizes = [f"{matte.shape[1]}x{matte.shape[0]}" for matte in (alpha, truth)]
            what = f"{sample.prediction or sample.image} is {sizes[0]}, its truth {sample.truth} is {sizes[1]}"
            raise ValueError(f"{what}: make them the same size")
        result.images[sample.stem] = score(alpha, truth)
        if sys.stderr.isatty():
            print(f"\r{name}: {done}/{len(samples)}", end="\n" if done == len(samples) else "", file=sys.stderr)
    return result


def read_prediction(sample: Sample) -> np.ndarray:
    return read_matte(sample.prediction)


def model_mattes(model, size: tuple[int, int] | None, keep: Path | None) -> Callable[[Sample], np.ndarray]:
    """A function that mattes a sample's photograph with a MattingModel, rounds to 8 bits, and saves it in `keep` if
    given."""
    from birefnet_core.matting.images import read

    def matte(sample: Sample) -> np.ndarray:
        pixels = read(sample.image).pixels
        grey = to_grey(model.predict(pixels[None], size=size)[0].numpy())
        if keep:
            save_picture(grey, keep / f"{sample.stem}.png")
        return np.asarray(grey, dtype=np.float64) / 255

    return matte


def table(results: list[Result]) -> str:
    """The means as text, one row a data set; an arrow tells which way is better."""
    heads = ["data set", "images", *(f"{name} {'↓' if name in LOWER_IS_BETTER else '↑'}" for name in METRICS)]
    rows = [heads, *([r.name, str(len(r.images)), *(f"{value:.4f}" for value in r.means().values())] for r in results)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows)


def worst_sheet(result: Result, samples: list[Sample], predictions: dict[str, Path], count: int) -> Image.Image:
    """The worst cases by MAE: photograph (where known), truth, matte."""
    of_stem = {sample.stem: sample for sample in samples}
    rows = []
    for stem in result.worst(count):
        sample, figures = of_stem[stem], result.images[stem]
        pictures = [read_image(sample.image)] if sample.image else []
        pictures += [to_grey(read_matte(path)) for path in (sample.truth, predictions[stem])]
        label = "  ".join(f"{metric} {figures[metric]:.3f}" for metric in ("MAE", "IoU", "S-measure"))
        rows.append((f"{stem}  {label}", pictures))
    return contact_sheet(rows, across=2)


def save_figures(results: list[Result], out: Path) -> None:
    """summary.csv, summary.json and images.csv in `out`."""
    heads = ["data set", "images", *METRICS]
    _write(out / "summary.csv", _csv([heads, *([r.name, len(r.images), *r.means().values()] for r in results)]))
    rows = [[r.name, stem, *figures.values()] for r in results for stem, figures in r.images.items()]
    _write(out / "images.csv", _csv([["data set", "image", *METRICS], *rows]))
    summary = {r.name: {"images": len(r.images), **r.means()} for r in results}
    _write(out / "summary.json", json.dumps(summary, indent=2) + "\n")


def main(arguments: list[str] | None = None) -> list[Result]:
    options = _options(arguments)
    try:
        results = _run(options)
    except (ValueError, ArithmeticError, OSError) as error:  # ArithmeticError: the network gave NaN
        raise SystemExit(f"not evaluated: {error}") from None
    print(table(results))
    if options.out:
        print(f"Figures and sheets of the worst cases are in {options.out}")
    return results


def _run(options: argparse.Namespace) -> list[Result]:
    model = _load(options) if options.model else None
    results = []
    for name, gt, images in _data_sets(options):
        samples = samples_of(gt=gt, images=images, pred=options.pred, partial=options.partial)
        mattes = options.out / "pred" / name if model and options.out else None
        results.append(evaluate(name, samples, model_mattes(model, options.size, mattes) if model else read_prediction))
        if options.out:
            predictions = {s.stem: s.prediction or mattes / f"{s.stem}.png" for s in samples}
            sheet = worst_sheet(results[-1], samples, predictions, options.worst)
            save_picture(sheet, options.out / f"worst-{name}.jpg")
    if options.out:
        save_figures(results, options.out)
    return results


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
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="write the figures and sheets here")
    parser.add_argument("--worst", type=int, default=16, metavar="N", help="images on the sheet of worst cases (16)")
    parser.add_argument("--partial", action="store_true", help="score what has a mate instead of stopping")
    parser.add_argument("--size", type=_size, metavar="N or WxH", help="the model's input size (its own by default)")
    parser.add_argument("--device", default="auto", help="where the model runs (auto)")
    options = parser.parse_args(arguments)
    if bool(options.gt) == bool(options.data):
        parser.error("give the truth as either --gt FOLDER or --data SET")
    if options.gt and options.model:
        parser.error("--model needs photographs: give --data SET (a folder with im/ and gt/) instead of --gt")
    if options.pred and len(options.data) > 1:
        parser.error("--pred goes with one --data")
    names = [folder.resolve().name for folder in options.data]
    if len(set(names)) < len(names):
        parser.error(f"two data sets have the same folder name ({', '.join(names)}), which is their name in the table")
    if options.worst < 1:
        parser.error("--worst needs at least 1")
    return options


def _data_sets(options: argparse.Namespace) -> list[tuple[str, Path, Path | None]]:
    """(name, truth folder, image folder) of each data set."""
    if options.gt:
        folder = options.gt.resolve()
        return [(folder.parent.name if folder.name.lower() == "gt" else folder.name, options.gt, None)]
    return [(folder.resolve().name, folder / "gt", folder / "im") for folder in options.data]


def _load(options: argparse.Namespace):
    import birefnet_core

    return birefnet_core.load_model(options.model, device=options.device)


def _size(text: str) -> tuple[int, int]:
    try:
        width, height = map(int, text.lower().split("x")) if "x" in text.lower() else (int(text),) * 2
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text}: give a number such as 1024, or WIDTHxHEIGHT") from None
    return width, height


def _named(stems: list[str]) -> str:
    shown = ", ".join(stems[:SHOWN])
    return f"{len(stems)} ({shown}{', ...' if len(stems) > SHOWN else ''})"


def _csv(rows: list[list]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _write(path: Path, text: str) -> None:
    write_whole(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


if __name__ == "__main__":
    main()
