"""What is a matte and what is a mask of classes: one rule for training, cut-outs and evaluation."""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from train.data import sources
from train.data.pairs import Pair, check_pairs, find_pairs
from train.recipe import read_recipe
from train.scenes.cutouts import read_pack
from train.shared.mattes import GREY, parse_value, read_mask
from train.train import main

ROOT = Path(__file__).parents[3]
SQUARE = np.zeros((64, 64), np.uint8)
SQUARE[16:48, 16:40] = 1
Y, X = np.mgrid[-1:1:64j, -1:1:64j]
DISC = np.clip((0.7 - np.hypot(X, Y)) * 4, 0, 1)


def _palette(colours: list[tuple[int, int, int]], indices: np.ndarray) -> Image.Image:
    picture = Image.fromarray(indices.astype(np.uint8), "P")
    picture.putpalette([channel for colour in colours for channel in colour])
    return picture


def _coloured(*colour: int) -> Image.Image:
    return Image.fromarray(SQUARE[..., None] * np.array(colour, np.uint8))


VOC = [(0, 0, 0), (128, 0, 0), (0, 128, 0), (192, 128, 128), (224, 224, 192)]
CLASSES = SQUARE * 3
CLASSES[:8, :8] = 2
MASKS = {
    "red": _coloured(255, 0, 0),
    "voc": _coloured(192, 128, 128),
    "palette": _palette(VOC, CLASSES),
    "grey128": Image.fromarray(SQUARE * 128),
    "rgb128": _coloured(128, 128, 128),
    "ones": Image.fromarray(SQUARE),
    "palette of numbers": _palette([(k, k, k) for k in range(256)], SQUARE),
    "classes": Image.fromarray(CLASSES * 50),
    "trimap": Image.fromarray(np.where(SQUARE, 128, 0).astype(np.uint8) + np.roll(SQUARE, 24, 1) * 255),
    "deep": Image.fromarray(SQUARE.astype(np.uint16) * 20000),
    "drawn with soft edges": Image.fromarray(SQUARE * 128).resize((512, 512), Image.BILINEAR),
    "photograph": Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)),
}
MATTES = {
    "black and white": Image.fromarray(SQUARE * 255),
    "nearly white": Image.fromarray(SQUARE * 252),
    "bilevel": Image.fromarray(SQUARE.astype(bool)),
    "palette": _palette([(0, 0, 0), (255, 255, 255)], SQUARE),
    "soft": Image.fromarray((DISC * 255).astype(np.uint8)),
    "glass": Image.fromarray((DISC * 140).astype(np.uint8)),
    "smoke": Image.fromarray((DISC * 60).astype(np.uint8)),
    "deep glass": Image.fromarray((DISC * 30000).astype(np.uint16)),
    "rgb": Image.fromarray(np.repeat((DISC * 255).astype(np.uint8)[..., None], 3, 2)),
    "cut-out": Image.fromarray(np.dstack([np.full((64, 64, 3), (255, 0, 0)), DISC * 255]).astype(np.uint8), "RGBA"),
    "soft edges": Image.fromarray(SQUARE * 255).resize((32, 32), Image.BOX),
}


def _save(picture: Image.Image, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)
    return path


@pytest.mark.parametrize("name", MASKS)
def test_masks_that_are_no_mattes_are_told(name, tmp_path):
    matte = read_mask(_save(MASKS[name], tmp_path / "a.png"))
    assert f"{tmp_path / 'a.png'} " in matte.problem and "a matte is white where the subject is" in matte.problem
    assert matte.coloured == (name in ("red", "voc", "palette", "photograph"))
    assert not read_mask(tmp_path / "a.png", values=[GREY]).problem, "who means it may"


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("name", MATTES)
def test_mattes_are_not(name, suffix, tmp_path):
    assert not read_mask(_save(MATTES[name], tmp_path / f"a.{suffix}")).problem


def test_the_noise_of_a_jpeg_is_no_matter(tmp_path):
    for name in ("black and white", "glass", "rgb"):
        MATTES[name].save(tmp_path / "a.jpg", quality=75)
        assert not read_mask(tmp_path / "a.jpg").problem, name
    for name in ("red", "grey128", "rgb128"):
        MASKS[name].resize((256, 256), Image.NEAREST).save(tmp_path / "a.jpg", quality=75)
        assert read_mask(tmp_path / "a.jpg").problem, name
    values = [parse_value("#ff0000")]
    MASKS["red"].resize((256, 256), Image.NEAREST).save(tmp_path / "a.jpg", quality=90)
    found = read_mask(tmp_path / "a.jpg", values=values).levels
    assert (found == 255 * SQUARE.repeat(4, 0).repeat(4, 1)).mean() > 0.98


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("red", value) for value in ("#ff0000", "red", "255,0,0")),
        *(("palette", value) for value in ("3", "#c08080", "192, 128, 128")),
        *((name, "128") for name in ("grey128", "rgb128", "trimap")),
        ("grey128", "#808080"),
        ("ones", "1"),
        ("palette of numbers", "1"),
        ("classes", "150"),
        ("deep", "20000"),
    ],
)
def test_a_class_can_be_chosen(name, value, tmp_path):
    matte = read_mask(_save(MASKS[name], tmp_path / "a.png"), values=[parse_value(value)])
    assert not matte.problem and matte.levels.dtype == np.uint8
    assert np.array_equal(matte.levels, 255 * SQUARE)


def test_several_classes_are_one_subject(tmp_path):
    path = _save(MASKS["palette"], tmp_path / "a.png")
    both = read_mask(path, values=[3, parse_value("#008000")]).levels
    assert np.array_equal(both, 255 * (CLASSES > 0))
    white = read_mask(_save(MATTES["bilevel"], tmp_path / "b.png"), values=[1]).levels
    assert np.array_equal(white, 255 * SQUARE)
    alpha = Image.fromarray(np.dstack([np.full((64, 64, 3), 9), SQUARE * 7]).astype(np.uint8), "RGBA")
    assert np.array_equal(read_mask(_save(alpha, tmp_path / "c.png"), values=[7]).levels, 255 * SQUARE)
    assert not read_mask(path, values=[77]).levels.any()


@pytest.mark.parametrize("text", ["", "blueish", "1.5", "-1", "300,0,0", "#12"])
def test_a_value_that_is_none_is_told(text):
    with pytest.raises(argparse.ArgumentTypeError, match="give a level or palette index"):
        parse_value(text)


@pytest.fixture
def folder(tmp_path):
    """Sets of two pairs with the same mask."""

    def make(mask: Image.Image, name: str = "set") -> Path:
        for stem in "ab":
            _save(Image.new("RGB", mask.size), tmp_path / name / "im" / f"{stem}.png")
            _save(mask, tmp_path / name / "gt" / f"{stem}.png")
        return tmp_path / name

    return make


def test_training_leaves_them_out_and_takes_the_class_that_is_named(folder, tmp_path, recipe_file):
    root, recipe = folder(MASKS["palette"]), read_recipe(recipe_file(2))
    _save(MATTES["soft"], root / "gt" / "c.png"), _save(Image.new("RGB", (64, 64)), root / "im" / "c.png")
    _save(MATTES["soft"], root / "gt" / "d.png"), _save(Image.new("RGB", (64, 64)), root / "im" / "d.png")
    data = sources.read_data([sources.Root(root)], [], recipe, out=tmp_path / "run")
    report = (tmp_path / "run" / sources.REPORT).read_text()
    assert "2 pairs, 2 left out" in report and "a.png is coloured (0 #000000, 3 #c08080, 2 #008000)" in report
    root = folder(MASKS["palette"], "classes")
    chosen = sources.read_data([sources.Root(root)], [], recipe, out=tmp_path / "other", values=[3])
    assert np.array_equal(chosen.training.pairs[0].read()[1][0].numpy(), SQUARE)
    again = sources.read_data([sources.Root(root)], [], recipe, out=tmp_path / "other", values=[2])
    assert chosen.fingerprint != again.fingerprint, "another subject is another run"
    assert data.training.samples == 1


def test_what_an_older_rule_found_sound_is_looked_at_again(folder):
    found = find_pairs(folder(MASKS["red"])).pairs
    stats = [path.stat() for path in (found[0].image, found[0].matte)]
    old = " | ".join(f"{p} {s.st_size} {s.st_mtime_ns}" for p, s in zip((found[0].image, found[0].matte), stats))
    problems = check_pairs(found, threads=1, known={old}, on_progress=lambda *_: None)
    assert len(problems) == 2 and all("is coloured" in problem for problem in problems)


def test_cut_outs_are_read_by_the_same_rule(pack_folder, tmp_path):
    (tmp_path / "backgrounds").symlink_to(pack_folder / "backgrounds")
    for name in "ab":
        alpha = SQUARE * (1 if name == "a" else 255)
        _save(
            Image.fromarray(np.dstack([np.full((64, 64, 3), 99), alpha]).astype(np.uint8), "RGBA"),
            tmp_path / "foregrounds" / "mine" / f"{name}.png",
        )
    problems = []
    read_pack(tmp_path, hold_out=0, problems=problems)
    assert len(problems) == 1 and "a.png is 1 of 255 at its brightest" in problems[0]
    packs = read_pack(tmp_path, hold_out=0, values=[1, 255])
    assert [picture.pixels[-1].max().item() for picture in packs[0].foregrounds] == [255, 255]


def test_training_takes_the_option(folder, tmp_path, recipe_file, capsys):
    root = folder(MASKS["classes"])
    where = ["--recipe", str(recipe_file(1)), "--data", str(root), "--device", "cpu", "--threads", "1"]
    where += ["--set", "size=64", "--set", "batch_size=1"]
    assert main([*where, "--out", str(tmp_path / "run")]) == 2
    assert "a.png is 150 of 255 at its brightest: a matte is white where the subject is" in capsys.readouterr().err
    assert main([*where, "--out", str(tmp_path / "run"), "--mask-value", "100", "--mask-value", "150"]) == 0


def _evaluate(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "train/evaluate.py", "--processes", "1", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_evaluation_refuses_what_training_refuses_and_takes_the_class_that_is_named(folder, tmp_path):
    truth, matte = folder(MASKS["ones"]), folder(MATTES["black and white"], "pred")
    where = ["--pred", str(matte / "gt"), "--gt", str(truth / "gt")]
    refused = _evaluate(*where)
    pair = Pair(truth / "im" / "a.png", truth / "gt" / "a.png", truth)
    assert refused.returncode and pair.check() in refused.stderr and "1 of 255 at its brightest" in refused.stderr
    assert _evaluate(*where, "--mask-value", "1", "--out", str(tmp_path / "out")).returncode == 0
    scores = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert scores["set"]["max F"] == pytest.approx(1, abs=1e-3) and scores["set"]["IoU"] == 1
    sheet = np.asarray(Image.open(tmp_path / "out" / "worst-set.jpg").convert("L"))
    assert sheet[14:200, :192].max() > 250, "and the sheet of the worst shows it"


def test_predictions_in_class_numbers_are_told_but_faint_ones_are_scored(folder):
    truth = folder(MATTES["black and white"]) / "gt"
    coded = folder(MASKS["ones"], "coded") / "gt"
    refused = _evaluate("--pred", str(coded), "--gt", str(truth))
    assert refused.returncode and "--pred-value 1 takes one as the subject" in refused.stderr
    assert "1.0000" in _evaluate("--pred", str(coded), "--gt", str(truth), "--pred-value", "1").stdout
    for mask in (Image.new("L", (64, 64)), Image.fromarray((DISC * 9).astype(np.uint8))):
        assert _evaluate("--pred", str(folder(mask, "faint") / "gt"), "--gt", str(truth)).returncode == 0
    coloured = _evaluate("--pred", str(folder(MASKS["red"], "red") / "gt"), "--gt", str(truth))
    assert coloured.returncode and "is coloured (#000000, #ff0000)" in coloured.stderr
