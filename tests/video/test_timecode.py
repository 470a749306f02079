"""A clip's timecode goes along, moved to the first frame that is written."""

from fractions import Fraction

import av
import pytest
import torch

from birefnet_core.commands.main import main
from birefnet_core.video import FORMATS, Clip, Span, matte_clip
from birefnet_core.video.formats import find_format
from birefnet_core.video.notes import ClipNote
from birefnet_core.video.timecode import later, timecode_of
from tests.video.test_split import together

NTSC = Fraction(30_000, 1001)


def opaque(pixels):
    return torch.ones(pixels.shape[:3])


@pytest.fixture
def coded(tmp_path):
    """`coded(timecode, rate)` -> a MOV of 40 frames."""

    def make(code, rate=Fraction(25), name="in.mov", count=40):
        path = tmp_path / name
        with av.open(str(path), "w") as container:
            stream = container.add_stream("mpeg4", rate=rate)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            if code:
                container.metadata["timecode"] = code
            for index in range(count):
                frame = av.VideoFrame(64, 48, "yuv420p")
                frame.pts, frame.time_base = index, 1 / rate
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        return path

    return make


@pytest.mark.parametrize("format", ["prores", "h264", "mask", "webm"])
def test_it_is_that_of_the_first_frame_written(coded, tmp_path, format):
    suffix = FORMATS[format].suffix
    whole = matte_clip(Clip(coded("01:02:03:04")), tmp_path / f"whole{suffix}", opaque, format=format)
    assert timecode_of(Clip(whole)) == "01:02:03:04"
    part = matte_clip(Clip(tmp_path / "in.mov"), tmp_path / f"part{suffix}", opaque, format=format,
                      span=Span(start=1.0, skip=1, count=3))  # fmt: skip
    assert timecode_of(Clip(part)) == "01:02:04:05"
    assert len(list(Clip(part).frames())) == 3


@pytest.mark.parametrize(
    "code, rate, first",
    [
        ("00:01:00:10", Fraction(25), 60 * 25 + 10 + 25),
        ("00:01:00;02", NTSC, 60 * 30 + 30),  # a minute drops the numbers 0 and 1
        ("", Fraction(25), 1001),
    ],
)
def test_exr_pictures_are_numbered_by_it(coded, tmp_path, code, rate, first):
    clip, span = Clip(coded(code, rate)), Span(start=1.0, count=2)
    folder = matte_clip(clip, tmp_path / "out", opaque, format="exr", span=span)
    assert sorted(path.name for path in folder.glob("*.exr")) == [f"out.{first}.exr", f"out.{first + 1}.exr"]


def test_it_is_a_track_of_its_own_in_mov(coded, tmp_path):
    path = matte_clip(Clip(coded("00:00:59;20", NTSC)), tmp_path / "out.mov", opaque, span=Span(start=0.35))
    with av.open(str(path)) as container:
        assert [stream.metadata["timecode"] for stream in container.streams.data] == ["00:01:00;03"]


@pytest.mark.parametrize(
    ("code", "frames", "rate", "moved"),
    [
        ("00:00:00:00", 25 * 60, Fraction(25), "00:01:00:00"),
        ("23:59:59:24", 1, Fraction(25), "00:00:00:00"),
        ("00:00:59;29", 1, NTSC, "00:01:00;02"),
        ("00:09:59;29", 1, NTSC, "00:10:00;00"),
        ("01:00:00;00", 107_892, NTSC, "02:00:00;00"),
        ("00:00:59;59", 1, 2 * NTSC, "00:01:00;04"),
        ("00:00:59:29", 1, NTSC, "00:01:00:00"),
        ("10:00:00:23", 1, Fraction(24_000, 1001), "10:00:01:00"),
        ("10:00:00:00", 130, Fraction(120), "10:00:01:010"),
        ("10:00:00:00", 0, Fraction(1000), ""),
    ],
)
def test_frames_are_counted_as_timecode_does(code, frames, rate, moved):
    assert later(code, frames, rate) == moved


def test_every_number_of_a_drop_frame_day_is_there_once():
    code, seen = "23:58:58;00", []
    for _ in range(4000):
        code = later(code, 1, NTSC)
        seen.append(code)
    assert len(set(seen)) == 4000
    assert not {"23:59:00;00", "23:59:00;01", "00:01:00;00", "00:01:00;01"} & set(seen)
    assert {"23:59:00;02", "00:00:00;00", "00:01:00;02"} <= set(seen)


def test_clips_without_stay_without(coded, tmp_path, recwarn):
    path = matte_clip(Clip(coded("")), tmp_path / "out.mov", opaque)
    assert timecode_of(Clip(path)) == ""
    assert not [warning for warning in recwarn if issubclass(warning.category, ClipNote)]


def test_what_cannot_keep_it_says_so(coded, tmp_path):
    clip = Clip(coded("01:02:03:04"))
    with pytest.warns(ClipNote, match=r"in\.mov: its timecode 01:02:03:04 is left out: PNG pictures .* no place"):
        matte_clip(clip, tmp_path / "pictures", opaque, format="png")
    with pytest.warns(ClipNote, match="is left out: it counts frames, and one of 2 is written"):
        path = matte_clip(clip, tmp_path / "out.mov", opaque, span=Span(every=2))
    assert timecode_of(Clip(path)) == ""


def test_it_can_be_stripped(coded, tmp_path):
    main(["matte", str(coded("01:02:03:04", count=2)), "-o", str(tmp_path / "kept.mov"), "--device", "cpu"])
    main(["matte", str(tmp_path / "in.mov"), "-o", str(tmp_path / "bare.mov"), "--device", "cpu", "--strip-metadata"])
    assert timecode_of(Clip(tmp_path / "kept.mov")) == "01:02:03:04"
    assert timecode_of(Clip(tmp_path / "bare.mov")) == ""


def test_exr_pictures_are_not_numbered_by_it_where_it_is_stripped(coded, tmp_path):
    source = str(coded("01:02:03:04", count=4))
    main(["matte", source, "-o", str(tmp_path / "a.exr"), "--device", "cpu", "--frames", "2", "--strip-metadata"])
    assert sorted(path.name for path in (tmp_path / "a").glob("*.exr")) == ["a.1001.exr", "a.1002.exr"]
    assert together(2, source, tmp_path / "b", opaque, format=find_format("exr"), span=Span(), timecode=False) == []
    assert sorted(path.name for path in (tmp_path / "b").glob("*.exr")) == [f"b.{1001 + i}.exr" for i in range(4)]


def test_several_processes_keep_it(coded, tmp_path):
    source, path = coded("01:02:03:04", count=8), tmp_path / "out.mov"
    assert together(2, source, path, opaque, format=find_format("prores"), span=Span(start=0.08)) == []
    assert timecode_of(Clip(path)) == "01:02:03:06"
    assert len(list(Clip(path).frames())) == 6
