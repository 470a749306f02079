"""What is learnt without a hint may be what other models give."""

import shutil

import pytest
import torch

import birefnet_core as bc
from birefnet_core.network.hint import SAYS_NOTHING, hint_weights
from train.data.pairs import Batch
from train.run import checkpoint
from train.run.normalise import normalise
from train.run.result import MODEL
from train.run.teachers import WEIGHTS, load_teachers, taught
from train.train import main

SMALL = {"block_channels": 8, "branch_channels": 8, "inward_channels": 4}


@pytest.fixture
def files(tmp_path, one_thread):
    """Two models, of which the second takes hints."""
    names = []
    for seed, hint in enumerate((False, True)):
        torch.manual_seed(seed)
        network = bc.build_network("timm:test_efficientnet", **SMALL, hint=hint).eval()
        with torch.no_grad():
            for weight in hint_weights(network):
                weight.normal_(0, 0.5)
        path = tmp_path / f"teacher{seed}.safetensors"
        bc.save_model(network, path, spec=bc.ModelSpec("t", "timm:test_efficientnet", (64, 64)), dtype=torch.float32)
        names.append(str(path))
    return tuple(names)


def test_without_a_hint_the_mean_of_the_teachers_is_the_target(files):
    teachers = load_teachers(files, torch.device("cpu"))
    hints = torch.full((3, 1, 64, 64), SAYS_NOTHING)
    hints[1, :, :20] = 1
    batch = Batch(torch.rand(3, 3, 64, 64), torch.rand(3, 1, 64, 64), hints=hints)
    found = taught(batch, teachers).alpha
    with torch.no_grad():
        expected = sum(teacher.network(normalise(batch.images)).sigmoid() for teacher in teachers) / 2
    assert torch.equal(found[1], batch.alpha[1])
    torch.testing.assert_close(found[::2], expected[::2], atol=1e-5, rtol=0)
    plain = batch._replace(hints=None)
    torch.testing.assert_close(taught(plain, teachers).alpha, expected, atol=1e-5, rtol=0)
    assert taught(batch, []) is batch


def test_a_teacher_sees_pictures_as_it_was_made_for(files, tmp_path):
    batch = Batch(torch.rand(2, 3, 64, 64), torch.rand(2, 1, 64, 64))
    own = bc.ModelSpec("t", "timm:test_efficientnet", (64, 64), mean=(0.5, 0.4, 0.3), std=(1.0, 0.5, 2.0))
    path = tmp_path / "own.safetensors"
    bc.save_model(bc.load_model(files[0], device="cpu", fold=False).network, path, spec=own, dtype=torch.float32)
    expected = bc.load_model(path, device="cpu").predict(batch.images.movedim(1, 3))
    found = taught(batch, load_teachers((str(path),), torch.device("cpu"))).alpha[:, 0]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    assert (taught(batch, load_teachers(files[:1], torch.device("cpu"))).alpha[:, 0] - expected).abs().max() > 1e-3


def test_a_run_with_teachers_keeps_near_what_they_give(files, discs, tmp_path):
    """It begins from a teacher: what it gives without a hint moves less from that than a run without teachers does."""
    common = ["--recipe", "finetune", "--data", str(discs), "--device", "cpu", "--threads", "1", "--size", "64"]
    common += ["--steps", "12", "--init", files[0], "--set", "learning_rate=2e-3", "--set", "ema=0"]
    image = torch.rand(1, 3, 64, 64)
    moved = []
    for name, more in (("alone", []), ("taught", ["--set", f"teachers=['{files[0]}']"])):
        assert main([*common, *more, "--out", str(tmp_path / name)]) == 0
        before, after = (bc.load_model(path, device="cpu").network for path in (files[0], tmp_path / name / MODEL))
        with torch.no_grad():
            moved.append((after(image).sigmoid() - before(image).sigmoid()).abs().mean().item())
    assert moved[1] < 0.5 * moved[0], moved


def test_a_run_does_not_go_on_with_another_teacher_of_the_same_name(files, discs, tmp_path, capsys):
    teacher = tmp_path / "teacher.safetensors"
    shutil.copy(files[0], teacher)
    run = ["--recipe", "finetune", "--data", str(discs), "--device", "cpu", "--threads", "1", "--size", "64"]
    run += ["--init", files[0], "--set", f"teachers=['{teacher}']", "--out", str(tmp_path / "run"), "--reschedule"]
    assert main([*run, "--steps", "1"]) == 0
    assert main([*run, "--steps", "2"]) == 0
    shutil.copy(files[1], teacher)
    assert main([*run, "--steps", "3"]) == 2
    assert f"{WEIGHTS}: [" in capsys.readouterr().err
    [*_, last] = checkpoint.checkpoints(tmp_path / "run")
    state = torch.load(last, weights_only=True)
    del state["recipe"][WEIGHTS]  # as runs of before it was recorded
    torch.save(state, last)
    assert main([*run, "--steps", "3"]) == 0


def test_a_teacher_that_is_not_there_is_named(discs, tmp_path, files, capsys):
    where = ["--recipe", "finetune", "--data", str(discs), "--out", str(tmp_path / "run"), "--init", files[0]]
    assert main([*where, "--steps", "1", "--set", "teachers=['none.safetensors']", "--device", "cpu"]) == 2
    assert "error: teachers: none.safetensors is no model: " in capsys.readouterr().err
    assert not (tmp_path / "run").exists()  # before any data is read


@pytest.mark.parametrize("given", ["", "no-such-name", "."])
def test_what_is_no_teacher_is_told_as_such(discs, tmp_path, files, capsys, given):
    where = ["--recipe", "finetune", "--data", str(discs), "--out", str(tmp_path / "run"), "--init", files[0]]
    assert main([*where, "--steps", "1", "--set", f"teachers=['{given}']", "--device", "cpu"]) == 2
    assert f"error: teachers: {given or 'an empty name'} is no model: " in capsys.readouterr().err
