import pytest
import torch

from birefnet_core.matting.colour_names import parse_colour
from birefnet_core.matting.compose import cover, on_black, over


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("#ff8000", (255, 128, 0)),
        ("#F80", (255, 136, 0)),
        ("00ff00", (0, 255, 0)),
        (" fff ", (255, 255, 255)),
        ("Navy", (0, 0, 128)),
        ("rgb(1, 2, 3)", (1, 2, 3)),
    ],
)
def test_colours(text, expected):
    assert parse_colour(text) == pytest.approx([channel / 255 for channel in expected])


@pytest.mark.parametrize("text", ["", "greenish", "#12", "#12345", "#ggg", None])
def test_no_colours(text):
    with pytest.raises(ValueError, match=r"is no colour: give '#rrggbb', '#rgb' or a name such as white"):
        parse_colour(text)


@pytest.mark.parametrize("text", ["rgb(300, 0, 0)", "rgb(200%, 0%, 0%)", "hsv(999, 200%, 50%)"])
def test_colours_beyond_their_range(text):
    with pytest.raises(ValueError, match="its parts are beyond 0 to 255"):
        parse_colour(text)


@pytest.mark.parametrize("text", ["#ffffff80", "#fff8"])
def test_colours_with_transparency(text):
    with pytest.raises(ValueError, match=f"'{text}' is a colour with transparency"):
        parse_colour(text)


def test_over_a_colour_and_over_images():
    foreground, alpha = torch.rand(2, 3, 4, 3), torch.rand(2, 3, 4)
    alpha[0], alpha[1, 0] = 0, 1
    colour = torch.tensor((0.25, 0.5, 1.0))
    expected = foreground * alpha[..., None] + colour * (1 - alpha[..., None])
    torch.testing.assert_close(over(foreground, alpha, (0.25, 0.5, 1.0)), expected)
    images = torch.rand(2, 3, 4, 3)
    blended = over(foreground, alpha, images)
    assert torch.equal(blended[0], images[0]) and torch.equal(blended[1, 0], foreground[1, 0])


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((10, 20), (slice(0, 10), slice(5, 15))),  # the sides are cut off
        ((30, 10), (slice(10, 20), slice(0, 10))),
        ((10, 10), (slice(0, 10), slice(0, 10))),
    ],
)
def test_cover_cuts_the_middle_out(size, expected):
    images = torch.rand(1, *size, 3)
    assert torch.equal(cover(images, 10, 10), images[0][expected][None])


def test_cover_scales_and_keeps_the_aspect():
    columns = torch.arange(40.0).view(1, 1, 40, 1).expand(1, 20, 40, 3) / 40
    found = cover(columns, 60, 60)
    assert found.shape == (1, 60, 60, 3)
    assert found[0, 0, 0, 0].item() == pytest.approx(0.25, abs=0.02)
    assert found[0, 0, -1, 0].item() == pytest.approx(0.75, abs=0.03)
    assert (found[0, 0, 40, 0] - found[0, 0, 10, 0]).item() == pytest.approx(30 / 3 / 40, abs=0.01)


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (50, 1), (3, 2)])
@pytest.mark.parametrize("frame", [(1, 1), (1, 30), (30, 1), (7, 9)])
def test_cover_takes_any_size(size, frame):
    assert cover(torch.rand(2, *size, 3), *frame).shape == (2, *frame, 3)


def test_what_alpha_hides_is_black():
    images = torch.tensor([[[[0.8, 0.4, 0.2, 0.0], [0.8, 0.4, 0.2, 0.5], [0.8, 0.4, 0.2, 1.0]]]])
    expected = torch.tensor([[[[0.0, 0.0, 0.0], [0.4, 0.2, 0.1], [0.8, 0.4, 0.2]]]])
    torch.testing.assert_close(on_black(images), expected)
    assert torch.equal(on_black(images[..., :3]), images[..., :3])
