"""`python -m birefnet_core.bench.foreground --cutouts DIR`: error and time of the foreground estimation on composites
whose foreground is known, beside doing nothing and beside pymatting, where that is installed.

DIR holds foregrounds/<source>/* (straight alpha) and backgrounds/<source>/*, as the training pack does. Each cut-out is
composited three times, in 8 bits: as it is; enlarged twice; enlarged and out of focus. The error is the mean absolute
difference of colours, 0..1, where the true alpha is soft (0 < alpha < 1): "plain", and "visible", weighted by alpha as
a composite shows it.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from ..matting import images
from ..matting.compose import cover, over
from ..matting.foreground import estimate_foreground
from ..matting.masks import blur
from ..picture_files import READ_SUFFIXES
from .report import duration, table

KINDS = {"sharp": (1, 0.0), "enlarged": (2, 0.0), "out of focus": (2, 4.0)}  # scale, standard deviation of the blur
MARGIN = 32  # pixels around the cut-out, before scaling
NOTHING, OURS, PEER = "the image itself", "estimate_foreground", "pymatting, multi-level"
Method = Callable[[Tensor, Tensor], Tensor]  # image [H, W, 3], alpha [H, W] -> colours [H, W, 3]


@dataclass
class Score:
    """Sums over pictures: of their mean errors, and of the seconds."""

    plain: float = 0.0
    visible: float = 0.0
    seconds: float = 0.0
    pictures: int = 0
    pooled: list[float] = field(default_factory=lambda: [0.0, 0.0])  # sum of errors, soft pixels

    def add(self, found: Tensor, colours: Tensor, alpha: Tensor, seconds: float) -> None:
        soft = (alpha > 0) & (alpha < 1)
        error = (found - colours).abs().mean(2)[soft]
        self.plain += error.mean().item()
        self.visible += (error * alpha[soft]).mean().item()
        self.seconds += seconds
        self.pictures += 1
        self.pooled[0] += error.sum().item()
        self.pooled[1] += error.numel()


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m birefnet_core.bench.foreground", description=__doc__)
    parser.add_argument("--cutouts", type=Path, required=True, metavar="DIR")
    parser.add_argument("--pictures", type=int, default=6, help="cut-outs of each source (default: 6)")
    parser.add_argument(
        "--model", default="bundled", help="whose alpha is tried beside the true one (default: bundled)"
    )
    parser.add_argument("--device", default="cpu", help="of estimate_foreground; pymatting runs on the CPU")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads, of pymatting too (default: 2)")
    parser.add_argument("--repeats", type=int, default=3, help="timed runs a picture, the best counts (default: 3)")
    args = parser.parse_args(arguments)
    if min(args.pictures, args.threads, args.repeats) < 1:
        parser.error("--pictures, --threads and --repeats must be at least 1")
    try:
        return run(args)
    except (ValueError, OSError, RuntimeError) as error:  # the last: a model that could not be downloaded
        print(f"birefnet_core.bench.foreground: {error}", file=sys.stderr)
        return 1


def run(args: argparse.Namespace) -> int:
    from ..matting.load import load_model

    torch.set_num_threads(args.threads)
    model = load_model(args.model, device=args.device)
    methods = {NOTHING: lambda image, alpha: image, OURS: _ours(args.device)}
    if (peer := _pymatting(args.threads)) is not None:
        methods[PEER] = peer
    scores: dict[tuple[str, str], dict[str, Score]] = {}
    for kind, image, alpha, colours in composites(args.cutouts, args.pictures):
        given = {"true": alpha, f"of {args.model}": model.predict(image[None])[0]}
        for whose, matte in given.items():
            row = scores.setdefault((kind, whose), {name: Score() for name in methods})
            for name, method in methods.items():
                found, seconds = timed(method, image, matte, args.repeats)
                row[name].add(found, colours, alpha, seconds)
    print(report(scores))
    if peer is None:
        print("\npymatting is not installed: pip install pymatting")
    return 0


def composites(folder: Path, count: int) -> Iterator[tuple[str, Tensor, Tensor, Tensor]]:
    """(kind, image [H, W, 3], alpha [H, W], foreground [H, W, 3]) of `count` cut-outs of each source, always the same.

    ValueError when folder lacks cut-outs or backgrounds.
    """
    chance = random.Random(0)
    sources = [_pictures(source.glob("*")) for source in sorted((folder / "foregrounds").glob("*")) if source.is_dir()]
    backgrounds = _pictures((folder / "backgrounds").rglob("*"))
    if not any(sources) or not backgrounds:
        raise ValueError(f"{folder} needs cut-outs in foregrounds/<source>/ and photographs in backgrounds/")
    for paths in sources:
        for path in chance.sample(paths, min(count, len(paths))):
            picture, background = images.read(path), images.read(chance.choice(backgrounds)).pixels
            if picture.alpha is None:
                raise ValueError(f"{path} has no transparency, so it is no cut-out")
            for kind, (scale, sigma) in KINDS.items():
                alpha, colours = _placed(picture, scale, sigma)
                if not ((alpha > 0) & (alpha < 1)).any():
                    continue
                behind = cover(background[None], *alpha.shape)[0]
                yield kind, (over(colours, alpha, behind) * 255).round() / 255, alpha, colours


def _pictures(paths: Iterable[Path]) -> list[Path]:
    return sorted(path for path in paths if path.suffix.lower() in READ_SUFFIXES and not path.name.startswith("."))


def _placed(picture: images.Picture, scale: int, sigma: float) -> tuple[Tensor, Tensor]:
    """Alpha [H, W] in 8 bits and colours [H, W, 3] of the cut-out in a margin, enlarged and blurred with its alpha."""
    alpha = picture.alpha[..., None]
    layer = torch.cat([picture.pixels * alpha, alpha], 2).movedim(2, 0)[None]
    layer = F.pad(layer, [MARGIN] * 4)
    if scale != 1:
        layer = F.interpolate(layer, scale_factor=scale, mode="bilinear", align_corners=False)
    if sigma:
        layer = blur(layer[0][:, None], sigma)[:, 0][None]
    colours = (layer[0, :3] / layer[0, 3].clamp(min=1e-6)).clamp(0, 1)
    return (layer[0, 3] * 255).round() / 255, colours.movedim(0, 2)


def _ours(device: str) -> Method:
    def method(image: Tensor, alpha: Tensor) -> Tensor:
        return estimate_foreground(image[None].to(device), alpha[None].to(device))[0].cpu()

    return method


def _pymatting(threads: int) -> Method | None:
    try:
        import numba
        from pymatting import estimate_foreground_ml
    except ImportError:
        return None
    numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
    return lambda image, alpha: torch.from_numpy(estimate_foreground_ml(image.numpy(), alpha.numpy()))


def timed(method: Method, image: Tensor, alpha: Tensor, repeats: int) -> tuple[Tensor, float]:
    """What the method gives, and the seconds of its best run."""
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        found = method(image, alpha)
        best = min(best, time.perf_counter() - start)
    return found, best


def report(scores: dict[tuple[str, str], dict[str, Score]]) -> str:
    """Markdown: a row for each composite kind, alpha and method."""
    header = ["composites", "alpha", "colours", "plain error", "of the image's", "all pixels alike", "visible", "time"]
    rows = []
    for (kind, whose), row in scores.items():
        base = row[NOTHING]
        for name, score in row.items():
            count = score.pictures
            cells = [f"{score.plain / count:.4f}", f"{score.plain / base.plain:.2f}"]
            cells += [f"{score.pooled[0] / score.pooled[1]:.4f}", f"{score.visible / count:.4f}"]
            cells.append("" if name == NOTHING else duration(score.seconds / count))
            rows.append([f"{kind} ({count})", whose, name, *cells])
    return table(header, rows)


if __name__ == "__main__":
    sys.exit(main())
