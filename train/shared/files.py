"""Files of a run: whole or not at all, and an error that says what to do where the disk is full."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from birefnet_core.names import readable
from birefnet_core.whole import FULL, whole_file

MAYBE_FULL = (*FULL, None)  # torch, safetensors and Pillow give no number


def write_whole(path: str | Path, write: Callable[[Path], object]) -> None:
    """Call `write(temporary path)`, then rename onto `path`. Missing folders are made; the temporary name keeps the
    suffix, by which Pillow knows the format.

    Raises:
        OSError: the disk is full or not writable; names the file. What was there before survives, and nothing else is
            left behind.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with whole_file(path, path.suffix) as temporary:
            write(temporary)
    except (OSError, RuntimeError) as error:  # torch.save reports a full disk as RuntimeError
        raise not_written(path, error) from error


def write_text(path: str | Path, text: str) -> None:
    """Write `text` as UTF-8, as of `write_whole`; names in it that are not UTF-8 come escaped."""
    write_whole(path, lambda temporary: temporary.write_text(readable(text), encoding="utf-8"))


def not_written(path: Path, error: Exception) -> OSError:
    """What to raise when `error` kept `path` from being written; says what to do if the disk may be full."""
    full = getattr(error, "errno", None) in MAYBE_FULL
    advice = "; free some disk space and start the same command again" if full else ""
    return OSError(f"{path} could not be written ({error}){advice}.")
