"""Activation checkpointing: forget what blocks computed, compute it again on the way back. Less memory, more time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial

import torch
import torch.nn as nn
from torch.utils.checkpoint import checkpoint

from birefnet_core.network import BiRefNet
from birefnet_core.network.backbones import Stages
from birefnet_core.network.swin import SwinBlock


def units(network: BiRefNet) -> list[nn.Module]:
    """The blocks a network divides into: those of its backbone, and of its decoder. None lies within another."""
    backbone = network.localization.backbone
    if isinstance(backbone, Stages):
        blocks = list(backbone.stages)
    else:
        blocks = [module for module in backbone.modules() if isinstance(module, SwinBlock)] or [backbone]
    return [*blocks, network.localization.squeeze, *network.reconstruction.blocks]


def recompute_(network: BiRefNet) -> None:
    """Keep only the inputs of the network's units in training. Parameters, state dict and results stay as they are."""
    for unit in units(network):
        unit.forward = partial(_forward, unit)


def _forward(unit: nn.Module, *inputs):
    forward = partial(type(unit).forward, unit)
    if not (unit.training and torch.is_grad_enabled()):
        return forward(*inputs)
    contexts = lambda: (contextlib.nullcontext(), _keep_statistics(unit))  # noqa: E731
    return checkpoint(forward, *inputs, use_reentrant=False, context_fn=contexts)


@contextlib.contextmanager
def _keep_statistics(unit: nn.Module) -> Iterator[None]:
    """The second time through, BatchNorms must not count the batch again."""
    before = [(buffer, buffer.clone()) for buffer in unit.buffers()]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, value in before:
                buffer.copy_(value)
