"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A name beside `path` to write to, which becomes `path` when the block ends well; else nothing is left behind and
    what was there before stays. An OSError over that name speaks of `path`, the one somebody asked for."""
    temporary = path.with_name(f".{uuid.uuid4().hex}.part")
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        if error.filename == str(temporary) and error.filename2 is None:
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)
