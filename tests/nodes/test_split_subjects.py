"""Split Subjects without ComfyUI: layers from masks, boxes and pieces, and what makes a picture of them again."""

import pytest
import torch

from tests.nodes.test_hints import HEIGHT, LEFT, LEFT_BOX, RIGHT, RIGHT_BOX, WIDTH, Native, disc, picture, seen

RIGHT_HINT = (RIGHT[0], RIGHT[1], 20)


@pytest.fixture
def split(node):
    return node("BiRefNetSplitSubjects")().split


@pytest.fixture
def said(module, monkeypatch):
    said = []
    monkeypatch.setattr(module("nodes.host"), "say", lambda text, *level: said.append(text))
    return said


def masks() -> torch.Tensor:
    return torch.stack([disc(RIGHT, 20), disc(LEFT, 20)])


def of_layers(layers: torch.Tensor) -> list[tuple[bool, bool]]:
    return [seen(alpha) for alpha in layers[..., 3]]


@pytest.mark.parametrize(
    "given, expected",
    [
        ({}, [(True, False), (False, True)]),
        ({"count": 1}, [(True, False)]),
        ({"masks": masks()}, [(False, True), (True, False)]),
        ({"masks": masks()[:, None]}, [(False, True), (True, False)]),
        ({"masks": masks()[:1]}, [(False, True)]),
        ({"boxes": [[RIGHT_BOX, LEFT_BOX]]}, [(False, True), (True, False)]),
        ({"boxes": LEFT_BOX}, [(True, False)]),
        ({"masks": torch.zeros(1, 64, 64)}, [(True, False), (False, True)]),
    ],
)
def test_each_subject_has_its_layer(split, given, expected):
    image = picture()
    image[:, 86:90, 45:55] = 1  # the left one is a little larger
    layers, transparent, [boxes] = split(image, Native(), **given)
    count = len(expected)
    assert layers.shape == (count, HEIGHT, WIDTH, 4) and transparent.shape == (count, HEIGHT, WIDTH)
    assert len(boxes) == count and of_layers(layers) == expected
    assert torch.equal(transparent, 1 - layers[..., 3])


def test_names_that_are_too_few_are_left_out_and_said(split, said):
    _, _, [boxes] = split(picture(), Native(), masks=masks() > 0.5, boxes=[{**LEFT_BOX, "label": "moon"}])
    assert [box["metadata"]["name"] for box in boxes] == ["subject 1", "subject 2"]
    assert "the names of 1 boxes are left out: there are 2 masks" in said


def test_boxes_say_where_a_layer_belongs_and_what_it_is(split):
    named = [{**RIGHT_BOX, "metadata": {"name": "moon", "type": "obj"}}, {**LEFT_BOX, "label": "sun", "score": 0.5}]
    layers, _, [boxes] = split(picture(), Native(), boxes=named)
    for index, (box, layer) in enumerate(zip(boxes, layers, strict=True)):
        assert [box[key] for key in ("x", "y", "width", "height")] == [0, 0, WIDTH, HEIGHT]
        left, top, width, height = box["metadata"]["content_rect"]
        visible = layer[..., 3] > 0.002
        assert visible[top : top + height, left : left + width].sum() == visible.sum()
        assert width < 60 and height < 60
        assert box["metadata"]["z_index"] == index + 1
    assert [box["metadata"]["name"] for box in boxes] == ["moon", "sun"]
    assert boxes[0]["metadata"]["type"] == "obj" and boxes[1]["metadata"]["score"] == 0.5
    unnamed = split(picture(), Native(), boxes=[RIGHT_BOX, LEFT_BOX])[2][0]
    assert [box["metadata"]["name"] for box in unnamed] == ["subject 1", "subject 2"]


def test_boxes_beside_masks_only_name_them(split):
    named = [[{**LEFT_BOX, "metadata": {"name": "moon"}}, {**LEFT_BOX, "metadata": {"name": "sun"}}]]
    layers, _, [boxes] = split(picture(), Native(), masks=masks(), boxes=named)
    assert of_layers(layers) == [(False, True), (True, False)]
    assert [box["metadata"]["name"] for box in boxes] == ["moon", "sun"]
    assert len(split(picture(), Native(), masks=masks(), boxes=[[]])[0]) == 2  # as SAM 3 with boxes or points


def test_layers_of_touching_subjects_make_the_picture_again(split, node):
    """A bright bar on colours, cut in two by hints that overlap."""
    image = torch.rand(1, HEIGHT, WIDTH, 3, generator=torch.Generator().manual_seed(0)) * 0.3
    bar = disc((100, 60), 50)[..., None]
    image = image * (1 - bar) + bar

    class Threshold(Native):
        def encode_image(self, image):
            return ((image.mean(-1) - 0.3) / 0.7).clamp(0, 1)

    hints = bar[..., 0].repeat(2, 1, 1)
    hints[0, :, 104:], hints[1, :, :96] = 0, 0
    layers, _, _ = split(image, Threshold(), masks=hints)
    alpha = layers[..., 3]
    together = node("BiRefNetSegment")().segment(Threshold(), image, hint=hints.amax(0)[None])[0][0]
    assert (alpha.amax((1, 2)) > 0.9).all() and not ((alpha > 0.002).sum(0) > 1).any()
    assert (alpha.sum(0) - together).abs().mean() < 0.005  # the soft edge is that of a closer look
    solid = together > 0.999
    assert alpha.sum(0)[solid].min() > 0.98  # no line where one ends and the other begins
    rebuilt = (layers[..., :3] * layers[..., 3:]).sum(0)
    assert solid.sum() > 1000 and (rebuilt - image[0])[solid].abs().max() < 0.01


def test_soft_edges_hold_no_old_background(split):
    """White discs on green: what is soft is white, not pale green."""
    alpha = disc(LEFT)[..., None]
    image = (alpha + (1 - alpha) * torch.tensor([0.0, 0.6, 0.0]))[None]

    class Red(Native):
        def encode_image(self, image):
            return image[..., 0]

    layers, _, _ = split(image, Red())
    soft = (layers[0, ..., 3] > 0.2) & (layers[0, ..., 3] < 0.8)
    assert soft.sum() > 100 and layers[0][soft][:, 0].mean() > 0.9


def test_what_is_transparent_in_the_image_stays_so(split):
    image = torch.cat([picture(), torch.ones(1, HEIGHT, WIDTH, 1)], 3)
    image[:, :60, :, 3] = 0
    layers, _, [boxes] = split(image, Native())
    assert not layers[:, :60, :, 3].any() and layers[..., 3].max() > 0.9
    assert all(box["metadata"]["content_rect"][1] == 60 for box in boxes)


@pytest.mark.parametrize(
    "given",
    [
        {"masks": torch.zeros(0, HEIGHT, WIDTH)},
        {"masks": torch.zeros(0, HEIGHT, WIDTH), "boxes": [[]]},
        {"boxes": [[]]},
        {"boxes": []},
        {},
        {"masks": torch.zeros(1, 30, 30)},
    ],
)
def test_nothing_found_is_one_empty_layer_and_said(split, said, given):
    layers, transparent, [[box]] = split(picture() * (0.0 if not given else 1), Native(), **given)
    assert layers.shape == (1, HEIGHT, WIDTH, 4) and not layers[..., 3].any() and (transparent == 1).all()
    assert box["metadata"]["content_rect"] == [0, 0, 0, 0]
    assert any("found nothing" in text for text in said)


def test_layers_that_are_empty_beside_others_are_named(split, said):
    """A detector may give one thing twice, or one that the model does not see."""
    left, nothing = disc(LEFT, 20), torch.zeros(HEIGHT, WIDTH)
    layers, _, [boxes] = split(picture(), Native(), masks=torch.stack([left, nothing, left, disc(RIGHT, 20)]))
    empty = [index for index, alpha in enumerate(layers[..., 3], 1) if not alpha.any()]
    assert len(empty) == 2 and 2 in empty and len(boxes) == 4
    assert any(f"of 4 layers these are empty: {empty[0]}, {empty[1]}." in text for text in said)


def test_what_the_image_itself_hides_is_empty_too(split, said):
    """Its own alpha counts, in 8 bits as well."""
    masks, own = torch.stack([disc(LEFT, 20), disc(RIGHT, 20)]), torch.ones(1, HEIGHT, WIDTH, 1)
    own[:, :, WIDTH // 2 :] = 0.5 / 255  # so little that no file holds it
    image = torch.cat([picture(), own], 3)
    _, _, [boxes] = split(image, Native(), masks=masks)
    assert any("of 2 layers these are empty: 2" in text for text in said)
    assert boxes[1]["metadata"]["content_rect"] == [0, 0, 0, 0]
    half = (torch.cat([picture(), torch.full_like(own, 0.5)], 3) * 255).byte()
    assert split(half, Native(), masks=masks[:1])[0][..., 3].max() == pytest.approx(127 / 255)
    assert split(half, Native(), boxes=[])[0].dtype == torch.float32


@pytest.mark.parametrize(
    ("options", "words"),
    [({"count": 0}, "count must be a whole number from 1 to 50, not 0"), ({"masks": [1]}, "must be a")],
)
def test_what_is_no_count_and_no_masks_is_told(split, options, words):
    with pytest.raises(ValueError, match=words):
        split(picture(), Native(), **options)


def test_more_layers_than_the_next_node_takes_are_told(split, said):
    layers, _, _ = split(picture(), Native(), masks=disc(LEFT, 20).expand(52, -1, -1))
    assert len(layers) == 52 and any("gives 52 layers; Create Layered Image takes 50" in text for text in said)


@pytest.mark.parametrize(
    "given, words",
    [
        ({"image": torch.zeros(3, 20, 30, 3)}, "one image, not a batch of 3"),
        ({"image": torch.zeros(0, 20, 30, 3)}, "one image, not a batch of 0"),
        ({"boxes": [[LEFT_BOX], [RIGHT_BOX]]}, "2 lists of boxes do not go with one image"),
        ({"boxes": {**LEFT_BOX, "width": -1}}, "positive width"),
        ({"boxes": {**LEFT_BOX, "x": 1000}}, "outside"),
        ({"boxes": "none"}, "no JSON"),
        ({"masks": torch.full((2, 20, 30), float("nan"))}, "NaN"),
        ({"masks": torch.full((2, 20, 30), 255.0)}, "looks like 0..255"),
        ({"model": 5}, "int is not a background-removal model"),
    ],
)
def test_bad_inputs_are_refused_in_one_sentence(split, given, words):
    with pytest.raises(ValueError, match=words) as error:
        split(**{"image": picture(), "model": Native(), **given})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("with_masks", [True, False])
def test_masks_beside_layers_are_warned_of(split, said, with_masks):
    inputs = {"image": ["5", 0], "bboxes": ["5", 2], **({"mask": ["5", 1]} if with_masks else {})}
    prompt = {"5": {"class_type": "BiRefNetSplitSubjects", "inputs": {}}}
    prompt["6"] = {"class_type": "LayersFromBoundingBoxes", "inputs": inputs}
    split(picture(), Native(), prompt=prompt, unique_id="5")
    assert any("disconnect the masks" in text for text in said) == with_masks
