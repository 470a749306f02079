"""Teachers: what the network gives without a hint may be learnt from other models in place of the truth.

A network that learns hints beside everything else forgets some of the latter. Teachers that take no hint, such as the
model that it began from, keep it: of a picture for which nothing is asked the target is the mean of what they give.
"""

from __future__ import annotations

import torch
from torch import Tensor

from birefnet_core.matting.load import load_model
from birefnet_core.matting.model import MattingModel
from birefnet_core.network.hint import SAYS_NOTHING
from birefnet_core.weights.download import sha256_of
from birefnet_core.weights.inspection import inspect
from train.data.pairs import Batch

from .initialise import model_file
from .normalise import normalise

WEIGHTS = "weights of teachers"  # in a checkpoint; those from before it was there go on without


def check_teachers(names: tuple[str, ...]) -> None:
    """ValueError, which says that it is about a teacher, for what is no model by name or file. A published one is
    fetched."""
    for name in names:
        try:
            problem = inspect(model_file(name)).problem
        except (ValueError, OSError) as error:
            problem = str(error)
        if problem:
            raise ValueError(f"teachers: {name or 'an empty name'} is no model: {problem}")


def weights_of_teachers(names: tuple[str, ...]) -> dict[str, list[str]]:
    """What their files hold, as part of a run's identity: a file may change under its name."""
    return {WEIGHTS: [sha256_of(model_file(name))[:16] for name in names]} if names else {}


def load_teachers(names: tuple[str, ...], device: torch.device) -> list[MattingModel]:
    """These models, by name or file, without their hints. Raises what `load_model` raises."""
    return [load_model(name, device=device, dtype="float32", hint=False) for name in names]


@torch.no_grad()
def taught(batch: Batch, teachers: list[MattingModel]) -> Batch:
    """The batch with the teachers' mean alpha in place of the truth where no hint is given."""
    if not teachers:
        return batch
    plain = torch.ones(len(batch.images), dtype=torch.bool, device=batch.images.device)
    if batch.hints is not None:
        plain = (batch.hints == SAYS_NOTHING).flatten(1).all(1)
    alpha = batch.alpha.clone()
    if plain.any():
        alpha[plain] = torch.stack([_given_by(teacher, batch.images[plain]) for teacher in teachers]).mean(0)
    return batch._replace(alpha=alpha)


def _given_by(teacher: MattingModel, images: Tensor) -> Tensor:
    """What a teacher sees in images [N,3,H,W] 0..1, with the statistics that it was made for: [N,1,H,W] 0..1."""
    return teacher.network(normalise(images, (teacher.spec.mean, teacher.spec.std))).float().sigmoid()
