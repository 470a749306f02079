"""The bench of exported graphs: a row for each size and batch, with the difference of the logits."""

import importlib.util
import re

import pytest

from birefnet_core.bench import onnx as bench

ABSENT = [name for name in ("onnx", "onnxscript", "onnxruntime") if importlib.util.find_spec(name) is None]


@pytest.mark.skipif(bool(ABSENT), reason=f"not installed here: {', '.join(ABSENT)}")
def test_a_row_for_each_size_and_batch(capsys):
    assert bench.main(["--backbone", "timm:test_efficientnet", "--size", "64", "96", "--batch", "1", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6
    for line, (size, batch) in zip(lines[2:], ((64, 1), (64, 2), (96, 1), (96, 2)), strict=True):
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        assert cells[:3] == ["timm:test_efficientnet", str(size), str(batch)]
        assert float(cells[3]) < 1e-3 and float(cells[4]) > 0.1
        assert all(re.fullmatch(r"[\d.]+ m?s", cell) for cell in cells[5:7])
        assert all(re.fullmatch(r"[\d,]+ MiB", cell) for cell in cells[7:])


@pytest.mark.skipif(not ABSENT, reason="all it needs is installed here")
def test_what_it_needs_is_said():
    with pytest.raises(RuntimeError, match="pip install"):
        bench.main(["--backbone", "timm:test_efficientnet"])
