"""Clips of uneven frame times at an even rate: the picture that belongs to each time."""

import warnings
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
import torch

from birefnet_core.video import Clip, Span, evened, matte_clip, read_batch, tell_uneven
from birefnet_core.video.colour import to_rgb
from birefnet_core.video.formats import FORMATS
from birefnet_core.video.notes import ClipNote
from tests.video.pictures import number_of

# Nothing new for three seconds.
RECORDING = [33 * index for index in range(12)] + [3396 + 33 * index for index in range(12)]

TICK = Fraction(1, 1000)


def everything(pixels):
    return torch.ones(pixels.shape[:3])


def shown(times, seconds):
    """Which of the frames shown from `times` (seconds) on is nearest to being shown then."""
    return max(index for index, time in enumerate(times) if time <= seconds + 1 / 60 + 1e-9)


@pytest.fixture
def recording(make_clip):
    return make_clip("screen.mkv", times=RECORDING, time_base=Fraction(1, 1000), rate=30)


def test_frames_repeat_where_the_clip_stands(recording):
    with pytest.warns(
        ClipNote, match=r"screen\.mkv: its frames .*uneven times; given are 30 a second.*24 frames become 114"
    ):
        clip = evened(Clip(recording))
    frames = list(clip.frames())
    assert clip.info.frame_rate == 30
    assert clip.count() == len(frames) == 114
    times = [frame.pts * clip.info.time_base for frame in frames]
    assert times == [Fraction(index, 30) for index in range(114)]
    own = [time / 1000 for time in RECORDING]
    expected = [shown(own, float(time)) for time in times]
    found = [number_of(to_rgb(frame.picture)) for frame in frames]
    assert found == expected
    for span in (Span(skip=40, count=5), Span(start=100 / 30, every=2), Span(start=1.0, end=2.0), Span(skip=101)):
        batch = read_batch(clip, span)
        end = len(frames) if span.end is None else 60
        first = round(span.start * 30) + span.skip
        assert [number_of(frame.numpy()) for frame in batch.frames] == expected[first : end : span.every][: span.count]
        assert batch.frame_rate == Fraction(30, span.every)
        assert clip.count(span) == len(batch.frames)


def test_sound_and_pictures_are_of_one_length(make_clip):
    times = [33 * index for index in range(10)] + [1000, 1500, 1533]
    path = make_clip("a.mp4", times=times, time_base=Fraction(1, 1000), rate=30, count=len(times), sound="aac")
    with pytest.warns(ClipNote, match="uneven"):
        clip = evened(Clip(path))
    batch = read_batch(clip, Span(start=0.9))
    assert [number_of(frame.numpy()) for frame in batch.frames][2:5] == [9, 10, 10]
    assert len(batch.frames) / batch.frame_rate == pytest.approx(1.567 - 0.9, abs=0.05)


def test_frames_that_come_too_fast_are_left_out(make_clip):
    """A burst, of which only the last is seen."""
    times = sorted([*range(0, 2000, 100), 1001, 1002, 1003])
    with pytest.warns(ClipNote, match=r"given are 10 a second"):
        clip = evened(Clip(make_clip("a.mkv", times=[*times, 3000], time_base=Fraction(1, 1000), rate=10, count=24)))
    found = [number_of(to_rgb(frame.picture)) for frame in clip.frames()]
    assert found[:12] == [*range(10), 13, 14]
    assert len(found) == 31


@pytest.mark.parametrize("jitter", [0, 12])
def test_even_clips_are_left_alone(make_clip, jitter):
    shifts = np.random.default_rng(0).integers(-jitter, jitter + 1, 24)
    times = [max(0, round(index * 1000 / 30) + int(shift)) for index, shift in enumerate(shifts)]
    clip = Clip(make_clip("phone.mkv", times=times, time_base=Fraction(1, 1000), rate=30))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert evened(clip) is clip
        tell_uneven(clip)


def test_who_takes_them_as_they_are_is_told(recording):
    with pytest.warns(ClipNote, match="fps is their average"):
        tell_uneven(Clip(recording))


@pytest.mark.parametrize(
    "times, held",
    [
        ([0, 100, 130, 400, 900, 1000], 100),
        ([0, 500, 600, 700, 1200, 1470, 2000, 2630], 3000),
        ([0, 30, 100, 530, 560, 1400], 30),
    ],
)
@pytest.mark.parametrize("format", ["h264", "webm"])
def test_the_last_picture_ends_with_the_clip(make_clip, tmp_path, format, times, held):
    """MP4 says when packets are decoded: of H.264 the picture shown last has the time of another."""
    lengths = [after - before for before, after in pairwise([*times, times[-1] + held])]
    made = make_clip("a.mkv", codec="ffv1", times=times, time_base=TICK, rate=10, count=len(times), lengths=lengths)
    path = matte_clip(Clip(made), tmp_path / f"out{FORMATS[format].suffix}", everything, format=format)
    end = Fraction(times[-1] + held, 1000)
    for source in (made, path):
        clip = Clip(source)
        frames = list(clip.frames())
        assert [frame.duration * clip.info.time_base * 1000 for frame in frames] == lengths
        with pytest.warns(ClipNote, match="uneven"):
            even = evened(Clip(source))
        frames = list(even.frames())
        assert len(frames) / even.info.frame_rate == pytest.approx(end, abs=0.6 / even.info.frame_rate)
