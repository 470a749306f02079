"""A handful of pictures of one kind of subject: the recipe `few`."""

import csv

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from safetensors.torch import load_file

import birefnet_core as bc
from birefnet_core.weights.places import BUNDLED
from train.data.pairs import find_pairs
from train.recipe import read_recipe
from train.run.initialise import take_architecture
from train.run.result import MODEL
from train.train import main, recipe_path

SIDE = 320


def _ground(rng) -> Image.Image:
    coarse = Image.fromarray(rng.integers(0, 255, (5, 5, 3)).astype(np.uint8)).resize((SIDE, SIDE), Image.BICUBIC)
    fine = Image.fromarray(rng.integers(0, 255, (40, 40, 3)).astype(np.uint8)).resize((SIDE, SIDE), Image.BICUBIC)
    return Image.blend(coarse, fine, 0.25)


def _shaded(rng) -> Image.Image:
    y, x = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    light = 0.8 + 0.4 * (x * rng.uniform(-1, 1) + y * rng.uniform(-1, 1))
    return Image.fromarray((rng.integers(60, 255, 3) * light[..., None]).clip(0, 255).astype(np.uint8))


def balls(rng) -> tuple[Image.Image, Image.Image]:
    """Balls and boxes lie about; balls are the subject."""
    image, alpha = _ground(rng), Image.new("L", (SIDE, SIDE))
    for number, (column, row) in enumerate(rng.permutation([(0, 0), (0, 1), (1, 0), (1, 1)])[:3]):
        x, y = (SIDE * (0.28 + 0.44 * place + rng.uniform(-0.05, 0.05)) for place in (column, row))
        radius, part = SIDE * rng.uniform(0.12, 0.19), Image.new("L", (SIDE, SIDE))
        is_ball = number == 0 or rng.random() < 0.3
        draw = ImageDraw.Draw(part).ellipse if is_ball else ImageDraw.Draw(part).rectangle
        draw((x - radius, y - radius, x + radius, y + radius), fill=255)
        image.paste(_shaded(rng), mask=part)
        alpha.paste(255 if is_ball else 0, mask=part)
    return image, alpha


def stripes(rng) -> tuple[Image.Image, Image.Image]:
    """Three discs, one of them striped, which is the subject."""
    image, alpha = _ground(rng), Image.new("L", (SIDE, SIDE))
    y, x = np.mgrid[:SIDE, :SIDE]
    for number, (column, row) in enumerate(rng.permutation([(0, 0), (0, 1), (1, 0), (1, 1)])[:3]):
        middle = [SIDE * (0.28 + 0.44 * place + rng.uniform(-0.05, 0.05)) for place in (column, row)]
        radius, part, surface = SIDE * rng.uniform(0.12, 0.19), Image.new("L", (SIDE, SIDE)), _shaded(rng)
        ImageDraw.Draw(part).ellipse([c - radius for c in middle] + [c + radius for c in middle], fill=255)
        if number == 0:
            angle = rng.uniform(0, np.pi)
            dark = np.sin((x * np.cos(angle) + y * np.sin(angle)) / 2) > 0
            surface.paste((20, 20, 20), mask=Image.fromarray(dark))
        image.paste(surface, mask=part)
        alpha.paste(255 if number == 0 else 0, mask=part)
    return image, alpha


KINDS = {"balls": balls, "stripes": stripes}


def _write(folder, draw, count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for number in range(count):
        image, alpha = draw(rng)
        for kind, picture in (("im", image), ("gt", alpha)):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            picture.save(folder / kind / f"{number:02d}.png")


def _score(model: str, folder) -> tuple[float, float]:
    """(mean MAE, mean IoU) of a model, used as it is, on a folder of pairs."""
    loaded, errors, overlaps = bc.load_model(model, device="cpu", dtype="float32"), [], []
    for pair in find_pairs(folder).pairs:
        image, alpha = pair.read()
        found = loaded.predict(image.permute(1, 2, 0)[None])[0]
        errors.append((found - alpha[0]).abs().mean().item())
        ours, true = found > 0.5, alpha[0] > 0.5
        overlaps.append(((ours & true).sum() / (ours | true).sum()).item())
    return sum(errors) / len(errors), sum(overlaps) / len(overlaps)


def test_it_trains_below_the_size_it_is_used_at():
    asked = {"init": "bundled"}
    recipe = take_architecture(read_recipe(recipe_path("few"), overrides=asked), asked)
    assert recipe.phases[0].size == (256, 256) and recipe.model_size == recipe.validation_size == (320, 320)
    assert recipe.for_data(3).steps == recipe.for_data(300).steps == 80
    asked = {"init": "bundled", "size": 320}
    recipe = take_architecture(read_recipe(recipe_path("few"), overrides=asked), asked)
    assert recipe.model_size == recipe.phases[0].size == 320


def test_the_backbone_stays_and_the_decoder_learns(tmp_path):
    _write(tmp_path / "set", balls, 4, 0)
    arguments = [
        "--recipe",
        "few",
        "--init",
        "bundled",
        "--data",
        str(tmp_path / "set"),
        "--out",
        str(tmp_path / "run"),
    ]
    assert main([*arguments, "--size", "64", "--steps", "3", "--device", "cpu", "--threads", "1"]) == 0
    before, after = load_file(BUNDLED), load_file(tmp_path / "run" / MODEL)
    assert before.keys() == after.keys()
    stem = next(key for key, value in before.items() if value.shape[1:2] == (4,))
    assert after[stem].shape[1] == 3, "the recipe leaves the hint out"
    before[stem] = before[stem][:, :3]
    learnt = {key for key, value in before.items() if not torch.equal(value, after[key])}
    assert learnt and not [key for key in learnt if key.startswith("bb.") or "running_" in key]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_dozen_pictures_of_one_kind_make_the_bundled_model_better_on_others_of_it(kind, tmp_path):
    _write(tmp_path / "mine", KINDS[kind], 12, 1)
    _write(tmp_path / "others", KINDS[kind], 12, 2)
    arguments = ["--recipe", "few", "--init", "bundled", "--data", str(tmp_path / "mine"), "--device", "cpu"]
    assert main([*arguments, "--out", str(tmp_path / "run")]) == 0
    before, after = (_score(str(model), tmp_path / "others") for model in ("bundled", tmp_path / "run" / MODEL))
    print(kind, "MAE, IoU before", before, "after", after)
    assert after[0] < 0.2 * before[0] and after[1] > 0.95 > before[1] + 0.2
    with (tmp_path / "run" / "log.csv").open() as file:
        assert len([row for row in csv.DictReader(file) if row["mae"]]) == 4, "validated on what it kept for that"
