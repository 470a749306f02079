"""Load BiRefNet: the bundled model, weight files on disk, and published models that are fetched on first use."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path, PurePath
from typing import Any

import torch

from ..birefnet_core.weights.catalog import by_file, published
from . import host
from .declared import as_declared

BUNDLED = "bundled"
PUBLISHED = {row.spec.name: row.file_name for row in published()}
NO_DEVICE = "device must be auto, cpu or a GPU such as gpu:0, not {!r}"
PRECISIONS = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


class LoadBiRefNet:
    DESCRIPTION = (
        "Loads a model that cuts subjects out of images. The bundled one is small and works offline at once; weight "
        "files are found in models/background_removal, models/BiRefNet and models/RMBG; published models that are not "
        "there yet are downloaded when they are used first. The result also fits ComfyUI's own Remove Background."
    )
    SEARCH_ALIASES = ("birefnet", "rmbg", "remove background", "background removal", "matting", "load matting model")
    CATEGORY = "BiRefNet"
    FUNCTION = "load"
    RETURN_TYPES = ("BACKGROUND_REMOVAL",)
    RETURN_NAMES = ("model",)
    OUTPUT_TOOLTIPS = ("For Segment (BiRefNet), Matte Video (BiRefNet), or ComfyUI's own Remove Background.",)

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "model": (
                    model_names(),
                    {
                        "tooltip": "bundled: small, offline. Then your files. Then the published models: each is "
                        "downloaded into models/background_removal when it is used first. lite and 512: fast; HR: for "
                        "large images; matting and portrait: soft edges, hair. RMBG-2.0 is non-commercial."
                    },
                ),
            },
            "optional": {
                "device": (
                    ["auto", "cpu", *host.gpus()],
                    {
                        "default": "auto",
                        "tooltip": "auto: the device ComfyUI computes on. cpu: leaves the GPU alone. gpu:0, gpu:1 and "
                        "so on, where there are several: that one.",
                    },
                ),
                "precision": (
                    ["auto", *PRECISIONS],
                    {
                        "default": "auto",
                        "tooltip": "auto: half precision where the device is fast and right at it, else fp32.",
                    },
                ),
                "compile": (
                    "BOOLEAN",
                    {
                        "default": False,
                        "advanced": True,
                        "tooltip": "torch.compile: the first image of each size takes minutes, later ones are faster.",
                    },
                ),
                "patch_order": (
                    ["auto", "2024", "2025"],
                    {
                        "default": "auto",
                        "advanced": True,
                        "tooltip": "Channel order of the decoder's image patches: weights trained before November 2024 "
                        "need 2024, later ones 2025. auto decides by the file; change it if edges look torn.",
                    },
                ),
            },
        }

    @classmethod
    def VALIDATE_INPUTS(cls, model: str | None = BUNDLED, device: str | None = "auto") -> bool | str:
        """In place of ComfyUI's own look at the lists. A workflow made where there are more GPUs runs here too, as with
        ComfyUI's own nodes; `load` says so. Names of other packs are taken, which workflows bring along whose loader
        ours replaces. What another node gives is not known yet, and None: `load` looks at it."""
        if model is not None and our_name(model) not in model_names():
            return f"there is no model {model!r}: choose one of the list, or press R if its file has just been added"
        return True if device is None or is_device(device) else NO_DEVICE.format(device)

    @classmethod
    def IS_CHANGED(cls, model: str | None, **_) -> str:
        """A file that was replaced is loaded again. Not a published one: its download would make the next run start
        over, and its content is checked. Nor what another node gives, which is None here."""
        model = our_name(model)
        path = None if model in PUBLISHED else on_disk(model)
        return str(path.stat().st_mtime_ns) if path is not None else ""

    @as_declared
    def load(
        self, model: str, device: str = "auto", precision: str = "auto", compile: bool = False, patch_order="auto"
    ):
        from ..birefnet_core.matting.load import load_model  # imports timm
        from ..birefnet_core.weights.load import PatchOrderWarning  # imports timm
        from .managed import ManagedModel

        if not is_device(device):
            raise ValueError(NO_DEVICE.format(device))
        model = our_name(model)
        where = host.named_device(device.lower())
        dtype = PRECISIONS.get(precision) or host.compute_dtype(where)
        name = model if model == BUNDLED else find(model)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", PatchOrderWarning)
            loaded = load_model(name, device="cpu", dtype=dtype, patch_order=patch_order)
        for warning in caught:
            if warning.category is PatchOrderWarning:  # a wrong guess gives wrong pictures: say it on the node
                host.say(str(warning.message), logging.WARNING)
            else:
                warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
        spec = loaded.spec
        facts = [
            spec.backbone,
            f"{spec.size[0]} x {spec.size[1]}" if spec.size else "any size",
            spec.licence,
            spec.note,
        ]
        host.say(f"{spec.name}: {', '.join(fact for fact in facts if fact)}")
        return (ManagedModel(loaded, where, compiled=compile),)


def model_names() -> list[str]:
    """The bundled model, the files that are there, and all published models. The latter without a suffix: ComfyUI's
    frontend takes a file name in this list for a file that is there, and would not offer to download it."""
    return [BUNDLED, *host.model_files(), *PUBLISHED]


def is_device(name: Any) -> bool:
    return isinstance(name, str) and (name.lower() in ("auto", "cpu") or name.startswith("gpu:"))


def our_name(name: str) -> str:
    """One of `model_names` for what another pack's loader calls a published model ("General-HR"); other names as they
    are."""
    row = None if name in model_names() else by_file(PurePath(f"{name}.safetensors"))
    return name if row is None else row.spec.name


def on_disk(name: str) -> Path | None:
    """The weight file of one of `model_names`, if it is there; for a published one wherever in the model folders it
    lies, under its own name or, as other packs fetch it, under theirs."""
    files = host.model_files()
    if name in PUBLISHED:
        there = [file for file, path in files.items() if (row := by_file(path)) is not None and row.spec.name == name]
        name = min(there, key=lambda file: (files[file].name != PUBLISHED[name], len(file)), default=name)
    return files.get(name)


def find(name: str) -> Path:
    """The weight file of one of `model_names`, downloaded if need be. ValueError for any other name."""
    if name not in PUBLISHED:
        return host.model_path(name)
    if (path := on_disk(name)) is not None:
        return path
    from ..birefnet_core.weights.download import download

    with host.progress(1, unit="B") as bar:
        return download(name, host.model_folders()[0], on_progress=bar.report)
