"""`python -m birefnet_core demo`: the bundled model on the repository's photograph, to see that all works."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

ROOT = Path(__file__).parents[2]
PHOTOGRAPH = ROOT / "demo" / "photograph.jpg"
CHECKER = 16  # pixels a square


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, default=Path("demo-output"), help="folder (default: demo-output)")


def run(args: argparse.Namespace) -> int:
    """Write alpha, cut-out and a side-by-side picture into args.out and say where they are. Returns 0."""
    import torch

    from ..matting import images
    from ..matting.foreground import estimate_foreground
    from ..matting.load import load_model

    start = time.perf_counter()
    model = load_model("bundled")
    picture = images.read(PHOTOGRAPH)
    loaded = time.perf_counter()
    alpha = model.predict(picture.pixels[None])[0]
    colours = estimate_foreground(picture.pixels[None], alpha[None])[0]
    matted = time.perf_counter()

    args.out.mkdir(parents=True, exist_ok=True)
    paths = {kind: args.out / f"{PHOTOGRAPH.stem}_{kind}.png" for kind in ("alpha", "cutout", "side-by-side")}
    images.write_alpha(paths["alpha"], alpha, overwrite=True)
    images.write_cutout(paths["cutout"], colours, alpha, overwrite=True)
    sheet = side_by_side(picture.pixels, colours, alpha)
    images.write_composite(paths["side-by-side"], sheet, torch.ones(sheet.shape[:2]), "white", overwrite=True)

    height, width = alpha.shape
    device = next(model.network.parameters()).device
    print(f"{PHOTOGRAPH.name}, {width} x {height}, matted in {matted - loaded:.2f} s on {device}")
    print(f"(the model took {loaded - start:.2f} s to load). Written:")
    for path in paths.values():
        print(f"  {path.resolve()}")
    return 0


def side_by_side(pixels: torch.Tensor, colours: torch.Tensor, alpha: torch.Tensor) -> torch.Tensor:
    """Photograph, alpha and cut-out on a checkerboard. Photograph and foreground colours [H,W,3], alpha [H,W], all 0..1
    -> [H,3*W,3]."""
    import torch

    from ..matting.compose import over

    rows, columns = (torch.arange(side) // CHECKER for side in alpha.shape)
    board = 0.7 + 0.2 * ((rows[:, None] + columns) % 2)[..., None]
    cutout = over(colours, alpha, board.expand_as(pixels))
    return torch.cat((pixels, alpha[..., None].expand_as(pixels), cutout), dim=1)
