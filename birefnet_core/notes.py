"""What a run says of a picture or a clip besides the result: what was left out, changed or guessed. A sentence each."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Note(UserWarning):
    """Something was left out or changed; the run goes on. The text is one sentence that begins with the file's name."""


def note(text: str, kind: type[Note] = Note) -> None:
    """Say it, from any thread: to whoever listens by `notes_to`, else as a warning."""
    warnings.warn(text, kind, stacklevel=2)


@contextmanager
def notes_to(receive: Callable[[str], None]) -> Iterator[None]:
    """Hands each note given inside the block to `receive`, once; other warnings go their own way."""
    said = set()
    with warnings.catch_warnings():
        warnings.simplefilter("always", Note)
        others = warnings.showwarning

        def show(message, category, *place, **more) -> None:
            if not issubclass(category, Note):
                others(message, category, *place, **more)
            elif str(message) not in said:
                said.add(str(message))
                receive(str(message))

        warnings.showwarning = show
        yield
