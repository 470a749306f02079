"""File names that are not UTF-8, as a disk may hold them: Python gives them surrogates, which no text file takes."""

from __future__ import annotations

import sys

ESCAPED = "backslashreplace"  # how Python itself writes them on stderr


def readable(text: str) -> str:
    r"""`text` as UTF-8 can hold it: what a name has that is no UTF-8 is written as \udce9. Any other text as it is."""
    return text.encode("utf-8", ESCAPED).decode("utf-8")


def let_stdout_take_any_name() -> None:
    """From now on what cannot be written to stdout is escaped, as on stderr."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors=ESCAPED)
