"""Times that begin again on the way go on, picture and sound together; times that were rounded are even again."""

from fractions import Fraction

import av
import numpy as np
import pytest
import torch

from birefnet_core.video import FORMATS, Clip, Span, matte_clip, read_batch
from birefnet_core.video.colour import to_rgb
from birefnet_core.video.timeline import even_rate, usual_rate
from tests.video.pictures import WIDTH, number_of, numbered, onsets, tone

RATE = 25
PART = 50  # frames of a part, two seconds


def part(path, first, begin=0, *, sound=True, frame_rate=RATE):
    """PART frames, numbered from `first` on, that begin at `begin` seconds, with a tone that tells its own time."""
    with av.open(str(path), "w") as container:
        pictures = container.add_stream("libx264", rate=frame_rate, options={"preset": "ultrafast"})
        pictures.width, pictures.height, pictures.pix_fmt = WIDTH, 48, "yuv420p"
        pictures.codec_context.time_base = 1 / Fraction(frame_rate)
        speaker = container.add_stream("ac3", rate=48_000) if sound else None
        if sound:
            speaker.codec_context.layout = "mono"
        for index in range(PART):
            picture = av.VideoFrame.from_ndarray(numbered(first + index), format="rgb24").reformat(format="yuv420p")
            picture.pts, picture.time_base = round(begin * frame_rate) + index, 1 / Fraction(frame_rate)
            container.mux(pictures.encode(picture))
        container.mux(pictures.encode(None))
        if sound:
            resampler = av.AudioResampler(format="fltp", layout="mono", rate=48_000, frame_size=1536)
            given = av.AudioFrame.from_ndarray(tone(PART / RATE)[None], format="fltp", layout="mono")
            given.sample_rate, given.pts, given.time_base = 48_000, begin * 48_000, Fraction(1, 48_000)
            for piece in [*resampler.resample(given), *resampler.resample(None)]:
                container.mux(speaker.encode(piece))
            container.mux(speaker.encode(None))
    return path.read_bytes()


JOINS = {"again": (0, 0, 0), "back": (100, 0, 50), "ahead": (0, 1000, 5000), "back a little": (10, 9, 8)}


@pytest.mark.parametrize("begins", list(JOINS.values()), ids=list(JOINS))
def test_joined_recordings_go_on(tmp_path, begins):
    data = [part(tmp_path / f"{index}.ts", PART * index, begin) for index, begin in enumerate(begins)]
    joined = tmp_path / "joined.ts"
    joined.write_bytes(b"".join(data))
    clip = Clip(joined)
    count = PART * len(begins)
    assert (clip.info.frame_rate, clip.info.frames, clip.count()) == (RATE, count, count)
    assert clip.info.duration == pytest.approx(count / RATE, abs=0.05)
    frames = list(clip.frames())
    assert [number_of(to_rgb(frame.picture)) for frame in frames] == list(range(count))
    times = [float(frame.pts * clip.info.time_base) for frame in frames]
    assert times == pytest.approx([index / RATE for index in range(count)], abs=1e-3)
    for span in (Span(skip=70, count=4), Span(start=70 / RATE, count=4)):
        assert [number_of(to_rgb(frame.picture)) for frame in clip.frames(span)] == [70, 71, 72, 73]
    batch = read_batch(clip, Span(skip=PART))
    assert batch.frame_rate == RATE
    for samples, begin in ((read_batch(clip, Span()).sound, 0), (batch.sound, 2)):
        clicks = onsets(samples[0][0].numpy(), samples[1])
        long = [time for time, length in clicks if length > 17]  # the last five of each part
        ideal = [2 * index + tenth / 10 - begin for index in range(begin // 2, 3) for tenth in range(16, 20)]
        assert [time for time in long if time > 0][-len(ideal) :] == pytest.approx(ideal, abs=0.06)


@pytest.mark.parametrize("format", ["prores", "webm"])
def test_joined_recordings_are_matted_whole(tmp_path, format):
    joined = tmp_path / "joined.ts"
    joined.write_bytes(part(tmp_path / "a.ts", 0) + part(tmp_path / "b.ts", PART))
    path = matte_clip(
        Clip(joined), tmp_path / f"out{FORMATS[format].suffix}", lambda x: torch.ones(x.shape[:3]), format=format
    )
    clip = Clip(path)
    assert clip.info.frame_rate == RATE
    assert [number_of(to_rgb(frame.picture)) for frame in clip.frames()] == list(range(2 * PART))
    samples, rate = read_batch(clip, Span()).sound
    assert samples.shape[1] / rate == pytest.approx(4, abs=0.1)
    assert [time for time, length in onsets(samples[0].numpy(), rate) if length > 18][-3:] == pytest.approx(
        [3.7, 3.8, 3.9], abs=0.06
    )


def test_a_clock_that_runs_over_goes_on(tmp_path):
    """MPEG's has 33 bits, which last for a day and two hours."""
    end = 2**33 // 90_000 - 2
    path = tmp_path / "late.ts"
    path.write_bytes(part(path, 0, end))
    clip = Clip(path)
    frames = list(clip.frames())
    assert [number_of(to_rgb(frame.picture)) for frame in frames] == list(range(PART))
    assert float(frames[-1].pts * clip.info.time_base) == pytest.approx((PART - 1) / RATE, abs=1e-3)
    assert clip.count() == PART


def test_a_long_pause_is_none_of_the_clock(make_clip):
    """A still screen: nothing new for 20 s."""
    times = [*range(12), *range(252, 264)]
    clip = Clip(make_clip("pause.mkv", times=times))
    assert [frame.pts * clip.info.time_base for frame in clip.frames()] == [Fraction(time, 12) for time in times]


RATES = ["60", "60000/1001", "50", "30", "30000/1001", "25", "24", "24000/1001", "15", "100"]


@pytest.mark.parametrize("name", ["a.mkv", "a.webm", "a.flv", "a.ts"])
@pytest.mark.parametrize("rate", RATES)
def test_rounded_times_are_even_again(make_clip, tmp_path, name, rate):
    rate = Fraction(rate)
    codec = "libvpx" if name == "a.webm" else "libx264"
    source = make_clip(name, codec=codec, rate=rate, time_base=1 / rate, count=75)
    clip = Clip(source)
    assert clip.info.frame_rate == rate
    assert [frame.pts * clip.info.time_base for frame in clip.frames()] == [index / rate for index in range(75)]
    assert clip.count(Span(start=float(10 / rate), count=20)) == 20
    frames = list(clip.frames(Span(skip=33, count=2)))
    assert [number_of(to_rgb(frame.picture)) for frame in frames] == [33, 34]
    for format in ("prores", "h264"):
        span = Span(skip=5, count=30)
        out = tmp_path / f"{format}{FORMATS[format].suffix}"
        matte_clip(clip, out, lambda x: torch.ones(x.shape[:3]), format=format, span=span)
        with av.open(str(out)) as container:
            stream = container.streams.video[0]
            assert stream.average_rate == rate
            steps = np.diff(sorted(packet.pts for packet in container.demux(stream) if packet.size))
            assert set(steps * stream.time_base) == {1 / rate}
    assert read_batch(clip, Span(count=20)).frame_rate == rate


@pytest.mark.parametrize("rate", [24, 30, 60, Fraction(24000, 1001), Fraction(30000, 1001), Fraction(60000, 1001)])
@pytest.mark.parametrize("name", ["short.mkv", "short.webm"])
def test_a_short_clip_has_the_rate_that_its_file_states(make_clip, name, rate):
    """Its times, of whole milliseconds, fit 24 and 23.976."""
    codec = {"codec": "libvpx-vp9"} if name.endswith("webm") else {}
    for count in (2, 5, 10):
        clip = Clip(make_clip(name, rate=rate, time_base=1 / Fraction(rate), count=count, **codec))
        assert clip.info.frame_rate == rate
        assert [frame.pts * clip.info.time_base for frame in clip.frames()] == [
            index / Fraction(rate) for index in range(count)
        ]


def test_a_stated_rate_that_the_times_do_not_have_is_none():
    pts = tuple(round(index * 1000 * 1001 / 24000) for index in range(100))
    assert even_rate(pts, Fraction(1, 1000), [Fraction(24), Fraction(25)]) == Fraction(24000, 1001)


def test_a_rate_with_frames_left_out_keeps_their_places(make_clip):
    places = [index for index in range(60) if index % 7 != 3]
    rate = Fraction(60000, 1001)
    clip = Clip(make_clip("dropped.mkv", rate=rate, time_base=1 / rate, times=places, count=len(places)))
    assert [frame.pts * clip.info.time_base for frame in clip.frames()] == [place / rate for place in places]


def test_uneven_times_stay_as_they_are(make_clip):
    times = np.cumsum([0, *np.random.default_rng(0).integers(20, 60, 59)]).tolist()
    clip = Clip(make_clip("phone.mkv", rate=30, time_base=Fraction(1, 1000), times=times, count=60))
    assert [frame.pts * clip.info.time_base for frame in clip.frames()] == [Fraction(time, 1000) for time in times]


@pytest.mark.parametrize("rate", RATES)
def test_every_way_of_rounding_is_known(rate):
    rate = Fraction(rate)
    exact = [index * 1000 / rate for index in range(500)]
    for way in (round, int, lambda value: -int(-value // 1)):
        for tick, base in ((1, Fraction(1, 1000)), (90, Fraction(1, 90_000))):  # as it was before a copy, too
            pts = tuple(tick * way(value) for value in exact)
            assert even_rate(pts, base, [Fraction(len(pts) - 1) / (pts[-1] * base)]) == rate


def test_frames_hours_apart_have_a_rate():
    """One below 1 / 2002, which as a ratio of small numbers would be 0."""
    assert even_rate((0, 20_000), Fraction(1), []) == Fraction(1, 20_000)
    assert [usual_rate(Fraction(each)) for each in (1500, 5000)] == [Fraction(1, 1500), Fraction(1, 5000)]
