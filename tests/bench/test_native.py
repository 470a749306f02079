"""The bench beside ComfyUI's own background removal: its table, and paths it cannot use. It runs only where there is a
ComfyUI, and then for minutes."""

import json

import numpy as np
import pytest

from birefnet_core.bench import native


def test_the_table_compares_both_sides(tmp_path):
    case = native.Case(tmp_path, tmp_path, images=4, threads=2)
    mask = np.zeros((4, 2, 2), np.float32)
    theirs = native.Measurement(load=2.0, run=38.0, peak=4 << 30, mask=mask)
    ours = native.Measurement(load=4.0, run=16.0, peak=2 << 30, mask=mask + 0.25)
    text = native.markdown(case, theirs, ours)
    rows = {cells[0]: cells[1:] for line in text.splitlines() if (cells := [c.strip() for c in line.split("|")[1:-1]])}
    assert rows["ComfyUI's own"] == ["2.00 s", "38.00 s", "40.00 s", "1.00", "4,096 MiB", "1.00"]
    assert rows["ours"] == ["4.00 s", "16.00 s", "20.00 s", "2.00", "2,048 MiB", "0.50"]
    assert "2.5e-01" in text


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--comfyui", "{folder}"], "not a checkout of ComfyUI 0.21 or later"),
        ([], "--comfyui"),
    ],
)
def test_what_it_cannot_use_is_one_sentence(tmp_path, capsys, arguments, words):
    with pytest.raises(SystemExit):
        native.main([argument.format(folder=tmp_path) for argument in arguments])
    assert words in capsys.readouterr().err


IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}


@pytest.mark.parametrize(
    "config, mean, std",
    [
        ({"image_size": 1024}, (0, 0, 0), (1, 1, 1)),
        (IMAGENET, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ],
)
def test_images_are_prepared_as_the_checkout_says(tmp_path, config, mean, std):
    """Up to 0.33 ComfyUI neither shifts nor scales; later it does, with the same name and node."""
    (tmp_path / "comfy" / "background_removal").mkdir(parents=True)
    (tmp_path / "comfy" / "background_removal" / "birefnet.json").write_text(json.dumps(config))
    assert native.preparation(tmp_path) == (mean, std)
