"""The result as ONNX too, OUT/model.onnx, when the run has ended: `train/train.py --export onnx`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from birefnet_core.matting.onnx_export import check_packages, export_onnx
from birefnet_core.weights.load import load_network

from .options import TrainingError
from .result import MODEL

ONNX = "model.onnx"
FORMATS = ("onnx",)


def check_export(wanted: str | None) -> None:
    """TrainingError before a run begins, if what is needed at its end is not installed."""
    if wanted == "onnx":
        with _sentences():
            check_packages()


def export_result(out: Path, wanted: str | None) -> list[Path]:
    """Write the result in the wanted format, unless that was done since the result was written. Returns new files.

    Raises TrainingError where torch.onnx cannot, ValueError for a model for any size on an encoder for one size.
    """
    source, target = out / MODEL, out / ONNX
    if wanted is None or (target.is_file() and target.stat().st_mtime_ns >= source.stat().st_mtime_ns):
        return []
    with _sentences():
        return export_onnx(*load_network(source), target)


@contextmanager
def _sentences() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise TrainingError(str(error)) from error
