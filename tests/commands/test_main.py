"""The command line from outside: what it prints, its exit codes, and the demo on the real photograph."""

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from birefnet_core.commands import demo
from birefnet_core.commands.main import main
from birefnet_core.weights.catalog import published
from birefnet_core.weights.places import BUNDLED


def test_no_command_prints_help(capsys):
    assert main([]) == 2
    printed = capsys.readouterr().out
    assert all(command in printed for command in ("matte", "models", "download", "inspect", "export", "bench", "demo"))


def test_models_lists_the_bundled_one_and_every_published_one(capsys, tmp_path):
    (tmp_path / "BiRefNet_lite.safetensors").write_bytes(b"")
    (tmp_path / "mine.safetensors").write_bytes(BUNDLED.read_bytes())
    (tmp_path / "broken.pth").write_bytes(b"")
    assert main(["models", "--models-dir", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("bundled ")
    own = [str(tmp_path / "broken.pth"), str(tmp_path / "mine.safetensors")]
    assert [line.split()[0] for line in lines[2:]] == [row.spec.name for row in published()] + own
    assert [line.split()[0] for line in lines if " here" in line] == ["bundled", "BiRefNet_lite", own[1]]
    assert "neither safetensors nor a PyTorch file" in next(line for line in lines if line.startswith(own[0]))
    assert "Non-commercial" in next(line for line in lines if line.startswith("RMBG-2.0"))


def test_inspect_says_what_each_file_is_and_fails_if_one_is_nothing(capsys, tmp_path):
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    assert main(["inspect", str(BUNDLED)]) == 0
    assert "patch order  2025 (the file's own metadata)" in capsys.readouterr().out
    assert main(["inspect", "bundled"]) == 0
    assert str(BUNDLED) in capsys.readouterr().out
    assert main(["inspect", str(BUNDLED), str(tmp_path / "other.safetensors")]) == 1
    assert "not a BiRefNet" in capsys.readouterr().out
    assert main(["inspect", str(tmp_path / ("long" * 80 + ".pth")), str(BUNDLED)]) == 1
    printed = capsys.readouterr().out
    assert "it cannot be read: File name too long" in printed and "efficientnet" in printed


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["download", "BiRefNet-portrayt"], "Did you mean BiRefNet-portrait"),
        (["matte", "x.png", "y.mp4", "-o", "out"], "x.png does not exist\ny.mp4 does not exist"),
        (["matte", "nowhere/*.png", "-o", "out"], "no pictures or clips in nowhere/*.png"),
        (["matte", str(demo.PHOTOGRAPH), "-o", "out", "--model", "nowhere.safetensors"], "there is no such file"),
        (["matte", str(demo.PHOTOGRAPH), "-o", "out", "--device", "toaster"], "device 'toaster' cannot be used here"),
    ],
)
def test_errors_are_one_sentence(arguments, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) != 0
    printed = capsys.readouterr().err
    assert said in printed
    assert "Traceback" not in printed


def test_the_demo_mattes_the_photograph(tmp_path, capsys):
    assert main(["demo", "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    photograph = Image.open(demo.PHOTOGRAPH)
    for kind in ("alpha", "cutout", "side-by-side"):
        assert str(tmp_path / f"photograph_{kind}.png") in printed
    alpha = np.asarray(Image.open(tmp_path / "photograph_alpha.png"), dtype=np.float32) / 255
    assert alpha.shape == photograph.size[::-1]
    # The animal sits in the middle of the lower half; the leaves beside and above it are background.
    assert alpha[250:330, 290:390].mean() > 0.9
    assert alpha[:40].mean() < 0.1
    assert alpha[:, :80].mean() < 0.1
    cutout = Image.open(tmp_path / "photograph_cutout.png")
    assert cutout.mode == "RGBA"
    assert np.array_equal(np.asarray(cutout.getchannel("A")) / np.float32(255), alpha)
    width, height = photograph.size
    assert Image.open(tmp_path / "photograph_side-by-side.png").size == (3 * width, height)
