"""Teachers: what the network gives without a hint may be learnt from other models in place of the truth.

A network that learns hints beside everything else forgets some of the latter. Teachers that take no hint, such as the
model that it began from, keep it: of a picture for which nothing is asked the target is the mean of what they give.
"""

from __future__ import annotations

import torch
import torch.nn as nn

from birefnet_core.matting.load import load_model
from birefnet_core.network.hint import SAYS_NOTHING
from train.data.pairs import Batch

from .normalise import normalise


def load_teachers(names: tuple[str, ...], device: torch.device) -> list[nn.Module]:
    """The networks of these models, by name or file, which take no hint. Raises what `load_model` raises."""
    return [load_model(name, device=device, dtype="float32", hint=False).network for name in names]


@torch.no_grad()
def taught(batch: Batch, teachers: list[nn.Module]) -> Batch:
    """The batch with the teachers' mean alpha in place of the truth where no hint is given."""
    if not teachers:
        return batch
    plain = torch.ones(len(batch.images), dtype=torch.bool, device=batch.images.device)
    if batch.hints is not None:
        plain = (batch.hints == SAYS_NOTHING).flatten(1).all(1)
    alpha = batch.alpha.clone()
    if plain.any():
        images = normalise(batch.images[plain])
        alpha[plain] = torch.stack([teacher(images).float().sigmoid() for teacher in teachers]).mean(0)
    return batch._replace(alpha=alpha)
