"""Several processes train as one does, with micro-batches and without."""

import csv
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from train.data import sources
from train.recipe import read_recipe
from train.run import checkpoint, distributed
from train.run.distributed import Processes
from train.run.loop import Options, Training
from train.run.options import idle_options
from train.run.result import MODEL
from train.train import main

ROOT = Path(__file__).parents[3]
RECIPE = """
name = "shared"
steps = {steps}
precision = "fp32"
model_size = 64
validation_size = 64
validation_pictures = 3
hold_out = 30
validate_every = 10
save_every = 5
sheet_every = 100
freeze_statistics = true
learning_rate = 1e-3
warmup_steps = 5

[architecture]
backbone = "timm:test_efficientnet"
block_channels = 8
branch_channels = 8
inward_channels = 4
dropout = 0.0

[[phases]]
until = 0.6
size = 64
batch_size = 4

[[phases]]
until = 1.0
size = 64
batch_size = 4
losses = {{ bce = 0.0, ssim = 0.0, gradient = 0.0, mae = 30.0, iou_pictures = 2 }}
"""


@pytest.fixture
def arguments(tmp_path, discs):
    def build(out: str, *extra: str, steps: int = 20) -> list[str]:
        recipe = tmp_path / f"shared{steps}.toml"
        recipe.write_text(RECIPE.format(steps=steps))
        where = ["--recipe", str(recipe), "--data", str(discs), "--out", str(tmp_path / out)]
        return [*where, "--device", "cpu", "--threads", "1", "--workers", "1", *extra]

    return build


def start_torchrun(arguments: list[str], processes: int = 2) -> subprocess.Popen:
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    command = [sys.executable, *launcher, str(ROOT / "train" / "train.py"), *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, text=True, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def torchrun(arguments: list[str]) -> str:
    with start_torchrun(arguments) as run:
        output = run.communicate()[0]
    assert run.returncode == 0, output[-3000:]
    return output


def losses(out: Path) -> list[float]:
    with (out / "log.csv").open() as file:
        return [float(row["loss"]) for row in csv.DictReader(file) if row["loss"]]


def _weights(out: Path) -> dict[str, torch.Tensor]:
    return torch.load(checkpoint.checkpoints(out)[-1], weights_only=True)["network"]


def test_two_processes_and_micro_batches_give_the_losses_of_one_process(arguments, tmp_path):
    assert main(arguments("one")) == 0
    output = torchrun(arguments("two", "--micro-batch", "1"))
    assert output.count("finished: ") == 1, "only the first process talks and writes"
    assert main(arguments("parts", "--micro-batch", "2")) == 0
    one = losses(tmp_path / "one")
    assert len(one) == 20 and one[0] > one[11]
    for name in ("two", "parts"):
        assert losses(tmp_path / name) == pytest.approx(one, rel=1e-4)
    ours, theirs = _weights(tmp_path / "two"), _weights(tmp_path / "one")
    assert ours.keys() == theirs.keys()
    assert (tmp_path / "two" / MODEL).is_file()


def test_a_batch_that_cannot_be_shared_is_refused(arguments, monkeypatch, capsys):
    with start_torchrun([*arguments("uneven", "--batch-size", "3")]) as run:
        output = run.communicate()[0]
    assert run.returncode != 0 and "batch_size 3 cannot be shared by 2 processes" in output


def test_more_processes_than_gpus_are_refused(arguments, monkeypatch, capsys):
    """One GPU is made up here: only the count is asked of it."""
    monkeypatch.setattr(distributed, "pick_device", lambda name: torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert main(arguments("crowded")) == 2
    assert "process 2 of this machine has no GPU, there is 1: start torchrun with --nproc-per-node 1" in (
        capsys.readouterr().err
    )


def test_machines_that_do_not_share_the_folder_are_told(discs, tmp_path):
    class Elsewhere(Processes):
        def gather(self, values):
            return [*values, 7]

    recipe = tmp_path / "shared.toml"
    recipe.write_text(RECIPE.format(steps=2))
    recipe = read_recipe(recipe)
    data = sources.read_data([sources.Root(discs)], [], recipe, out=tmp_path / "run")
    with pytest.raises(ValueError, match=r"different checkpoints there, of steps \[0, 7\].*all machines share"):
        Training(recipe, data, Options(tmp_path / "run"), Elsewhere())


def _workers(launcher: int) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()]


@pytest.mark.slow
@pytest.mark.parametrize("kind", [signal.SIGTERM, signal.SIGKILL])
def test_two_processes_resume_after_a_kill(kind, arguments, tmp_path):
    """The launcher is asked to stop, or both workers are killed with no warning."""
    torchrun(arguments("whole"))
    with start_torchrun(arguments("killed")) as run:
        for line in run.stdout:
            if line.startswith("step 10"):  # validated; saved just after
                for pid in [run.pid] if kind == signal.SIGTERM else _workers(run.pid):
                    os.kill(pid, kind)
                break
        else:
            raise AssertionError("the run never came to step 10")
        run.communicate()
    assert run.returncode != 0 and not (tmp_path / "killed" / MODEL).exists()
    assert len(losses(tmp_path / "killed")) < 20
    output = torchrun(arguments("killed"))
    assert not any(line.startswith("1/20") for line in output.splitlines()), "it goes on, and does not begin anew"
    whole, killed = _weights(tmp_path / "whole"), _weights(tmp_path / "killed")
    assert whole.keys() == killed.keys()
    assert all(torch.equal(value, killed[name]) for name, value in whole.items())


@pytest.mark.slow
def test_sharded_parameters_train_as_whole_ones_do(arguments, tmp_path):
    """FSDP; and its checkpoint goes on in one process."""
    assert main(arguments("one", steps=10)) == 0
    torchrun(arguments("sharded", "--shard", "--recompute", steps=10))
    assert losses(tmp_path / "sharded") == pytest.approx(losses(tmp_path / "one"), rel=1e-4)
    assert main([*arguments("sharded"), "--steps", "12", "--reschedule"]) == 0
    assert checkpoint.checkpoints(tmp_path / "sharded")[-1].name == "step_0000012.pt"


def test_what_takes_several_processes_is_told_in_one(tmp_path):
    gpu, cpu = torch.device("cuda"), torch.device("cpu")
    both = Options(tmp_path, shard=True, sync_batch_norm=True)
    shard, synced = idle_options(both, Processes(device=cpu))
    assert shard.startswith("--shard does nothing in one process") and synced.startswith("--sync-batch-norm does")
    assert idle_options(both, Processes(0, 2, cpu)) == [synced]
    assert idle_options(both, Processes(0, 2, gpu)) == idle_options(Options(tmp_path), Processes(device=cpu)) == []
