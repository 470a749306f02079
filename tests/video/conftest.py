"""Small real clips, made with real encoders."""

from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from tests.video.pictures import COUNT, HEIGHT, WIDTH, numbered, tone


@pytest.fixture(autouse=True)
def _one_thread(one_thread):
    """Every test of this folder works on small tensors."""


@pytest.fixture
def make_clip(tmp_path):
    """`make_clip(name, ...)` -> its path. times: of the frames, in ticks of time_base (default: one frame a 1/12 s).
    lengths: for how many such ticks each is shown (intra codecs only)."""

    def make(
        name="clip.mp4",
        *,
        codec="libx264",
        pixels="yuv420p",
        size=(WIDTH, HEIGHT),
        count=COUNT,
        times=None,
        time_base=Fraction(1, 12),
        lengths=None,
        rate=12,
        rotation=0,
        options=None,
        sound=None,
        sound_rate=48_000,
        frame=numbered,
        tags=None,
        container_options=None,
        pixel_aspect=None,
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with av.open(str(path), "w", container_options=container_options or {}) as container:
            stream = container.add_stream(codec, rate=rate, options=options or {})
            stream.width, stream.height, stream.pix_fmt = *size, pixels
            stream.codec_context.time_base = time_base
            if codec in ("libx264", "mpeg4"):
                stream.codec_context.gop_size = 8
            for key, value in (tags or {}).items():
                setattr(stream.codec_context, key, value)
            if pixel_aspect is not None:
                stream.codec_context.sample_aspect_ratio = pixel_aspect
            if rotation:
                stream.set_display_rotation(rotation)
            speaker = container.add_stream(sound, rate=sound_rate) if sound else None
            if speaker is not None:
                speaker.codec_context.layout = "mono"
            for index in range(count):
                array = frame(index, *size)
                picture = av.VideoFrame.from_ndarray(array, format="rgba" if array.shape[2] == 4 else "rgb24")
                picture = picture.reformat(format=pixels)
                for key, value in (tags or {}).items():
                    setattr(picture, key, value)
                picture.pts, picture.time_base = (index if times is None else times[index]), time_base
                packets = stream.encode(picture)
                for packet in packets if lengths else ():
                    packet.duration = lengths[index]
                container.mux(packets)
            container.mux(stream.encode(None))
            if speaker is not None:
                samples = tone(count / rate, sound_rate)
                resampler = av.AudioResampler(
                    format=speaker.codec_context.format, layout="mono", rate=sound_rate, frame_size=1024
                )
                given = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
                given.sample_rate, given.pts, given.time_base = sound_rate, 0, Fraction(1, sound_rate)
                for piece in [*resampler.resample(given), *resampler.resample(None)]:
                    container.mux(speaker.encode(piece))
                container.mux(speaker.encode(None))
        return path

    return make


# What is wrong with each of the files of `bad_clips`, and what is said of it.
BAD = {
    "empty.mp4": "not a clip we can read",
    "text.mp4": "not a clip we can read",
    "without-its-end.mp4": "cut off or damaged",
    "still.mp4": "is a still picture (PNG)",
    "sound.mp4": "has sound only",
    "no-frames.y4m": "has no frames",
    "too-fast.mp4": "frames a second",
    "damaged.mp4": "cannot be decoded",
}


@pytest.fixture
def bad_clips(make_clip, tmp_path):
    """`bad_clips(folder)` writes one file for each entry of BAD."""

    def write(folder):
        (folder / "empty.mp4").write_bytes(b"")
        (folder / "text.mp4").write_text("hello " * 500)
        Image.new("RGB", (40, 30)).save(folder / "still.mp4", format="PNG")
        (folder / "no-frames.y4m").write_bytes(b"YUV4MPEG2 W64 H48 F12:1 C420\n")
        whole = make_clip(folder / "without-its-end.mp4").read_bytes()
        (folder / "without-its-end.mp4").write_bytes(whole[: len(whole) // 2])  # MP4 keeps its index there
        first, index = whole.index(b"mdat") + 4, whole.index(b"moov") - 4
        (folder / "damaged.mp4").write_bytes(whole[:first] + bytes(index - first) + whole[index:])
        with av.open(str(folder / "sound.mp4"), "w") as container:
            stream = container.add_stream("aac", rate=48_000)
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.sample_rate = 48_000
            container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        make_clip(folder / "too-fast.mp4", times=list(range(COUNT)), time_base=Fraction(1, 60_000), rate=60_000)
        assert sorted(path.name for path in folder.iterdir()) == sorted(BAD)

    return write


@pytest.fixture
def decode():
    """`decode(path)` -> frames as rgba uint8 [T, H, W, 4], their times in seconds."""

    def decode(path):
        from birefnet_core.video import Clip
        from birefnet_core.video.colour import own_alpha, to_rgb

        clip = Clip(path)
        frames, times = [], []
        for frame in clip.frames():
            rgb, alpha = to_rgb(frame.picture), own_alpha(frame.picture)
            alpha = np.ones(rgb.shape[:2], np.float32) if alpha is None else alpha
            frames.append(np.dstack([rgb, (alpha * 255).round().astype(np.uint8)]))
            times.append(float(frame.pts * clip.info.time_base))
        return np.stack(frames), times

    return decode
