"""Apply Mask without ComfyUI: what it gives, batches and sizes that do not match, odd pictures and masks, errors."""

import logging

import pytest
import torch
from torch import Tensor

RED, BLUE = torch.tensor([0.9, 0.1, 0.1]), torch.tensor([0.1, 0.2, 0.8])
SHAPE = (40, 60)


@pytest.fixture
def apply(node):
    return node("BiRefNetApplyMask")().apply_mask


def subject(count: int = 1) -> tuple[Tensor, Tensor]:
    """A red disc with a soft edge before blue: images [B, 40, 60, 3], masks [B, 40, 60], both 0..1."""
    y, x = torch.meshgrid(torch.arange(40.0), torch.arange(60.0), indexing="ij")
    masks = torch.stack(
        [((14 + i - ((x - 30) ** 2 + (y - 20) ** 2).sqrt()) / 6 + 0.5).clamp(0, 1) for i in range(count)]
    )
    return torch.lerp(BLUE, RED, masks[..., None]), masks


def test_everything_it_gives(apply):
    image, mask = subject(2)
    before = image.clone(), mask.clone()
    composite, cutout, foreground, matte = apply(image, mask)
    assert composite.shape == foreground.shape == (2, *SHAPE, 3)
    assert cutout.shape == (2, *SHAPE, 4) and matte.shape == (2, *SHAPE)
    for output in (composite, cutout, foreground, matte):
        assert output.dtype == torch.float32 and output.is_contiguous()
        assert output.min() >= 0 and output.max() <= 1
    assert torch.equal(matte, mask)
    assert torch.equal(cutout, torch.cat([foreground, matte[..., None]], 3))
    torch.testing.assert_close(composite, foreground * matte[..., None])  # transparent is black here
    assert torch.equal(image, before[0]) and torch.equal(mask, before[1])


def test_the_clean_foreground_has_no_blue_in_it(apply):
    image, mask = subject()
    soft = (mask > 0) & (mask < 1)
    assert soft.sum() > 200
    _, cutout, foreground, _ = apply(image, mask)
    assert (foreground - RED).abs()[soft].mean() < 0.1 * (image - RED).abs()[soft].mean()
    assert torch.equal(foreground[mask == 1], image[mask == 1])
    _, cutout, foreground, _ = apply(image, mask, clean_foreground=False)
    assert torch.equal(foreground, image) and torch.equal(cutout[..., :3], image)


def test_colours_of_an_image_with_alpha_are_pure_already(apply):
    """RGBA with straight alpha, as of Join Image with Alpha: only where the mask is lower is a pixel a mixture."""
    image, own = subject()
    rgba = torch.cat([torch.where(own[..., None] > 0, RED, 1.0), own[..., None]], 3)
    seen = own > 0
    for mask in (own, torch.ones_like(own), own.sqrt()):
        composite, _, foreground, matte = apply(rgba, mask, "colour", "#00ff00")
        assert torch.equal(foreground[seen], RED.expand(int(seen.sum()), 3))
        assert torch.equal(matte, mask)
        torch.testing.assert_close(composite, torch.lerp(torch.tensor([0.0, 1.0, 0.0]), foreground, mask[..., None]))
    opaque = torch.cat([image, torch.ones_like(own)[..., None]], 3)
    assert torch.equal(apply(opaque, own)[2], apply(image, own)[2])


def test_on_a_colour(apply):
    image, mask = subject()
    composite, _, foreground, _ = apply(image, mask, "colour", "#00ff00")
    green = torch.tensor([0.0, 1.0, 0.0])
    torch.testing.assert_close(composite, torch.lerp(green, foreground, mask[..., None]))
    assert torch.equal(composite[mask == 0], green.expand(int((mask == 0).sum()), 3))
    # the colour matters to that background alone
    assert torch.equal(apply(image, mask, "transparent", "no colour")[0], foreground * mask[..., None])


def test_on_images(apply):
    image, mask = subject(3)
    behind = torch.rand(2, *SHAPE, 4)
    composite, *_ = apply(image, mask, "image", background_image=behind)
    for index, other in enumerate((0, 1, 0)):
        clear = mask[index] == 0
        seen = behind[other, ..., :3] * behind[other, ..., 3:]  # on black where it is transparent
        assert torch.equal(composite[index][clear], seen[clear])
    # scaled to cover, the middle cut out: columns 30..90 of 120 at half the size
    wide = torch.linspace(0, 1, 120).view(1, 1, 120, 1).expand(1, 40, 120, 3)
    composite, *_ = apply(image[:1], torch.zeros(1, *SHAPE), "image", background_image=wide)
    assert torch.equal(composite, wide[:, :, 30:90])
    assert apply(image, mask, "image", background_image=torch.rand(1, 1, 1, 3))[0].shape == (3, *SHAPE, 3)


def test_one_mask_serves_all_images_and_one_image_all_masks(apply):
    image, mask = subject(3)
    assert torch.equal(apply(image, mask[:1])[3], mask[:1].expand(3, -1, -1))
    composite, cutout, foreground, matte = apply(image[:1], mask, clean_foreground=False)
    assert torch.equal(matte, mask)
    assert torch.equal(foreground, image[:1].expand(3, -1, -1, -1))
    assert len(composite) == len(cutout) == 3


def test_one_image_goes_on_all_backgrounds(apply):
    image, mask = subject(2)
    behind = torch.rand(3, *SHAPE, 3)
    composite, cutout, foreground, matte = apply(image[:1], mask[:1], "image", background_image=behind)
    assert torch.equal(composite[:, mask[0] == 0], behind[:, mask[0] == 0])
    assert len(composite) == len(cutout) == len(foreground) == len(matte) == 3
    assert len(apply(image[:1], mask[:1], "colour", background_image=behind)[0]) == 1  # which is not used
    assert len(apply(image, mask[:1], "image", background_image=behind)[0]) == 2
    assert len(apply(image[:1], mask, "image", background_image=behind)[0]) == 2


@pytest.mark.parametrize(("masks", "expected", "words"), [(2, (0, 1, 0), "start again"), (5, (0, 1, 2), "left out")])
def test_other_counts_of_masks_are_fitted_and_said(apply, caplog, masks, expected, words):
    image, mask = subject(5)
    with caplog.at_level(logging.WARNING):
        matte = apply(image[:3], mask[:masks])[3]
    assert torch.equal(matte, mask[list(expected)])
    assert f"3 images but {masks} masks" in caplog.text and words in caplog.text


def test_masks_of_other_sizes_and_shapes(apply):
    image, mask = subject(2)
    small = torch.nn.functional.avg_pool2d(mask[:, None], 2)
    for given in (small, small[:, 0]):
        matte = apply(image, given)[3]
        assert matte.shape == (2, *SHAPE)
        assert (matte - mask).abs().mean() < 0.01
    assert torch.equal(apply(image[:1], mask[0])[3], mask[:1])


@pytest.mark.parametrize("invert", [False, True])
def test_the_empty_mask_of_load_image_means_no_mask(apply, invert):
    image, _ = subject(2)
    composite, cutout, foreground, matte = apply(image, torch.zeros(1, 64, 64), invert=invert)
    assert matte.eq(1).all() and matte.shape == (2, *SHAPE)
    assert torch.equal(composite, image) and torch.equal(foreground, image)
    assert torch.equal(cutout[..., 3], matte)


def test_an_empty_mask_of_the_images_own_size_is_a_mask(apply):
    assert apply(torch.rand(1, 64, 64, 3), torch.zeros(1, 64, 64))[3].eq(0).all()


@pytest.mark.parametrize("value", [0.0, 1.0])
@pytest.mark.parametrize("clean_foreground", [True, False])
def test_black_and_white_masks(apply, value, clean_foreground):
    image, _ = subject(2)
    options = {"clean_foreground": clean_foreground, "fill_holes": True, "keep_largest": True, "feather": 4.0}
    composite, _, foreground, matte = apply(image, torch.full((2, *SHAPE), value), "colour", "white", grow=3, **options)
    assert torch.equal(matte, torch.full((2, *SHAPE), value)) or (matte - value).abs().max() < 1e-5
    torch.testing.assert_close(composite, image if value else torch.ones_like(image))
    assert torch.equal(foreground, image)


def test_the_tools_and_their_order(apply):
    """invert, levels, keep largest, fill holes, grow, feather."""
    mask = torch.full((1, 60, 60), 0.9)  # of the background; holds all that follows
    mask[0, 10:40, 10:40] = 0.1  # the subject
    mask[0, 20:25, 20:25] = 0.9  # a hole in it
    mask[0, 50:55, 50:55] = 0.1  # another piece
    image = torch.rand(1, 60, 60, 3)
    options = {"invert": True, "black_point": 0.2, "white_point": 0.8, "keep_largest": True, "fill_holes": True}
    found = apply(image, mask, **options)[3]
    expected = torch.zeros(1, 60, 60)
    expected[0, 10:40, 10:40] = 1
    assert torch.equal(found, expected)
    grown = apply(image, mask, grow=4, **options)[3]
    assert grown[0, 25, 6:44].eq(1).all() and grown.sum() > expected.sum()
    shrunk = apply(image, mask, grow=-4, **options)[3]
    assert torch.equal(shrunk[0, 25], expected[0, 25].roll(4) * expected[0, 25].roll(-4))
    feathered = apply(image, mask, feather=8, **options)[3]
    assert feathered[0, 25, 9] == pytest.approx(0.5, abs=0.1)
    assert ((feathered > 0.01) & (feathered < 0.99)).sum() > 500


def test_a_feathered_edge_shows_the_subjects_colour(apply):
    """The estimate is made before the feather, and goes on beyond the edge."""
    image, mask = subject()
    composite, _, foreground, matte = apply(image, mask, "colour", "white", feather=10)
    soft = (matte > 0.05) & (matte < 0.95)
    assert soft.sum() > 400
    assert (foreground - RED).abs()[soft].mean() < 0.05
    assert (composite[..., 2] - composite[..., 1])[soft].abs().max() < 0.15  # no blue


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_types_and_channels(apply, dtype, channels):
    image, mask = subject(2)
    given = torch.cat([image, torch.ones(2, *SHAPE, 1)], 3)[..., :channels].to(dtype)
    composite, cutout, foreground, matte = apply(given, mask.to(dtype), "image", background_image=given)
    expected = apply(image, mask, "image", background_image=image)
    for found, wanted in zip((composite, cutout, foreground, matte), expected):
        assert found.dtype == torch.float32 and found.shape == wanted.shape
    torch.testing.assert_close(composite, expected[0], atol=0.01, rtol=0)


@pytest.mark.parametrize("size", [(1, 1), (1, 33), (33, 1), (2, 2)])
def test_tiny_images(apply, size):
    torch.manual_seed(0)
    options = {"grow": 5, "feather": 3.0, "fill_holes": True, "keep_largest": True, "black_point": 0.1}
    image, mask = torch.rand(2, *size, 3), torch.rand(2, *size)
    for given in (mask, torch.rand(1, 7, 5)):
        for tools in ({}, options):
            outputs = apply(image, given, "image", background_image=torch.rand(1, 9, 9, 3), **tools)
            assert [tuple(output.shape) for output in outputs] == [
                (2, *size, 3),
                (2, *size, 4),
                (2, *size, 3),
                (2, *size),
            ]
            assert all(output.isfinite().all() and output.min() >= 0 and output.max() <= 1 for output in outputs)


def test_values_a_little_outside_are_clamped(apply):
    image, mask = subject()
    composite, cutout, *_ = apply(image * 1.2 - 0.1, mask * 1.2 - 0.1)
    assert composite.min() >= 0 and cutout.max() <= 1


def test_it_stops_at_an_image_when_the_user_says_so(apply, module, monkeypatch):
    class Stopped(BaseException):
        """As ComfyUI's InterruptProcessingException."""

    asked = []

    def interrupt():
        asked.append(1)
        if len(asked) > 3:
            raise Stopped

    monkeypatch.setattr(module("nodes.host"), "check_interrupt", interrupt)
    image, mask = subject(9)
    with pytest.raises(Stopped):
        apply(image, mask)
    assert len(asked) == 4  # before the first, then after each image


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"background": "image"}, "background is image, but nothing is connected to background_image"),
        ({"background": "picture"}, "background must be one of transparent, colour, image, not 'picture'"),
        ({"background": "colour", "colour": "greenish"}, "'greenish' is no colour: give '#rrggbb', '#rgb' or a name"),
        ({"background": "image", "background_image": torch.zeros(1, 3, 8, 8)}, "background_image: images must be"),
        ({"background": "image", "background_image": torch.zeros(0, 8, 8, 3)}, "background_image is an empty batch"),
        ({"black_point": 0.6, "white_point": 0.5}, "black point must not be above the white point"),
        ({"feather": -1.0}, "feather must be a number from 0 to 1024, not -1"),
        ({"mask": torch.zeros(1, 2, 40, 60)}, r"a mask must be \[B, H, W\], not \[1, 2, 40, 60\]"),
        ({"mask": torch.full((1, 40, 60), torch.nan)}, "the mask has NaN"),
        ({"image": torch.full((1, 40, 60, 4), torch.nan)}, r"images\[0\] has NaN"),
        (
            {"background": "image", "background_image": torch.tensor([0, 0, 0, torch.nan]).expand(1, 4, 4, 4)},
            r"background_image: images\[0\] has NaN",
        ),
        ({"image": torch.zeros(40, 60, 3)}, r"images must be \[B, H, W, 3\], not \[40, 60, 3\]"),
        ({"image": torch.full((1, 40, 60, 3), 255.0)}, "looks like 0..255"),
    ],
)
def test_errors(apply, arguments, message):
    image, mask = subject()
    with pytest.raises(ValueError, match=message) as raised:
        apply(**{"image": image, "mask": mask, **arguments})
    assert "\n" not in str(raised.value)


def before_green() -> tuple[Tensor, Tensor]:
    """The red disc before a green screen."""
    _, masks = subject()
    return torch.lerp(torch.tensor([0.13, 0.62, 0.24]), RED, masks[..., None]), masks


@pytest.mark.parametrize("clean", [True, False])
@pytest.mark.parametrize("despill", ["auto", "green"])
def test_despill_takes_the_screen_out_of_soft_edges(apply, clean, despill):
    image, mask = before_green()
    soft = (mask > 0.2) & (mask < 0.9)
    before, after = (apply(image, mask, clean_foreground=clean, despill=way)[2][soft] for way in ("off", despill))
    assert (after[..., 1] <= before[..., 1] + 1e-6).all()
    error = [(each - RED).abs().mean() for each in (before, after)]
    assert error[1] < (1.05 if clean else 0.3) * error[0]


def test_despill_without_a_screen_or_strength_changes_nothing(apply):
    image, mask = subject()
    grey = torch.lerp(torch.tensor([0.5, 0.5, 0.5]), RED, mask[..., None])
    for picture, options in ((grey, {"despill": "auto"}), (image, {"despill": "blue", "despill_strength": 0.0})):
        for one, other in zip(apply(picture, mask), apply(picture, mask, **options), strict=True):
            assert torch.equal(one, other)
    with pytest.raises(ValueError, match=r"not 1\.5"):
        apply(image, mask, despill="green", despill_strength=1.5)
    with pytest.raises(ValueError, match="not 'teal'"):
        apply(image, mask, despill="teal")


def test_images_without_a_screen_to_despill_are_told(apply, caplog):
    image, mask = before_green()
    grey = torch.lerp(torch.tensor([0.5, 0.5, 0.5]), RED, mask[..., None])
    apply(torch.cat([image, grey]), mask, despill="auto")
    assert "Apply Mask: 1 of 2 images show no green or blue screen" in caplog.text


def test_despeckle_and_choke_work_on_the_mask(apply):
    image, mask = subject()
    dirty = mask.clone()
    dirty[0, 2:4, 2:4] = 0.9
    dirty[0, 20, 30] = 0
    assert torch.equal(apply(image, dirty, despeckle=9)[3], mask)
    choked = apply(image, mask, choke=0.5)[3]
    assert torch.equal(choked == 1, mask == 1) and torch.equal(choked == 0, mask == 0)
    soft = (mask > 0) & (mask < 1)
    assert (choked < mask)[soft].all()
