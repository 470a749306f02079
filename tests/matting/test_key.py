import pytest
import torch

from birefnet_core.matting.key import key

from .test_despill import BLUE, GREEN, GREY, SIZE, SKIN, disc, over, screen


def mad(alpha, truth, where):
    return (alpha - truth).abs()[where].mean().item()


@pytest.mark.parametrize("colour", [GREEN, BLUE])
@pytest.mark.parametrize("foreground", [SKIN, GREY, torch.tensor([0.05, 0.05, 0.05]), torch.tensor([0.9, 0.1, 0.1])])
def test_a_blurred_edge_comes_from_the_key(colour, foreground):
    truth = disc(softness=8)
    matte = disc(softness=4)  # a network that knows no motion blur
    alpha, colours = key(over(foreground, truth, screen(colour))[None], matte[None])
    soft = (truth > 0.05) & (truth < 0.95)
    assert mad(alpha[0], truth, soft) < 0.5 * mad(matte, truth, soft)
    seen = (truth > 0.2) & (truth < 0.9)
    assert (colours[0] - foreground).abs().mean(-1)[seen].mean() < 0.05


def test_strands_that_the_matte_lacks_come_from_the_key():
    truth = disc(softness=1)
    truth[16:20, 47] = 0.7  # a hair that stands up
    alpha, _ = key(over(SKIN, truth, screen(GREEN))[None], disc(softness=1)[None])
    assert alpha[0, 17:19, 47].min() > 0.6


def test_glass_that_the_matte_half_sees_comes_from_the_key():
    truth, matte = disc(softness=1), disc(softness=1)
    truth[40:56, 40:56], matte[40:56, 40:56] = 0.3, 0.6
    alpha, _ = key(over(GREY, truth, screen(GREEN))[None], matte[None])
    assert (alpha[0, 42:54, 42:54] - 0.3).abs().max() < 0.1


def test_what_is_green_on_the_subject_is_no_hole():
    truth = disc(softness=2)
    foreground = SKIN.expand(SIZE, SIZE, 3).clone()
    foreground[40:56, 40:56] = GREEN
    alpha, _ = key(over(foreground, truth, screen(GREEN))[None], truth[None])
    assert alpha[0][truth == 1].min() > 0.95


def test_a_hole_of_the_matte_stays_one():
    truth = disc(softness=2)
    truth[44:52, 44:52] = 0
    alpha, _ = key(over(SKIN, truth, screen(GREEN))[None], truth[None])
    assert alpha[0, 45:51, 45:51].max() < 0.05


def test_a_stand_far_from_the_subject_stays_out():
    truth = disc(softness=2, radius=20)
    background = screen(GREEN).clone()
    background[:, 2:5] = 0.4
    alpha, _ = key(over(SKIN, truth, background)[None], truth[None])
    assert alpha[0, :, :8].max() == 0


@pytest.mark.parametrize("behind", ["floor", "wall", "another screen"])
def test_a_floor_that_the_subject_stands_on_stays_out(behind):
    truth, background = disc(softness=2), screen(GREEN).clone()
    if behind == "wall":
        background[:, :22] = torch.tensor([0.9, 0.9, 0.88])
    else:
        background[72:] = torch.tensor([0.45, 0.33, 0.25]) if behind == "floor" else BLUE
    alpha, _ = key(over(SKIN, truth, background)[None], truth[None], "green")
    assert alpha[0][truth == 0].max() < 0.05
    soft = (truth > 0.05) & (truth < 0.95)
    assert mad(alpha[0], truth, soft) < 0.15


def test_a_limb_that_the_matte_lacks_comes_from_the_key():
    truth = disc(softness=2)
    truth[44:52, 76:82] = 1
    alpha, _ = key(over(SKIN, truth, screen(GREEN))[None], disc(softness=2)[None])
    assert alpha[0, 46:50, 77:81].min() > 0.95


def test_of_a_glass_that_is_nowhere_solid_the_matte_stands():
    truth = 0.5 * disc(softness=4)
    alpha, _ = key(over(torch.tensor([0.7, 0.7, 0.75]), truth, screen(GREEN))[None], truth[None])
    assert mad(alpha[0], truth, truth > 0) < 0.02


@pytest.mark.parametrize("marker", [(1.0, 1.0, 1.0), (0.09, 0.45, 0.18), (0.9, 0.4, 0.1)])
@pytest.mark.parametrize("size", [(300, 400), (810, 1080)])
def test_markers_beside_the_subject_stay_out_and_what_hangs_on_it_stays(marker, size):
    height, width = size
    unit = height / 300
    down, right = (torch.arange(side) + 0.5 for side in size)
    distance = torch.hypot(down[:, None] - height / 2, right[None] - width / 2)
    truth, matte = (((80 * unit - distance) / (softness * unit) + 0.5).clamp(0, 1) for softness in (10, 4))
    hair = slice(round(50 * unit), round(75 * unit)), slice(width // 2, width // 2 + 2)
    truth[hair] = 1.0
    image = truth[..., None] * SKIN + (1 - truth[..., None]) * GREEN * torch.linspace(0.8, 1.2, width)[None, :, None]
    there = torch.zeros(size, dtype=torch.bool)
    for left in (90, 298):  # 18 pixels of a picture 300 high from the subject
        there[height // 2 :, round(left * unit) :][: round(12 * unit), : round(12 * unit)] = True
    image[there] = torch.tensor(marker)
    image += 0.01 * torch.randn(image.shape, generator=torch.Generator().manual_seed(0))
    there |= there.roll(2, 0) | there.roll(-2, 1)
    alpha, _ = key(image.clamp(0, 1)[None], matte[None])
    assert matte[there].max() == 0 and alpha[0][there].max() == 0
    assert alpha[0][hair].min() > 0.7
    soft = (truth > 0.05) & (truth < 0.95)
    assert mad(alpha[0], truth, soft) < 0.5 * mad(matte, truth, soft)


@pytest.mark.parametrize("colour", [GREEN, BLUE])
def test_grain_is_taken_out_of_soft_edges(monkeypatch, colour):
    truth = disc(softness=16)
    image = over(SKIN, truth, screen(colour))
    image = (image + 0.03 * torch.randn(image.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    soft = (truth > 0.05) & (truth < 0.95)
    matte = disc(softness=8)
    error = mad(key(image[None], matte[None])[0][0], truth, soft)
    monkeypatch.setattr("birefnet_core.matting.key._smoothed", lambda image, colours, keyed, counts: keyed)
    assert error < 0.9 * mad(key(image[None], matte[None])[0][0], truth, soft)


def test_a_picture_worked_on_in_bands_is_keyed_as_in_one(monkeypatch):
    truth = disc(softness=8)
    image = over(SKIN, truth, screen(GREEN))
    image = (image + 0.02 * torch.randn(image.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    whole = key(image[None], truth[None])
    monkeypatch.setattr("birefnet_core.matting.fields.BAND", 7 * SIZE)
    for made, expected in zip(key(image[None], truth[None]), whole, strict=True):
        torch.testing.assert_close(made, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (5, 3)])
def test_tiny_pictures_are_keyed(size):
    image = GREEN.expand(*size, 3).clone()
    alpha, colours = key(image[None], torch.zeros(1, *size), "green")
    assert alpha.shape == (1, *size) and alpha.max() == 0 and colours.isfinite().all()


def test_before_a_subject_of_the_screens_colour_the_matte_stands():
    truth = disc(softness=8)
    alpha, _ = key(over(GREEN, truth, GREEN)[None], truth[None])
    assert (alpha[0] - truth).abs().max() < 0.05


def test_without_a_screen_nothing_changes():
    truth = disc()
    image = over(SKIN, truth, torch.tensor([0.4, 0.45, 0.5]))
    for screen_asked in ("auto", "off", "green"):
        alpha, colours = key(image[None], truth[None], screen_asked)
        assert torch.equal(alpha[0], truth) and torch.equal(colours[0], image)


NAMED = {
    "sRGB blue": ("blue", (48, 93, 170)),
    "pale blue": ("blue", (60, 110, 190)),
    "cyanish blue": ("blue", (70, 150, 175)),
    "green in warm light": ("green", (110, 160, 50)),
    "green in cold light": ("green", (60, 150, 130)),
    "dull green": ("green", (70, 96, 76)),
}


@pytest.mark.parametrize("name", NAMED)
@pytest.mark.parametrize("haze", [0, 0.025, 0.045])
def test_a_named_screen_is_keyed_as_a_camera_sees_it(name, haze):
    colour, levels = NAMED[name]
    truth, matte = disc(softness=8), disc(softness=4)
    image = over(SKIN, truth, screen(torch.tensor(levels) / 255))
    alpha, colours = key(image[None], matte.clamp(min=haze)[None], colour)
    soft = (truth > 0.05) & (truth < 0.95)
    assert mad(alpha[0], truth, soft) < 0.5 * mad(matte, truth, soft)
    assert alpha[0][(truth == 0) & (disc(1, 34) > 0)].max() < 0.01, "the key takes haze away"
    seen = (truth > 0.2) & (truth < 0.9)
    assert (colours[0] - SKIN).abs().mean(-1)[seen].mean() < 0.3 * (image - SKIN).abs().mean(-1)[seen].mean()


def test_before_a_colour_that_is_not_the_named_one_nothing_changes():
    truth = disc()
    for levels in ((0.13, 0.62, 0.24), (0.4, 0.41, 0.43), (0.6, 0.5, 0.4), (0.02, 0.02, 0.05)):
        image = over(SKIN, truth, torch.tensor(levels))
        assert torch.equal(key(image[None], truth[None], "blue")[0][0], truth)


def test_arguments_are_not_changed_and_wrong_ones_named():
    truth = disc()
    image = over(SKIN, truth, screen(GREEN))
    given = image.clone(), truth.clone()
    key(image[None], truth[None])
    assert torch.equal(image, given[0]) and torch.equal(truth, given[1])
    with pytest.raises(ValueError, match="not 'teal'"):
        key(image[None], truth[None], "teal")
    with pytest.raises(ValueError, match=r"alpha must be"):
        key(image[None], truth[None, :5])
