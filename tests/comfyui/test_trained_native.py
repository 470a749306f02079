"""What `train/train.py --patch-order 2024` writes for swin_v1_l, in ComfyUI's own network: logits as in ours."""

import numpy as np
import pytest
import torch

import birefnet_core as bc
from tests.comfyui.native_logits import compute
from tests.train.conftest import write_pair
from train.run.result import MODEL
from train.train import main

SIDE = 256


@pytest.fixture(scope="module")
def tree_and_python(start_comfyui):
    server = start_comfyui()  # which is not started
    if not server.has_native_background_removal:
        pytest.skip("this ComfyUI has no background-removal nodes of its own")
    return server.tree, server.python


@pytest.fixture(scope="module")
def trained(tree_and_python, tmp_path_factory):
    """The model file of a run of one step from random weights, the backbone frozen to save memory."""
    folder = tmp_path_factory.mktemp("trained")
    for index in range(3):
        write_pair(folder / "data", f"disc{index}", np.random.default_rng(index))
    arguments = ["--recipe", "general", "--data", str(folder / "data"), "--out", str(folder / "run"), "--device", "cpu"]
    arguments += [
        "--backbone",
        "swin_v1_l",
        "--size",
        "64",
        "--steps",
        "1",
        "--batch-size",
        "2",
        "--patch-order",
        "2024",
    ]
    arguments += ["--precision", "fp32", "--threads", "1", "--set", "frozen_stages=4", "--set", "learning_rate=1e-3"]
    assert main(arguments) == 0
    for checkpoint in (folder / "run").glob("*.pt"):
        checkpoint.unlink()  # a gigabyte each
    return folder / "run" / MODEL


@torch.inference_mode()
def _ours(path, image: np.ndarray, patch_order: str = "auto") -> np.ndarray:
    model = bc.load_model(path, device="cpu", dtype="float32", patch_order=patch_order)
    return model.network(torch.from_numpy(image)).numpy()


def test_the_native_network_gives_the_same_logits(trained, tree_and_python, tmp_path):
    y, x = np.mgrid[-2 : 2 : SIDE * 1j, -2 : 2 : SIDE * 1j]
    noise = np.random.default_rng(0).standard_normal((3, SIDE, SIDE))
    image = (np.stack([x, y, np.hypot(x, y) < 1]) + 0.5 * noise)[None].astype(np.float32)
    tree, python = tree_and_python
    native, ours = compute(tree, trained, image, tmp_path, python), _ours(trained, image)
    assert native.shape == ours.shape == (1, 1, SIDE, SIDE)
    tolerance = 1e-3 * np.abs(ours).max()
    np.testing.assert_allclose(native, ours, rtol=0, atol=tolerance)
    # The patches matter in this image: read in the other order the same file is off by far more.
    assert np.abs(_ours(trained, image, "2025") - ours).max() > 10 * tolerance
