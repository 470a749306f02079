"""Colours of the foreground, on composites whose foreground is known."""

import pytest
import torch
from torch import Tensor

import birefnet_core as bc
from birefnet_core.matting import foreground
from birefnet_core.matting.masks import feather


@pytest.fixture(scope="module")
def composite(photograph) -> tuple[Tensor, Tensor, Tensor]:
    """images [2, 150, 200, 3], alpha [2, 150, 200], foreground [2, 150, 200, 3]: a wide soft edge with thin strands,
    and a hard edge. One part of a photograph over another, in 8 bits."""
    pixels = torch.from_numpy(photograph).float() / 255
    colours = torch.stack([pixels[:150, :200], pixels[:150, 200:400]])
    background = torch.stack([pixels[190:, 200:400], pixels[190:, 280:]]).flip(2)
    y, x = torch.meshgrid(torch.arange(150.0), torch.arange(200.0), indexing="ij")
    body = ((x - 100) / 60) ** 2 + ((y - 75) / 45) ** 2 < 1
    strands = ((x + y) % 12 < 2) & (((x - 100) / 90) ** 2 + ((y - 75) / 65) ** 2 < 1)
    alpha = torch.stack([feather((body | strands).float()[None], 5)[0], feather(body.float()[None], 1)[0]])
    alpha = (alpha * 255).round() / 255
    images = torch.lerp(background, colours, alpha[..., None])
    return (images * 255).round() / 255, alpha, colours


def error(found: Tensor, colours: Tensor, alpha: Tensor) -> list[float]:
    """Mean absolute colour error of each picture where it is soft."""
    soft = (alpha > 0) & (alpha < 1)
    return [(a - b).abs().mean(2)[where].mean().item() for a, b, where in zip(found, colours, soft)]


def test_the_background_leaves_the_soft_edges(composite):
    images, alpha, colours = composite
    for nothing, ours in zip(
        error(images, colours, alpha), error(bc.estimate_foreground(images, alpha), colours, alpha)
    ):
        assert ours < 0.5 * nothing


def test_it_is_no_worse_than_pymatting(composite):
    pymatting = pytest.importorskip("pymatting")
    images, alpha, colours = composite
    peer = [pymatting.estimate_foreground_ml(image.numpy(), matte.numpy()) for image, matte in zip(images, alpha)]
    theirs = error(torch.stack([torch.from_numpy(one) for one in peer]), colours, alpha)
    ours = error(bc.estimate_foreground(images, alpha), colours, alpha)
    assert sum(ours) < 1.1 * sum(theirs)


def test_where_it_is_opaque_the_image_stays(composite):
    images, alpha, _ = composite
    found = bc.estimate_foreground(images, alpha)
    assert (alpha == 1).sum() > 1000
    assert torch.equal(found[alpha == 1], images[alpha == 1])
    assert found.min() >= 0 and found.max() <= 1


def test_foreground_colour_spreads_over_the_rest():
    images = torch.tensor([0.1, 0.2, 0.9]).repeat(1, 90, 120, 1)
    alpha = torch.zeros(1, 90, 120)
    alpha[:, 30:60, 40:80] = 1
    images[alpha == 1] = torch.tensor([0.8, 0.1, 0.1])
    found = bc.estimate_foreground(images, alpha)
    torch.testing.assert_close(found, torch.tensor([0.8, 0.1, 0.1]).expand_as(found), atol=0.02, rtol=0)


def test_pictures_of_a_batch_and_bands_do_not_mix(composite, monkeypatch):
    images, alpha, _ = composite
    whole = bc.estimate_foreground(images, alpha)
    for index in range(2):
        one = slice(index, index + 1)
        torch.testing.assert_close(whole[one], bc.estimate_foreground(images[one], alpha[one]), atol=1e-5, rtol=0)
    monkeypatch.setattr(foreground, "BANDS", {"other": 200 * 7})
    monkeypatch.setattr(foreground, "GROUP", 1)
    torch.testing.assert_close(whole, bc.estimate_foreground(images, alpha), atol=1e-5, rtol=0)


def test_without_a_foreground_and_without_a_background_nothing_changes(composite):
    images, alpha, _ = composite
    assert torch.equal(bc.estimate_foreground(images, torch.zeros_like(alpha)), images)
    assert torch.equal(bc.estimate_foreground(images, torch.ones_like(alpha)), images)
    assert bc.estimate_foreground(images[:0], alpha[:0]).shape == (0, 150, 200, 3)


@pytest.fixture
def transparent(composite) -> tuple[Tensor, Tensor]:
    """Straight colours full of texture [1, 150, 200, 3] and their own soft alpha [1, 150, 200], 0 beyond a body."""
    _, alpha, colours = composite
    return colours[:1], alpha[:1]


@pytest.mark.parametrize("levels", [lambda own: own, lambda own: own.sqrt(), lambda own: torch.ones_like(own)])
def test_colours_of_a_transparent_picture_are_pure_already(transparent, levels):
    colours, own = transparent
    found = bc.estimate_foreground(colours, levels(own), own)
    seen = own > 0
    assert ((own > 0) & (own < 1)).sum() > 1000
    assert torch.equal(found[seen], colours[seen])


def test_where_alpha_is_lower_than_the_pictures_own_it_is_a_mixture(composite):
    """The right half of an opaque composite made half transparent: its soft edges are mixtures as before."""
    images, alpha, colours = composite
    own = torch.ones_like(alpha)
    own[:, :, 100:] = 0.5
    opaque, found = bc.estimate_foreground(images, alpha), bc.estimate_foreground(images, alpha, own)
    left = (alpha[:, :, :90] > 0) & (alpha[:, :, :90] < 1)
    torch.testing.assert_close(found[:, :, :90][left], opaque[:, :, :90][left], atol=0.3, rtol=0)
    assert (found[:, :, :90][left] - opaque[:, :, :90][left]).abs().mean() < 0.01
    for nothing, ours in zip(error(images, colours, alpha), error(found, colours, alpha)):
        assert ours < 0.7 * nothing
    ones = torch.ones_like(alpha)
    assert torch.equal(bc.estimate_foreground(images, alpha, ones), opaque)


def test_what_a_picture_hides_plays_no_part(transparent):
    """Neither as background of the pixels that alpha cuts into nor in the colours beyond the edge."""
    colours, own = transparent
    alpha = own * torch.linspace(0, 1, 200)
    results = []
    for hidden in (torch.zeros_like(colours), torch.ones_like(colours), torch.rand_like(colours)):
        given = torch.where(own[..., None] > 0, colours, hidden)
        results.append(bc.estimate_foreground(given, alpha, own))
    assert torch.equal(results[0], results[1]) and torch.equal(results[0], results[2])
    flat = torch.tensor([0.78, 0.39, 0.39]).expand_as(colours)
    found = bc.estimate_foreground(torch.where(own[..., None] > 0, flat, 1.0), alpha, own)
    torch.testing.assert_close(found, flat, atol=0.01, rtol=0)


def test_a_picture_that_is_hidden_whole_is_as_if_opaque(composite):
    images, alpha, _ = composite
    own = torch.zeros_like(alpha)
    assert torch.equal(bc.estimate_foreground(images, alpha, own), bc.estimate_foreground(images, alpha))
    with pytest.raises(ValueError, match="own_alpha must be "):
        bc.estimate_foreground(images, alpha, own[:1])


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 1, 9), (1, 37, 1), (1, 2, 3), (3, 35, 67)])
def test_any_size(shape):
    torch.manual_seed(0)
    images, alpha = torch.rand(*shape, 3), torch.rand(shape)
    found = bc.estimate_foreground(images, alpha)
    assert found.shape == images.shape
    assert found.isfinite().all() and found.min() >= 0 and found.max() <= 1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.uint8])
def test_types(composite, dtype):
    images, alpha, _ = composite
    expected = bc.estimate_foreground(images, alpha)
    images = (images * 255).round().to(dtype) if dtype == torch.uint8 else images.to(dtype)
    found = bc.estimate_foreground(images, alpha.half())
    assert found.dtype == (torch.float32 if dtype == torch.uint8 else dtype)
    # where hardly any foreground is seen its colour hangs on the last bit
    close = (found.float() - expected).abs().mean(3)[alpha > 0.1]
    assert close.mean() < 0.005
    hard = alpha > 0.5
    for matte in (hard, hard.byte() * 255):
        assert torch.equal(bc.estimate_foreground(images, matte), bc.estimate_foreground(images, hard.float()))


def test_a_fourth_channel_is_ignored_and_arguments_stay_as_they_are(composite):
    images, alpha, _ = composite
    rgba = torch.cat([images, torch.zeros_like(alpha)[..., None]], 3)
    before = rgba.clone(), alpha.clone()
    assert torch.equal(bc.estimate_foreground(rgba, alpha), bc.estimate_foreground(images, alpha))
    assert torch.equal(rgba, before[0]) and torch.equal(alpha, before[1])


@pytest.mark.parametrize(
    ("images", "alpha", "message"),
    [
        (torch.zeros(2, 4, 5, 3), torch.zeros(2, 5, 4), r"alpha must be \[2, 4, 5\].*not \[2, 5, 4\]"),
        (torch.zeros(2, 4, 5, 3), torch.zeros(1, 4, 5), r"alpha must be \[2, 4, 5\].*not \[1, 4, 5\]"),
        (torch.zeros(4, 5, 3), torch.zeros(4, 5), r"images must be \[B, H, W, 3\], not \[4, 5, 3\]"),
        (torch.zeros(1, 4, 5, 3), torch.full((1, 4, 5), 1.6), r"alpha must lie within 0..1, not 1.6..1.6"),
        (torch.zeros(1, 4, 5, 3), torch.full((1, 4, 5), -1.0), r"alpha must lie within 0..1, not -1..-1"),
        (torch.zeros(1, 4, 5, 3), torch.full((1, 4, 5), torch.nan), r"alpha must lie within 0..1, not nan..nan"),
        (torch.zeros(1, 4, 5, 3), torch.zeros(1, 4, 5).int(), r"alpha must be floating point .* not torch.int32"),
        (torch.zeros(1, 4, 5, 3), [[0.0]], r"alpha must be a tensor \[B, H, W\], not list"),
        (torch.full((1, 4, 5, 3), 200.0), torch.zeros(1, 4, 5), r"looks like 0..255"),
        (torch.full((1, 4, 5, 3), torch.inf), torch.zeros(1, 4, 5), r"has NaN or infinite values"),
    ],
)
def test_wrong_arguments(images, alpha, message):
    with pytest.raises(ValueError, match=message) as raised:
        bc.estimate_foreground(images, alpha)
    assert "\n" not in str(raised.value)
