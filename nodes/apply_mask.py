"""Apply Mask: cut the subject out of every image, clean its edges, put it on something else."""

from __future__ import annotations

import logging
from functools import partial

import torch
from torch import Tensor

from . import host
from .declared import as_declared

NO_MASK = (64, 64)  # ComfyUI's Load Image gives zeros of this size for a file without transparency


class ApplyMask:
    DESCRIPTION = (
        "Cuts the subject out with a mask that is 1 on it, and puts it on a colour or on other images. The mask is "
        "worked on in this order: invert, levels (black and white point), keep largest, fill holes, despeckle, grow, "
        "choke, feather. Clean foreground takes the old background's colour out of hair and soft edges, despill a "
        "green or blue screen's light off the subject too."
    )
    SEARCH_ALIASES = (
        "birefnet",
        "remove background",
        "composite",
        "cut out",
        "replace background",
        "refine foreground",
        "color decontamination",
        "halo",
        "feather mask",
        "grow mask",
        "mask levels",
        "fill holes",
        "despill",
        "spill suppression",
        "green screen",
        "despeckle",
        "choke",
        "rgba",
    )
    CATEGORY = "BiRefNet"
    FUNCTION = "apply_mask"
    RETURN_TYPES = ("IMAGE", "IMAGE", "IMAGE", "MASK")
    RETURN_NAMES = ("composite", "cutout", "foreground", "mask")
    OUTPUT_TOOLTIPS = (
        "RGB: the subject on the background; on black where that is transparent. For nodes that drop alpha, as VAE "
        "Encode does.",
        "RGBA with straight alpha. Save Image writes it with transparency.",
        "RGB: the subject's colours, which go on beyond its edge. For compositing by hand with the mask.",
        "The mask as it was applied, 1 = subject, in the size of the image.",
    )

    @classmethod
    def INPUT_TYPES(cls):
        point = {"min": 0.0, "max": 1.0, "step": 0.01, "advanced": True}
        return {
            "required": {
                "image": (
                    "IMAGE",
                    {
                        "tooltip": "One image or a batch. Of an image with alpha (straight) the colours are taken as "
                        "pure: clean_foreground leaves them where the mask is not lower than it."
                    },
                ),
                "mask": (
                    "MASK",
                    {
                        "tooltip": "1 = subject, as from Segment (BiRefNet). Masks of another size are resized; one "
                        "mask serves all images, one image all masks. The empty 64 x 64 mask that Load "
                        "Image gives for a file without transparency means no mask: everything is kept."
                    },
                ),
            },
            "optional": {
                "background": (
                    ["transparent", "colour", "image"],
                    {
                        "default": "transparent",
                        "tooltip": "What composite shows behind the subject. transparent: black, since composite has "
                        "no alpha; take cutout for transparency.",
                    },
                ),
                "colour": (
                    "STRING",
                    {"default": "#ffffff", "tooltip": "For background colour: #rrggbb, #rgb or a name such as white."},
                ),
                "background_image": (
                    "IMAGE",
                    {
                        "tooltip": "For background image: scaled to cover the image, what juts out is cut off. A batch "
                        "is used in turn and starts again when there are fewer backgrounds than images; one image with "
                        "one mask goes on each of them."
                    },
                ),
                "clean_foreground": (
                    "BOOLEAN",
                    {
                        "default": True,
                        "tooltip": "Estimate the subject's own colours in soft edges, where the image shows a mixture "
                        "with the old background (the halo). Off: the image's colours as they are, which can be better "
                        "when the mask is wrong there.",
                    },
                ),
                "black_point": ("FLOAT", {"default": 0.0, **point, "tooltip": "Mask values up to this become 0."}),
                "white_point": (
                    "FLOAT",
                    {
                        "default": 1.0,
                        **point,
                        "tooltip": "Mask values from this on become 1. The same as black_point: a hard mask.",
                    },
                ),
                "grow": (
                    "INT",
                    {
                        "default": 0,
                        "min": -1024,
                        "max": 1024,
                        "tooltip": "Pixels to grow the mask by; negative shrinks.",
                    },
                ),
                "feather": (
                    "FLOAT",
                    {
                        "default": 0.0,
                        "min": 0.0,
                        "max": 1024.0,
                        "step": 0.5,
                        "tooltip": "Soften the edge over about this many pixels to either side.",
                    },
                ),
                "fill_holes": (
                    "BOOLEAN",
                    {"default": False, "tooltip": "Fill what the subject encloses and the frame does not cut off."},
                ),
                "keep_largest": (
                    "BOOLEAN",
                    {"default": False, "tooltip": "Keep the largest connected piece only, with its soft edge."},
                ),
                "invert": ("BOOLEAN", {"default": False, "tooltip": "For masks that are 1 on the background."}),
                "despill": (
                    ["off", "auto", "green", "blue"],
                    {
                        "default": "off",
                        "tooltip": "Takes the light of a green or blue screen off the subject: out of soft edges and "
                        "reflections; luminance stays, and so does what is green or blue itself, as far as that can "
                        "be told. auto: as the background shows; without a screen nothing changes.",
                    },
                ),
                "despill_strength": (
                    "FLOAT",
                    {
                        "default": 1.0,
                        "min": 0.0,
                        "max": 1.0,
                        "step": 0.05,
                        "tooltip": "How much of the screen's colour despill takes out.",
                    },
                ),
                "despeckle": (
                    "INT",
                    {
                        "default": 0,
                        "min": 0,
                        "max": 1_000_000,
                        "tooltip": "Removes pieces of fewer pixels than this, and fills holes of fewer.",
                    },
                ),
                "choke": (
                    "FLOAT",
                    {
                        "default": 0.0,
                        "min": -1.0,
                        "max": 1.0,
                        "step": 0.05,
                        "tooltip": "Moves soft edges inwards and keeps them soft: what is solid stays, what is soft "
                        "becomes more transparent, and hair is not eaten as grow below 0 does. Negative: outwards.",
                    },
                ),
            },
        }

    @as_declared
    def apply_mask(
        self,
        image: Tensor,
        mask: Tensor,
        background: str = "transparent",
        colour: str = "#ffffff",
        background_image: Tensor | None = None,
        clean_foreground: bool = True,
        black_point: float = 0.0,
        white_point: float = 1.0,
        grow: int = 0,
        feather: float = 0.0,
        fill_holes: bool = False,
        keep_largest: bool = False,
        invert: bool = False,
        despill: str = "off",
        despill_strength: float = 1.0,
        despeckle: int = 0,
        choke: float = 0.0,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        from ..birefnet_core.matting import compose, masks
        from ..birefnet_core.matting.despill import take_spill
        from ..birefnet_core.matting.foreground import estimate_foreground
        from ..birefnet_core.matting.screen import find_screen
        from ..birefnet_core.matting.screens_asked import none_to_despill
        from ..birefnet_core.matting.tensors import check_images, unit

        check_images(image, alpha=True)
        height, width = image.shape[1:3]
        given = masks.checked_masks(mask)
        if is_no_mask(given, (height, width)):
            given, invert = torch.ones_like(given[:1]), False
        behind = _background(background, colour, background_image)
        count = _count(len(image), len(given), len(behind) if isinstance(behind, Tensor) else 1)
        without = set()  # images that show no screen

        def apply(index: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
            """Composite [H, W, 3], cut-out [H, W, 4] of one image."""
            own_image = image[index % len(image), None].to(device)
            pixels, own = unit(own_image[..., :3]), unit(own_image[..., 3]) if image.shape[3] == 4 else None
            matte = masks.fit(given[index % len(given), None].to(device), height, width)
            matte = 1 - matte if invert else matte
            matte = masks.levels(matte, black_point, white_point)
            matte = masks.keep_largest(matte) if keep_largest else matte
            matte = masks.fill_holes(matte) if fill_holes else matte
            matte = masks.despeckle(matte, despeckle)
            matte = masks.choke(masks.grow(matte, grow), choke)
            # Before the feather: a feathered mask does not say which pixels are mixtures.
            screen = find_screen(pixels[0], matte[0], despill)
            if despill != "off" and not (screen and screen.seen):
                without.add(index)
            mixtures = pixels
            pixels = estimate_foreground(mixtures, matte, own) if clean_foreground else mixtures
            if screen is not None and despill_strength > 0:
                clean, pixels = pixels[0] if clean_foreground else None, torch.empty_like(mixtures)
                take_spill(mixtures[0], matte[0], screen, despill_strength, foreground=clean, out=pixels[0])
            matte = masks.feather(matte, feather)
            under = behind
            if isinstance(behind, Tensor):
                under = compose.cover(compose.on_black(behind[index % len(behind), None].to(device)), height, width)
            return compose.over(pixels, matte, under)[0], torch.cat([pixels, matte[..., None]], 3)[0]

        like = host.output(torch.empty(0))
        composites, cutouts, foregrounds = (like.new_empty(count, height, width, channels) for channels in (3, 4, 3))
        mattes = like.new_empty(count, height, width)
        device = host.compute_device()
        with host.progress(count) as bar:
            for index in range(count):
                (composite, cutout), device = host.computed(partial(apply, index), device)
                composites[index], cutouts[index] = composite, cutout
                foregrounds[index], mattes[index] = cutout[..., :3], cutout[..., 3]
                bar.update()
        if without:
            text = f"{len(without)} of {count} images show {none_to_despill(despill)}"
            host.say(f"Apply Mask: {text}", logging.WARNING)
        return composites, cutouts, foregrounds, mattes


def is_no_mask(mask: Tensor, size: tuple[int, int]) -> bool:
    """Whether mask [B, H, W] is what Load Image gives for a file without transparency, of that size (height, width)."""
    return tuple(mask.shape[1:]) == NO_MASK != size and not mask.any()


def _background(background: str, colour: str, background_image: Tensor | None) -> tuple[float, float, float] | Tensor:
    """A colour, or images [B, H, W, 3|4]. ValueError when the inputs do not give what `background` asks for."""
    from ..birefnet_core.matting.colour_names import parse_colour

    if background == "transparent":
        return (0.0, 0.0, 0.0)
    if background == "colour":
        return parse_colour(colour)
    if background_image is None:
        raise ValueError(
            "background is image, but nothing is connected to background_image: connect one, or choose colour"
        )
    check_background(background_image)
    return background_image


def check_background(images: Tensor) -> None:
    """ValueError unless images can be what shows behind a subject: [B, H, W, 3|4], one at least."""
    from ..birefnet_core.matting.tensors import check_images

    try:
        check_images(images, alpha=True)
    except ValueError as error:
        raise ValueError(f"background_image: {error}") from None
    if not len(images):
        raise ValueError("background_image is an empty batch")


def _count(images: int, masks: int, backgrounds: int) -> int:
    """How many results there are: as many as images; one image goes with each mask, and both on each background."""
    if images == 1:
        return masks if masks > 1 else backgrounds
    if masks not in (1, images):
        if masks < images:
            text = "the masks start again after the last"
        else:
            text = "the last mask is left out" if masks - images == 1 else f"the last {masks - images} are left out"
        host.say(f"Apply Mask: {images} images but {masks} masks; {text}", logging.WARNING)
    return images
