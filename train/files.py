"""Files that appear whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path


def write_whole(path: str | Path, write: Callable[[Path], object]) -> None:
    """Call `write(temporary path)`, then rename onto `path`. Missing folders are made; the temporary name keeps the
    suffix, by which Pillow knows the format.

    Raises:
        OSError: the disk is full or not writable; names the file. What was there before survives, and nothing else is
            left behind.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        write(temporary)
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:  # torch.save reports a full disk as RuntimeError
        raise OSError(
            f"{path} could not be written ({error}); free some disk space and start the same command again."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
