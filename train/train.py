"""Train a BiRefNet: `python train/train.py --recipe train/recipes/bundled.toml --data DIR --out RUN`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # the only place: `birefnet_core` and `train` lie there

import torch  # noqa: E402

from birefnet_core.weights.load import pick_device  # noqa: E402
from train.cutouts import read_pack  # noqa: E402
from train.loop import PRECISIONS, Options, Training, TrainingError  # noqa: E402
from train.recipe import read_recipe  # noqa: E402


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="train/train.py",
        description="Train a BiRefNet from a recipe. The same --out goes on where it stopped; "
        "the result is OUT/model.safetensors.",
    )
    parser.add_argument("--recipe", required=True, type=Path, help="a TOML file, such as train/recipes/bundled.toml")
    parser.add_argument(
        "--data", required=True, type=Path, help="folder with foregrounds/<source>/* and backgrounds/<source>/*"
    )
    parser.add_argument("--out", required=True, type=Path, help="folder of this run")
    parser.add_argument(
        "--init",
        help='what to start from: none, imagenet (the backbone), a model such as "bundled", or a file of weights',
    )
    parser.add_argument("--steps", type=int, help="replace the recipe's number of steps")
    parser.add_argument("--batch-size", type=int, help="replace the batch size of every phase")
    parser.add_argument("--size", type=int, help="replace the picture size of every phase (a multiple of 32)")
    parser.add_argument("--seed", type=int, help="replace the recipe's seed")
    parser.add_argument("--device", default="auto", help="a torch device (default: the first accelerator, else cpu)")
    parser.add_argument("--precision", choices=sorted(PRECISIONS), default="bf16", help="bf16 is autocast (default)")
    parser.add_argument("--threads", type=int, help="CPU threads of the training step (default: torch's)")
    parser.add_argument(
        "--reschedule", action="store_true", help="let a run that was started with another --steps go on with this one"
    )
    given = parser.parse_args(arguments)
    if given.threads is not None and given.threads < 1:
        parser.error("--threads needs at least 1")
    return given


def main(arguments: list[str] | None = None) -> int:
    """Run one training; returns the exit status."""
    given = parse(arguments)
    if given.threads:
        torch.set_num_threads(given.threads)
    overrides = {name: getattr(given, name) for name in ("init", "steps", "batch_size", "size", "seed")}
    try:
        recipe = read_recipe(given.recipe, overrides=overrides)
        options = Options(given.out, pick_device(given.device), given.precision, given.reschedule)
        training, validation = read_pack(given.data)
        return 0 if Training(recipe, training, validation, options).run() else 130
    except (ValueError, OSError, TrainingError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
