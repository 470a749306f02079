"""What compositors and the web take: EXR, 16 bits, premultiplied alpha, animated pictures, moving backgrounds."""

import re
import shutil
import subprocess
from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from PIL import Image

from birefnet_core.matting.linear import to_linear
from birefnet_core.video import Clip, Look, Stopped, VideoError, matte_clip
from birefnet_core.video.animated import put_end
from birefnet_core.video.behind import Loop
from birefnet_core.video.formats import FORMATS
from birefnet_core.video.notes import ClipNote
from tests.video.pictures import numbered

SIZE = (64, 48)
COLOUR = (200, 120, 40)


def flat(index, width, height):
    return np.broadcast_to(np.uint8(COLOUR), (height, width, 3)).copy()


def ramp(pixels):
    """Alpha that rises from left to right, the same in every frame."""
    return torch.linspace(0, 1, SIZE[0]).expand(len(pixels), SIZE[1], SIZE[0])


def planes(path):
    """The first picture of a file as FFmpeg decodes it, float32 [H, W, 4] of red, green, blue, alpha."""
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        if not frame.format.name.startswith("gbrapf"):
            return frame.reformat(format="rgba64le").to_ndarray().astype(np.float32) / 65535
        kind = np.float16 if "f16" in frame.format.name else np.float32
        read = [np.frombuffer(plane, kind).reshape(plane.height, -1)[:, : frame.width] for plane in frame.planes]
        return np.stack([read[2], read[0], read[1], read[3]], axis=-1).astype(np.float32)


@pytest.fixture
def matted(make_clip, tmp_path):
    def make(format, *, clip=None, matte=ramp, out="out", **options):
        made = {"codec": "ffv1", "pixels": "bgr0", "count": 3, "size": SIZE, "frame": flat}
        source = make_clip("in.mkv", **made | (clip or {}))
        return matte_clip(Clip(source), tmp_path / (out + FORMATS[format].suffix), matte, format=format, **options)

    return make


@pytest.mark.parametrize("alphas", [None, "straight"])
def test_exr_is_linear_half_floats_and_premultiplied_unless_asked(matted, alphas):
    folder = matted("exr", look=Look(alphas=alphas))
    assert sorted(path.name for path in folder.glob("*.exr")) == [f"out.{number}.exr" for number in (1001, 1002, 1003)]
    made = planes(folder / "out.1002.exr")
    alpha = np.broadcast_to(np.linspace(0, 1, SIZE[0], dtype=np.float32), SIZE[::-1])
    light = to_linear(np.float32(COLOUR) / 255)
    expected = light * (alpha[..., None] if alphas is None else 1)
    np.testing.assert_allclose(made[..., 3], alpha, atol=5e-4)  # half floats have 11 bits
    np.testing.assert_allclose(made[..., :3], np.broadcast_to(expected, (*alpha.shape, 3)), atol=5e-4)
    head = (folder / "out.1001.exr").read_bytes()[:1000]
    assert b"framesPerSecond" in head and head.count(b"\x01\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x01") == 4


def test_png16_keeps_what_8_bits_do_not(matted):
    def fine(pixels):
        return torch.linspace(0.5, 0.502, SIZE[0]).expand(len(pixels), SIZE[1], SIZE[0])

    folder = matted("png16", matte=fine)
    made = planes(folder / "000001.png")
    assert len(np.unique(made[0, :, 3])) > 30
    np.testing.assert_allclose(made[0, :, 3], np.linspace(0.5, 0.502, SIZE[0]), atol=2 / 65535)
    np.testing.assert_allclose(made[..., :3], np.broadcast_to(np.float32(COLOUR) / 255, (*SIZE[::-1], 3)), atol=1e-3)


def test_prores_is_premultiplied_by_choice(matted):
    straight, dark = (
        planes(matted("prores", out=name or "s", look=Look(alphas=name))) for name in (None, "premultiplied")
    )
    np.testing.assert_allclose(dark[..., 3], straight[..., 3], atol=1e-3)
    inside = (slice(8, 40), slice(16, 60))
    np.testing.assert_allclose(dark[inside][..., :3], (straight[..., :3] * straight[..., 3:])[inside], atol=0.02)


@pytest.mark.parametrize("format, said", [("webm", "straight"), ("png", "straight"), ("h264", "no alpha")])
def test_alpha_that_a_format_does_not_have_is_refused(matted, tmp_path, format, said):
    with pytest.raises(ValueError, match=f"alpha premultiplied: .*{said}"):
        matted(format, look=Look(alphas="premultiplied"))
    assert not list(tmp_path.glob("out*")) and not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("transfer", [16, 18])
@pytest.mark.parametrize("format", list(FORMATS))
def test_high_dynamic_range_is_kept_or_refused(matted, format, transfer):
    tags = {"color_primaries": 9, "color_trc": transfer, "colorspace": 9}
    clip = {"codec": "ffv1", "pixels": "yuv444p10le", "tags": tags}
    if not FORMATS[format].dynamic and format != "mask":
        with pytest.raises(ValueError, match=r"of high dynamic range .* choose prores or png16 or exr"):
            matted(format, clip=clip)
        return
    path = matted(format, clip=clip)
    if format == "prores":
        assert Clip(path).info.transfer == transfer and Clip(path).info.primaries == 9
    elif format == "mask":  # whose levels are no light
        assert Clip(path).info.transfer == Clip(path).info.primaries == 1
    elif format == "exr":
        coded = planes(matted("png16", clip=clip, out="coded") / "000001.png")[24, 60]
        light = planes(path / "out.1001.exr")[24, 60]
        np.testing.assert_allclose(light[:3], to_linear(coded[:3], transfer) * light[3], rtol=0.01)


def test_the_curves_of_high_dynamic_range_are_those_of_their_standards():
    # ST 2084: 58.07 % of the signal is 203 cd/m2 (BT.2408), all of it 10,000. STD-B67: 50 % is a twelfth of the light.
    assert to_linear(np.float32([0.5807, 1.0]), 16) == pytest.approx([1.0, 10_000 / 203], rel=2e-3)
    assert to_linear(np.float32([0.75, 0.5, 1.0]), 18) == pytest.approx([1.0, 1 / 12 / 0.26496, 1 / 0.26496], rel=1e-3)
    assert to_linear(np.float32([0.0, 0.5, 1.0])) == pytest.approx([0.0, 0.21404, 1.0], abs=1e-4)


LIGHT = {4: 0.5**2.2, 5: 0.5**2.8, 8: 0.5, 9: 0.1, 10: 10**-1.25, 17: 52.37 / 48 * 0.5**2.6, 13: 0.21404, 1: 0.21404}


@pytest.mark.parametrize("transfer", LIGHT)
def test_exr_has_the_light_of_the_curve_that_a_clip_names(matted, transfer):
    def half(index, width, height):
        return np.full((height, width, 3), 128, np.uint8)

    clip = {"frame": half, "tags": {"color_trc": transfer, "color_primaries": 1}}
    light = planes(matted("exr", clip=clip, look=Look(alphas="straight")) / "out.1001.exr")[24, 60, :3]
    assert light == pytest.approx([LIGHT[transfer]] * 3, rel=0.02)
    assert to_linear(np.float32([0.0]), transfer) == 0 and to_linear(np.float32([1.0]), transfer) == pytest.approx(
        52.37 / 48 if transfer == 17 else 1
    )


def test_a_curve_of_standard_range_that_is_not_srgbs_is_told(matted):
    clip = {"tags": {"color_trc": 8, "color_primaries": 1}}
    with pytest.warns(ClipNote, match=r"in\.mkv has the curve of linear light, which animated WebP .* cannot tell"):
        matted("webp", clip=clip)
    with pytest.warns(ClipNote, match=r"curve of linear light, which H\.264 .* what is put behind the subject is not"):
        made = matted("h264", clip=clip)
    assert Clip(made).info.transfer == 8
    assert Clip(matted("mask", clip=clip, out="mask")).info.transfer == 1
    data = (matted("png", clip=clip) / "000001.png").read_bytes()
    assert data[data.index(b"cICP") + 5] == 8


@pytest.mark.parametrize("format, most", [("webp", 10), ("apng", 0)])
def test_animated_pictures_keep_alpha_times_and_go_round(matted, format, most):
    def shades(index, width, height):
        return np.full((height, width, 3), 30 + 60 * index, np.uint8)

    clip = {"count": 4, "times": [0, 1, 3, 6], "time_base": Fraction(1, 10), "rate": 10, "frame": shades}
    path = matted(format, clip=clip)
    with Image.open(path) as made:
        assert made.n_frames == 4 and made.info["loop"] == 0
        lengths = []
        for index in range(4):
            made.seek(index)
            made.load()
            lengths.append(round(made.info["duration"]))
            rgba = np.asarray(made.convert("RGBA")).astype(int)
            assert np.abs(rgba[..., 3] - np.linspace(0, 255, SIZE[0])).max() <= 1
            assert np.abs(rgba[:, 32:, :3] - (30 + 60 * index)).max() <= most
    assert lengths == [100, 200, 300, 100]


@pytest.mark.parametrize("format", ["webp", "apng"])
def test_the_last_animated_picture_is_held_as_long_as_it_was(matted, tmp_path, format):
    pictures = [Image.new("RGB", SIZE, (90 * index, 40, 0)) for index in range(3)]
    pictures[0].save(tmp_path / "held.gif", save_all=True, append_images=pictures[1:], duration=[100, 100, 70_000])
    made = matte_clip(Clip(tmp_path / "held.gif"), tmp_path / f"out.{format}", ramp, format=format)
    with Image.open(made) as image:
        image.seek(2)
        image.load()
        assert image.info["duration"] == pytest.approx(70_000, abs=20)


@pytest.mark.parametrize("suffix", ["png", "gif", "webp"])
@pytest.mark.parametrize("count", [2, 3])
def test_an_animated_picture_of_few_frames_is_a_clip(tmp_path, suffix, count):
    pictures = [Image.new("RGB", SIZE, (90 * index, 40, 0)) for index in range(count)]
    path, lengths = tmp_path / f"few.{suffix}", [100, 200, 50][:count]
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=lengths)
    with Image.open(matte_clip(Clip(path), tmp_path / "out.apng", ramp, format="apng")) as made:
        assert made.n_frames == count
        made.load()
        assert made.info["duration"] == lengths[0]


@pytest.mark.parametrize("format, most", [("webp", (1 << 24) - 1), ("apng", 65_535_000)])
def test_no_picture_is_held_for_longer_than_the_format_can_say(matted, tmp_path, format, most):
    def shades(index, width, height):
        return np.full((height, width, 3), 30 + 60 * index, np.uint8)

    made = matted(format, clip={"frame": shades})
    put_end(made, format, Fraction(100_000))
    with Image.open(made) as image:
        image.seek(image.n_frames - 1)
        image.load()
        assert image.info["duration"] == most


def test_a_clip_behind_the_subject_runs_at_its_own_rate_and_begins_again(matted, make_clip, decode):
    def shades(index, width, height):
        return np.full((height, width, 3), 20 + 60 * index, np.uint8)

    behind = make_clip("behind.mkv", codec="ffv1", pixels="bgr0", count=4, size=(32, 24), rate=6, frame=shades,
                       time_base=Fraction(1, 6))  # fmt: skip

    def nothing(pixels):
        return torch.zeros(pixels.shape[:3])

    made = matted("h264", clip={"count": 12}, matte=nothing, look=Look(background=Clip(behind)))
    frames, _ = decode(made)
    shown = frames[:, 24, 32, 0].astype(int)
    expected = [20 + 60 * (index // 2 % 4) for index in range(12)]  # 12 frames a second before 6
    assert np.abs(shown - expected).max() <= 3


def nothing(pixels):
    return torch.zeros(pixels.shape[:3])


def grey(index, width, height):
    return np.full((height, width, 3), 20 + 20 * index, np.uint8)


def test_a_clip_behind_the_subject_that_is_cut_off_starts_over_there(matted, make_clip, decode, tmp_path):
    behind = make_clip("behind.mkv", codec="ffv1", pixels="bgr0", count=10, size=(320, 240), frame=numbered)
    data = behind.read_bytes()
    behind.write_bytes(data[: int(len(data) * 0.7)])
    with pytest.warns(ClipNote) as notes:
        made = matted("h264", clip={"count": 30}, matte=nothing, look=Look(background=Clip(behind)))
    said = [str(each.message) for each in notes if "starts over there" in str(each.message)]
    assert len(said) == 1 and re.search(r"behind\.mkv is cut off.*; behind the subject it starts over there", said[0])
    frames, _ = decode(made)
    left = 0
    with pytest.raises(VideoError):
        for _ in Clip(behind).frames():
            left += 1
    assert len(frames) == 30 and 3 < left < 10
    again = np.abs(frames[left:].astype(int) - frames[:-left]).mean((1, 2, 3))
    other = np.abs(frames[1:left].astype(int) - frames[0]).mean((1, 2, 3))
    assert again.max() < 0.5 * other.min()


def test_a_clip_behind_the_subject_shows_each_picture_until_the_next(matted, make_clip, decode):
    times = [0, 1, 5, 6]
    behind = make_clip("behind.mkv", codec="ffv1", pixels="bgr0", count=4, size=(32, 24), rate=12, frame=grey,
                       times=times, time_base=Fraction(1, 12))  # fmt: skip
    frames, _ = decode(matted("h264", clip={"count": 9}, matte=nothing, look=Look(background=Clip(behind))))
    expected = [20 + 20 * index for index in (0, 1, 1, 1, 1, 2, 3, 0, 1)]
    assert np.abs(frames[:, 24, 32, 0].astype(int) - expected).max() <= 3


def test_what_was_painted_before_an_error_is_kept(matted, make_clip, decode, tmp_path):
    """A clip behind the subject that is gone when it is to start over."""
    behind = make_clip("behind.mov", codec="png", pixels="rgb24", count=5, size=(32, 24), frame=grey)

    def go(step):
        behind.unlink(missing_ok=True)

    with pytest.raises(Stopped, match=r"behind\.mov.*; the \d+ frames done are in .*out\.partial\.mp4") as caught:
        matted("h264", clip={"count": 40}, matte=nothing, look=Look(background=Clip(behind)), on_progress=go)
    frames, _ = decode(caught.value.partial)
    assert len(frames) == 5
    assert np.abs(frames[:, 24, 32, 0].astype(int) - [20 + 20 * index for index in range(5)]).max() <= 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mkv", "out.partial.mp4"]


def test_what_a_clip_behind_the_subject_is_not_shown_as_is_said(matted, make_clip):
    tags = {"color_primaries": 9, "color_trc": 16, "colorspace": 9}
    behind = make_clip("behind.mkv", codec="ffv1", pixels="yuv444p10le", count=2, size=SIZE, tags=tags)
    for background in (Clip(behind), Loop(Clip(behind)), behind):
        with pytest.warns(ClipNote, match=r"behind.mkv is of high dynamic range \(PQ\): colours are given as they are"):
            matted("h264", look=Look(background=background), overwrite=True)


def test_a_batch_behind_the_subject_goes_by_frame_by_frame(matted, decode):
    def nothing(pixels):
        return torch.zeros(pixels.shape[:3])

    batch = torch.tensor([0.1, 0.5, 0.9])[:, None, None, None].expand(3, 24, 32, 3)
    frames, _ = decode(matted("h264", clip={"count": 7}, matte=nothing, look=Look(background=batch)))
    shown = frames[:, 24, 32, 0].astype(int)
    assert np.abs(shown - [round(255 * (0.1, 0.5, 0.9)[index % 3]) for index in range(7)]).max() <= 3
    uneven = {"count": 4, "times": [0, 1, 4, 9], "time_base": Fraction(1, 10), "rate": 10}
    frames, _ = decode(matted("h264", clip=uneven, matte=nothing, look=Look(background=batch), overwrite=True))
    assert np.abs(frames[:, 24, 32, 0].astype(int) - [26, 128, 230, 26]).max() <= 3
    with pytest.raises(ValueError, match="empty"):
        matted("h264", matte=nothing, look=Look(background=batch[:0]), overwrite=True)


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="no FFmpeg command line to read with")
def test_ffmpeg_reads_the_sequences_as_pictures(matted, tmp_path):
    folder = matted("exr")
    command = [
        "ffmpeg",
        "-v",
        "error",
        "-start_number",
        "1001",
        "-i",
        folder / "out.%04d.exr",
        "-pix_fmt",
        "gbrapf32le",
    ]
    run = subprocess.run([*command, "-f", "rawvideo", "-"], capture_output=True)
    assert not run.stderr and len(run.stdout) == 3 * 4 * 4 * SIZE[0] * SIZE[1]
    alpha = np.frombuffer(run.stdout, np.float32).reshape(3, 4, SIZE[1], SIZE[0])[:, 3]
    np.testing.assert_allclose(alpha, np.broadcast_to(np.linspace(0, 1, SIZE[0]), alpha.shape), atol=1e-3)


def test_openexr_reads_the_pictures(matted):
    OpenEXR = pytest.importorskip("OpenEXR", reason="no OpenEXR to read with")
    with OpenEXR.File(str(matted("exr") / "out.1001.exr"), separate_channels=True) as file:
        channels = file.channels()
        assert {name: values.pixels.dtype for name, values in channels.items()} == dict.fromkeys("ABGR", np.float16)
        np.testing.assert_allclose(channels["A"].pixels[5], np.linspace(0, 1, SIZE[0]), atol=1e-3)
