"""The precision of a run: measured where nothing is said, recorded, and kept on another machine."""

import math
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from birefnet_core.precision import is_native, share_of_float32
from train.recipe import AUTO, read_recipe
from train.run import checkpoint
from train.run.distributed import Processes
from train.run.precision import choose_precision
from train.train import main, recipe_path

ROOT = Path(__file__).parents[3]
RECIPES = ROOT / "train" / "recipes"


@pytest.fixture
def arguments(recipe_file, pack_folder, tmp_path):
    """Of two steps, or more, with the default of the recipes."""

    def build(steps: int = 2, *extra: str) -> list[str]:
        recipe = recipe_file(steps)
        recipe.write_text(recipe.read_text().replace('precision = "fp32"\n', ""))
        where = ["--recipe", str(recipe), "--data", str(pack_folder), "--out", str(tmp_path / "run")]
        return [*where, "--device", "cpu", "--threads", "1", *extra]

    return build


def _recorded(tmp_path) -> str:
    return torch.load(checkpoint.checkpoints(tmp_path / "run")[-1], weights_only=True)["recipe"]["precision"]


@pytest.mark.parametrize("recipe", [path.stem for path in RECIPES.glob("*.toml")])
def test_every_recipe_leaves_it_to_the_device(recipe):
    assert read_recipe(recipe_path(recipe), overrides={"init": "bundled"}).precision == AUTO


def test_what_is_measured_is_said_and_recorded(arguments, tmp_path, capsys):
    assert main(arguments()) == 0
    expected = "bf16" if is_native(share_of_float32(torch.bfloat16, torch.device("cpu"))) else "fp32"
    assert f"precision {expected}: bfloat16 takes " in capsys.readouterr().out
    assert _recorded(tmp_path) == expected
    assert f", {expected}" in (tmp_path / "run" / "README.md").read_text(), "the card says what it was"


def test_a_run_begun_in_bf16_goes_on_in_it(arguments, tmp_path, capsys):
    """As all runs were begun before there was "auto"."""
    assert main(arguments(2, "--precision", "bf16")) == 0
    assert "precision bf16: as asked" in capsys.readouterr().out
    assert main(arguments(3, "--reschedule")) == 0
    assert "precision bf16: as this run was begun (bfloat16 takes " in capsys.readouterr().out
    assert _recorded(tmp_path) == "bf16" and checkpoint.checkpoints(tmp_path / "run")[-1].name == "step_0000003.pt"


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="oneDNN's switch is of x86")
def test_a_run_begun_where_bf16_is_emulated_keeps_fp32_elsewhere(arguments, tmp_path, capsys):
    command = [sys.executable, str(ROOT / "train" / "train.py"), *arguments()]
    emulated = os.environ | {"ONEDNN_MAX_CPU_ISA": "AVX2", "OMP_NUM_THREADS": "1"}
    said = subprocess.run(command, env=emulated, capture_output=True, text=True, check=True).stdout
    assert "precision fp32: bfloat16 takes " in said and _recorded(tmp_path) == "fp32"
    assert main(arguments(3, "--reschedule")) == 0
    assert "precision fp32: as this run was begun" in capsys.readouterr().out
    assert main(arguments(3, "--precision", "bf16")) == 2, "what is asked for and is not what was begun"
    assert "precision: fp32 -> bf16" in capsys.readouterr().err


class Two(Processes):
    """This process and one on another machine."""

    def __init__(self, other: float) -> None:
        super().__init__(world=2)
        object.__setattr__(self, "other", other)

    def gather(self, values: list) -> list:
        return [*values, self.other]


def test_one_process_that_emulates_it_makes_all_take_fp32():
    assert choose_precision(AUTO, None, Two(7.0)) == (
        "fp32",
        "bfloat16 takes 7 of float32's time here, on the slowest device",
    )
    assert choose_precision(AUTO, None, Two(math.inf))[0] == "fp32"
    assert choose_precision(AUTO, "bf16", Two(7.0))[0] == "bf16"
    assert choose_precision("fp16", "bf16", Two(7.0)) == ("fp16", "as asked")
