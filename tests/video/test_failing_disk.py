"""A disk that takes no more: one error, nothing half-written, nothing lost that was there before."""

from contextlib import contextmanager
from dataclasses import replace

import pytest

from birefnet_core.video import FORMATS, Clip, matte_clip
from tests.video.test_matte_clip import ellipse

resource = pytest.importorskip("resource")  # not on Windows


@contextmanager
def largest_file(size: int):
    """Within this, writing a file beyond `size` bytes fails, as on a full disk. Pytest's own report must not be one."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("format", ["prores", "png"])
def test_an_output_that_cannot_be_opened_leaves_nothing(make_clip, tmp_path, format):
    """As where an encoder is missing."""
    source = make_clip("in/clip.mkv", codec="ffv1", pixels="yuv444p")
    row = replace(FORMATS[format], codec="missing", muxer=FORMATS[format].muxer and "missing")
    with pytest.raises(ValueError):
        matte_clip(Clip(source), tmp_path / "out" / "clip", ellipse, format=row)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("size", [100, 2000, 30_000])
@pytest.mark.parametrize("format", list(FORMATS))
def test_a_full_disk_is_told_and_leaves_what_was_there(make_clip, tmp_path, format, size):
    source = make_clip("in/clip.mkv", codec="ffv1", pixels="yuv444p", sound="aac")
    row = FORMATS[format]
    folder = tmp_path / "out"
    path = folder / f"clip{row.suffix}"
    matte_clip(Clip(source), path, ellipse, format=format)
    whole = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    if size > max(len(content) for content in whole.values()):
        pytest.skip("all of it fits")
    with largest_file(size), pytest.raises(OSError) as error:
        matte_clip(Clip(source), path, ellipse, format=format, overwrite=True)
    assert str(error.value).endswith(f": {str(path)!r}")  # not the clip that was read, nor a name of a moment
    assert {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()} == whole
    assert [entry.name for entry in folder.iterdir()] == [path.name]


def test_a_clip_whose_place_is_in_use_is_kept_whole_beside_it(make_clip, tmp_path, monkeypatch):
    """As on Windows, where what a player has open cannot be replaced."""
    source, path = make_clip("in/clip.mkv", codec="ffv1", pixels="yuv444p"), tmp_path / "out" / "clip.mov"
    matte_clip(Clip(source), path, ellipse)
    before = path.read_bytes()

    def in_use(temporary, target):
        raise PermissionError(13, "the process cannot access the file", str(target))

    monkeypatch.setattr("birefnet_core.video.write.rename", in_use)
    with pytest.raises(OSError, match=r"cannot access the file.*this clip is whole, in .*clip\.partial\.mov"):
        matte_clip(Clip(source), path, ellipse, overwrite=True)
    assert path.read_bytes() == before
    assert (path.with_name("clip.partial.mov")).read_bytes() == before
    assert len(list(path.parent.iterdir())) == 2
