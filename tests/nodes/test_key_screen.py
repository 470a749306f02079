"""Key Screen without ComfyUI: edges from the screen, batches, what shows no screen, errors."""

import logging

import pytest
import torch
from torch import Tensor

SIZE = 96
SKIN, GREEN = torch.tensor([0.8, 0.6, 0.5]), torch.tensor([0.13, 0.62, 0.24])


@pytest.fixture
def key(node):
    return node("BiRefNetKeyScreen")().key


def disc(softness: float) -> Tensor:
    places = torch.arange(SIZE) - SIZE / 2 + 0.5
    return ((28 - torch.hypot(places[:, None], places[None])) / softness + 0.5).clamp(0, 1)[None]


def shot(truth: Tensor, colour: Tensor = GREEN) -> Tensor:
    screen = colour * torch.linspace(0.8, 1.2, SIZE)[:, None, None].expand(-1, SIZE, 1)
    return truth[..., None] * SKIN + (1 - truth[..., None]) * screen


def test_the_edge_comes_from_the_screen_and_the_colours_from_the_subject(key):
    truth, matte = disc(8), disc(4)
    image = shot(truth)
    before = image.clone(), matte.clone()
    mask, foreground = key(image, matte)
    soft = (truth > 0.1) & (truth < 0.9)
    assert (mask - truth).abs()[soft].mean() < 0.5 * (matte - truth).abs()[soft].mean()
    error = (foreground - SKIN).abs().mean(-1)
    assert error[soft].mean() < 0.3 * (image - SKIN).abs().mean(-1)[soft].mean()
    assert torch.equal(image, before[0]) and torch.equal(matte, before[1])
    assert mask.dtype == foreground.dtype == torch.float32


def test_without_despill_the_colours_stay(key):
    image = shot(disc(8))
    assert torch.equal(key(image, disc(4), "green", 0.0)[1], image)


def test_batches_and_masks_of_another_size(key):
    images = torch.cat([shot(disc(8)), shot(disc(6))])
    small = torch.nn.functional.interpolate(disc(4)[None], (48, 48), mode="area")[0]
    mask, foreground = key(images, small)
    assert mask.shape == (2, SIZE, SIZE) and foreground.shape == (2, SIZE, SIZE, 3)
    alone, _ = key(images[1:], small)
    assert torch.equal(mask[1:], alone)
    with pytest.raises(ValueError, match="3 images but 2 masks"):
        key(torch.cat([images, images[:1]]), disc(4).repeat(2, 1, 1))


def test_an_image_without_a_screen_keeps_its_mask_and_a_note_says_so(key, caplog):
    images = torch.cat([shot(disc(8)), shot(disc(8), torch.tensor([0.4, 0.42, 0.45]))])
    with caplog.at_level(logging.WARNING):
        mask, foreground = key(images, disc(4))
    assert torch.equal(mask[1], disc(4)[0]) and torch.equal(foreground[1], images[1])
    assert "1 of 2 images show no green or blue screen" in caplog.text


def test_the_empty_mask_of_an_opaque_file_is_refused(key):
    with pytest.raises(ValueError, match="connect Segment"):
        key(shot(disc(8)), torch.zeros(1, 64, 64))
