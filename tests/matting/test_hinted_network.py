"""Prediction hands the hint to a network that takes it."""

import pytest
import torch

import birefnet_core as bc
from birefnet_core.matting import MattingModel
from birefnet_core.matting.hint import asked_for, draw_boxes, draw_points, told
from birefnet_core.network.hint import HintedConv, hint_weights

NARROW = {"block_channels": 8, "branch_channels": 8, "inward_channels": 4}


@pytest.fixture
def model(one_thread):
    """A network as training might leave it, at 128 x 96; what its first convolution is given of hints, in `seen`."""
    torch.manual_seed(0)
    network = bc.build_network("timm:test_efficientnet", **NARROW, hint=True).eval().requires_grad_(False)
    for weight in hint_weights(network):
        weight.normal_(0, 0.5)
    model = MattingModel(network, bc.ModelSpec("hinted", "timm:test_efficientnet", (128, 96), edge_radius=4))
    model.seen = []
    (conv,) = (each for each in network.modules() if isinstance(each, HintedConv))
    conv.hint.register_forward_hook(lambda module, given, made: model.seen.append(given[0].clone()))
    return model


def pictures(count=1, dtype=torch.float32):
    torch.manual_seed(1)
    images = torch.rand(count, 192, 256, 3)
    return images if dtype == torch.float32 else (255 * images).to(torch.uint8)


def lower_left(height=192, width=256):
    """A mask over half of the picture, from corner to corner; no box."""
    rows, columns = torch.arange(height)[:, None] / height, torch.arange(width) / width
    return (rows > columns).float()[None]


def shows(model, *looks):
    """Let the network show these boxes of what it looks at, (x, y, width, height) at 256 x 192: a list a look."""
    planes = iter((20 * draw_boxes(each, (256, 192)) - 10)[None, None] for each in looks)
    fit = torch.nn.functional.interpolate
    model.network.register_forward_hook(lambda module, given, made: made * 0 + fit(next(planes), made.shape[2:]))


def scene(*things, size=(256, 192)):
    """A black picture [H, W, 3] with boxes (x, y, width, height, brightness) in it."""
    picture = torch.zeros(size[1], size[0], 3)
    for x, y, width, height, brightness in things:
        picture[y : y + height, x : x + width] = brightness
    return picture


def looked(picture, hint, alpha_of=lambda part, told: part.amax(3), takes_hint=True):
    """What `asked_for` gives by a network that shows what is bright, and what that was told, at each look."""
    tellings = []

    def matte(part, told, scale=1.0):
        tellings.append(told)
        return alpha_of(part, told)

    return asked_for(picture, hint, seen_of=lambda size: size, matte=matte, takes_hint=takes_hint), tellings


@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8])
@pytest.mark.parametrize("mode", ["whole", "locate"])
def test_the_network_is_told_the_mask(model, dtype, mode):
    images = pictures(dtype=dtype)
    alpha = model.predict(images, hint=lower_left(), mode=mode)
    assert alpha.shape == (1, 192, 256)
    full, half = model.seen[:2]
    assert full.shape == (1, 1, 96, 128) and half.shape == (1, 1, 48, 64)
    for seen in (full, half):
        assert (seen[0, 0].tril(-2)[-1, :20] > 0.999).all() and (seen[0, 0, 0, 4:] < -0.999).all()
    assert not torch.equal(alpha, model.predict(images, hint=1 - lower_left()))
    count = len(model.seen)
    without = model.predict(images)
    assert len(model.seen) == count, "without a hint the network has none"
    assert not torch.allclose(without, alpha)


def test_a_mask_is_told_as_far_as_it_is_looked_at(model):
    """A small subject: what is told of the crop is the crop of the mask."""
    mask = torch.zeros(1, 192, 256)
    mask[0, 60:120, 80:160] = lower_left(60, 80)[0]
    model.predict(pictures(), hint=mask)
    crop = model.seen[0][0, 0]
    assert 0.15 < (crop > 0.9).float().mean() < 0.35 and crop[70, 45] > 0.999 and crop[25, 85] < -0.999


def test_of_a_box_the_network_is_told_nothing_at_first_and_then_what_was_decided():
    """Two things stand side by side, and the box is around the left one."""
    picture = scene((30, 40, 80, 110, 1), (125, 40, 80, 110, 0.9))
    alpha, (first, second) = looked(picture, draw_boxes([(20, 30, 97, 130)], (256, 192)))
    assert alpha[60:130, 40:100].min() > 0.9 and alpha[:, 130:].max() < 0.1
    assert first is None and second.shape[0] == 1
    lies = second[0] > 0.5
    assert 0.15 < lies.float().mean() < 0.6 and not lies[:, -second.shape[2] // 5 :].any()


@pytest.mark.parametrize("takes_hint", [True, False])
def test_a_box_of_one_and_a_dot_on_another(takes_hint):
    size = (384, 192)
    picture = scene((20, 40, 70, 110, 1), (120, 40, 70, 110, 0.8), (290, 40, 70, 110, 0.9), size=size)
    hint = torch.maximum(draw_boxes([(12, 30, 88, 130)], size), draw_points([(325, 95)], size))
    alpha, _ = looked(picture, hint, takes_hint=takes_hint)
    assert alpha[60:130, 35:75].min() > 0.9 and alpha[60:130, 305:345].min() > 0.7 and alpha[:, 125:185].max() < 0.1


@pytest.mark.parametrize("takes_hint", [True, False])
def test_of_two_dots_one_is_seen_only_closely(takes_hint):
    """The other one's thing is faint in the whole picture."""
    picture, size = scene((30, 50, 70, 90, 1), (150, 80, 40, 40, 0.6)), (256, 192)

    def alpha_of(part, told):
        return part.amax(3) if part.shape[2] < 256 else part.amax(3) * (part.amax(3) > 0.7)

    hint = draw_points([(65, 95), (170, 100)], size)
    alpha, tellings = looked(picture, hint, alpha_of, takes_hint)
    assert alpha[70:120, 50:80].min() > 0.9 and alpha[95:105, 160:180].min() > 0.5
    if takes_hint:
        assert tellings[1].shape[2] / tellings[1].shape[1] > 1.2, "both are in the second look"
        assert ((tellings[1][0] > 0.5).any(0).float().diff() > 0).sum() + (tellings[1][0, :, 0] > 0.5).any() >= 2


def test_of_a_dot_under_which_nothing_is_seen_only_the_dot_is_told():
    """Something else stands near, within the part that is looked at again."""
    picture, size = scene((125, 60, 40, 70, 1)), (256, 192)
    _, (_, *later) = looked(
        picture, draw_points([(215, 95)], size), lambda part, told: part.amax(3) * (told.mean() > 0)
    )
    assert len(later) == 2
    for asked in later:
        assert asked[0, :, : asked.shape[2] // 4].max() < 0.5 and asked.max() > 0.99


def test_what_is_shown_of_a_dot_is_taken_as_it_is():
    """Half-transparent, and in two pieces."""
    picture = scene((60, 50, 60, 90, 0.4), (130, 60, 30, 60, 0.3))
    alpha, _ = looked(picture, draw_points([(90, 95)], (256, 192)))
    torch.testing.assert_close(alpha[:, 64:192], picture[:, 64:192, 0])


def test_the_mask_of_something_thin_is_a_mask():
    """Told as a blob, as it may be a stroke; then it is seen to lie on edges, and decides what belongs."""
    rows, columns = torch.arange(192)[:, None], torch.arange(256)
    hint = ((columns - 60 - rows / 8).abs() < 4).float() * (rows >= 20) * (rows < 170)
    picture = scene((110, 40, 90, 110, 0.9)).maximum(hint[..., None])
    alpha, tellings = looked(picture, hint)
    assert (tellings[0] > 0.5).float().sum() > 3 * hint.sum()
    assert alpha[30:160][hint[30:160] > 0].mean() > 0.9 and alpha[:, 112:].max() < 0.1
    assert (tellings[1] > 0.5).float().mean() < 0.3, "the thing itself"


@pytest.mark.parametrize("size", [(1024, 256), (1600, 400), (300, 1200)])
def test_a_dot_in_a_long_picture_is_a_blob_in_every_look(size):
    dots = draw_points([(size[0] / 2, size[1] / 2)], size)
    for hint in (dots, torch.nn.functional.interpolate(dots[None, None], (600, 600))[0, 0]):
        _, tellings = looked(scene(size=size), hint)
        for telling in tellings:
            assert 0.04 < (telling > 0.5).float().mean() < 0.2


def test_a_box_around_all_there_is_costs_one_look(model):
    shows(model, [(60, 50, 120, 100)])
    alpha = model.predict(pictures(), hint=draw_boxes([(0, 0, 256, 192)], (256, 192)))[0]
    assert not model.seen and alpha[100, 120] > 0.9


def test_a_hint_of_any_size_one_for_all_or_one_each_and_bool(model):
    images = pictures(2)
    one, each = model.predict(images, hint=lower_left()), model.predict(images, hint=lower_left().expand(2, -1, -1))
    assert torch.equal(one, each) and torch.equal(model.predict(images, hint=lower_left() > 0), one)
    both = torch.cat((lower_left(), 1 - lower_left()))
    assert not torch.equal(model.predict(images, hint=both)[1], one[1])
    model.seen.clear()
    model.predict(images, hint=lower_left(48, 64))
    model.predict(images, hint=lower_left())
    small, large = (model.seen[index] for index in (0, len(model.seen) // 2))
    assert (small - large).abs().mean() < 0.05


def test_a_hint_that_asks_for_nothing_gives_nothing_and_costs_no_pass(model):
    assert not model.predict(pictures(), hint=torch.zeros(1, 8, 8)).any()
    assert not model.seen


def test_a_stroke_of_one_pixel_is_not_lost_on_the_way_to_the_network(model):
    hint = torch.zeros(1, 192, 256)
    hint[0, 100, 30:200] = 1
    model.predict(pictures(), hint=hint)
    seen = model.seen[0]
    assert seen.shape[2:] == (96, 128), "it may be a thin mask, of which little is seen at a glance"
    assert seen.max() == 1 and 60 <= (seen == 1).sum() <= 200


@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8])
def test_a_dot_or_a_scribble_is_told_as_a_blob_around_it(model, dtype):
    images, size = pictures(dtype=dtype), (256, 192)
    scribble = torch.zeros(192, 256)
    scribble[95:100, 20:230] = 1
    for hint, near, far in (
        (draw_points([(64, 48)], size), (24, 40), (90, 120)),
        (draw_points([(64, 48), (200, 150)], size), (75, 92), (5, 120)),
        (scribble, (52, 64), (2, 64)),
        (scribble / 4, (52, 64), (2, 64)),
    ):
        model.predict(images, hint=hint)
        (seen,) = torch.nn.functional.interpolate(model.seen[0], (96, 128), mode="bilinear")[0]
        assert model.seen[0].max() > 0.99 and seen[near] > 0.2 and seen[far] < -0.8
        model.seen.clear()
    assert torch.equal(told(torch.zeros(4, 4)), torch.zeros(4, 4))


def test_dots_beside_each_other_are_dots():
    for apart in (40, 120, 500):
        hint = draw_points([(700, 450), (700 + apart, 450)], (1600, 900))
        assert (told(hint) > 0.5).sum() > 20 * hint.sum()


def test_a_blob_is_as_wide_and_as_high_as_in_a_square():
    for size in ((1600, 900), (900, 1600), (600, 600)):
        blob = told(draw_points([(size[0] / 2, size[1] / 2)], size)) > 0.61
        shares = [blob.any(axis).float().mean().item() for axis in (0, 1)]
        assert shares == pytest.approx([0.25, 0.25], abs=0.02)


def test_a_faint_hint_says_what_a_full_one_says():
    for hint in (lower_left()[0], draw_points([(64, 48)], (256, 192)), draw_boxes([(20, 20, 90, 80)], (256, 192))):
        torch.testing.assert_close(told(0.3 * hint), told(hint))


def test_a_dot_that_is_not_seen_is_looked_for_closely(model):
    model.network.register_forward_hook(lambda module, given, made: made * 0 - 9)
    assert model.predict(pictures(), hint=draw_points([(120, 70)], (256, 192))).max() < 0.01
    full, crop = model.seen[0], model.seen[2]  # each is seen at half its size too
    assert (full > 0).float().mean() > 0 and crop.max() > 0.99, "a blob of its own in the crop"
    assert 0.5 < (crop > 0).float().mean() / (full > 0).float().mean() < 2


def test_what_was_found_at_a_dot_is_told_at_the_looks_after(model):
    shows(model, [(60, 40, 120, 100)], [(90, 60, 60, 70)], [(0, 0, 256, 192)])
    alpha = model.predict(pictures(), hint=draw_points([(120, 90)], (256, 192)))[0]
    looks = [plane[0, 0] for plane in model.seen[::2]]  # each at both sizes of the image pyramid
    assert [tuple(plane.shape) for plane in looks] == [(64, 64), (64, 96), (96, 128)], "at a glance first"
    told_then = looks[2]
    shares = [(told_then > 0).any(axis).float().mean().item() for axis in (0, 1)]
    assert all(0.4 < share < 0.9 for share in shares), "the found one, in a crop around it"
    assert (told_then.abs() < 0.01).sum() > 200, "around it nothing is said"
    assert alpha[90, 120] > 0.9 and alpha[58, 86] > 0.9, "all that the last look shows"
    assert alpha[10, 10] == 0 and alpha[95, 40] == 0, "the crop is around what the second look shows"


def test_boxes_and_masks_are_told_as_they_are_and_a_dot_beside_a_box_as_a_blob():
    size = (256, 192)
    small, narrow = draw_boxes([(100, 80, 12, 12)], size), draw_boxes([(20, 10, 10, 150)], size)
    overlapping = draw_boxes([(20, 60, 60, 100), (60, 20, 70, 150)], size)
    disc, bar = draw_points([(120, 90)], (512, 384))[::2, ::2], torch.zeros(192, 256)
    rows, columns = torch.arange(192)[:, None], torch.arange(256)
    bar[(rows - 90) ** 2 + (columns - columns.clamp(40, 200)) ** 2 <= 36] = 1  # a stroke of a round brush
    for hint in (small, narrow, overlapping, lower_left()[0], draw_boxes([(20, 20, 90, 80), (150, 20, 30, 30)], size)):
        assert torch.equal(told(hint), hint)
    for hint in (disc, bar, draw_points([(30, 30)], (64, 64))):
        assert (told(hint) > 0.5).sum() > 3 * (hint > 0.5).sum()
    both = told(torch.maximum(narrow, draw_points([(200, 90)], size)))
    assert torch.equal(both[:, :30] > 0.5, narrow[:, :30] > 0.5)
    assert both[90, 200] > 0.99 and 0.5 < both[90, 220] < 0.9 and both[20, 100] < 0.05


def test_which_network_takes_a_hint(model):
    assert model.takes_hint and MattingModel(torch.compile(model.network), model.spec).takes_hint
    assert bc.load_model("bundled", device="cpu").takes_hint
    assert not bc.load_model("bundled", device="cpu", hint=False).takes_hint
    assert not MattingModel(torch.nn.Conv2d(3, 1, 1), model.spec).takes_hint
