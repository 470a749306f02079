"""Training on a GPU: every precision, compiled, resumed, with several processes. `make test-gpu`."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import birefnet_core
from tests.train.run.test_distributed import arguments, losses, torchrun  # noqa: F401
from train.run import checkpoint
from train.run.loop import Training
from train.run.result import MODEL
from train.train import main

ROOT = Path(__file__).parents[3]
STEPS = 6


@pytest.fixture
def train(arguments, gpu):  # noqa: F811
    """Trains STEPS steps into a folder on the GPU, or on a device that is given; returns the exit status."""

    def run(out: str, *extra: str, device: str = gpu) -> int:
        if gpu == "cpu" and "fp16" in extra:
            pytest.skip("fp16 is refused on a CPU")
        return main(arguments(out, "--device", device, *extra, steps=STEPS))

    return run


@pytest.mark.parametrize("precision, close", [("fp32", 1e-3), ("bf16", 0.1), ("fp16", 0.05)])
def test_losses_are_those_of_a_cpu_in_every_precision(train, tmp_path, gpu, precision, close):
    assert train("cpu", device="cpu") == 0
    assert train("gpu", "--precision", precision) == 0
    ours, expected = losses(tmp_path / "gpu"), losses(tmp_path / "cpu")
    assert len(ours) == STEPS and ours[:3] == pytest.approx(expected[:3], rel=close)
    model = birefnet_core.load_model(str(tmp_path / "gpu" / MODEL), device=gpu, dtype="float32")
    assert model.predict(torch.rand(1, 50, 70, 3)).shape == (1, 50, 70)


def test_what_is_native_is_taken(train, tmp_path, gpu):
    """bf16 since Ampere, to train; half precision, to matte."""
    assert train("auto", "--precision", "auto") == 0
    recorded = torch.load(checkpoint.checkpoints(tmp_path / "auto")[-1], weights_only=True)["recipe"]["precision"]
    if gpu == "cuda":
        assert recorded == ("bf16" if torch.cuda.get_device_capability() >= (8, 0) else "fp32")
        assert next(birefnet_core.load_model("bundled", device=gpu).network.parameters()).dtype == torch.float16


@pytest.mark.parametrize("how", ["--compile", "--recompute"])
def test_compiled_and_recomputed_steps_give_the_same_losses(train, tmp_path, how):
    assert train("plain") == 0
    assert train("other", how) == 0
    assert losses(tmp_path / "other")[:3] == pytest.approx(losses(tmp_path / "plain")[:3], rel=1e-2)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_stopped_run_goes_on(train, tmp_path, gpu, monkeypatch, precision):
    """To nearly the same weights: sums on a GPU are taken in any order."""
    assert train("whole", "--precision", precision) == 0
    housekeeping = Training._housekeeping

    def stop_after_two(training):
        housekeeping(training)
        training.asked_to_stop = training.state.step == 2

    with monkeypatch.context() as patch:
        patch.setattr(Training, "_housekeeping", stop_after_two)
        assert train("parts", "--precision", precision) == 130
    assert train("parts", "--precision", precision) == 0
    whole, parts = (load_file(tmp_path / name / MODEL) for name in ("whole", "parts"))
    for name, value in whole.items():
        torch.testing.assert_close(parts[name], value, rtol=0.02, atol=2e-3, msg=name)


SHARED = """
import sys
import torch
import torch.distributed as dist
from train.data import sources
from train.run.distributed import Processes
from train.run.loop import Options, Training
from train.recipe import read_recipe
from pathlib import Path

recipe, data, out, device, rank, port = sys.argv[1:]
dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=int(rank), world_size=2)
recipe = read_recipe(Path(recipe), overrides={"freeze_statistics": False})
among = Processes(int(rank), 2, torch.device(device))
read = sources.read_data([sources.Root(Path(data))], [], recipe, out=Path(out), device=among.device, main=among.main)
assert Training(recipe, read, Options(Path(out), sync_batch_norm=True), among).run()
dist.destroy_process_group()
"""


def test_synchronised_batch_norm_takes_the_statistics_of_all_processes(train, tmp_path, gpu, discs):
    """Two processes share one GPU here, through gloo, since NCCL wants a GPU for each."""
    assert train("one", "--set", "freeze_statistics=false") == 0
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    where = [str(tmp_path / f"shared{STEPS}.toml"), str(discs), str(tmp_path / "two"), gpu]
    command = [sys.executable, "-c", SHARED, *where]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    runs = [
        subprocess.Popen([*command, rank, port], env=environment, stderr=subprocess.PIPE, text=True) for rank in "01"
    ]
    errors = [run.communicate()[1] for run in runs]
    assert [run.returncode for run in runs] == [0, 0], errors
    ours, expected = losses(tmp_path / "two"), losses(tmp_path / "one")
    if gpu == "cpu":  # where each process keeps its own statistics
        assert ours != pytest.approx(expected, rel=1e-3)
    else:
        assert ours == pytest.approx(expected, rel=1e-3)


def test_nccl_gives_the_losses_of_one_process(train, arguments, tmp_path, gpu):  # noqa: F811
    if torch.cuda.device_count() < 2:
        pytest.skip("fewer than two GPUs")
    assert train("one") == 0
    for name, extra in (("two", ()), ("sharded", ("--shard",))):
        torchrun(arguments(name, "--device", gpu, *extra, steps=STEPS))
        assert losses(tmp_path / name) == pytest.approx(losses(tmp_path / "one"), rel=1e-3)
