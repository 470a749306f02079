"""What shows behind the subject of a composited clip."""

import numpy as np
import pytest
import torch
from PIL import Image

from birefnet_core.video.behind import filled

RGBA = np.zeros((8, 12, 4), np.uint8)
RGBA[..., :3] = (200, 100, 50)
RGBA[:, 4:8, 3], RGBA[:, 8:, 3] = 128, 255


@pytest.mark.parametrize("kind", ["file", "tensor"])
def test_a_transparent_background_does_not_show_what_it_hides(tmp_path, kind):
    Image.fromarray(RGBA).save(tmp_path / "behind.png")
    given = tmp_path / "behind.png" if kind == "file" else torch.from_numpy(RGBA).float() / 255
    shown = filled(given, (12, 8)).astype(int)
    expected = RGBA[..., :3] * (RGBA[..., 3:] / 255)  # on black, as Apply Mask's transparent composite
    assert np.abs(shown - expected).max() < 0.51
