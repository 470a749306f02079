"""What a run says of its clip reaches who runs it, once, from whatever thread."""

import threading
import warnings

import pytest

from birefnet_core.video.notes import ClipNote, note, notes_to


def test_each_note_is_told_once_from_any_thread():
    heard = []
    with notes_to(heard.append):
        thread = threading.Thread(target=note, args=("a.mp4: one",))
        thread.start()
        thread.join()
        for text in ("a.mp4: two", "a.mp4: one"):
            note(text)
    assert heard == ["a.mp4: one", "a.mp4: two"]


def test_other_warnings_go_their_own_way():
    with pytest.warns(DeprecationWarning, match="old"), notes_to(pytest.fail):
        warnings.warn("old", DeprecationWarning, stacklevel=1)


def test_without_a_listener_it_is_a_warning():
    with pytest.warns(ClipNote, match=r"a\.mp4: three"):
        note("a.mp4: three")
