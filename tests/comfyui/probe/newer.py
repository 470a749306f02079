"""Stand-ins for what ComfyUI has newer than any whole tree at hand: its Remove Background of November 2026, the model
that goes with it, and VIDEOs whose crops and resizes wait until frames are asked for."""

import importlib.util
from pathlib import Path

import torch
from comfy_api.latest import Input


def _edited_video():
    """The stand-in, whose file needs nothing of ComfyUI. The probe is a link; its real place is beside that file."""
    path = Path(__file__).resolve().parents[1] / "edited_video.py"
    spec = importlib.util.spec_from_file_location("probe_edited_video", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


edited_video = _edited_video()


class Edited(edited_video.EditedVideo, Input.Video):
    """With ComfyUI's fallbacks behind it."""


class NewRemoveBackground:
    """ComfyUI's own node: always sends a size, 1024 unless somebody chose another."""

    CATEGORY, FUNCTION, RETURN_TYPES = "probe", "remove", ("MASK",)

    @classmethod
    def INPUT_TYPES(cls):
        side = {"default": 1024, "min": 256, "max": 4096, "step": 32, "advanced": True}
        return {
            "required": {"bg_removal_model": ("BACKGROUND_REMOVAL", {}), "image": ("IMAGE", {})},
            "optional": {"resolution": ("INT", side)},
        }

    def remove(self, bg_removal_model, image, resolution=1024):
        return (bg_removal_model.encode_image(image, image_size=resolution),)


class NewNativeModel:
    """A native model as it answers now: encode_image(image, image_size=None). `model`: one of this version's own; none:
    a stand-in whose mask is the image's mean at the size it was asked for, 1024 by itself."""

    CATEGORY, FUNCTION, RETURN_TYPES = "probe", "make", ("BACKGROUND_REMOVAL",)

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {}, "optional": {"model": ("BACKGROUND_REMOVAL", {})}}

    def make(self, model=None):
        return (_Native(model),)


class _Native:
    def __init__(self, model):
        self._model = model
        self.image_size = 1024

    def encode_image(self, image, image_size=None):
        side = image_size or self.image_size
        if self._model is not None:
            before, self._model.image_size = self._model.image_size, side
            try:
                return self._model.encode_image(image)
            finally:
                self._model.image_size = before
        seen = torch.nn.functional.interpolate(image.movedim(-1, 1), (side, side), mode="area")
        seen = torch.nn.functional.interpolate(seen, image.shape[1:3], mode="nearest")
        return seen.mean(1)


class EditedClip:
    """input/<name> as Load Video, Video Slice, Crop Video and Resize hand it on: trimmed, then cropped to x, y, width,
    height (0: not), then resized by a factor."""

    CATEGORY, FUNCTION, RETURN_TYPES = "probe", "edit", ("VIDEO",)

    @classmethod
    def INPUT_TYPES(cls):
        numbers = {name: ("INT", {"default": 0}) for name in ("x", "y", "width", "height")}
        times = {name: ("FLOAT", {"default": 0.0}) for name in ("start", "duration")}
        return {
            "required": {"name": ("STRING", {})},
            "optional": {**numbers, **times, "scale": ("INT", {"default": 1})},
        }

    def edit(self, name, x=0, y=0, width=0, height=0, start=0.0, duration=0.0, scale=1):
        import folder_paths

        edits = []
        if width and height:
            edits.append(edited_video.cropped(x, y, width, height))
        if scale != 1:
            edits.append(lambda p: edited_video.resized(p.shape[1] * scale, p.shape[0] * scale)(p))
        return (Edited(f"{folder_paths.get_input_directory()}/{name}", start, duration, tuple(edits)),)


NODES = (NewRemoveBackground, NewNativeModel, EditedClip)
