"""What a VIDEO wire brings: a clip to stream, with every edit that the video holds.

ComfyUI's own videos keep trims, since 0.35 crops and later resizes too, beside the file, whose stream knows nothing of
them. A trim is a window that we read within. For everything else, known to us or not, the edited frames are asked for.
"""

from __future__ import annotations

import inspect
import io
import math
import os
import uuid
import weakref
from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from . import host

if TYPE_CHECKING:
    from ..birefnet_core.video import Clip

NAMELESS = "the video"
# How ComfyUI is to write edited frames, as far as its version takes it: no loss, no matter the size of the file.
LOSSLESS = {"crf": 0, "preset": "ultrafast"}
RATE_ROUNDING = 0.01  # of a frame rate, and seconds of a length: what differs by less was rounded
LENGTH_ROUNDING = 0.05
# By get_color_space: colour primaries and transfer as H.273 numbers them.
HDR = {"HDR": (9, 18), "HDR PQ": (9, 16)}
NO_COLOURS = 2, 2  # not said


def open_video(video: Any) -> tuple[Clip, float, float | None]:
    """What a VIDEO wire brings -> the clip, and the seconds between which it is trimmed (None: to its end).

    ValueError, one sentence, for what is no video, and for edits that cannot be had.
    """
    from ..birefnet_core.video import Clip

    if isinstance(video, (str, os.PathLike, io.BytesIO)):
        return Clip(video, name=_name(video)), 0.0, None
    if not any(hasattr(video, name) for name in ("get_stream_source", "save_to", "get_components")):
        raise ValueError(f"{type(video).__name__} is not a VIDEO: connect Load Video or another node that gives one")
    if host.lies_in_memory(video):
        return _from_memory(video, NAMELESS, None), 0.0, None
    if parts := _parts(video):
        return _edited(video, NAMELESS, None, alpha=any(map(_has_alpha, parts))), 0.0, None
    source = _source(video)
    if source is None:
        return _edited(video, NAMELESS, None, alpha=True), 0.0, None
    clip = Clip(source, name=_name(source))
    window = None if _has_edits(video, clip) else _window(video, clip)
    if window is None:
        return _edited(video, clip.info.name, clip, alpha=clip.info.has_alpha), 0.0, None
    return clip, *window


def _parts(video: Any) -> list[Any]:
    """The VIDEOs that a video strings together, as Concatenate Video's does. What it gives as its stream it has encoded
    again, with loss, wherever one of them is trimmed, edited or of another kind."""
    parts = getattr(video, "videos", None)
    return list(parts) if isinstance(parts, (list, tuple)) else []


def _has_alpha(video: Any) -> bool:
    """Whether a video may have transparency: by the file behind it, or by its parts."""
    from ..birefnet_core.video import Clip

    if parts := _parts(video):
        return any(map(_has_alpha, parts))
    source = _source(video)
    return source is None or Clip(source, name=_name(source)).info.has_alpha


def _source(video: Any) -> str | os.PathLike | io.BytesIO | None:
    """The file or the bytes behind a video; None where there is none, or only a copy that saving would make."""
    if not _own(video, "get_stream_source"):
        return None
    try:
        source = video.get_stream_source()
    except Exception as error:
        if host.is_interrupt(error):
            raise
        return None
    return source if isinstance(source, (str, os.PathLike, io.BytesIO)) else None


def _name(source: Any) -> str:
    return NAMELESS if isinstance(source, io.BytesIO) else Path(source).name


def _own(video: Any, name: str) -> bool:
    """Whether the video's class answers this itself: ComfyUI's fallbacks save or decode the whole video."""
    base = host.video_base()
    method = getattr(type(video), name, None)
    return callable(getattr(video, name, None)) and (base is None or method is not getattr(base, name, None))


def _ask(video: Any, name: str) -> Any:
    """What the video says of itself; None where it does not tell."""
    if not _own(video, name):
        return None
    try:
        return getattr(video, name)()
    except Exception as error:
        if host.is_interrupt(error):
            raise
        return None


def _has_edits(video: Any, clip: Clip) -> bool:
    """Whether the video is another than its file: by its own word, or by its size or frame rate."""
    if any(_is_pending(video, name) for name in dir(video) if name.startswith("has_pending_")):
        return True
    with clip.source.open() as container:  # by its header, as ComfyUI tells them
        stream = next(iter(container.streams.video), None)
        stored = (stream.width, stream.height) if stream else None
        whole_rate = stream.average_rate if stream else None
    size, rate = _ask(video, "get_dimensions"), _ask(video, "get_frame_rate")
    if size is not None and tuple(size) not in (stored, (clip.info.width, clip.info.height)):
        return True
    return bool(rate and whole_rate) and abs(rate - whole_rate) > RATE_ROUNDING * whole_rate


def _is_pending(video: Any, name: str) -> bool:
    value = getattr(video, name)
    return bool(value() if callable(value) else value)


def _window(video: Any, clip: Clip) -> tuple[float, float | None] | None:
    """The seconds between which the file is still to be trimmed; None when the video's length tells of another edit."""
    start, length = (float(value or 0) for value in _ask(video, "get_active_trim_window") or (0, 0))
    window = start, start + length if length else None
    said, whole = _ask(video, "get_duration"), _length(clip)
    if said is None or not whole:
        return window
    trimmed = min(length or whole, whole - start)
    rounding = LENGTH_ROUNDING + 1 / clip.info.frame_rate
    if abs(said - trimmed) <= rounding:
        return window
    return (0.0, None) if abs(said - whole) <= rounding else None


def _length(clip: Clip) -> float:
    """Seconds, as ComfyUI counts them."""
    with clip.source.open() as container:
        return (container.duration or 0) / 1e6


def _edited(video: Any, name: str, clip: Clip | None, *, alpha: bool) -> Clip:
    """A copy of the video with its edits. clip: the file behind it, None where it has none. alpha: whether it may have
    transparency."""
    from ..birefnet_core.video.notes import note

    ways: dict[str, Callable[[Any, str, Clip | None], Clip]] = {"save_to": _saved, "get_components": _from_memory}
    order = list(ways)
    if alpha:  # what ComfyUI saves has none
        order.reverse()
    reasons = []
    for way in (way for way in order if callable(getattr(video, way, None))):
        try:
            copy = ways[way](video, name, clip)
            _check_size(video, copy)
        except Exception as error:
            if host.is_interrupt(error) or host.is_out_of_memory(error):
                raise
            reasons.append(" ".join(str(error).split()) or type(error).__name__)
            continue
        note(f"{name}: {_what_became(way, clip, copy)}")
        return copy
    reasons = reasons or [f"{type(video).__name__} has no save_to and no get_components"]
    raise ValueError(
        f"{name}: its frames with their edits cannot be had, save them as a file and load that ({'; '.join(reasons)})"
    )


def _what_became(way: str, clip: Clip | None, copy: Clip) -> str:
    """A sentence on a copy, and on what of the clip it is short of."""
    text = "ComfyUI encoded its frames again" if way == "save_to" else "all its frames were held in memory at once"
    text += " for this node" if clip is None else " with their edits for this node"
    lost = []
    if clip is not None:
        whole, made = clip.info, copy.info
        lost += ["its transparency"] if whole.has_alpha and not made.has_alpha else []
        lost += ["its sound"] if whole.has_audio and not made.has_audio else []
        lost += ["the uneven times of its frames"] if way == "get_components" and _is_uneven(clip) else []
        if whole.pixel_aspect != 1 and made.pixel_aspect == 1:
            lost.append(f"that its pixels are {float(whole.pixel_aspect):.3f} times as wide as high")
    return f"{text}, which lost {', '.join(lost)}" if lost else text


def _is_uneven(clip: Clip) -> bool:
    steps = [float((after - before) * clip.info.time_base) for before, after in pairwise(clip.times())]
    return bool(steps) and max(steps) - min(steps) > 0.5 / clip.info.frame_rate


def _check_size(video: Any, copy: Clip) -> None:
    """ValueError when a copy is not of the video's size: then it has not its edits. Encoders cut odd sides to even."""
    size = _ask(video, "get_dimensions")
    made = copy.info.width, copy.info.height
    if size is not None and all(
        any(abs(side - other) > 1 for side, other in zip(made, said)) for said in (size, size[::-1])
    ):
        raise ValueError(f"they came as {made[0]} x {made[1]} where the video says {size[0]} x {size[1]}")


def _saved(video: Any, name: str, clip: Clip | None) -> Clip:
    known = inspect.signature(video.save_to).parameters
    options = {key: value for key, value in LOSSLESS.items() if key in known}
    return _passing(name, ".mp4", lambda path: video.save_to(str(path), **options))


def _from_memory(video: Any, name: str, clip: Clip | None) -> Clip:
    """The frames that a video gives as tensors, in a lossless file. clip: the one behind it, None where it has none."""
    colours = HDR.get(_ask(video, "get_color_space"), NO_COLOURS)
    if clip is not None or _parts(video):
        _check_memory(video, clip)
    if clip is not None:
        colours = clip.info.primaries, clip.info.transfer
    components = video.get_components()
    return _passing(name, ".mkv", lambda path: write_components(path, components, colours))


def _passing(name: str, suffix: str, write: Callable[[Path], None]) -> Clip:
    """The clip that `write` makes, in a file that goes with it."""
    from ..birefnet_core.video import Clip

    path = host.temp_folder() / f"{uuid.uuid4().hex}{suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        write(path)
        clip = Clip(path, name=name)
    except BaseException:
        _remove(path)
        raise
    weakref.finalize(clip, _remove, path)
    return clip


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:  # still open, on Windows: ComfyUI empties the folder when it starts
        return


def _check_memory(video: Any, clip: Clip | None) -> None:
    """MemoryError when the video's frames, 4 x float32 a pixel, cannot be held twice, as ComfyUI does; as far as it, or
    the clip behind it, tells their number and size."""
    from ..birefnet_core.memory import free_memory

    name, most = NAMELESS, math.inf
    size, length, rate = (_ask(video, about) for about in ("get_dimensions", "get_duration", "get_frame_rate"))
    if clip is not None:
        name, most = clip.info.name, clip.info.frames
        size, rate = size or (clip.info.width, clip.info.height), clip.info.frame_rate
    count = min(most, math.inf if None in (length, rate) else length * float(rate))
    if not size or count == math.inf:
        return
    need, free = 32 * count * size[0] * size[1], free_memory()
    if free is not None and need > free:
        raise MemoryError(
            f"{name}: ComfyUI gives its edited frames with transparency only all at once, which takes "
            f"{need / 2**30:.1f} GiB of memory where {free / 2**30:.1f} GiB are free: trim it, or edit the file itself"
        )


def write_components(path: Path, components: Any, colours: tuple[int, int]) -> None:
    """Writes ComfyUI's VideoComponents as FFV1 in Matroska: images [B, H, W, 3|4] 0..1 in 16 bits, alpha [B, H, W] or
    [B, H, W, 1] if there is any, sound as it is. colours: primaries and transfer (H.273) that the images have.
    ValueError without frames."""
    import av

    images, alpha, audio = (getattr(components, part, None) for part in ("images", "alpha", "audio"))
    if images is None or not len(images):
        raise ValueError("the video has no frames")
    has_alpha = alpha is not None or images.shape[-1] == 4
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=Fraction(components.frame_rate).limit_denominator(100_000))
        stream.height, stream.width = images.shape[1:3]
        stream.pix_fmt = "gbrap16le" if has_alpha else "gbrp16le"
        stream.codec_context.color_primaries, stream.codec_context.color_trc = colours
        sound = _add_sound(container, audio)
        for index, image in enumerate(images):
            host.check_interrupt()
            pixels = image.float().cpu().numpy()
            if alpha is not None:
                matte = alpha[index].float().cpu().numpy().reshape(pixels.shape[:2])
                pixels = np.dstack([pixels[..., :3], matte])
            pixels = np.ascontiguousarray((pixels.clip(0, 1) * 65535).round().astype(np.uint16))
            frame = av.VideoFrame.from_ndarray(pixels, format="rgba64le" if has_alpha else "rgb48le")
            frame.pts = index
            container.mux(stream.encode(frame.reformat(format=stream.pix_fmt)))
        container.mux(stream.encode(None))
        if sound is not None:
            for frame in sound[1]:
                container.mux(sound[0].encode(frame))
            container.mux(sound[0].encode(None))


def _add_sound(container: Any, audio: Any) -> tuple[Any, list] | None:
    """A stream of PCM for an AUDIO, and its frames; None without sound."""
    import av

    if not audio or not audio["waveform"].shape[-1]:
        return None
    samples = audio["waveform"][0].float().cpu().numpy()  # [channels, samples]
    rate, channels = int(audio["sample_rate"]), len(samples)
    layout = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}.get(channels, f"{channels}c")
    frames = []
    for begin in range(0, samples.shape[1], rate):
        part = np.ascontiguousarray(samples[:, begin : begin + rate].T.reshape(1, -1))
        frame = av.AudioFrame.from_ndarray(part, format="flt", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = rate, begin, Fraction(1, rate)
        frames.append(frame)
    return container.add_stream("pcm_f32le", rate=rate, layout=layout), frames
