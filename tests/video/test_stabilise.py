"""Stabilisation: no flicker where the picture stands still, no smear where it moves, nothing across a cut."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from birefnet_core.bench.clips import Motion, moving
from birefnet_core.video.stabilise import RADIUS, stabilised

SIZE = (96, 128)


@dataclass
class Item:
    pixels: torch.Tensor
    alpha: torch.Tensor


def textured(height, width, seed):
    """A photograph-like picture: noise at several scales, uint8 [h, w, 3]."""
    random = np.random.default_rng(seed)
    picture = np.zeros((height, width, 3))
    for cell in (4, 8, 16, 32):
        grid = random.normal(size=(height // cell + 2, width // cell + 2, 3))
        picture += np.kron(grid, np.ones((cell, cell, 1)))[:height, :width] * cell**0.5 * 8
    return (picture + 120).clip(0, 255).astype(np.uint8)


def cutout(seed):
    """A textured disc with a soft edge, uint8 [64, 64, 4]."""
    y, x = np.mgrid[-1:1:64j, -1:1:64j]
    alpha = ((0.85 - np.hypot(x, y)) * 8).clip(0, 1)
    return np.dstack([textured(64, 64, seed)[..., ::-1], (alpha * 255).astype(np.uint8)])


def scene(motion, frames=12, seed=0):
    """frames uint8 [T, H, W, 3] and their true alpha."""
    return moving(cutout(seed), textured(200, 260, seed + 1), motion, frames=frames, size=SIZE, seed=seed)


def flickering(alpha, seed=0):
    """What a network might say: the truth with patches that come and go in single frames, and a little noise."""
    generator = torch.Generator().manual_seed(seed)
    patches = torch.rand(len(alpha), 1, 6, 8, generator=generator)
    patches = torch.nn.functional.interpolate((patches > 0.9).float() * 0.6, size=SIZE, mode="bilinear")[:, 0]
    noise = 0.03 * torch.randn(alpha.shape, generator=generator)
    return (alpha + patches * (1 - 2 * alpha) + noise).clamp(0, 1)


def run(frames, alpha, strength=1.0):
    items = [Item(pixels, values) for pixels, values in zip(frames, alpha)]
    return torch.stack([item.alpha for item in stabilised(iter(items), strength)])


def flicker(alpha, truth):
    """dtSSD (Erofeev et al. 2015, section 4): how differently an alpha changes from frame to frame than the truth."""
    return ((alpha.diff(dim=0) - truth.diff(dim=0)) ** 2).mean(dim=(1, 2)).sqrt().mean().item()


def error(alpha, truth):
    return (alpha - truth).abs().mean().item()


MOTIONS = [
    Motion("still"),
    Motion("slow", travel=0.1, turn=0.05),
    Motion("fast", travel=0.4),
    Motion("camera pans", pan=0.2),
]


@pytest.mark.parametrize("motion", MOTIONS, ids=[motion.name for motion in MOTIONS])
def test_flicker_goes_and_the_matte_stays_as_true(motion):
    frames, truth = scene(motion)
    alpha = flickering(truth)
    result = run(frames, alpha)
    assert flicker(result, truth) < 0.6 * flicker(alpha, truth)
    assert error(result, truth) < 1.02 * error(alpha, truth)


@pytest.mark.parametrize("motion", MOTIONS, ids=[motion.name for motion in MOTIONS])
def test_a_matte_without_flicker_is_not_smeared(motion):
    frames, truth = scene(motion)
    result = run(frames, truth)
    assert error(result, truth) < 0.003
    assert (result - truth).abs().amax(dim=(1, 2)).mean() < 0.35  # single pixels of a moving edge


def test_strength_counts(monkeypatch):
    frames, truth = scene(MOTIONS[0])
    alpha = flickering(truth)
    left = [flicker(run(frames, alpha, strength), truth) for strength in (0, 0.2, 0.5, 1)]
    assert left == sorted(left, reverse=True)
    assert left[3] < 0.5 * left[0]


def test_at_strength_0_nothing_is_touched_and_nothing_waits():
    items = [Item(torch.zeros(4, 4, 3, dtype=torch.uint8), torch.rand(4, 4)) for _ in range(5)]
    before = [item.alpha for item in items]
    given = stabilised(iter(items), 0)
    for item, alpha in zip(items, before):
        assert next(given) is item
        assert item.alpha is alpha


@pytest.mark.parametrize("strength", [-0.1, 1.1, float("nan")])
def test_other_strengths_are_refused(strength):
    with pytest.raises(ValueError, match="between 0"):
        list(stabilised(iter([]), strength))


def test_nothing_crosses_a_hard_cut():
    """The frames around a cut come out as if each scene were a clip of its own."""
    first, second = scene(MOTIONS[1], seed=0), scene(MOTIONS[2], seed=5)
    alphas = flickering(first[1], 1), flickering(second[1], 2)
    apart = torch.cat([run(first[0], alphas[0]), run(second[0], alphas[1])])
    joined = run(torch.cat([first[0], second[0]]), torch.cat(alphas))
    assert torch.equal(joined, apart)
    assert not torch.equal(joined, torch.cat(alphas))


def test_a_flash_frame_stands_alone():
    frames, truth = scene(MOTIONS[0])
    frames[6] = 255 - frames[6] // 4
    alpha = truth.clone()
    alpha[6] = 0
    result = run(frames, alpha)
    assert torch.equal(result[6], alpha[6])
    assert error(result[[5, 7]], truth[[5, 7]]) < 1e-4


def test_a_part_with_overlap_comes_out_as_in_the_whole():
    frames, truth = scene(MOTIONS[2], frames=24)
    alpha = flickering(truth)
    whole = run(frames, alpha)
    part = run(frames[8 - RADIUS : 13 + RADIUS], alpha[8 - RADIUS : 13 + RADIUS])
    assert torch.equal(part[RADIUS:-RADIUS], whole[8:13])


def test_order_inputs_and_the_window():
    frames, truth = scene(MOTIONS[1])
    alpha = flickering(truth)
    kept = alpha.clone()
    taken = 0

    def items():
        nonlocal taken
        for pixels, values in zip(frames, alpha):
            taken += 1
            yield Item(pixels, values)

    for index, item in enumerate(stabilised(items(), 1.0)):
        assert torch.equal(item.pixels, frames[index])
        assert taken <= index + 1 + RADIUS
    assert index == len(frames) - 1
    assert torch.equal(alpha, kept)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_short_clips(count):
    frames, truth = scene(MOTIONS[0], frames=count)
    assert run(frames, truth).shape == truth.shape


@pytest.mark.parametrize("size", [(1, 1), (2, 6), (4, 40), (7, 7)])
def test_tiny_pictures(size):
    """FFmpeg's block matching takes none of them."""
    generator = torch.Generator().manual_seed(0)
    items = [Item(torch.rand(*size, 3, generator=generator), torch.rand(*size, generator=generator)) for _ in range(9)]
    out = list(stabilised(iter(items), 1.0))
    assert len(out) == 9
    assert all(item.alpha.shape == size and item.alpha.isfinite().all() for item in out)


def test_pictures_larger_than_compared():
    frames, truth = moving(cutout(0), textured(700, 900, 1), MOTIONS[0], frames=4, size=(576, 768))
    noise = 0.1 * torch.randn(truth.shape, generator=torch.Generator().manual_seed(0))
    alpha = (truth + noise).clamp(0, 1)
    assert flicker(run(frames, alpha), truth) < 0.6 * flicker(alpha, truth)
