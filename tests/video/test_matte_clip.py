"""Whole clips matted: each result is decoded again and compared with what should be in it."""

import os
import signal
import threading
from fractions import Fraction
from time import sleep

import av
import numpy as np
import pytest
import torch
from PIL import Image

from birefnet_core.video import FORMATS, Clip, Look, Span, Stopped, VideoError, matte_clip
from birefnet_core.video.colour import to_rgb
from birefnet_core.video.notes import notes_to
from birefnet_core.video.sound import read_samples
from birefnet_core.video.write import TIMES
from tests.video.pictures import COUNT, HEIGHT, WIDTH, number_of, numbered, onsets


def ellipse(pixels):
    """Alpha [n, h, w] of a soft ellipse whose place depends on each frame's number, which is read off its picture."""
    _, height, width = pixels.shape[:3]
    y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    places = [(number_of(picture.numpy()) - COUNT / 2) / COUNT for picture in pixels]
    return torch.stack([((0.7 - (x - place) ** 2 - y**2) * 2).clamp(0, 1) for place in places])


def truth(count=COUNT, size=(WIDTH, HEIGHT)):
    return ellipse(torch.from_numpy(np.stack([numbered(index, *size) for index in range(count)]))).numpy()


@pytest.fixture
def matted(make_clip, tmp_path):
    """`matted(format, ...)` -> the result's path. clip: arguments of make_clip."""

    def run(format, *, clip=None, out=None, **options):
        source = make_clip(**{"codec": "ffv1", "pixels": "yuv444p", "name": "clip.mkv", **(clip or {})})
        path = tmp_path / (out or "out" + FORMATS[format].suffix)
        return matte_clip(Clip(source), path, ellipse, format=format, **options)

    return run


def test_prores_carries_alpha_and_colours(matted, decode):
    frames, times = decode(matted("prores"))
    assert np.abs(frames[..., 3] / 255 - truth()).max() <= 1 / 255
    assert [number_of(frame) for frame in frames[..., :3]] == list(range(COUNT))
    source = np.stack([numbered(index) for index in range(COUNT)])
    assert np.abs(frames[..., :3].astype(int) - source).mean() < 1
    assert times == pytest.approx([index / 12 for index in range(COUNT)], abs=6e-4)  # Matroska counts milliseconds


def test_webm_carries_alpha(matted, decode):
    frames, times = decode(matted("webm"))
    assert np.abs(frames[..., 3] / 255 - truth()).mean() < 0.02
    assert [number_of(frame) for frame in frames[..., :3]] == list(range(COUNT))
    assert times == pytest.approx([index / 12 for index in range(COUNT)], abs=0.0011)


def test_png_pictures_are_exact(matted):
    folder = matted("png")
    names = sorted(path.name for path in folder.iterdir())
    assert names == [f"{index + 1:06d}.png" for index in range(COUNT)] + [TIMES]
    alpha = truth()
    for index in (0, 11, COUNT - 1):
        rgba = np.asarray(Image.open(folder / names[index]))
        assert np.abs(rgba[..., 3] - alpha[index] * 255).max() <= 0.51
        assert np.abs(rgba[..., :3].astype(int) - numbered(index)).max() <= 3
    seconds = [float(line) for line in (folder / TIMES).read_text().split()]
    assert seconds == pytest.approx([index / 12 for index in range(COUNT)], abs=6e-4)


@pytest.mark.parametrize("background", ["#20c040", "picture"])
def test_h264_lies_on_the_background(matted, decode, tmp_path, background):
    colour = np.array([0x20, 0xC0, 0x40], np.float32)
    if background == "picture":
        Image.new("RGB", (200, 30), "#20c040").save(tmp_path / "back.png")
        background = tmp_path / "back.png"
    frames, _ = decode(matted("h264", look=Look(background=background)))
    alpha = truth()[..., None]
    source = np.stack([numbered(index) for index in range(COUNT)])
    ideal = alpha * source + (1 - alpha) * colour
    assert np.abs(frames[..., :3] - ideal).mean() < 3
    assert (frames[..., 3] == 255).all()


def test_the_mask_is_the_alpha(matted, decode):
    frames, _ = decode(matted("mask"))
    assert np.abs(frames[..., 1] / 255 - truth()).mean() < 0.01


def test_side_by_side_shows_source_mask_and_cut_out(matted, decode):
    frames, _ = decode(matted("side-by-side"))
    assert frames.shape == (COUNT, HEIGHT, 3 * WIDTH, 4)
    assert [number_of(frame[:, :WIDTH, :3]) for frame in frames] == list(range(COUNT))
    assert np.abs(frames[:, :, WIDTH : 2 * WIDTH, 1] / 255 - truth()).mean() < 0.02


@pytest.mark.parametrize("format", list(FORMATS))
def test_odd_sizes_fit_every_format(matted, format):
    path = matted(format, clip={"size": (61, 47), "count": 3})
    if FORMATS[format].muxer is None:
        with av.open(str(min(path.glob("*.[pe][nx][gr]")))) as picture:
            assert (picture.streams.video[0].width, picture.streams.video[0].height) == (61, 47)
        return
    info = Clip(path).info
    wide = 183 if format == "side-by-side" else 61
    assert (info.width, info.height) == ((wide + 1, 48) if FORMATS[format].even else (wide, 47))


@pytest.mark.parametrize("format", ["prores", "h264", "webm"])
def test_uneven_frame_times_are_kept(matted, decode, format):
    times = np.cumsum([0] + [1 + (3 * index) % 7 for index in range(COUNT - 1)]).tolist()
    clip = {"times": [5 + time for time in times], "time_base": Fraction(1, 50)}
    _, seconds = decode(matted(format, clip=clip))
    assert seconds == pytest.approx([time / 50 for time in times], abs=1.1e-3 if format == "webm" else 1e-9)


@pytest.mark.parametrize("format", ["prores", "h264", "webm"])
def test_the_last_picture_is_held_as_long_as_it_was(make_clip, tmp_path, format):
    pictures = [Image.fromarray(numbered(index)) for index in range(10)]
    source = tmp_path / "held.gif"
    pictures[0].save(source, save_all=True, append_images=pictures[1:], duration=[100] * 9 + [5000])
    path = matte_clip(Clip(source), tmp_path / f"out{FORMATS[format].suffix}", ellipse, format=format)
    with av.open(str(path)) as container:
        assert container.duration / 1e6 == pytest.approx(5.9, abs=0.01)


@pytest.mark.parametrize("count", range(3, 10))
@pytest.mark.parametrize("format", ["prores", "h264", "webm"])
def test_the_average_frame_rate_stays(make_clip, tmp_path, format, count):
    """Which other programs, ComfyUI among them, take for the clip's: H.264 stores its pictures in another order."""
    source = make_clip("clip.mp4", codec="libx264", count=count)
    path = matte_clip(Clip(source), tmp_path / f"out{FORMATS[format].suffix}", ellipse, format=format)
    with av.open(str(path)) as container:
        assert container.streams.video[0].average_rate == 12
        assert container.duration / 1e6 == pytest.approx(count / 12, abs=2e-3)


@pytest.mark.parametrize("format", ["prores", "h264", "webm"])
def test_colours_are_tagged_and_kept(matted, format):
    tags = {"colorspace": 5, "color_range": 2, "color_primaries": 5, "color_trc": 6}
    clip = {"codec": "libx264", "pixels": "yuv444p", "options": {"qp": "0"}, "tags": tags, "count": 3}
    path = matted(format, clip=clip, look=Look(background="#000000"))
    frame = next(Clip(path).frames()).picture
    assert (frame.colorspace, frame.color_range) == (5, 1)
    assert (Clip(path).info.primaries, Clip(path).info.transfer) == (5, 6)


def test_an_untagged_curve_of_bt2020_is_its_own(matted):
    """H.273 numbers it 14; 9, the number of the matrix and the primaries, is a logarithmic curve."""
    clip = {"codec": "libx264", "tags": {"colorspace": 9, "color_primaries": 9}, "count": 2}
    info = Clip(matted("h264", clip=clip)).info
    assert (info.primaries, info.transfer) == (9, 14)


def test_clean_foreground_keeps_the_colours_of_what_is_opaque(make_clip, tmp_path):
    source = make_clip(count=2, frame=lambda *_: np.full((HEIGHT, WIDTH, 3), (60, 140, 90), np.uint8))
    path = tmp_path / "out.mov"
    matte_clip(Clip(source), path, lambda pixels: torch.ones(pixels.shape[:3]), look=Look(clean_foreground=True))
    assert np.abs(to_rgb(next(Clip(path).frames()).picture).astype(int) - (60, 140, 90)).max() <= 4


@pytest.mark.parametrize("size", [None, (64, 48)])
def test_frames_that_change_their_size_are_matted_at_the_first_ones(make_clip, tmp_path, size):
    parts = [make_clip(f"{side}.ts", size=(side, 48), count=6) for side in (64, 96)]
    joined = tmp_path / "joined.ts"
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    assert {frame.picture.width for frame in Clip(joined).frames()} == {64, 96}
    path = matte_clip(Clip(joined), tmp_path / "out.mov", lambda pixels: torch.ones(pixels.shape[:3]), size=size)
    assert {(frame.picture.width, frame.picture.height) for frame in Clip(path).frames()} == {(64, 48)}


def test_a_colour_needs_no_hash(matted, decode):
    frames, _ = decode(matted("h264", clip={"count": 1}, look=Look(background="20c040")))
    assert np.abs(frames[0, -1, -1, :3].astype(int) - (0x20, 0xC0, 0x40)).max() < 12


def heard(path):
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        resampler = av.AudioResampler(format="fltp", layout="mono", rate=48_000)
        frames = [frame for packet in container.demux(stream) for frame in packet.decode()]
        begins = round(frames[0].pts * frames[0].time_base * 48_000)
        pieces = [piece.to_ndarray()[0] for frame in [*frames, None] for piece in resampler.resample(frame)]
        samples = np.concatenate([np.zeros(max(0, begins), np.float32), *pieces])[max(0, -begins) :]
        return stream.codec_context.name, onsets(samples, 48_000)


@pytest.mark.parametrize(
    ("format", "sound", "codec"),
    [("prores", "aac", "aac"), ("prores", "pcm_s16le", "pcm_s16le"), ("h264", "aac", "aac"), ("h264", "libopus", "aac"),
     ("webm", "libopus", "opus"), ("webm", "aac", "opus")],
)  # fmt: skip
@pytest.mark.parametrize("skip", [0, 7])
def test_sound_stays_in_time(matted, format, sound, codec, skip):
    """Copied where the container takes it, else encoded again; the n-th click of the source is n + 2 ms long."""
    path = matted(format, clip={"sound": sound}, span=Span(skip=skip))
    found, clicks = heard(path)
    assert found.replace("libopus", "opus") == codec
    begin = skip / 12
    ideal = [(index / 10 - begin, index + 2) for index in range(20) if index / 10 >= begin]
    assert len(clicks) == pytest.approx(len(ideal), abs=1)
    clicks = clicks[-len(ideal) :]  # a click cut in two by the beginning may be heard still
    for (time, length), (ideal_time, ideal_length) in zip(clicks, ideal):
        assert time == pytest.approx(ideal_time, abs=0.004)
        assert length == pytest.approx(ideal_length, abs=4)


def with_a_gap(source, path):
    """The clip without the packets of its sound from 0.5 to 1.5 s."""
    with av.open(str(source)) as given, av.open(str(path), "w") as made:
        streams = {stream: made.add_stream_from_template(stream) for stream in given.streams}
        for packet in given.demux():
            quiet = packet.stream.type == "audio" and packet.pts and 0.5 <= packet.pts * packet.time_base < 1.5
            if packet.dts is not None and not quiet:
                packet.stream = streams[packet.stream]
                made.mux(packet)
    return path


def test_sound_after_a_gap_stays_in_time(make_clip, tmp_path):
    whole = make_clip("whole.mkv", codec="ffv1", pixels="yuv444p", sound="libopus")
    source = with_a_gap(whole, tmp_path / "gap.mkv")
    path = matte_clip(Clip(source), tmp_path / "out.mov", ellipse)
    samples, rate = read_samples(Clip(source).source, Fraction(0), None)
    for clicks in (heard(path)[1], onsets(samples[0], rate)):
        times = [time for time, _ in clicks]
        assert not [time for time in times if 0.6 < time < 1.4]
        assert times[-4:] == pytest.approx([1.6, 1.7, 1.8, 1.9], abs=0.005)


def test_sound_ends_with_the_span(matted):
    path = matted("h264", clip={"sound": "libopus"}, span=Span(skip=3, count=6))
    assert [round(time, 2) for time, _ in heard(path)[1]] == pytest.approx([0.05, 0.15, 0.25, 0.35, 0.45], abs=0.01)


def test_what_was_transparent_stays_so(matted, decode):
    def half(index, width, height):
        alpha = np.full((height, width), 255, np.uint8)
        alpha[:, : width // 2] = 0
        return np.dstack([numbered(index, width, height), alpha])

    path = matted("prores", clip={"name": "a.mov", "codec": "png", "pixels": "rgba", "frame": half, "count": 4})
    frames, _ = decode(path)
    assert (frames[:, :, : WIDTH // 2, 3] == 0).all()
    assert np.abs(frames[:, :, WIDTH // 2 :, 3] / 255 - truth(4)[:, :, WIDTH // 2 :]).max() <= 1 / 255


def test_the_network_may_see_frames_smaller(make_clip, tmp_path, decode):
    shapes = set()

    def matte(pixels):
        shapes.add(tuple(pixels.shape[1:]))
        return ellipse(pixels)

    source = make_clip("clip.mkv", codec="ffv1", pixels="yuv444p")
    path = matte_clip(Clip(source), tmp_path / "a.mov", matte, size=(40, 24))
    assert shapes == {(24, 40, 3)}
    assert np.abs(decode(path)[0][..., 3] / 255 - truth()).mean() < 0.05


def test_every_other_frame_keeps_its_time(matted, decode):
    frames, times = decode(matted("h264", clip={"sound": "aac"}, span=Span(every=3)))
    assert times == pytest.approx([index / 4 for index in range(8)], abs=6e-4)
    assert len(frames) == 8


def test_progress_counts_up_and_shows_each_frame(matted):
    seen = []
    matted("mask", on_progress=seen.append)
    assert [step.done for step in seen] == list(range(1, COUNT + 1))
    assert {step.total for step in seen} == {COUNT}
    assert [number_of(step.pixels.numpy()) for step in seen] == list(range(COUNT))
    assert torch.equal(seen[5].alpha, ellipse(seen[5].pixels[None])[0])


def listing(folder):
    return sorted(path.name for path in folder.iterdir())


class Interrupted(BaseException):
    pass


@pytest.mark.parametrize("format", ["prores", "webm", "h264", "png"])
def test_an_interrupt_leaves_what_is_done_and_playable(matted, tmp_path, decode, format):
    def stop(progress):
        if progress.done == 12:
            raise Interrupted

    before, said = threading.active_count(), []
    with pytest.raises(Interrupted), notes_to(said.append):
        matted(format, clip={"sound": "aac"}, on_progress=stop)
    assert threading.active_count() == before
    partial = "out.partial" + FORMATS[format].suffix
    assert f"stopped; the 12 frames done are in {tmp_path / partial}" in said
    assert listing(tmp_path) == ["clip.mkv", partial]
    if format == "png":
        assert len(listing(tmp_path / partial)) == 13
        return
    frames, _ = decode(tmp_path / partial)
    assert len(frames) == 12
    if format != "h264":  # whose pictures lie on green by now
        assert [number_of(frame) for frame in frames[..., :3]] == list(range(len(frames)))
    clicks = heard(tmp_path / partial)[1]
    assert clicks[-1][0] <= len(frames) / 12 + 0.03


def test_a_failing_network_leaves_what_is_done(make_clip, tmp_path, decode):
    def matte(pixels):
        if number_of(pixels[0].numpy()) == 12:
            raise ArithmeticError("the network gave NaN")
        return ellipse(pixels)

    (tmp_path / "out.partial.mov").write_bytes(b"kept from an earlier run")
    source = make_clip("clip.mkv", codec="ffv1", pixels="yuv444p")
    with pytest.raises(Stopped, match=r"gave NaN; the 12 frames done are in .*out\.partial-2\.mov") as caught:
        matte_clip(Clip(source), tmp_path / "out.mov", matte)
    assert isinstance(caught.value.__cause__, ArithmeticError)
    assert len(decode(caught.value.partial)[0]) == 12
    assert (tmp_path / "out.partial.mov").read_bytes() == b"kept from an earlier run"
    assert not (tmp_path / "out.mov").exists()


@pytest.mark.parametrize("letter", ["n", "ß"])
def test_what_is_done_of_a_clip_with_a_long_name_is_kept(make_clip, tmp_path, letter):
    def matte(pixels):
        if number_of(pixels[0].numpy()) == 12:
            raise ArithmeticError("the network gave NaN")
        return ellipse(pixels)

    source = make_clip("clip.mkv", codec="ffv1", pixels="yuv444p")
    name = letter * (251 // len(letter.encode()))
    for number in ("", "-2"):
        with pytest.raises(Stopped, match="12 frames done are in") as caught:
            matte_clip(Clip(source), tmp_path / "out" / f"{name}.mov", matte)
        assert caught.value.partial.name.endswith(f"{letter}.partial{number}.mov")
        assert len(caught.value.partial.name.encode()) > 240 and len(list(Clip(caught.value.partial).frames())) == 12
    assert len(list((tmp_path / "out").iterdir())) == 2


def test_what_is_kept_of_folders_is_numbered_too(matted, tmp_path):
    """And what they are called may have a dot in it."""

    def stop(progress):
        raise Interrupted

    for _ in range(2):
        with pytest.raises(Interrupted):
            matted("png", out="take.one", on_progress=stop)
    assert listing(tmp_path)[1:] == ["take.one.partial", "take.one.partial-2"]


def test_a_network_that_fails_at_once_leaves_nothing(make_clip, tmp_path):
    source = make_clip("clip.mkv", codec="ffv1", pixels="yuv444p")
    (tmp_path / "out.mov").write_bytes(b"before")

    def matte(pixels):
        raise ArithmeticError("the network gave NaN")

    with pytest.raises(ArithmeticError, match="NaN"):
        matte_clip(Clip(source), tmp_path / "out.mov", matte, overwrite=True)
    assert listing(tmp_path) == ["clip.mkv", "out.mov"]
    assert (tmp_path / "out.mov").read_bytes() == b"before"


def test_a_cut_off_clip_leaves_what_could_be_read(make_clip, tmp_path, decode):
    source = make_clip("cut.avi", codec="mjpeg", pixels="yuvj420p", count=40)
    data = source.read_bytes()
    source.write_bytes(data[: len(data) * 7 // 10])
    with pytest.raises(Stopped, match="is cut off") as caught:
        matte_clip(Clip(source), tmp_path / "out.mov", ellipse)
    assert isinstance(caught.value.__cause__, VideoError)
    frames, _ = decode(caught.value.partial)
    assert [number_of(frame) for frame in frames[..., :3]][:12] == list(range(12))


@pytest.mark.parametrize("batch", [4, 64])
@pytest.mark.parametrize("strength", [0.0, 1.0])
def test_every_frame_before_the_cut_is_kept(make_clip, tmp_path, decode, batch, strength):
    source = make_clip("cut.avi", codec="mjpeg", pixels="yuvj420p", count=40)
    data = source.read_bytes()
    source.write_bytes(data[: len(data) * 7 // 10])
    readable = []
    with pytest.raises(VideoError):
        for frame in Clip(source).frames():
            readable.append(number_of(to_rgb(frame.picture)))
    with pytest.raises(Stopped, match=f"the {len(readable)} frames done") as caught:
        matte_clip(Clip(source), tmp_path / "out.mov", ellipse, batch=batch, look=Look(stabilise=strength))
    assert [number_of(frame) for frame in decode(caught.value.partial)[0][..., :3]] == readable


def test_frames_that_wait_for_stabilisation_outlive_a_failure(make_clip, tmp_path):
    def matte(pixels):
        if number_of(pixels[0].numpy()) == 12:
            raise ArithmeticError("the network gave NaN")
        return ellipse(pixels)

    source = make_clip("clip.mkv", codec="ffv1", pixels="yuv444p")
    with pytest.raises(Stopped, match="the 12 frames done"):
        matte_clip(Clip(source), tmp_path / "out.mov", matte, look=Look(stabilise=1.0))


@pytest.mark.parametrize("strength", [0.0, 1.0])
@pytest.mark.parametrize("where", ["progress", "network"])
def test_nothing_that_was_matted_is_lost_by_a_stop(make_clip, tmp_path, decode, where, strength):
    """Neither what waits for stabilisation nor the rest of a batch."""
    source = make_clip("clip.mkv", codec="ffv1", pixels="yuv444p")
    batches = []

    def matte(pixels):
        batches.append(number_of(pixels[0].numpy()))
        if where == "network" and batches[-1] == 12:
            raise Interrupted
        return ellipse(pixels)

    def stop(progress):
        if where == "progress" and progress.done == 2:
            raise Interrupted

    with pytest.raises(Interrupted):
        matte_clip(Clip(source), tmp_path / "out.mov", matte, look=Look(stabilise=strength), on_progress=stop)
    done = [number_of(frame) for frame in decode(tmp_path / "out.partial.mov")[0][..., :3]]
    assert done == list(range(12 if where == "network" else 4 * len(batches)))
    assert len(batches) <= (4 if where == "network" else 2)


def press_ctrl_c():
    os.kill(os.getpid(), signal.SIGINT)
    sleep(0.1)  # until it has been noticed


@pytest.mark.skipif(os.name == "nt", reason="kill() ends the process there")
@pytest.mark.parametrize(("first", "kept"), [(0, "out.mov"), (12, "out.partial.mov")])
def test_ctrl_c_while_finishing_loses_nothing(make_clip, tmp_path, monkeypatch, first, kept):
    """first: the frame at which it is pressed before."""

    def press_at(progress):
        if progress.done == first:
            press_ctrl_c()

    def interrupted(file, fsync=os.fsync):
        press_ctrl_c()
        press_ctrl_c()
        fsync(file)

    source = make_clip("clip.mkv", codec="ffv1", pixels="yuv444p")
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background jobs begin without
    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        matte_clip(Clip(source), tmp_path / "out.mov", ellipse, on_progress=press_at)
    assert listing(tmp_path) == ["clip.mkv", kept]
    assert len(list(Clip(tmp_path / kept).frames())) == (first or COUNT)


def test_nothing_is_overwritten_unasked(matted, tmp_path, decode):
    path = matted("prores")
    content = path.read_bytes()
    with pytest.raises(FileExistsError, match="is not overwritten"):
        matted("prores")
    assert path.read_bytes() == content
    matted("prores", overwrite=True, span=Span(count=3))
    assert len(decode(path)[0]) == 3


def test_a_clip_whose_name_was_taken_meanwhile_is_kept(matted, tmp_path, decode):
    def take(progress):
        (tmp_path / "out.mov").write_text("another's")

    with pytest.raises(FileExistsError, match=r"is not overwritten.*this clip is whole, in .*out\.partial\.mov"):
        matted("prores", on_progress=take)
    assert (tmp_path / "out.mov").read_text() == "another's"
    assert len(decode(tmp_path / "out.partial.mov")[0]) == COUNT
    assert not list(tmp_path.glob(".*"))


def test_a_folder_is_replaced_only_by_a_whole_one_of_the_same_kind(matted, tmp_path):
    folder = matted("png")
    with pytest.raises(FileExistsError):
        matted("png")
    matted("png", overwrite=True, span=Span(count=2))
    assert listing(folder) == ["000001.png", "000002.png", TIMES]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(FileExistsError, match="left alone"):
        matted("png", out="mine", overwrite=True)
    assert listing(tmp_path / "mine") == ["letter.txt"]
    assert listing(tmp_path) == ["clip.mkv", "mine", "out"]


@pytest.mark.parametrize("format", ["prores", "h264", "webm"])
def test_tags_are_written(matted, format):
    with av.open(str(matted(format, clip={"count": 2}, metadata={"prompt": '{"1": "ä"}'}))) as container:
        tags = {key.lower(): value for key, value in container.metadata.items()}
    assert tags["prompt"] == '{"1": "ä"}'
