"""Split Subjects: a layer for each of the subjects of an image."""

from __future__ import annotations

import logging
from functools import partial
from typing import Any

import torch
from torch import Tensor

from . import host
from .declared import as_declared

MOST = 50  # layers that ComfyUI's Create Layered Image takes
MARGIN = 16  # pixels beyond the subject's edge that have its colours, for whoever scales a layer
LAYERS_NODE = "LayersFromBoundingBoxes"


class SplitSubjects:
    DESCRIPTION = (
        "Cuts each subject of an image out by itself: one layer a subject, with its own soft edge and clean colours. "
        "Which subjects: masks, as SAM 3 gives them one by one, or boxes; without them the pieces that the model "
        "finds. Connect layers and boxes to Layers From Bounding Boxes, and its output to Create Layered Image, to "
        "edit them and export a PSD."
    )
    SEARCH_ALIASES = ("birefnet", "layers", "psd", "individual masks", "instances", "segment anything", "separate")
    CATEGORY = "BiRefNet"
    FUNCTION = "split"
    RETURN_TYPES = ("IMAGE", "MASK", "BOUNDING_BOX")
    RETURN_NAMES = ("layers", "masks", "boxes")
    OUTPUT_TOOLTIPS = (
        "RGBA, one image a subject, each of the whole image's size. With boxes for Layers From Bounding Boxes, whose "
        "mask input then stays empty: transparency is in the layers already.",
        "1 = transparent, as Load Image gives masks and Join Image with Alpha takes them. One a subject.",
        "One box a layer, for Layers From Bounding Boxes: the layer's place, and as metadata its name, z_index and "
        "content_rect (left, top, width, height of the subject).",
    )

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "image": ("IMAGE", {"tooltip": "One image, not a batch. What is transparent in it stays so."}),
                "model": (
                    "BACKGROUND_REMOVAL",
                    {"tooltip": "From Load BiRefNet, or from ComfyUI's own Load Background Removal Model."},
                ),
            },
            "optional": {
                "masks": (
                    "MASK",
                    {
                        "tooltip": "One mask a subject, 1 = belongs to it, as SAM3 Detect gives them with "
                        "individual_masks. Each is a hint: the model draws the edge. The layers are in the same order."
                    },
                ),
                "boxes": (
                    "BOUNDING_BOX",
                    {
                        "forceInput": True,
                        "tooltip": "One box a subject, from Create Bounding Boxes or a detector. With masks connected "
                        "too, those say where the subjects are, and boxes only what they are called.",
                    },
                ),
                "count": (
                    "INT",
                    {
                        "default": 8,
                        "min": 1,
                        "max": MOST,
                        "tooltip": "Without masks and boxes: at most so many pieces, the largest first.",
                    },
                ),
            },
            "hidden": {"prompt": "PROMPT", "unique_id": "UNIQUE_ID"},
        }

    @as_declared
    def split(
        self,
        image: Tensor,
        model,
        masks: Tensor | None = None,
        boxes: Any = None,
        count: int = 8,
        prompt: dict | None = None,
        unique_id: str | None = None,
    ) -> tuple[Tensor, Tensor, list[list[dict]]]:
        from ..birefnet_core.matting.model import check_images
        from ..birefnet_core.matting.split import pieces
        from ..birefnet_core.matting.tensors import unit
        from .managed import predictor

        check_images(image, alpha=True)
        if len(image) != 1:
            raise ValueError(f"Split Subjects takes one image, not a batch of {len(image)}: choose one of them")
        if _counts_alpha_twice(prompt, unique_id):
            host.say(
                "Layers From Bounding Boxes gets layers and masks: disconnect the masks, or soft edges become thinner, "
                "for the layers are transparent already",
                logging.WARNING,
            )
        predict = predictor(model).predict
        hints, named = _hints(masks, boxes, (image.shape[2], image.shape[1]))
        with host.progress(1 if hints is None else len(hints)) as bar:
            if hints is None:
                alphas = pieces(predict(image, on_progress=bar.report)[0], count)
            else:
                alphas = _each(predict, image, hints, bar)
        if image.shape[3] == 4:
            alphas = alphas * unit(image[..., 3]).to(alphas)
        _say_what_is_odd(alphas)
        return _layers(image, alphas, named)


def _hints(masks: Tensor | None, boxes: Any, size: tuple[int, int]) -> tuple[Tensor | None, list[dict]]:
    """A hint for each subject, [N, h, w], and what each is said to be; None without masks and boxes. size: (width,
    height) of the image."""
    from ..birefnet_core.matting.hint import draw_boxes
    from ..birefnet_core.matting.masks import checked_masks
    from .apply_mask import is_no_mask
    from .boxes import parsed

    lists = [[]] if boxes is None else parsed(boxes, size)
    if len(lists) > 1:
        raise ValueError(f"{len(lists)} lists of boxes do not go with one image: give one list, a box a subject")
    [own] = lists
    named = [box.metadata for box in own]
    if masks is not None and not (isinstance(masks, Tensor) and masks.ndim > 2 and len(masks) == 0):
        masks = checked_masks(masks)
        if not is_no_mask(masks, (size[1], size[0])):
            if named and len(named) != len(masks):
                host.say(f"the names of {len(named)} boxes are left out: there are {len(masks)} masks", logging.WARNING)
            return masks, named if len(named) == len(masks) else [{}] * len(masks)
        masks = None
    if masks is None and boxes is None:
        return None, []
    drawn = [draw_boxes([box.pixels], size) for box in own]
    return torch.stack(drawn) if drawn else torch.zeros(0, *size[::-1]), named


def _each(predict, image: Tensor, hints: Tensor, bar: host.Progress) -> Tensor:
    """The alpha of each subject, [N, H, W], none of which claims a pixel of another."""
    from ..birefnet_core.matting.split import overlap, shared_out

    if not len(hints):
        return torch.zeros(0, *image.shape[1:3], device=image.device)
    if len(hints) > 1:  # a detector's; one alone may be painted
        predict = partial(predict, hint_is="mask")
    alphas = predict(image.expand(len(hints), -1, -1, -1), on_progress=bar.report, hint=hints)
    if not overlap(alphas):
        return alphas
    return shared_out(alphas, predict(image, hint=hints.amax(0, keepdim=True))[0])


def _say_what_is_odd(alphas: Tensor) -> None:
    """Say which layers are empty, and whether there are more than the next node takes. alphas: [N, H, W]."""
    from ..birefnet_core.matting.masks import FAINT

    empty = [str(index) for index, alpha in enumerate(alphas, 1) if not (alpha > FAINT).any()]
    if len(empty) == len(alphas):
        layers = "the only layer is" if len(alphas) < 2 else f"all {len(alphas)} layers are"
        host.say(f"Split Subjects found nothing: {layers} empty", logging.WARNING)
    elif empty:
        host.say(
            f"Split Subjects: of {len(alphas)} layers these are empty: {', '.join(empty)}. The model finds nothing "
            "there, or what it finds is another's",
            logging.WARNING,
        )
    if len(alphas) > MOST:
        host.say(f"Split Subjects gives {len(alphas)} layers; Create Layered Image takes {MOST}", logging.WARNING)


def _layers(image: Tensor, alphas: Tensor, named: list[dict]) -> tuple[Tensor, Tensor, list[list[dict]]]:
    """What the node gives, from the alpha of each subject [N, H, W] and what each is said to be."""
    from ..birefnet_core.matting.split import content_rect

    if not len(alphas):  # an empty batch would stop many a node
        alphas = alphas.new_zeros(1, *image.shape[1:3])
    rects = [content_rect(alpha) for alpha in alphas]
    layers, _ = host.computed(partial(_cut_out, image, alphas, rects), host.compute_device())
    width, height = image.shape[2], image.shape[1]
    boxes = []
    for index, rect in enumerate(rects):
        said = named[index] if index < len(named) else {}
        name = next((said[key] for key in ("name", "desc", "label") if said.get(key)), f"subject {index + 1}")
        # z_index 0 is left for a background. The box is that of the layer, which is as large as the image.
        metadata = {**said, "name": str(name), "z_index": index + 1, "content_rect": list(rect)}
        boxes.append({"x": 0, "y": 0, "width": width, "height": height, "metadata": metadata})
    return layers, 1 - layers[..., 3], [boxes]


def _cut_out(image: Tensor, alphas: Tensor, rects: list[tuple[int, int, int, int]], device: torch.device) -> Tensor:
    """The layers, [N, H, W, 4]: each subject's own colours, which go on beyond its edge for MARGIN pixels. rects:
    (left, top, width, height) of each subject. The work is done on `device`."""
    from ..birefnet_core.matting.foreground import estimate_foreground
    from ..birefnet_core.matting.masks import FAINT
    from ..birefnet_core.matting.tensors import unit

    layers = host.output(torch.empty(0)).new_zeros(*alphas.shape, 4)
    pixels, own = unit(image[..., :3].to(device)), unit(image[..., 3].to(device)) if image.shape[3] == 4 else None
    # Of all subjects at once, so that none is taken for the background that shines through another's edge.
    clean = estimate_foreground(pixels, alphas.sum(0, keepdim=True).clamp(max=1).to(device), own)[0]
    for layer, alpha, (left, top, width, height) in zip(layers, alphas, rects, strict=True):
        rows = slice(max(0, top - MARGIN), top + height + MARGIN)
        columns = slice(max(0, left - MARGIN), left + width + MARGIN)
        if width:
            seen = (alpha[rows, columns] > FAINT).to(device)
            layer[rows, columns, :3] = estimate_foreground(clean[None, rows, columns], seen[None])[0]
        layer[..., 3] = alpha
    return layers


def _counts_alpha_twice(prompt: dict | None, unique_id: str | None) -> bool:
    """Whether both the layers and the masks of this node go to one Layers From Bounding Boxes."""
    mine = [[str(unique_id), 0], [str(unique_id), 1]]
    return any(
        [node["inputs"].get("image"), node["inputs"].get("mask")] == mine
        for node in (prompt or {}).values()
        if node.get("class_type") == LAYERS_NODE
    )
