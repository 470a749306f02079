import pytest
import torch

from birefnet_core.matting.despill import LUMINANCE, despill
from birefnet_core.matting.screen import find_screen, steadied

SIZE = 96
GREEN, BLUE = torch.tensor([0.13, 0.62, 0.24]), torch.tensor([0.10, 0.25, 0.68])
SKIN, GREY, LEAF = torch.tensor([0.80, 0.60, 0.50]), torch.tensor([0.45, 0.45, 0.45]), torch.tensor([0.30, 0.55, 0.15])


def disc(softness=6.0, radius=30.0):
    """alpha [SIZE, SIZE] of a disc with a soft edge."""
    places = torch.arange(SIZE) - SIZE / 2 + 0.5
    return ((radius - torch.hypot(places[:, None], places[None])) / softness + 0.5).clamp(0, 1)


def screen(colour):
    """[SIZE, SIZE, 3]: lit from one side."""
    return colour * torch.linspace(0.75, 1.15, SIZE)[None, :, None].expand(SIZE, -1, 1)


def over(foreground, alpha, background):
    return (alpha[..., None] * foreground + (1 - alpha[..., None]) * background).expand(SIZE, SIZE, 3).contiguous()


def error(colours, foreground, where):
    return (colours - foreground).abs().mean(-1)[where].mean().item()


@pytest.mark.parametrize("colour, name", [(GREEN, "green"), (BLUE, "blue")])
@pytest.mark.parametrize("asked", ["auto", "named"])
def test_the_screen_goes_out_of_the_soft_edge(colour, name, asked):
    alpha = disc()
    image = over(SKIN, alpha, screen(colour))
    soft = (alpha > 0.2) & (alpha < 0.95)
    cleaned = despill(image[None], alpha[None], name if asked == "named" else asked)[0]
    assert error(cleaned, SKIN, soft) < 0.1 * error(image, SKIN, soft)
    assert torch.equal(despill(image[None], alpha[None], "off")[0], image)


@pytest.mark.parametrize("colour", [GREEN, BLUE])
def test_light_of_the_screen_on_the_subject_goes_and_its_luminance_stays(colour):
    alpha, light = disc(), torch.tensor(LUMINANCE)
    tint = colour - (colour @ light)
    spilled = GREY + 0.2 * torch.linspace(0, 1, SIZE)[None, :, None] * tint
    image = over(spilled, alpha, screen(colour))
    inside = alpha == 1
    cleaned = despill(image[None], alpha[None])[0]
    assert error(cleaned, GREY, inside) < 0.1 * error(image, GREY, inside)
    assert ((cleaned - image)[inside] @ light).abs().max() < 1e-3


def test_a_reflection_of_the_screen_goes_and_a_leaf_stays():
    alpha, image = disc(), None
    for spot, stays in ((0.5 * GREEN + 0.5 * GREY, False), (LEAF, True)):
        foreground = GREY.expand(SIZE, SIZE, 3).clone()
        foreground[44:46, 44:46] = spot
        image = over(foreground, alpha, screen(GREEN))
        cleaned = despill(image[None], alpha[None])[0]
        before, after = error(image, GREY, (44, 44)), error(cleaned, GREY, (44, 44))
        assert after > 0.9 * before if stays else after < 0.2 * before


@pytest.mark.parametrize("background, kept", [(BLUE, LEAF), (GREEN, LEAF), (GREEN, torch.tensor([0.1, 0.7, 0.3]))])
def test_a_green_plant_stays_green(background, kept):
    alpha = disc()
    image = over(kept, alpha, screen(background))
    cleaned = despill(image[None], alpha[None])[0]
    assert error(cleaned, kept, alpha == 1) < 0.01
    soft = (alpha > 0.2) & (alpha < 1)
    assert error(cleaned, kept, soft) <= 1.02 * error(image, kept, soft)


@pytest.mark.parametrize("bottle", [torch.tensor([0.02, 0.32, 0.03]), torch.tensor([0.03, 0.2, 0.02])])
@pytest.mark.parametrize("missed", [0.1, 0.3])
def test_a_green_bottle_stays_green_where_the_matte_takes_it_for_screen(bottle, missed):
    alpha = disc(softness=2.0)
    image = over(bottle, alpha, screen(GREEN))
    inside = disc(softness=1.0, radius=14.0)
    wrong = torch.minimum(alpha, 1 - (1 - missed) * inside)
    hole = (wrong < 0.5) & (inside == 1)
    cleaned = despill(image[None], wrong[None])[0]
    assert error(cleaned, bottle, hole) < 0.005


@pytest.mark.parametrize("panel", [torch.tensor([0.35, 0.78, 0.38]), torch.tensor([0.6, 0.9, 0.3]), LEAF])
@pytest.mark.parametrize("missed", [0.1, 0.4])
def test_what_looks_like_the_sure_subject_nearby_is_not_unmixed(panel, missed):
    alpha = disc(softness=2.0)
    image = over(panel, alpha, screen(GREEN))
    half = torch.arange(SIZE)[:, None] > SIZE / 2
    wrong = torch.where(half & (disc(softness=1.0, radius=24.0) == 1), missed, alpha)
    cleaned = despill(image[None], wrong[None])[0]
    assert error(cleaned, panel, wrong == missed) < 0.02


def test_strength_goes_from_nothing_to_all():
    alpha = disc()
    image = over(SKIN, alpha, screen(GREEN))
    none, half, whole = (despill(image[None], alpha[None], strength=strength)[0] for strength in (0, 0.5, 1))
    assert torch.equal(none, image)
    assert torch.allclose(half, (none + whole) / 2, atol=1e-5)


def test_an_estimated_foreground_stands_where_the_screen_tells_little():
    alpha, estimated = disc(), torch.full((1, SIZE, SIZE, 3), 0.3)
    soft = (alpha > 0.3) & (alpha < 0.95)
    image = over(SKIN, alpha, screen(GREEN))[None]
    cleaned = despill(image, alpha[None], foreground=estimated)[0]
    assert error(cleaned, SKIN, soft) < 0.1 * error(image[0], SKIN, soft)  # the screen tells more than any estimate
    assert torch.allclose(cleaned[alpha == 0], estimated[0][alpha == 0], atol=0.02)  # beyond the edge it tells nothing
    for leaf in (LEAF, torch.tensor([0.1, 0.7, 0.3])):
        image = over(leaf, alpha, screen(GREEN))[None]
        cleaned = despill(image, alpha[None], foreground=leaf.expand_as(estimated))[0]
        assert error(cleaned, leaf, soft) < 0.02  # of its own colour
    assert torch.equal(despill(image, alpha[None], strength=0, foreground=estimated), estimated)
    grey = over(SKIN, alpha, screen(GREY))[None]
    assert torch.equal(despill(grey, alpha[None], foreground=estimated), estimated)


def backgrounds_without_a_screen():
    random = torch.Generator().manual_seed(3)
    leaves = torch.tensor([0.30, 0.48, 0.16]) * (0.3 + 1.2 * torch.rand(SIZE, SIZE, 1, generator=random))
    yield "leaves", leaves
    yield "lawn", torch.tensor([0.40, 0.55, 0.20]).expand(SIZE, SIZE, 3)
    yield "sky", screen(torch.tensor([0.38, 0.58, 0.85]))
    yield "grey", screen(torch.tensor([0.5, 0.5, 0.5]))
    yield "night", torch.full((SIZE, SIZE, 3), 0.01)
    yield "noise", torch.rand(SIZE, SIZE, 3, generator=random)


@pytest.mark.parametrize("name, background", list(backgrounds_without_a_screen()), ids=lambda value: str(value)[:8])
def test_without_a_screen_auto_changes_no_bit(name, background):
    alpha = disc()
    for foreground in (SKIN, LEAF):
        image = over(foreground, alpha, background)
        assert torch.equal(despill(image[None], alpha[None])[0], image)


def test_a_screen_is_found_beside_a_studio_and_behind_the_subject():
    alpha, background = disc(), screen(GREEN).clone()
    background[:, :20] = torch.tensor([0.2, 0.18, 0.15])  # the wall beside it
    found = find_screen(over(SKIN, alpha, background), alpha)
    assert (found.colour, found.seen) == ("green", True)
    behind = found.at(slice(0, SIZE), SIZE)
    assert (behind - screen(GREEN)).abs().mean(-1)[:, 24:].max() < 0.06


def test_a_named_screen_that_is_not_seen_only_limits_colours():
    alpha = torch.ones(SIZE, SIZE)
    image = (GREY + torch.tensor([0.0, 0.03, 0.0])).expand(SIZE, SIZE, 3)
    assert not find_screen(image, alpha, "green").seen
    cleaned = despill(image[None], alpha[None], "green")[0]
    assert (cleaned[..., 1] - cleaned[..., [0, 2]].mean(-1)).abs().max() < 1e-4
    assert torch.equal(despill(image[None], alpha[None], "auto")[0], image)


def test_a_clips_screen_is_steady():
    alpha = disc()
    first, second = (find_screen(over(SKIN, alpha, screen(GREEN * light)), alpha) for light in (1, 0.8))
    steady = steadied(first, second, 0.25)
    assert torch.allclose(steady.field, 0.75 * first.field + 0.25 * second.field)
    assert steadied(first, None, 0.25) is None and steadied(None, second, 0.25) is second
    other = find_screen(over(SKIN, alpha, screen(BLUE)), alpha)
    dark = find_screen(over(SKIN, alpha, screen(GREEN * 0.5)), alpha)
    assert steadied(first, other, 0.25) is other and steadied(first, dark, 0.25) is dark


def test_pieces_make_no_difference(monkeypatch):
    from birefnet_core.matting import fields

    alpha = disc()
    image = over(SKIN, alpha, screen(GREEN))
    whole = despill(image[None], alpha[None])
    monkeypatch.setattr(fields, "BAND", 7 * SIZE)
    assert torch.allclose(despill(image[None], alpha[None]), whole, atol=1e-5)


def test_kinds_of_input():
    alpha = disc()
    image = over(SKIN, alpha, screen(GREEN))
    four = torch.cat([image, alpha[..., None]], -1)
    assert torch.equal(despill(four[None], alpha[None]), despill(image[None], alpha[None]))
    eight = despill((image * 255).round().byte()[None], (alpha * 255).round().byte()[None])
    assert eight.dtype == torch.float32
    assert (eight - despill(image[None], alpha[None])).abs().max() < 0.05
    assert despill(image[:1, :1][None], alpha[:1, :1][None], "green").shape == (1, 1, 1, 3)
    with pytest.raises(ValueError, match="off, auto, green or blue, not 'red'"):
        despill(image[None], alpha[None], "red")
    with pytest.raises(ValueError, match=r"0\.\.1, not 2"):
        despill(image[None], alpha[None], strength=2)
    with pytest.raises(ValueError, match=r"alpha must be \[1, 96, 96\]"):
        despill(image[None], alpha[None, :9])
