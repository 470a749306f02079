"""A progress bar in the terminal for downloads."""

from __future__ import annotations

from collections.abc import Callable

from tqdm import tqdm


def byte_bar(name: str) -> Callable[[int, int], None]:
    """An `on_progress` that draws a bar of bytes on stderr from its first call on."""
    bar: tqdm | None = None

    def report(done: int, total: int) -> None:
        nonlocal bar
        if bar is None:
            bar = tqdm(desc=name, total=total, unit="B", unit_scale=True)
        bar.update(done - bar.n)
        if done >= total:
            bar.close()

    return report
