"""Shared by all tests: two threads at most, and the reference's weights and numbers."""

import importlib.util
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

DATA = Path(__file__).parent / "data" / "parity"


class Reference:
    """Keys, weights and outputs of one backbone's published layout (tests/data/parity)."""

    def __init__(self, backbone: str):
        spec = importlib.util.spec_from_file_location("fill", DATA / "fill.py")
        self._fill = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(self._fill)
        self.manifest = json.loads((DATA / f"{backbone}.keys.json").read_text())
        self.arrays = np.load(DATA / f"{backbone}.npz")

    def weights(self) -> dict[str, torch.Tensor]:
        return {key: torch.from_numpy(value) for key, value in self._fill.fill(self.manifest).items()}

    def image(self, case: int) -> torch.Tensor:
        return torch.from_numpy(self._fill.image(list(self.arrays[f"eval{case}_shape"]), case))

    def __getitem__(self, name: str) -> torch.Tensor:
        return torch.from_numpy(self.arrays[name])

    def __contains__(self, name: str) -> bool:
        return name in self.arrays


@pytest.fixture
def reference():
    return Reference


@pytest.fixture(scope="session", autouse=True)
def _threads():
    torch.set_num_threads(min(2, torch.get_num_threads()))


@pytest.fixture
def one_thread():
    """For small tensors: two threads on busy cores took 50 times as long, and sums come out the same each time."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def set_defaults():
    """set_defaults(dtype=..., device=...): torch's own for the rest of a test."""
    before = torch.get_default_dtype()

    def set_both(dtype=before, device="cpu"):
        torch.set_default_dtype(dtype)
        torch.set_default_device(device)

    yield set_both
    torch.set_default_dtype(before)
    torch.set_default_device(None)


@pytest.fixture
def gpu(monkeypatch):
    """A GPU, without TF32, so that it computes what a CPU does. `GPU_TESTS_ON=cpu` tries these tests themselves."""
    device = os.environ.get("GPU_TESTS_ON", "cuda")
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "0")  # for the processes that a test starts
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    yield device
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before
