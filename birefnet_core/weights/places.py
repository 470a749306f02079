"""Where weight files lie, from the names people give them. Needs no torch, so that a wrong name is refused at once."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from .download import download
from .files import SUFFIXES, WeightsError, check_there

BUNDLED = Path(__file__).with_name("bundled.safetensors")
MODELS_DIR = Path(__file__).parents[2] / "models"


def locate(
    name: str | os.PathLike[str],
    models_dir: str | os.PathLike[str] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Path:
    """The file of "bundled", a path, or a published name (downloaded if it is not in `models_dir`).

    Raises WeightsError for a file that is not there, DownloadError as `download`, ValueError for an unknown name.
    """
    if name == "bundled":
        if not BUNDLED.is_file():
            raise WeightsError(f"{BUNDLED}: the bundled model is missing: fetch the repository again, whole")
        return BUNDLED
    if not isinstance(name, str | os.PathLike):
        raise ValueError(f"a model is a name or the path of a file, not {name!r}")
    path = Path(name)
    if path.is_file() or path.suffix.lower() in SUFFIXES or isinstance(name, Path):
        return check_there(path)
    return download(str(name), models_dir or MODELS_DIR, on_progress=on_progress)
