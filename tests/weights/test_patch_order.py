"""The patch order: the permutation of the design, and the statistic that tells it from trained weights."""

import pytest
import torch
from safetensors.torch import save_file

from birefnet_core.weights.files import read_weights
from birefnet_core.weights.patch_order import GRIDS, detect, reorder
from birefnet_core.weights.places import BUNDLED


def patch_weights(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {
        f"decoder.ipt_blk{level}.conv1.weight": torch.randn(4, 3 * g * g, 3, 3, generator=generator)
        for level, g in GRIDS.items()
    }


def test_the_permutation_is_the_published_one():
    old = patch_weights()
    new = reorder(old, "2024", "2025")
    for level, g in GRIDS.items():
        key = f"decoder.ipt_blk{level}.conv1.weight"
        for column, row, colour in [(0, 0, 0), (1, 0, 2), (0, 1, 1), (g - 1, g - 2, 2)]:
            expected = old[key][:, (column * g + row) * 3 + colour]
            assert torch.equal(new[key][:, colour * g * g + row * g + column], expected)
    back = reorder(new, "2025", "2024")
    assert all(torch.equal(back[key], old[key]) for key in old)


def test_other_weights_and_the_input_are_left_alone():
    state = {**patch_weights(), "decoder.conv_out1.0.bias": torch.ones(1)}
    before = {key: value.clone() for key, value in state.items()}
    moved = reorder(state, "2024", "2025")
    assert moved["decoder.conv_out1.0.bias"] is state["decoder.conv_out1.0.bias"]
    assert all(torch.equal(state[key], before[key]) for key in state)
    with pytest.raises(ValueError, match="must be one of 2024, 2025, got '2023'"):
        reorder(state, "2023", "2025")


@pytest.mark.parametrize("seed", range(5))
def test_random_weights_are_undecided(seed):
    order, score = detect(patch_weights(seed))
    assert order is None, score


def test_damaged_weights_are_undecided():
    weights = {"decoder.ipt_blk5.conv1.weight": torch.full((8, 3072, 3, 3), float("nan"))}
    assert detect(weights)[0] is None


def test_no_patches_are_undecided():
    assert detect({}) == (None, 0.0)


@pytest.mark.parametrize("order", ["2024", "2025"])
def test_trained_weights_show_their_order_without_metadata(order, tmp_path):
    weights, _ = read_weights(BUNDLED)
    path = tmp_path / "no-metadata.safetensors"
    save_file(reorder(weights, "2025", order), path)
    assert detect(read_weights(path)[0])[0] == order
