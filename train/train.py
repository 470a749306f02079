"""Train a BiRefNet: `python train/train.py --recipe dis5k --data DIS-TR --out RUN`."""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parents[1])  # the only place: `birefnet_core` and `train` lie there

import torch  # noqa: E402

from birefnet_core.names import let_stdout_take_any_name  # noqa: E402
from birefnet_core.weights.download import DownloadError  # noqa: E402
from train.data.sources import Root, read_data  # noqa: E402
from train.recipe import PRECISIONS, parse_value, read_recipe  # noqa: E402
from train.run.distributed import Processes, processes  # noqa: E402
from train.run.export import FORMATS, check_export, export_result  # noqa: E402
from train.run.initialise import take_architecture  # noqa: E402
from train.run.loop import Training  # noqa: E402
from train.run.options import Options, StoppedError, TrainingError  # noqa: E402
from train.run.teachers import check_teachers  # noqa: E402
from train.shared.mattes import parse_value as mask_value  # noqa: E402

RECIPES = Path(__file__).parent / "recipes"
DESCRIPTION = """Train a BiRefNet from a recipe. The result is OUT/model.safetensors with a model card, OUT/README.md.

The same command goes on where a run stopped (or was killed), and does nothing when it is finished.
Start it with torchrun to use several GPUs or machines; the batch is shared, so the result stays the same
(but for BatchNorm, whose statistics are those of the pictures that one process takes at a time: see --micro-batch).

  python train/train.py --recipe finetune --init BiRefNet --data my/pictures --out runs/mine
  torchrun --nproc-per-node 8 train/train.py --recipe dis5k --data DIS5K/DIS-TR --validation DIS5K/DIS-VD --out runs/dis
"""


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="train/train.py", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    shipped = ", ".join(sorted(path.stem for path in RECIPES.glob("*.toml")))
    parser.add_argument("--recipe", required=True, help=f"a TOML file, or one of {shipped}, ablations/<row>")
    parser.add_argument(
        "--data",
        required=True,
        action="append",
        metavar="DIR[=WEIGHT]",
        help="pictures in im/ and mattes in gt/ (or other usual names) under the same file names, or a cut-out pack "
        "with foregrounds/ and backgrounds/; repeat it to mix several; with =2 each picture is drawn twice an epoch",
    )
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder of this run")
    parser.add_argument(
        "--validation",
        action="append",
        type=Path,
        default=[],
        metavar="DIR",
        help="pictures and mattes to validate on (default: a few names of each --data are held out)",
    )
    parser.add_argument(
        "--mask-value",
        action="append",
        type=mask_value,
        default=[],
        metavar="VALUE",
        help="what is the subject in masks that are no mattes: a level or palette index (1, 128), a colour (#c08080), "
        "several of them; or grey: take grey values as alpha (default: mattes, white where the subject is)",
    )
    what = parser.add_argument_group("what to train, instead of what the recipe says")
    what.add_argument("--steps", type=int, metavar="N", help="length in steps")
    what.add_argument("--epochs", type=float, metavar="N", help="length in epochs")
    what.add_argument("--batch-size", type=int, metavar="N", help="pictures a step, over all processes")
    what.add_argument(
        "--micro-batch", type=int, metavar="N", help="the most pictures a process takes at a time, to save memory"
    )
    what.add_argument("--size", type=parse_size, metavar="N", help="side of the pictures, or WxH; multiples of 32")
    what.add_argument("--backbone", metavar="NAME", help="swin_v1_t, pvt_v2_b0, ..., or timm:<model>")
    what.add_argument(
        "--init",
        metavar="none|timm|FILE|NAME",
        help="start from nothing, from the backbone on timm's hub, from a file of a model or a backbone, or from a "
        "published model or the bundled one (most recipes: none)",
    )
    what.add_argument("--seed", type=int, metavar="N", help="of every random draw")
    what.add_argument(
        "--precision",
        choices=PRECISIONS,
        help="of the forward pass (most recipes: auto, bf16 where the device computes it natively, else fp32)",
    )
    what.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="any other value of the recipe, such as learning_rate=1e-5, losses.mae=100 or architecture.dropout=0",
    )
    how = parser.add_argument_group("how to run it")
    how.add_argument("--device", default="auto", help="a torch device (default: the first accelerator, else cpu)")
    how.add_argument("--workers", type=int, default=4, metavar="N", help="threads that read pictures (default: 4)")
    how.add_argument("--threads", type=int, metavar="N", help="CPU threads of the training step (default: torch's)")
    how.add_argument("--compile", action="store_true", help="torch.compile the network; the first step takes minutes")
    how.add_argument("--recompute", action="store_true", help="activation checkpointing: less memory, more time")
    how.add_argument("--shard", action="store_true", help="with several GPUs: FSDP, for models that fit no single one")
    how.add_argument(
        "--sync-batch-norm",
        action="store_true",
        help="with several GPUs: BatchNorm statistics over the pictures of all of them (default: each its own)",
    )
    how.add_argument("--keep", type=int, default=2, metavar="N", help="checkpoints that are kept (default: 2)")
    how.add_argument(
        "--patch-order",
        choices=("2024", "2025"),
        default="2025",
        help="channel order of image patches in the result; 2024 is what ComfyUI 0.25 reads (default: 2025)",
    )
    how.add_argument(
        "--export",
        choices=FORMATS,
        help="also write the result as OUT/model.onnx, for other runtimes (needs the packages onnx and onnxscript)",
    )
    how.add_argument(
        "--reschedule", action="store_true", help="let a run that was started with another length go on with this one"
    )
    given = parser.parse_args(arguments)
    for name in ("threads", "workers", "keep"):
        if getattr(given, name) is not None and getattr(given, name) < 1:
            parser.error(f"--{name} needs at least 1")
    if given.epochs is not None and not 0 < given.epochs < math.inf:
        parser.error(f"--epochs {given.epochs:g}: give a number above 0")
    if given.steps is not None and given.epochs is not None:
        parser.error("--steps and --epochs both say how long; give one")
    return given


def parse_size(text: str) -> int | list[int]:
    """ "512" or "640x480" (width x height)."""
    sides = text.lower().split("x")
    if len(sides) > 2 or not all(side.strip().isdecimal() for side in sides):
        raise argparse.ArgumentTypeError(f"{text}: give a number such as 1024, or WIDTHxHEIGHT")
    sides = [int(side) for side in sides]
    return sides[0] if len(sides) == 1 else sides


def recipe_path(name: str) -> Path:
    """A file, or the name of a shipped recipe ("dis5k", "ablations/table2-baseline")."""
    shipped = RECIPES / f"{name}.toml"
    return shipped if shipped.is_file() and not Path(name).is_file() else Path(name)


def overrides(given: argparse.Namespace) -> dict[str, Any]:
    """The recipe's values that the command line replaces. ValueError for a --set without `=`."""
    names = ("init", "steps", "epochs", "batch_size", "micro_batch", "size", "seed", "precision")
    values = {name: getattr(given, name) for name in names} | {"architecture.backbone": given.backbone}
    for text in given.set:
        name, found, value = text.partition("=")
        if not found:
            raise ValueError(f"--set {text}: write KEY=VALUE.")
        values[name.strip()] = parse_value(value.strip())
    return values


def train(given: argparse.Namespace, among: Processes) -> bool:
    """One run; False when a signal stopped it before its end."""
    check_export(given.export)
    changes = overrides(given)
    recipe = read_recipe(recipe_path(given.recipe), overrides=changes)
    meant_for_a_model = read_recipe(recipe_path(given.recipe), overrides={"init": "bundled"}).architecture_from_init
    if among.main and meant_for_a_model and not recipe.architecture_from_init:
        what = "nothing" if recipe.init == "none" else f"the backbone of {recipe.init} alone"
        print(
            f"note: {recipe.name} is meant to go on from a trained model; with --init {recipe.init} it starts from "
            f"{what}, with its own network ({recipe.architecture.backbone}), and its rates and length may be small.",
            flush=True,
        )
    if recipe.architecture_from_init:
        recipe = take_architecture(recipe, {name: value for name, value in changes.items() if value is not None})
    if among.main:
        check_teachers(recipe.teachers)
    roots = [Root.parse(text) for text in given.data]
    reading = dict(out=given.out, workers=given.workers, device=among.device, main=among.main)
    reading["values"] = given.mask_value
    if among.main:
        data = read_data(roots, given.validation, recipe, **reading)
    among.wait()  # the first process has checked all files; the others take its word
    if not among.main:
        data = read_data(roots, given.validation, recipe, **reading)
    names = ("out", "keep", "patch_order", "reschedule", "compile", "recompute", "shard", "sync_batch_norm")
    options = Options(**{name: getattr(given, name) for name in names})
    ended = Training(recipe, data, options, among).run()
    if ended and among.main:
        for path in export_result(given.out, given.export):
            print(f"written: {path}", flush=True)
    return ended


def main(arguments: list[str] | None = None) -> int:
    """Run one training; returns the exit status."""
    let_stdout_take_any_name()
    given = parse(arguments)
    if given.threads:
        torch.set_num_threads(given.threads)
    try:
        with processes(given.device) as among:
            return 0 if train(given, among) else 130
    except StoppedError as stopped:
        print(stopped, file=sys.stderr)
        return 130
    except (ValueError, OSError, DownloadError, TrainingError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
