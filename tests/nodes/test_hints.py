"""Segment's hint and boxes without ComfyUI: which subject stays, in single images and batches, with any loader's
model."""

import math

import pytest
import torch
from torch import nn

HEIGHT, WIDTH = 120, 200
LEFT, RIGHT = (50, 60), (150, 60)  # (x, y) of two discs
RADIUS = 25
LEFT_BOX = {"x": 20, "y": 30, "width": 60, "height": 60}
RIGHT_BOX = {"x": 120, "y": 30, "width": 60, "height": 60}


def disc(centre: tuple[int, int], radius: float = RADIUS) -> torch.Tensor:
    """[H, W], 1 within, with an edge soft over four pixels."""
    y, x = torch.meshgrid(torch.arange(HEIGHT), torch.arange(WIDTH), indexing="ij")
    return ((radius - torch.hypot(x - centre[0] + 0.0, y - centre[1] + 0.0)) / 4 + 0.5).clamp(0, 1)


def picture() -> torch.Tensor:
    """Two bright discs on black, [1, H, W, 3]."""
    return (disc(LEFT) + disc(RIGHT))[None, ..., None].repeat(1, 1, 1, 3)


class Native:
    """As ComfyUI's own loader gives; what is bright is its subject."""

    def encode_image(self, image):
        return image.mean(-1)


class Bright(nn.Module):
    """A network to which what is bright is the subject."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(20.0))

    def forward(self, x):
        return (x.mean(1, keepdim=True) - 0.5) * self.gain


@pytest.fixture
def ours(module):
    spec = module("birefnet_core.weights.catalog").ModelSpec("bright", "none", (192, 128), (0.0,) * 3, (1.0,) * 3)
    matting = module("birefnet_core.matting.model").MattingModel(Bright().eval(), spec)
    return module("nodes.managed").ManagedModel(matting, torch.device("cpu"))


@pytest.fixture(params=["ours", "foreign"])
def model(request):
    return Native() if request.param == "foreign" else request.getfixturevalue("ours")


@pytest.fixture
def segment(node):
    return node("BiRefNetSegment")().segment


def seen(mask: torch.Tensor) -> tuple[bool, bool]:
    """Whether the left and the right disc are in a mask [H, W]."""
    return tuple(mask[y, x].item() > 0.9 for x, y in (LEFT, RIGHT))


HINTS = {
    "mask": lambda: {"hint": disc(LEFT)[None]},
    "eroded": lambda: {"hint": disc(LEFT, RADIUS - 5)[None]},
    "coarse": lambda: {"hint": nn.functional.avg_pool2d(disc(LEFT)[None], 10)},
    "channel": lambda: {"hint": disc(LEFT)[None, None]},
    "half": lambda: {"hint": disc(LEFT)[None].half()},
    "box": lambda: {"boxes": LEFT_BOX},
    "boxes": lambda: {"boxes": [[LEFT_BOX]]},
    "text": lambda: {"boxes": "[[20, 30, 60, 60]]"},
}


@pytest.mark.parametrize("name", HINTS)
def test_only_what_was_asked_for_stays(segment, model, name):
    image = picture()
    mask, inverted = segment(model, image, **HINTS[name]())
    assert mask.shape == (1, HEIGHT, WIDTH) and mask.dtype == torch.float32
    assert seen(mask[0]) == (True, False)
    assert (mask[0] - disc(LEFT)).abs().mean() < 0.02
    assert torch.equal(inverted, 1 - mask) and torch.equal(image, picture())


def test_nothing_connected_changes_nothing(segment, model):
    image = torch.rand(2, 50, 70, 3)
    mask, _ = segment(model, image)
    assert torch.equal(mask, segment(model, image, hint=None, boxes=None)[0])
    assert torch.equal(mask, model.encode_image(image))


def test_our_models_do_what_predict_does(segment, ours, module):
    image, hint = torch.rand(2, 50, 70, 3), torch.rand(2, 20, 20)
    matting = module("birefnet_core.matting.model").MattingModel(ours.managed.model, ours.spec)
    assert torch.equal(segment(ours, image, hint=hint)[0], matting.predict(image, hint=hint))


def test_several_boxes_are_one_hint_and_count_beside_the_hint(segment, model):
    assert seen(segment(model, picture(), boxes=[LEFT_BOX, RIGHT_BOX])[0][0]) == (True, True)
    small = nn.functional.avg_pool2d(disc(LEFT)[None], 4)
    assert seen(segment(model, picture(), hint=small, boxes=[[RIGHT_BOX]])[0][0]) == (True, True)


def test_one_hint_serves_a_batch_and_each_image_may_have_its_own(segment, model):
    images = picture().repeat(3, 1, 1, 1)
    assert [seen(m) for m in segment(model, images, hint=disc(LEFT)[None])[0]] == [(True, False)] * 3
    assert [seen(m) for m in segment(model, images, boxes=LEFT_BOX)[0]] == [(True, False)] * 3
    each = [(True, False), (False, True), (False, False)]
    hints = torch.stack([disc(LEFT), disc(RIGHT), disc(RIGHT) * 0])
    assert [seen(m) for m in segment(model, images, hint=hints)[0]] == each
    assert [seen(m) for m in segment(model, images, boxes=[[LEFT_BOX], [RIGHT_BOX], []])[0]] == each
    one_and_each = segment(model, images, hint=disc(LEFT)[None], boxes=[[], [RIGHT_BOX], []])[0]
    assert [seen(m) for m in one_and_each] == [(True, False), (True, True), (True, False)]


@pytest.mark.parametrize("empty", [{"hint": torch.zeros(1, 30, 30)}, {"boxes": []}, {"boxes": [[]]}, {"boxes": ""}])
def test_nothing_asked_for_gives_an_empty_mask_and_says_so(segment, model, empty, caplog):
    with caplog.at_level("INFO"):
        assert not segment(model, picture(), **empty)[0].any()
    assert caplog.text.count("nothing is asked for") == 1


def test_masks_beside_an_empty_list_of_boxes_ask_for_something(segment, model, caplog):
    """As SAM3 Detect gives both for points."""
    with caplog.at_level("INFO"):
        assert seen(segment(model, picture(), hint=disc(LEFT)[None], boxes=[[]])[0][0]) == (True, False)
    assert "nothing is asked for" not in caplog.text


def test_load_images_empty_mask_is_no_hint(segment, model):
    everything = segment(model, picture())[0]
    assert torch.equal(segment(model, picture(), hint=torch.zeros(1, 64, 64))[0], everything)
    both = segment(model, picture(), hint=torch.zeros(1, 64, 64), boxes=LEFT_BOX)[0]
    assert seen(both[0]) == (True, False)


def test_a_foreign_model_with_a_hint_looks_in_either_mode(segment):
    assert seen(segment(Native(), picture(), mode="locate", boxes=LEFT_BOX)[0][0]) == (True, False)


def test_a_foreign_model_is_shown_the_crop_only(segment):
    shapes = []

    class Watching(Native):
        image_size = 32

        def encode_image(self, image):
            shapes.append(tuple(image.shape[1:3]))
            return super().encode_image(image)

    segment(Watching(), picture(), boxes=LEFT_BOX)
    assert shapes and all(math.prod(shape) < HEIGHT * WIDTH for shape in shapes)


BAD = [
    ({"hint": torch.full((1, 20, 30), float("nan"))}, "hint has NaN"),
    ({"hint": torch.full((1, 20, 30), 255.0)}, "hint goes up to 255, which looks like 0..255"),
    ({"hint": torch.zeros(1, 20, 30, dtype=torch.uint8)}, "hint must be floating point"),
    ({"hint": torch.zeros(1, 20, 30, 3)}, "hint must be"),
    ({"hint": torch.zeros(3, 20, 30)}, "3 hints do not go with 2 images: give one for all or one each"),
    ({"hint": "left"}, "hint must be a tensor"),
    ({"boxes": [[LEFT_BOX]] * 3}, "3 lists of boxes do not go with 2 images"),
    ({"boxes": "left"}, "no JSON"),
    ({"boxes": {**LEFT_BOX, "x": float("nan")}}, "box must be"),
    ({"boxes": {**LEFT_BOX, "width": float("inf")}}, "box must be"),
    ({"boxes": {**LEFT_BOX, "width": -5}}, "positive width and height"),
    ({"boxes": {**LEFT_BOX, "height": 0}}, "positive width and height"),
    ({"boxes": {**LEFT_BOX, "x": 500}}, "lies outside the 200 x 120 picture"),
    ({"boxes": [[LEFT_BOX], [{**LEFT_BOX, "y": -80}]]}, "lies outside"),
]


@pytest.mark.parametrize("options, words", BAD)
def test_bad_hints_are_refused_in_one_sentence(segment, model, options, words):
    with pytest.raises(ValueError, match=words) as error:
        segment(model, picture().repeat(2, 1, 1, 1), **options)
    assert "\n" not in str(error.value)
