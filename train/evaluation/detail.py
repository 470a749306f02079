"""What mode "detail" brings on the set `detail`, or on any pictures much larger than the network sees them.

    python -m train.evaluation.detail --model bundled --data detail
    python -m train.evaluation.detail --random swin_v1_t --data detail --every 24     # for time and memory only
    python -m train.evaluation.detail --model bundled --data detail --edges edges.jpg # five edges at 1:1, to look at

A row for each way, the means over the pictures: mean difference (MAD) and gradient error (in thousands, as
metrics/matting.py has it) in the band, MAD and soft IoU in the whole picture, seconds; and the peak of a process that
mattes the largest of them, all that it loads counted. The band is what lies within 1/256 of the longer side of
where the truth is between .05 and .95, or steps across .5. In brackets: the part of what "whole" has. Mattes are
rounded to 8 bits before they are scored.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage
from tqdm import tqdm

from train.evaluation.errors import REFUSALS
from train.evaluation.metrics.matting import SIGMA
from train.shared.pictures import by_stem, pairs_of, picture_to_write, read_image, read_pair, save_picture

WAYS = {  # arguments of MattingModel.predict
    "whole": {},
    "whole, edges off": {"edges": "off"},
    "locate": {"mode": "locate"},
    "detail": {"mode": "detail"},
    "detail, edges off": {"mode": "detail", "edges": "off"},
}
BAND = 256  # the part of the longer side by which the band is wide to each side
EDGES, SIDE = 5, 360  # pictures of edges, and their pixels a side


def band_of(truth: np.ndarray) -> np.ndarray:
    """Where a matte [H, W] 0..1 is soft or steps from one side to the other, and around it; bool [H, W]."""
    soft = (truth > 0.05) & (truth < 0.95)
    soft |= (ndimage.maximum_filter(truth, 3) > 0.5) & (ndimage.minimum_filter(truth, 3) < 0.5)
    return ndimage.maximum_filter(soft, 2 * (max(truth.shape) // BAND) + 1)


def figures(alpha: np.ndarray, truth: np.ndarray, band: np.ndarray) -> list[float]:
    """MAD and gradient error in the band, MAD and soft IoU of all; NaN in an empty band."""
    off = np.abs(alpha - truth)
    lengths = [ndimage.gaussian_gradient_magnitude(matte, SIGMA) for matte in (alpha, truth)]
    gradient = np.square(lengths[0] - lengths[1])[band].sum() / 1000
    union = np.maximum(alpha, truth).sum()
    iou = np.minimum(alpha, truth).sum() / union if union else 1.0
    return [float(off[band].mean()) if band.any() else np.nan, float(gradient), float(off.mean()), float(iou)]


def matte(model, path: Path, way: str) -> tuple[np.ndarray, float]:
    """The alpha of a picture [H, W] in 0..1, rounded to 8 bits, and the seconds that it took."""
    import torch

    image = torch.from_numpy(np.array(read_image(path)))[None]
    started = time.perf_counter()
    alpha = model.predict(image, **WAYS[way])[0]
    return (255 * alpha).round_().div_(255).numpy(), time.perf_counter() - started


def measure(model, data: Path, every: int = 1) -> dict[str, np.ndarray]:
    """Way -> the means of `figures` and of the seconds, over every so many-th picture."""
    rows: dict[str, list[list[float]]] = {way: [] for way in WAYS}
    for _, image, mate in tqdm(pairs_of(data)[::every], unit="picture", disable=None):  # in a terminal
        truth = read_pair(image, mate)[1].astype(np.float32)
        band = band_of(truth)
        for way in WAYS:
            alpha, seconds = matte(model, image, way)
            rows[way].append([*figures(alpha, truth, band), seconds])
    return {way: np.nanmean(found, axis=0) for way, found in rows.items()}


def peak_of(name: str, path: Path, way: str) -> int:
    """Bytes that this process had at most, after a picture was matted; to be run in one of its own."""
    from birefnet_core import load_model
    from birefnet_core.bench.measure import peak_memory

    model = load_model(name)
    matte(model, path, way)
    return peak_memory(next(model.network.parameters()).device)


def peaks(name: str, data: Path, every: int = 1) -> dict[str, int]:
    """Way -> bytes, for the largest picture."""
    from birefnet_core.bench.measure import in_new_process

    largest = max(list(by_stem(data / "im").values())[::every], key=_pixels)
    return {way: in_new_process(peak_of, name, largest, way) for way in WAYS}


def _pixels(path: Path) -> int:
    with Image.open(path) as picture:
        return picture.width * picture.height


def table(means: dict[str, np.ndarray], memory: dict[str, int]) -> str:
    """In Markdown."""
    lines = ["| | MAD, band | Grad, band | MAD, all | IoU | seconds | peak, MiB |", "|---|" + "---|" * 6]
    first = means["whole"]
    for way, (near, gradient, everywhere, iou, seconds) in means.items():
        parts = [f"{value:.4f} ({value / first[k]:.2f})" for k, value in ((0, near), (2, everywhere))]
        cells = [parts[0], f"{gradient:.2f}", parts[1], f"{iou:.4f}", f"{seconds:.1f}", f"{memory[way] >> 20}"]
        lines.append(f"| {way} | {' | '.join(cells)} |")
    return "\n".join(lines)


def edges(model, data: Path) -> Image.Image:
    """Five edges at 1:1, one under another: the picture, on grey what "whole" and "detail" cut out, the truth. What a
    picture lacks of SIDE is grey."""
    rows, seen = [], set()
    for stem, path, mate in pairs_of(data):
        if (subject := stem.split("_", 1)[-1]) in seen or len(rows) == EDGES:
            continue
        seen.add(subject)
        image, truth = (np.asarray(each, np.float32) for each in read_pair(path, mate))
        soft = ndimage.uniform_filter(((truth > 0.05) & (truth < 0.95)).astype(np.float32), SIDE)
        rims = [min(SIDE, side) // 2 for side in soft.shape]
        soft = soft[tuple(slice(rim, rim + max(1, side - SIDE)) for rim, side in zip(rims, soft.shape))]
        top, left = np.unravel_index(np.argmax(soft), soft.shape)
        here = slice(top, top + SIDE), slice(left, left + SIDE)
        lacking = [(0, max(0, SIDE - side)) for side in truth.shape]
        mattes = [matte(model, path, way)[0] for way in ("whole", "detail")] + [truth]
        cut = [(each[..., None] * image + (1 - each[..., None]) * 128)[here] for each in mattes]
        tiles = [np.pad(each, (*lacking, (0, 0)), constant_values=128) for each in (image[here], *cut)]
        rows.append(np.concatenate(tiles, axis=1))
    return Image.fromarray(np.rint(np.concatenate(rows)).clip(0, 255).astype(np.uint8))


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m train.evaluation.detail",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--model", metavar="NAME_OR_FILE", help="bundled, a published name, a checkpoint")
    which.add_argument("--random", metavar="BACKBONE", help="a published layout with random weights")
    parser.add_argument("--data", required=True, type=Path, metavar="SET", help="has im/ and gt/")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only every N-th picture of the set (1: all)")
    parser.add_argument(
        "--edges", type=picture_to_write, metavar="FILE", help="write a picture of edges in place of figures"
    )
    options = parser.parse_args(arguments)
    if options.every < 1:
        parser.error("--every must be 1 or more")
    try:
        with tempfile.TemporaryDirectory() as temporary:
            _run(options, options.model or _random(options.random, Path(temporary)))
    except (*REFUSALS, RuntimeError) as error:  # the last: a process that measures died
        raise SystemExit(f"nothing was measured: {error}") from None
    except KeyboardInterrupt:
        raise SystemExit("stopped") from None


def _run(options: argparse.Namespace, name: str) -> None:
    from birefnet_core import load_model

    model = load_model(name)
    if options.edges:
        save_picture(edges(model, options.data), options.edges)
    else:
        print(table(measure(model, options.data, options.every), peaks(name, options.data, options.every)))


def _random(backbone: str, folder: Path) -> str:
    """The path of a checkpoint of random weights in `folder`."""
    from birefnet_core.bench.measure import write_random_weights
    from birefnet_core.network import Architecture

    path = folder / "random.safetensors"
    write_random_weights(Architecture(backbone=backbone), path)
    return str(path)


if __name__ == "__main__":
    main()
