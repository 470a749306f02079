"""Lists that lie beside the code: what a set is made of, one thing a line."""

from __future__ import annotations

from pathlib import Path


def read_list(path: Path) -> list[list[str]]:
    """The words of each line; comments (#) and empty lines are left out."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [line.split() for line in lines if line.strip() and not line.startswith("#")]
