from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms
from torch import nn

from birefnet_core.matting import MattingModel
from birefnet_core.network import Architecture, build_network
from birefnet_core.weights.catalog import ModelSpec

BACKBONE = "timm:tf_efficientnet_lite0"


class Spread(nn.Module):
    """A narrow network with random weights. Its logits, which hardly vary, are spread so that alpha spans 0..1."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.network = build_network(
            Architecture(backbone=BACKBONE, block_channels=16, branch_channels=16, inward_channels=8)
        )
        self.eval()

    def forward(self, x):
        return (self.network(x) + 0.11) * 40


@pytest.fixture(autouse=True)
def _one_thread(one_thread):
    """Every test of this folder works on small tensors."""


@pytest.fixture(scope="session")
def network():
    return Spread()


@pytest.fixture
def model(network):
    return MattingModel(network, ModelSpec(name="narrow", backbone=BACKBONE, size=(128, 96)))


@pytest.fixture(scope="session")
def srgb_profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.fixture(scope="session")
def photograph() -> np.ndarray:
    """A real photograph, uint8 [340, 480, 3]."""
    return np.array(Image.open(Path(__file__).parent / "data" / "skyline.webp").convert("RGB"))
