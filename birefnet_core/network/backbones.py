"""The encoders: the eleven the paper's authors publish code for, DINOv3, and any four-level timm model.

Every backbone maps [N,3,H,W] to four feature maps, shallow to deep.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import timm
import torch
import torch.nn as nn

from .swin import Swin


@dataclass(frozen=True)
class Backbone:
    """How to build an encoder, and what it gives.

    channels: of the four levels, shallow to deep, for one scale of the image.
    build: stochastic depth rate -> module.
    pyramid: True where the levels stand at strides 4, 8, 16, 32; False for a plain ViT (all at stride 16), which a neck
        then turns into a pyramid.
    smallest: side in pixels below which some level of the half-size copy would vanish.
    multiple: of which sides must be, that it takes the half-size copy too.
    """

    channels: tuple[int, int, int, int]
    build: Callable[[float], nn.Module]
    pyramid: bool = True
    smallest: int = 32
    multiple: int = 32


def find_backbone(name: str) -> Backbone:
    """The registered backbone `name`, or the timm model of `timm:<model>`. ValueError lists what there is."""
    if name in BACKBONES:
        return BACKBONES[name]
    if name.startswith("timm:"):
        return _timm_backbone(name.removeprefix("timm:"))
    raise ValueError(f"unknown backbone '{name}': use one of {', '.join(BACKBONES)}, or timm:<model name>")


class Stages(nn.Module):
    """A convolutional backbone as four stages run one after the other."""

    def __init__(self, *stages: nn.Module):
        super().__init__()
        self.stages = nn.ModuleList(stages)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        levels = []
        for stage in self.stages:
            x = stage(x)
            levels.append(x)
        return levels


class TimmFeatures(nn.Module):
    """One of timm's `features_only` models, whatever its memory layout."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model
        # timm's Swin, MambaOut and others give [N,H,W,C] and say so.
        self.channels_last = str(getattr(model, "output_fmt", "NCHW")).endswith("NHWC")

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        levels = self.model(x)
        return [level.permute(0, 3, 1, 2) for level in levels] if self.channels_last else levels


def _swin(channels: int, depth: int, heads: int, window: int) -> Backbone:
    return Backbone(
        channels=tuple(channels << i for i in range(4)),
        build=lambda rate: Swin(channels, (2, 2, depth, 2), tuple(heads << i for i in range(4)), window, rate),
    )


def _pvt(variant: str, channels: tuple[int, int, int, int]) -> Backbone:
    def build(rate: float) -> nn.Module:
        model = timm.create_model(f"pvt_v2_{variant}", num_classes=0, drop_path_rate=rate)
        first, *rest = model.stages
        return Stages(nn.Sequential(model.patch_embed, first), *rest)

    return Backbone(channels, build, smallest=64)  # the first attention pools 8 x 8


def _resnet50(rate: float) -> nn.Module:
    model = timm.create_model("resnet50", num_classes=0, drop_path_rate=rate)
    stem = nn.Sequential(model.conv1, model.bn1, model.act1, model.maxpool, model.layer1)
    return Stages(stem, model.layer2, model.layer3, model.layer4)


def _vgg(model_name: str, ends: tuple[int, int, int, int]) -> Callable[[float], nn.Module]:
    """Cut after the pooling layers: strides 4, 8, 16, 32."""

    def build(rate: float) -> nn.Module:
        features = timm.create_model(model_name, num_classes=0).features
        return Stages(*(features[start:end] for start, end in zip((0, *ends), ends)))

    return build


def _dinov3(variant: str, channels: int, levels: tuple[int, int, int, int]) -> Backbone:
    def build(rate: float) -> nn.Module:
        name = f"vit_{variant}_patch16_dinov3.lvd1689m"
        return timm.create_model(
            name, features_only=True, out_indices=levels, dynamic_img_size=True, drop_path_rate=rate
        )

    return Backbone((channels,) * 4, build, pyramid=False)


MULTIPLES = 64, 448, 512, 768  # the last three: of windows of 7, 8 and 12 pixels at stride 32


@cache
def _timm_backbone(name: str) -> Backbone:
    if not timm.is_model(name):
        close = timm.list_models(f"*{name}*")[:5]
        raise ValueError(f"timm has no model '{name}'" + (f"; did you mean {', '.join(close)}?" if close else ""))
    with torch.device("meta"):
        model = _features(name)
    info = model.feature_info
    levels = {stride: i for i, stride in enumerate(info.reduction())}
    if not {4, 8, 16, 32} <= set(levels):
        raise ValueError(f"timm:{name} has levels at strides {info.reduction()}; BiRefNet needs 4, 8, 16 and 32")
    smallest, multiple = _sides(model, name)
    indices = tuple(levels[stride] for stride in (4, 8, 16, 32))
    channels = tuple(info.channels()[i] for i in indices)

    def build(rate: float) -> nn.Module:
        options = {"drop_path_rate": rate} if rate else {}  # not every model knows it
        return TimmFeatures(_features(name, out_indices=indices, **options))

    return Backbone(channels, build, smallest=smallest, multiple=multiple)


def _sides(model: nn.Module, name: str) -> tuple[int, int]:
    """The smallest side of a picture, and of what sides must be multiples, for a model to take its half-size copy too.
    ValueError where it takes one size alone."""
    if _takes(model, 16):  # and 48 then, as do all of 253 families of timm's; each look takes 70 ms of every load
        return 32, 32
    if _takes(model, 48):
        return 64, 32
    for multiple in MULTIPLES:
        if _takes(model, multiple // 2) and _takes(model, 3 * multiple // 2):
            return multiple, multiple
    raise ValueError(f"timm:{name} takes pictures of one size alone; BiRefNet shows its encoder a half-size copy too")


def _takes(model: nn.Module, side: int) -> bool:
    """Whether a model without values has something left at its deepest level for an image of this size."""
    try:
        return all(level.numel() for level in model.eval()(torch.zeros(1, 3, side, side, device="meta")))
    except (RuntimeError, ValueError, AssertionError):
        return False


def _features(name: str, **options) -> nn.Module:
    """timm's feature extractor, for any input size."""
    try:
        return timm.create_model(name, features_only=True, strict_img_size=False, **options)
    except TypeError:  # convolutional models take any size and do not know the option
        return timm.create_model(name, features_only=True, **options)


BACKBONES = {
    "swin_v1_t": _swin(96, 6, 3, 7),
    "swin_v1_s": _swin(96, 18, 3, 7),
    "swin_v1_b": _swin(128, 18, 4, 12),
    "swin_v1_l": _swin(192, 18, 6, 12),
    "pvt_v2_b0": _pvt("b0", (32, 64, 160, 256)),
    "pvt_v2_b1": _pvt("b1", (64, 128, 320, 512)),
    "pvt_v2_b2": _pvt("b2", (64, 128, 320, 512)),
    "pvt_v2_b5": _pvt("b5", (64, 128, 320, 512)),
    "resnet50": Backbone((256, 512, 1024, 2048), _resnet50),
    "vgg16": Backbone((128, 256, 512, 512), _vgg("vgg16", (10, 17, 24, 31)), smallest=64),
    "vgg16bn": Backbone((128, 256, 512, 512), _vgg("vgg16_bn", (14, 24, 34, 44)), smallest=64),
    "dino_v3_s": _dinov3("small", 384, (3, 5, 7, 11)),
    "dino_v3_s_plus": _dinov3("small_plus", 384, (3, 5, 7, 11)),
    "dino_v3_b": _dinov3("base", 768, (3, 5, 7, 11)),
    "dino_v3_l": _dinov3("large", 1024, (5, 11, 17, 23)),
    "dino_v3_h_plus": _dinov3("huge_plus", 1280, (7, 15, 23, 31)),
    "dino_v3_7b": _dinov3("7b", 4096, (9, 19, 29, 39)),
}
