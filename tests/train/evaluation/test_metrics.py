import json
import math
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.train.evaluation.reference_maps import CASES, maps
from train.evaluation.metrics import CURVES, LOWER_IS_BETTER, METRICS, measure, score, summarise

HERE = Path(__file__).parent
REFERENCE = json.loads((HERE / "reference_scores.json").read_text())


def disagreements(name, reference):
    """Metrics of a case that are not the reference's within 1e-6. Where PySODMetrics divides by an empty quadrant and
    its S-measure is NaN, ours is a number."""
    ours = score(*maps(name))
    apart = {}
    for metric, expected in reference.items():
        both_undefined = math.isnan(ours[metric]) and metric == "mBA"
        agree = (
            both_undefined or 0 <= ours[metric] <= 1 if math.isnan(expected) else abs(ours[metric] - expected) < 1e-6
        )
        if not agree:
            apart[metric] = (ours[metric], expected)
    return apart


@pytest.mark.parametrize("name", CASES)
def test_metrics_agree_with_the_stored_figures_of_pysodmetrics_and_upstream(name):
    assert len(REFERENCE[name]) == 13
    assert disagreements(name, REFERENCE[name]) == {}


def test_metrics_agree_with_pysodmetrics_run_now():
    python = os.environ.get("PYSODMETRICS_PYTHON")
    if not python:
        pytest.skip("PYSODMETRICS_PYTHON does not name a python with PySODMetrics; the stored figures were checked")
    run = subprocess.run([python, HERE / "reference_scores.py"], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    now = json.loads(run.stdout)
    assert set(now) == set(CASES)
    assert {name: disagreements(name, now[name]) for name in now} == {name: {} for name in CASES}


def test_the_cases_are_worth_comparing():
    for metric in REFERENCE["near"]:
        values = [case[metric] for case in REFERENCE.values() if not math.isnan(case[metric])]
        assert len({round(value, 6) for value in values}) >= 8, metric
    assert sum(case["HCE"] > 50 for case in REFERENCE.values()) >= 4


def test_integers_and_floats_of_the_same_matte_score_alike():
    alpha, truth = maps("holes")
    expected = measure(alpha, truth)
    for other in (
        measure(alpha / 255, truth / 255),
        measure(alpha.astype(np.uint16) * 257, truth.astype(np.uint16) * 257),
    ):
        assert other.figures == pytest.approx(expected.figures)
        for name in CURVES:
            np.testing.assert_allclose(other.curves[name], expected.curves[name])


def test_values_between_the_levels_of_8_bits_are_kept():
    alpha, truth = maps("near")
    deep = (alpha * 257.0 / 65535 + 1e-5).clip(0, 1)  # floats that are no multiple of 1 / 255
    figures = score(deep, truth / 255)
    assert figures["MAD"] == pytest.approx(np.abs(deep - truth / 255).mean(), abs=1e-12)
    assert figures["S-measure"] == pytest.approx(score(alpha, truth)["S-measure"], abs=1e-4)


def test_a_perfect_matte_is_perfect_and_the_opposite_is_not():
    _, truth = maps("near")
    truth = np.where(truth > 128, 255, 0).astype(np.uint8)
    perfect, opposite = score(truth, truth), score(255 - truth, truth)
    e_measure_is_over_pixels_less_one = truth.size / (truth.size - 1)
    for name in METRICS:
        if name in LOWER_IS_BETTER:
            assert perfect[name] == 0 < opposite[name], name
        else:
            assert perfect[name] == pytest.approx(1, abs=0.01 if name.startswith("mean") else 1e-3), name
            assert opposite[name] < 0.6, name
    assert perfect["max E"] == pytest.approx(e_measure_is_over_pixels_less_one)


def test_a_worse_matte_scores_worse_in_every_metric():
    truth = maps("far")[1]
    near, far = (score(np.roll(truth, shift, axis=1), truth) for shift in (2, 14))
    for name in METRICS:
        assert (near[name] < far[name]) if name in LOWER_IS_BETTER else (near[name] > far[name]), name


def test_a_soft_truth_counts_as_it_is_in_the_matting_metrics_only():
    truth = np.zeros((40, 40), dtype=np.uint8)
    truth[:, 10:20], truth[:, 20:] = 90, 255
    figures = score(truth, truth)
    for name in ("SAD", "MSE", "MAD", "Grad", "Conn"):
        assert figures[name] == 0
    assert figures["soft IoU"] == figures["IoU"] == figures["BIoU"] == figures["mBA"] == 1
    assert figures["MAE"] == pytest.approx(90 / 255 / 4)  # the benchmarks' mask has no half transparent pixels


def test_a_timid_matte_is_stretched_for_the_benchmarks_metrics_only():
    truth = np.zeros((30, 30), dtype=np.uint8)
    truth[5:20, 5:20] = 255
    timid = (60 + truth // 255 * 40).astype(np.uint8)
    figures = score(timid, truth)
    assert figures["MAE"] == 0 and figures["max F"] == 1 and figures["HCE"] == 0
    assert figures["IoU"] == 0
    assert figures["MAD"] == pytest.approx((225 * 155 + 675 * 60) / 900 / 255)


def test_matting_sums_and_means():
    alpha = np.array([[0, 51, 102], [153, 204, 255]], dtype=np.uint8)
    truth = np.array([[0, 0, 255], [255, 204, 204]], dtype=np.uint8)
    off = np.array([0, 0.2, -0.6, -0.4, 0, 0.2])
    figures = score(alpha, truth)
    assert figures["SAD"] == pytest.approx(np.abs(off).sum() / 1000)
    assert figures["MAD"] == pytest.approx(np.abs(off).mean())
    assert figures["MSE"] == pytest.approx((off**2).mean())
    assert figures["soft IoU"] == pytest.approx((0.4 + 0.6 + 0.8 + 0.8) / (0.2 + 1 + 1 + 0.8 + 1))


@pytest.mark.parametrize("name", ["far", "lines", "timid", "noise", "at the border"])
def test_gradient_error_is_rhemanns_pixel_by_pixel(name):
    alpha, truth = (map_[:40, :40] / 255 for map_ in maps(name))
    assert score(alpha, truth)["Grad"] == pytest.approx(gradient_error(alpha, truth), rel=1e-9)


def gradient_error(alpha, truth):
    sigma, reach = 1.4, 4
    steps = np.arange(-reach, reach + 1)
    bell = np.exp(-(steps**2) / (2 * sigma**2)) / (sigma * np.sqrt(2 * np.pi))
    assert bell[0] > 0.003 and np.exp(-((reach + 1) ** 2) / (2 * sigma**2)) / (sigma * np.sqrt(2 * np.pi)) < 0.01
    kernel = np.outer(bell, -steps * bell / sigma**2)
    kernel /= np.sqrt((kernel**2).sum())
    lengths = []
    for matte in (alpha, truth):
        padded = np.pad(matte, reach, mode="edge")
        windows = np.lib.stride_tricks.sliding_window_view(padded, kernel.shape)
        right, down = (np.einsum("ijkl,kl->ij", windows, each[::-1, ::-1]) for each in (kernel, kernel.T))
        lengths.append(np.sqrt(right**2 + down**2))
    return ((lengths[0] - lengths[1]) ** 2).sum() / 1000


@pytest.mark.parametrize("name", ["far", "lines", "holes", "noise", "dots"])
def test_connectivity_error_is_rhemanns_pixel_by_pixel(name):
    alpha, truth = (map_[:50, :60] / 255 for map_ in maps(name))
    assert score(alpha, truth)["Conn"] == pytest.approx(connectivity_error(alpha, truth), rel=1e-9)


def connectivity_error(alpha, truth):
    level = np.full(alpha.shape, -1.0)
    for step in range(1, 11):
        connected = largest_region((alpha >= step / 10) & (truth >= step / 10))
        level[(level < 0) & ~connected] = (step - 1) / 10
    level[level < 0] = 1
    phi = [1 - (matte - level) * (matte - level >= 0.15) for matte in (alpha, truth)]
    return np.abs(phi[0] - phi[1]).sum() / 1000


def largest_region(mask):
    """Of 4-connected regions, by flooding."""
    left, best = mask.copy(), set()
    for start in zip(*np.nonzero(mask)):
        region, waiting = set(), [start]
        while waiting:
            row, column = waiting.pop()
            if 0 <= row < mask.shape[0] and 0 <= column < mask.shape[1] and left[row, column]:
                left[row, column] = False
                region.add((row, column))
                waiting += [(row + 1, column), (row - 1, column), (row, column + 1), (row, column - 1)]
        if len(region) > len(best):
            best = region
    out = np.zeros_like(mask)
    for row, column in best:
        out[row, column] = True
    return out


@pytest.mark.parametrize("name", ["far", "lines", "holes", "at the border"])
def test_boundary_iou_is_that_of_bands_two_per_cent_wide(name):
    alpha, truth = maps(name)
    width = round(0.02 * math.hypot(*truth.shape))
    assert width > 1
    bands = []
    for mask in (alpha > 128, truth > 128):
        windows = np.lib.stride_tricks.sliding_window_view(np.pad(mask, width), (2 * width + 1,) * 2)
        bands.append(mask & ~windows.all((2, 3)))
    expected = (bands[0] & bands[1]).sum() / (bands[0] | bands[1]).sum()
    assert 0 < expected < 1
    assert score(alpha, truth)["BIoU"] == pytest.approx(expected)


def test_iou_counts_pixels_above_128_of_255():
    figures = score(np.array([[129, 128, 255, 0]], dtype=np.uint8), np.array([[255, 255, 129, 128]], dtype=np.uint8))
    assert figures["IoU"] == pytest.approx(2 / 3)  # masks 1010 and 1110
    empty = np.zeros((2, 2))
    assert [score(empty, empty)[name] for name in ("IoU", "soft IoU", "BIoU", "MAE", "HCE")] == [1, 1, 1, 0, 0]


def test_what_a_figure_is_not_defined_for_does_not_count_in_the_set():
    full, half = np.full((20, 20), 255, dtype=np.uint8), np.zeros((20, 20), dtype=np.uint8)
    half[:10] = 255
    images = [measure(full, full), measure(half, half)]
    assert math.isnan(images[0].figures["mBA"])
    assert summarise(images)["mBA"] == 1
    assert math.isnan(summarise(images[:1])["mBA"])
    with pytest.raises(ValueError, match="no images"):
        summarise([])


def test_a_sets_maximum_is_at_one_threshold_for_all_images():
    images = [measure(*maps(name)) for name in ("far", "timid", "holes")]
    summary = summarise(images)
    for name in ("F", "E", "BIoU"):
        curve = np.mean([image.curves[name] for image in images], axis=0)
        assert summary[f"max {name}"] == curve.max() and summary[f"mean {name}"] == pytest.approx(curve.mean())
        assert summary[f"max {name}"] <= np.mean([image.figures[f"max {name}"] for image in images])
    assert summary["HCE"] == np.mean([image.figures["HCE"] for image in images])


def test_measuring_refuses_what_is_no_pair_of_mattes():
    good = np.full((4, 5), 0.5)
    shapes = [(good, good.T), (good[None], good[None]), (good[:0], good[:0])]
    for alpha, truth in [*shapes, (good * 255, good), (good, good * np.nan), (good - 1, good)]:
        with pytest.raises(ValueError, match=r"alpha|truth"):
            score(alpha, truth)
