import csv

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from torch import nn

from birefnet_core.matting import MattingModel
from birefnet_core.weights.catalog import ModelSpec
from tests.train.evaluation.test_sets import BACKGROUNDS, packages  # noqa: F401 (a fixture)
from train.evaluation import detail as evaluation
from train.evaluation.sets import detail
from train.scenes.renders.models import held_out
from train.scenes.training_pack import PEOPLE
from train.shared.pictures import by_stem, read_image, read_matte

THIN, PEOPLE_HERE = ["BlendSwap-CC-0/childSwing"], [9008]


@pytest.fixture
def model():
    network = nn.Conv2d(3, 1, 1).eval()
    with torch.no_grad():
        network.weight.copy_(torch.tensor([40.0, 0.0, 40.0]).view(1, 3, 1, 1))
        network.bias.fill_(-20.0)
    return MattingModel(network, ModelSpec("colours", "none", size=(96, 96), mean=(0, 0, 0), std=(1, 1, 1)))


@pytest.fixture
def build(packages, tmp_path, monkeypatch):  # noqa: F811
    """The set in little: of the stand-ins of the packages, with renders that are there."""
    monkeypatch.setattr(detail, "LONGER_SIDE", (600, 800))
    monkeypatch.setattr(detail, "GRAIN", 0)
    for name in ("BlendSwap-CC-0/childSwing_7", "Busts/person9008_0"):
        cutout = Image.new("RGBA", (500, 400))
        draw = ImageDraw.Draw(cutout)
        draw.ellipse((100, 100, 400, 300), fill=(255, 0, 255, 255))
        for left in range(0, 500, 20):
            draw.line((250, 200, left, 399 if "Busts" in name else 2), fill=(255, 0, 255, 255), width=2)
        if "Busts" in name:
            draw.rectangle((100, 300, 400, 399), fill=(255, 0, 255, 255))
        path = tmp_path / "renders" / f"{name}.webp"
        path.parent.mkdir(parents=True, exist_ok=True)
        cutout.save(path, lossless=True)

    def build(name, **options):
        chosen = {"thin": THIN, "people": PEOPLE_HERE, "images": 3, **options}
        return detail.build(packages, tmp_path / name, renders=tmp_path / "renders", backgrounds=BACKGROUNDS, **chosen)

    return build


def test_the_mattes_are_exact_and_the_same_every_time(build, tmp_path):
    assert build("one") == build("two")
    images, mattes = by_stem(tmp_path / "one" / "im"), by_stem(tmp_path / "one" / "gt")
    rows = list(csv.DictReader((tmp_path / "one" / "index.csv").open()))
    assert [row["stem"] for row in rows] == list(images) == list(mattes) and len(rows) == 3
    assert {row["render"] for row in rows} == {"BlendSwap-CC-0/childSwing_7", "Busts/person9008_0"}
    for row in rows:
        image, matte = np.asarray(read_image(images[row["stem"]])) / 255, read_matte(mattes[row["stem"]])
        assert image.shape[:2] == matte.shape and 600 <= max(matte.shape) <= 800
        np.testing.assert_allclose(image[..., 1], (1 - matte) * 200 / 255, atol=1.01 / 255)  # only the photograph's
        assert (matte[-1].max() == 1) == ("person" in row["render"])  # a bust stands on the lower edge


def test_photographs_that_are_too_small_are_refused(build, tmp_path, monkeypatch):
    monkeypatch.setattr(detail, "LONGER_SIDE", (38400, 60000))
    with pytest.raises(ValueError, match="none of the photographs can fill a frame of 38400 pixels"):
        build("detail")
    assert not (tmp_path / "detail").exists()


def test_training_sees_none_of_the_renders(build):
    assert all(held_out()[tuple(name.split("/"))] == "E3" for name in detail.THIN)
    assert min(detail.PEOPLE) >= 10 * PEOPLE
    with pytest.raises(ValueError, match="Scopia/spoon is not held out of training"):
        build("detail", thin=["Scopia/spoon"])


def test_the_table_has_every_way(build, model, tmp_path):
    build("set")
    means = evaluation.measure(model, tmp_path / "set", every=2)
    assert list(means) == list(evaluation.WAYS)
    assert means["detail"][0] < 0.9 * means["whole"][0]
    text = evaluation.table(means, dict.fromkeys(means, 3 << 20))
    assert text.count("\n") == 1 + len(means) and f"| whole | {means['whole'][0]:.4f} (1.00) |" in text
    picture = evaluation.edges(model, tmp_path / "set")
    assert picture.size == (4 * evaluation.SIDE, 2 * evaluation.SIDE)


def test_edges_of_small_pictures_stand_on_grey(model, tmp_path):
    for name, size in (("0_low", (500, 90)), ("1_narrow", (359, 420)), ("2_square", (360, 360)), ("3_dot", (1, 1))):
        for part in ("im", "gt"):
            (tmp_path / part).mkdir(exist_ok=True)
            Image.radial_gradient("L").resize(size).save(tmp_path / part / f"{name}.png")
    picture = np.asarray(evaluation.edges(model, tmp_path))
    assert picture.shape == (4 * evaluation.SIDE, 4 * evaluation.SIDE, 3)
    assert (picture[90 : evaluation.SIDE] == 128).all() and not (picture[:90, : evaluation.SIDE] == 128).all(0).any()


def test_a_picture_without_its_matte_is_named(model, tmp_path):
    for part, names in (("im", "ab"), ("gt", "a")):
        (tmp_path / part).mkdir()
        for name in names:
            Image.new("RGB", (32, 32)).save(tmp_path / part / f"{name}.png")
    for call in (evaluation.measure, evaluation.edges):
        with pytest.raises(ValueError, match=r"b\.png has no picture of the same name in .*gt"):
            call(model, tmp_path)


def test_figures_of_known_mattes():
    truth = np.zeros((512, 512), np.float32)
    truth[:, 256:] = 1
    band = evaluation.band_of(truth)
    assert band.any(0).nonzero()[0].tolist() == [253, 254, 255, 256, 257, 258]
    assert evaluation.figures(truth, truth, band) == [0, 0, 0, 1]
    off = evaluation.figures(np.zeros_like(truth), truth, band)
    assert off[0] == off[2] == 0.5 and off[1] > 0 and off[3] == 0
    empty = np.zeros_like(truth)
    assert np.isnan(evaluation.figures(empty, empty, evaluation.band_of(empty))[0])
