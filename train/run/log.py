"""What a run says while it goes: a line that lives, log.csv, and TensorBoard where it is installed."""

from __future__ import annotations

import contextlib
import csv
import shutil
import sys
import time
from pathlib import Path

from train.shared.files import not_written, write_text

from .losses import MAP_TERMS

TERMS = (*MAP_TERMS, "gradient", "classes")
FIELDS = (
    *("step", "epoch", "pictures", "seconds", "rate", "learning_rate", "gradient_norm", "skipped", "loss"),
    *(f"loss_{term}" for term in TERMS),
    *("mae", "iou", "hinted_mae", "hinted_iou"),
)
EVERY = 20  # steps between two rows, after the first so many


class Log:
    """The log of the run in `out`, whose rows after `step` (a killed run may have left some) are dropped.

    `quiet`: of several processes only one writes.
    """

    def __init__(self, out: Path, step: int, *, quiet: bool = False) -> None:
        self.path, self.quiet, self.rate, self.began = out / "log.csv", quiet, 0.0, time.monotonic()
        self.board = None
        if quiet:
            return
        self._drop_after(step)
        with contextlib.suppress(ImportError):  # TensorBoard is not installed, or not whole
            from torch.utils.tensorboard import SummaryWriter

            self.board = SummaryWriter(str(out / "tensorboard"), purge_step=step + 1)

    def _drop_after(self, step: int) -> None:
        if not self.path.exists():
            return
        lines = self.path.read_text(encoding="utf-8").splitlines(keepends=True)
        whole = [line for line in lines if line.endswith("\n")]  # a full disk may have cut the last one
        header = ",".join(FIELDS) + "\n"
        if whole and header.startswith(whole[0].rstrip("\n")):  # of a run that began before the last columns were added
            whole[0] = header
        text = "".join(whole[:1] + [row for row in whole[1:] if row[:1].isdigit() and int(row.split(",")[0]) <= step])
        if not text:
            self.path.unlink()
            return
        write_text(self.path, text)

    def step(self, step: int, steps: int, *, drawn: int, left: int, took: float, **values: float) -> None:
        """Say how one step went that drew so many pictures and took so many seconds; `left` pictures are to come."""
        rate = drawn / took
        self.rate = rate if not self.rate else 0.95 * self.rate + 0.05 * rate
        if self.quiet:
            return
        terms = " ".join(f"{name} {values[f'loss_{name}']:.4f}" for name in TERMS if f"loss_{name}" in values)
        line = f"{step}/{steps}  {self.rate:.2f} pictures/s  {_duration(left / self.rate)} left  " + (
            f"loss {values['loss']:.3f}  {terms}" + (f"  skipped {values['skipped']}" if values["skipped"] else "")
        )
        if sys.stdout.isatty():
            width = shutil.get_terminal_size().columns - 1
            print(f"\r{line[:width]:<{width}}", end="", flush=True)
        elif step % EVERY == 0 or step <= 3:
            print(line, flush=True)
        if step % EVERY == 0 or step <= EVERY or step == steps:
            self.row(step, rate=self.rate, **values)

    def row(self, step: int, **values: float) -> None:
        """Add a row to log.csv; also to TensorBoard."""
        if self.quiet:
            return
        fresh = not self.path.exists()
        values = {"seconds": round(time.monotonic() - self.began), **values}
        cells = {name: f"{value:.6g}" if isinstance(value, float) else value for name, value in values.items()}
        try:
            with self.path.open("a", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
                if fresh:
                    writer.writeheader()
                writer.writerow({"step": step, **cells})
        except OSError as error:
            raise not_written(self.path, error) from error
        if self.board is not None:
            for name, value in values.items():
                self.board.add_scalar(name.replace("loss_", "loss/"), value, step)
            self.board.flush()

    def say(self, text: str) -> None:
        """A line of its own."""
        if not self.quiet:
            print(f"\n{text}" if sys.stdout.isatty() else text, flush=True)


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"
