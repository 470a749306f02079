"""Files appear whole or not at all, whatever stops the writing."""

import errno
import os

import pytest

from birefnet_core.whole import is_unfinished, whole_file


def test_a_write_that_stops_midway_leaves_what_was_there(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"precious")
    with pytest.raises(KeyboardInterrupt), whole_file(path) as temporary:
        temporary.write_bytes(b"half a pict")
        assert temporary.parent == tmp_path  # the same disk, so that renaming is one step
        raise KeyboardInterrupt
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.png"]
    assert path.read_bytes() == b"precious"


def test_a_whole_write_takes_the_place(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"old")
    with whole_file(path) as temporary:
        temporary.write_bytes(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.png"]


def test_an_error_names_the_file_that_was_asked_for(tmp_path):
    path = tmp_path / "absent" / "a.png"
    with pytest.raises(FileNotFoundError) as raised, whole_file(path) as temporary:
        temporary.write_bytes(b"new")
    assert repr(str(path)) in str(raised.value) and ".part" not in str(raised.value)


def test_a_folder_in_the_way_is_named_alone(tmp_path):
    path = tmp_path / "taken"
    path.mkdir()
    with pytest.raises(OSError) as raised, whole_file(path) as temporary:
        temporary.write_bytes(b"new")
    assert str(raised.value).endswith(f": {str(path)!r}") and ".part" not in str(raised.value)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_names_the_file_that_was_asked_for(tmp_path, number):
    """The error of a write names nothing; that of a network, say, which the block reads from, stays as it is."""
    path = tmp_path / "a.png"
    with pytest.raises(OSError) as raised, whole_file(path):
        raise OSError(number, os.strerror(number))
    assert str(raised.value) == f"[Errno {number}] {os.strerror(number)}: {str(path)!r}"
    with pytest.raises(OSError) as raised, whole_file(path):
        raise OSError(errno.ECONNRESET, "reset")
    assert raised.value.filename is None


@pytest.mark.parametrize("suffix", [".part", ".pt", ".jpg", ""])
def test_what_a_killed_process_leaves_behind_is_known_by_its_name(tmp_path, suffix):
    with whole_file(tmp_path / "best.pt", suffix) as temporary:
        temporary.write_bytes(b"")
        assert is_unfinished(temporary)
    assert not any(is_unfinished(tmp_path / name) for name in ("best.pt", ".gitignore", ".step_0000100.pt"))
