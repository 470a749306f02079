"""mode="locate". Most tests use a real network that is only as clever as it must be, a convolution that finds red, so
that the truth is known at any resolution; the bundled model shows that it works with a trained one."""

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import birefnet_core as bc
from birefnet_core.commands.main import main
from birefnet_core.matting import MattingModel, images
from birefnet_core.matting.locate import MOST, Box, crops, merge
from birefnet_core.weights.catalog import ModelSpec

PATTERN = 8  # pixels a stripe, which a network that sees the whole frame cannot tell apart


class Red(nn.Module):
    """Logits from how red a pixel is. Fails as a full device does where `fails` says so of the number of the pass and
    of its input, and remembers the inputs' shapes."""

    def __init__(self, fails=lambda number, x: False):
        super().__init__()
        self.convolution = nn.Conv2d(3, 1, 1)
        with torch.no_grad():
            self.convolution.weight.copy_(torch.tensor([40.0, -20.0, -20.0]).view(1, 3, 1, 1))
            self.convolution.bias.fill_(-16.0)
        self.fails, self.shapes = fails, []
        self.eval()

    def forward(self, x):
        self.shapes.append(tuple(x.shape))
        if self.fails(len(self.shapes) - 1, x):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return self.convolution(x)


def spec(size):
    return ModelSpec(name="red", backbone="none", size=size, mean=(0, 0, 0), std=(1, 1, 1))


def red_model(size=(128, 128), **options):
    return MattingModel(Red(**options), spec(size))


def frame(*subjects, size=(640, 480)):
    """A grey frame [H, W, 3] with finely striped red subjects (left, top, width, height), and its exact alpha."""
    width, height = size
    alpha = torch.zeros(height, width)
    for left, top, across, down in subjects:
        alpha[max(top, 0) : top + down, max(left, 0) : left + across] = 1
        for column in range(left + PATTERN, left + across - PATTERN, 4 * PATTERN):
            alpha[max(top + PATTERN, 0) : top + down - PATTERN, max(column, 0) : max(column + PATTERN, 0)] = 0
    grey, red = torch.full((height, width, 3), 0.5), torch.tensor([1.0, 0.0, 0.0])
    return torch.lerp(grey, red.expand_as(grey), alpha[..., None]), alpha


def error(alpha, truth):
    return (alpha - truth).abs().mean().item()


@pytest.mark.parametrize(
    ("subject", "frame_size", "model_size"),
    [
        ((300, 200, 80, 80), (640, 480), (128, 128)),
        ((0, 0, 80, 60), (640, 480), (128, 128)),  # in the corner
        ((-30, 200, 100, 100), (640, 480), (128, 128)),  # cut by the frame
        ((580, 440, 100, 100), (640, 480), (128, 128)),
        ((20, 300, 80, 80), (360, 900), (128, 128)),
        ((700, 40, 100, 60), (1200, 300), (160, 96)),
        ((300, 200, 200, 24), (640, 480), (96, 160)),
    ],
)
def test_a_small_subject_is_seen_closely(subject, frame_size, model_size):
    picture, truth = frame(subject, size=frame_size)
    model = red_model(model_size)
    whole = model.predict(picture[None])[0]
    located = model.predict(picture[None], mode="locate")[0]
    assert located.shape == truth.shape
    assert located.min() >= 0
    assert located.max() <= 1
    assert error(whole, truth) > 0.1 * truth.mean()  # it had something to improve
    assert error(located, truth) < 0.5 * error(whole, truth)
    assert model.network.shapes == [(1, 3, model_size[1], model_size[0])] * 3


@pytest.fixture(scope="module")
def bundled():
    return bc.load_model("bundled", device="cpu")


@pytest.fixture(scope="module")
def bird():
    """A drawn bird, 190 pixels long, before an evening sky of 1600 x 1200, and its alpha."""
    width, height, left, top, scale = 1600, 1200, 900, 360, 2
    y, x = torch.meshgrid(*(torch.arange(side * scale) / scale for side in (150, 230)), indexing="ij")

    def ellipse(across, down, a, b, slope=0.0):
        return (((x - across) / a) ** 2 + ((y - down - slope * (x - across)) / b) ** 2 < 1).float()

    parts = [
        (ellipse(186, 64, 34, 7, -0.3), (60, 40, 30)),  # tail
        (ellipse(102, 118, 3, 26).maximum(ellipse(124, 118, 3, 26)), (210, 120, 40)),  # legs
        (ellipse(110, 70, 60, 32), (150, 60, 30)),  # body
        (ellipse(52, 36, 22, 20), (40, 40, 60)),  # head
        (ellipse(26, 38, 16, 4), (230, 160, 40)),  # beak
        (ellipse(120, 66, 36, 15, 0.2), (90, 40, 30)),  # wing
    ]
    drawing, alpha = torch.zeros(*x.shape, 3), torch.zeros_like(x)
    for part, colour in parts:
        drawing = torch.lerp(drawing, torch.tensor(colour) - 0.3 * (y[..., None] - 70), part[..., None])
        alpha = alpha.maximum(part)
    premultiplied = F.avg_pool2d((drawing * alpha[..., None]).permute(2, 0, 1), scale).permute(1, 2, 0)
    alpha = F.avg_pool2d(alpha[None], scale)[0]

    shade = torch.linspace(0, 1, height)[:, None, None]
    picture = torch.lerp(torch.tensor([150.0, 180, 215]), torch.tensor([235.0, 215, 190]), shade)
    picture, truth = picture.repeat(1, width, 1), torch.zeros(height, width)
    here = slice(top, top + 150), slice(left, left + 230)
    picture[here] = premultiplied + (1 - alpha[..., None]) * picture[here]
    truth[here] = alpha
    return picture.clamp(0, 255) / 255, truth


def test_the_bundled_model_mattes_a_small_subject_better(bundled, bird):
    picture, truth = bird
    assert 0.003 < truth.mean() < 0.01
    whole = bundled.predict(picture[None])[0]
    located = bundled.predict(picture[None], mode="locate")[0]
    assert error(located, truth) < 0.7 * error(whole, truth)
    found = located > 0.5
    assert (found & (truth > 0.5)).sum() > 0.7 * (found | (truth > 0.5)).sum()


def test_each_of_several_subjects_gets_a_look():
    picture, truth = frame((40, 40, 70, 70), (500, 350, 90, 70))
    model = red_model()
    whole, located = model.predict(picture[None])[0], model.predict(picture[None], mode="locate")[0]
    assert len(model.network.shapes) == 1 + 3
    for half in (slice(0, 320), slice(320, 640)):
        assert error(located[:, half], truth[:, half]) < 0.5 * error(whole[:, half], truth[:, half])


def test_subjects_side_by_side_share_a_look():
    picture, truth = frame((200, 200, 70, 70), (290, 210, 70, 70))
    model = red_model()
    located = model.predict(picture[None], mode="locate")[0]
    assert len(model.network.shapes) == 2
    assert error(located, truth) < 0.5 * error(model.predict(picture[None])[0], truth)


def test_the_number_of_looks_has_a_limit_and_the_rest_stays_as_it_was():
    subjects = [(40 + 160 * i, 40 + 150 * j, 70, 60) for j in range(3) for i in range(4)]
    picture, truth = frame(*subjects)
    model = red_model()
    whole = model.predict(picture[None])[0]
    model.network.shapes.clear()
    located = model.predict(picture[None], mode="locate")[0]
    assert model.network.shapes == [(1, 3, 128, 128)] * (1 + MOST)
    unlike = [not torch.equal(*(a[y : y + h, x : x + w] for a in (located, whole))) for x, y, w, h in subjects]
    assert sum(unlike) == MOST
    assert error(located, truth) < error(whole, truth)


def test_the_largest_subject_keeps_its_look_when_a_small_one_joins_it():
    coarse = torch.zeros(416, 416)
    for top, left, height, width in ((10, 10, 60, 40), (10, 330, 40, 40), (330, 10, 40, 40), (330, 330, 40, 40)):
        coarse[top : top + height, left : left + width] = 1
    coarse[10:40, 55:80] = 1  # beside the first: one look for both
    boxes = crops(coarse, (2500, 2500), lambda size: (416, 416))
    assert len(boxes) == MOST and boxes[0].left == 0 and boxes[0].right > 80 * 6


def test_a_thing_far_smaller_than_the_subject_stays_as_the_first_pass_saw_it():
    picture, _ = frame((300, 200, 90, 90), (60, 40, 16, 16))
    model = red_model()
    whole, located = model.predict(picture[None])[0], model.predict(picture[None], mode="locate")[0]
    assert whole[40:56, 60:76].mean() > 0.5
    assert torch.equal(located[:100, :100], whole[:100, :100])
    assert not torch.equal(located, whole)


@pytest.mark.parametrize("subjects", [[], [(20, 20, 600, 440)], [(-5, -5, 650, 490)]])
def test_no_second_look_where_it_would_gain_nothing(subjects):
    picture, _ = frame(*subjects)
    model = red_model()
    located = model.predict(picture[None], mode="locate")
    assert len(model.network.shapes) == 1
    assert torch.equal(located, model.predict(picture[None]))


@pytest.mark.parametrize("level", [0.2, 0.8])
def test_a_network_that_always_says_the_same_gets_exactly_that(level):
    class Constant(Red):
        def forward(self, x):
            super().forward(x)
            return x.new_full((len(x), 1, *x.shape[2:]), level).logit()

    model = MattingModel(Constant(), spec((128, 128)))
    picture = torch.rand(1, 300, 400, 3)
    assert torch.equal(model.predict(picture, mode="locate"), model.predict(picture))


@pytest.mark.parametrize("box", [Box(100, 50, 180, 130), Box(0, 0, 80, 60), Box(240, 140, 320, 200), Box(0, 0, 320, 9)])
def test_merging_what_agrees_changes_nothing(box):
    alpha = torch.rand(200, 320)
    before = alpha.clone()
    merge(alpha, before[box.pixels].clone(), box)
    assert torch.equal(alpha, before)


def test_the_crop_fades_in_without_a_step_inside_the_picture_and_counts_fully_elsewhere():
    alpha, box = torch.zeros(200, 320), Box(100, 60, 300, 200)  # its lower side is the picture's
    merge(alpha, torch.ones(140, 200), box)
    steps = torch.cat([alpha.diff(dim=0).abs().flatten(), alpha.diff(dim=1).abs().flatten()])
    assert steps.max() < 0.08
    outside = alpha.clone()
    outside[box.pixels] = 0
    assert not outside.any()
    assert (alpha[100:, 130:270] == 1).all()


def test_no_seam_between_two_passes_that_disagree():
    """The network's answer depends on the contrast it sees, so the passes differ all over the crop."""

    class Moody(Red):
        def forward(self, x):
            return super().forward(x) * 0.2 + 8 * x.std()

    picture, truth = frame((280, 180, 120, 120))
    model = MattingModel(Moody(), spec((128, 128)))
    whole, located = model.predict(picture[None])[0], model.predict(picture[None], mode="locate")[0]
    background = F.max_pool2d(truth[None], 25, 1, 12)[0] == 0
    assert ((located - whole).abs() * background).max() > 0.1  # a hard border would show
    assert ((located - whole).diff(dim=0).abs() * background[1:]).max() < 0.04
    assert ((located - whole).diff(dim=1).abs() * background[:, 1:]).max() < 0.04


def portrait(body, face, size=(640, 480)):
    """A black frame with a bright red face (left, top, width, height) and a body of dark red, and their alpha."""
    width, height = size
    picture, alpha = torch.zeros(height, width, 3), torch.zeros(height, width)
    for (left, top, across, down), red in ((body, 0.2), (face, 0.9)):
        here = slice(max(top, 0), top + down), slice(max(left, 0), left + across)
        picture[here] = torch.tensor([red, 0, 0])
        alpha[here] = 1
    return picture, alpha


@pytest.mark.parametrize(
    ("body", "face"),
    [
        ((260, 200, 90, 140), (280, 160, 50, 50)),  # below
        ((180, 160, 120, 50), (300, 160, 50, 50)),  # at the left
        ((320, 160, 160, 50), (280, 160, 50, 50)),  # at the right
        ((280, 40, 50, 130), (280, 160, 50, 50)),  # above
        ((60, 60, 400, 360), (280, 160, 50, 50)),  # all round
        ((200, 200, 200, 280), (280, 160, 50, 50)),  # down to the picture's end
    ],
)
def test_a_crop_that_cuts_something_off_grows(body, face):
    """The first look sees a bright part only, the second one what is dark beside it too, wherever the crop has it."""

    class Sees(Red):
        def forward(self, x):
            self.shapes.append(tuple(x.shape))
            threshold = 0.5 if len(self.shapes) == 1 else 0.1
            return 40 * (x[:, :1] - threshold)

    picture, truth = portrait(body, face)
    model = MattingModel(Sees(), spec((128, 128)))
    whole = model.predict(picture[None])[0]
    model.network.shapes.clear()
    located = model.predict(picture[None], mode="locate")[0]
    assert error(whole, truth) > 0.3 * truth.mean()
    assert error(located, truth) < 0.1 * truth.mean()
    assert 3 <= len(model.network.shapes) <= 10


def test_a_crop_that_grows_to_the_whole_picture_leaves_the_first_look():
    class Everything(Red):
        def forward(self, x):
            self.shapes.append(tuple(x.shape))
            return 40 * (x[:, :1] - 0.5) if len(self.shapes) == 1 else torch.full_like(x[:, :1], 9.0)

    picture, _ = portrait((280, 160, 50, 50), (280, 160, 50, 50))
    model = MattingModel(Everything(), spec((128, 128)))
    whole = model.predict(picture[None])[0]
    model.network.shapes.clear()
    assert torch.equal(model.predict(picture[None], mode="locate")[0], whole)
    assert len(model.network.shapes) < 10


def test_neighbours_that_both_looks_see_are_not_cut():
    """Another subject that runs through the crop's border is no reason to look again: both looks agree on it."""
    picture, truth = frame((300, 200, 80, 80), (395, 215, 240, 8))
    model = red_model()
    located = model.predict(picture[None], mode="locate")[0]
    assert error(located, truth) < 0.01
    assert len(model.network.shapes) <= 3


@pytest.fixture(scope="module")
def batch():
    """Five frames: one subject each in another place, none at all, and two."""
    subjects = [
        [(300, 200, 80, 80)],
        [],
        [(0, 0, 90, 60)],
        [(500, 400, 70, 70)],
        [(40, 40, 70, 70), (400, 300, 90, 80)],
    ]
    pictures, alphas = zip(*(frame(*each) for each in subjects), strict=True)
    return torch.stack(pictures), torch.stack(alphas)


def test_every_picture_of_a_batch_is_located_for_itself(batch):
    pictures, truth = batch
    alone = torch.cat([red_model().predict(picture[None], mode="locate") for picture in pictures])
    assert error(alone, truth) < 0.5 * error(red_model().predict(pictures), truth)
    for batch_size in (None, 1, 2, 5, 100):
        model = red_model()
        alpha = model.predict(pictures, batch_size=batch_size, mode="locate")
        torch.testing.assert_close(alpha, alone, atol=1e-5, rtol=0)
        assert max(shape[0] for shape in model.network.shapes) <= (batch_size or 1)


def test_the_input_may_be_of_any_kind_and_stays_as_it_is(batch):
    wanted = red_model().predict(batch[0], mode="locate")
    for given in (
        (batch[0] * 255).to(torch.uint8),
        batch[0].half(),
        torch.cat([batch[0], torch.full_like(batch[0][..., :1], torch.nan)], dim=-1),
        batch[0].flip(2).contiguous().flip(2),
    ):
        before = given.clone()
        alpha = red_model().predict(given, mode="locate")
        assert alpha.dtype == torch.float32
        torch.testing.assert_close(alpha, wanted, atol=0.05, rtol=0)
        assert torch.equal(given.nan_to_num(), before.nan_to_num())


@pytest.mark.parametrize("shape", [(0, 7, 9, 3), (1, 1, 1, 3), (2, 1, 500, 3), (1, 500, 1, 4)])
def test_the_smallest_pictures(shape):
    red = torch.tensor([1.0, 0, 0, 0])[: shape[3]]
    for pictures in (torch.full(shape, 0.5), red.expand(shape).clone()):
        alpha = red_model().predict(pictures, mode="locate")
        assert alpha.shape == shape[:3]
        assert alpha.isfinite().all()


def test_progress_counts_pictures_and_may_stop_the_work(batch):
    calls = []
    red_model().predict(batch[0], batch_size=2, mode="locate", on_progress=lambda *call: calls.append(call))
    assert calls == [(2, 5), (4, 5), (5, 5)]

    class Interrupted(Exception):
        pass

    def stop(done, total):
        raise Interrupted

    model = red_model()
    with pytest.raises(Interrupted):
        model.predict(batch[0], mode="locate", on_progress=stop)
    assert len(model.network.shapes) == 2  # both looks at the first picture


def test_out_of_memory_halves_the_batch_and_goes_on(batch):
    wanted = red_model().predict(batch[0], mode="locate")
    calls = []
    model = red_model(fails=lambda _, x: len(x) > 1)
    alpha = model.predict(batch[0], batch_size=4, mode="locate", on_progress=lambda *call: calls.append(call))
    torch.testing.assert_close(alpha, wanted, atol=1e-5, rtol=0)
    assert calls == [(done, 5) for done in range(1, 6)]
    assert [shape[0] for shape in model.network.shapes[:3]] == [4, 2, 1]


def test_out_of_memory_in_the_second_look_does_too(batch):
    wanted = red_model().predict(batch[0], mode="locate")
    model = red_model(fails=lambda number, _: number == 2)  # after the batch's first pass and one crop
    torch.testing.assert_close(model.predict(batch[0], batch_size=4, mode="locate"), wanted, atol=1e-5, rtol=0)
    assert [shape[0] for shape in model.network.shapes[:4]] == [4, 1, 1, 2]
    model = red_model(fails=lambda number, _: number % 2 == 1)
    with pytest.raises(torch.OutOfMemoryError, match="640 x 480 picture at the model size 128 x 128: choose a smaller"):
        model.predict(batch[0][:1], mode="locate")


def test_nan_in_the_second_look_is_an_error(batch):
    class Broken(Red):
        def forward(self, x):
            return super().forward(x) * (torch.nan if len(self.shapes) == 2 else 1)

    with pytest.raises(ArithmeticError, match="the network gave NaN"):
        MattingModel(Broken(), spec((128, 128))).predict(batch[0], mode="locate")


def test_an_asked_for_size_holds_for_both_passes(batch):
    model = red_model()
    model.predict(batch[0][:1], size=(192, 96), mode="locate")
    assert model.network.shapes == [(1, 3, 96, 192)] * 2


def test_a_dynamic_model_looks_again_only_where_it_had_to_shrink_the_picture():
    model = red_model(None)
    picture, _ = frame((300, 200, 80, 80))
    assert torch.equal(model.predict(picture[None], mode="locate"), model.predict(picture[None]))
    assert model.network.shapes == [(1, 3, 480, 640)] * 2

    model = red_model(None)
    picture, truth = frame((3000, 300, 80, 80), size=(4608, 1024))
    whole, located = model.predict(picture[None])[0], model.predict(picture[None], mode="locate")[0]
    first, _, second = model.network.shapes
    assert first == (1, 3, 512, 2304)
    assert second == (1, 3, 256, 1152)
    assert error(located, truth) < 0.5 * error(whole, truth)


def test_the_matte_command_takes_it(bundled, bird, tmp_path):
    picture, truth = bird
    images.write_composite(tmp_path / "bird.png", picture, torch.ones_like(truth), "white")
    command = ["matte", str(tmp_path / "bird.png"), "--output", "alpha", "--device", "cpu", "--size", "256"]
    given = images.read(tmp_path / "bird.png").pixels[None]
    mattes = []
    for mode in ("whole", "locate"):
        out = tmp_path / f"{mode}.png"
        assert main([*command, "-o", str(out), "--mode", mode]) == 0
        mattes.append(images.read(Path(out)).pixels[..., 0])
        torch.testing.assert_close(mattes[-1], bundled.predict(given, 256, mode=mode)[0], atol=0.01, rtol=0)
    assert not torch.equal(*mattes)
