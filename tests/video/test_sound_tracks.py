"""Every sound track of a clip comes along, each with what it is called; what does not is told."""

from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from av.stream import Disposition

from birefnet_core.video import FORMATS, Clip, Span, matte_clip, read_batch
from birefnet_core.video.formats import find_format
from birefnet_core.video.notes import ClipNote
from birefnet_core.video.sound import language_of, title_of
from birefnet_core.video.split import join

RATE = 48_000
LOUD = 0.25


def opaque(pixels):
    return torch.ones(pixels.shape[:3])


def wave(pitch, seconds=1.0):
    return (LOUD * np.sin(2 * np.pi * pitch * np.arange(round(seconds * RATE)) / RATE)).astype(np.float32)


def pitch_of(samples):
    """The loudest frequency of [S] in whole Hz, from its middle."""
    middle = np.asarray(samples)[len(samples) // 4 :][: RATE // 4]
    return round(np.abs(np.fft.rfft(middle * np.hanning(len(middle)))).argmax() * RATE / len(middle))


def packed(samples, layout, kind):
    """[C, S] 0..1 as a frame of packed samples of FFmpeg's `kind`."""
    scale = {"s16": 2**15 - 1, "s32": 2**31 - 1, "u8": 127, "flt": 1, "dbl": 1}[kind]
    types = {"s16": np.int16, "s32": np.int32, "u8": np.uint8, "flt": np.float32, "dbl": np.float64}
    values = (samples.T * scale + (128 if kind == "u8" else 0)).astype(types[kind])
    frame = av.AudioFrame.from_ndarray(values.reshape(1, -1), format=kind, layout=layout)
    frame.sample_rate, frame.pts, frame.time_base = RATE, 0, Fraction(1, RATE)
    return frame


@pytest.fixture
def clip_of(tmp_path):
    """`clip_of(name, tracks, ...)` -> a clip of a second. tracks: (codec, layout, kind, pitches of its channels, tags,
    whether it is the default) each."""

    def make(name, tracks, codec="mpeg4"):
        path = tmp_path / name
        with av.open(str(path), "w") as container:
            pictures = container.add_stream(codec, rate=25)
            pictures.width, pictures.height, pictures.pix_fmt = 96, 64, "yuv420p"
            speakers = []
            for sound, layout, _, _, tags, default in tracks:
                speaker = container.add_stream(sound, rate=RATE, layout=layout)
                speaker.metadata.update(tags)
                if default is not None:
                    speaker.disposition = int(default)
                speakers.append(speaker)
            for index in range(25):
                frame = av.VideoFrame(96, 64, "yuv420p")
                frame.pts, frame.time_base = index, Fraction(1, 25)
                container.mux(pictures.encode(frame))
            container.mux(pictures.encode(None))
            for speaker, (_, layout, kind, pitches, _, _) in zip(speakers, tracks):
                whole = np.stack([wave(pitch) for pitch in pitches])
                for start in range(0, RATE, 1600):
                    frame = packed(whole[:, start : start + 1600], layout, kind)
                    frame.pts = start
                    container.mux(speaker.encode(frame))
                container.mux(speaker.encode(None))
        return path

    return make


def tracks_of(path):
    """(codec, layout, language, title, default, pitches of the channels) of each sound track."""
    found = []
    with av.open(str(path)) as container:
        for index, stream in enumerate(container.streams.audio):
            found.append(
                (
                    stream.codec_context.codec.canonical_name,
                    stream.codec_context.layout.name,
                    language_of(stream),
                    title_of(stream),
                    bool(stream.disposition & Disposition.default),
                    heard(path, index),
                )
            )
    return found


def heard(path, index):
    with av.open(str(path)) as container:
        stream = container.streams.audio[index]
        frames = [frame.to_ndarray() for frame in container.decode(stream)]
        channels, planar = stream.codec_context.channels, stream.codec_context.format.is_planar
        joined = np.concatenate(frames, axis=1)
        samples = joined if planar else joined.reshape(-1, channels).T
    return [pitch_of(samples[channel] - samples[channel].mean()) for channel in range(channels)]


ENGLISH = ("aac", "stereo", "flt", (400, 600), {"language": "eng", "title": "English"}, True)
GERMAN = ("aac", "mono", "flt", (800,), {"language": "deu", "title": "Kommentar"}, False)


def close(found, right):
    return len(found) == len(right) and all(abs(a - b) < 12 for a, b in zip(found, right))


@pytest.mark.parametrize("format", ["prores", "webm", "h264", "mask", "side-by-side"])
def test_every_track_comes_along_with_its_name(clip_of, tmp_path, format):
    source = clip_of("two.mkv", [ENGLISH, GERMAN])
    path = matte_clip(Clip(source), tmp_path / f"out{FORMATS[format].suffix}", opaque, format=format)
    first, second = tracks_of(path)
    assert first[1:3] == ("stereo", "eng") and close(first[5], (400, 600))
    assert second[1] == "mono" and close(second[5], (800,))
    assert second[2] == ("ger" if format == "prores" else "deu")  # MOV's own name of it
    assert (first[3], second[3]) == ("English", "Kommentar")
    assert (first[4], second[4]) == (True, False)


def test_the_second_may_be_the_default(clip_of, tmp_path):
    source = clip_of("two.mkv", [(*ENGLISH[:5], False), (*GERMAN[:5], True)])
    for format in ("prores", "webm"):
        path = matte_clip(Clip(source), tmp_path / f"out{FORMATS[format].suffix}", opaque, format=format)
        assert [track[4] for track in tracks_of(path)] == [False, True]


def test_tracks_begin_and_end_with_the_span(clip_of, tmp_path):
    source = clip_of("two.mkv", [ENGLISH, GERMAN])
    path = matte_clip(Clip(source), tmp_path / "out.mov", opaque, span=Span(start=0.4, end=0.8))
    with av.open(str(path)) as container:
        assert len(container.streams.audio) == 2
        for stream in container.streams.audio:
            assert float(stream.duration * stream.time_base) == pytest.approx(0.4, abs=0.05)


def test_several_processes_join_every_track(clip_of, tmp_path):
    clip, format = Clip(clip_of("two.mkv", [ENGLISH, GERMAN])), find_format("prores")
    part = matte_clip(clip, tmp_path / "part.mov", opaque, sound=False)
    options = {"sound": True, "metadata": None, "overwrite": False}
    join([part], tmp_path / "out.mov", clip, format, Span(), **options)
    first, second = tracks_of(tmp_path / "out.mov")
    assert close(first[5], (400, 600)) and close(second[5], (800,))
    assert (first[2:5], second[2:5]) == (("eng", "English", True), ("ger", "Kommentar", False))


def test_left_and_right_in_tracks_of_their_own(clip_of, tmp_path):
    """MXF, as cameras write it."""
    sides = [("pcm_s16le", "mono", "s16", (pitch,), {}, None) for pitch in (400, 800)]
    clip = Clip(clip_of("camera.mxf", sides, codec="mpeg2video"))
    for format in ("prores", "webm", "h264"):
        path = matte_clip(clip, tmp_path / f"out{FORMATS[format].suffix}", opaque, format=format)
        left, right = tracks_of(path)
        assert close(left[5], (400,)) and close(right[5], (800,))
        assert left[4] and right[4]  # both are heard
    with pytest.warns(ClipNote, match="2 sound tracks .*1 and 2 are taken as left and right"):
        samples, rate = read_batch(clip, Span()).sound
    assert close([pitch_of(samples[channel]) for channel in range(len(samples))], (400, 800)) and rate == RATE
    samples, _ = read_batch(clip, Span(), sound_track=2).sound
    assert close([pitch_of(samples[0])], (800,)) and len(samples) == 1


def test_frames_bring_the_track_that_was_asked_for(clip_of):
    clip = Clip(clip_of("two.mkv", [ENGLISH, GERMAN]))
    with pytest.warns(ClipNote, match=r"2 sound tracks \(1: eng English, 2: deu Kommentar\): 1 is taken"):
        samples, _ = read_batch(clip, Span()).sound
    assert len(samples) == 2 and close([pitch_of(samples[0])], (400,))
    samples, _ = read_batch(clip, Span(), sound_track=2).sound
    assert len(samples) == 1 and close([pitch_of(samples[0])], (800,))
    with pytest.raises(ValueError, match=r"two\.mkv has no sound track 3: 2 sound tracks"):
        read_batch(clip, Span(), sound_track=3)


PCM = {"u8": "u8", "s16be": "s16", "s24be": "s32", "s24le": "s32", "s32be": "s32", "f32be": "flt", "f64le": "dbl",
       "alaw": "s16", "mulaw": "s16"}  # fmt: skip


@pytest.mark.parametrize("kind", PCM)
def test_sound_that_mov_takes_is_copied(clip_of, tmp_path, kind):
    source = clip_of("in.mov", [(f"pcm_{kind}", "stereo", PCM[kind], (400, 600), {}, None)])
    path = matte_clip(Clip(source), tmp_path / "out.mov", opaque)
    ((codec, layout, *_),) = tracks_of(path)
    assert (codec, layout) == (f"pcm_{kind}", "stereo")

    def data(path):
        with av.open(str(path)) as container:
            return b"".join(bytes(packet) for packet in container.demux(audio=0))

    assert data(path) == data(source)


@pytest.mark.parametrize(("format", "codec"), [("h264", "aac"), ("webm", "opus")])
@pytest.mark.parametrize(("given", "kept"), [("5.1", "5.1"), ("5.1(side)", "5.1"), ("7.1", "7.1"), ("quad", "quad")])
def test_more_than_two_channels_stay(clip_of, tmp_path, format, codec, given, kept):
    pitches = [400 + 100 * index for index in range(len(av.AudioLayout(given).channels))]
    sound = ("flac", given, "s16", pitches, {}, None)
    path = matte_clip(
        Clip(clip_of("in.mkv", [sound])), tmp_path / f"out{FORMATS[format].suffix}", opaque, format=format,
        span=Span(start=0.1, end=0.9),
    )  # fmt: skip
    with av.open(str(path)) as container:
        context = container.streams.audio[0].codec_context
        assert (context.codec.canonical_name, context.layout.name) == (codec, kept)


def test_a_layout_that_has_to_change_is_told(clip_of, tmp_path):
    source = clip_of("in.mov", [("pcm_s16le", "6.1", "s16", [400 + 100 * index for index in range(7)], {}, None)])
    with pytest.warns(ClipNote, match=r"in\.mov: its sound of 6\.1 becomes 5\.1, the nearest that h264 has"):
        path = matte_clip(Clip(source), tmp_path / "out.mp4", opaque, format="h264")
    assert tracks_of(path)[0][1] == "5.1"


@pytest.mark.parametrize("channels", ["7.1", "hexadecagonal"])
def test_frames_bring_every_channel(clip_of, channels):
    """With eight or more PyAV's own arrays crash the process."""
    pitches = [400 + 100 * index for index in range(len(av.AudioLayout(channels).channels))]
    clip = Clip(clip_of("in.mkv", [("pcm_s16le", channels, "s16", pitches, {}, None)]))
    samples, _ = read_batch(clip, Span(start=0.2)).sound
    assert close([pitch_of(channel) for channel in samples], pitches)


def test_what_is_left_out_is_told_once(clip_of, tmp_path, recwarn):
    source = clip_of("two.mkv", [ENGLISH, GERMAN])
    matte_clip(Clip(source), tmp_path / "pictures", opaque, format="png")
    said = [str(warning.message) for warning in recwarn if warning.category is ClipNote]
    assert said == [f"{source}: left out of PNG pictures with alpha (folder): 2 sound tracks"]
    recwarn.clear()
    matte_clip(Clip(source), tmp_path / "silent", opaque, format="png", sound=False)
    matte_clip(Clip(source), tmp_path / "out.mov", opaque)
    assert not [warning for warning in recwarn if warning.category is ClipNote]


def test_chapters_and_subtitles_that_are_lost_are_told(clip_of, tmp_path):
    source, path = clip_of("one.mkv", [ENGLISH]), tmp_path / "chapters.mkv"
    with av.open(str(source)) as given, av.open(str(path), "w") as made:
        made.set_chapters(
            [{"id": 1, "start": 0, "end": 1000, "time_base": Fraction(1, 1000), "metadata": {"title": "One"}}]
        )
        targets = {stream: made.add_stream_from_template(stream) for stream in given.streams}
        for packet in given.demux():
            if packet.dts is not None:
                packet.stream = targets[packet.stream]
                made.mux(packet)
    with pytest.warns(ClipNote, match=r"chapters\.mkv: left out of ProRes .*: 1 chapter$"):
        matte_clip(Clip(path), tmp_path / "out.mov", opaque)
