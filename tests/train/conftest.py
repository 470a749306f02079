"""A tiny cut-out pack and a narrow network's recipe for the tests of training."""

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
