"""Files that appear whole or not at all."""

from __future__ import annotations

import errno
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # nothing, or nothing more of this user, or of this file, fits
UNFINISHED = re.compile(r"\.[0-9a-f]{32}(\.\w+)?")


@contextmanager
def whole_file(path: Path, suffix: str = ".part") -> Iterator[Path]:
    """A name beside `path` to write to, which becomes `path` when the block ends well; else nothing is left behind and
    what was there before stays. An OSError over that name, or over a disk that is full, speaks of `path`. suffix: of
    that name, for a writer that goes by it."""
    temporary = path.with_name(f".{uuid.uuid4().hex}{suffix}")  # not its stem, which may be as long as names go
    try:
        with speaks_of(path, temporary):
            yield temporary
            os.replace(temporary, path)
    finally:
        with suppress(OSError):  # of a read-only disk, which would hide why it was not written
            temporary.unlink(missing_ok=True)


@contextmanager
def speaks_of(path: Path, temporary: Path) -> Iterator[None]:
    """An OSError over the name `temporary`, or over a disk that is full, which names nothing, speaks of `path`, the one
    somebody asked for."""
    try:
        yield
    except OSError as error:
        nameless = error.filename is None and error.errno in FULL
        if nameless or (error.filename == str(temporary) and error.filename2 in (None, str(path))):
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


def is_unfinished(path: Path) -> bool:
    """Whether `path` is such a temporary name, which a killed process leaves behind."""
    return UNFINISHED.fullmatch(path.name) is not None
