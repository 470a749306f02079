"""Animated pictures that FFmpeg does not read as clips: through Pillow, into a clip without loss."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

from ..memory import free_memory

SHOWN = 100  # milliseconds, of frames that do not say how long; as browsers take them
MOVING = (".webp", ".avif")  # suffixes of pictures that may be animations
ANIMATED = ("GIF", "PNG", "WEBP", "AVIF")  # by Pillow's names; several pictures in one of other kinds do not move
TICK = Fraction(1, 1000)
FRAME_BYTES = 20  # of memory a pixel, to decode, convert and encode one frame


def is_animation(file: BinaryIO) -> bool:
    """Whether a file is an animated WebP or AVIF, by its first bytes."""
    head = file.read(32)
    webp = head[:4] == b"RIFF" and head[8:16] == b"WEBPVP8X" and head[20] & 2
    return bool(webp) or head[4:12] == b"ftypavis"


def moves(path: Path) -> bool:
    """Whether a file is an animated picture, whatever its suffix; not for what Pillow cannot read."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            return image.format in ANIMATED and getattr(image, "n_frames", 1) > 1
    except Exception:  # of damaged files Pillow raises nearly anything; who reads them says what is wrong
        return False


def as_clip(file: BinaryIO) -> bytes | None:
    """A Matroska file of the same frames, times and transparency; None for a single picture, and for what the installed
    Pillow cannot read. Of damaged files Pillow raises nearly anything; ValueError when the clip would not fit in
    memory, in which it is made."""
    import av
    import numpy as np
    from PIL import Image, UnidentifiedImageError

    try:
        image = Image.open(file)
    except UnidentifiedImageError:
        return None
    if getattr(image, "n_frames", 1) < 2:
        return None
    made = io.BytesIO()
    with av.open(made, "w", format="matroska") as container:
        stream = container.add_stream("ffv1", rate=1000)
        stream.width, stream.height = image.size
        stream.pix_fmt = "bgra" if "A" in image.mode or "transparency" in image.info else "bgr0"
        stream.codec_context.time_base = TICK
        begins = 0
        for index in range(image.n_frames):
            _check_memory(image.size)
            image.seek(index)
            frame = av.VideoFrame.from_ndarray(np.asarray(image.convert("RGBA")), format="rgba")
            frame = frame.reformat(format=stream.pix_fmt)
            length = round(image.info.get("duration") or SHOWN)
            frame.pts, frame.time_base = begins, TICK
            for packet in stream.encode(frame):
                packet.duration = length
                container.mux(packet)
            begins += length
        container.mux(stream.encode(None))
    return made.getvalue()  # no copy: Python hands out the buffer itself


def _check_memory(size: tuple[int, int]) -> None:
    """ValueError when there is not enough memory for one more frame."""
    need, free = size[0] * size[1] * FRAME_BYTES, free_memory()
    if free is not None and need > free:
        raise ValueError(f"its frames of {size[0]} x {size[1]} pixels do not fit in memory: make it shorter or smaller")
