"""Segment: the mask of the subject in every image of a batch, or of that which a hint names."""

from __future__ import annotations

import logging
from typing import Any

from torch import Tensor

from . import host
from .declared import as_declared

LARGEST_SIDE = 4096
OWN_SIZE = 0  # the size of the weights, ModelSpec.size

EDGE_RADIUS = (
    "INT",
    {
        "default": 0,
        "min": 0,
        "max": 64,
        "advanced": True,
        "tooltip": "How far drawn edges may move, in pixels at the model's size. 0: the model's own, else 6.",
    },
)


class Segment:
    DESCRIPTION = (
        "Finds the subject of each image. The mask is 1 on the subject and 0 on the background, as that of ComfyUI's "
        "own Remove Background; inverted_mask is the other way round, as Join Image with Alpha and nodes that repaint "
        "the background want it. Which subject, if there are several? A hint or boxes say it."
    )
    SEARCH_ALIASES = (
        "birefnet",
        "remove background",
        "rembg",
        "rmbg",
        "matting",
        "cut out",
        "subject mask",
        "alpha",
        "which subject",
        "segment anything",
    )
    CATEGORY = "BiRefNet"
    FUNCTION = "segment"
    RETURN_TYPES = ("MASK", "MASK")
    RETURN_NAMES = ("mask", "inverted_mask")
    OUTPUT_TOOLTIPS = (
        "1 = subject, 0 = background. For Apply Mask (BiRefNet) and Image Composite Masked.",
        "1 = background, 0 = subject. For Join Image with Alpha, Set Latent Noise Mask and inpainting.",
    )

    @classmethod
    def INPUT_TYPES(cls):
        side = {"default": OWN_SIZE, "min": 0, "max": LARGEST_SIDE, "step": 32}
        return {
            "required": {
                "model": (
                    "BACKGROUND_REMOVAL",
                    {"tooltip": "From Load BiRefNet, or from ComfyUI's own Load Background Removal Model."},
                ),
                "image": ("IMAGE", {"tooltip": "One image or a batch. A fourth channel is ignored."}),
            },
            "optional": {
                "width": (
                    "INT",
                    {
                        **side,
                        "tooltip": "At which the model sees the image; the mask has the image's own size. 0: as height "
                        "if that is set, else what the model was trained for, which is nearly always best.",
                    },
                ),
                "height": ("INT", {**side, "tooltip": "As width. 0: as width if that is set, else the model's own."}),
                "mode": (
                    ["whole", "locate", "detail"],
                    {
                        "default": "whole",
                        "tooltip": "whole: one look at the image. locate: finds the subject first, then looks at it "
                        "closely; for small subjects in large images. detail: finds edges, hair and thin things again "
                        "in the image's own pixels; for images much larger than what the model sees, before even "
                        "backgrounds. Before busy ones it gains nothing.",
                    },
                ),
                "batch_size": (
                    "INT",
                    {
                        "default": 0,
                        "min": 0,
                        "max": 64,
                        "advanced": True,
                        "tooltip": "Images at once. 0: what free memory allows. Halved when memory runs out.",
                    },
                ),
                "hint": (
                    "MASK",
                    {
                        "tooltip": "Which subject, where there are several: 1 = belongs to it. A mask of SAM 3, what "
                        "was painted in Load Image's mask editor, a scribble, a line around it or a dot, of any size; "
                        "one for all images or one each. The model looks closely there, and only what belongs to it "
                        "stays, with its whole soft edge. Nothing connected: everything salient."
                    },
                ),
                "boxes": (
                    "BOUNDING_BOX",
                    {
                        "forceInput": True,
                        "tooltip": "Which subject, by boxes around it, from Create Bounding Boxes or a detector. The "
                        "boxes of an image are one hint together, and what hint marks is asked for as well. A list of "
                        "boxes serves all images; a list of lists has one for each.",
                    },
                ),
                "edges": (
                    ["auto", "off", "drawn"],
                    {
                        "default": "auto",
                        "advanced": True,
                        "tooltip": "auto: as the model has them. drawn: after the image's own pixels, for any model, "
                        "where the image is larger than what the model sees. off: as the model gives them, scaled.",
                    },
                ),
                "edge_radius": EDGE_RADIUS,
            },
        }

    @as_declared
    def segment(
        self,
        model,
        image: Tensor,
        width: int = OWN_SIZE,
        height: int = OWN_SIZE,
        mode: str = "whole",
        batch_size: int = 0,
        hint: Tensor | None = None,
        boxes: Any = None,
        edges: str = "auto",
        edge_radius: int = 0,
    ) -> tuple[Tensor, Tensor]:
        from ..birefnet_core.matting.size import idle_radius
        from .hints import hint_from
        from .managed import drawn_radius, predictor

        asked_for = hint_from(hint, boxes, image)
        size = (width or height, height or width) if width or height else None
        model = predictor(model)
        if idle := idle_radius(edges, edge_radius or None, drawn_radius(model)):
            host.say(f"Segment: {idle}", logging.WARNING)
        with host.progress(len(image)) as bar:
            alpha = model.predict(
                image, size, batch_size or None, mode, bar.report, asked_for, edges, edge_radius or None
            )
        mask = host.output(alpha)
        return mask, 1 - mask
