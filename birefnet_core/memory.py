"""How much main memory can be had."""

from __future__ import annotations

from pathlib import Path


def free_memory() -> int | None:
    """Bytes of main memory that can be had; None where the system does not tell. The least of what the machine and
    this process's control group (a container) leave."""
    found = []
    try:
        import psutil  # not ours to require, but there beside ComfyUI

        found.append(psutil.virtual_memory().available)
    except ImportError:
        found += _numbers("/proc/meminfo", "MemAvailable:", 1024)
    limit, used = _text("/sys/fs/cgroup/memory.max").strip(), _text("/sys/fs/cgroup/memory.current").strip()
    if limit.isdigit() and used.isdigit():
        kept_files = sum(_numbers("/sys/fs/cgroup/memory.stat", "inactive_file", 1))  # given back when memory is short
        found.append(int(limit) - int(used) + kept_files)
    return min(found, default=None)


def _numbers(path: str, name: str, unit: int) -> list[int]:
    """The values of the lines `name VALUE ...` of a file."""
    return [int(line.split()[1]) * unit for line in _text(path).splitlines() if line.startswith(f"{name} ")]


def _text(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""
