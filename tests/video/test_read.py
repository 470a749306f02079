"""Reading: exactly the frames asked for, upright, with times, depth and transparency; one sentence for the rest."""

import io
import struct
from fractions import Fraction

import av
import numpy as np
import pytest
import torch

from birefnet_core.matting.tensors import resize
from birefnet_core.video import Clip, Span, VideoError, read_batch
from birefnet_core.video.colour import own_alpha, to_deep_rgb, to_rgb, to_seen
from tests.video.conftest import BAD
from tests.video.pictures import COUNT, HEIGHT, WIDTH, number_of, numbered, onsets

WHOLE = Span()


def numbers(clip, span=WHOLE):
    return [number_of(to_rgb(frame.picture)) for frame in clip.frames(span)]


CONTAINERS = [
    ("a.mp4", "libx264", {}),
    ("a.mkv", "libx264", {}),
    ("a.ts", "libx264", {}),
    ("a.avi", "mpeg4", {}),
    ("a.avi", "libx264", {}),
    ("a.webm", "libvpx-vp9", {}),
    ("a.mpg", "mpeg1video", {"rate": 24, "time_base": Fraction(1, 24)}),
]


@pytest.mark.parametrize(("name", "codec", "more"), CONTAINERS, ids=[f"{c[1]}-{c[0][2:]}" for c in CONTAINERS])
def test_every_span_gives_exactly_its_frames(make_clip, name, codec, more):
    clip = Clip(make_clip(name, codec=codec, **more))
    rate = more.get("rate", 12)
    assert (clip.info.width, clip.info.height, clip.info.frame_rate) == (WIDTH, HEIGHT, rate)
    everything = list(range(COUNT))
    assert numbers(clip) == everything
    for skip in (1, 7, 8, 9, 23):
        assert numbers(clip, Span(skip=skip, count=3)) == everything[skip : skip + 3]
    assert numbers(clip, Span(start=13 / rate, every=3)) == everything[13::3]
    assert numbers(clip, Span(start=12.5 / rate, end=17 / rate)) == everything[13:17]
    assert numbers(clip, Span(start=5 / rate, skip=4, every=2, count=4)) == everything[9:17:2]
    assert clip.count() == COUNT
    assert clip.count(Span(start=5 / rate, skip=4, every=2, count=4)) == 4
    assert clip.count(Span(start=13 / rate, every=3)) == 4


def test_frames_keep_their_uneven_times(make_clip):
    times = np.cumsum([0] + [1 + (3 * index) % 7 for index in range(COUNT - 1)]).tolist()
    clip = Clip(make_clip("uneven.mkv", times=times, time_base=Fraction(1, 50)))
    seconds = [frame.pts * clip.info.time_base for frame in clip.frames()]
    assert seconds == [Fraction(time, 50) for time in times]
    for skip in (5, 17):
        (frame,) = clip.frames(Span(skip=skip, count=1))
        assert number_of(to_rgb(frame.picture)) == skip
        assert frame.pts * clip.info.time_base == Fraction(times[skip], 50)
    (frame,) = clip.frames(Span(start=times[9] / 50, count=1))
    assert number_of(to_rgb(frame.picture)) == 9


@pytest.mark.parametrize("rotation", [90, 180, -90])
def test_rotated_clips_stand_upright(make_clip, rotation):
    def tilted(index, width, height):
        return np.ascontiguousarray(np.rot90(numbered(index, HEIGHT, WIDTH), -rotation // 90))

    size = (WIDTH, HEIGHT) if abs(rotation) == 90 else (HEIGHT, WIDTH)
    clip = Clip(make_clip("phone.mp4", size=size, rotation=rotation, frame=tilted))
    assert clip.info.rotation == rotation % 360
    assert (clip.info.width, clip.info.height) == (HEIGHT, WIDTH)
    frame = next(clip.frames(Span(skip=5)))
    assert (frame.picture.width, frame.picture.height) == (HEIGHT, WIDTH)
    difference = to_rgb(frame.picture).astype(int) - numbered(5, HEIGHT, WIDTH)
    assert np.abs(difference).mean() < 4


MIRRORED = {  # display matrix a, b, c, d -> the stored frame as it is shown
    (-1, 0, 0, 1): np.fliplr,
    (1, 0, 0, -1): np.flipud,
    (0, 1, 1, 0): lambda stored: stored.swapaxes(0, 1),
    (0, -1, -1, 0): lambda stored: np.rot90(stored.swapaxes(0, 1), 2),
}


@pytest.mark.parametrize("matrix", list(MIRRORED))
def test_mirrored_clips_are_shown_as_players_do(make_clip, matrix):
    path = make_clip("mirror.mp4")
    a, b, c, d = (0x10000 * value for value in matrix)
    data = bytearray(path.read_bytes())
    place = data.index(b"tkhd") + 44  # where MP4's track header has the matrix
    data[place : place + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    shown = to_rgb(next(Clip(path).frames(Span(skip=5))).picture).astype(int)
    assert np.abs(shown - MIRRORED[matrix](numbered(5))).mean() < 4


def test_odd_sizes_are_whole(make_clip):
    clip = Clip(make_clip("odd.mkv", codec="ffv1", pixels="yuv444p", size=(61, 47)))
    rgb = to_rgb(next(clip.frames()).picture)
    assert rgb.shape == (47, 61, 3)
    assert np.abs(rgb.astype(int) - numbered(0, 61, 47)).max() <= 3


def test_ten_bits_stay_ten_bits(tmp_path):
    ramp = np.linspace(64, 940, WIDTH).round().astype(np.uint16)
    with av.open(str(tmp_path / "deep.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=12)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv444p10le"
        frame = av.VideoFrame(WIDTH, HEIGHT, "yuv444p10le")
        for plane, values in zip(frame.planes, (ramp, 512, 512), strict=True):
            np.frombuffer(plane, np.uint16).reshape(HEIGHT, -1)[:, :WIDTH] = values
        frame.pts = 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    clip = Clip(tmp_path / "deep.mkv")
    assert clip.info.bits == 10
    deep = to_deep_rgb(next(clip.frames()).picture)
    assert np.abs(deep - ((ramp - 64) / 876)[:, None]).max() < 0.1 / 876


@pytest.mark.parametrize("pixels", ["gbrp16le", "gbrap16le", "rgba64le", "rgb48le"])
@pytest.mark.parametrize("size", [None, (24, 12)])
def test_rgb_of_16_bits_keeps_all_of_them(pixels, size):
    steps = np.arange(48, dtype=np.uint16) // 2 * 2700  # two columns alike, so that halving changes nothing
    rgba = np.stack([np.tile(channel, (24, 1)) for channel in (steps, steps[::-1], steps * 0 + 999, steps)], axis=-1)
    picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgba), format="rgba64le").reformat(format=pixels)
    expected = rgba[:: 2 if size else 1, :: 2 if size else 1, :3]
    tolerance = 64 if size else 2  # the scaler rounds to fewer bits
    assert np.abs(to_deep_rgb(picture, size) * 65535 - expected).max() < tolerance


@pytest.mark.parametrize("pixels", ["yuv420p", "yuv420p10le", "yuv422p", "yuv444p10le"])
@pytest.mark.parametrize("colour", [(60, 140, 90), (200, 40, 30), (30, 60, 210)])
def test_deep_colours_are_those_of_8_bits(make_clip, pixels, colour):
    """From 4:2:0 to packed 16-bit RGB FFmpeg's scaler gives other colours."""
    plain = np.full((HEIGHT, WIDTH, 3), colour, np.uint8)
    path = make_clip("plain.mkv", codec="ffv1", pixels=pixels, count=1, frame=lambda *_: plain)
    picture = next(Clip(path).frames()).picture
    for size in (None, (40, 30)):
        assert np.abs(to_deep_rgb(picture, size) * 255 - colour).max() < 2.5
        assert np.abs(to_rgb(picture, size).astype(int) - colour).max() <= 3


def translucent(index, width, height):
    alpha = np.linspace(0, 255, width).round().astype(np.uint8)[None].repeat(height, axis=0)
    return np.dstack([numbered(index, width, height), np.roll(alpha, index, axis=1)])


@pytest.mark.parametrize(
    ("name", "codec", "pixels", "options", "off"),
    [
        ("a.webm", "libvpx-vp9", "yuva420p", {"crf": "4", "b": "0", "auto-alt-ref": "0"}, 6),
        ("a.mov", "prores_ks", "yuva444p10le", {"profile": "4444", "alpha_bits": "16"}, 0.5),
        ("a.mov", "qtrle", "argb", {}, 0),
        ("a.mov", "png", "rgba", {}, 0),
    ],
)
def test_transparent_sources_keep_their_alpha(make_clip, name, codec, pixels, options, off):
    clip = Clip(make_clip(name, codec=codec, pixels=pixels, options=options, frame=translucent, count=9))
    assert clip.info.has_alpha
    for index, frame in enumerate(clip.frames()):
        alpha = own_alpha(frame.picture)
        assert np.abs(alpha * 255 - translucent(index, WIDTH, HEIGHT)[..., 3]).max() <= off
    assert index == 8
    assert number_of(to_rgb(next(clip.frames(Span(skip=7))).picture)) == 7


@pytest.mark.parametrize("size", [(24, 20), (64, 48), (100, 60)])
def test_what_the_network_sees_is_the_resized_picture(make_clip, size):
    picture = next(Clip(make_clip()).frames()).picture
    rgb = torch.from_numpy(to_rgb(picture)).permute(2, 0, 1)[None].float() / 255
    ideal = resize(rgb, (size[1], size[0]))[0].permute(1, 2, 0)
    difference = (to_seen(picture, size) - ideal).abs()
    assert difference[1:-1, 1:-1].max() < 0.3 / 255
    assert difference.max() < 4 / 255


@pytest.mark.parametrize(("matrix", "full"), [(1, False), (5, False), (1, True), (9, False)])
def test_colours_follow_the_tags(make_clip, matrix, full):
    """Against the definition of each matrix, H.273."""
    red, blue = {1: (0.2126, 0.0722), 5: (0.299, 0.114), 9: (0.2627, 0.0593)}[matrix]

    def planes(container, stream):
        frame = av.VideoFrame(WIDTH, HEIGHT, "yuv444p")
        for index, value in enumerate((120, 90, 160)):
            np.frombuffer(frame.planes[index], np.uint8)[:] = value
        frame.colorspace, frame.color_range = matrix, 2 if full else 1
        frame.pts = 0
        container.mux(stream.encode(frame))

    path = make_clip("tagged.mkv", codec="ffv1", pixels="yuv444p", count=1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=12)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv444p"
        stream.codec_context.colorspace, stream.codec_context.color_range = matrix, 2 if full else 1
        planes(container, stream)
        container.mux(stream.encode(None))
    y, u, v = (120 / 255, (90 - 128) / 255, (160 - 128) / 255) if full else (104 / 219, -38 / 224, 32 / 224)
    r, b = y + 2 * (1 - red) * v, y + 2 * (1 - blue) * u
    g = (y - red * r - blue * b) / (1 - red - blue)
    pixel = to_rgb(next(Clip(path).frames()).picture)[20, 20]
    assert np.abs(pixel / 255 - (r, g, b)).max() < 1 / 255


def test_bytes_are_read_as_a_file_is(make_clip):
    path = make_clip()
    clip = Clip(io.BytesIO(path.read_bytes()), "uploaded")
    assert numbers(clip, Span(skip=10, count=2)) == [10, 11]
    assert numbers(clip) == list(range(COUNT))


def test_a_clip_that_begins_late_begins_at_zero(make_clip):
    clip = Clip(make_clip("late.mkv", times=[30 + index for index in range(COUNT)]))
    assert next(clip.frames()).pts == 0
    assert numbers(clip, Span(start=1.0, count=2)) == [12, 13]


def test_a_broadcast_cut_out_in_the_midst_begins_where_it_can_be_decoded(make_clip):
    """Its first pictures need one from before the cut. Counts, spans and sound are of those that are left."""
    path = make_clip("whole.ts", sound="aac", options={"x264-params": "bframes=0:scenecut=0:keyint=8:min-keyint=8"})
    data = path.read_bytes()
    path.write_bytes(data[188 * (len(data) // 188 // 9) :])
    clip = Clip(path)
    left = numbers(clip)
    assert left[0] == 8
    assert clip.count() == len(left)
    assert numbers(clip, Span(skip=3, count=4)) == left[3:7]
    for span in (WHOLE, Span(count=10)):
        batch = read_batch(clip, span)
        assert [number_of(frame.numpy()) for frame in batch.frames] == left[: span.count]
        samples, rate = batch.sound
        clicks = onsets(samples[0].numpy(), rate)
        assert clicks[1][0] == pytest.approx(0.8 - 8 / 12, abs=0.01)  # 0 is the eighth frame's time; 10 ms of click 8
        assert clicks[1][1] == pytest.approx(10, abs=3)
        if span.count:
            assert samples.shape[1] / rate == pytest.approx(10 / 12, abs=0.01)


def said(path, span=WHOLE):
    with pytest.raises(VideoError) as caught:
        list(Clip(path).frames(span))
    text = str(caught.value)
    assert text.startswith(str(path))
    assert "\n" not in text
    return text


def test_what_is_no_clip_is_told_in_one_sentence(bad_clips, tmp_path):
    (tmp_path / "bad").mkdir()
    bad_clips(tmp_path / "bad")
    for name, words in BAD.items():
        assert words in said(tmp_path / "bad" / name), name
    assert "does not exist" in said(tmp_path / "missing.mp4")
    assert "is a folder" in said(tmp_path)


@pytest.mark.parametrize(
    ("name", "codec", "pixels"),
    [("cut.mp4", "mpeg4", "yuv420p"), ("cut.mkv", "ffv1", "yuv444p"), ("cut.avi", "mjpeg", "yuvj420p")],
)
def test_a_cut_off_file_gives_its_frames_and_then_says_so(make_clip, name, codec, pixels):
    path = make_clip(name, codec=codec, pixels=pixels, count=60, container_options={"movflags": "faststart"})
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 6 // 10])
    clip, seen = Clip(path), []
    with pytest.raises(VideoError, match="is cut off"):
        for frame in clip.frames():
            seen.append(number_of(to_rgb(frame.picture)))
    assert 12 < len(seen) < 60
    assert seen[:12] == list(range(12))
    assert numbers(clip, Span(count=10)) == list(range(10))


@pytest.mark.parametrize("sound", [None, "aac"])
def test_a_matroska_file_that_lacks_a_tenth_is_cut_off(make_clip, sound):
    path = make_clip("long.mkv", codec="mpeg4", count=255, sound=sound)
    data = path.read_bytes()
    assert numbers(Clip(path)) == list(range(255))
    path.write_bytes(data[: len(data) * 93 // 100])
    assert "is cut off" in said(path)
    path.write_bytes(data[:-20])  # of the index, behind the pictures
    assert numbers(Clip(path)) == list(range(255))


def test_a_whole_matroska_file_is_not_cut_off(make_clip, tmp_path):
    """Whatever its header says of the length: the last picture is held, or the pictures begin late."""
    held = tmp_path / "held.mkv"
    with av.open(str(make_clip("plain.mkv"))) as given, av.open(str(held), "w") as made:
        stream = made.add_stream_from_template(given.streams.video[0])
        packets = [packet for packet in given.demux(video=0) if packet.size]
        packets[-1].duration = 20_000
        for packet in packets:
            packet.stream = stream
            made.mux(packet)
    late = make_clip("late.mkv", times=[100 + index for index in range(COUNT)], sound="aac")
    for path in (held, late):
        assert numbers(Clip(path)) == list(range(COUNT))


def test_a_program_stream_gives_exactly_its_frames(make_clip):
    options = {"bf": "2"}
    clip = Clip(make_clip("a.mpg", codec="mpeg2video", count=100, rate=25, time_base=Fraction(1, 25), options=options))
    for skip in range(1, 100, 7):
        assert numbers(clip, Span(skip=skip, count=2)) == list(range(100))[skip : skip + 2]


def test_a_span_past_the_end_is_told(make_clip):
    path = make_clip()
    assert "no frames from 0 s and 24 frames on" in said(path, Span(skip=24))
    assert "has no frames from 3 s on: it is 2.00 s long" in said(path, Span(start=3))
    wrong = {"start": -1, "end": 0, "every": 0, "count": 0, "skip": -1}
    for name, value in (*wrong.items(), *dict.fromkeys(wrong, float("nan")).items(), ("every", 10**7), ("skip", 1.5)):
        with pytest.raises(ValueError, match=f"^{name} must"):
            Span(**{name: value})


def test_a_play_list_is_not_followed(make_clip, tmp_path):
    """A stranger's file may name others; none is opened."""
    secret = make_clip("secret.ts")
    for name, text in (
        ("list.m3u8", f"#EXTM3U\n#EXTINF:2,\n{secret}\n#EXT-X-ENDLIST\n"),
        ("list.mp4", f"ffconcat version 1.0\nfile {secret}\n"),
    ):
        (tmp_path / name).write_text(text)
        assert "not a clip we can read" in said(tmp_path / name)


def test_further_streams_do_no_harm(make_clip, tmp_path):
    path = tmp_path / "rich.mkv"
    with av.open(str(make_clip("a.mkv", sound="aac"))) as given, av.open(str(path), "w") as made:
        targets = {stream: made.add_stream_from_template(stream) for stream in given.streams}
        second = made.add_stream_from_template(given.streams.video[0])
        for packet in given.demux():
            if packet.size:
                stream, copy = packet.stream, av.Packet(bytes(packet))
                copy.pts, copy.dts, copy.time_base = packet.pts, packet.dts, packet.time_base
                packet.stream = targets[stream]
                made.mux(packet)
                if stream.type == "video":
                    copy.stream = second
                    made.mux(copy)
    clip = Clip(path)
    assert numbers(clip) == list(range(COUNT))
    assert clip.count() == COUNT
