"""Training with hints: any recipe, any start, the same on resuming, in parts and in several processes."""

import json

import pytest
import torch

import birefnet_core as bc
from birefnet_core.network.hint import hint_weights
from birefnet_core.weights.files import read_metadata
from birefnet_core.weights.places import BUNDLED
from tests.train.run.test_distributed import losses, torchrun
from train.recipe import read_recipe
from train.run import checkpoint
from train.run.initialise import initialise_, take_architecture
from train.run.optimise import freeze_stages_, make_optimiser
from train.run.result import CARD, MODEL
from train.run.validate import normalise
from train.scenes.cutouts import read_pack
from train.scenes.scenes import Scenes
from train.tables import SceneStyle
from train.train import main, recipe_path

RECIPE = """
name = "hinted"
steps = {steps}
precision = "fp32"
model_size = 64
validation_size = 64
validation_pictures = 3
hold_out = 30
validate_every = 4
save_every = 1
sheet_every = 4
freeze_statistics = true
learning_rate = 1e-3
warmup_steps = 2
hint = true

[architecture]
backbone = "timm:test_efficientnet"
block_channels = 8
branch_channels = 8
inward_channels = 4
dropout = {dropout}

[[phases]]
until = 1.0
size = 64
batch_size = 4
"""


@pytest.fixture
def arguments(tmp_path, discs):
    def build(out: str, *extra: str, steps: int = 8, dropout: float = 0.0) -> list[str]:
        recipe = tmp_path / f"hinted{steps}-{dropout}.toml"
        recipe.write_text(RECIPE.format(steps=steps, dropout=dropout))
        where = ["--recipe", str(recipe), "--data", str(discs), "--out", str(tmp_path / out)]
        return [*where, "--device", "cpu", "--threads", "1", "--workers", "1", *extra]

    return build


def _last(out):
    return torch.load(checkpoint.checkpoints(out)[-1], weights_only=True)


def test_the_weights_of_the_hint_learn_and_then_the_hint_counts(arguments, tmp_path, capsys):
    assert main(arguments("run")) == 0
    said = capsys.readouterr().out
    assert "; with hints MAE 0." in said
    model = bc.load_model(tmp_path / "run" / MODEL, device="cpu", dtype="float32", fold=False)
    assert all(weight.abs().max() > 1e-4 for weight in hint_weights(model.network))
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        nothing, left = model.network(image), torch.zeros(1, 1, 64, 64)
        left[..., :32] = 1
        assert not torch.equal(model.network(image, left), nothing)
        assert torch.equal(model.network(image, torch.full_like(left, 0.5)), nothing)
    metadata = read_metadata(tmp_path / "run" / MODEL)
    assert json.loads(metadata["architecture"])["hint"] is True
    assert 0 <= float(metadata["held_out_hinted_iou"]) <= 1 and "held_out_iou" in metadata
    card = (tmp_path / "run" / CARD).read_text()
    assert "takes a hint" in card and "predict(images, hint=" in card and "learnt hints: in 67 % of the draws" in card
    assert "with hints: mae 0." in card and len(list((tmp_path / "run").glob("sheet_*_hints.jpg"))) == 2


def test_from_any_checkpoint_and_with_other_workers_it_goes_on_to_the_same_weights(arguments, tmp_path):
    assert main(arguments("whole", "--keep", "9", dropout=0.5)) == 0
    (tmp_path / "parts").mkdir()
    half_way = checkpoint.checkpoints(tmp_path / "whole")[3]
    (tmp_path / "parts" / half_way.name).write_bytes(half_way.read_bytes())
    assert main(arguments("parts", "--workers", "3", dropout=0.5)) == 0
    ours, theirs = (_last(tmp_path / name) for name in ("parts", "whole"))
    assert (ours["step"], ours["recipe"]["hint"]) == (theirs["step"], True) == (8, True)
    assert all(torch.equal(ours["network"][key], value) for key, value in theirs["network"].items())


@pytest.mark.parametrize("extra", [("--micro-batch", "2"), ("--micro-batch", "1", "--recompute")])
def test_parts_of_a_batch_and_recomputing_give_the_same_losses(extra, arguments, tmp_path):
    assert main(arguments("one")) == 0
    assert main(arguments("other", *extra)) == 0
    assert losses(tmp_path / "other") == pytest.approx(losses(tmp_path / "one"), rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("extra", [("--micro-batch", "1"), ("--shard", "--recompute")])
def test_two_processes_give_the_losses_of_one(extra, arguments, tmp_path):
    assert main(arguments("one")) == 0
    torchrun(arguments("two", *extra))
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-4)
    assert _last(tmp_path / "two")["network"].keys() == _last(tmp_path / "one")["network"].keys()


@pytest.mark.slow
def test_a_short_run_learns_which_of_two_is_asked_for(pack_folder, recipe_file, tmp_path):
    """From the bundled weights, a hundred steps on coloured discs; scenes of other discs than it saw."""
    recipe = tmp_path / "discs.toml"
    text = recipe_file(100).read_text().replace("block_channels = 8", "block_channels = 24")
    text = text.replace("branch_channels = 8", "branch_channels = 64").replace(
        "inward_channels = 4", "inward_channels = 16"
    )
    text = text.replace('init = "none"', 'init = "bundled"').replace("batch_size = 2", "batch_size = 6")
    recipe.write_text(text.replace("validate_every = 2", "validate_every = 100"))
    where = ["--recipe", str(recipe), "--data", str(pack_folder), "--out", str(tmp_path / "run"), "--device", "cpu"]
    given = ["--set", "hint=true", "--set", "learning_rate=7e-4", "--set", "ema=0.95", "--set", "warmup_steps=5"]
    assert main([*where, *given, "--threads", "1"]) == 0
    network = bc.load_model(tmp_path / "run" / MODEL, device="cpu", dtype="float32").network
    _, held_out = read_pack(pack_folder, threads=2)
    scenes = Scenes(held_out, SceneStyle(object_counts=(0.0, 0.0, 1.0)), seed=99)
    images, alpha, hints = scenes.hinted_batch(range(32), 64, 1.0)
    with torch.no_grad():
        asked, all_of_it = (network(normalise(images), *hint) > 0 for hint in ([hints], []))
    truth = alpha > 0.5
    overlaps = [((each & truth).sum() / (each | truth).sum()).item() for each in (asked, all_of_it)]
    assert overlaps[0] > overlaps[1] + 0.2, overlaps


def test_finetune_makes_a_hinted_model_of_anyones_weights(discs, tmp_path, tiny, capsys):
    """And goes on with one that takes a hint, without being asked."""
    small = bc.build_network("timm:test_efficientnet", block_channels=8, branch_channels=8, inward_channels=4)
    spec = bc.ModelSpec("theirs", "timm:test_efficientnet", (64, 64))
    bc.save_model(small.eval(), tmp_path / "theirs.safetensors", spec=spec, dtype=torch.float32)
    common = ["--recipe", "finetune", "--data", str(discs), "--device", "cpu", "--threads", "1", "--size", "64"]
    given = ["--steps", "2", "--init", str(tmp_path / "theirs.safetensors"), "--set", "hint=true"]
    assert main([*common, *given, "--out", str(tmp_path / "first")]) == 0
    first = bc.load_model(tmp_path / "first" / MODEL, device="cpu", fold=False).network
    assert all(weight.any() for weight in hint_weights(first))
    given = ["--steps", "2", "--init", str(tmp_path / "first" / MODEL)]
    assert main([*common, *given, "--out", str(tmp_path / "second")]) == 0
    second = bc.load_model(tmp_path / "second" / MODEL, device="cpu", fold=False).network
    ours, theirs = hint_weights(second), hint_weights(first)
    assert len(ours) == 1 and not torch.equal(ours[0], theirs[0])
    recipe = read_recipe(recipe_path("finetune"), overrides={"init": str(tmp_path / "first" / MODEL)})
    assert take_architecture(recipe, {}).hint
    for model, idle, said in (
        ("theirs.safetensors", "0.5", "hints.share would do nothing: the network takes no hint"),
        (f"first/{MODEL}", "0", "with hints.share 0 the network learns no hint"),
    ):
        given = ["--steps", "2", "--init", str(tmp_path / model), "--set", f"hints.share={idle}"]
        assert main([*common, *given, "--out", str(tmp_path / "refused")]) == 2
        assert f"--init {tmp_path / model}: {said}" in capsys.readouterr().err
    given = ["--steps", "2", "--init", str(tmp_path / "first" / MODEL), "--set", "hint=false"]
    assert main([*common, *given, "--out", str(tmp_path / "plain")]) == 0
    assert not bc.inspect(tmp_path / "plain" / MODEL).hint


def test_a_model_that_takes_no_hint_starts_a_hinted_one_that_gives_the_same(tmp_path):
    """And one that takes hints starts one that takes none."""
    found, file = bc.inspect(BUNDLED), tmp_path / "plain.safetensors"
    plain = bc.build_network(found.architecture, hint=False)
    initialise_(plain, "bundled")
    bc.save_model(plain.eval(), file, spec=found.spec, dtype=torch.float32)
    hinted = bc.build_network(found.architecture, hint=True)
    initialise_(hinted, str(file))
    image, hint = torch.rand(1, 3, 64, 64), torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        assert torch.equal(hinted.eval()(image, hint), plain(image))
        for weight in hint_weights(hinted):
            weight.normal_(0, 0.5)
    bc.save_model(hinted, file, spec=found.spec, dtype=torch.float32)
    again = bc.build_network(found.architecture, hint=False)
    initialise_(again, str(file))
    with torch.no_grad():
        assert not torch.equal(hinted(image, hint), plain(image)) and torch.equal(again.eval()(image), plain(image))


@pytest.mark.parametrize("backbone", ["swin_v1_t", "resnet50", "timm:test_efficientnet"])
def test_a_classifiers_weights_start_a_hinted_backbone(backbone, tmp_path):
    narrow = {"block_channels": 8, "branch_channels": 8, "inward_channels": 4}
    plain, hinted = bc.build_network(backbone, **narrow), bc.build_network(backbone, **narrow, hint=True)
    torch.save(plain.localization.backbone.state_dict(), tmp_path / "backbone.pth")
    initialise_(hinted, str(tmp_path / "backbone.pth"))
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        levels = [each.localization.backbone.eval()(x) for each in (plain, hinted)]
    skipped = 3 if backbone.startswith("swin") else 0  # norms of the shallow levels are no classifier's
    assert all(torch.equal(ours, theirs) for ours, theirs in list(zip(*levels))[skipped:])


@pytest.mark.parametrize("frozen", [1, 4])
def test_frozen_stages_leave_the_hint_to_learn_at_a_rate_of_its_own(frozen, recipe_file):
    recipe = read_recipe(recipe_file(), overrides={"hint": True, "learning_rate": 0.5})
    network = bc.build_network(recipe.architecture)
    freeze_stages_(network, frozen)
    (weight,) = hint_weights(network)
    assert weight.requires_grad and not network.localization.backbone.model.conv_stem.picture.weight.requires_grad
    rates = {
        id(p): group["base_rate"] for group in make_optimiser(network, recipe).param_groups for p in group["params"]
    }
    assert rates[id(weight)] == 5.0 and sorted(set(rates.values())) == [3e-4, 0.5, 5.0][frozen == 4 :]
