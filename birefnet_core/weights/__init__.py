"""Weights: reading, recognising, writing and fetching checkpoints. The bundled model lies here."""

from .catalog import ModelSpec
from .download import DownloadError, download
from .files import WeightsError
from .load import inspect, load_model, save_model
from .published import export_published, load_published

__all__ = [
    "DownloadError",
    "ModelSpec",
    "WeightsError",
    "download",
    "export_published",
    "inspect",
    "load_model",
    "load_published",
    "save_model",
]
