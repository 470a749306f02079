import csv

import numpy as np
import pytest
import torch
from torch import nn

from birefnet_core.matting import MattingModel
from birefnet_core.weights.catalog import ModelSpec
from tests.train.evaluation.test_sets import BACKGROUNDS, packages  # noqa: F401 (a fixture)
from train import evaluate
from train.evaluation.sets import small_subjects
from train.shared.pictures import by_stem, read_image, read_matte

KINDS = {"one": 2, "two": 1, "cut": 2, "none": 1}
STAMPS = ["a/red.png", "b/blue.png"]


@pytest.fixture
def small(packages, tmp_path, monkeypatch):  # noqa: F811
    """The set in little, of the stand-ins of the packages."""
    monkeypatch.setattr(small_subjects, "LONGER_SIDE", (600, 800))
    return lambda name: small_subjects.build(
        packages, tmp_path / name, stamps=STAMPS, backgrounds=BACKGROUNDS, kinds=KINDS
    )


def test_subjects_are_small_and_of_the_kind_the_index_says(small, tmp_path):
    assert small("one") == small("two")
    images, mattes = by_stem(tmp_path / "one" / "im"), by_stem(tmp_path / "one" / "gt")
    rows = list(csv.DictReader((tmp_path / "one" / "index.csv").open()))
    assert [row["stem"] for row in rows] == list(images) == list(mattes)
    assert [row["kind"] for row in rows] == ["one", "one", "two", "cut", "cut", "none"]
    for row in rows:
        image, matte = np.asarray(read_image(images[row["stem"]])) / 255, read_matte(mattes[row["stem"]])
        assert image.shape[:2] == matte.shape and 600 <= max(matte.shape) <= 800
        assert f"_{row['kind']}" in row["stem"]
        assert len(row["stamps"].split("; ")) == (2 if row["kind"] == "two" else 1)
        np.testing.assert_allclose(image[..., 1], (1 - matte) * 200 / 255, atol=1.01 / 255)  # only the photograph's
        found = np.argwhere(matte > 0.5)
        if row["kind"] == "none":
            assert not len(found)
            continue
        sides = np.ptp(found, axis=0) + 1
        border = np.concatenate([matte[0], matte[-1], matte[:, 0], matte[:, -1]])
        if row["kind"] == "cut":
            assert border.max() == 1
        if row["kind"] == "one":
            assert border.max() == 0 and 0.04 * min(matte.shape) < max(sides) <= 0.21 * min(matte.shape)


def test_photographs_that_are_too_small_are_refused(packages, tmp_path):  # noqa: F811
    with pytest.raises(ValueError, match="none of the photographs can fill a frame of 2000 pixels"):
        small_subjects.build(packages, tmp_path / "small", stamps=STAMPS, backgrounds=BACKGROUNDS)
    assert not (tmp_path / "small").exists()


def test_locate_scores_better_than_whole(small, tmp_path, monkeypatch):
    """A convolution that tells the stamps' colours from the photographs' stands for a trained network."""
    small("set")
    network = nn.Conv2d(3, 1, 1).eval()
    with torch.no_grad():
        network.weight.copy_(torch.tensor([40.0, 0.0, 40.0]).view(1, 3, 1, 1))
        network.bias.fill_(-20.0)
    spec = ModelSpec(name="colours", backbone="none", size=(96, 96), mean=(0, 0, 0), std=(1, 1, 1))
    monkeypatch.setattr(evaluate, "_load", lambda options: MattingModel(network, spec))
    command = ["--model", "colours", "--data", str(tmp_path / "set"), "--processes", "1"]
    whole, located = (evaluate.main([*command, "--mode", mode])[0] for mode in ("whole", "locate"))
    assert located.summary["MAD"] < 0.7 * whole.summary["MAD"]
