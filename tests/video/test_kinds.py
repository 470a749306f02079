"""Clips of rarer kinds: animated pictures, interlaced frames, a cover before the pictures, high dynamic range."""

import struct
import warnings
from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from PIL import Image, features

from birefnet_core.video import FORMATS, Clip, Span, VideoError, matte_clip, read_batch
from birefnet_core.video.colour import own_alpha, to_rgb
from birefnet_core.video.notes import ClipNote
from birefnet_core.video.write import Marks
from tests.video.pictures import HEIGHT, WIDTH, number_of, numbered


def opaque(pixels):
    return torch.ones(pixels.shape[:3])


DURATIONS = [100, 40, 40, 200, 100, 500]


def translucent(index):
    alpha = np.full((HEIGHT, WIDTH), 255, np.uint8)
    alpha[HEIGHT // 2 :, : 8 * (index + 1)] = 0
    return Image.fromarray(np.dstack([numbered(index), alpha]))


@pytest.mark.parametrize("suffix", [".webp", ".avif", ".png", ".gif"])
def test_animated_pictures_are_clips(tmp_path, suffix):
    if suffix == ".avif" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    path = tmp_path / f"moving{suffix}"
    frames = [translucent(index) for index in range(6)]
    lossless = {"lossless": True} if suffix == ".webp" else {"quality": 95} if suffix == ".avif" else {}
    disposal = 1 if suffix == ".png" else 2
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=DURATIONS, disposal=disposal, **lossless)
    clip = Clip(path)
    assert (clip.info.width, clip.info.height) == (WIDTH, HEIGHT)
    assert clip.info.has_alpha
    found = list(clip.frames())
    times = [float(frame.pts * clip.info.time_base) for frame in found]
    assert times == pytest.approx([sum(DURATIONS[:index]) / 1000 for index in range(6)], abs=1e-3)
    assert float(found[-1].duration * clip.info.time_base) == pytest.approx(0.5, abs=1e-3)
    for index, frame in enumerate(found):
        alpha = np.asarray(translucent(index))[..., 3] / 255
        assert number_of(to_rgb(frame.picture)) == index
        assert np.abs(own_alpha(frame.picture) - alpha).mean() < 0.02
    assert clip.count() == 6
    assert [number_of(to_rgb(frame.picture)) for frame in clip.frames(Span(skip=3, count=2))] == [3, 4]


def test_a_still_or_damaged_webp_is_told(tmp_path):
    Image.fromarray(numbered(1)).save(tmp_path / "still.webp")
    with pytest.raises(VideoError, match=r"still\.webp is a still picture \(WEBP\)"):
        Clip(tmp_path / "still.webp")
    frames = [translucent(index) for index in range(6)]
    frames[0].save(tmp_path / "cut.webp", save_all=True, append_images=frames[1:])
    data = (tmp_path / "cut.webp").read_bytes()
    (tmp_path / "cut.webp").write_bytes(data[: len(data) // 2])
    with pytest.raises(VideoError, match=r"^\S+cut\.webp "):
        Clip(tmp_path / "cut.webp")


@pytest.mark.parametrize(("limit", "reason"), [("pixels", "exceeds limit"), ("memory", "do not fit in memory")])
def test_a_huge_animation_is_told(tmp_path, monkeypatch, limit, reason):
    frames = [translucent(index) for index in range(3)]
    frames[0].save(tmp_path / "huge.webp", save_all=True, append_images=frames[1:])
    if limit == "pixels":
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    else:
        monkeypatch.setattr("birefnet_core.video.animation.free_memory", lambda: 1000)
    with pytest.raises(VideoError, match=rf"huge\.webp cannot be read: .*{reason}"):
        Clip(tmp_path / "huge.webp")


def interlaced(path, codec, pixels, order, options=None):
    with av.open(str(path), "w") as container:
        named = {"top": "tt", "bottom": "bb"}[order]
        stream = container.add_stream(
            codec, rate=25, options={"field_order": named, "flags": "+ildct", **(options or {})}
        )
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, pixels
        mark = Marks("setfield", {"top": "tff", "bottom": "bff"}[order])
        for index in range(6):
            frame = av.VideoFrame.from_ndarray(numbered(index), format="rgb24").reformat(format=pixels)
            frame.pts, frame.time_base = index, Fraction(1, 25)
            container.mux(stream.encode(mark(frame)))
        container.mux(stream.encode(None))
    return path


SOURCES = [
    ("a.ts", "mpeg2video", "yuv420p"),
    ("a.mkv", "ffv1", "yuv422p"),
    ("a.mov", "prores_ks", "yuv422p10le"),
    ("a.mp4", "libx264", "yuv420p"),
]


@pytest.mark.parametrize(("name", "codec", "pixels"), SOURCES)
@pytest.mark.parametrize("order", ["top", "bottom"])
@pytest.mark.parametrize("format", ["prores", "h264"])
def test_field_order_is_kept(tmp_path, name, codec, pixels, order, format):
    options = {"x264-params": f"{order[0]}ff=1"} if codec == "libx264" else None
    clip = Clip(interlaced(tmp_path / name, codec, pixels, order, options))
    if not hasattr(av.VideoCodecContext, "field_order"):
        pytest.skip("this PyAV does not tell which field is first")
    assert clip.info.field_order == order
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        out = Clip(matte_clip(clip, tmp_path / f"out{FORMATS[format].suffix}", opaque, format=format))
    assert out.info.field_order == order
    assert [number_of(to_rgb(frame.picture)) for frame in out.frames()] == list(range(6)) or format == "h264"


def test_whole_frames_stay_whole(make_clip, tmp_path):
    clip = Clip(make_clip(count=3))
    assert clip.info.field_order == ""
    assert Clip(matte_clip(clip, tmp_path / "out.mov", opaque)).info.field_order == ""


def test_who_cannot_hold_fields_says_so(tmp_path):
    clip = Clip(interlaced(tmp_path / "a.ts", "mpeg2video", "yuv420p", "top"))
    with pytest.warns(
        ClipNote, match=r"a\.ts is interlaced, top field first, which VP9 with alpha \(\.webm\) cannot tell"
    ):
        matte_clip(clip, tmp_path / "out.webm", opaque, format="webm")
    with pytest.warns(ClipNote, match=r"interlaced, top field first, which frames cannot tell"):
        read_batch(clip, Span())


@pytest.mark.parametrize(
    ("name", "cover"), [("a.mkv", "mjpeg"), ("a.mp4", "mjpeg"), ("a.mp4", "png"), ("a.mov", "png")]
)
def test_a_cover_before_the_pictures_is_passed_over(make_clip, tmp_path, name, cover):
    source = make_clip(f"plain-{name}", codec="libx264", count=12, sound="aac")
    path = tmp_path / name
    with av.open(str(source)) as given, av.open(str(path), "w") as made:
        still = made.add_stream(cover, rate=1)
        still.width, still.height, still.pix_fmt = 200, 100, "yuvj420p" if cover == "mjpeg" else "rgb24"
        targets = {stream: made.add_stream_from_template(stream) for stream in given.streams}
        frame = av.VideoFrame.from_ndarray(np.full((100, 200, 3), 200, np.uint8), format="rgb24")
        frame = frame.reformat(format=still.pix_fmt)
        frame.pts, frame.time_base = 0, Fraction(1)
        made.mux(still.encode(frame))
        made.mux(still.encode(None))
        for packet in given.demux():
            if packet.size:
                packet.stream = targets[packet.stream]
                made.mux(packet)
    clip = Clip(path)
    assert (clip.info.width, clip.info.height) == (WIDTH, HEIGHT)
    assert [number_of(to_rgb(frame.picture)) for frame in clip.frames()] == list(range(12))
    assert [number_of(to_rgb(frame.picture)) for frame in clip.frames(Span(skip=5, count=2))] == [5, 6]
    assert clip.count() == 12
    batch = read_batch(clip, Span(skip=6))
    assert batch.sound[0].shape[1] / batch.sound[1] == pytest.approx(0.5, abs=0.06)
    out = Clip(matte_clip(clip, tmp_path / "out.mov", opaque))
    assert len(list(out.frames())) == 12


@pytest.mark.parametrize(("transfer", "curve"), [(16, "PQ"), (18, "HLG")])
def test_high_dynamic_range_is_told_and_tagged(make_clip, tmp_path, transfer, curve):
    tags = {"colorspace": 9, "color_primaries": 9, "color_trc": transfer}
    clip = Clip(make_clip("hdr.mp4", pixels="yuv420p10le", count=2, tags=tags))
    with pytest.warns(ClipNote, match=rf"hdr\.mp4 is of high dynamic range \({curve}\)"):
        read_batch(clip, Span())
    with pytest.warns(ClipNote, match=rf"\({curve}\).*cICP"):
        folder = matte_clip(clip, tmp_path / "out", opaque, format="png16")
    for picture in folder.glob("*.png"):
        data = picture.read_bytes()
        place = data.index(b"cICP")
        assert list(data[place + 4 : place + 8]) == [9, transfer, 0, 1]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made = matte_clip(clip, tmp_path / "out.mov", opaque)
    assert (Clip(made).info.primaries, Clip(made).info.transfer) == (9, transfer)


def first_picture(path):
    return (path / "000001.png" if path.is_dir() else path).read_bytes()


@pytest.mark.parametrize("primaries", [1, 2, 5, 6])
@pytest.mark.parametrize("format", ["png", "png16", "apng"])
def test_usual_pictures_carry_no_such_chunk(make_clip, tmp_path, format, primaries):
    clip = Clip(make_clip(count=1, tags={"color_primaries": primaries, "color_trc": min(primaries, 6)}))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = first_picture(matte_clip(clip, tmp_path / f"out{FORMATS[format].suffix}", opaque, format=format))
    assert not any(chunk in data for chunk in (b"cICP", b"cHRM", b"gAMA"))


@pytest.mark.parametrize(("primaries", "transfer"), [(9, 14), (12, 13), (11, 1)])
@pytest.mark.parametrize("format", ["png", "png16", "apng"])
def test_pictures_of_wide_gamut_say_so(make_clip, tmp_path, format, primaries, transfer):
    tags = {"color_primaries": primaries, "color_trc": transfer}
    clip = Clip(make_clip("wide.mp4", count=2, tags=tags))
    data = first_picture(matte_clip(clip, tmp_path / f"out{FORMATS[format].suffix}", opaque, format=format))
    place = data.index(b"cICP")
    assert list(data[place + 4 : place + 8]) == [primaries, transfer, 0, 1]


@pytest.mark.parametrize(("primaries", "blue", "white"), [(9, 0.131, 0.3127), (12, 0.15, 0.3127), (11, 0.15, 0.314)])
def test_exr_of_wide_gamut_says_so(make_clip, tmp_path, primaries, blue, white):
    clip = Clip(make_clip("wide.mp4", count=2, tags={"color_primaries": primaries, "color_trc": 13}))
    with pytest.warns(ClipNote, match=r"wide\.mp4 has the primaries of .*, which EXR keeps and tells \(chromat"):
        folder = matte_clip(clip, tmp_path / "wide", opaque, format="exr")
    plain = Clip(make_clip("plain.mp4", count=2, tags={"color_primaries": 1, "color_trc": 13}))
    other = matte_clip(plain, tmp_path / "plain", opaque, format="exr")
    shown = []
    for name, path in (("plain", other), ("wide", folder)):
        for number in (1001, 1002):
            data = (path / f"{name}.{number}.exr").read_bytes()
            assert (b"chromaticities" in data) == (name == "wide")
        with av.open(str(path / f"{name}.1002.exr")) as container:
            picture = next(container.decode(video=0))
            shown.append([np.frombuffer(plane, np.uint8).copy() for plane in picture.planes])
    assert all(map(np.array_equal, *shown))
    told = data[data.index(b"chromaticities\0chromaticities\0") + 30 :]
    size, *numbers = struct.unpack("<i8f", told[:36])
    assert (size, numbers[4], numbers[6]) == (32, pytest.approx(blue), pytest.approx(white))


@pytest.mark.parametrize("format", ["webp", None])
def test_who_cannot_tell_wide_gamut_says_so(make_clip, tmp_path, format):
    clip = Clip(make_clip("wide.mp4", count=2, tags={"color_primaries": 12, "color_trc": 13}))
    with pytest.warns(ClipNote, match=r"wide\.mp4 has the primaries of Display P3, which .* cannot tell"):
        if format is None:
            read_batch(clip, Span())
        else:
            matte_clip(clip, tmp_path / f"out{FORMATS[format].suffix}", opaque, format=format)


def test_what_a_clip_tells_of_displays_is_said_to_be_left_out(make_clip, tmp_path):
    tags = {"colorspace": 9, "color_primaries": 9, "color_trc": 16}
    display = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1)"
    options = {"x265-params": f"hdr10=1:master-display={display}:max-cll=1000,400:log-level=none"}
    try:
        path = make_clip("hdr.mp4", codec="libx265", pixels="yuv420p10le", count=2, tags=tags, options=options)
    except ValueError:
        pytest.skip("no HEVC encoder")
    said = r"hdr\.mp4: left out of ProRes .*: what it tells of displays \(mastering display, light levels\)"
    with pytest.warns(ClipNote, match=said):
        matte_clip(Clip(path), tmp_path / "out.mov", opaque)
