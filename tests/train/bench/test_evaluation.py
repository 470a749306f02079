import numpy as np
import pytest

from train.bench import evaluation as bench_evaluation
from train.shared.pictures import by_stem, read_levels


def test_the_generated_mattes_are_worth_measuring(tmp_path):
    bench_evaluation.generate(tmp_path, 3, 96)
    for truth, alpha in zip(by_stem(tmp_path / "gt").values(), by_stem(tmp_path / "pred").values()):
        truth, alpha = read_levels(truth), read_levels(alpha)
        assert truth.shape == alpha.shape == (96, 96)
        assert 0.05 < (truth > 128).mean() < 0.9
        assert 0.01 < ((truth > 128) != (alpha > 128)).mean() < 0.4
        assert len(np.unique(alpha)) > 50


def test_the_bench_times_our_evaluation(capsys):
    bench_evaluation.main(["--images", "3", "--size", "64", "--processes", "1"])
    printed = capsys.readouterr().out
    assert "3 images of 64 x 64, 1 processes" in printed
    assert float(printed.split("| ours | ")[1].split(" s")[0]) > 0


def test_the_bench_refuses_a_folder_that_is_no_checkout(tmp_path, capsys):
    with pytest.raises(SystemExit):
        bench_evaluation.main(["--against", str(tmp_path)])
    assert f"{tmp_path} is no checkout of upstream" in capsys.readouterr().err
