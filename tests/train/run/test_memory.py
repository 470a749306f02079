"""What saves memory changes no result: recomputed activations, single pictures, fp16 with its scaler."""

import os
import shutil
import signal
from functools import partial

import pytest
import torch

import birefnet_core as bc
from train.data import sources
from train.data.pairs import Pairs, find_pairs
from train.recipe import read_recipe
from train.run import loop
from train.run import precision as precisions
from train.run.losses import training_loss
from train.run.normalise import normalise
from train.run.options import StoppedError
from train.run.recompute import recompute_, units
from train.tables import LossWeights
from train.train import recipe_path

NARROW = {"block_channels": 8, "branch_channels": 8, "inward_channels": 4}


@pytest.mark.parametrize("backbone", ["swin_v1_t", "pvt_v2_b0", "timm:test_efficientnet"])
def test_recomputing_gives_the_same_gradients_and_statistics(backbone, discs):
    batch = Pairs(find_pairs(discs).pairs).batch(range(2), (64, 64))
    results = []
    for recomputed in (False, True):
        torch.manual_seed(0)
        network = bc.build_network(backbone, dropout=0.5, **NARROW)
        if recomputed:
            before = list(network.state_dict())
            recompute_(network)
            assert list(network.state_dict()) == before
        torch.manual_seed(1)
        loss, _ = training_loss(network(normalise(batch.images)), batch.alpha, LossWeights())
        loss.backward()
        results.append((network, loss))
    (plain, loss), (recomputed, same) = results
    assert torch.equal(loss, same)
    for ours, theirs in zip(plain.parameters(), recomputed.parameters()):
        torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-6, rtol=1e-4)
    for ours, theirs in zip(plain.buffers(), recomputed.buffers()):
        assert torch.equal(ours, theirs)
    assert len(units(plain)) > 5


@pytest.fixture
def training(discs, tmp_path):
    def build(*, compiled: bool = False, **changes) -> loop.Training:
        tiny = {f"architecture.{name}": value for name, value in NARROW.items()}
        tiny |= {"architecture.backbone": "timm:test_efficientnet", "size": 64, "batch_size": 4, "steps": 50}
        recipe = read_recipe(recipe_path("general"), overrides=tiny | changes)
        data = sources.read_data([sources.Root(discs)], [], recipe, out=tmp_path)
        return loop.Training(recipe, data, loop.Options(tmp_path / "run", compile=compiled))

    return build


def test_single_pictures_keep_batch_norm_and_its_keys(training):
    run = training(micro_batch=1, precision="fp32")
    keys = list(run.state.network.state_dict())
    before = {name: value.clone() for name, value in run.state.network.state_dict().items()}
    run._train_step(run._draw(0))
    after = run.state.network.state_dict()
    assert list(after) == keys and any("norm.running_mean" in key for key in keys)
    assert all(torch.equal(after[key], before[key]) for key in keys if "running" in key)
    assert any(not torch.equal(after[key], before[key]) for key in keys if key.endswith("weight"))


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_steps_are_finite(precision, training, monkeypatch):
    monkeypatch.setitem(
        precisions.AUTOCAST, "fp16", None
    )  # on a CPU fp16 takes minutes; its scaler is what can go wrong
    run = training(precision=precision)
    before = [parameter.detach().clone() for parameter in run.state.network.parameters()]
    for step in range(3):
        run._train_step(run._draw(step))
    assert run.state.skipped == 0 and run.state.scaler.is_enabled() == (precision == "fp16")
    assert any(not torch.equal(a, b) for a, b in zip(before, run.state.network.parameters()))
    assert all(parameter.isfinite().all() for parameter in run.state.network.parameters())


def test_gradients_too_large_for_fp16_scale_down_and_are_no_fault(training, monkeypatch):
    monkeypatch.setitem(precisions.AUTOCAST, "fp16", None)
    run = training(precision="fp16")
    run.state.scaler = torch.amp.GradScaler("cpu", init_scale=1e38)
    before = [parameter.detach().clone() for parameter in run.state.network.parameters()]
    run._train_step(run._draw(0))
    assert run.state.skipped == 0 and run.state.scaler.get_scale() < 1e38
    assert all(torch.equal(a, b) for a, b in zip(before, run.state.network.parameters()))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("c++") is None, reason="torch.compile needs a C++ compiler")
def test_where_nothing_can_be_compiled_it_says_to_leave_it_out(training, monkeypatch):
    def backend(graph, inputs):
        raise OSError("no compiler found")

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    with pytest.raises(
        loop.TrainingError, match=r"torch\.compile does not work here, leave --compile out.*no compiler"
    ):
        training(compiled=True).run()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("c++") is None, reason="torch.compile needs a C++ compiler")
def test_a_signal_that_stops_the_compiler_stops_the_run(training, monkeypatch):
    """It goes to all processes of a terminal, and of a process group."""

    def backend(graph, inputs):
        os.kill(os.getpid(), signal.SIGINT)
        raise OSError("the compiler was stopped")

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    with pytest.raises(StoppedError, match="stopped while the network was compiled; the same command goes on"):
        training(compiled=True).run()


def test_compiled_training_computes_the_same_and_keeps_the_names(training):
    settings = {"precision": "fp32", "architecture.dropout": 0.0}  # a compiled dropout draws other numbers
    runs = [training(compiled=compiled, **settings) for compiled in (False, True)]
    losses = [[run._train_step(run._draw(step)).losses["loss"] for step in range(2)] for run in runs]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4) and losses[0][0] != losses[0][1]
    ours, theirs = (run.state.network.state_dict() for run in runs)
    assert ours.keys() == theirs.keys()
    torch.testing.assert_close(dict(ours), dict(theirs), rtol=1e-3, atol=1e-4)


def test_running_out_of_memory_says_what_to_lower(training, monkeypatch):
    run = training()

    def fail(batch):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(run, "_train_step", fail)
    with pytest.raises(
        loop.TrainingError, match=r"Out of memory with 4 pictures at a time .*--micro-batch.*--recompute"
    ):
        run.run()
