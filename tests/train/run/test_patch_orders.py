"""Networks trained with either patch order show it in their weights: the old order is trained as upstream had it."""

import shutil
from pathlib import Path

import pytest
import torch
from einops import rearrange
from PIL import Image

import birefnet_core as bc
from birefnet_core.network.reference import InwardReference
from birefnet_core.weights.patch_order import detect
from train.run.losses import training_loss
from train.run.normalise import normalise
from train.scenes.cutouts import read_pack
from train.scenes.scenes import Scenes
from train.tables import LossWeights, SceneStyle

ROOT = Path(__file__).parents[3]


def stack_as_2024(self, image):
    patches = rearrange(image, "n c (i h) (j w) -> n (j i c) h w", i=self.grid, j=self.grid)
    return self.conv_out(self.conv_in(patches))


@pytest.fixture
def natural_pack(pack_folder, tmp_path):
    """The discs of the other tests on crops of a photograph: colours that go together, as in any real training set."""
    shutil.copytree(pack_folder / "foregrounds", tmp_path / "foregrounds")
    photograph = Image.open(ROOT / "demo" / "photograph.jpg")
    (tmp_path / "backgrounds" / "crops").mkdir(parents=True)
    for i in range(40):
        left, top = 60 * (i % 8), 50 * (i // 8)
        photograph.crop((left, top, left + 192, top + 192)).save(tmp_path / "backgrounds" / "crops" / f"crop{i}.webp")
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("order", ["2024", "2025"])
def test_the_order_a_network_was_trained_in_shows(order, natural_pack, monkeypatch):
    if order == "2024":
        monkeypatch.setattr(InwardReference, "forward", stack_as_2024)
    torch.manual_seed(1)
    network = bc.build_network("pvt_v2_b0", block_channels=16, branch_channels=16, inward_channels=8, dropout=0.0)
    optimiser = torch.optim.AdamW(network.parameters(), 1e-3)
    scenes = Scenes(read_pack(natural_pack)[0], SceneStyle(), seed=3)
    for step in range(40):
        images, alpha = scenes.batch(range(4 * step, 4 * step + 4), 96)
        loss, _ = training_loss(network(normalise(images)), alpha, LossWeights())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    found, score = detect(bc.export_published(network))
    assert found == order, score
