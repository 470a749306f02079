"""How many processes to work in. Apart from the scoring, because the python that renders has no SciPy."""

from __future__ import annotations

import os

FEW = 8  # images for which a further process is not worth its start
MOST = 61  # Windows waits for no more at a time


def processes_for(images: int) -> int:
    """As many processes as this one may use processors, at most MOST, fewer for few images."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(usable, MOST, images // FEW))
