"""The training bench: the same steps from the same weights, and a table that compares them."""

import pytest
import torch

from birefnet_core.bench.measure import write_random_weights
from birefnet_core.network import Architecture
from train.bench import training as bench


def test_a_step_is_measured_and_repeatable(tmp_path):
    architecture = Architecture("timm:test_efficientnet", dropout=0.0, block_channels=8, branch_channels=8)
    write_random_weights(architecture, tmp_path / "w.safetensors")
    case = bench.Case(
        architecture=architecture,
        weights=tmp_path / "w.safetensors",
        checkout=None,
        size=64,
        batch=2,
        steps=2,
        device="cpu",
        precision="fp32",
        threads=1,
    )
    first, again = bench.measure(case), bench.measure(case)
    assert len(first.losses) == 3 and first.seconds > 0 and first.peak > 1e7
    assert first.losses == pytest.approx(again.losses, rel=1e-6) and len(set(first.losses)) == 3
    torch.testing.assert_close(*(bench.pictures(case)[1] for _ in range(2)))


def test_the_table_compares_with_the_reference():
    rows = {
        "reference": bench.Measurement(6.0, 2 << 30, [10.0, 9.0]),
        "ours": bench.Measurement(3.0, 1 << 30, [10.01, 9.0]),
    }
    text = bench.markdown(rows)
    assert "2.00" in text and "0.50" in text and "1.0e-03" in text and "1,024 MiB" in text


def test_wrong_arguments_are_answered(tmp_path, capsys):
    assert bench.main(["--against", str(tmp_path)]) == 2
    assert "not a checkout of ZhengPeng7/BiRefNet" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        bench.main(["--size", "100"])
