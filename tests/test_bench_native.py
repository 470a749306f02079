"""The bench beside ComfyUI's own background removal: its table, and paths it cannot use. It runs only where there is a
ComfyUI, and then for minutes."""

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
