"""Video Frames: some or all frames of a clip as an image batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ..birefnet_core.video.read import MOST_EVERY  # costs little
from . import host
from .declared import as_declared
from .video_input import open_video

CONNECTED = "(the video input)"  # stands in the list for no file
MOST = 2**31 - 1


class VideoFrames:
    DESCRIPTION = (
        "Decodes the frames you ask for, and only those, exactly from the frame you name: upright, at their full "
        "depth, with the transparency that WebM and ProRes clips may have. All frames lie in memory at once; to matte "
        "a long clip use Matte Video (BiRefNet), which streams."
    )
    SEARCH_ALIASES = ("load video", "video to images", "extract frames", "import video", "video alpha", "frames")
    CATEGORY = "BiRefNet"
    FUNCTION = "read"
    RETURN_TYPES = ("IMAGE", "MASK", "FLOAT", "INT", "AUDIO")
    RETURN_NAMES = ("frames", "mask", "fps", "count", "audio")
    OUTPUT_TOOLTIPS = (
        "The frames, in order.",
        "The clip's own transparency: 1 = opaque, 0 = transparent. All 1 for clips without.",
        "Frames a second of these frames: the clip's, divided by every_nth. For Create Video.",
        "How many frames there are.",
        "The sound of the same stretch of the clip; nothing where the clip is silent.",
    )

    @classmethod
    def INPUT_TYPES(cls):
        files = list(video_files())
        return {
            "required": {
                "file": (
                    [CONNECTED, *files],
                    {
                        "default": next(iter(files), CONNECTED),
                        "video_upload": True,
                        "tooltip": "A clip in ComfyUI's input folder; with [output] or [temp] behind its name, in that "
                        "one. Not used when video is connected.",
                    },
                ),
            },
            "optional": {
                "video": ("VIDEO", {"tooltip": "Takes the place of file, for example from Load Video."}),
                "start": (
                    "FLOAT",
                    {
                        "default": 0.0,
                        "min": 0.0,
                        "max": 1e7,
                        "step": 0.01,
                        "tooltip": "Where to begin: seconds, or whole frames, as start_unit says.",
                    },
                ),
                "start_unit": (["seconds", "frames"], {"default": "seconds", "tooltip": "What start counts."}),
                "count": (
                    "INT",
                    {"default": 0, "min": 0, "max": MOST, "tooltip": "How many frames to give at most. 0: to the end."},
                ),
                "every_nth": (
                    "INT",
                    {"default": 1, "min": 1, "max": MOST_EVERY, "tooltip": "2 takes every other frame; fps follows."},
                ),
                "longest_side": (
                    "INT",
                    {
                        "default": 0,
                        "min": 0,
                        "max": 16384,
                        "step": 8,
                        "tooltip": "Shrinks larger frames to this, in pixels. 0: as they are.",
                    },
                ),
                "sound_track": (
                    "INT",
                    {
                        "default": 0,
                        "min": 0,
                        "max": 99,
                        "advanced": True,
                        "tooltip": "Which sound track audio is, of a clip with several. 0: the first; of an MXF file "
                        "with a track for each channel, the first two as left and right.",
                    },
                ),
                "even_rate": (
                    "BOOLEAN",
                    {
                        "default": True,
                        "tooltip": "Of a clip whose frames are shown for uneven times, such as a phone's or a screen "
                        "recording, gives frames at an even rate, repeated or left out, so that they keep to the "
                        "sound. start, count and every_nth count these. Off: every frame once; fps is their average.",
                    },
                ),
                "square_pixels": (
                    "BOOLEAN",
                    {
                        "default": False,
                        "advanced": True,
                        "tooltip": "Stretches the frames of clips whose pixels are not square, such as DV or "
                        "anamorphic HDV. Off: as stored, and a line on the node says so.",
                    },
                ),
            },
        }

    @classmethod
    def VALIDATE_INPUTS(cls, file: str) -> bool:
        """Any: ComfyUI would refuse a file that is not there even where a video is connected. `read` checks it."""
        return True

    @classmethod
    def IS_CHANGED(cls, file: str | None, **_) -> str:
        """A file that was replaced is read again. What another node gives is None here."""
        path = find_clip(file)
        return str(path.stat().st_mtime_ns) if path is not None else ""

    @as_declared
    @host.clip_notes()
    def read(
        self,
        file: str,
        video: Any = None,
        start: float = 0.0,
        start_unit: str = "seconds",
        count: int = 0,
        every_nth: int = 1,
        longest_side: int = 0,
        sound_track: int = 0,
        even_rate: bool = True,
        square_pixels: bool = False,
    ):
        from ..birefnet_core.video import Clip, Span, evened, read_batch, tell_uneven

        if video is not None:
            clip, begin, end = open_video(video)
        else:
            clip, begin, end = Clip(video_path(file), name=file), 0.0, None
        if even_rate:
            clip = evened(clip)
        else:
            tell_uneven(clip)
        in_frames = start_unit == "frames"
        span = Span(
            start=begin if in_frames else begin + start,
            end=end,
            skip=int(start) if in_frames else 0,
            every=every_nth,
            count=count or None,
        )
        with host.progress(1, unit="frame") as bar:
            batch = read_batch(
                clip,
                span,
                longest_side=longest_side,
                square_pixels=square_pixels,
                sound_track=sound_track,
                on_progress=bar.report,
            )
        mask = batch.alpha
        if mask is None:
            mask = torch.ones(1, 1, 1).expand(batch.frames.shape[:3])  # one number, however many frames
        audio = None
        if batch.sound is not None:
            audio = {"waveform": batch.sound[0][None], "sample_rate": batch.sound[1]}
        frames = host.output(batch.frames)
        return frames, host.output(mask), float(batch.frame_rate), len(frames), audio


def video_files() -> dict[str, Path]:
    """Name -> path of every clip in the input folder, hidden ones left out (macOS lays a `._clip.mp4` beside a clip). A
    link there was made by the machine's user, and is followed."""
    folder = host.input_folder()
    paths = sorted(folder.iterdir()) if folder.is_dir() else ()
    return {path.name: path for path in paths if not path.name.startswith(".") and _is_clip(path)}


def _is_clip(path: Path, *more: str) -> bool:
    """Whether it is a file with the suffix of a clip or one `more`, or a picture that moves."""
    from ..birefnet_core.video.animation import MOVING, is_animation
    from ..birefnet_core.video.source import SUFFIXES

    suffix = path.suffix.lower()
    if not path.is_file() or suffix not in (*SUFFIXES, ".gif", ".apng", *MOVING, *more):
        return False
    if suffix not in MOVING or suffix in more:
        return True
    try:
        with open(path, "rb") as file:
            return is_animation(file)
    except OSError:  # not ours to read
        return False


def find_clip(name: str | None) -> Path | None:
    """The clip that a picker of ComfyUI names so: "clip.mp4", "folder/clip.mp4", "clip.mp4 [output]", "[temp]" or
    "[input]", in that folder. A workflow, which may come from a stranger, reaches no file elsewhere, and none that is
    hidden. None for what is no name."""
    if not isinstance(name, str):
        return None
    name, folder = host.annotated(name)
    inside = Path(name)
    if inside.anchor or any(part.startswith(".") for part in inside.parts):  # which ".." does too
        return None
    path = folder / inside
    return path if _is_clip(path, ".webp") else None


def video_path(name: str) -> Path:
    """The clip that `name` stands for. ValueError when there is none."""
    if name == CONNECTED:
        raise ValueError("choose a file, or connect a video")
    path = find_clip(name)
    if path is None:
        where = f" in {host.annotated(name)[1]}" if isinstance(name, str) else ""
        raise ValueError(f"there is no clip {name!r}{where}")
    return path
