"""A run that is killed, interrupted or out of disk goes on as if nothing had happened."""

import math
import os
import resource
import signal
import subprocess
import sys
import uuid
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from train.run import checkpoint, report
from train.run.log import Log
from train.run.result import MODEL
from train.run.validate import validate
from train.train import main

ROOT = Path(__file__).parents[3]
STEPS = 6
# Dropout, averaged weights and strong augmentation all draw or remember something.
RECIPE = """
name = "resumed"
epochs = 1.2
precision = "fp32"
model_size = 64
validation_size = 64
validation_pictures = 1
validate_every = 3
save_every = 1
sheet_every = 6
ema = 0.9
warmup_steps = 2

[architecture]
backbone = "timm:test_efficientnet"
block_channels = 8
branch_channels = 8
inward_channels = 4
dropout = 0.5

[augmentation]
crop = 0.7
rotate = 5.0
colour = 0.5
degrade = 0.5

[[phases]]
until = 1.0
size = 64
batch_size = 2
"""


def _arguments(tmp_path, discs, out, workers=1) -> list[str]:
    recipe = tmp_path / "resumed.toml"
    recipe.write_text(RECIPE)
    where = ["--recipe", str(recipe), "--data", str(discs), "--out", str(tmp_path / out)]
    return [*where, "--device", "cpu", "--threads", "1", "--workers", str(workers)]


@pytest.fixture
def uninterrupted(tmp_path, discs) -> dict:
    """The last checkpoint of a run that nothing happened to."""
    assert main(_arguments(tmp_path, discs, "whole")) == 0
    return _last_checkpoint(tmp_path / "whole")


def _last_checkpoint(out: Path) -> dict:
    path = checkpoint.checkpoints(out)[-1]
    assert path.name == f"step_{STEPS + 1:07d}.pt" and (out / MODEL).is_file()
    return torch.load(path, weights_only=True)


def _assert_equal(ours, theirs, where="") -> None:
    if isinstance(ours, dict):
        assert ours.keys() == theirs.keys(), where
        for key in ours:
            _assert_equal(ours[key], theirs[key], f"{where}.{key}")
    else:
        same = torch.equal(ours, theirs) if isinstance(ours, torch.Tensor) else ours == theirs
        assert same, f"{where} differs"


def test_killed_at_any_step_and_with_other_workers_the_weights_are_bit_identical(uninterrupted, tmp_path, discs):
    command = [sys.executable, str(ROOT / "train" / "train.py"), *_arguments(tmp_path, discs, "parts", workers=3)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as run:
        for line in run.stdout:
            if line.startswith("3/"):
                os.kill(run.pid, signal.SIGKILL)
                break
        run.stdout.read()
    assert run.wait() == -signal.SIGKILL
    assert not (tmp_path / "parts" / MODEL).exists()
    kept = checkpoint.checkpoints(tmp_path / "parts")
    assert 1 <= len(kept) <= 2 and kept[-1].name < f"step_{STEPS:07d}.pt"
    (tmp_path / "parts" / f".{uuid.uuid4().hex}.pt").write_bytes(b"half a checkpoint")
    (tmp_path / "parts" / ".notes.txt").write_text("the user's own")
    assert main(_arguments(tmp_path, discs, "parts")) == 0
    _assert_equal(uninterrupted, _last_checkpoint(tmp_path / "parts"))
    assert [path.name for path in (tmp_path / "parts").glob(".*")] == [".notes.txt"]
    steps = [row.split(",")[0] for row in (tmp_path / "parts" / "log.csv").read_text().splitlines()[1:]]
    assert steps == [row.split(",")[0] for row in (tmp_path / "whole" / "log.csv").read_text().splitlines()[1:]]


def test_a_full_disk_is_reported_and_the_checkpoint_before_survives(uninterrupted, tmp_path, discs, capfd):
    """The disk is full for this process: files may not grow beyond half a checkpoint."""
    arguments = _arguments(tmp_path, discs, "parts")
    assert main([*arguments, "--epochs", "0.2"]) == 0
    (tmp_path / "parts" / MODEL).unlink()
    before = checkpoint.checkpoints(tmp_path / "parts")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (before[-1].stat().st_size // 2, limits[1]))
    try:
        assert main([*arguments, "--reschedule"]) == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "could not be written" in capfd.readouterr().err
    assert checkpoint.checkpoints(tmp_path / "parts") == before and not list((tmp_path / "parts").glob(".*.pt"))
    torch.load(before[-1], weights_only=True)
    assert main([*arguments, "--reschedule"]) == 0
    _last_checkpoint(tmp_path / "parts")


def test_a_full_disk_at_the_very_end_is_reported_too(uninterrupted, tmp_path, discs, capfd):
    model = tmp_path / "whole" / MODEL
    size = model.stat().st_size
    model.unlink()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, limits[1]))
    try:
        assert main(_arguments(tmp_path, discs, "whole")) == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    message = capfd.readouterr().err
    assert f"{MODEL} could not be written" in message and "free some disk space" in message
    assert not model.exists() and not list(model.parent.glob(".*"))
    assert main(_arguments(tmp_path, discs, "whole")) == 0
    assert model.stat().st_size == size


def test_a_damaged_model_of_a_finished_run_is_written_again(uninterrupted, tmp_path, discs):
    model = tmp_path / "whole" / MODEL
    weights = {name: tensor.clone() for name, tensor in load_file(model).items()}  # it maps the file
    model.write_bytes(model.read_bytes()[:100])
    assert main(_arguments(tmp_path, discs, "whole")) == 0
    _assert_equal(load_file(model), weights)


def test_a_longer_run_that_dies_at_its_end_still_gets_its_model(uninterrupted, tmp_path, discs, monkeypatch, capsys):
    """The model of the shorter run is there, and must not pass for that of the longer."""
    longer = [*_arguments(tmp_path, discs, "whole"), "--steps", str(STEPS + 3), "--reschedule"]

    def die(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(report.Report, "measure", die)
        with pytest.raises(KeyboardInterrupt):
            main(longer)
    with safe_open(tmp_path / "whole" / MODEL, "pt") as file:
        assert file.metadata()["run_steps"] == str(STEPS + 1)
    assert main(longer) == 0
    with safe_open(tmp_path / "whole" / MODEL, "pt") as file:
        assert file.metadata()["run_steps"] == str(STEPS + 3)
    assert main(longer) == 0
    assert "nothing to do" in capsys.readouterr().out


@pytest.mark.parametrize("failing", [{2}, {1, 2, 3}])
def test_a_validation_that_is_no_number_is_never_the_best(tmp_path, discs, monkeypatch, failing):
    count = 0

    def sometimes(*args, **options):
        nonlocal count
        count += 1
        scores = validate(*args, **options)
        return replace(scores, mae=float("nan")) if count in failing else scores

    monkeypatch.setattr(report, "validate", sometimes)
    assert main(_arguments(tmp_path, discs, "nan")) == 0
    best = torch.load(tmp_path / "nan" / "best.pt", weights_only=True)
    assert count == 3 and (tmp_path / "nan" / MODEL).is_file()
    assert best["step"] == STEPS + 1 if failing == {1, 2, 3} else math.isfinite(best["scores"]["mae"])


def test_a_damaged_checkpoint_is_named(uninterrupted, tmp_path, discs, capsys):
    last = checkpoint.checkpoints(tmp_path / "whole")[-1]
    last.write_bytes(last.read_bytes()[:1000])
    assert main(_arguments(tmp_path, discs, "whole")) == 2
    assert f"{last} cannot be read" in capsys.readouterr().err
    last.unlink()
    assert main(_arguments(tmp_path, discs, "whole")) == 0


def test_a_run_refuses_other_data(uninterrupted, tmp_path, discs, pack_folder, capsys):
    arguments = _arguments(tmp_path, discs, "whole")
    assert main([*arguments, "--data", f"{discs}=2"]) == 2
    message = capsys.readouterr().err
    assert "another recipe" in message and "data: " in message
    assert main([*arguments, "--micro-batch", "1", "--keep", "5"]) == 0, "what does not change the result may change"
    assert "nothing to do" in capsys.readouterr().out


def _standing_still(tmp_path, discs) -> list[str]:
    """A run into early/ that learns nothing and is patient for two validations."""
    extra = ["--set", "validate_every=1", "--set", "patience=2", "--set", "learning_rate=1e-30"]
    extra += ["--set", "backbone_learning_rate=1e-30", "--set", "ema=0.0", "--set", "freeze_statistics=true"]
    return [*_arguments(tmp_path, discs, "early"), *extra, "--set", "architecture.dropout=0.0"]


def test_early_stopping_finishes_the_run(tmp_path, discs, capsys):
    arguments = [*_standing_still(tmp_path, discs), "--epochs", "9"]
    assert main(arguments) == 0
    assert "stopping early" in capsys.readouterr().out
    last = checkpoint.checkpoints(tmp_path / "early")[-1].name
    assert last < "step_0000009.pt" and (tmp_path / "early" / MODEL).is_file()
    assert main(arguments) == 0
    assert "nothing to do" in capsys.readouterr().out


def test_a_run_that_stopped_early_goes_on_with_another_length(tmp_path, discs, capsys):
    arguments = _standing_still(tmp_path, discs)
    assert main([*arguments, "--epochs", "9"]) == 0
    first = checkpoint.checkpoints(tmp_path / "early")[-1].name
    assert main([*arguments, "--epochs", "12", "--reschedule"]) == 0
    assert "nothing to do" not in capsys.readouterr().out
    assert checkpoint.checkpoints(tmp_path / "early")[-1].name > first


def test_sheets_come_although_validations_fall_between(tmp_path, discs):
    extra = ["--set", "validate_every=2", "--set", "sheet_every=3"]
    assert main([*_arguments(tmp_path, discs, "sheets"), *extra]) == 0
    assert [path.stem for path in sorted((tmp_path / "sheets").glob("sheet_*"))] == [
        f"sheet_{step:07d}" for step in (4, 6, STEPS + 1)
    ]


def test_rows_after_the_checkpoint_are_dropped(tmp_path):
    log = Log(tmp_path, 0)
    for step in range(1, 6):
        log.row(step, loss=1.0)
    Log(tmp_path, 3)
    assert [row.split(",")[0] for row in (tmp_path / "log.csv").read_text().splitlines()] == ["step", "1", "2", "3"]


@pytest.mark.parametrize("cut", ["step,epo", "step,epoch\n1,0.1\n2,0.2\n3"])
def test_a_log_that_a_full_disk_cut_goes_on(tmp_path, cut):
    (tmp_path / "log.csv").write_text(cut)
    Log(tmp_path, 9).row(4, loss=1.0)
    rows = (tmp_path / "log.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["step", *(["1", "2"] if "\n" in cut else []), "4"]
