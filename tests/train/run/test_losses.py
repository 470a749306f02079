"""Losses against the numbers of the reference implementation, kept in tests/data/parity/losses.npz."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from train.run import losses

VECTORS = Path(__file__).parents[2] / "data" / "parity" / "losses.npz"


@pytest.fixture(scope="module")
def vectors() -> dict[str, torch.Tensor]:
    with np.load(VECTORS) as file:
        return {name: torch.from_numpy(file[name]) for name in file.files}


@pytest.mark.parametrize(
    ("term", "name"),
    [
        ("bce", "bce"),
        ("iou", "iou_summed_over_batch"),
        ("ssim", "ssim"),
        ("mae", "mae"),
        ("structure", "structure"),
        ("contour", "contour"),
    ],
)
def test_term_matches_reference(vectors, term, name):
    value = losses.MAP_TERMS[term](vectors["logits3"], vectors["gt"])
    assert abs(value.item() - vectors[name].item()) < 1e-4


def test_total_over_side_outputs_matches_reference(vectors):
    outputs = [vectors[f"logits{i}"] for i in range(4)]
    total, terms = losses.map_loss(outputs, vectors["gt"], losses.LossWeights())
    assert (
        abs(total.item() - vectors["pixel_loss_total_dis5k"].item()) < 1e-4 * vectors["pixel_loss_total_dis5k"].item()
    )
    assert set(terms) == {"bce", "iou", "ssim"}


def test_gradient_loss_is_cross_entropy_of_sigmoids():
    generator = torch.Generator().manual_seed(1)
    predictions = [torch.randn(2, 1, 8, 8, generator=generator), torch.randn(2, 1, 16, 16, generator=generator)]
    labels = [torch.randn(2, 1, 16, 16, generator=generator) for _ in range(2)]
    expected = 0.0
    for prediction, label in zip(predictions, labels):
        if prediction.shape != label.shape:
            prediction = torch.nn.functional.interpolate(prediction, size=(16, 16), mode="bilinear", align_corners=True)
        p, t = prediction.sigmoid().double().numpy(), label.sigmoid().double().numpy()
        expected += float(-(t * np.log(p) + (1 - t) * np.log(1 - p)).mean())
    assert losses.gradient_loss(predictions, labels).item() == pytest.approx(expected, abs=1e-5)


def test_whole_objective_adds_the_weighted_terms(vectors):
    output = SimpleNamespace(
        side_outputs=[vectors["logits3"]],
        gradient_predictions=[torch.zeros(2, 1, 4, 4)],
        gradient_labels=[torch.zeros(2, 1, 4, 4)],
        class_logits=torch.zeros(2, 10),
    )
    total, terms = losses.training_loss(output, vectors["gt"], losses.LossWeights(), torch.tensor([1, 2]))
    weighted = 30 * terms["bce"] + 0.5 * terms["iou"] + 10 * terms["ssim"] + terms["gradient"] + 5 * terms["classes"]
    assert total.item() == pytest.approx(weighted.item(), rel=1e-5)
    assert terms["classes"].item() == pytest.approx(np.log(10), rel=1e-5)


def test_empty_target_and_saturated_logits_stay_finite():
    logits = torch.full((2, 1, 32, 32), -200.0, requires_grad=True)
    weights = losses.LossWeights(mae=1, structure=1, contour=1)
    total, _ = losses.map_loss([logits], torch.zeros(2, 1, 32, 32), weights)
    total.backward()
    assert torch.isfinite(total) and torch.isfinite(logits.grad).all()


def test_losses_of_half_precision_logits_are_computed_in_fp32(vectors):
    total, _ = losses.map_loss([vectors["logits3"].bfloat16()], vectors["gt"], losses.LossWeights())
    assert total.dtype == torch.float32
