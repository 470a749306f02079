"""Measure despill and key on synthetic green and blue screens (screen_shots.py), with E1's cut-outs as subjects.

    apt-get download tuxpaint-stamps-default
    python -m train.evaluation.screens --packages FOLDER

For every cut-out a shot before either screen. The network's mattes are those of --model. Printed are means over the
shots, in Markdown. The same packages, model and versions give the same figures. To look at edges of other cut-outs
(RGBA pictures), each before green at 1:1, and on grey with nothing done, despilled, and keyed:

    python -m train.evaluation.screens --edges CUTOUT... --pictures FILE

Figures: the mean difference from the true foreground, of all three channels 0..1, in the soft region (true alpha .05 to
.95) and in the subject (from .95 on); and the mean difference of alpha in the soft region and in the whole picture.
"Spill known" takes off exactly the screen's light and nothing else: where alpha is 1 no despill can do better, since
grain and what JPEG leaves stay. In softer pixels it leaves what shows through of the screen, which others take off.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from birefnet_core import load_model
from birefnet_core.matting.despill import despill
from birefnet_core.matting.foreground import estimate_foreground
from birefnet_core.matting.key import key
from birefnet_core.matting.model import MattingModel
from train.shared.pictures import picture_to_write, save_picture

from .errors import REFUSALS
from .screen_shots import KEY, SCREENS, Shot, shoot
from .sets.composites import trimmed
from .sets.e1 import listed_stamps, read_stamps

OWN_EXCESS, OWN_SHARE = 0.08, 0.1  # a subject has the screen's colour when so much of it stands so far above grey
GROUPS = ("green, other subjects", "green, subjects with green", "blue, other subjects", "blue, subjects with blue")
EDGE = 160  # pixels a side
GREY = 0.5  # behind the pictures


def shots(packages: Path, names: list[str]) -> Iterator[Shot]:
    """Every cut-out before either screen."""
    for index, cutout in enumerate(read_stamps(packages, names).values()):
        for number, colour in enumerate(SCREENS):
            yield shoot(cutout, colour, 2 * index + number)


def group_of(shot: Shot) -> str:
    """One of GROUPS."""
    channel = KEY[shot.colour]
    above = 1.5 * shot.foreground[..., channel] - 0.5 * shot.foreground.sum(-1)
    inside = shot.alpha >= 0.95
    has = inside.any() and (above[inside] > OWN_EXCESS).mean() >= OWN_SHARE
    return GROUPS[2 * (shot.colour == "blue") + has]


def made_of(shot: Shot, network: MattingModel | None) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Way -> alpha and foreground, with the network's matte, or without a network the true one."""
    image = torch.from_numpy(shot.image)[None]
    matte = network.predict(image) if network else torch.from_numpy(shot.alpha)[None]
    estimated = estimate_foreground(image, matte)
    ways = {
        "nothing": (matte, image.float() / 255),
        "clean foreground": (matte, estimated),
        "despill": (matte, despill(image, matte)),
        "both": (matte, despill(image, matte, foreground=estimated)),
        "key": key(image, matte),
        "spill known": (matte, image.float() / 255 - torch.from_numpy(shot.spill)),
    }
    return {name: (alpha[0].numpy(), colours[0].numpy()) for name, (alpha, colours) in ways.items()}


def figures(shot: Shot, alpha: np.ndarray, foreground: np.ndarray) -> list[float]:
    """Colour error in the soft region and in the subject, MAD in the soft region and of all; NaN for an empty one."""
    soft, inside = (shot.alpha > 0.05) & (shot.alpha < 0.95), shot.alpha >= 0.95
    colour, matte = np.abs(foreground - shot.foreground).mean(-1), np.abs(alpha - shot.alpha)
    regions = (colour[soft], colour[inside], matte[soft], matte)
    return [float(values.mean()) if values.size else np.nan for values in regions]


def table(results: list[tuple[str, dict[str, list[float]]]]) -> str:
    """The means of (group, way -> figures), in Markdown."""
    lines = ["| screen | shots | | colour, soft | colour, subject | MAD, soft | MAD, all |", "|" + "---|" * 7]
    for group in GROUPS:
        found = [ways for each, ways in results if each == group]
        for way in found[0] if found else ():
            means = np.nanmean([ways[way] for ways in found], axis=0)
            cells = " | ".join(f"{value:.4f}" for value in means)
            lines.append(f"| {group} | {len(found)} | {way} | {cells} |")
    return "\n".join(lines)


def edge(shot: Shot, ways: dict[str, tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """The shot, and on grey what nothing, despill and key make of it, around the subject's upper edge, at 1:1."""
    rows, columns = np.nonzero(shot.alpha > 0.5)
    top = int(np.clip(rows.min() - EDGE // 4, 0, shot.alpha.shape[0] - EDGE))
    left = int(np.clip(np.median(columns[rows <= rows.min() + 20]) - EDGE // 2, 0, shot.alpha.shape[1] - EDGE))
    here = slice(top, top + EDGE), slice(left, left + EDGE)
    made = [(alpha[..., None] * colours + (1 - alpha[..., None]) * GREY)[here] for alpha, colours in ways.values()]
    return np.concatenate([shot.image[here] / 255, *made], 1)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m train.evaluation.screens",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--packages", type=Path, metavar="FOLDER", help="where the package is")
    parser.add_argument("--model", default="bundled", help="whose mattes are the network's (default: bundled)")
    parser.add_argument("--true-mattes", action="store_true", help="the true mattes in place of the network's")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only every Nth cut-out (default: all)")
    parser.add_argument("--edges", type=Path, nargs="+", metavar="CUTOUT", help="pictures in place of figures")
    parser.add_argument("--pictures", type=picture_to_write, metavar="FILE", help="where the edges go")
    options = parser.parse_args(arguments)
    if bool(options.edges) != bool(options.pictures) or bool(options.edges) == bool(options.packages):
        parser.error("give --packages for figures, or --edges and --pictures for pictures")
    if options.every < 1:
        parser.error("--every must be 1 or more")
    try:
        if options.edges:
            save_picture(edges(options.edges, options.model), options.pictures)
        else:
            network = None if options.true_mattes else load_model(options.model)
            print(table(measure(options.packages, network, listed_stamps()[:: options.every])))
    except REFUSALS as error:
        raise SystemExit(f"nothing was measured: {error}") from None
    except KeyboardInterrupt:
        raise SystemExit("stopped") from None


def measure(packages: Path, network: MattingModel | None, names: list[str]) -> list[tuple[str, dict[str, list[float]]]]:
    """(group, way -> figures) of every shot."""
    results = []
    for shot in tqdm(shots(packages, names), total=len(SCREENS) * len(names), unit="shot", disable=None):
        ways = made_of(shot, network)
        results.append((group_of(shot), {way: figures(shot, *made) for way, made in ways.items()}))
    return results


def edges(cutouts: list[Path], model: str) -> Image.Image:
    """Edges of cut-outs before green, one under another."""
    network, rows = load_model(model), []
    for index, path in enumerate(cutouts):
        cutout = Image.open(path).convert("RGBA")
        if cutout.getchannel("A").getextrema()[1] < 128:
            raise ValueError(f"{path} has nothing that is half opaque: there is no edge to show")
        shot = shoot(trimmed(cutout), "green", index)
        ways = made_of(shot, network)
        rows.append(edge(shot, {way: ways[way] for way in ("nothing", "despill", "key")}))
    return Image.fromarray(np.rint(np.concatenate(rows, 0).clip(0, 1) * 255).astype(np.uint8))


if __name__ == "__main__":
    main()
