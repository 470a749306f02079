"""Clips: reading exactly the frames asked for, matting them as they stream, writing them with alpha or on a background.

    from birefnet_core.video import Clip, matte_clip
    matte_clip(Clip("clip.mp4"), "cutout.mov", model.predict, format="prores")

PyAV is imported on first use.
"""

from .batch import Batch, read_batch
from .formats import FORMATS, Format
from .matte import Look, Progress, Stopped, matte_clip
from .read import Clip, Frame, Span
from .source import ClipInfo, VideoError

__all__ = [
    "FORMATS",
    "Batch",
    "Clip",
    "ClipInfo",
    "Format",
    "Frame",
    "Look",
    "Progress",
    "Span",
    "Stopped",
    "VideoError",
    "matte_clip",
    "read_batch",
]
