"""Nodes of other BiRefNet packs that stand one to one for one of ours. Where such a node is missing, ComfyUI (0.25 and
later) offers ours in its place, and runs prompts that name it; a node that is installed is never replaced.

Left as they are: nodes that do two of our nodes' work at once (RembgByBiRefNet, RembgByBiRefNetAdvanced, BiRefNet_Zho,
BiRefNet_Hugo, BiRefNetRMBG, and viperyl's BiRefNet, which loads its model itself). The blueprint "Cut Out Subject" does
what they do.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from . import host


@dataclass(frozen=True)
class Replacement:
    """old, new: node ids. widgets: the old node's widgets in the order in which workflows hold their values.
    inputs: ours -> the old node's; each of those is required there, for ComfyUI wants to find it.
    outputs: index of the old output -> index of ours. Inputs that are not named have our default.
    """

    old: str
    new: str
    widgets: tuple[str, ...]
    inputs: dict[str, str]
    outputs: dict[int, int] = field(default_factory=lambda: {0: 0})


REPLACEMENTS = (
    # lldacing/ComfyUI_BiRefNet_ll
    Replacement(
        old="AutoDownloadBiRefNetModel",
        new="LoadBiRefNet",
        widgets=("model_name", "device", "dtype"),
        inputs={"model": "model_name", "device": "device"},
    ),
    Replacement(
        old="LoadRembgByBiRefNetModel",
        new="LoadBiRefNet",
        widgets=("model", "device", "use_weight", "dtype"),
        inputs={"model": "model", "device": "device"},
    ),
    Replacement(  # its mask, too, is 1 on the subject; upscale_method and mask_threshold have no counterpart
        old="GetMaskByBiRefNet",
        new="BiRefNetSegment",
        widgets=("width", "height", "upscale_method", "mask_threshold"),
        inputs={"model": "model", "image": "images", "width": "width", "height": "height"},
    ),
    Replacement(  # its image is RGBA unless it fills with a colour
        old="BlurFusionForegroundEstimation",
        new="BiRefNetApplyMask",
        widgets=("blur_size", "blur_size_two", "fill_color", "color"),
        inputs={"image": "images", "mask": "masks"},
        outputs={0: 1, 1: 3},
    ),
    # ZHO-ZHO-ZHO/ComfyUI-BiRefNet-ZHO
    Replacement(
        old="BiRefNet_ModelLoader_Zho",
        new="LoadBiRefNet",
        widgets=("birefnet_model",),
        inputs={"model": "birefnet_model"},
    ),
)


def register() -> None:
    """Tells ComfyUI of them, where it knows such things."""
    for row in REPLACEMENTS:
        host.offer_replacement(
            old_node_id=row.old,
            new_node_id=row.new,
            old_widget_ids=list(row.widgets),
            input_mapping=[{"new_id": new, "old_id": old} for new, old in row.inputs.items()],
            output_mapping=[{"old_idx": old, "new_idx": new} for old, new in row.outputs.items()],
        )
