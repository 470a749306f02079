"""Hints with a model that is not told them: the bundled one, on drawn birds, whose alpha is known."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import nn

import birefnet_core as bc
from birefnet_core.matting import MattingModel
from birefnet_core.matting.belonging import is_thin, shreds, size_of
from birefnet_core.matting.hint import checked_hint, draw_boxes, draw_points, joined
from birefnet_core.matting.masks import grow
from birefnet_core.matting.parts import marks_beside_mask
from birefnet_core.weights.catalog import ModelSpec

WIDTH, HEIGHT = 512, 384
RED, BLUE = (150, 50, 30), (40, 60, 110)


def bird(picture, left, top, colour, mirrored=False, across=230, down=150):
    """Draw a bird over picture [H, W, 3] in place -> its alpha [H, W]."""
    y, x = torch.meshgrid(*(torch.arange(side * 2) / 2 for side in picture.shape[:2]), indexing="ij")
    x, y = (x - left) * 230 / across, (y - top) * 150 / down
    x = 230 - x if mirrored else x

    def ellipse(column, row, a, b, slope=0.0):
        return (((x - column) / a) ** 2 + ((y - row - slope * (x - column)) / b) ** 2 < 1).float()

    dark = tuple(value // 2 for value in colour)
    parts = [
        (ellipse(186, 64, 34, 7, -0.3), dark),  # tail
        (ellipse(102, 118, 3, 26).maximum(ellipse(124, 118, 3, 26)), (210, 120, 40)),  # legs
        (ellipse(110, 70, 60, 32), colour),  # body
        (ellipse(52, 36, 22, 20), dark),  # head
        (ellipse(26, 38, 16, 4), (230, 160, 40)),  # beak
        (ellipse(120, 66, 36, 15, 0.2), dark),  # wing
    ]
    alpha = torch.zeros(picture.shape[:2])
    for part, colour in parts:
        soft = torch.nn.functional.avg_pool2d(part[None], 2)[0]
        picture.lerp_(torch.tensor(colour) / 255.0, soft[..., None])
        alpha = torch.maximum(alpha, soft)
    return alpha


def sky(width=WIDTH, height=HEIGHT):
    rows = torch.linspace(0, 1, height)[:, None, None]
    picture = torch.tensor([0.45, 0.6, 0.8]) * (1 - rows) + torch.tensor([0.85, 0.8, 0.7]) * rows
    return picture.expand(height, width, 3).clone()


def scene(first, second):
    """A sky with a red bird at `first` and, over it, a blue one at `second` -> picture, their visible alphas."""
    picture = sky()
    red = bird(picture, *first, RED)
    blue = bird(picture, *second, BLUE, mirrored=True)
    return picture, red * (1 - blue), blue


def iou(alpha, truth):
    alpha, truth = alpha > 0.5, truth > 0.5
    return ((alpha & truth).sum() / (alpha | truth).sum()).item()


def around(alpha, more=0):
    """The box (x, y, width, height) of what alpha shows, wider by `more` pixels on each side."""
    rows, columns = (torch.nonzero((alpha > 0.5).any(axis)).flatten() for axis in (1, 0))
    x, y = columns[0].item() - more, rows[0].item() - more
    return x, y, columns[-1].item() + 1 + more - x, rows[-1].item() + 1 + more - y


def middle(alpha):
    """The point (x, y) deepest inside what alpha shows."""
    depth = ndimage.distance_transform_edt(alpha.numpy() > 0.5)
    y, x = np.unravel_index(depth.argmax(), depth.shape)
    return x + 0.5, y + 0.5


@pytest.fixture(scope="module")
def bundled():
    return bc.load_model("bundled", device="cpu", hint=False)


@pytest.fixture(scope="module")
def apart():
    return scene((20, 100), (270, 170))


# What a hint is


def test_one_hint_serves_all_and_others_are_one_each():
    one = torch.rand(6, 9)
    for given in (one, one[None], one[None, None]):
        assert torch.equal(checked_hint(given, 3), one.expand(3, 6, 9))
    three = torch.rand(3, 6, 9)
    assert torch.equal(checked_hint(three, 3), three)
    assert torch.equal(checked_hint(three > 0.5, 3), (three > 0.5).float())
    assert torch.equal(checked_hint(one.double() * 1.01, 1), (one.double() * 1.01).float().clamp(0, 1)[None])


@pytest.mark.parametrize(
    ("hint", "message"),
    [
        (torch.rand(2, 6, 9), "^2 hints do not go with 3 pictures: give one for all, or one each$"),
        (torch.rand(9), r"^a hint must be \[B, H, W\], not \[9\]$"),
        (torch.rand(1, 6, 9, 3), r"^a hint must be \[B, H, W\], not \[1, 6, 9, 3\]$"),
        (torch.rand(0, 6, 9), "^the hint is an empty batch$"),
        (torch.rand(1, 0, 9), "^a hint must have at least one pixel a side"),
        (torch.full((6, 9), 255.0), "^the hint goes up to 255, which looks like 0..255: divide by 255$"),
        (torch.full((6, 9), torch.nan), "^the hint has NaN or infinite values$"),
        (torch.full((6, 9), torch.inf), "^the hint has NaN or infinite values$"),
        (torch.ones(6, 9, dtype=torch.uint8), "^a hint must be floating point 0..1, not torch.uint8$"),
        (np.ones((6, 9)), r"^a hint must be a tensor \[B, H, W\], not ndarray$"),
    ],
)
def test_a_bad_hint_is_refused_in_one_sentence(bundled, hint, message):
    with pytest.raises(ValueError, match=message):
        bundled.predict(torch.rand(3, 20, 30, 3), hint=hint)


def test_boxes_are_filled_and_cut_off_at_the_picture():
    drawn = draw_boxes([(-5, 2, 8, 3), (7, 4, 100, 100)], (10, 6))
    wanted = torch.zeros(6, 10)
    wanted[2:5, :3] = 1
    wanted[4:, 7:] = 1
    assert torch.equal(drawn, wanted)
    assert draw_boxes([(3.2, 1.4, 0.1, 0.1)], (10, 6)).sum() == 1
    assert torch.equal(draw_boxes([], (10, 6)), torch.zeros(6, 10))


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ((1, 2, -3, 4), "^a box must have a positive width and height, not -3 x 4$"),
        ((1, 2, 3, 0), "^a box must have a positive width and height, not 3 x 0$"),
        ((10, 2, 3, 4), "^the box 10, 2, 3, 4 lies outside the 10 x 6 picture$"),
        ((1, -9, 3, 4), "^the box 1, -9, 3, 4 lies outside the 10 x 6 picture$"),
        ((1, 2, 3), r"^a box must be \(x, y, width, height\) in pixels, not \(1, 2, 3\)$"),
        ((1, 2, 3, float("nan")), r"^a box must be \(x, y, width, height\) in pixels, not "),
        ("1,2,3", r"^a box must be \(x, y, width, height\) in pixels, not '1,2,3'$"),
        (7, r"^a box must be \(x, y, width, height\) in pixels, not 7$"),
    ],
)
def test_a_bad_box_is_refused_in_one_sentence(box, message):
    with pytest.raises(ValueError, match=message):
        draw_boxes([(0, 0, 1, 1), box], (10, 6))


def test_points_are_dots():
    drawn = draw_points([(100, 50), (0, 0)], (400, 300))
    pieces, count = ndimage.label(drawn)
    assert count == 2
    row, column = ndimage.center_of_mass(pieces == pieces[50, 100])
    assert abs(column + 0.5 - 100) < 1 and abs(row + 0.5 - 50) < 1
    assert 9 <= (pieces == pieces[50, 100]).sum() < 0.001 * drawn.numel()
    assert draw_points([(1, 1)], (3, 3)).any() and not draw_points([], (3, 3)).any()


@pytest.mark.parametrize(
    ("point", "message"),
    [
        ((11, 2), "^the point 11, 2 lies outside the 10 x 6 picture$"),
        ((1, -0.5), "^the point 1, -0.5 lies outside the 10 x 6 picture$"),
        ((1, 2, 3), r"^a point must be \(x, y\) in pixels, not \(1, 2, 3\)$"),
    ],
)
def test_a_bad_point_is_refused_in_one_sentence(point, message):
    with pytest.raises(ValueError, match=message):
        draw_points([point], (10, 6))


# What predict makes of it


@pytest.mark.parametrize("mode", ["whole", "locate"])
def test_an_empty_hint_asks_for_nothing(bundled, apart, mode):
    picture = apart[0][None]
    assert not bundled.predict(picture, mode=mode, hint=torch.zeros(10, 10)).any()


def test_of_two_the_one_that_is_asked_for_stays(bundled, apart):
    picture, red, blue = apart
    everything = bundled.predict(picture[None])[0]
    assert iou(everything, red + blue) > 0.9
    for truth in (red, blue):
        for mode in ("whole", "locate"):
            assert iou(bundled.predict(picture[None], mode=mode, hint=truth)[0], truth) > 0.9


def test_each_picture_has_its_hint_and_one_serves_all(bundled, apart):
    picture, red, blue = apart
    pictures = picture.expand(3, -1, -1, -1)
    hints = torch.stack([blue, torch.zeros_like(blue), red])
    calls = []
    together = bundled.predict(pictures, batch_size=2, hint=hints, on_progress=lambda *call: calls.append(call))
    assert calls == [(1, 3), (2, 3), (3, 3)]
    for alpha, hint in zip(together, hints):
        assert torch.equal(alpha, bundled.predict(picture[None], hint=hint)[0])
    assert torch.equal(bundled.predict(pictures, hint=red), together[2].expand(3, -1, -1))


def test_the_hint_stays_as_it_is_and_may_be_of_any_size(bundled, apart):
    picture, red, _ = apart
    wanted = bundled.predict(picture[None], hint=red)[0]
    for size in ((192, 256), (600, 500)):
        hint = torch.nn.functional.interpolate(red[None, None], size, mode="bilinear", antialias=True)[0, 0]
        before = hint.clone()
        assert iou(bundled.predict((picture[None] * 255).byte(), hint=hint)[0], wanted) > 0.95
        assert torch.equal(hint, before)


@pytest.fixture(scope="module")
def touching():
    return scene((70, 90), (200, 150))


def test_subjects_that_overlap_are_parted(bundled, touching):
    picture, red, blue = touching
    assert ((bundled.predict(picture[None])[0] > 0.5) & (blue > 0.5)).sum() > 0.8 * (blue > 0.5).sum()
    for truth, other in ((red, blue), (blue, red)):
        alpha = bundled.predict(picture[None], hint=truth)[0]
        assert iou(alpha, truth) > 0.93
        assert (alpha * (other > 0.9)).mean() < 0.003


@pytest.mark.parametrize("by", [-5, 5])
def test_a_mask_too_small_or_too_large_is_as_good(bundled, touching, by):
    picture, red, blue = touching
    for truth in (red, blue):
        hint = grow(truth[None], by)[0]
        assert iou(hint, truth) < 0.85
        assert iou(bundled.predict(picture[None], hint=hint)[0], truth) > 0.9


def test_a_mask_beside_the_subject_is_as_good(bundled, touching):
    picture, red, _ = touching
    hint = red.roll((6, -8), (0, 1))
    assert iou(hint, red) < 0.75
    assert iou(bundled.predict(picture[None], hint=hint)[0], red) > 0.9


@pytest.mark.parametrize("more", [-4, 0, 12])
def test_a_box_may_be_tight_or_loose(bundled, apart, more):
    picture, red, blue = apart
    for truth in (red, blue):
        hint = draw_boxes([around(truth, more)], (WIDTH, HEIGHT))
        assert iou(bundled.predict(picture[None], hint=hint)[0], truth) > 0.85


def test_several_boxes_are_one_hint(bundled, apart):
    picture, red, blue = apart
    hint = draw_boxes([around(red), around(blue)], (WIDTH, HEIGHT))
    assert iou(bundled.predict(picture[None], hint=hint)[0], red + blue) > 0.9


def test_a_dot_says_which(bundled, apart, touching):
    for picture, red, blue in (apart, touching):
        for truth in (red, blue):
            hint = draw_points([middle(truth)], (WIDTH, HEIGHT))
            assert iou(bundled.predict(picture[None], hint=hint)[0], truth) > 0.85


def test_a_scribble_does_too(bundled, apart):
    picture, _, blue = apart
    x, y = map(round, middle(blue))
    hint = torch.zeros(HEIGHT, WIDTH)
    hint[y - 2 : y + 2, x - 40 : x + 40] = 1
    assert iou(bundled.predict(picture[None], hint=hint)[0], blue) > 0.9


def test_a_box_beside_a_dot_or_a_stroke_asks_for_both(bundled, apart):
    picture, red, blue = apart
    x, y = (round(place) for place in middle(blue))
    stroke = torch.zeros(HEIGHT, WIDTH)
    stroke[y - 2 : y + 2, x - 40 : x + 40] = 1
    for mark in (draw_points([middle(blue)], (WIDTH, HEIGHT)), stroke):
        hint = torch.maximum(draw_boxes([around(red)], (WIDTH, HEIGHT)), mark)
        alpha = bundled.predict(picture[None], hint=hint)[0]
        assert iou(alpha, red + blue) > 0.85
        assert iou(alpha * (red + 0.01 > blue), red) > 0.85 and iou(alpha * (blue > red), blue) > 0.8


@pytest.fixture(scope="module")
def all_models(bundled):
    return {"untold": bundled, "told": bc.load_model("bundled", device="cpu")}


@pytest.mark.parametrize("model", ["untold", "told"])
@pytest.mark.parametrize("mark", ["dot", "stroke", "dots"])
def test_a_mask_beside_a_dot_or_a_stroke_asks_for_both(all_models, apart, model, mark):
    picture, red, blue = apart
    x, y = middle(blue)
    mark = {"dot": [(x, y)], "dots": [(x, y), middle(red)], "stroke": [(x + step, y) for step in range(-50, 51)]}[mark]
    hint = (red > 0.5).float().maximum(draw_points(mark, (WIDTH, HEIGHT)))
    alpha = all_models[model].predict(picture[None], hint=hint)[0]
    assert iou(alpha, red.maximum(blue)) > 0.85


def leaning(left, right, top=0, bottom=HEIGHT):
    """A bar [H, W] that leans, so that it is no box."""
    rows, columns = torch.arange(HEIGHT)[:, None] + 0.5, torch.arange(WIDTH) + 0.5
    across = columns - 0.15 * rows
    return ((across > left) & (across < right) & (rows > top) & (rows < bottom)).float()


@pytest.mark.parametrize("moved", [0, 3, -3])
def test_a_strip_of_a_mask_past_a_post_is_no_stroke(red_finder, moved):
    """The network sees the post as well; what is left of the subject on its other side is as narrow as a stroke. A
    stroke in its midst has no edges along its border."""
    subject, post = leaning(120, 330, 60, 330), leaning(270, 316)
    picture = subject.maximum(post)[..., None] * torch.tensor([1.0, 0, 0])
    picture[..., 1] = 0.7 * post
    truth = subject * (1 - post)
    hint = truth.roll(moved, 1)
    assert marks_beside_mask(hint) is not None
    assert iou(red_finder.predict(picture[None], hint=hint)[0], truth) > 0.9
    size = size_of(WIDTH, HEIGHT)
    colours = torch.nn.functional.interpolate(picture.movedim(2, 0)[None], size)[0].movedim(0, 2).numpy()
    for mark, own in ((leaning(316, 330, 60, 330), True), (leaning(150, 162, 90, 300), False)):
        strip = torch.nn.functional.interpolate(mark[None, None], size)[0, 0].numpy() > 0.5
        np.testing.assert_array_equal(shreds(strip, colours[..., 0], colours), strip & own)


def test_a_coarse_mask_beside_a_dot_asks_for_both(bundled, apart):
    picture, red, blue = apart
    coarse = torch.nn.functional.adaptive_avg_pool2d(red[None], (24, 32))
    hint = joined(coarse, draw_points([middle(blue)], (WIDTH, HEIGHT))[None])
    assert iou(bundled.predict(picture[None], hint=hint)[0], red.maximum(blue)) > 0.85


def test_boxes_stay_boxes_when_hints_are_joined():
    box, dot = draw_boxes([(4, 2, 8, 6)], (32, 24)), draw_points([(100, 80)], (160, 120))
    both = joined(torch.stack([box, torch.zeros(24, 32)]), dot[None])
    assert torch.equal(both[0], draw_boxes([(20, 10, 40, 30)], (160, 120)).maximum(dot)) and torch.equal(both[1], dot)


@pytest.mark.parametrize("model", ["untold", "told"])
def test_a_dab_of_a_broad_brush_is_a_dot(all_models, apart, model):
    picture, _, blue = apart
    x, y = middle(blue)
    rows, columns = torch.arange(HEIGHT)[:, None] + 0.5, torch.arange(WIDTH) + 0.5
    for radius in (8, 17, 21):
        dab = ((rows - y) ** 2 + (columns - x) ** 2 < radius**2).float()
        assert iou(all_models[model].predict(picture[None], hint=dab)[0], blue) > 0.85


def diamond(x, y, across, down):
    rows, columns = torch.arange(HEIGHT)[:, None] + 0.5, torch.arange(WIDTH) + 0.5
    return ((columns - x).abs() / across + (rows - y).abs() / down < 1).float()


@pytest.mark.parametrize("model", ["untold", "told"])
@pytest.mark.parametrize("half", [(24, 12), (40, 20), (50, 30)])
def test_what_is_painted_inside_something_asks_for_all_of_it(all_models, apart, model, half):
    """As people do in a mask editor, with a broad brush, more or less of it: no line, no disc, and no edge there."""
    picture, _, blue = apart
    x, y = middle(blue)
    for painted in (diamond(x, y, *half), diamond(x, y, *half).maximum(diamond(x + 14, y - 6, *half[::-1]))):
        painted = painted * (blue > 0.5)
        assert iou(all_models[model].predict(picture[None], hint=painted)[0], blue) > 0.85


@pytest.mark.parametrize("model", ["untold", "told"])
def test_many_short_strokes_inside_something_ask_for_all_of_it(all_models, apart, model):
    picture, _, blue = apart
    x, y = middle(blue)
    places = [(x + 32 * across, y + 24 * down) for down in (-1, 0, 1) for across in (-1, 0, 1)]
    strokes = torch.stack([diamond(*place, 12, 9) for place in places]).amax(0) * (blue > 0.5)
    assert ndimage.label(strokes.numpy())[1] > 5
    assert iou(all_models[model].predict(picture[None], hint=strokes)[0], blue) > 0.85


def test_the_mask_of_what_stands_behind_bars_has_many_pieces_and_is_a_mask(red_finder):
    picture, (whole, _) = discs((250, 190, 130), (60, 60, 1))
    bars = (torch.arange(WIDTH) % 48 < 16).expand(HEIGHT, WIDTH)
    picture, seen = picture.where(~bars[..., None], torch.tensor([0, 0.4, 0.8])), whole * ~bars
    for by in (-3, 0, 3):
        hint = grow((seen > 0.5).float()[None], by)[0]
        assert ndimage.label(hint.numpy())[1] > 4
        assert iou(red_finder.predict(picture[None], hint=hint)[0], seen) > 0.9


def test_the_mask_of_a_part_asks_for_the_part(red_finder):
    """Edges of the picture run along it, though alpha shows one thing: a bag that somebody carries."""
    picture, (whole, part) = discs((250, 190, 130), (270, 180, 50))
    picture = picture + part[..., None] * torch.tensor([0, 0.8, 0])
    for by in (-4, 0, 4):
        alpha = red_finder.predict(picture[None], hint=grow((part > 0.5).float()[None], by)[0])[0]
        assert iou(alpha, part) > 0.85
    assert iou(red_finder.predict(picture[None], hint=diamond(190, 190, 30, 40))[0], whole) > 0.85


@pytest.mark.parametrize("model", ["untold", "told"])
@pytest.mark.parametrize(("opacity", "softness"), [(0.5, 1), (0.7, 1), (1, 6), (1, 20)])
def test_a_brush_may_be_soft_or_let_the_picture_through(all_models, apart, model, opacity, softness):
    """Where strokes of half opacity cross, they are more; a soft brush has no border."""
    picture, _, blue = apart
    x, y = middle(blue)
    one, two = (
        opacity * torch.from_numpy(ndimage.gaussian_filter(stroke.numpy(), softness)) * (blue > 0.5)
        for stroke in (diamond(x, y, 40, 20), diamond(x + 14, y - 6, 20, 40))
    )
    painted = 1 - (1 - one) * (1 - two)
    assert iou(all_models[model].predict(picture[None], hint=painted)[0], blue) > 0.85


def test_what_is_known_to_be_a_mask_is_not_read_as_strokes(red_finder):
    picture, (whole, _) = discs((250, 190, 130), (60, 60, 1))
    part = diamond(240, 190, 60, 40)
    asked, kept = (red_finder.predict(picture[None], hint=part, hint_is=kind)[0] for kind in ("anything", "mask"))
    assert iou(asked, whole) > 0.95 and iou(kept, whole) < 0.3
    line = rim(grow((whole > 0.5).float()[None], 10)[0])
    asked, kept = (red_finder.predict(picture[None], hint=line, hint_is=kind)[0] for kind in ("anything", "mask"))
    assert iou(asked, whole) > 0.95 and iou(kept, whole) < 0.3
    with pytest.raises(ValueError, match="hint_is must be anything or mask, not 'scribble'"):
        red_finder.predict(picture[None], hint=part, hint_is="scribble")


def test_what_is_as_coarse_as_a_networks_mask_is_not_read_as_strokes(red_finder):
    picture, (whole, _) = discs((250, 190, 130), (60, 60, 1))
    part = diamond(240, 190, 60, 40)
    coarse = torch.nn.functional.avg_pool2d(part[None, None], 8)[0, 0]
    assert iou(red_finder.predict(picture[None], hint=coarse)[0], whole) < 0.3
    assert iou(red_finder.predict(picture[None], hint=part)[0], whole) > 0.95


@pytest.mark.parametrize(
    "strokes",
    [
        [(190, 190, 90, 20), (250, 120, 20, 80), (330, 230, 60, 25)],
        [(150, 150, 45, 45), (250, 190, 110, 18), (350, 250, 45, 45)],
        [(190, 150, 80, 40), (290, 250, 110, 30)],
    ],
)
def test_what_is_painted_over_a_pattern_asks_for_all_of_it(red_finder, strokes):
    """A knit or a fur has edges everywhere, along what is painted on it too."""
    picture, (whole, _) = discs((250, 190, 130), (60, 60, 1))
    cells = torch.rand(64, 86, generator=torch.Generator().manual_seed(0)) > 0.5
    pattern = cells.float().repeat_interleave(6, 0).repeat_interleave(6, 1)[:HEIGHT, :WIDTH]
    picture = picture + (whole * pattern)[..., None] * torch.tensor([0, 0.5, 0])
    hint = torch.stack([diamond(*stroke) for stroke in strokes]).amax(0) * (whole > 0.5)
    assert iou(red_finder.predict(picture[None], hint=hint)[0], whole) > 0.95


def rim(region, width=6):
    """The line [H, W] that a brush draws along the border of region [H, W], which the frame takes no part in."""
    region = (region > 0.5).float()[None]
    return (grow(region, width // 2) - grow(region, width // 2 - width))[0]


def ellipse(truth, more=1.35):
    """A filled ellipse [H, W] around what truth [H, W] shows."""
    x, y, width, height = around(truth)
    rows, columns = torch.arange(HEIGHT)[:, None] + 0.5, torch.arange(WIDTH) + 0.5
    across, down = (columns - x - width / 2) / (more * width / 2), (rows - y - height / 2) / (more * height / 2)
    return (across**2 + down**2 < 1).float()


@pytest.mark.parametrize("model", ["untold", "told"])
@pytest.mark.parametrize("shape", ["close", "ellipse", "rectangle", "open"])
def test_an_outline_around_something_says_within(all_models, apart, model, shape):
    picture, red, blue = apart
    for truth in (red, blue):
        box = draw_boxes([around(truth, 8)], (WIDTH, HEIGHT))
        near = grow((truth > 0.5).float()[None], 12)[0]
        hint = rim({"close": near, "ellipse": ellipse(truth), "rectangle": box, "open": ellipse(truth)}[shape])
        if shape == "open":  # the ends do not quite meet
            x, y, width, _ = around(truth)
            hint[:y, x + width // 2 : x + width // 2 + 10] = 0
        assert iou(all_models[model].predict(picture[None], hint=hint)[0], truth) > 0.85


def test_an_outline_that_the_frame_closes_says_within_too(red_finder):
    picture, (cut, other) = discs((200, 384, 90), (400, 190, 60))
    hint = rim(discs((200, 384, 120))[1][0])
    assert hint[-1].any() and iou(red_finder.predict(picture[None], hint=hint)[0], cut) > 0.95
    hint = hint.maximum(draw_points([(400, 190)], (WIDTH, HEIGHT)))
    assert iou(red_finder.predict(picture[None], hint=hint)[0], cut.maximum(other)) > 0.95


def test_of_an_outline_that_the_frame_closes_the_side_where_something_is_counts(red_finder):
    """What fills most of the picture is cut off by the frame, and its outside is the smaller side of the line."""
    for left in (60, 452):
        picture, (cut,) = discs((left, 190, 360))
        hint = rim(discs((left, 190, 400))[1][0])
        assert hint[0].any() and hint[-1].any()
        assert iou(red_finder.predict(picture[None], hint=hint)[0], cut) > 0.95


def test_a_loop_on_something_and_a_ring_are_no_outlines(red_finder):
    picture, (disc, other) = discs((200, 190, 100), (420, 190, 60))
    loop = rim(discs((200, 190, 40))[1][0], 4)
    assert iou(red_finder.predict(picture[None], hint=loop)[0], disc) > 0.95
    ring = rim(discs((200, 190, 100))[1][0], 8)
    inner = discs((200, 190, 30))[1][0]
    picture = ring.maximum(inner).maximum(other)[..., None] * torch.tensor([1.0, 0, 0])
    alpha = red_finder.predict(picture[None], hint=ring)[0]
    assert iou(alpha, ring) > 0.8 and not alpha[inner > 0.5].any()


def test_overlapping_boxes_say_within_and_a_small_box_is_no_dot(red_finder):
    """Of two things that touch, a small one and a large one, its box asks for the small one alone."""
    picture, (large, small) = discs((200, 190, 90), (302, 190, 12))
    whole, size = torch.maximum(large, small), (512, 384)
    alpha = red_finder.predict(picture[None], hint=draw_boxes([(290, 178, 24, 24)], size))[0]
    assert alpha[:, :280].sum() < 0.02 * large.sum() and iou(alpha, small) > 0.7
    both = draw_boxes([(105, 95, 190, 190), (250, 175, 66, 30)], size)
    alpha = red_finder.predict(picture[None], hint=both)[0]
    assert iou(alpha, whole) > 0.97 and (alpha - whole).abs().mean() < 0.005


def test_a_hint_on_nothing_gives_next_to_nothing(bundled, apart):
    picture = apart[0]
    hint = draw_points([(480, 20)], (WIDTH, HEIGHT))
    assert (bundled.predict(picture[None], hint=hint)[0] > 0.5).float().mean() < 0.01


class Red(nn.Module):
    """A network whose alpha is how red a pixel is."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.eval()

    def forward(self, x):
        return self.weight * (x[:, :1] - x[:, 2:]).clamp(1e-4, 1 - 1e-4).logit()


@pytest.fixture(scope="module")
def red_finder():
    return MattingModel(Red(), ModelSpec(name="red", backbone="none", size=(256, 256), mean=(0, 0, 0), std=(1, 1, 1)))


def discs(*places, softness=1.0):
    """Red discs (x, y, radius) on black, and the alpha of each."""
    y, x = torch.meshgrid(torch.arange(HEIGHT), torch.arange(WIDTH), indexing="ij")
    alphas = [
        ((radius - ((x - left) ** 2 + (y - top) ** 2).sqrt()) / softness + 0.5).clamp(0, 1)
        for left, top, radius in places
    ]
    return torch.stack(alphas).amax(0)[..., None] * torch.tensor([1.0, 0, 0]), alphas


def test_the_soft_edge_beyond_the_hint_stays(red_finder):
    picture, (truth, _) = discs((150, 190, 80), (400, 190, 60), softness=20)
    hint = grow((truth > 0.5).float()[None], -6)[0]
    alpha = red_finder.predict(picture[None], hint=hint)[0]
    soft = (truth > 0.1) & (truth < 0.9)
    assert (alpha - truth)[soft].abs().mean() < 0.03
    assert not alpha[:, 330:].any()


def test_a_hole_the_network_sees_stays_open(red_finder):
    picture, (whole, hole) = discs((250, 190, 110), (250, 190, 50))
    ring = whole * (1 - hole)
    picture = ring[..., None] * torch.tensor([1.0, 0, 0])
    for hint in ((whole > 0.5).float(), grow((whole > 0.5).float()[None], 5)[0], draw_points([(170, 190)], (512, 384))):
        alpha = red_finder.predict(picture[None], hint=hint)[0]
        assert iou(alpha, ring) > 0.95
        assert alpha[hole > 0.99].mean() < 0.06  # some is left beside its border


def test_the_network_is_asked_twice_at_most(bundled, apart, touching):
    passes = []
    hook = bundled.network.register_forward_pre_hook(lambda *_: passes.append(1))
    try:
        for picture, red, _ in (apart, touching):
            boxed = draw_boxes([around(red)], (WIDTH, HEIGHT))
            for hint in (red, boxed, draw_points([middle(red)], (WIDTH, HEIGHT))):
                passes.clear()
                bundled.predict(picture[None], hint=hint)
                assert 1 <= len(passes) <= 2
    finally:
        hook.remove()


def test_memory_that_does_not_suffice_is_said(apart):
    picture, red, _ = apart
    model = bc.load_model("bundled", device="cpu", hint=False)

    def fail(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    model.network.register_forward_pre_hook(fail)
    with pytest.raises(torch.OutOfMemoryError, match="for one 512 x 384 picture at the model size 416 x 416: choose"):
        model.predict(picture.expand(2, -1, -1, -1), batch_size=2, hint=red)


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (7, 9)])
def test_the_smallest_pictures(bundled, shape):
    for hint in (torch.ones(1, 1), torch.ones(5, 5), torch.eye(40)):
        alpha = bundled.predict(torch.rand(1, *shape, 3), hint=hint)
        assert alpha.shape == (1, *shape) and alpha.isfinite().all()
        assert alpha.min() >= 0 and alpha.max() <= 1


@pytest.mark.parametrize("size", [(768, 576), (1920, 1080)])
def test_the_mask_of_a_small_subject_is_no_dot(size):
    """A dot asks for what the network sees in the whole picture, where it may not see the subject at all: a mask of a
    man far away, carried along a clip, came out as a disc."""
    rows, columns = size_of(*size)
    man = np.zeros((rows, columns), bool)
    man[80:98, 60:68] = True
    man[80:86, 60:62] = man[80:86, 66:68] = False  # beside the head
    assert man.mean() < 0.004 and not is_thin(man)
    dot = torch.nn.functional.interpolate(draw_points([(300, 200)], size)[None, None], (rows, columns), mode="area")
    assert is_thin(dot[0, 0].numpy() > 0.3)
    stroke = np.zeros_like(man)
    stroke[80:82, 40:90] = True
    assert is_thin(stroke)


def test_the_mask_of_something_thin_is_no_scribble(red_finder):
    """A pole before a ball: the mask of the pole is as thin as a stroke, but has edges along its border."""
    picture, (ball,) = discs((256, 190, 80))
    picture[..., 1] = 0.5 * ball
    pole = torch.zeros(HEIGHT, WIDTH)
    pole[10:374, 250:262] = 1
    picture = torch.where(pole[..., None] > 0, torch.tensor([1.0, 0, 0]), picture)
    for hint in (pole, grow(pole[None], 2)[0], grow(pole[None], -2)[0], pole.roll(3, 1)):
        assert iou(red_finder.predict(picture[None], hint=hint)[0], pole) > 0.8
    stroke = torch.zeros(HEIGHT, WIDTH)
    stroke[150:230, 200:206] = 1
    alpha = red_finder.predict(picture[None], hint=stroke)[0]
    assert ((alpha > 0.5) & (ball > 0.5)).sum() > 0.4 * (ball > 0.5).sum()
