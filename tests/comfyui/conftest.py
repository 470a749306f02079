"""Tests in a real ComfyUI. They run where COMFYUI_PATH names a checkout of it.

COMFYUI_PYTHON names the interpreter that has its requirements and ours; by default it is the one that runs pytest.
"""

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.comfyui.server import Server

MISSING = "tests/comfyui skipped: COMFYUI_PATH names no ComfyUI checkout"


def pytest_report_header():
    return None if os.environ.get("COMFYUI_PATH") else MISSING


@pytest.fixture(scope="session")
def start_comfyui(tmp_path_factory):
    """start_comfyui(*options, others=()) -> a Server that is not started yet, with an empty folder of its own."""
    path = os.environ.get("COMFYUI_PATH")
    if not path:
        pytest.skip(MISSING)
    tree = Path(path).resolve()
    if not (tree / "main.py").is_file():
        pytest.fail(f"COMFYUI_PATH={path}: there is no main.py")
    python = os.environ.get("COMFYUI_PYTHON", sys.executable)

    def server(*options: str, others: tuple[Path, ...] = ()) -> Server:
        return Server(tree, tmp_path_factory.mktemp("comfyui"), python=python, options=options, others=others)

    return server


@pytest.fixture(scope="session")
def comfyui(start_comfyui):
    """The server most tests share."""
    with start_comfyui() as server:
        yield server


@pytest.fixture
def native(comfyui):
    """For what only a ComfyUI with background-removal nodes of its own (0.21 and later) can show."""
    if not comfyui.has_native_background_removal:
        pytest.skip("this ComfyUI has no background-removal nodes of its own")
    return comfyui


@pytest.fixture(scope="session")
def put_images(comfyui):
    """put_images(name, count, height, width, channels) -> the array [count, height, width, channels] that ProbeImage
    reads under that name: soft blobs on a gradient."""

    def put(name: str, count: int = 1, height: int = 80, width: int = 120, channels: int = 3) -> np.ndarray:
        y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
        images = np.stack(
            [
                np.stack([x, y, np.hypot(x - 0.5, y - (i + 1) / (count + 1)) < 0.25, x * 0 + 0.5], -1)
                for i in range(count)
            ]
        )[..., :channels].astype(np.float32)
        np.save(comfyui.base / "input" / name, images)
        return images

    return put
