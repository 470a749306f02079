"""Matte Video: a whole clip to a matted one, written while it streams."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..birefnet_core.video.formats import FORMATS  # costs nothing
from . import host
from .apply_mask import check_background
from .declared import as_declared
from .segment import EDGE_RADIUS
from .video_input import open_video

PREVIEW_SIDE = 384  # pixels, of the clip shown in the browser
PLAYABLE = (".mp4", ".webm")  # by browsers


class MatteVideo:
    DESCRIPTION = (
        "Mattes a whole clip, however long, and writes the result into the output folder while it runs: with alpha as "
        "ProRes 4444, WebM, PNG or EXR pictures, animated WebP or PNG; or as H.264 on a colour, an image or another "
        "clip; or the mask alone. Sound and frame times stay as they are. When you stop it, what was done until then "
        "is kept as a playable file with .partial in its name. Which subject, if there are several? A hint or boxes "
        "say it."
    )
    SEARCH_ALIASES = (
        "birefnet", "video matting", "remove video background", "rembg video", "green screen", "prores", "alpha video",
        "rotoscope",
    )  # fmt: skip
    CATEGORY = "BiRefNet"
    FUNCTION = "matte"
    OUTPUT_NODE = True
    RETURN_TYPES = ("STRING", "VIDEO")
    RETURN_NAMES = ("path", "video")
    OUTPUT_TOOLTIPS = (
        "The file written; for png, png16 and exr the folder.",
        "The clip, for formats without alpha (h264, mask, side-by-side): nodes that take a VIDEO would drop the alpha.",
    )

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "video": ("VIDEO", {"tooltip": "From Load Video or any node that gives a VIDEO."}),
                "model": (
                    "BACKGROUND_REMOVAL",
                    {"tooltip": "From Load BiRefNet, or from ComfyUI's own Load Background Removal Model."},
                ),
            },
            "optional": {
                "format": (
                    list(FORMATS),
                    {
                        "default": "prores",
                        "tooltip": "prores: .mov with alpha for editing. webm: VP9 with alpha for the web. png, "
                        "png16: pictures with alpha. exr: pictures in linear light for compositors. webp, apng: "
                        "animated pictures with alpha. h264: .mp4 on the background. mask: .mp4 of the mask. "
                        "side-by-side: .mp4 of source, mask and cut-out, to check them.",
                    },
                ),
                "stabilise": (
                    "FLOAT",
                    {
                        "default": 0.0,
                        "min": 0.0,
                        "max": 1.0,
                        "step": 0.05,
                        "tooltip": "Takes flicker out by averaging each mask with those of the frames around it, as "
                        "far as the picture stands still or its motion can be followed. 0: every frame by itself; 0.8 "
                        "suits most clips.",
                    },
                ),
                "background_colour": (
                    "STRING",
                    {"default": "#00ff00", "tooltip": "Of format h264: #rrggbb or a name such as white."},
                ),
                "background_image": (
                    "IMAGE",
                    {
                        "tooltip": "Of format h264, in place of the colour; fills the frame. "
                        "Of a batch each frame takes one, over and over."
                    },
                ),
                "filename_prefix": (
                    "STRING",
                    {
                        "default": "video/BiRefNet",
                        "tooltip": "Folder and beginning of the name, in the output folder. %date:yyyy-MM-dd% is the "
                        "day.",
                    },
                ),
                "clean_foreground": (
                    "BOOLEAN",
                    {
                        "default": False,
                        "tooltip": "Takes the background's colour out of half-transparent pixels such as hair. Slower.",
                    },
                ),
                "invert": (
                    "BOOLEAN",
                    {"default": False, "advanced": True, "tooltip": "Keeps the background in place of the subject."},
                ),
                "sound": ("BOOLEAN", {"default": True, "advanced": True, "tooltip": "Carries the sound along."}),
                "mode": (
                    ["whole", "locate", "detail"],
                    {
                        "default": "whole",
                        "advanced": True,
                        "tooltip": "locate: finds the subject first, then looks at it closely; for small subjects. "
                        "detail: finds edges and hair again in the frame's own pixels; for large frames with even "
                        "backgrounds.",
                    },
                ),
                "size": (
                    "INT",
                    {
                        "default": 0,
                        "min": 0,
                        "max": 4096,
                        "step": 32,
                        "advanced": True,
                        "tooltip": "Side of the square at which the model sees frames. 0: what it was trained for.",
                    },
                ),
                "batch_size": (
                    "INT",
                    {
                        "default": 0,
                        "min": 0,
                        "max": 64,
                        "advanced": True,
                        "tooltip": "Frames at once. 0: what free memory allows. Halved when memory runs out.",
                    },
                ),
                "square_pixels": (
                    "BOOLEAN",
                    {
                        "default": False,
                        "advanced": True,
                        "tooltip": "Stretches the frames of clips whose pixels are not square. Off: the result has the "
                        "same pixels, as players know; programs that read frames or PNG pictures may not.",
                    },
                ),
                "hint": (
                    "MASK",
                    {
                        "tooltip": "Which subject, where there are several: 1 = belongs to it. A mask for each frame, "
                        "as SAM3_TrackToMask gives, or one for the first frame, which is then carried along, frame by "
                        "frame: it follows the subject past others and until it leaves. Any size; a scribble, a line "
                        "around it or a dot will do. Nothing connected: everything salient.",
                    },
                ),
                "after_cut": (
                    ["nothing", "everything"],
                    {
                        "default": "nothing",
                        "tooltip": "What is matted from the first cut on, where the hint of a first frame ends. A line "
                        "on the node says where that was.",
                    },
                ),
                "background_video": (
                    "VIDEO",
                    {
                        "tooltip": "Of format h264, in place of the colour: a clip, at its own rate, that starts over "
                        "at its end. Fills the frame. Not together with background_image."
                    },
                ),
                "alpha": (
                    ["auto", "straight", "premultiplied"],
                    {
                        "default": "auto",
                        "advanced": True,
                        "tooltip": "Whether colours are darkened by alpha, as compositors may want it. auto: in exr "
                        "they are, elsewhere not. prores and exr take either; other formats have straight alpha.",
                    },
                ),
                "edges": (
                    ["auto", "off", "drawn"],
                    {
                        "default": "auto",
                        "advanced": True,
                        "tooltip": "auto: as the model has them. drawn: after the frame's own pixels, for any model. "
                        "off: as the model gives them.",
                    },
                ),
                "screen": (
                    ["off", "auto", "green", "blue"],
                    {
                        "default": "off",
                        "tooltip": "For clips before a green or blue screen: hair, motion blur and glass come from the "
                        "screen's colour, the model's mask says what is surely subject and what is not; the screen's "
                        "light is taken out of the colours. auto: as the background shows. A frame that shows no "
                        "screen stays as it is.",
                    },
                ),
                "despill": (
                    ["off", "auto", "green", "blue"],
                    {
                        "default": "off",
                        "tooltip": "Takes a screen's light off the subject and leaves the mask as it is. screen does "
                        "that too; beside it this is for frames in which screen finds nothing.",
                    },
                ),
                "despill_strength": (
                    "FLOAT",
                    {
                        "default": 1.0,
                        "min": 0.0,
                        "max": 1.0,
                        "step": 0.05,
                        "advanced": True,
                        "tooltip": "How much of the screen's colour screen and despill take out of the colours.",
                    },
                ),
                "edge_radius": EDGE_RADIUS,
                "boxes": (
                    "BOUNDING_BOX",
                    {
                        "forceInput": True,
                        "tooltip": "Which subject, by boxes around it, from Create Bounding Boxes or a detector, in "
                        "pixels of the frame. A list of boxes is the first frame's, and is carried along as a hint is; "
                        "a list of lists has one for each frame. What hint marks is asked for as well.",
                    },
                ),
            },
            "hidden": {"prompt": "PROMPT", "extra_pnginfo": "EXTRA_PNGINFO"},
        }

    @as_declared
    @host.clip_notes()
    def matte(
        self,
        video: Any,
        model: Any,
        format: str = "prores",
        stabilise: float = 0.0,
        background_colour: str = "#00ff00",
        background_image: Tensor | None = None,
        filename_prefix: str = "video/BiRefNet",
        clean_foreground: bool = False,
        invert: bool = False,
        sound: bool = True,
        mode: str = "whole",
        size: int = 0,
        batch_size: int = 0,
        square_pixels: bool = False,
        hint: Tensor | None = None,
        after_cut: str = "nothing",
        background_video: Any = None,
        alpha: str = "auto",
        edges: str = "auto",
        screen: str = "off",
        despill: str = "off",
        despill_strength: float = 1.0,
        edge_radius: int = 0,
        boxes: Any = None,
        prompt: dict | None = None,
        extra_pnginfo: dict | None = None,
    ):
        from ..birefnet_core.matting.size import idle_radius
        from ..birefnet_core.video import Look, Span, matte_clip
        from ..birefnet_core.video.behind import Loop
        from ..birefnet_core.video.formats import find_format
        from ..birefnet_core.video.matte import BATCH, written_size
        from ..birefnet_core.video.notes import note
        from .hints import asked_of
        from .managed import drawn_radius, predictor

        chosen = find_format(format)
        if background_image is not None:
            check_background(background_image)
        clip, start, end = open_video(video)
        (width, height), _ = written_size(clip.info, chosen, square_pixels)
        asked = asked_of(hint, boxes, after_cut, (height, width))
        folder, name = host.output_place(filename_prefix, (width, height))
        model = predictor(model)
        seen = None if asked else seen_size(model, clip, size, mode)
        radius = idle_radius(edges, edge_radius or None, drawn_radius(model))
        behind = {"background_image": background_image, "background_video": background_video}
        for idle in (radius, *unseen(chosen, behind), idle_after_cut(after_cut, asked)):
            if idle:
                note(f"{clip.info.name}: {idle}")

        def matte(pixels: Tensor, hint: Tensor | None = None, hint_is: str = "anything") -> Tensor:
            at = seen or size or None
            return model.predict(pixels, at, batch_size or None, mode, check, hint, edges, edge_radius or None, hint_is)

        def check(done: int, total: int) -> None:
            host.check_interrupt()  # with a slow network a batch takes minutes

        background = background_colour if background_image is None else background_image
        if background_video is not None:
            if background_image is not None:
                raise ValueError("background_image and background_video are both connected: disconnect one")
            behind, since, until = open_video(background_video)
            background = Loop(behind, Span(start=since, end=until))
        playable = chosen.suffix in PLAYABLE
        with (
            interruptible(),
            host.progress(1, unit="frame") as bar,
            preview(clip, wanted=not playable) as small,
        ):

            def report(step) -> None:
                image = composite(step.pixels, step.alpha, clip)
                bar.report(step.done, step.total, Image.fromarray(image))
                small.write(image)

            path = matte_clip(
                clip,
                folder / (name + chosen.suffix),
                matte,
                format=chosen,
                size=seen,
                span=Span(start=start, end=end),
                look=Look(
                    stabilise,
                    background,
                    clean_foreground,
                    invert,
                    None if alpha == "auto" else alpha,
                    screen,
                    despill,
                    despill_strength,
                ),
                asked=asked,
                batch=max(BATCH, batch_size),
                sound=sound,
                square_pixels=square_pixels,
                metadata=metadata(prompt, extra_pnginfo),
                on_progress=report,
            )
        opaque = chosen.shows != "cutout"
        result = host.video_of(path) if opaque else host.blocked(f"format {format} carries alpha: use path, not video")
        return {"ui": shown(path, small.path), "result": (str(path), result)}


def shown(path: Path, preview: Path | None) -> dict[str, Any]:
    """What the browser shows on the node: the file written, or a preview where it would not play it. Then the file is
    named too, that ComfyUI's assets know it, under a key of which frontends put nothing on the node; of a folder of
    pictures the first one. The keys are always the same: ComfyUI joins what a list of clips gives by those of the
    first."""
    written = host.shown(min(path.glob("*.[pe]*"), default=path) if path.is_dir() else path, "output")
    if path.suffix in PLAYABLE:
        return {"images": [written], "animated": (True,), "files": []}
    images = [] if preview is None else [host.shown(preview, "temp")]
    return {"images": images, "animated": (True,) * len(images), "files": [written]}


def unseen(format: Any, behind: dict[str, Any]) -> list[str]:
    """What to say of each background by its input's name, where the format shows none."""
    names = [name for name, given in behind.items() if given is not None and format.shows != "composite"]
    return [f"{name} is not seen in {format.label}: choose the format h264, or disconnect it" for name in names]


def idle_after_cut(after_cut: str, asked: Any) -> str:
    """Why after_cut does nothing, "" where it does something or is as it is by itself."""
    if after_cut == "nothing" or (asked is not None and asked.carried):
        return ""
    why = "there is no hint" if asked is None else "each frame has its own hint"
    return f"after_cut {after_cut} does nothing, since {why}"


@contextmanager
def interruptible() -> Iterator[None]:
    """Gives ComfyUI what it knows where a run reports a failure: the stop itself, which it made a BaseException only
    later, and lack of memory as such, upon which it frees all models."""
    from ..birefnet_core.out_of_memory import OutOfMemoryError, is_out_of_memory
    from ..birefnet_core.video import Stopped

    try:
        yield
    except Stopped as error:
        if host.is_interrupt(error.__cause__):
            raise error.__cause__ from None
        if is_out_of_memory(error.__cause__):
            raise OutOfMemoryError(str(error)) from error.__cause__
        raise


def seen_size(model: Any, clip: Any, size: int, mode: str) -> tuple[int, int] | None:
    """(width, height) to which frames are shrunk before the model sees them; None: it takes whole frames."""
    from ..birefnet_core.matting.size import network_size

    if mode != "whole" or not hasattr(model, "spec"):
        return None
    return network_size(size or None, model.spec.size, clip.info.shown)


def metadata(prompt: dict | None, extra_pnginfo: dict | None) -> dict[str, str]:
    """The workflow, as ComfyUI writes it into its own videos."""
    if not host.keeps_metadata():
        return {}
    tags = dict(extra_pnginfo or {})
    if prompt is not None:
        tags["prompt"] = prompt
    return {key: json.dumps(value) for key, value in tags.items()}


def composite(pixels: Tensor, alpha: Tensor, clip: Any) -> np.ndarray:
    """A small picture of the cut-out on a checkerboard: uint8 [h, w, 3] with the clip's aspect and even sides."""
    from ..birefnet_core.matting.tensors import resize, unit
    from ..birefnet_core.video.paint import checkerboard

    width, height = preview_size(clip)
    rgba = torch.cat([unit(pixels), alpha[..., None]], dim=-1).permute(2, 0, 1)[None]
    rgba = resize(rgba, (height, width))[0].permute(1, 2, 0)
    behind = torch.from_numpy(checkerboard((width, height))).float() / 255
    return (torch.lerp(behind, rgba[..., :3], rgba[..., 3:]).clamp(0, 1) * 255).round().to(torch.uint8).numpy()


def preview_size(clip: Any) -> tuple[int, int]:
    """(width, height) with the clip's aspect, even, PREVIEW_SIDE at most."""
    from ..birefnet_core.video.batch import even

    sides = clip.info.shown
    return even(sides, min(1.0, PREVIEW_SIDE / max(sides)))


class Preview:
    """A small H.264 clip in the temporary folder, for formats that browsers do not play. path: once it is whole. Where
    it cannot be written the log says so, and the clip goes on without."""

    def __init__(self, begun: Callable[[], Any] | None = None) -> None:
        """begun: gives what writes it."""
        self.path: Path | None = None
        self._writer, self._count = None, 0
        if begun is not None:
            self._try(lambda: setattr(self, "_writer", begun()))

    def write(self, image: np.ndarray) -> None:
        if self._writer is not None:
            self._try(lambda: self._write(image))

    def _write(self, image: np.ndarray) -> None:
        import av

        from ..birefnet_core.video.colour import BT709, Colours, to_pixels

        frame = av.VideoFrame.from_ndarray(image, format="rgb24")
        self._writer.write(to_pixels(frame, "yuv420p", Colours(BT709, BT709, BT709)), self._count, 1)
        self._count += 1

    def finish(self) -> None:
        if self._writer is not None:
            self._try(lambda: setattr(self, "path", self._writer.finish()))

    def discard(self) -> None:
        if self._writer is not None:
            self._writer.discard()
            self._writer = None

    def _try(self, step: Callable[[], None]) -> None:
        try:
            step()
        except (OSError, RuntimeError, ValueError) as error:
            self.discard()
            host.say(f"no preview of the clip: {error} (in {host.temp_folder()})", logging.WARNING)


@contextmanager
def preview(clip: Any, wanted: bool) -> Iterator[Preview]:
    if not wanted:
        yield Preview()
        return
    from ..birefnet_core.video.colour import BT709, Colours
    from ..birefnet_core.video.formats import find_format
    from ..birefnet_core.video.write import Writer

    temp = host.temp_folder() / "BiRefNet"
    count = sum(1 for _ in temp.glob("preview_*.mp4")) if temp.is_dir() else 0
    made = Preview(
        lambda: Writer(
            temp / f"preview_{count + 1:05}.mp4",
            find_format("h264"),
            size=preview_size(clip),
            frame_rate=clip.info.frame_rate,
            time_base=Fraction(1) / clip.info.frame_rate,
            colours=Colours(BT709, BT709, BT709),
            overwrite=True,
        )
    )
    try:
        yield made
        made.finish()
    except BaseException:
        made.discard()
        raise
