"""Alpha blending, geometry and the effects on top of it."""

import io
import math

import numpy as np
import pytest
import torch
from PIL import Image

from train.scenes import compositing


def _random_layer(seed: int, size: int = 12) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(1, 4, size, size, generator=generator), torch.rand(1, 3, size, size, generator=generator)


def test_blending_is_straight_alpha_over_background():
    rgba, background = _random_layer(0)
    blended = compositing.over(compositing.premultiply(rgba), background)[0].numpy()
    for row in range(12):
        for column in range(12):
            alpha = rgba[0, 3, row, column].item()
            for channel in range(3):
                expected = alpha * rgba[0, channel, row, column] + (1 - alpha) * background[0, channel, row, column]
                assert blended[channel, row, column] == pytest.approx(expected.item(), abs=1e-6)


def test_two_objects_leave_the_union_of_their_alphas():
    front, back = compositing.premultiply(_random_layer(1)[0]), compositing.premultiply(_random_layer(2)[0])
    both = compositing.over(front, back)
    expected = 1 - (1 - front[:, 3]) * (1 - back[:, 3])
    torch.testing.assert_close(both[:, 3], expected)


def test_resampling_does_not_bleed_colours_from_under_alpha_zero():
    """A white square in a transparent frame whose hidden colour is red stays free of red after a rotation."""
    rgba = torch.zeros(4, 32, 32)
    rgba[0] = 1.0
    rgba[:, 8:24, 8:24] = 1.0
    matrix = compositing.homography(centre=(0.1, 0.0), half_size=(0.7, 0.7), angle=0.4)
    layer = compositing.sample(compositing.premultiply(rgba), matrix, (64, 64))
    on_white = compositing.over(layer[None], torch.ones(1, 3, 64, 64))
    assert 0 < layer[3].mean() < 1
    assert on_white.min() > 1 - 1e-5


def test_identity_placement_returns_the_picture():
    picture = torch.rand(4, 16, 16, generator=torch.Generator().manual_seed(3))
    matrix = compositing.homography(centre=(0, 0), half_size=(1, 1))
    torch.testing.assert_close(compositing.sample(picture, matrix, (16, 16)), picture, atol=1e-5, rtol=0)
    flipped = compositing.sample(picture, compositing.homography(centre=(0, 0), half_size=(1, 1), flip=True), (16, 16))
    torch.testing.assert_close(flipped, picture.flip(-1), atol=1e-5, rtol=0)


def test_placement_puts_the_centre_where_it_says():
    picture = torch.ones(4, 8, 8)
    matrix = compositing.homography(centre=(0.5, -0.5), half_size=(0.25, 0.25))
    alpha = compositing.sample(picture, matrix, (64, 64))[3]
    rows, columns = torch.nonzero(alpha > 0.5, as_tuple=True)
    assert (rows.float().mean() + 0.5) / 32 - 1 == pytest.approx(-0.5, abs=0.02)
    assert (columns.float().mean() + 0.5) / 32 - 1 == pytest.approx(0.5, abs=0.02)
    assert alpha.sum() == pytest.approx(64 * 64 / 16, rel=0.1)


def test_shrinking_averages_instead_of_skipping_pixels():
    stripes = torch.zeros(1, 256, 256)
    stripes[:, :, ::2] = 1.0
    matrix = compositing.homography(centre=(0, 0), half_size=(0.25, 0.25))
    small = compositing.sample(stripes, matrix, (64, 64))[0, 26:38, 26:38]
    assert (small - 0.5).abs().max() < 0.02


def test_blur_of_zero_changes_nothing_and_keeps_the_mean():
    maps = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(4))
    blurred = compositing.gaussian_blur(maps, torch.tensor([0.0, 1.5]))
    torch.testing.assert_close(blurred[0], maps[0])
    assert blurred[1].std() < 0.5 * maps[1].std()
    assert blurred[1].mean() == pytest.approx(maps[1].mean().item(), abs=0.02)


def test_blur_matches_the_gaussian():
    impulse = torch.zeros(1, 1, 21, 21)
    impulse[..., 10, 10] = 1.0
    response = compositing.gaussian_blur(impulse, torch.tensor([1.2]))[0, 0]
    ratio = response[10, 12] / response[10, 10]
    assert ratio.item() == pytest.approx(math.exp(-4 / (2 * 1.2**2)), rel=1e-4)


def test_shadow_darkens_only_where_it_falls():
    background, alpha = torch.ones(1, 3, 64, 64), torch.zeros(1, 1, 64, 64)
    alpha[..., 8:24, 8:24] = 1.0
    shift = torch.tensor([[0.75, 0.75]])
    shaded = compositing.cast_shadow(
        background, alpha, shift=shift, sigma=torch.tensor([1.0]), strength=torch.tensor([0.5])
    )
    assert shaded[..., 36:44, 36:44].max() < 0.6
    assert shaded[..., :20, :20].min() > 0.99


def test_colour_match_moves_the_mean_and_keeps_alpha():
    layer = compositing.premultiply(torch.cat([torch.full((1, 3, 8, 8), 0.9), torch.full((1, 1, 8, 8), 0.5)], dim=1))
    background = torch.full((1, 3, 8, 8), 0.1)
    moved = compositing.match_colours(layer, background, torch.tensor([0.5]))
    torch.testing.assert_close(moved[:, 3], layer[:, 3])
    torch.testing.assert_close(moved[:, :3] / moved[:, 3:], torch.full((1, 3, 8, 8), 0.5), atol=1e-4, rtol=0)
    torch.testing.assert_close(compositing.match_colours(layer, background, torch.tensor([0.0])), layer)


@pytest.mark.parametrize("quality", [30, 75, 95])
def test_jpeg_is_close_to_a_real_encoder(quality):
    generator = np.random.default_rng(5)
    smooth = Image.fromarray(generator.integers(0, 255, (8, 8, 3)).astype(np.uint8)).resize((64, 64), Image.BICUBIC)
    original = torch.from_numpy(np.array(smooth)).permute(2, 0, 1).float() / 255
    file = io.BytesIO()
    smooth.save(file, "JPEG", quality=quality, subsampling=2)
    real = torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1).float() / 255
    ours = compositing.jpeg(original[None], torch.tensor([float(quality)]))[0]
    damage = (real - original).abs().mean()
    assert (ours - real).abs().mean() < 0.5 * damage
    assert (ours - original).abs().mean() == pytest.approx(damage.item(), rel=0.25)


def test_colour_matrix_keeps_grey_and_turns_hue():
    grey = torch.full((3, 2, 2), 0.4)
    turned = compositing.adjust(grey, compositing.colour_matrix(saturation=1.4, hue=1.0, gains=(1, 1, 1)))
    torch.testing.assert_close(turned, grey, atol=1e-5, rtol=0)
    red = torch.tensor([1.0, 0.0, 0.0]).view(3, 1, 1)
    third = compositing.adjust(red, compositing.colour_matrix(saturation=1.0, hue=2 * math.pi / 3, gains=(1, 1, 1)))
    torch.testing.assert_close(third.flatten(), torch.tensor([0.0, 1.0, 0.0]), atol=1e-5, rtol=0)


def test_a_focal_plane_rises_towards_its_angle_and_is_everywhere_without_steepness():
    angle, offset = torch.tensor([0.0, math.pi / 2, 0.0]), torch.tensor([0.0, 0.5, 0.0])
    far = compositing.focal_plane(64, torch.tensor([1.0, 2.0, 0.0]), angle, offset)
    assert far.shape == (3, 1, 64, 64)
    assert (far[0, 0].diff(dim=1) >= 0).all() and far[0, 0, :, 31:33].mean() == pytest.approx(0.5)
    assert far[1, 0, 47:49].mean() == pytest.approx(0.5, abs=1e-6) and far[1, 0, :30].max() == 0
    assert (far[2] == 1).all()


def test_paint_keeps_edges_and_loses_grain():
    clean = torch.zeros(1, 3, 32, 48)
    clean[..., 20:] = 0.8
    noise = 0.1 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    painted = compositing.paint((clean + noise).clamp(0, 1), 3)
    assert painted.shape == clean.shape and painted.min() >= 0 and painted.max() <= 1
    assert (painted - clean).abs().mean() < 0.5 * ((clean + noise).clamp(0, 1) - clean).abs().mean()
    assert (painted[..., 19] < 0.2).all() and (painted[..., 20] > 0.6).all()
