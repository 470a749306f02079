"""Frames of a clip as one tensor: their rate, and their size."""

from fractions import Fraction

import numpy as np
import pytest

from birefnet_core.video import Clip, Span, read_batch
from birefnet_core.video.batch import rate_of


def test_part_of_a_clip_of_uneven_times_has_a_rate_of_its_own(make_clip):
    times = [10 * index for index in range(20)] + [200 + index for index in range(60)]
    clip = Clip(make_clip("uneven.mp4", count=80, times=times, time_base=Fraction(1, 100), rate=100, sound="aac"))
    for span, rate in ((Span(count=20), 10), (Span(start=2), 100), (Span(count=10, every=2), 5)):
        assert read_batch(clip, span).frame_rate == rate


@pytest.mark.parametrize("rate", [Fraction(30_000, 1001), Fraction(25)])
def test_even_frames_keep_the_exact_rate(rate):
    """Matroska's times are rounded to milliseconds."""
    times = [Fraction(round(1000 * index / rate), 1000) for index in range(300)]
    assert rate_of(times, rate) == rate
    assert rate_of(times[:1], rate) == rate


@pytest.mark.parametrize(("size", "longest", "fitted"), [((16, 17), 16, (16, 16)), ((40, 30), 20, (20, 16))])
def test_alpha_shrinks_with_the_picture(make_clip, size, longest, fitted):
    def grey(index, width, height):
        return np.full((height, width, 4), 128, np.uint8)

    clip = Clip(make_clip("clip.mov", codec="qtrle", pixels="argb", size=size, count=2, frame=grey))
    batch = read_batch(clip, Span(), longest_side=longest)
    assert batch.frames.shape[2:0:-1] == batch.alpha.shape[2:0:-1] == fitted
