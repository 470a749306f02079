"""The measurements of birefnet_core.bench.video run and print what they say."""

import numpy as np
import pytest
import torch
from PIL import Image

from birefnet_core.bench.video import dtssd, iou, mae, main


def test_speed_compares_with_bare_decoding_and_encoding(make_clip, capsys):
    clip = make_clip(count=6)
    arguments = [
        "speed",
        "--clip",
        str(clip),
        "--side",
        "64",
        "--repeats",
        "1",
        "--format",
        "h264",
        "--format",
        "prores",
    ]
    assert main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "64 x 48, 6 frames" in lines[0]
    for line, format in zip(lines[3:], ("h264", "prores"), strict=True):
        name, bare, ours, ratio, *_ = (cell.strip() for cell in line.strip("|").split("|"))
        assert name == format
        assert float(ratio) == pytest.approx(float(ours) / float(bare), rel=0.2, abs=0.1)


def test_flicker_compares_with_known_alpha(tmp_path, capsys, monkeypatch):
    """With a model whose mattes flicker as a whole, on a still clip, little of it is left."""
    rgba = np.full((40, 40, 4), 200, np.uint8)
    for folder, picture in (("foregrounds", rgba), ("backgrounds", rgba[..., :3] // 2)):
        (tmp_path / folder / "set").mkdir(parents=True)
        Image.fromarray(picture).save(tmp_path / folder / "set" / "a.webp", lossless=True)

    class Model:
        def predict(self, images):
            levels = torch.tensor([0.4, 0.6]).repeat(len(images))[: len(images)]
            return levels[:, None, None].expand(images.shape[:3])

    monkeypatch.setattr("birefnet_core.matting.load.load_model", lambda *_, **__: Model())
    assert main(["flicker", "--cutouts", str(tmp_path), "--count", "1", "--frames", "6"]) == 0
    printed = capsys.readouterr().out
    assert "a, still" in printed
    assert float(printed.split("mean of the ratios: dtSSD ")[1].split(",")[0]) < 0.5


def test_hint_says_whether_it_stayed_with_the_one_asked_for(tmp_path, capsys):
    """Two textured blobs, small and few frames, with the bundled model; and the plot."""
    random = np.random.default_rng(0)
    for name in ("foregrounds/set/a", "foregrounds/set/b", "backgrounds/set/c"):
        pixels = random.integers(0, 255, (40, 40, 4 if name[0] == "f" else 3)).astype(np.uint8)
        pixels[..., 3:] = 255
        path = (tmp_path / name).with_suffix(".webp")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path, lossless=True)
    arguments = ["--count", "1", "--frames", "3", "--size", "64", "--device", "cpu", "--plot", str(tmp_path / "a.png")]
    assert main(["hint", "--cutouts", str(tmp_path), *arguments]) == 0
    row = capsys.readouterr().out.splitlines()[2]
    name, mean, least, *_, ratio = (cell.strip() for cell in row.strip("|").split("|"))
    assert name.endswith("in front")
    assert 0 <= float(least) <= float(mean) <= 1 and float(ratio) > 0
    assert Image.open(tmp_path / "a.png").size == (900, 420)


def test_iou_is_that_of_its_definition():
    assert iou(torch.tensor([0.9, 0.9, 0.1]), torch.tensor([1.0, 0.0, 1.0])) == pytest.approx(1 / 3)
    assert iou(torch.zeros(3), torch.zeros(3)) == 1


@pytest.mark.parametrize(
    "arguments",
    [["speed", "--clip", "missing.mp4"], ["flicker", "--cutouts", "missing"], ["hint", "--cutouts", "missing"]],
)
def test_what_is_missing_is_told_in_one_sentence(arguments, capsys):
    assert main(arguments) == 1
    assert capsys.readouterr().err.startswith("birefnet_core.bench.video: missing")


def test_dtssd_is_that_of_its_definition():
    truth = torch.zeros(3, 2, 2)
    alpha = truth.clone()
    alpha[1] = 0.5  # changes by +.5 and -.5 where the truth does not
    assert dtssd(alpha, truth) == pytest.approx(0.5)
    assert dtssd(alpha + 0.1, truth + 0.1) == pytest.approx(0.5)
    assert mae(alpha, truth) == pytest.approx(0.5 / 3)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_clip(capsys):
    assert main(["memory", "--frames", "100"]) == 0
    assert float(capsys.readouterr().out.split("ratio ")[1]) < 1.1
