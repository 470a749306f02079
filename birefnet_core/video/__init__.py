"""Clips: reading exactly the frames asked for, matting them as they stream, writing them with alpha or on a background.

    from birefnet_core.video import Clip, matte_clip
    matte_clip(Clip("clip.mp4"), "cutout.mov", model.predict, format="prores")

Names are imported on first use, and so is PyAV.
"""

from ..lazy import importer

_HOMES = {
    "Asked": ".asked",
    "Batch": ".batch",
    "Clip": ".read",
    "ClipInfo": ".source",
    "FORMATS": ".formats",
    "Format": ".formats",
    "Frame": ".read",
    "Look": ".matte",
    "Progress": ".matte",
    "Span": ".read",
    "Stopped": ".matte",
    "VideoError": ".source",
    "evened": ".even",
    "matte_clip": ".matte",
    "read_batch": ".batch",
    "tell_uneven": ".even",
}
__all__ = sorted(_HOMES)
__getattr__ = importer(__name__, _HOMES)
