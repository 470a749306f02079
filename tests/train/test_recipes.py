"""The shipped recipes: the paper's settings, and two steps of each on generated data."""

import math
import re
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path

import pytest

import birefnet_core as bc
from train.recipe import as_dictionary, differences, parse_value, read_recipe
from train.run.result import CARD, MODEL
from train.train import main, recipe_path

RECIPES = Path(__file__).parents[2] / "train" / "recipes"
NAMES = sorted(str(path.relative_to(RECIPES).with_suffix("")) for path in RECIPES.rglob("*.toml"))
ABLATIONS = [name for name in NAMES if name.startswith("ablations/")]


def _read(name, **overrides):
    init = {"init": "bundled"} if name in ("finetune", "few") else {}
    return read_recipe(recipe_path(name), overrides=init | overrides)


def test_all_that_are_promised_are_there():
    assert {"dis5k", "hrsod", "cod", "general", "matting", "portrait", "finetune", "few", "bundled"} <= set(NAMES)
    assert len(ABLATIONS) == 3 + 8 + 3


@pytest.mark.parametrize("name", NAMES)
def test_recipe_loads(name):
    recipe = _read(name)
    assert recipe.name == name.split("/")[-1]
    assert not differences(as_dictionary(recipe), as_dictionary(_read(name)))
    counted = recipe.for_data(1000)
    assert counted.steps > 0 and counted.first_picture(counted.steps) > 0


def test_what_an_older_checkpoint_does_not_know_is_at_its_default():
    ours, older = (as_dictionary(_read("finetune")) for _ in range(2))
    del older["edge_radius"], older["scenes"]["cut"], older["scenes"]["painted"]
    assert not differences(ours, older)
    ours["scenes"]["painted"] = 0.5
    assert differences(ours, older) == ["scenes.painted: 0.0 -> 0.5"]


def _said(value):
    """A dataclass as a dictionary without all that is at its default, which is what an older checkpoint may lack."""
    if isinstance(value, tuple):
        return tuple(_said(each) for each in value)
    if not is_dataclass(value):
        return value
    said = {}
    for one in fields(value):
        default = one.default if one.default_factory is MISSING else one.default_factory()
        if getattr(value, one.name) != default:
            said[one.name] = _said(getattr(value, one.name))
    return said


@pytest.mark.parametrize("name", NAMES)
def test_a_run_of_an_older_version_goes_on_with_every_recipe(name):
    recipe = _read(name)
    ours = as_dictionary(recipe)
    older = as_dictionary(recipe)
    for phase in older["phases"]:  # as they were
        if not phase["square"]:
            del phase["square"]
    assert not differences(ours, older)
    older = _said(recipe)
    assert "size" in older["phases"][0] and not differences(ours, older)
    older["phases"][0]["size"] = 32
    assert differences(ours, older) == [f"phases.0.size: 32 -> {recipe.phases[0].size}"]


def test_kinds_that_a_run_does_not_name_are_not_its():
    ours = as_dictionary(_read("finetune", **{"hint": True, "hints.kinds": {"box": 1.0}}))
    assert not differences(ours, as_dictionary(_read("finetune", **{"hint": True, "hints.kinds": {"box": 1.0}})))
    others = as_dictionary(_read("finetune", **{"hint": True, "hints.kinds": {"box": 1.0, "dots": 2.0}}))
    assert differences(ours, others) == ["hints.kinds.dots: 2.0 -> nothing"]
    del others["hints"]  # of before there were any to say
    assert "hints.kinds.dots: 0.08 -> nothing" in differences(ours, others)


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("scenes.extents", [[1.0, 0.5]], r"scenes\.extents must be \[share, least, most\]"),
        ("scenes.extents", [[1.0, 0.9, 0.5]], r"scenes\.extents must be"),
        ("scenes.extents", [[0.0, 0.5, 0.9]], r"shares of scenes\.extents"),
        ("scenes.cut_extent", [0.5], r"scenes\.cut_extent must be"),
        ("scenes.together", 1.5, r"scenes\.together must be 0 to 1, not 1\.5"),
        ("scenes.lights", 3, r"scenes\.lights must be a table"),
        ("scenes.lights", {"fog": 0.1}, r"bundled\.toml: scenes\.lights: unknown fog; known are night"),
        ("scenes.lights", {"night": 0.7, "neon": 0.6}, r"bundled\.toml: .*scenes\.lights .* more than 1"),
        ("scenes.lights", {"night": -0.1}, r"scenes\.lights must not be negative"),
        ("scenes.invented", {"sea": 1.0}, r"bundled\.toml: scenes\.invented: unknown sea; known are gradient"),
        ("scenes.invented", {"sky": 0.0}, r"bundled\.toml: the shares of scenes\.invented"),
        ("square", True, r"square is for dynamic sizes"),
        ("hints.share", 2.0, r"hints\.share must be 0 to 1"),
        ("hints.kinds", {"circle": 1.0}, r"hints\.kinds: unknown circle; known are exact"),
        ("hints.kinds", {"dots": 0.0}, r"shares of hints\.kinds"),
        ("hints.kinds", {"dots": 1.0, "box": -1.0}, r"shares of hints\.kinds"),
        ("hints.kinds", {"dots": 1e308, "box": 1e308}, r"shares of hints\.kinds must .* their sum finite"),
        ("hints.kinds", {"dots": math.inf}, r"hints\.kinds\.dots must be a number, not inf"),
        ("hints.share", math.nan, r"hints\.share must be a number, not nan"),
        ("scenes.extents", [[1.0, 0.5, math.inf]], r"scenes\.extents\[0\]\[2\] must be a number, not inf"),
        ("learning_rate", math.nan, r"learning_rate must be a number, not nan"),
        ("hints.sort", 1, "unknown sort"),
        ("model_size", [64], r"model_size must be one side or two, not \[64\]"),
        ("model_size", -64, r"model_size must be a multiple of 32, not -64"),
        ("model_size", [416, 100], r"model_size must be a multiple of 32, not 100"),
        ("architecture.block_channels", 0, r"architecture\.block_channels must be 1 or more, not 0"),
        ("architecture.dropout", 1.5, r"architecture\.dropout must be 0 to 1, not 1\.5"),
        ("augmentation.flip", 2.0, r"augmentation\.flip must be 0 to 1"),
        ("losses.mae", -5.0, r"losses\.mae must not be negative, not -5\.0"),
        ("hold_out", 200, r"hold_out must be 0 to 99, not 200"),
        ("frozen_stages", 9, r"frozen_stages must be 0 to 4, not 9"),
        ("ema", 1.0, r"ema must be 0 to 0\.999999, not 1\.0"),
        ("learning_rate", -1e-4, r"learning_rate must not be negative, not -0\.0001"),
        ("phases.size", 128, r"phases\.size is nothing by itself: give size for every phase, or all of phases"),
        ("phases.0.losses.mae", 1.0, r"give losses\.mae for every phase"),
        ("steps.size", 1, r"steps\.size: steps is 6000, and has no size"),
    ],
)
def test_impossible_values_are_refused(name, value, complaint):
    with pytest.raises(ValueError, match=complaint):
        _read("bundled", **{name: value})


def test_values_of_every_phase_are_those_of_phases_that_are_given_beside_them():
    phases = [{"until": 0.5, "size": 128, "batch_size": 2}, {"until": 1.0, "size": 256, "batch_size": 2}]
    recipe = _read("finetune", **{"init": "none", "size": 64, "batch_size": 3, "phases": phases})
    assert [(phase.size, phase.batch_size) for phase in recipe.phases] == [(64, 3)] * 2 and recipe.model_size == 64


@pytest.mark.parametrize(
    ("recipe", "overrides", "complaint"),
    [
        ("bundled", {"hints.share": 0.0}, "with hints.share 0 the network learns no hint"),
        ("bundled", {"hint": False, "hints.share": 0.5}, "hints.share would do nothing"),
        ("general", {"hints.kinds.box": 1.0, "hints.share": 0.5}, "hints.kinds.box, hints.share would do nothing"),
    ],
)
def test_values_of_hints_that_are_never_drawn_are_refused(recipe, overrides, complaint):
    with pytest.raises(ValueError, match=re.escape(complaint)):
        _read(recipe, **overrides)


@pytest.mark.parametrize(("name", "epochs", "rate"), [("dis5k", 600, 1e-4), ("hrsod", 150, 1e-5), ("cod", 150, 1e-5)])
def test_settings_are_the_papers(name, epochs, rate):
    """Section 4.3: 1024 x 1024, Adam, 600/150/150 epochs, the last 20 region level; section 3.5: 30, 0.5, 10, 5."""
    recipe = _read(name)
    assert recipe.epochs == epochs and recipe.optimiser == "adam"
    assert recipe.learning_rate == recipe.backbone_learning_rate == rate
    first, last = recipe.phases
    assert first.size == last.size == recipe.model_size == 1024
    assert (first.losses.bce, first.losses.iou, first.losses.ssim, first.losses.classes) == (30, 0.5, 10, 5)
    assert (last.losses.bce, last.losses.ssim, last.losses.mae) == (0, 0, 0) and last.losses.iou > 0
    assert recipe.augmentation.flip == 0.5 and recipe.augmentation.crop == 1 and not recipe.augmentation.colour
    counted = recipe.for_data(3200)
    assert counted.steps == epochs * 100
    region_level = sum(counted.phase_at(step) is counted.phases[1] for step in range(counted.steps))
    assert math.isclose(region_level / 100, 20, abs_tol=0.1)
    assert recipe.architecture.classes == (219 if name == "dis5k" else 0)


def test_the_command_line_replaces_values_of_base_and_phases():
    recipe = _read("matting", **{"size": [64, 96], "epochs": 3.0, "losses.mae": 7.0, "architecture.backbone": "vgg16"})
    assert recipe.epochs == 3 and recipe.architecture.backbone == "vgg16" and recipe.task == "matting"
    assert all(phase.size == (64, 96) and phase.losses.mae == 7 for phase in recipe.phases)
    assert recipe.phases[0].losses.iou == 0 and recipe.model_size == recipe.validation_size == (64, 96)
    assert _read("general", steps=5).epochs == 0
    assert parse_value("[1, 2]") == [1, 2] and parse_value("swin_v1_t") == "swin_v1_t" and parse_value("1e-5") == 1e-5


def test_dynamic_sizes_vary_by_step_alone():
    phase = _read("general", dynamic=[64, 160]).phases[0]
    sizes = [phase.sides(step, 0) for step in range(60)]
    assert {side for size in sizes for side in size} == {64, 96, 128, 160}
    assert sizes == [phase.sides(step, 0) for step in range(60)] != [phase.sides(step, 1) for step in range(60)]


def test_dynamic_sizes_of_composed_pictures_are_square():
    phase = _read("bundled").phases[1]
    sizes = [phase.sides(step, 0) for step in range(200)]
    assert all(width == height for width, height in sizes)
    assert {width for width, _ in sizes} == set(range(phase.dynamic[0], phase.dynamic[1] + 1, 32))


def test_sizes_of_bundled_may_be_fixed():
    assert [phase.square for phase in _read("bundled", dynamic=[]).phases] == [False] * 3


def test_finetune_needs_a_model():
    with pytest.raises(ValueError, match="name it with --init"):
        read_recipe(recipe_path("finetune"))


@pytest.mark.parametrize("name", ["finetune", "few"])
def test_an_init_that_is_no_model_is_taken_at_its_word(name, discs, tiny, tmp_path, capsys):
    """With a word of warning: what is asked for outright is done."""
    _train(name, discs, tmp_path, tiny, "--init", "none")
    assert f"note: {name} is meant to go on from a trained model; with --init none it starts from nothing" in (
        capsys.readouterr().out
    )
    assert bc.inspect(tmp_path / MODEL).backbone == "timm:test_efficientnet"
    assert read_recipe(recipe_path("few"), overrides={"init": "none"}).frozen_stages == 0, "nothing worth keeping"


def _train(name, data, out, tiny, *extra) -> None:
    arguments = ["--recipe", name, "--data", str(data), "--out", str(out), *tiny, "--steps", "2", *extra]
    assert main([*arguments, "--precision", "fp32", "--set", "validation_pictures=1"]) == 0
    assert (out / MODEL).is_file()


@pytest.mark.parametrize("name", ["dis5k", "hrsod", "cod", "general", "matting", "portrait"])
def test_two_steps_of(name, discs, tiny, tmp_path):
    extra = ["--set", "architecture.classes=3"] if name == "dis5k" else []
    _train(name, discs, tmp_path, tiny, *extra)
    spec = bc.load_model(str(tmp_path / MODEL), device="cpu").spec
    assert spec.name == name and spec.size == (64, 64) and spec.patch_order == "2025"
    card = (tmp_path / CARD).read_text()
    for expected in (
        "### Training Sets:",
        "### Validation Sets:",
        "| Dataset | Method | Smeasure | maxFm |",
        discs.name,
    ):
        assert expected in card


@pytest.mark.parametrize("name", ABLATIONS)
def test_two_steps_of_the_ablation(name, discs, tiny, tmp_path):
    _train(name, discs, tmp_path, tiny, "--set", "architecture.classes=3")
    architecture = bc.inspect(tmp_path / MODEL).architecture
    wanted = _read(name).architecture
    for switch in ("image_pyramid", "context_fusion", "reconstruction", "inward_reference", "outward_reference"):
        assert getattr(architecture, switch) == getattr(wanted, switch)
    assert architecture.multi_stage_supervision == wanted.multi_stage_supervision


def test_two_steps_of_bundled(pack_folder, tiny, tmp_path):
    extra = [f"scenes.{key}" for key in ("sources={}", "emphasised=[]", "cluttered_background=0.0")]
    extra = [part for text in extra for part in ("--set", text)]
    _train("bundled", pack_folder, tmp_path, tiny, "--init", "none", *extra)
