"""Mask tools against scipy's own morphology and by what they must keep."""

import numpy as np
import pytest
import scipy.ndimage
import torch

from birefnet_core.matting import masks


@pytest.fixture
def noise():
    torch.manual_seed(0)
    return torch.rand(2, 23, 31) ** 4


def drawn(text: str) -> torch.Tensor:
    """Digits are tenths, "#" is 1, "." is 0."""
    rows = [["." if c == " " else c for c in row] for row in text.split()]
    return torch.tensor([[1.0 if c == "#" else 0.0 if c == "." else int(c) / 10 for c in row] for row in rows])[None]


def disc(radius: int) -> np.ndarray:
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    return x * x + y * y <= radius * radius


@pytest.mark.parametrize("radius", [1, 2, 5, 12, 40])
def test_grow_and_shrink_are_those_of_a_disc(noise, radius):
    before = noise.clone()
    options = {"footprint": disc(radius), "mode": "constant"}
    for mask, grown, shrunk in zip(noise.numpy(), masks.grow(noise, radius), masks.grow(noise, -radius)):
        np.testing.assert_array_equal(grown, scipy.ndimage.maximum_filter(mask, cval=0, **options))
        np.testing.assert_allclose(shrunk, scipy.ndimage.minimum_filter(mask, cval=1, **options), atol=1e-6)
    assert torch.equal(noise, before)


def test_growing_by_nothing_is_a_copy(noise):
    same = masks.grow(noise, 0)
    assert torch.equal(same, noise) and same.data_ptr() != noise.data_ptr()


def test_a_subject_at_the_border_does_not_shrink_from_it():
    mask = torch.zeros(1, 20, 20)
    mask[:, 8:, 5:15] = 1
    shrunk = masks.grow(mask, -2)
    assert torch.equal(shrunk[0, -1], torch.tensor([0.0] * 7 + [1.0] * 6 + [0.0] * 7))


@pytest.mark.parametrize("pixels", [1, 4, 20, 60])
def test_feather_is_a_gaussian(pixels):
    mask = torch.zeros(1, 150, 210)
    mask[:, 60:, 80:] = 1
    expected = scipy.ndimage.gaussian_filter(mask[0].numpy(), pixels / 2, mode="nearest")
    np.testing.assert_allclose(masks.feather(mask, pixels)[0], expected, atol=0.015)
    # as wide as it says: nearly nothing is left that many pixels away
    row = masks.feather(mask, pixels)[0, 149]
    assert row[80 - pixels - 1] < 0.03
    if pixels < 60:
        assert row[80 + pixels] > 0.97


@pytest.mark.parametrize("pixels", [20, 64, 200])
@pytest.mark.parametrize("turns", range(4))
def test_feather_is_the_same_at_every_border(pixels, turns):
    mask = torch.zeros(300, 405)
    mask[:, :5] = 1
    mask[10:40, 200:] = 1
    mask = mask.rot90(turns).contiguous()
    expected = scipy.ndimage.gaussian_filter(mask.numpy(), pixels / 2, mode="nearest")
    np.testing.assert_allclose(masks.feather(mask[None], pixels)[0], expected, atol=0.015)


def test_feather_keeps_what_the_frame_cuts_opaque():
    assert masks.feather(torch.ones(1, 9, 13), 300).min() > 0.9999
    assert torch.equal(masks.feather(torch.zeros(1, 9, 13), 5), torch.zeros(1, 9, 13))
    for shape in [(1, 1, 1), (2, 1, 40), (1, 50, 1)]:
        assert masks.feather(torch.rand(shape), 30).shape == shape
    with pytest.raises(ValueError, match=r"feather must be 0 or more pixels, not -1"):
        masks.feather(torch.zeros(1, 2, 2), -1)


def test_levels():
    mask = torch.tensor([[[0.0, 0.2, 0.5, 0.8, 1.0]]])
    torch.testing.assert_close(masks.levels(mask, 0.2, 0.8), torch.tensor([[[0.0, 0.0, 0.5, 1.0, 1.0]]]))
    assert torch.equal(masks.levels(mask, 0.5, 0.5), torch.tensor([[[0.0, 0.0, 0.0, 1.0, 1.0]]]))
    assert torch.equal(masks.levels(mask), mask)
    for points in [(0.6, 0.5), (-0.1, 1), (0, 1.1)]:
        with pytest.raises(ValueError, match="black point must not be above the white point"):
            masks.levels(mask, *points)


def test_holes_are_filled_and_edges_stay():
    mask = drawn(
        """
        .........#
        .5####5..#
        .5#..#5.##
        .5#.4#5...
        .5####5.##
        .........#
        """
    )
    before = mask.clone()
    filled = masks.fill_holes(mask)
    assert filled[0, 2:4, 3:5].eq(1).all()
    inside = torch.zeros_like(mask, dtype=torch.bool)
    inside[0, 2:4, 3:5] = True
    assert torch.equal(filled[~inside], mask[~inside])
    assert torch.equal(mask, before)


@pytest.mark.parametrize("seed", range(5))
def test_holes_are_those_that_scipy_finds(seed):
    """Of rings within rings, at every level of opacity, some of them cut off by the frame."""
    hard = (torch.rand(1, 20, 30, generator=torch.Generator().manual_seed(seed)) * 10).round() / 10
    mask = hard.repeat_interleave(2, 1).repeat_interleave(2, 2)
    expected = mask.numpy()[0].copy()
    for step in range(1, 11):
        inside = scipy.ndimage.binary_fill_holes(mask[0].numpy() > step / 10 - 0.01)
        expected[inside] = np.maximum(expected[inside], np.float32(step / 10))
    filled = masks.fill_holes(mask)[0].numpy()
    assert (expected > mask[0].numpy()).mean() > 0.05
    np.testing.assert_allclose(filled, expected, atol=1e-6)


def test_a_soft_ring_fills_as_far_as_it_is_closed():
    mask = drawn("...... .####. .#..6. .####. ......")
    filled = masks.fill_holes(mask)
    torch.testing.assert_close(filled[0, 2], torch.tensor([0.0, 1.0, 0.6, 0.6, 0.6, 0.0]))


def test_the_largest_piece_keeps_its_soft_edge():
    mask = drawn(
        """
        ...........
        .1353...##.
        .38#83..##.
        .3###3.....
        .13331...4.
        """
    )
    kept = masks.keep_largest(mask)
    expected = mask.clone()
    expected[..., 7:] = 0
    assert torch.equal(kept, expected)
    assert mask[0, 1, 8] == 1


def test_pieces_that_a_soft_bridge_joins_are_parted():
    mask = drawn("......... .####.... .####22## .####22## .........")
    kept = masks.keep_largest(mask)
    assert torch.equal(kept[0, 2], torch.tensor([0, 1, 1, 1, 1, 0.2, 0, 0, 0]))


@pytest.mark.parametrize("tool", [masks.keep_largest, masks.fill_holes])
@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("shape", [(1, 5, 7), (2, 1, 1), (1, 1, 9)])
def test_even_masks_stay(tool, value, shape):
    mask = torch.full(shape, value)
    assert torch.equal(tool(mask), mask)


def test_fit():
    mask = torch.rand(2, 8, 6)
    assert torch.equal(masks.fit(mask, 8, 6), mask)
    assert masks.fit(mask, 31, 1).shape == (2, 31, 1)
    torch.testing.assert_close(
        masks.fit(mask, 4, 3), mask.unfold(1, 2, 2).unfold(2, 2, 2).mean((3, 4)), atol=0.2, rtol=0
    )


@pytest.mark.parametrize("shape", [(4, 5), (1, 4, 5), (3, 1, 4, 5)])
def test_shapes_that_nodes_hand_around(shape):
    given = torch.rand(shape, dtype=torch.float16) * 1.2
    found = masks.checked_masks(given)
    assert found.shape == (given.numel() // 20, 4, 5) and found.dtype == torch.float32
    torch.testing.assert_close(found, given.float().clamp(0, 1).view(-1, 4, 5))
    assert given.max() > 1


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (torch.zeros(1, 2, 3, 4), r"a mask must be \[B, H, W\], not \[1, 2, 3, 4\]"),
        (torch.zeros(5), r"a mask must be \[B, H, W\], not \[5\]"),
        (torch.zeros(1, 0, 3), r"at least one pixel a side, not \[1, 0, 3\]"),
        (torch.zeros(0, 2, 3), "the mask is an empty batch"),
        (torch.zeros(1, 2, 3).int(), r"floating point 0..1, not torch.int32"),
        (torch.full((1, 2, 3), torch.nan), r"the mask has NaN or infinite values"),
        (torch.full((1, 2, 3), 255.0), r"the mask goes up to 255"),
        (None, r"a mask must be a tensor \[B, H, W\], not NoneType"),
    ],
)
def test_wrong_masks(mask, message):
    with pytest.raises(ValueError, match=message):
        masks.checked_masks(mask)


def test_despeckle_removes_small_pieces_and_fills_small_holes_and_nothing_else():
    mask = torch.zeros(1, 40, 40)
    mask[0, 10:30, 10:30] = 1
    mask[0, 9, 10:30] = 0.4  # a soft edge
    clean = mask.clone()
    mask[0, 2:4, 2:5] = 0.8  # 6 pixels, with haze around
    mask[0, 2:4, 5] = 0.05
    mask[0, 15:17, 15:17] = 0.2  # a hole of 4
    assert torch.equal(masks.despeckle(mask, 7), clean)
    kept = masks.despeckle(mask, 5)
    assert torch.equal(kept[0, :9], mask[0, :9]) and torch.equal(kept[0, 9:], clean[0, 9:])
    assert torch.equal(masks.despeckle(mask, 0), mask)
    with pytest.raises(ValueError, match="not -1"):
        masks.despeckle(mask, -1)


def test_despeckle_never_takes_the_background_as_a_whole_for_a_hole():
    nothing = torch.zeros(1, 40, 40)
    assert torch.equal(masks.despeckle(nothing, 10_000), nothing)
    subject = nothing.clone()
    subject[0, 10:30, 10:30] = 1
    assert torch.equal(masks.despeckle(subject, 10_000), nothing)  # a speck, of which only the background is left
    close = 1 - nothing
    close[0, :5, :5] = close[0, :6, 35:] = 0  # all that a large subject leaves of it
    close[0, 6, 35:] = 0.95
    torn = close.clone()
    torn[0, 20:23, 20:23] = 0
    assert torch.equal(masks.despeckle(torn, 100), close)
    assert torch.equal(masks.despeckle(torch.where(torn == close, 1, torn), 100), 1 - nothing)


def test_despeckle_fills_holes_at_the_border_beside_a_background():
    mask = torch.zeros(1, 40, 40)
    mask[0, 10:] = 1
    torn = mask.clone()
    torn[0, 38:, 20:23] = 0
    assert torch.equal(masks.despeckle(torn, 10), mask)


def test_despeckle_keeps_what_hangs_on_a_large_piece():
    mask = torch.zeros(1, 40, 40)
    mask[0, 10:30, 10:30] = 1
    mask[0, 2:10, 20] = 0.3  # a hair
    assert torch.equal(masks.despeckle(mask, 100), mask)


@pytest.mark.parametrize("holes", [False, True])
@pytest.mark.parametrize("grain", [0.0002, 0.02, 0.2])
def test_despeckle_leaves_smoke_however_it_is_grained(holes, grain):
    """What is faint and wide is no speck's haze: a piece in it becomes as faint as it is."""
    mask, random = torch.zeros(1, 240, 240), torch.Generator().manual_seed(1)
    mask[0, 20:220, 20:220] = 0.095
    smoke = mask.clone()
    mask[(mask > 0) & (torch.rand(mask.shape, generator=random) < grain)] = 0.12
    mask[0, 2:5, 2:5] = 0.9  # a speck outside, with a halo that goes with it
    mask[0, 5:7, 2:5] = 0.08
    assert (mask == 0.12).any()
    cleaned = 1 - masks.despeckle(1 - mask, 100) if holes else masks.despeckle(mask, 100)
    assert torch.allclose(cleaned, smoke, atol=1e-6)


def test_despeckle_takes_a_wide_halo_with_its_speck():
    far = torch.hypot(*torch.meshgrid(*[torch.arange(60.0) - 30] * 2, indexing="ij"))
    mask = (0.8 * torch.exp(-((far / 4) ** 2)))[None]
    pixels = int((mask > 0.1).sum()) + 1
    assert (mask > 0.002).sum() > 2 * pixels
    assert masks.despeckle(mask, pixels).max() < 0.002
    assert torch.equal(masks.despeckle(mask, pixels - 1), mask)


def test_choke_moves_soft_edges_and_keeps_them_soft():
    ramp = torch.linspace(0, 1, 21)[None, None]
    assert torch.equal(masks.choke(ramp, 0), ramp)
    inwards, outwards = masks.choke(ramp, 0.5), masks.choke(ramp, -0.5)
    assert inwards[0, 0, 10].item() == pytest.approx(1 / 3) and outwards[0, 0, 10].item() == pytest.approx(2 / 3)
    for moved in (inwards, outwards):
        assert moved[0, 0, 0] == 0 and moved[0, 0, -1] == 1 and (moved.diff() > 0).all()
    assert set(masks.choke(ramp, 1.0).unique().tolist()) == {0.0, 1.0}
    with pytest.raises(ValueError, match="not 2"):
        masks.choke(ramp, 2)
