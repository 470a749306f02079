"""Segment: the mask of the subject in every image of a batch."""

from __future__ import annotations

from torch import Tensor

from . import host

LARGEST_SIDE = 4096


class Segment:
    DESCRIPTION = (
        "Finds the subject of each image. The mask is 1 on the subject and 0 on the background, as that of ComfyUI's "
        "own Remove Background; inverted_mask is the other way round, as Join Image with Alpha and nodes that repaint "
        "the background want it."
    )
    SEARCH_ALIASES = ("birefnet", "remove background", "rembg", "rmbg", "matting", "cut out", "subject mask", "alpha")
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
        side = {"default": 0, "min": 0, "max": LARGEST_SIDE, "step": 32}
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
                    ["whole", "locate"],
                    {
                        "default": "whole",
                        "tooltip": "whole: one look at the image. locate: finds the subject first, then looks at it "
                        "closely; for small subjects in large images.",
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
            },
        }

    def segment(
        self, model, image: Tensor, width: int = 0, height: int = 0, mode: str = "whole", batch_size: int = 0
    ) -> tuple[Tensor, Tensor]:
        from .managed import predictor

        size = (width or height, height or width) if width or height else None
        with host.progress(len(image)) as bar:
            alpha = predictor(model).predict(image, size, batch_size or None, mode, bar.report)
        mask = host.output(alpha)
        return mask, 1 - mask
