"""Measure the generated mattes with PySODMetrics, and with upstream what that lacks; print JSON.

    PYTHON reference_scores.py [UPSTREAM_CHECKOUT] > reference_scores.json

PYTHON needs PySODMetrics 1.6.2 (`pip install pysodmetrics==1.6.2 scikit-image==0.25.2 tqdm`) and is no part of the
suite's environment. Run by tests/train/evaluation/test_metrics.py where PYSODMETRICS_PYTHON names it. For the printed
values the versions were those, numpy 2.3.4 and opencv-python-headless 4.14.0.94.
"""

import importlib
import json
import sys
import warnings
from pathlib import Path

import py_sod_metrics as sod

sys.path.insert(0, str(Path(__file__).parent))
from reference_maps import CASES, maps


def result(metric, alpha, truth):
    metric.step(alpha, truth)
    return metric.get_results()


def by_pysodmetrics(alpha, truth):
    f, e = result(sod.Fmeasure(), alpha, truth)["fm"], result(sod.Emeasure(), alpha, truth)["em"]
    return {
        "max F": f["curve"].max(),
        "mean F": f["curve"].mean(),
        "adaptive F": f["adp"],
        "max E": e["curve"].max(),
        "mean E": e["curve"].mean(),
        "adaptive E": e["adp"],
        "S-measure": result(sod.Smeasure(), alpha, truth)["sm"],
        "weighted F": result(sod.WeightedFmeasure(), alpha, truth)["wfm"],
        "MAE": result(sod.MAE(), alpha, truth)["mae"],
        "HCE": result(sod.HumanCorrectionEffortMeasure(), alpha, truth)["hce"],
    }


def by_upstream(upstream, alpha, truth):
    curve = result(upstream.BIoUMeasure(), alpha, truth)["biou"]["curve"]
    return {
        "max BIoU": curve.max(),
        "mean BIoU": curve.mean(),
        "mBA": result(upstream.MBAMeasure(), alpha, truth)["mba"],
    }


def main():
    warnings.simplefilter("ignore")
    upstream = None
    if len(sys.argv) > 1:
        sys.path.insert(0, sys.argv[1])
        upstream = importlib.import_module("evaluation.metrics")
    scores = {}
    for name in CASES:
        scores[name] = by_pysodmetrics(*maps(name))
        if upstream:
            scores[name] |= by_upstream(upstream, *maps(name))
    values = {name: {key: float(value) for key, value in case.items()} for name, case in scores.items()}
    print(json.dumps(values, indent=1))


main()
