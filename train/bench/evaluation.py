"""Time the evaluation, beside a checkout of upstream's, on the same generated mattes, and compare the figures.

    python -m train.bench.evaluation --against reference          # git clone https://github.com/ZhengPeng7/BiRefNet

For the checkout the environment needs opencv-python-headless and scikit-image besides. Both sides read the same files;
upstream's is called as its eval_existingOnes.py calls it (`--metrics all`). They take turns, a block of images each, so
that what else the machine does falls on both; processor time says what is left of that. Ours computes its matting
metrics in the same time.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from scipy import ndimage

from train.evaluate import evaluate, samples_of
from train.evaluation.metrics import summarise
from train.shared.pictures import save_picture, to_grey
from train.shared.processes import processes_for

UPSTREAM_METRICS = ("S", "MAE", "E", "F", "WF", "MBA", "BIoU", "MSE", "HCE")
BLOCKS = 2


def generate(folder: Path, images: int, size: int) -> None:
    """Write `images` pairs gt/*.png, pred/*.png of size x size: an irregular object with thin parts as truth, and what
    a fair model may make of it (soft edges, parts missed and added)."""
    for index in range(images):
        random = np.random.default_rng(index)
        down, right = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
        distance = np.hypot(down - random.uniform(-0.3, 0.3), right - random.uniform(-0.3, 0.3))
        body = 1 + 0.5 * _noise(random, size, 4) + 0.25 * _noise(random, size, 16) - random.uniform(1.5, 3) * distance
        near = distance < 0.8
        thin = (np.abs(_noise(random, size, 8)) < 0.03) & near
        truth = np.maximum(_soft(body * 40), thin)
        found = thin & (_noise(random, size, 8) > -0.5)
        alpha = np.maximum(_soft((body + 0.15 * _noise(random, size, 32)) * 25), 0.9 * found)
        save_picture(to_grey(truth), folder / "gt" / f"{index:04d}.png")
        save_picture(to_grey(alpha), folder / "pred" / f"{index:04d}.png")


def _noise(random: np.random.Generator, size: int, cells: int) -> np.ndarray:
    """Smooth noise [size, size] with about `cells` bumps a side, unit variance."""
    coarse = random.standard_normal((cells + 1, cells + 1))
    steps = np.linspace(0, cells, size)
    noise = ndimage.map_coordinates(coarse, np.meshgrid(steps, steps, indexing="ij"), order=1)
    return noise / noise.std()


def _soft(values: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-values.clip(-50, 50)))


def by_upstream(checkout: Path, folder: Path, names: list[str]) -> dict[str, float]:
    """Upstream's figures of some images, by our names. Runs in a process of its own."""
    sys.path.insert(0, str(checkout))
    from evaluation.metrics import evaluator

    e, s, f, mae, _, weighted, hce, mba, biou = evaluator(
        gt_paths=[str(folder / "gt" / name) for name in names],
        pred_paths=[str(folder / "pred" / name) for name in names],
        metrics=list(UPSTREAM_METRICS),
        num_workers=min(8, int(os.cpu_count() * 0.9)),
    )
    figures = {"S-measure": s, "MAE": mae, "weighted F": weighted, "HCE": hce, "mBA": mba}
    for name, curve in (("E", e), ("F", f), ("BIoU", biou)):
        figures |= {f"max {name}": curve["curve"].max(), f"mean {name}": curve["curve"].mean()}
        figures |= {f"adaptive {name}": curve["adp"]} if "adp" in curve else {}
    return {name: float(value) for name, value in figures.items()}


def main(arguments: list[str] | None = None) -> None:
    options = _options(arguments)
    processes = options.processes or processes_for(options.images)
    blocks = min(BLOCKS, options.images)
    ours, theirs, scores, figures = np.zeros(2), np.zeros(2), {}, []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        generate(folder, options.images, options.size)
        samples = samples_of(gt=folder / "gt", images=None, pred=folder / "pred")
        for block in range(blocks):
            part = samples[block::blocks]
            begin = _clocks()
            scores |= evaluate(f"ours {block + 1}/{blocks}", part, processes=processes).images
            ours += _clocks() - begin
            if options.against:
                names = [sample.truth.name for sample in part]
                begin = _clocks()
                with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
                    figures.append((len(part), pool.submit(by_upstream, options.against, folder, names).result()))
                theirs += _clocks() - begin
                print(f"block {block + 1}/{blocks}: {theirs[0] / ours[0]:.1f} times as fast", file=sys.stderr)
    print(f"{options.images} images of {options.size} x {options.size}, {processes} processes\n")
    print("| | time | times as fast | processor time | of upstream's |\n|---|---:|---:|---:|---:|")
    rows = {"upstream": theirs, "ours": ours} if options.against else {"ours": ours}
    for name, (wall, processor) in rows.items():
        ratios = (f"{theirs[0] / wall:.1f}", f"{processor / theirs[1]:.2f}") if options.against else ("", "")
        print(f"| {name} | {wall:.2f} s | {ratios[0]} | {processor:.2f} s | {ratios[1]} |")
    if options.against:
        _print_comparison([scores[sample.stem] for sample in samples], figures, blocks)


def _clocks() -> np.ndarray:
    """Seconds on the wall, and of processor time of this process and of those that it has ended."""
    times = os.times()
    return np.array([time.perf_counter(), times.user + times.system + times.children_user + times.children_system])


def _print_comparison(scores: list, figures: list[tuple[int, dict[str, float]]], blocks: int) -> None:
    """The largest difference over blocks of every figure both have."""
    print("\n| figure | upstream | ours | largest difference of a block |\n|---|---:|---:|---:|")
    mine = [summarise(scores[block::blocks]) for block in range(blocks)]
    for name in figures[0][1]:
        pairs = [(theirs[name], own[name]) for (_, theirs), own in zip(figures, mine)]
        means = np.average(pairs, axis=0, weights=[number for number, _ in figures])
        print(f"| {name} | {means[0]:.6f} | {means[1]:.6f} | {max(abs(a - b) for a, b in pairs):.1e} |")


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m train.bench.evaluation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--against", type=Path, metavar="PATH", help="a checkout of upstream")
    parser.add_argument("--images", type=int, default=200, metavar="N", help="how many (200)")
    parser.add_argument("--size", type=int, default=1024, metavar="PIXELS", help="of their sides (1024)")
    parser.add_argument("--processes", type=int, metavar="N", help="of ours (all processors)")
    options = parser.parse_args(arguments)
    if options.images < 1 or options.size < 64 or (options.processes or 1) < 1:
        parser.error("--images and --processes must be at least 1, --size at least 64")
    if options.against and not (options.against / "evaluation" / "metrics.py").is_file():
        parser.error(f"{options.against} is no checkout of upstream: it has no evaluation/metrics.py")
    return options


if __name__ == "__main__":
    main()
