"""Measurements as Markdown, ready for docs/figures.md."""

from __future__ import annotations

import numpy as np


def markdown(title: str, measurements: dict) -> str:
    """A title, a table with a row a measurement, and a table of their stages.

    measurements: label -> Measurement; "reference", where it is there, is what the others are compared with.
    """
    base = measurements.get("reference")
    header = ["", "latency", "peak memory"]
    if base is not None:
        header = ["", "latency", "times as fast", "peak memory", "of the reference", "largest logit difference"]
    rows = [[label, *_cells(measured, base)] for label, measured in measurements.items()]
    staged = {label: measured.stages for label, measured in measurements.items() if measured.stages}
    parts = [f"### {title}", table(header, rows)]
    if staged:
        parts.append(table(["stage", *staged], _stage_rows(staged)))
    return "\n\n".join(parts) + "\n"


def table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table, padded so that it reads well as text; columns after the first stand to the right."""
    widths = [max(3, *(len(row[i]) for row in (header, *rows))) for i in range(len(header))]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    lines = [header, rule, *rows]
    return "\n".join(
        "| " + " | ".join(cell.rjust(w) if i else cell.ljust(w) for i, (cell, w) in enumerate(zip(line, widths))) + " |"
        for line in lines
    )


def duration(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{1000 * seconds:.1f} ms"


def _cells(measured, base) -> list[str]:
    latency, memory = duration(measured.seconds), f"{measured.peak / 2**20:,.0f} MiB"
    if base is None:
        return [latency, memory]
    if measured is base:
        largest = np.abs(base.logits).max()
        return [latency, "1.00", memory, "1.00", f"(logits reach {largest:.1f})"]
    difference = np.abs(measured.logits - base.logits).max()
    share = measured.peak / base.peak if base.peak else float("nan")
    return [latency, f"{base.seconds / measured.seconds:.2f}", memory, f"{share:.2f}", f"{difference:.1e}"]


def _stage_rows(staged: dict[str, dict[str, float]]) -> list[list[str]]:
    stages = next(iter(staged.values()))
    rows = [[stage, *(duration(seconds[stage]) for seconds in staged.values())] for stage in stages]
    return [*rows, ["all", *(duration(sum(seconds.values())) for seconds in staged.values())]]
