"""Scores of a network on what training does not see, and pictures of it to look at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn as nn
from torch import Tensor

from train.data.sources import Source
from train.evaluation.metrics import measure, summarise

from .distributed import Processes
from .normalise import normalise

SHOWN = 16
AT_A_TIME = 8


# The columns of a published model card, and what this suite calls them.
CARD_COLUMNS = {
    "Smeasure": "S-measure",
    "maxFm": "max F",
    "meanEm": "mean E",
    "MAE": "MAE",
    "maxEm": "max E",
    "meanFm": "mean F",
    "wFmeasure": "weighted F",
    "adpEm": "adaptive E",
    "adpFm": "adaptive F",
    "HCE": "HCE",
    "mBA": "mBA",
    "SAD": "SAD",
}


@dataclass(frozen=True)
class Scores:
    """Means over all pictures, and the first pictures for a contact sheet (images, alpha, predictions); with hints the
    images are dark where these do not ask for them.

    mae: mean absolute error of alpha. iou: intersection over union at alpha 0.5; 1 where both are empty.
    """

    mae: float
    iou: float
    shown: tuple[Tensor, Tensor, Tensor]


@torch.no_grad()
def validate(
    network: nn.Module,
    source: Source,
    size: tuple[int, int],
    *,
    among: Processes,
    autocast: Callable[[], torch.autocast],
    at_a_time: int = AT_A_TIME,
) -> Scores:
    """Score `network` (in evaluation mode) on all of `source`, which the processes share; with hints if it has them."""
    # Sharded networks need all processes in every pass: who has fewer pictures takes the last one again, uncounted.
    share = -(-source.samples // among.world)
    mine = [min(among.rank + among.world * turn, source.samples - 1) for turn in range(share)]
    counted = len(range(among.rank, source.samples, among.world))
    errors: list[float] = []
    overlaps: list[float] = []
    shown: list[tuple[Tensor, Tensor, Tensor]] = []
    for first in range(0, share, at_a_time):
        batch = source.batch(mine[first : first + at_a_time], size)
        images, alpha = batch.images.to(among.device), batch.alpha.to(among.device)
        hints = [] if batch.hints is None else [batch.hints.to(among.device)]
        with autocast():
            predicted = network(normalise(images), *hints).float().sigmoid()
        errors += (predicted - alpha).abs().mean(dim=(1, 2, 3)).tolist()
        ours, true = predicted > 0.5, alpha > 0.5
        common, union = (ours & true).sum(dim=(1, 2, 3)), (ours | true).sum(dim=(1, 2, 3))
        overlaps += torch.where(union > 0, common / union.clamp(min=1), 1.0).tolist()
        if first < SHOWN:
            seen = images * (0.4 + 0.6 * hints[0]) if hints else images
            shown.append((seen.cpu(), alpha.cpu(), predicted.cpu()))
    errors, overlaps = among.gather(errors[:counted]), among.gather(overlaps[:counted])
    pictures = tuple(torch.cat(part)[:SHOWN] for part in zip(*shown))
    return Scores(sum(errors) / len(errors), sum(overlaps) / len(overlaps), pictures)


@torch.no_grad()
def metric_table(
    network: nn.Module, source: Source, size: tuple[int, int], autocast: Callable[[], torch.autocast]
) -> dict[str, float]:
    """The figures of a model card on all of `source`, by column: one picture at a time, in one process."""
    device = next(network.parameters()).device
    scores = []
    for index in range(source.samples):
        images, alpha, *_ = source.batch([index], size)
        with autocast():
            predicted = network(normalise(images.to(device))).float().sigmoid()
        levels = [(255 * each[0, 0]).round().byte().cpu().numpy() for each in (predicted, alpha)]
        scores.append(measure(*levels))
    figures = summarise(scores)
    return {column: figures[name] for column, name in CARD_COLUMNS.items()}
