"""The objective of the paper (section 3.5, equations 1-5), computed from logits in fp32.

The single terms reproduce the reference implementation's numbers: its IoU term is summed over the batch, and its SSIM
term is (1 - SSIM) / 2, half of equation 4.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from birefnet_core.network.layers import resize
from train.tables import LossWeights

SSIM_WINDOW = 11
SSIM_SIGMA = 1.5
SSIM_C1, SSIM_C2 = 0.01**2, 0.03**2
EMPTY = 1e-3  # pixels; keeps intersection over union finite when neither map has any foreground


def binary_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Mean binary cross entropy (equation 2, averaged over pixels). `logits` and `target` [N,1,H,W], target 0..1."""
    return F.binary_cross_entropy_with_logits(logits, target)


def intersection_over_union(logits: Tensor, target: Tensor) -> Tensor:
    """1 - soft IoU of each sample (equation 3), summed over the batch."""
    alpha = logits.sigmoid()
    common = (alpha * target).sum(dim=(1, 2, 3))
    union = alpha.sum(dim=(1, 2, 3)) + target.sum(dim=(1, 2, 3)) - common
    return (1 - (common + EMPTY) / (union + EMPTY)).sum()


def _window_means(maps: Tensor) -> Tensor:
    """Gaussian 11 x 11 local means of [N,1,H,W], zero padded.

    Two 1-D passes with all maps as channels of one picture: 22 ms forward and backward for 40 maps of 256 x 256,
    where a 2-D window over a batch takes 720 ms.
    """
    offsets = torch.arange(SSIM_WINDOW, device=maps.device, dtype=maps.dtype) - SSIM_WINDOW // 2
    window = torch.exp(-(offsets**2) / (2 * SSIM_SIGMA**2))
    window = window / window.sum()
    channels, pad = maps.shape[0], SSIM_WINDOW // 2
    rows = window.view(1, 1, 1, -1).expand(channels, 1, 1, -1)
    columns = window.view(1, 1, -1, 1).expand(channels, 1, -1, 1)
    means = F.conv2d(maps.transpose(0, 1), rows, padding=(0, pad), groups=channels)
    return F.conv2d(means, columns, padding=(pad, 0), groups=channels).transpose(0, 1)


def _target_means(target: Tensor) -> tuple[Tensor, Tensor]:
    return tuple(_window_means(torch.cat([target, target * target])).chunk(2))


def structural_dissimilarity(
    logits: Tensor, target: Tensor, target_means: tuple[Tensor, Tensor] | None = None
) -> Tensor:
    """(1 - SSIM) / 2, half of equation 4, mean over pixels; local statistics under an 11 x 11 Gaussian window.

    `target_means` are those of the target and of its square, which all side outputs of a step share.
    """
    alpha = logits.sigmoid()
    mean_t, mean_tt = _target_means(target) if target_means is None else target_means
    mean_a, mean_aa, mean_at = _window_means(torch.cat([alpha, alpha * alpha, alpha * target])).chunk(3)
    variances = (mean_aa - mean_a**2) + (mean_tt - mean_t**2)
    covariance = mean_at - mean_a * mean_t
    similarity = (2 * mean_a * mean_t + SSIM_C1) * (2 * covariance + SSIM_C2)
    similarity = similarity / ((mean_a**2 + mean_t**2 + SSIM_C1) * (variances + SSIM_C2))
    return (1 - similarity.mean()) / 2


def mean_absolute_error(logits: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference of the alpha values; the right pixel term for soft mattes."""
    return (logits.sigmoid() - target).abs().mean()


def structure(logits: Tensor, target: Tensor) -> Tensor:
    """Cross entropy and IoU with pixels near an edge counted up to six times (31 x 31 neighbourhood)."""
    weight = 1 + 5 * (F.avg_pool2d(target, 31, stride=1, padding=15) - target).abs()
    entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    entropy = (weight * entropy).sum(dim=(2, 3)) / weight.sum(dim=(2, 3))
    alpha = logits.sigmoid()
    common = (alpha * target * weight).sum(dim=(2, 3))
    total = ((alpha + target) * weight).sum(dim=(2, 3))
    return (entropy + 1 - (common + 1) / (total - common + 1)).mean()


def contour(logits: Tensor, target: Tensor) -> Tensor:
    """Length of the predicted contour (weight 10) plus the error inside and outside of it (active contours)."""
    alpha = logits.sigmoid()
    down = (alpha[..., 1:, :] - alpha[..., :-1, :])[..., 1:, :-2]
    right = (alpha[..., :, 1:] - alpha[..., :, :-1])[..., :-2, 1:]
    length = (down**2 + right**2 + 1e-8).sqrt().mean()
    return 10 * length + (alpha * (target - 1) ** 2).mean() + ((1 - alpha) * target**2).mean()


MAP_TERMS = {
    "bce": binary_cross_entropy,
    "iou": intersection_over_union,
    "ssim": structural_dissimilarity,
    "mae": mean_absolute_error,
    "structure": structure,
    "contour": contour,
}


def map_loss(
    side_outputs: list[Tensor], target: Tensor, weights: LossWeights, parts: int = 1
) -> tuple[Tensor, dict[str, Tensor]]:
    """Weighted pixel terms summed over all side outputs (multi-stage supervision).

    `side_outputs` are logits [N,1,h,w] of any sizes, `target` [N,1,H,W] in 0..1. `parts` as in `training_loss`.
    Returns the loss and the unweighted terms of the last (finest) output.
    """
    target = target.float()
    pictures = len(target) * parts
    scale = {"iou": parts * (weights.iou_pictures or pictures) / pictures}
    total = target.new_zeros(())
    shared = {"ssim": {"target_means": _target_means(target)}} if weights.ssim else {}
    terms: dict[str, Tensor] = {}
    for logits in side_outputs:
        logits = resize(logits.float(), target.shape[-2:])
        for name, term in MAP_TERMS.items():
            weight = getattr(weights, name)
            if weight:
                terms[name] = scale.get(name, 1) * term(logits, target, **shared.get(name, {}))
                total = total + weight * terms[name]
    return total, {name: value.detach() for name, value in terms.items()}


def gradient_loss(predictions: list[Tensor], labels: list[Tensor]) -> Tensor:
    """Supervision of the outward reference: cross entropy between the sigmoids of prediction and gradient label.

    Both are raw maps [N,1,h,w]; predictions are resized to their labels. Summed over the stages.
    """
    return sum(
        F.binary_cross_entropy_with_logits(resize(prediction.float(), label.shape[-2:]), label.float().sigmoid())
        for prediction, label in zip(predictions, labels)
    )


def training_loss(
    output, target: Tensor, weights: LossWeights, class_labels: Tensor | None = None, *, parts: int = 1
) -> tuple[Tensor, dict[str, Tensor]]:
    """The whole objective (equation 1) for one `birefnet_core.network.TrainingOutput`, its class term equation 5.

    Args:
        output: what the network returns in training mode.
        target: alpha [N,1,H,W], 0..1.
        weights: how much each term counts.
        class_labels: [N] class indices; needed when the network has a class head and `weights.classes` is not 0.
        parts: how many equal parts a step's batch is divided into, over processes and micro-batches, of which this is
            one. The mean of their losses is the loss of the whole batch: all terms are means over pictures but the
            IoU's sum, which counts `parts` times.

    Returns:
        The scalar loss and the detached, unweighted terms for the log.
    """
    loss, terms = map_loss(output.side_outputs, target, weights, parts)
    if weights.gradient and output.gradient_predictions:
        value = gradient_loss(output.gradient_predictions, output.gradient_labels)
        loss, terms["gradient"] = loss + weights.gradient * value, value.detach()
    if weights.classes and output.class_logits is not None and class_labels is not None:
        value = F.cross_entropy(output.class_logits.float(), class_labels)
        loss, terms["classes"] = loss + weights.classes * value, value.detach()
    return loss, terms
