"""What a run says of its clip besides the result, as of ../notes.py."""

from __future__ import annotations

import warnings

from ..notes import Note, notes_to

__all__ = ["ClipNote", "note", "notes_to"]


class ClipNote(Note):
    """Something of a clip was left out or changed; the run goes on. The text is one sentence that begins with the
    clip's name."""


def note(text: str, kind: type[ClipNote] = ClipNote) -> None:
    """Say it of a clip, as notes.note does."""
    warnings.warn(text, kind, stacklevel=2)
