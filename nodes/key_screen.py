"""Key Screen: the subject before a green or blue screen, its edges from the screen and its inside from a mask."""

from __future__ import annotations

import logging
from functools import partial

import torch
from torch import Tensor

from . import host
from .apply_mask import is_no_mask
from .declared import as_declared


class KeyScreen:
    DESCRIPTION = (
        "Keys a subject before a green or blue screen with the mask of Segment (BiRefNet) as its guide: hair, motion "
        "blur and glass come from the screen's colour, what is green on the subject and what stands beside it from the "
        "mask. The screen may be lit unevenly: its colour is found wherever the mask says background. The foreground "
        "has no screen's light left on it."
    )
    SEARCH_ALIASES = (
        "birefnet", "chroma key", "green screen", "blue screen", "keyer", "color key", "despill", "spill suppression",
    )  # fmt: skip
    CATEGORY = "BiRefNet"
    FUNCTION = "key"
    RETURN_TYPES = ("MASK", "IMAGE")
    RETURN_NAMES = ("mask", "foreground")
    OUTPUT_TOOLTIPS = (
        "1 = subject, in the size of the image. For Apply Mask (BiRefNet), with clean_foreground off.",
        "RGB: the subject's colours without the screen's. For Apply Mask (BiRefNet) in place of the image.",
    )

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "image": ("IMAGE", {"tooltip": "One image or a batch, shot before a green or blue screen."}),
                "mask": (
                    "MASK",
                    {
                        "tooltip": "1 = subject, as from Segment (BiRefNet). Masks of another size are resized; one "
                        "mask serves all images."
                    },
                ),
            },
            "optional": {
                "screen": (
                    ["auto", "green", "blue"],
                    {
                        "default": "auto",
                        "tooltip": "Its colour. auto: as the background shows. An image that shows no such screen "
                        "keeps its mask, and a note says so.",
                    },
                ),
                "despill": (
                    "FLOAT",
                    {
                        "default": 1.0,
                        "min": 0.0,
                        "max": 1.0,
                        "step": 0.05,
                        "tooltip": "How much of the screen's colour is taken out of the foreground. 0: the image's "
                        "colours as they are.",
                    },
                ),
            },
        }

    @as_declared
    def key(self, image: Tensor, mask: Tensor, screen: str = "auto", despill: float = 1.0) -> tuple[Tensor, Tensor]:
        from ..birefnet_core.matting import masks
        from ..birefnet_core.matting.key import key_before
        from ..birefnet_core.matting.screen import find_screen
        from ..birefnet_core.matting.screens_asked import none_seen
        from ..birefnet_core.matting.tensors import check_images, unit

        check_images(image)
        count, height, width = image.shape[:3]
        given = masks.checked_masks(mask)
        if is_no_mask(given, (height, width)):
            raise ValueError("the mask is the empty one of an image without transparency: connect Segment (BiRefNet)")
        if len(given) not in (1, count):
            raise ValueError(f"there are {count} images but {len(given)} masks: one, or one for each image")
        like, without = host.output(torch.empty(0)), set()
        mattes, foregrounds = like.new_empty(count, height, width), like.new_empty(count, height, width, 3)

        def keyed(index: int, device: torch.device) -> tuple[Tensor, Tensor]:
            pixels = unit(image[index, None, ..., :3].to(device))
            matte = unit(masks.fit(given[index % len(given), None].to(device), height, width))
            foreground = pixels.clone()
            found = find_screen(pixels[0], matte[0], screen)
            if found is None or not found.seen:
                without.add(index)
            else:
                key_before(found, pixels[0], matte[0], foreground[0], despill)
            return matte, foreground

        device = host.compute_device()
        with host.progress(count) as bar:
            for index in range(count):
                (matte, foreground), device = host.computed(partial(keyed, index), device)
                mattes[index], foregrounds[index] = matte[0], foreground[0]
                bar.update()
        if without:
            text = f"{len(without)} of {count} images show {none_seen(screen)}, and keep the mask"
            host.say(f"Key Screen: {text}", logging.WARNING)
        return mattes, foregrounds
