import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from birefnet_core.matting.model import MattingModel
from birefnet_core.weights.catalog import ModelSpec
from train import evaluate
from train.metrics import METRICS, score
from train.pictures import read_matte, save_picture, to_grey

REPOSITORY = Path(__file__).resolve().parents[2]


def mattes(shift):
    """A square in 32 x 24 as truth, and as 8-bit prediction the square `shift` pixels to the right with a soft
    side."""
    columns = np.arange(32)
    truth, alpha = np.zeros((24, 32)), np.zeros((24, 32))
    truth[6:18, 8:20] = 1
    alpha[6:18] = np.rint(np.clip((20 + shift - columns) / 4, 0, 1) * (columns >= 8 + shift) * 255) / 255
    return alpha, truth


@pytest.fixture
def data_set(tmp_path):
    """A folder set/ with im/ and gt/, and pred/, of three pictures of one size; predictions get worse in name
    order."""
    for index, stem in enumerate(["a", "b", "c"]):
        alpha, truth = mattes(3 * index)
        save_picture(Image.new("RGB", (32, 24), (40 * index, 90, 120)), tmp_path / "set" / "im" / f"{stem}.jpg")
        save_picture(to_grey(truth), tmp_path / "set" / "gt" / f"{stem}.png")
        save_picture(to_grey(alpha), tmp_path / "pred" / f"{stem}.png")
    return tmp_path


def test_evaluate_scores_a_folder_of_predictions(data_set, capsys):
    out = data_set / "out"
    folders = ["--pred", f"{data_set}/pred", "--data", f"{data_set}/set", "--out", str(out)]
    results = evaluate.main([*folders, "--worst", "2"])
    expected = {stem: score(*mattes(3 * index)) for index, stem in enumerate("abc")}
    assert results[0].images == expected  # through 8-bit files, exactly
    assert results[0].worst(2) == ["c", "b"]
    means = {name: np.mean([figures[name] for figures in expected.values()]) for name in METRICS}
    summary = json.loads((out / "summary.json").read_text())
    assert summary["set"].pop("images") == 3
    assert summary == {"set": pytest.approx(means)}
    assert [row["image"] for row in csv.DictReader((out / "images.csv").open())] == ["a", "b", "c"]
    assert float(next(csv.DictReader((out / "summary.csv").open()))["S-measure"]) == pytest.approx(means["S-measure"])
    printed = capsys.readouterr().out
    assert "set" in printed and f"{means['MAE']:.4f}" in printed and "MAE ↓" in printed
    assert Image.open(out / "worst-set.jpg").width == 2 * (3 * 192 + 12)  # two strips of photograph, truth, matte
    assert sorted(os.listdir(out)) == ["images.csv", "summary.csv", "summary.json", "worst-set.jpg"]


def test_evaluate_runs_as_a_script_from_anywhere(data_set):
    command = [sys.executable, str(REPOSITORY / "train" / "evaluate.py"), "--pred", "pred", "--gt", "set/gt"]
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8"}
    run = subprocess.run(command, cwd=data_set, capture_output=True, text=True, env=environment)
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines()[1].split()[:2] == ["set", "3"]


def test_evaluate_names_missing_mates(data_set, capsys):
    (data_set / "pred" / "b.png").rename(data_set / "pred" / "other.png")
    arguments = ["--pred", f"{data_set}/pred", "--gt", f"{data_set}/set/gt"]
    with pytest.raises(SystemExit, match=r"1 \(b\) .*no prediction"):
        evaluate.main(arguments)
    assert "1 (other)" in capsys.readouterr().err
    assert list(evaluate.main([*arguments, "--partial"])[0].images) == ["a", "c"]


@pytest.mark.parametrize(
    "spoil, complaint",
    [
        (
            lambda pred: save_picture(Image.new("L", (5, 6)), pred / "b.png"),
            r"pred/b\.png is 5x6, its truth .* is 32x24",
        ),
        (lambda pred: (pred / "b.png").write_bytes(b"no picture"), r"b\.png cannot be read"),
        (lambda pred: (pred / "a.jpg").write_bytes((pred / "a.png").read_bytes()), r"both a\.jpg and a\.png"),
        (lambda pred: [path.unlink() for path in pred.iterdir()], "has no pictures"),
    ],
)
def test_evaluate_says_which_prediction_is_wrong(data_set, spoil, complaint):
    spoil(data_set / "pred")
    with pytest.raises(SystemExit, match=complaint):
        evaluate.main(["--pred", f"{data_set}/pred", "--gt", f"{data_set}/set/gt", "--out", f"{data_set}/out"])
    assert not (data_set / "out").exists()


def test_a_model_scores_as_its_saved_mattes_do(data_set):
    network = torch.nn.Conv2d(3, 1, kernel_size=1).eval()  # any network from picture to logits
    with torch.no_grad():
        network.weight.fill_(0.7)
    model = MattingModel(network, ModelSpec(name="grey", backbone="none", size=(64, 32)))
    samples = evaluate.samples_of(gt=data_set / "set/gt", images=data_set / "set/im", pred=None)
    by_model = evaluate.evaluate("set", samples, evaluate.model_mattes(model, None, data_set / "kept"))
    again = evaluate.main(["--pred", f"{data_set}/kept", "--gt", f"{data_set}/set/gt"])
    assert by_model.images == again[0].images
    assert len({figures["MAE"] for figures in by_model.images.values()}) == 3


def test_mattes_are_read_from_16_bits_and_from_cut_outs(tmp_path):
    deep = np.array([[0, 257 * 128, 65535]], dtype=np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    Image.fromarray(np.array([[[9, 9, 9, 0], [9, 9, 9, 51]]], dtype=np.uint8)).save(tmp_path / "cutout.png")
    Image.fromarray(np.array([[[51, 51, 51, 255]]], dtype=np.uint8)).save(tmp_path / "opaque.png")
    np.testing.assert_allclose(read_matte(tmp_path / "deep.png"), [[0, 128 / 255, 1]], rtol=1e-12)
    assert read_matte(tmp_path / "cutout.png").tolist() == [[0, 0.2]]
    assert read_matte(tmp_path / "opaque.png").tolist() == [[0.2]]
