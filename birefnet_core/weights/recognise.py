"""What a weight file holds, from its keys and shapes alone: for files whose metadata name no architecture of ours."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from ..network.architecture import Architecture

_DEEPEST_BLOCK = "squeeze_module.0.conv_in.weight"
_ALWAYS = (_DEEPEST_BLOCK, "squeeze_module.0.conv_out.weight", "decoder.conv_out1.0.weight")
_SEE_THE_PICTURE = (
    *("bb.patch_embed.proj.weight", "bb.patch_embed1.proj.weight"),
    *("bb.conv1.0.weight", "bb.model.patch_embed.proj.weight"),
)
_PARTS_OF_OTHERS = {
    "stage1.rebnconvin.conv_s1.weight": "U2Net or ISNet (RMBG-1.4) weights",
    "encoder.patch_embed.backbone.proj.weight": "InSPyReNet weights",
    "multifieldcrossatt.attention.0.in_proj_weight": "MVANet or BEN weights",
    "model.diffusion_model.input_blocks.0.0.weight": "a stable diffusion checkpoint",
    "image_encoder.patch_embed.proj.weight": "segment-anything weights",
}

Weights = Mapping[str, torch.Tensor]


def recognise(weights: Weights) -> Architecture:
    """The architecture of a published-layout state dict. ValueError says in one sentence what else it is."""
    if not all(key in weights and weights[key].ndim == 4 for key in _ALWAYS):
        raise ValueError(_describe_other(weights))
    if "decoder.ipt_blk4.conv1.weight" in weights and "decoder.ipt_blk5.conv1.weight" not in weights:
        raise ValueError(
            "this is the older BiRefNet architecture of early 2024 (ep480, DIS_ep580), which the published code can no "
            "longer load either: use BiRefNet or BiRefNet-DIS5K instead"
        )
    backbone = _recognise_backbone(weights)

    def width(key: str, default: int) -> int:
        return weights[key].shape[0] if key in weights else default

    defaults = Architecture()
    deep = weights["squeeze_module.0.conv_out.weight"].shape[0]
    return Architecture(
        backbone=backbone,
        image_pyramid=deep == 2 * _deepest_channels(backbone),
        context_fusion=weights[_DEEPEST_BLOCK].shape[1] > deep,
        reconstruction="decoder.decoder_block1.dec_att.conv1.weight" in weights,
        inward_reference="decoder.ipt_blk5.conv1.weight" in weights,
        outward_reference="decoder.gdt_convs_attn_4.0.weight" in weights,
        multi_stage_supervision="decoder.conv_ms_spvn_4.weight" in weights,
        classes=width("cls_head.0.weight", 0),
        block_channels=width(_DEEPEST_BLOCK, defaults.block_channels),
        branch_channels=width("squeeze_module.0.dec_att.global_avg_pool.1.weight", defaults.branch_channels),
        inward_channels=width("decoder.ipt_blk5.conv1.weight", defaults.inward_channels),
        hint=takes_hint(weights),
    )


def takes_hint(weights: Weights) -> bool:
    """Whether a published-layout state dict on one of the published backbones is of a network that takes a hint."""
    return any(weights[key].shape[1:2] == (4,) for key in _SEE_THE_PICTURE if key in weights)


def _recognise_backbone(weights: Weights) -> str:
    """By the first convolution's width and, where that is not enough, by depth."""

    def channels(key: str) -> int:
        return weights[key].shape[0] if key in weights else 0

    def count(prefix: str) -> int:
        return len({key[len(prefix) :].split(".")[0] for key in weights if key.startswith(prefix)})

    swin = {(96, 6): "swin_v1_t", (96, 18): "swin_v1_s", (128, 18): "swin_v1_b", (192, 18): "swin_v1_l"}
    pvt = {(32, 2): "pvt_v2_b0", (64, 2): "pvt_v2_b1", (64, 3): "pvt_v2_b2"}
    dino = {
        (384, 12, False): "dino_v3_s",
        (384, 12, True): "dino_v3_s_plus",
        (768, 12, False): "dino_v3_b",
        (1024, 24, False): "dino_v3_l",
        (1280, 32, True): "dino_v3_h_plus",
        (4096, 40, True): "dino_v3_7b",
    }
    gated = any(".mlp.fc1_g." in key or ".mlp.w1." in key for key in weights)
    found = (
        swin.get((channels("bb.patch_embed.proj.weight"), count("bb.layers.2.blocks.")))
        or pvt.get((channels("bb.patch_embed1.proj.weight"), count("bb.block4.")))
        or dino.get(
            (
                channels("bb.model.cls_token") and weights["bb.model.cls_token"].shape[-1],
                count("bb.model.blocks."),
                gated,
            )
        )
    )
    if found == "pvt_v2_b2" and count("bb.block3.") > 6:
        found = "pvt_v2_b5"
    if not found and "bb.conv1.4.0.conv1.weight" in weights:
        found = "resnet50"
    if not found and channels("bb.conv1.0.weight") == 64 and "bb.conv4.40.weight" in weights:
        found = "vgg16bn"
    if not found and channels("bb.conv1.0.weight") == 64 and "bb.conv4.28.weight" in weights:
        found = "vgg16"
    if not found:
        raise ValueError(
            "this is a BiRefNet on a backbone that its keys do not tell: files saved by this suite name it in their "
            "metadata"
        )
    return found


def _deepest_channels(backbone: str) -> int:
    from ..network.backbones import find_backbone

    return find_backbone(backbone).channels[-1]


def _describe_other(weights: Weights) -> str:
    swin_only = (
        any(key.endswith("relative_position_bias_table") for key in weights) and "patch_embed.proj.weight" in weights
    )
    if swin_only or "patch_embed1.proj.weight" in weights:
        return (
            "this file holds only a backbone (for training), not a whole BiRefNet: give it to train.py, and load a "
            "whole BiRefNet here"
        )
    for key, what in _PARTS_OF_OTHERS.items():
        if key in weights:
            return f"these are {what}, not a BiRefNet"
    if not weights:
        return "this file holds no tensors"
    keys = ", ".join(sorted(weights)[:3])
    return f"this is not a BiRefNet in the published layout (its keys begin with {keys})"
