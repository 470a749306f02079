"""Sound that is damaged, changes or is of a rare kind never costs a clip its pictures."""

from fractions import Fraction

import av
import numpy as np
import pytest
import torch

from birefnet_core.video import FORMATS, Clip, Span, matte_clip, read_batch
from birefnet_core.video.sound import SoundWarning
from tests.video.pictures import COUNT


def opaque(pixels):
    return torch.ones(pixels.shape[:3])


def streams(path):
    """The codec of each stream, and until when it lasts in seconds, by its kind."""
    found = {}
    with av.open(str(path)) as container:
        for packet in container.demux():
            if packet.size and packet.pts is not None:
                name = packet.stream.codec_context.codec.canonical_name
                found[packet.stream.type] = name, float((packet.pts + packet.duration) * packet.time_base)
    return found


def remuxed(source, path, change):
    """The clip with every packet of sound as `change(index, packet)` gives it; without it for None."""
    with av.open(str(source)) as given, av.open(str(path), "w") as made:
        targets = {stream: made.add_stream_from_template(stream) for stream in given.streams}
        count = 0
        for packet in given.demux():
            if packet.dts is None:
                continue
            stream = packet.stream
            if stream.type == "audio":
                count += 1
                packet = change(count, packet)
                if packet is None:
                    continue
            packet.stream = targets[stream]
            made.mux(packet)
    return path


def damaged(source, path):
    noise = np.random.default_rng(0)

    def change(index, packet):
        if index % 10 != 5:
            return packet
        made = av.Packet(noise.integers(0, 255, packet.size).astype(np.uint8).tobytes())
        made.pts, made.dts, made.duration, made.time_base = packet.pts, packet.dts, packet.duration, packet.time_base
        return made

    return remuxed(source, path, change)


@pytest.mark.parametrize("format", ["prores", "h264", "webm"])
@pytest.mark.parametrize(("suffix", "sound"), [(".ts", "aac"), (".ts", "ac3"), (".mov", "alac")])
def test_damaged_packets_are_left_away(make_clip, tmp_path, suffix, sound, format):
    source = damaged(make_clip("whole" + suffix, sound=sound, count=60), tmp_path / f"damaged{suffix}")
    path = matte_clip(Clip(source), tmp_path / f"out{FORMATS[format].suffix}", opaque, format=format)
    assert len(list(Clip(path).frames())) == 60
    assert streams(path)["audio"][1] == pytest.approx(5, abs=0.1)
    batch = read_batch(Clip(source), Span())
    assert batch.sound[0].shape[1] / batch.sound[1] == pytest.approx(5, abs=0.1)


@pytest.fixture
def from_stereo_to_surround(tmp_path):
    """A broadcast that goes from stereo to 5.1 after two seconds: in a transport stream one file after the other."""
    parts = []
    for index, layout in enumerate(("stereo", "5.1(side)")):
        parts.append(tmp_path / f"{index}.ts")
        with av.open(str(parts[-1]), "w") as container:
            pictures, speaker = container.add_stream("libx264", rate=12), container.add_stream("ac3", rate=48_000)
            pictures.width, pictures.height, pictures.pix_fmt = 64, 48, "yuv420p"
            pictures.codec_context.time_base = Fraction(1, 12)
            speaker.codec_context.layout = layout
            for count in range(COUNT):
                frame = av.VideoFrame(64, 48, "yuv420p")
                frame.pts, frame.time_base = index * COUNT + count, Fraction(1, 12)
                container.mux(pictures.encode(frame))
            container.mux(pictures.encode(None))
            for count in range(62):
                zeros = np.zeros((len(speaker.codec_context.layout.channels), 1536), np.float32)
                frame = av.AudioFrame.from_ndarray(zeros, format="fltp", layout=layout)
                frame.sample_rate, frame.time_base = 48_000, Fraction(1, 48_000)
                frame.pts = index * 96_000 + count * 1536
                container.mux(speaker.encode(frame))
            container.mux(speaker.encode(None))
    joined = tmp_path / "joined.ts"
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    return joined


@pytest.mark.parametrize("format", ["prores", "webm"])
def test_sound_may_change_its_layout(from_stereo_to_surround, tmp_path, format):
    path = matte_clip(Clip(from_stereo_to_surround), tmp_path / f"out{FORMATS[format].suffix}", opaque, format=format)
    assert len(list(Clip(path).frames())) == 2 * COUNT
    assert streams(path)["audio"][1] == pytest.approx(4, abs=0.3)  # where the files meet, times overlap
    samples, rate = read_batch(Clip(from_stereo_to_surround), Span()).sound
    assert len(samples) == 2
    assert samples.shape[1] / rate == pytest.approx(4, abs=0.3)  # where the files meet, times overlap


def test_sound_that_breaks_ends_and_the_pictures_go_on(make_clip, tmp_path, monkeypatch):
    """No file is known that breaks the sound's reader and not the pictures': it is broken here."""

    def broken(*_):
        raise av.error.UndefinedError(5, "broken")
        yield

    monkeypatch.setattr("birefnet_core.video.sound._decoded", broken)
    source = make_clip(sound="aac")
    with pytest.warns(SoundWarning, match=r"clip\.mp4: its sound ends early"):
        path = matte_clip(Clip(source), tmp_path / "out.webm", opaque, format="webm")
    assert len(list(Clip(path).frames())) == COUNT


@pytest.mark.parametrize("rate", [4000, 12_345, 192_000])
def test_sound_of_a_rate_that_aac_lacks(make_clip, tmp_path, rate):
    source = make_clip("clip.mkv", sound="flac", sound_rate=rate)
    path = matte_clip(Clip(source), tmp_path / "out.mp4", opaque, format="h264")
    assert streams(path)["audio"] == ("aac", pytest.approx(2, abs=0.05))


@pytest.mark.parametrize(("rate", "codec"), [(44_100, "mp3"), (16_000, "mp3"), (8000, "aac")])
def test_mp3_is_copied_where_mp4_takes_it(make_clip, tmp_path, rate, codec):
    source = make_clip("clip.mkv", sound="mp3", sound_rate=rate)
    path = matte_clip(Clip(source), tmp_path / "out.mp4", opaque, format="h264")
    assert streams(path)["audio"] == (codec, pytest.approx(2, abs=0.1))


@pytest.mark.parametrize("format", ["prores", "h264", "webm"])
@pytest.mark.parametrize("begin", [9, 99])
def test_sound_may_begin_late_or_never(make_clip, tmp_path, format, begin):
    """Then FFmpeg knows of a broadcast's sound only that there is some."""

    def late(index, packet):
        return packet if packet.pts * packet.time_base > begin else None

    source = remuxed(make_clip("whole.ts", sound="ac3", count=144), tmp_path / "late.ts", late)
    path = matte_clip(Clip(source), tmp_path / f"out{FORMATS[format].suffix}", opaque, format=format)
    assert len(list(Clip(path).frames())) == 144
    samples, rate = read_batch(Clip(source), Span()).sound
    if begin == 99:
        assert "audio" not in streams(path)
        assert samples.shape[1] == 0
    else:
        assert streams(path)["audio"][1] == pytest.approx(12, abs=0.1)
        assert samples.shape[1] / rate == pytest.approx(12, abs=0.1)
        assert samples[:, : 8 * rate].abs().max() == 0


def test_sound_of_an_unknown_codec_is_none(make_clip, tmp_path):
    source = make_clip("clip.mkv", sound="aac")
    source.write_bytes(source.read_bytes().replace(b"A_AAC", b"A_ZZZ"))
    assert not Clip(source).info.has_audio
    path = matte_clip(Clip(source), tmp_path / "out.mov", opaque)
    assert list(streams(path)) == ["video"]
    assert read_batch(Clip(source), Span()).sound is None


def test_a_packet_with_nothing_in_it_does_not_end_the_sound(tmp_path):
    """NUT keeps such packets; to a decoder they mean the end."""
    rate, path = 48_000, tmp_path / "gap.nut"
    with av.open(str(path), "w") as made:
        pictures, sound = made.add_stream("mpeg4", rate=10), made.add_stream("pcm_s16le", rate=rate, layout="stereo")
        pictures.width = pictures.height = 32
        for index in range(20):
            frame = av.VideoFrame(32, 32, "yuv420p")
            frame.pts, frame.time_base = index, Fraction(1, 10)
            made.mux(pictures.encode(frame))
            samples = av.AudioFrame.from_ndarray(np.full((1, rate // 5), 8000, np.int16), "s16", "stereo")
            samples.sample_rate, samples.pts, samples.time_base = rate, index * rate // 10, Fraction(1, rate)
            for packet in sound.encode(samples):
                if index == 11:
                    empty = av.Packet(0)
                    empty.pts, empty.dts, empty.time_base = packet.pts, packet.dts, packet.time_base
                    packet, packet.stream = empty, sound
                made.mux_one(packet)
        made.mux(pictures.encode(None))
        made.mux(sound.encode(None))
    with av.open(str(path)) as clip:
        assert any(not packet.size and packet.dts is not None for packet in clip.demux(clip.streams.audio[0]))
    samples, found = read_batch(Clip(path), Span()).sound
    assert found == rate and samples.shape[-1] == 2 * rate
    assert samples[..., -100:].abs().min() > 0.2 > samples[..., int(1.15 * rate)].abs().max()


def test_sound_of_a_part_does_not_keep_what_was_before_it(make_clip):
    """Empty views of the frames before once held their memory: 22 MB a minute of stereo."""
    clip = Clip(make_clip("clip.mkv", codec="ffv1", pixels="yuv444p", sound="aac"))
    whole, part = (read_batch(clip, span=span).sound[0] for span in (Span(), Span(start=0.5)))
    assert 0 < part.shape[-1] < whole.shape[-1]
