"""How well hints are followed: IoU and MAD by kind of hint on the set `pairs`, or on any set of im/ and gt/.

    python -m train.evaluation.sets pairs --packages FOLDER --out pairs
    python -m train.evaluation.hints --model bundled --data pairs
    python -m train.evaluation.hints --model bundled --data pairs --sheet hints.jpg     # the first pictures, to look at
    python -m train.evaluation.hints --model bundled --data E1                          # hints made from its truths
    python -m train.evaluation.hints --model bundled --data pairs --untold              # as models that take no hints

Pictures whose truth has nothing that is half opaque are left out: nothing can ask for them.
For each kind, against the visible alpha of the one asked for: the hint itself (stretched over the picture), the matte
of everything, and the matte with the hint. `passes` is how often the network looked, `time` how long a picture took
beside its plain matte, which is one pass.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from birefnet_core.matting.masks import fit
from train.evaluation.errors import REFUSALS
from train.evaluation.sets.pairs import DRAWN, HINTS
from train.shared.pictures import (
    by_stem,
    contact_sheet,
    mate,
    pairs_of,
    picture_to_write,
    read_matte,
    read_pair,
    save_picture,
    to_grey,
)

SHOWN = 10  # pictures on the sheet


def iou(alpha: Tensor, truth: Tensor) -> float:
    """Intersection over union of what is at least half opaque; 1 when neither has any."""
    alpha, truth = alpha >= 0.5, truth >= 0.5
    union = (alpha | truth).sum().item()
    return (alpha & truth).sum().item() / union if union else 1.0


def mad(alpha: Tensor, truth: Tensor) -> float:
    return (alpha - truth).abs().mean().item()


class Counted:
    """A MattingModel that counts its network's passes."""

    def __init__(self, model) -> None:
        self.model, self.passes = model, 0
        model.network.register_forward_pre_hook(self._count)

    def _count(self, *_) -> None:
        self.passes += 1

    def matte(self, image: Tensor, hint: Tensor | None = None) -> tuple[Tensor, int, float]:
        """image [H, W, 3], hint [h, w] -> alpha [H, W], passes, seconds."""
        self.passes, started = 0, time.perf_counter()
        alpha = self.model.predict(image[None], hint=hint)[0]
        return alpha, self.passes, time.perf_counter() - started


def measure(model, data: Path, every: int = 1) -> tuple[dict[str, list[list[float]]], list]:
    """The rows of figures by kind of hint, and (stem, pictures) of the first SHOWN for a sheet, of every so
    many-th picture only. ValueError where a picture lacks its matte or a hint, or where none can be asked for.

    A row: IoU and MAD of the hint, of the matte of everything, of the matte with the hint; passes, and seconds with the
    hint and without.
    """
    counted = Counted(model)
    given = {folder: by_stem(folder) for folder in sorted(data.glob("hints/*")) if folder.is_dir()}
    figures: dict[str, list[list[float]]] = {}
    strips = []
    for stem, path, matte in tqdm(pairs_of(data)[::every], unit="picture", disable=None):  # in a terminal
        picture, alpha = read_pair(path, matte)
        truth = torch.from_numpy(alpha).float()
        if not (truth >= 0.5).any():
            print(f"left out: {matte} has nothing that is half opaque", file=sys.stderr)
            continue
        files = {folder.name: mate(hints, path, folder) for folder, hints in given.items()}
        image = torch.from_numpy(np.asarray(picture).astype(np.float32) / 255)
        everything, _, plain = counted.matte(image)
        shown = [picture, to_grey(truth.numpy()), to_grey(everything.numpy())]
        for kind, hint in hints_of(files, stem, truth.numpy()).items():
            alpha, passes, seconds = counted.matte(image, hint)
            itself = fit(hint[None], *truth.shape)[0]
            scores = [score(map, truth) for map in (itself, everything, alpha) for score in (iou, mad)]
            figures.setdefault(kind, []).append([*scores, passes, seconds, plain])
            shown += [over(picture, itself), to_grey(alpha.numpy())]
        if len(strips) < SHOWN:
            strips.append((stem, shown))
    if not figures:
        raise ValueError(f"no truth in {data / 'gt'} has anything that is half opaque")
    return figures, strips


def hints_of(files: dict[str, Path], stem: str, truth: np.ndarray) -> dict[str, Tensor]:
    """By kind, each [h, w] 0..1: those of the files, or without any made from truth [H, W] as those of `pairs` are,
    and what is drawn by hand in either case; by the picture's name."""
    made = {kind: read_matte(path) for kind, path in files.items()}
    makers = DRAWN if made else HINTS | DRAWN
    made |= {kind: make(truth, random.Random(stem)) for kind, make in makers.items() if kind not in made}
    return {kind: torch.tensor(hint, dtype=torch.float32) for kind, hint in made.items()}


def over(picture: Image.Image, hint: Tensor) -> Image.Image:
    """The picture with the hint in red over it."""
    red = Image.new("RGB", picture.size, (255, 40, 40))
    return Image.composite(red, picture, to_grey(0.6 * hint.numpy()))


def table(figures: dict[str, list[list[float]]]) -> str:
    """The means as a table in Markdown."""
    lines = [
        "| hint | itself: IoU / MAD | everything: IoU / MAD | with the hint: IoU / MAD | passes | time |",
        "|---|---|---|---|---|---|",
    ]
    for kind, rows in figures.items():
        own, own_mad, all_, all_mad, ours, our_mad, passes, seconds, plain = np.mean(rows, axis=0)
        cells = f"{own:.3f} / {own_mad:.4f} | {all_:.3f} / {all_mad:.4f} | {ours:.3f} / {our_mad:.4f}"
        lines.append(f"| {kind} | {cells} | {passes:.2f} | {seconds / plain:.2f} |")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    import birefnet_core

    parser = argparse.ArgumentParser(
        prog="python -m train.evaluation.hints",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--model", required=True, metavar="NAME_OR_FILE", help="bundled, a published name, a checkpoint"
    )
    parser.add_argument("--data", required=True, type=Path, metavar="SET", help="has im/ and gt/, perhaps hints/KIND/")
    parser.add_argument(
        "--sheet", type=picture_to_write, metavar="FILE", help="write the first pictures with every hint here"
    )
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only every N-th picture of the set (1: all)")
    parser.add_argument(
        "--untold",
        action="store_true",
        help="do not tell the network its hint: follow it as with models that take none",
    )
    parser.add_argument("--device", default="auto", help="where the model runs (auto)")
    options = parser.parse_args(arguments)
    if options.every < 1:
        parser.error("--every needs at least 1")
    lacking = [name for name in ("im", "gt") if not (options.data / name).is_dir()]
    if lacking:
        raise SystemExit(f"not measured: {options.data} has no folder {lacking[0]}/")
    try:
        model = birefnet_core.load_model(options.model, device=options.device, hint=not options.untold)
        figures, strips = measure(model, options.data, options.every)
    except REFUSALS as error:
        raise SystemExit(f"not measured: {error}") from None
    except KeyboardInterrupt:
        raise SystemExit("stopped: nothing was measured") from None
    print(table(figures))
    if options.sheet:
        try:
            save_picture(contact_sheet(strips, cell=110), options.sheet)
        except OSError as error:
            raise SystemExit(f"the sheet was not written: {error}") from None


if __name__ == "__main__":
    main()
