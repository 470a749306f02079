"""What pictures and clips share: where outputs may go, and what becomes of an input that fails."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from tqdm import tqdm

from ..failures import FAILURES


def names_a_file(out: str) -> bool:
    """Whether -o, given for one input, is the output itself rather than a folder for it."""
    return bool(Path(out).suffix) and not out.endswith(("/", os.sep)) and not Path(out).is_dir()


def check_out(out: str, *, single: bool) -> None:
    """ValueError where -o is empty, or a file where there must be a folder. single: whether there is one input."""
    if not out:
        raise ValueError("-o is empty: name a folder, or for one input a file")
    folder = Path(out).parent if single and names_a_file(out) else Path(out)
    there = next((place for place in (folder, *folder.parents) if place.exists() or place.is_symlink()), None)
    if there is not None and not there.is_dir():
        what = "a file" if there.is_file() else "no folder" if there.exists() else "a link to nothing"
        raise ValueError(f"-o {out}: {there} is {what}, and what is written needs a folder there")


def refuse_clashes(sources: Iterable[Path], outputs: Iterable[tuple[Path, Path]]) -> None:
    """ValueError when one of `outputs`, (source, path it is written to), would replace an input or another output."""
    taken = {_real(source): source for source in sources}
    becoming: dict[str, Path] = {}
    for source, path in outputs:
        place = _real(path)
        if place in taken:
            raise ValueError(f"{path} would replace the input {taken[place]}: choose another -o")
        if place in becoming:
            both = f"{becoming[place]} and {source} would both become {path}"
            raise ValueError(f"{both}: give one of them another -o, in a run of its own")
        becoming[place] = source


def _real(path: Path) -> str:
    return os.path.normcase(os.path.realpath(path))


def attempt(source: Path, matte: Callable[[], object], *, tell: bool = True) -> bool:
    """Whether `matte()` went well. What went wrong with `source` is reported on stderr in one sentence, so that the
    other inputs go on. tell: whether this process is the one to report it."""
    try:
        matte()
    except FAILURES as error:
        text = str(error) or type(error).__name__
        if tell:
            tqdm.write(text if str(source) in text else f"{source}: {text}", file=sys.stderr)
        return False
    return True
