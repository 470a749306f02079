"""A tiny cut-out pack, tiny pictures with mattes and a narrow network's recipe for the tests of training."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

RECIPE = """
name = "tiny"
init = "none"
model_size = 64
steps = {steps}
warmup_steps = 1
validation_pictures = 2
validation_size = 64
validate_every = 2
save_every = 1
sheet_every = 2
precision = "fp32"

[architecture]
backbone = "timm:tf_efficientnet_lite0"
block_channels = 8
branch_channels = 8
inward_channels = 4
dropout = 0.0

[scenes]
object_counts = [0.0, 1.0]

[[phases]]
until = 0.5
size = 64
batch_size = 2

[[phases]]
until = 1.0
size = 96
batch_size = 2
losses = {{ bce = 0.0, ssim = 0.0, iou = 0.5, mae = 30.0 }}
"""


@pytest.fixture(autouse=True)
def _one_thread(one_thread):
    """Every test of this folder works on small tensors."""


@pytest.fixture(scope="session")
def pack_folder(tmp_path_factory) -> Path:
    """Forty objects with two views each (a soft-edged coloured disc), forty backgrounds of smooth noise."""
    root = tmp_path_factory.mktemp("pack")
    rng = np.random.default_rng(0)
    y, x = np.mgrid[-1:1:48j, -1:1:48j]
    for index in range(40):
        colour = rng.integers(30, 255, 3)
        for view in range(2):
            radius = np.hypot(x * (1 + 0.3 * view), y)
            alpha = np.clip((0.9 - radius) * 20, 0, 1) * 255
            pixels = np.dstack([np.broadcast_to(colour, (48, 48, 3)), alpha]).astype(np.uint8)
            path = root / "foregrounds" / "discs" / f"disc{index:02d}_{view}.webp"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels, "RGBA").save(path, lossless=True)
    for index in range(40):
        noise = Image.fromarray(rng.integers(0, 255, (6, 9, 3)).astype(np.uint8)).resize((144, 96), Image.BICUBIC)
        path = root / "backgrounds" / "noise" / f"noise{index}.webp"
        path.parent.mkdir(parents=True, exist_ok=True)
        noise.save(path)
    return root


@pytest.fixture
def recipe_file(tmp_path):
    """Writes a tiny recipe with a number of steps and gives its path."""

    def write(steps: int = 4) -> Path:
        path = tmp_path / f"tiny{steps}.toml"
        path.write_text(RECIPE.format(steps=steps))
        return path

    return write


# What makes any recipe small enough to try: the tiniest four-level backbone, a narrow decoder, 64 pixels.
TINY = [
    *("--backbone", "timm:test_efficientnet", "--size", "64", "--batch-size", "2", "--micro-batch", "2"),
    *("--set", "architecture.block_channels=8", "--set", "architecture.branch_channels=8"),
    *("--set", "architecture.inward_channels=4", "--device", "cpu", "--threads", "1"),
]


@pytest.fixture
def tiny() -> list[str]:
    return list(TINY)


def write_pair(root: Path, name: str, rng: np.random.Generator, size: tuple[int, int] = (80, 64)) -> None:
    """A bright disc on a dark ground, and its matte, as DIS5K lays them out."""
    width, height = size
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    alpha = np.clip((0.5 - np.hypot(*(a - c for a, c in zip((x, y), rng.uniform(-0.4, 0.4, 2))))) * 12, 0, 1)[..., None]
    pixels = alpha * rng.uniform(100, 255, 3) + (1 - alpha) * rng.uniform(0, 100, 3)
    for folder, suffix, values in (("im", "jpg", pixels), ("gt", "png", alpha[..., 0] * 255)):
        (root / folder).mkdir(parents=True, exist_ok=True)
        Image.fromarray(values.astype(np.uint8)).save(root / folder / f"{name}.{suffix}")


@pytest.fixture(scope="session", name="write_pair")
def _write_pair():
    return write_pair


@pytest.fixture(scope="session")
def discs(tmp_path_factory) -> Path:
    """Twelve pairs named as DIS5K names its files, of three classes."""
    root = tmp_path_factory.mktemp("discs")
    rng = np.random.default_rng(0)
    for index in range(12):
        write_pair(root, f"1#Shapes#1#Class{index % 3}#disc{index}", rng)
    return root
