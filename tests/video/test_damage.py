"""What cannot be decoded costs a clip its own frames, not those behind them; and is told."""

import warnings
from fractions import Fraction

import av
import numpy as np
import pytest
import torch

from birefnet_core.video import Clip, Span, VideoError, matte_clip, read_batch
from birefnet_core.video import decode as decode_module
from birefnet_core.video.colour import to_rgb
from birefnet_core.video.decode import DamageNote, places
from birefnet_core.video.source import Source
from tests.video.pictures import number_of, onsets

COUNT = 40


def damaged(source, path, *which, whole=False):
    """The clip with the beginning (or the whole) of some packets of its pictures zeroed in the file."""
    data = bytearray(source.read_bytes())
    with av.open(str(source)) as container:
        packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    for index in which:
        packet = packets[index]
        if source.suffix == ".ts":  # there packets are in pieces of 184 bytes
            packet = packet[: min(len(packet), 100)]
        place = data.index(packet)
        data[place : place + (len(packet) if whole else 16)] = bytes(len(packet) if whole else 16)
    path.write_bytes(data)
    return path


def opaque(pixels):
    return torch.ones(pixels.shape[:3])


KINDS = [
    ("a.mp4", "libx264", "yuv420p", {"x264-params": "bframes=2:keyint=10:scenecut=0"}),
    ("a.mkv", "libx264", "yuv420p", {"x264-params": "bframes=2:keyint=10:scenecut=0"}),
    ("a.ts", "libx264", "yuv420p", {"x264-params": "bframes=2:keyint=10:scenecut=0"}),
    ("a.avi", "libx264", "yuv420p", {"x264-params": "bframes=2:keyint=10:scenecut=0"}),
    ("a.mp4", "libx265", "yuv420p", {"x265-params": "keyint=10:log-level=none"}),
    ("a.mov", "prores_ks", "yuva444p10le", {}),
    ("a.mov", "png", "rgba", {}),
    ("a.webm", "libvpx-vp9", "yuv420p", {"g": "10"}),
    ("a.webm", "libvpx-vp9", "yuva420p", {"g": "10", "auto-alt-ref": "0"}),
    ("a.ts", "mpeg2video", "yuv420p", {"bf": "0"}),
    ("a.avi", "mpeg4", "yuv420p", {}),
    ("a.avi", "mjpeg", "yuvj420p", {}),
    ("a.flv", "flv", "yuv420p", {}),
]


@pytest.mark.parametrize(
    ("name", "codec", "pixels", "options"), KINDS, ids=[f"{kind[1]}-{kind[2]}-{kind[0][2:]}" for kind in KINDS]
)
@pytest.mark.parametrize("which", [(15,), (COUNT - 1,), (COUNT - 3,)])
def test_a_damaged_packet_costs_its_own_frames(make_clip, tmp_path, name, codec, pixels, options, which):
    whole = make_clip(
        name, codec=codec, pixels=pixels, options=options, count=COUNT, rate=25, time_base=Fraction(1, 25)
    )
    path = damaged(whole, tmp_path / f"bad-{name}", *which, whole=True)
    clip = Clip(path)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        frames = list(clip.frames())
    assert len(frames) in (COUNT - 1, COUNT)
    times = [float(frame.pts * clip.info.time_base) for frame in frames]
    ideal = [index / 25 for index in range(COUNT)]
    if len(times) < COUNT:
        ideal = [time for time in ideal if min(abs(time - other) for other in times) < 0.01]
    assert times == pytest.approx(ideal, abs=2e-3)
    right = [number_of(to_rgb(frame.picture)) == round(25 * time) for frame, time in zip(frames, times)]
    assert sum(right) >= 30  # a damaged picture spoils those made from it, until the next key frame
    if name == "a.ts":  # packets are found by their contents there: one that has none is not missed
        return
    (note,) = told
    assert "frame could not be decoded (at" in str(note.message) or "frames could not be decoded (at" in str(
        note.message
    )


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "libx264"), ("a.mov", "png"), ("a.webm", "libvpx-vp9")])
def test_what_comes_first_may_be_damaged(make_clip, tmp_path, name, codec):
    pixels = "rgba" if codec == "png" else "yuv420p"
    path = damaged(make_clip(name, codec=codec, pixels=pixels, count=COUNT), tmp_path / f"bad-{name}", 0)
    if codec == "libvpx-vp9":  # all of one group of pictures
        with pytest.raises(VideoError, match="cannot be decoded"):
            Clip(path)
        return
    clip = Clip(path)
    with pytest.warns(DamageNote, match="left out"):
        found = [number_of(to_rgb(frame.picture)) for frame in clip.frames()]
    assert found == list(range(COUNT))[-len(found) :]
    assert len(found) == clip.count() < COUNT


def test_nothing_that_can_be_decoded_is_an_error(make_clip, tmp_path):
    path = damaged(make_clip("a.mp4", count=10), tmp_path / "bad.mp4", *range(10), whole=True)
    with pytest.raises(VideoError, match=r"bad\.mp4 cannot be decoded"):
        Clip(path)


def test_held_frames_keep_sound_and_count(make_clip, tmp_path, decode):
    whole = make_clip("a.mov", codec="png", pixels="rgba", count=24, sound="aac")
    path = damaged(whole, tmp_path / "bad.mov", 5, 6, 20)
    with pytest.warns(
        DamageNote, match=r"bad\.mov: 3 frames could not be decoded \(at 0\.42-0\.50 s and 1\.67 s\); 3 held"
    ):
        out = matte_clip(Clip(path), tmp_path / "out.mov", opaque)
    frames, times = decode(out)
    expected = [4 if index in (5, 6) else 19 if index == 20 else index for index in range(24)]
    assert [number_of(frame[..., :3]) for frame in frames] == expected
    assert times == pytest.approx([index / 12 for index in range(24)])
    clip = Clip(path)
    assert clip.count() == 24
    with pytest.warns(DamageNote):
        batch = read_batch(clip, Span(skip=4, count=6))
    assert [number_of(frame.numpy()) for frame in batch.frames] == [4, 4, 4, 7, 8, 9]
    clicks = onsets(batch.sound[0][0].numpy(), batch.sound[1])
    assert clicks[-1][0] == pytest.approx(0.8 - 4 / 12, abs=0.01)


def test_strict_stops_there(make_clip, tmp_path):
    path = damaged(make_clip("a.mov", codec="png", pixels="rgba"), tmp_path / "bad.mov", 5)
    seen = []
    with pytest.raises(VideoError, match=r"bad\.mov is cut off or damaged at 0\.\d+ s: "):
        for frame in Clip(path, strict=True).frames():
            seen.append(number_of(to_rgb(frame.picture)))
    assert seen == list(range(len(seen)))
    assert len(seen) <= 5


def test_a_sound_clip_says_nothing(make_clip):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name, codec in (("a.mp4", "libx264"), ("a.webm", "libvpx"), ("a.avi", "libx264"), ("a.ts", "mpeg2video")):
            rate = 25
            clip = Clip(make_clip(name, codec=codec, rate=rate, time_base=Fraction(1, rate), count=COUNT))
            assert len(list(clip.frames())) == COUNT
            assert len(list(clip.frames(Span(skip=11)))) == COUNT - 11


def test_places_are_named_in_short():
    assert places([1.0], 0.04) == "at 1.00 s"
    assert places([1.0, 1.04, 1.08, 2.0], 0.04) == "at 1.00-1.08 s and 2.00 s"
    assert places(np.arange(0, 10, 2.0).tolist(), 0.04) == "at 0.00 s, 2.00 s, 4.00 s and 2 more places"


@pytest.mark.parametrize("name", ["a.webm", "a.mkv"])
@pytest.mark.parametrize(("before", "length"), [(0, 40), (6, 40), (6, 700)])
def test_damage_in_the_midst_of_a_matroska_file_costs_little(make_clip, tmp_path, name, before, length):
    """FFmpeg gives up the rest of the cluster, which is half of the clip here."""
    codec = "libvpx-vp9" if name == "a.webm" else "mjpeg"
    pixels = "yuv420p" if name == "a.webm" else "yuvj420p"
    whole = make_clip(name, codec=codec, pixels=pixels, count=COUNT, sound="libopus" if name == "a.webm" else "aac")
    data = bytearray(whole.read_bytes())
    with av.open(str(whole)) as container:
        places = [packet.pos for packet in container.demux(video=0) if packet.size]
    data[places[9] - before : places[9] - before + length] = bytes(length)
    bad = tmp_path / f"bad-{name}"
    bad.write_bytes(data)
    clip = Clip(bad)
    with pytest.warns(DamageNote, match=r"bad-a\.\w+: its file is damaged at 0\.\d+ s; what stood there is left out"):
        frames = list(clip.frames())
    assert COUNT - 6 <= len(frames) < COUNT
    times = [float(frame.pts * clip.info.time_base) for frame in frames]
    for frame, time in zip(frames[-20:], times[-20:], strict=True):
        assert number_of(to_rgb(frame.picture)) == round(12 * time) or name == "a.webm"
    assert times[-1] == pytest.approx((COUNT - 1) / 12, abs=2e-3)
    with pytest.raises(VideoError, match="cut off or damaged at"):
        Clip(bad, strict=True)


def test_concealed_frames_are_told_and_strict_refuses_them(make_clip, tmp_path):
    whole = make_clip("a.ts", codec="mpeg2video", options={"bf": "0"}, size=(320, 240), count=COUNT, rate=25)
    data = whole.read_bytes()
    pieces = [data[place : place + 188] for place in range(0, len(data), 188)]
    lost = next(index for index in range(len(pieces) // 2, len(pieces)) if pieces[index][1:3] == b"\x01\x00")
    bad = tmp_path / "bad.ts"  # without one piece in the midst of a picture
    bad.write_bytes(b"".join(pieces[:lost] + pieces[lost + 1 :]))
    with pytest.warns(
        DamageNote, match=r"bad\.ts: 1 frame is damaged \(at \d\.\d\d s\); shown as FFmpeg conceals them"
    ):
        assert len(list(Clip(bad).frames())) == COUNT
    with pytest.raises(VideoError, match=r"bad\.ts is cut off or damaged at \d\.\d\d s: a frame is damaged"):
        list(Clip(bad, strict=True).frames())


def test_the_second_read_of_what_cannot_seek_begins_at_a_key_frame(make_clip, tmp_path, monkeypatch):
    options = {"x264-params": "bframes=2:keyint=10:scenecut=0"}
    whole = make_clip("a.mp4", options=options, count=COUNT, rate=25, time_base=Fraction(1, 25))
    clip = Clip(damaged(whole, tmp_path / "bad.mp4", COUNT - 1, whole=True))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = [(frame.pts, number_of(to_rgb(frame.picture))) for frame in clip.frames()]
        monkeypatch.setattr(Source, "can_seek", False)
        decoded = []
        real = decode_module.decode
        monkeypatch.setattr(
            decode_module, "decode", lambda context, packet: decoded.append(packet) or real(context, packet)
        )
        found = [(frame.pts, number_of(to_rgb(frame.picture))) for frame in clip.frames()]
    assert found == expected
    assert COUNT < len(decoded) < 2 * COUNT - 15
