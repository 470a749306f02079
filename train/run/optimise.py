"""What learns and how fast: parameter groups, learning rate, frozen parts, averaged weights."""

from __future__ import annotations

import math

import torch
import torch.nn as nn
from torch.nn.modules.batchnorm import _BatchNorm

from birefnet_core.network.hint import hint_weights
from train.recipe import Recipe

STAGES = 4
HINT_RATE = 10  # times the learning rate: these weights start from zero beside trained ones


def learning_rate_share(step: int, recipe: Recipe) -> float:
    """Share of the full learning rate at `step`: linear warm-up, then half a cosine down to `final_rate`."""
    if step < recipe.warmup_steps:
        return (step + 1) / recipe.warmup_steps
    progress = (step - recipe.warmup_steps) / max(1, recipe.steps - recipe.warmup_steps)
    return recipe.final_rate + (1 - recipe.final_rate) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def make_optimiser(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Adam or AdamW with rates of their own for the backbone and for the weights of a hint, and no decay of norms and
    biases."""
    rates = {id(parameter): recipe.backbone_learning_rate for parameter in network.localization.backbone.parameters()}
    rates |= {id(parameter): HINT_RATE * recipe.learning_rate for parameter in hint_weights(network)}
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for parameter in network.parameters():
        if parameter.requires_grad:
            rate = rates.get(id(parameter), recipe.learning_rate)
            groups.setdefault((rate, parameter.ndim > 1), []).append(parameter)
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[recipe.optimiser]
    return kind(
        [
            {
                "params": parameters,
                "base_rate": rate,
                "weight_decay": recipe.weight_decay if decays else 0.0,
            }
            for (rate, decays), parameters in groups.items()
        ]
    )


def freeze_stages_(network: nn.Module, count: int) -> None:
    """Let the first `count` of the backbone's four stages stay as they are; 4 is the whole backbone.

    A stage is what its level is computed from and the levels before are not; a backward pass from that level finds it,
    in any backbone. The weights of a hint always learn.
    """
    backbone, hint = network.localization.backbone, {id(parameter) for parameter in hint_weights(network)}
    parameters = [parameter for parameter in backbone.parameters() if id(parameter) not in hint]
    if 0 < count < STAGES:
        side = max(64, network.localization.smallest)
        levels = backbone.eval()(torch.zeros(1, 3, side, side))
        found = torch.autograd.grad(levels[count - 1].sum(), parameters, allow_unused=True)
        parameters = [parameter for parameter, gradient in zip(parameters, found) if gradient is not None]
    for parameter in parameters if count else ():
        parameter.requires_grad_(False)


def training_mode_(network: nn.Module, recipe: Recipe, *, single: bool = False) -> None:
    """Training mode, but for the BatchNorms that keep their statistics: by the recipe, in frozen stages, and all of
    them where the network sees a `single` picture at a time, of which there are no statistics."""
    network.train()
    backbone = set(network.localization.backbone.modules())
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            frozen = recipe.freeze_statistics or single or (recipe.freeze_backbone_statistics and module in backbone)
            if frozen or not any(parameter.requires_grad for parameter in module.parameters()):
                module.eval()


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Exponential moving average of weights and of BatchNorm statistics."""
    ours, theirs = (
        {name: value for name, value in module.state_dict().items() if value.is_floating_point()}
        for module in (average, network)
    )
    pairs = [(_local(ours[name]), _local(theirs[name])) for name in ours]
    torch._foreach_lerp_(*(list(side) for side in zip(*pairs)), 1 - decay)


def _local(tensor: torch.Tensor) -> torch.Tensor:
    """This process's part of a sharded tensor."""
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor
