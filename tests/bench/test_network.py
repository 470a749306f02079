"""The bench command: our rows on a tiny network, the tables, and what it says about paths it cannot use."""

import re

import numpy as np
import pytest
import torch

from birefnet_core.bench import measure, report
from birefnet_core.commands.main import main
from birefnet_core.network import Architecture
from birefnet_core.weights.files import read_weights

TINY = ["--backbone", "timm:tf_efficientnet_lite0", "--widths", "8", "16", "8"]


def test_ours_prints_latency_memory_and_every_stage(capsys):
    assert main(["bench", *TINY, "--size", "64", "--repeats", "1", "--threads", "1", "--device", "cpu"]) == 0
    printed = capsys.readouterr().out
    assert "timm:tf_efficientnet_lite0, 64 x 64, float32, batch 1, 1 CPU threads" in printed
    assert re.search(r"\| ours +\| +[\d.]+ m?s \| +[\d,]+ MiB \|", printed)
    for stage in measure.OUR_STAGES:
        assert re.search(rf"\| {stage} +\| +[\d.]+ m?s \|", printed), stage


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--against", "{folder}"], "not a checkout of ZhengPeng7/BiRefNet, it has no config.py"),
        (["--against", "{folder}/absent"], "not a checkout of ZhengPeng7/BiRefNet"),
        (["--size", "100"], "multiple of 32"),
        (["--repeats", "0"], "at least 1"),
        (["--widths", "8", "0", "8"], "--widths must be at least 1"),
        (["--backbone", "swin_v9"], "unknown backbone 'swin_v9'"),
        (["--device", "nonsense"], "nonsense"),
    ],
)
def test_what_it_cannot_do_is_one_sentence(tmp_path, capsys, arguments, words):
    assert main(["bench", *(argument.format(folder=tmp_path) for argument in arguments)]) == 1
    message = capsys.readouterr().err
    assert words in message
    assert message.count("\n") == 1


def test_a_checkout_whose_imports_are_missing_names_the_package(tmp_path, capsys):
    (tmp_path / "models").mkdir()
    (tmp_path / "config.py").write_text("import a_package_nobody_has\n")
    (tmp_path / "models" / "birefnet.py").write_text("")
    assert main(["bench", *TINY[:2], "--against", str(tmp_path), "--size", "64"]) == 1
    assert "pip install a_package_nobody_has" in capsys.readouterr().err


def test_random_weights_are_the_same_every_time_and_move_the_sampling_points(tmp_path):
    architecture = Architecture("timm:tf_efficientnet_lite0", block_channels=8, branch_channels=16, inward_channels=8)
    paths = [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]
    for path in paths:
        measure.write_random_weights(architecture, path)
    (first, metadata), (second, _) = (read_weights(path) for path in paths)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert metadata["architecture"] == architecture.to_json()
    assert all((value > 0).all() for key, value in first.items() if key.endswith("running_var"))
    offsets = [value for key, value in first.items() if key.endswith("offset_conv.weight")]
    assert offsets and all(value.std() > 0 for value in offsets)


def test_the_table_compares_with_the_reference():
    zeros = np.zeros((1, 1, 2, 2), np.float32)
    rows = {
        "reference": measure.Measurement(10.0, 4 << 30, zeros - 3, {"backbone": 4.0, "rest": 6.0}, "cpu"),
        "ours": measure.Measurement(2.5, 1 << 30, zeros - 3.25, {"backbone": 2.0, "rest": 0.5}, "cpu"),
    }
    lines = report.markdown("title", rows).splitlines()
    cells = {
        line.split("|")[1].strip(): [cell.strip() for cell in line.split("|")[2:-1]] for line in lines if "|" in line
    }
    assert lines[0] == "### title"
    assert cells["ours"] == ["2.50 s", "4.00", "1,024 MiB", "0.25", "2.5e-01"]
    assert cells["reference"] == ["10.00 s", "1.00", "4,096 MiB", "1.00", "(logits reach 3.0)"]
    assert cells["rest"] == ["6.00 s", "500.0 ms"]
    assert cells["all"] == ["10.00 s", "2.50 s"]


def test_table_columns_line_up():
    lines = report.table(["", "a"], [["long name", "1"], ["b", "22222"]]).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert lines[1] == "| --------- | ----: |"
