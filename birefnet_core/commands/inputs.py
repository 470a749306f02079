"""What `python -m birefnet_core matte IN...` works on: files, folders and patterns, and what is left out of them."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from ..picture_files import ADVICE, FORMATS, MISSING, READ_SUFFIXES, is_hidden
from ..video.source import SUFFIXES as CLIP_SUFFIXES

NAMED = 5  # of what is left out
SUFFIXES = READ_SUFFIXES | CLIP_SUFFIXES
SYSTEM_FILES = frozenset(("thumbs.db", "desktop.ini"))  # hidden where they are made


def find(inputs: list[str], *, recursive: bool = False, out: str = "") -> tuple[list[tuple[Path, Path]], list[str]]:
    """Files, folders and patterns -> each picture and clip once, with its name below an output folder; and what matched
    nothing.

    out: the output folder. What is in it is left out where it lies below a folder that is searched with its
    sub-folders, for it may be of an earlier run. Patterns are expanded here because not every shell does. A file named
    outright is taken whatever its name, also when it is missing, so that it is reported beside the others. Raises
    ValueError when there is nothing at all.
    """
    found: dict[str, tuple[Path, Path]] = {}
    unmatched = []
    for text in inputs:
        if not text:
            raise ValueError("an input is empty: name a picture, a clip, a folder or a pattern")
        inside = _files(text, recursive)
        if inside is None:
            pairs = [(Path(text), Path(Path(text).name))]
        else:
            written = _written(text, recursive, out)
            pairs = [(file, name) for file, name in inside if _is_input(file) and not written(file)]
        if not pairs:
            unmatched.append(text)
        for file, name in pairs:
            found.setdefault(os.path.realpath(file), (file, name))
    if not found:
        nothing = f"no pictures or clips in {', '.join(inputs)}"
        raise ValueError("; ".join([nothing, *left_out(inputs, recursive=recursive, out=out)]))
    return list(found.values()), unmatched


def left_out(inputs: list[str], *, recursive: bool = False, out: str = "") -> list[str]:
    """A sentence for each folder or pattern in which there are files that `find` leaves out, or sub-folders."""
    sentences = []
    for text in inputs:
        files, written = [file for file, _ in _files(text, recursive) or ()], _written(text, recursive, out)
        if any(_is_input(file) and written(file) for file in files):
            sentences.append(f"{text}: what is in {out} left out, since that is where results go")
        files = [file for file in files if not _is_input(file) and not written(file)]
        files = [file for file in files if file.name.lower() not in SYSTEM_FILES]
        if files:
            known = [name for name in MISSING if any(file.suffix.lower() in FORMATS[name] for file in files)]
            advice = "".join(f"; {_first(files, FORMATS[name]).name} is {ADVICE[name]}" for name in known)
            sentences.append(f"{text}: {_counted(files, 'file')} left out, no picture or clip we read{advice}")
        folders = [] if recursive or not Path(text).is_dir() else _folders_of_inputs(Path(text))
        if folders:
            sentences.append(f"{text}: {_counted(folders, 'sub-folder')} left out, --recursive takes them")
    return sentences


def _files(text: str, recursive: bool) -> list[tuple[Path, Path]] | None:
    """The files of a folder or a pattern, sorted, each with its name below an output folder; None for a file named
    outright. Names that begin with a dot are left away, of files and of folders; a pattern may ask for them."""
    path = Path(text)
    if path.is_dir():
        inside = sorted(_below(path) if recursive else path.glob("*"))
        return [(file, file.relative_to(path)) for file in inside if not is_hidden(file, path) and file.is_file()]
    if glob.has_magic(text) and not path.exists():
        inside = sorted(map(Path, glob.glob(text, recursive=True)))
        return [(file, Path(file.name)) for file in inside if file.is_file()]
    return None


def _below(folder: Path) -> Iterator[Path]:
    """All files below a folder. Links to folders elsewhere are followed, each once."""
    top, entered = folder.resolve(), set()
    for place, folders, names in os.walk(folder, followlinks=True):
        folders.sort()
        real, linked = Path(place).resolve(), Path(place) != folder and os.path.islink(place)
        if real in entered or (linked and (real.is_relative_to(top) or top.is_relative_to(real))):
            folders.clear()
            continue
        entered.add(real)
        yield from (Path(place, name) for name in names)


def _written(text: str, recursive: bool, out: str) -> Callable[[Path], bool]:
    """Whether a file lies in the folder `out`, if that is below what is searched with its sub-folders."""
    searched = Path(text.partition("**")[0]).resolve()
    there = Path(out).resolve() if out and Path(out).is_dir() else searched
    if there == searched or not there.is_relative_to(searched) or not (recursive or "**" in text):
        return lambda file: False
    return lambda file: file.resolve().is_relative_to(there)


def _is_input(file: Path) -> bool:
    return file.suffix.lower() in SUFFIXES


def _folders_of_inputs(folder: Path) -> list[Path]:
    folders = sorted(path for path in folder.iterdir() if path.is_dir() and not is_hidden(path, folder))
    return [path for path in folders if any(_is_input(file) for file, _ in _files(str(path), False) or ())]


def _first(files: list[Path], suffixes: tuple[str, ...]) -> Path:
    return next(file for file in files if file.suffix.lower() in suffixes)


def _counted(paths: list[Path], what: str) -> str:
    names = ", ".join(path.name for path in paths[:NAMED])
    return f"{len(paths)} {what}{'s' * (len(paths) > 1)} ({names}{', ...' * (len(paths) > NAMED)})"
