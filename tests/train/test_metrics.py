import numpy as np
import pytest

from train.metrics import METRICS, iou, mae, s_measure, score, soft_iou


def maps(height, width, seed):
    """A disc as truth and a shifted, blurred, noisy disc as 8-bit prediction, in integers so that they never
    change."""
    rows, columns = np.mgrid[:height, :width]
    truth = (rows - height // 3) ** 2 + (columns - width // 2) ** 2 < (min(height, width) // 3) ** 2
    distance = (rows - height // 3 - seed) ** 2 + (columns - width // 2 + seed) ** 2
    noise = (rows * 7919 + columns * 104729 + seed * 1299709) % 23
    alpha = np.clip(290 - 255 * distance // max(1, (min(height, width) // 2) ** 2) + noise - 11, 0, 255)
    return alpha / 255, truth.astype(float)


# (height, width, seed): S-measure and MAE of maps(height, width, seed) by PySODMetrics 1.6.2: Smeasure() and MAE(),
# each step(alpha, truth > 0, normalize=False). The same comparison over 574 random, drawn and real maps agreed to 3e-16
REFERENCE = {
    (24, 32, 0): (0.823251053, 0.154462827),
    (24, 32, 3): (0.702134621, 0.235651552),
    (24, 32, 6): (0.485672598, 0.372344771),
    (31, 17, 2): (0.699323545, 0.155002418),
    (64, 64, 5): (0.736389855, 0.247620826),
    (9, 12, 1): (0.731291892, 0.184749455),
    (50, 80, 20): (0.302092684, 0.404770588),
}


@pytest.mark.parametrize("case", REFERENCE)
def test_s_measure_and_mae_agree_with_pysodmetrics(case):
    alpha, truth = maps(*case)
    assert 0 < truth.mean() < 1
    assert s_measure(alpha, truth) == pytest.approx(REFERENCE[case][0], abs=1e-6)
    assert mae(alpha, truth) == pytest.approx(REFERENCE[case][1], abs=1e-6)


def test_s_measure_of_empty_and_full_truth_is_what_the_paper_code_gives():
    alpha, _ = maps(20, 30, 1)
    assert s_measure(alpha, np.zeros((20, 30))) == pytest.approx(1 - alpha.mean())
    assert s_measure(alpha, np.ones((20, 30))) == pytest.approx(alpha.mean())


def test_s_measure_stands_an_object_in_the_last_column():
    truth = np.zeros((6, 5))
    truth[:, 4] = 1  # PySODMetrics divides by an empty quadrant here and gives NaN
    assert s_measure(truth, truth) == pytest.approx(1)


def test_a_perfect_matte_is_perfect_and_the_opposite_is_not():
    _, truth = maps(40, 30, 0)
    assert score(truth, truth) == pytest.approx({"MAE": 0, "IoU": 1, "soft IoU": 1, "S-measure": 1})
    assert score(1 - truth, truth) == pytest.approx({"MAE": 1, "IoU": 0, "soft IoU": 0, "S-measure": 0})


def test_a_worse_matte_scores_worse_in_every_metric():
    truth = maps(60, 60, 0)[1]
    near, far = maps(60, 60, 1)[0], maps(60, 60, 9)[0]
    for name, metric in METRICS.items():
        better, worse = metric(near, truth), metric(far, truth)
        assert (better < worse) if name == "MAE" else (better > worse), name


def test_iou_counts_pixels_above_128_of_255():
    alpha = np.array([[129, 128, 255, 0]]) / 255
    truth = np.array([[255, 255, 129, 128]]) / 255
    assert iou(alpha, truth) == pytest.approx(2 / 3)  # masks 1010 and 1110
    assert soft_iou(alpha, truth) == pytest.approx((129 + 128 + 129) / (255 + 255 + 255 + 128))
    assert iou(np.zeros((2, 2)), np.zeros((2, 2))) == soft_iou(np.zeros((2, 2)), np.zeros((2, 2))) == 1


@pytest.mark.parametrize("metric", METRICS.values())
def test_metrics_refuse_what_is_no_pair_of_mattes(metric):
    good = np.full((4, 5), 0.5)
    shapes = [(good, good.T), (good[None], good[None]), (good[:0], good[:0])]
    for alpha, truth in [*shapes, (good * 255, good), (good, good * np.nan), (good - 1, good)]:
        with pytest.raises(ValueError, match=r"alpha|truth"):
            metric(alpha, truth)
