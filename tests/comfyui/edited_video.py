"""A VIDEO with edits on its frames, as ComfyUI has them since 0.35: for versions that have none, and for tests without.

It answers what ComfyUI's own answers: the file behind it is the unedited one, save_to and get_components give the
edited frames, trimmed. The first encodes them as H.264 without alpha, at the times they had; the latter holds all of
them. Needs nothing of ComfyUI, whose class of all videos a test may add.
"""

from __future__ import annotations

import io
from fractions import Fraction
from types import SimpleNamespace

import av
import numpy as np
import torch
from PIL import Image


class EditedVideo:
    """file: path or io.BytesIO. start, duration: the trim, seconds, 0 for none. edits: functions of a picture, uint8
    [H, W, 3|4] -> another, done in order, such as of `cropped` and `resized`."""

    def __init__(self, file, start: float = 0.0, duration: float = 0.0, edits: tuple = ()) -> None:
        self._file, self._start, self._duration, self._edits = file, start, duration, edits
        self.asked: list[str] = []  # for the frames, how

    def get_stream_source(self):
        if isinstance(self._file, io.BytesIO):
            self._file.seek(0)
        return self._file

    def has_pending_frame_edits(self) -> bool:
        return bool(self._edits)

    def get_active_trim_window(self) -> tuple[float, float]:
        return self._start, self._duration

    def get_dimensions(self) -> tuple[int, int]:
        if not self._edits:
            with av.open(self.get_stream_source()) as container:
                stream = container.streams.video[0]
                return stream.width, stream.height
        height, width = next(self._pictures(edited=True))[1].shape[:2]
        return width, height

    def get_duration(self) -> float:
        with av.open(self.get_stream_source()) as container:
            rest = container.duration / av.time_base - self._start
        return min(self._duration, rest) if self._duration else rest

    def get_frame_rate(self) -> Fraction:
        with av.open(self.get_stream_source()) as container:
            return Fraction(container.streams.video[0].average_rate)

    def save_to(self, path, format="auto", codec="auto", metadata=None, bit_depth=None, crf=None, color_space=None,
                preset=None) -> None:  # fmt: skip
        self.asked.append("save_to")
        options = {} if crf is None else {"crf": str(crf)}
        audio = self._audio()
        with av.open(path, "w", format="mp4") as output:
            stream, first, packets = None, None, []
            for time, picture in self._pictures(edited=True):
                picture = picture[: picture.shape[0] // 2 * 2, : picture.shape[1] // 2 * 2, :3]
                if stream is None:
                    stream = output.add_stream("libx264", rate=self.get_frame_rate(), options=options)
                    stream.height, stream.width = picture.shape[:2]
                    stream.pix_fmt = "yuv420p"
                    stream.codec_context.max_b_frames = 0
                    stream.codec_context.time_base = Fraction(1, 12800)
                    sound = audio and output.add_stream("aac", rate=audio["sample_rate"], layout="mono")
                    first = time
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
                frame = frame.reformat(format="yuv420p")
                frame.time_base, frame.pts = Fraction(1, 12800), round((time - first) * 12800)
                packets.extend(stream.encode(frame))
            packets.extend(stream.encode(None))
            for packet in packets:
                packet.duration = round(12800 / self.get_frame_rate())  # else MP4 lengthens the last frame
                output.mux(packet)
            if audio:
                samples = audio["waveform"][0].mean(0, keepdim=True).numpy()
                frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), format="fltp", layout="mono")
                frame.sample_rate, frame.pts = audio["sample_rate"], 0
                output.mux(sound.encode(frame))
                output.mux(sound.encode(None))

    def get_components(self):
        self.asked.append("get_components")
        pictures = torch.from_numpy(np.stack([picture for _, picture in self._pictures(edited=True)])) / 255
        alpha = pictures[..., 3:] if pictures.shape[-1] == 4 else None
        return SimpleNamespace(
            images=pictures[..., :3], alpha=alpha, audio=self._audio(), frame_rate=self.get_frame_rate(), metadata={}
        )

    def as_trimmed(self, start_time=0.0, duration=0.0, strict_duration=True):
        return type(self)(self._file, self._start + start_time, duration, self._edits)

    def _pictures(self, edited: bool):
        """(seconds, upright picture) of each frame within the trim."""
        with av.open(self.get_stream_source()) as container:
            for frame in container.decode(video=0):
                if frame.time < self._start or (self._duration and frame.time >= self._start + self._duration):
                    continue
                has_alpha = any(component.is_alpha for component in frame.format.components)
                picture = frame.to_ndarray(format="rgba" if has_alpha else "rgb24")
                picture = np.rot90(picture, round(frame.rotation / 90))
                for edit in self._edits if edited else ():
                    picture = edit(picture)
                yield frame.time, picture

    def _audio(self):
        with av.open(self.get_stream_source()) as container:
            if not container.streams.audio:
                return None
            rate = container.streams.audio[0].rate
            resampler = av.AudioResampler(format="fltp")
            parts = [part.to_ndarray() for frame in container.decode(audio=0) for part in resampler.resample(frame)]
        samples = np.concatenate(parts, axis=1)[:, round(self._start * rate) :]
        samples = samples[:, : round(self._duration * rate) or None]
        return {"waveform": torch.from_numpy(samples)[None], "sample_rate": rate}


class StrungVideo(EditedVideo):
    """Videos one after another, as of Concatenate Video since 0.45: what it gives as its stream it has saved before,
    with the loss that is usual there. Silent."""

    def __init__(self, videos: list[EditedVideo]) -> None:
        super().__init__(None)
        self.videos = videos

    def get_stream_source(self):
        stream = io.BytesIO()
        self.save_to(stream)
        stream.seek(0)
        return stream

    def get_dimensions(self) -> tuple[int, int]:
        return self.videos[0].get_dimensions()

    def get_duration(self) -> float:
        return sum(video.get_duration() for video in self.videos)

    def get_frame_rate(self) -> Fraction:
        return self.videos[0].get_frame_rate()

    def _pictures(self, edited: bool):
        begins = 0.0
        for video in self.videos:
            for time, picture in video._pictures(edited=True):
                yield begins + time - video._start, picture
            begins += video.get_duration()

    def _audio(self):
        return None


def cropped(x: int, y: int, width: int, height: int):
    return lambda picture: picture[y : y + height, x : x + width]


def resized(width: int, height: int):
    return lambda picture: np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.BOX))
