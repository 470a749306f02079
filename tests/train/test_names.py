"""Names that are not UTF-8, in training, evaluation and the matte command."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from birefnet_core import inspect
from birefnet_core.names import readable
from train.data import sources
from train.run.result import CARD, MODEL
from train.shared.holdout import held_out

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path, write_pair) -> Path:
    """Four pairs and a matte alone, all with a byte that is no UTF-8, in such a folder."""
    root = tmp_path / os.fsdecode(b"s\xe9t")
    try:
        for number in range(4):
            write_pair(root, os.fsdecode(b"caf\xe9%d" % number), np.random.default_rng(number))
    except OSError:
        pytest.skip("this disk takes UTF-8 alone")
    (root / "gt" / os.fsdecode(b"alone\xe9.png")).write_bytes(b"no picture")
    return root


def _run(*command: str) -> str:
    utf8 = os.environ | {"PYTHONIOENCODING": "utf-8", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, *command], cwd=ROOT, env=utf8, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_text_is_readable_and_other_text_is_as_it_was():
    assert readable("caf\udce9") == "caf\\udce9" and readable("café 写真 🙂") == "café 写真 🙂"
    assert held_out(["a\udce9", "b"], 50)


def test_a_run_reports_logs_and_ships(folder, tmp_path, recipe_file, tiny):
    recipe, out = recipe_file(2), folder / "run"
    where = ["train/train.py", "--recipe", str(recipe), "--data", str(folder), "--out", str(out), "--device", "cpu"]
    said = _run(*where, "--threads", "1")
    assert "1 left out" in said and "alone\\udce9.png" in said and "finished: " in said
    assert "alone\\udce9.png" in (out / sources.REPORT).read_text(encoding="utf-8")
    assert "s\\udce9t" in (out / CARD).read_text(encoding="utf-8") and (out / "log.csv").is_file()
    assert "s\\udce9t" in inspect(out / MODEL).metadata["trained_on"]
    assert "nothing to do" in _run(*where), "and its result is read again there"
    (folder / "gt" / os.fsdecode(b"alone\xe9.png")).unlink()
    assert "4 of 4 pictures" in _run(
        *("-m", "birefnet_core", "matte", str(folder / "im"), "-o", str(folder / "out"), "--model", str(out / MODEL))
    )
    assert sorted(os.fsencode(path.name) for path in (folder / "out").iterdir())[0] == b"caf\xe90.png"


def test_an_evaluation_prints_and_writes(folder):
    where = ["train/evaluate.py", "--pred", str(folder / "gt"), "--data", str(folder), "--out", str(folder / "results")]
    (folder / "gt" / os.fsdecode(b"alone\xe9.png")).unlink()
    assert "s\\udce9t" in _run(*where, "--processes", "1")
    assert "caf\\udce90" in (folder / "results" / "images.csv").read_text(encoding="utf-8")
    assert json.loads((folder / "results" / "summary.json").read_text())["s\udce9t"]["IoU"] == 1
    assert [path.suffix for path in folder.glob("results/worst-*")] == [".jpg"]
