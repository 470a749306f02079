"""File names as disks hold them: some are not UTF-8, which Python gives surrogates that no text file takes, and a Mac
writes a letter with an accent as two."""

from __future__ import annotations

import sys
import unicodedata
from pathlib import Path

LONGEST = 255  # bytes of a name
ESCAPED = "backslashreplace"  # how Python itself writes them on stderr


def readable(text: str) -> str:
    r"""`text` as UTF-8 can hold it: what a name has that is no UTF-8 is written as \udce9. Any other text as it is."""
    return text.encode("utf-8", ESCAPED).decode("utf-8")


def name_of(path: Path) -> str:
    """The stem by which pictures are paired: a letter with an accent is one character, as a Mac may not write it."""
    return same_form(path.stem)


def same_form(name: str) -> str:
    """A name with a letter and its accent as one character."""
    return unicodedata.normalize("NFC", name)


def shortened(stem: str, more: int) -> str:
    """The stem, or as much of it as makes a name that disks take with `more` bytes behind it."""
    whole = stem.encode("utf-8", "surrogateescape")
    most = LONGEST - more
    if len(whole) <= most:
        return stem
    while whole[most] & 0xC0 == 0x80:  # within a letter
        most -= 1
    return whole[:most].decode("utf-8", "surrogateescape")


def entry(folder: Path, name: str) -> Path:
    """What is called `name` in a folder, in either form; folder / name where nothing is."""
    path = folder / name
    if path.exists() or not folder.is_dir():
        return path
    return next((each for each in folder.iterdir() if same_form(each.name) == same_form(name)), path)


def let_stdout_take_any_name() -> None:
    """From now on what cannot be written to stdout is escaped, as on stderr."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors=ESCAPED)
