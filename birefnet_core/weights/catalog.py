"""The published BiRefNet weights: what each one is, where it lies on the hub, and how it wants its images.

The table holds no hash and no revision: a download takes both from the hub (see ``download.py``). Patch order follows
the date of training: upstream changed the channel order of the decoder's image patches on 2024-11-05. Rows that nobody
could confirm say "auto", so that the weights themselves decide. The model cards tag the ZhengPeng7 weights MIT; some of
the data they were trained on has research-only terms of its own.

Left out: ViperYX/BiRefNet (ep480, DIS_ep580), an older architecture that this network cannot load.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import PurePath, PurePosixPath

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
LARGEST_EDGE_RADIUS = 64  # pixels
ONNX_COMMUNITY = "onnx-community/"  # a hub account of graphs made from others' weights


@dataclass(frozen=True)
class ModelSpec:
    """What one needs to know to use a set of weights.

    Attributes:
        name: published name, or the file's name without its ending.
        backbone: as ``build_network`` takes it, for example "swin_v1_l".
        size: (width, height) in pixels the model was trained at; None for dynamic models, which take the image's own.
        mean, std: per colour channel (red, green, blue), for images in 0..1.
        edge_radius: in pixels as the network sees them, how far edges are drawn after the picture (matting/edges.py),
            at most LARGEST_EDGE_RADIUS; 0: they are as the network gives them, as with all published models.
        task: "general", "matting", "portrait", "DIS", "HRSOD" or "COD".
        patch_order: "2024" (column, row, colour), "2025" (colour, row, column) or "auto" (not known).
        licence: of the weights, as their page states it; empty if unknown.
        source: hub repository or training recipe the weights come from; empty if unknown.
        note: what a user should know before choosing it; empty if nothing.
    """

    name: str
    backbone: str
    size: tuple[int, int] | None
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    edge_radius: int = 0
    task: str = "general"
    patch_order: str = "auto"
    licence: str = ""
    source: str = ""
    note: str = ""


@dataclass(frozen=True)
class Published:
    """A row of the table: a model, and the file of a hub repository that holds it."""

    spec: ModelSpec
    repository: str
    filename: str = "model.safetensors"
    aliases: tuple[str, ...] = ()

    @property
    def file_name(self) -> str:
        """The file's name on our side: the published name with the ending of the hub's file."""
        return self.spec.name + PurePosixPath(self.filename).suffix


def find(name: str) -> Published:
    """The row for a published name, a repository ("ZhengPeng7/BiRefNet_HR") or an alias ("BiRefNet_T"), in any case.

    Raises:
        ValueError: no such model; the message lists the closest names.
    """
    row = _ROWS_BY_NAME.get(name.strip().casefold())
    if row is None and name.strip().casefold().startswith(ONNX_COMMUNITY):
        model = name.strip()[len(ONNX_COMMUNITY) :]
        model = model[: -len("-ONNX")] if model.casefold().endswith("-onnx") else model
        row = _ROWS_BY_NAME.get(model.casefold())
        instead = f"use {row.spec.name}, the weights it was made from" if row else "use the weights it was made from"
        raise ValueError(f"{name.strip()} holds ONNX graphs for onnxruntime and transformers.js: {instead}.")
    if row is None:
        close = difflib.get_close_matches(name.strip().casefold(), _ROWS_BY_NAME, n=5, cutoff=0.5)
        names = list(dict.fromkeys(_ROWS_BY_NAME[match].spec.name for match in close))
        hint = f"Did you mean {', '.join(names)}?" if names else f"Published are {', '.join(_names())}."
        raise ValueError(f"No published model is called {name!r}. {hint}")
    return row


def by_file(path: PurePath) -> Published | None:
    """The row of a file, by its name: ours, another pack's ("General-HR.safetensors"), or the hub's in a folder that is
    called as the model ("RMBG-2.0/model.safetensors") or in the hub's own cache ("models--briaai--RMBG-2.0/snapshots/
    .../model.safetensors"). None for any other.

    Names are compared with their case: ComfyUI's own "birefnet.safetensors" is not known to be "BiRefNet".
    """
    elsewhere = _ELSEWHERE.get(path.stem) if path.suffix == ".safetensors" else None
    for row in _TABLE:
        cache = f"models--{row.repository.replace('/', '--')}"
        of_the_hub = path.parent.name == row.spec.name or cache in path.parts
        if (
            path.name == row.file_name
            or row.spec.name == elsewhere
            or (of_the_hub and path.name == PurePosixPath(row.filename).name)
        ):
            return row
    return None


def published() -> tuple[Published, ...]:
    """All rows, the author's own models first."""
    return _TABLE


def _names() -> list[str]:
    return [row.spec.name for row in _TABLE]


def _upstream(name, backbone, side, task, patch_order, *, note="", aliases=()) -> Published:
    """A row of the network's author, whose repositories are named as the models and hold one model.safetensors."""
    size = (side, side) if isinstance(side, int) else side
    repository = f"ZhengPeng7/{name}"
    spec = ModelSpec(
        name, backbone, size, task=task, patch_order=patch_order, licence="MIT", source=repository, note=note
    )
    return Published(spec, repository, aliases=aliases)


def _derived(name, repository, filename, patch_order, *, licence="MIT", note="") -> Published:
    """A row of somebody else's repository: all of them are Swin-L at 1024 x 1024."""
    spec = ModelSpec(
        name, "swin_v1_l", (1024, 1024), patch_order=patch_order, licence=licence, source=repository, note=note
    )
    return Published(spec, repository, filename)


_TABLE = (
    _upstream("BiRefNet", "swin_v1_l", 1024, "general", "2024"),
    _upstream("BiRefNet_lite", "swin_v1_t", 1024, "general", "2024", aliases=("BiRefNet_T", "ZhengPeng7/BiRefNet_T")),
    _upstream("BiRefNet_lite-2K", "swin_v1_t", (2560, 1440), "general", "2024"),
    _upstream("BiRefNet_512x512", "swin_v1_l", 512, "general", "2025"),
    _upstream("BiRefNet_HR", "swin_v1_l", 2048, "general", "2025", note="Poor below its own 2048 x 2048."),
    _upstream("BiRefNet_dynamic", "swin_v1_l", None, "general", "2025"),
    _upstream("BiRefNet-matting", "swin_v1_l", 1024, "matting", "2024"),
    _upstream("BiRefNet_lite-matting", "swin_v1_t", 1024, "matting", "auto"),
    _upstream("BiRefNet_HR-matting", "swin_v1_l", 2048, "matting", "2025", note="Poor below its own 2048 x 2048."),
    _upstream("BiRefNet_dynamic-matting", "swin_v1_l", None, "matting", "2025"),
    _upstream("BiRefNet-portrait", "swin_v1_l", 1024, "portrait", "2024"),
    _upstream("BiRefNet-DIS5K", "swin_v1_l", 1024, "DIS", "2024"),
    _upstream("BiRefNet-DIS5K-TR_TEs", "swin_v1_l", 1024, "DIS", "2024"),
    _upstream("BiRefNet-HRSOD", "swin_v1_l", 1024, "HRSOD", "2024"),
    _upstream("BiRefNet-COD", "swin_v1_l", 1024, "COD", "2024"),
    _upstream("BiRefNet-legacy", "swin_v1_l", 1024, "general", "2024", note="Trained without portraits."),
    _upstream("BiRefNet-massive", "swin_v1_l", 1024, "general", "2024", note="Its hub page is not confirmed."),
    _derived(
        "RMBG-2.0",
        "briaai/RMBG-2.0",
        "model.safetensors",
        "2024",
        licence="bria-rmbg-2.0",
        note="Non-commercial use only. Gated: accept its licence and give a token. Hard edges, no transparency.",
    ),
    _derived("ToonOut", "joelseytre/toonout", "birefnet_finetuned_toonout.pth", "auto", note="For anime characters."),
    _derived(
        "Lucida",
        "egeorcun/lucida",
        "model.safetensors",
        "2025",
        note="For glass, camouflage, lettering, glow and illustrations. Its author lists research-only training data.",
    ),
    # ComfyUI's own copies, on the hub "birefnet" and "lucida": names here must differ in more than case, for Windows.
    _derived(
        "BiRefNet-ComfyOrg",
        "Comfy-Org/BiRefNet",
        "background_removal/birefnet.safetensors",
        "auto",
        note="The copy that ComfyUI's own templates use.",
    ),
    _derived(
        "Lucida-ComfyOrg",
        "Comfy-Org/BiRefNet",
        "background_removal/lucida.safetensors",
        "auto",
        note="A copy of Lucida of July 2026; Lucida itself may be newer.",
    ),
)

# What two other ComfyUI packs, ComfyUI_BiRefNet_ll and ComfyUI-RMBG, call the files they fetch.
_ELSEWHERE = {
    "General": "BiRefNet",
    "General-HR": "BiRefNet_HR",
    "General-Lite": "BiRefNet_lite",
    "General-Lite-2K": "BiRefNet_lite-2K",
    "General-dynamic": "BiRefNet_dynamic",
    "General-legacy": "BiRefNet-legacy",
    "General-reso_512": "BiRefNet_512x512",
    "Matting": "BiRefNet-matting",
    "Matting-HR": "BiRefNet_HR-matting",
    "Matting-Lite": "BiRefNet_lite-matting",
    "Portrait": "BiRefNet-portrait",
    "DIS": "BiRefNet-DIS5K",
    "DIS-TR_TEs": "BiRefNet-DIS5K-TR_TEs",
    "HRSOD": "BiRefNet-HRSOD",
    "COD": "BiRefNet-COD",
    "BiRefNet-general": "BiRefNet",
    "BiRefNet-HR": "BiRefNet_HR",
    "BiRefNet-HR-matting": "BiRefNet_HR-matting",
    "BiRefNet_toonout": "ToonOut",
}

# Backwards, so that of two files in one repository the first answers to the repository's name.
_ROWS_BY_NAME = {
    key.casefold(): row
    for row in reversed(_TABLE)
    for key in (row.spec.name, row.repository, f"{row.repository}/{row.filename}", *row.aliases)
}
