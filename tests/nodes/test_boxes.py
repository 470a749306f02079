"""BOUNDING_BOX: every form that nodes send, and one sentence for what is no box."""

import json

import numpy as np
import pytest

SIZE = (200, 100)
ONE = {"x": 10, "y": 20.5, "width": 30, "height": 40}
ONE_PIXELS = (10.0, 20.5, 30.0, 40.0)
TWO = {"x": 0, "y": 0, "width": 5, "height": 6, "metadata": {"name": "hat"}, "score": 0.9}
TWO_PIXELS = (0.0, 0.0, 5.0, 6.0)


@pytest.fixture
def parsed(module):
    return lambda boxes: module("nodes.boxes").parsed(boxes, SIZE)


def pixels(lists) -> list[list[tuple]]:
    return [[box.pixels for box in boxes] for boxes in lists]


FORMS = [
    (ONE, [[ONE_PIXELS]]),
    ([ONE, TWO], [[ONE_PIXELS, TWO_PIXELS]]),
    ([[ONE, TWO]], [[ONE_PIXELS, TWO_PIXELS]]),
    ([[ONE], [TWO], []], [[ONE_PIXELS], [TWO_PIXELS], []]),
    ([[ONE], None], [[ONE_PIXELS], []]),
    ([None, [ONE]], [[], [ONE_PIXELS]]),
    ([None], [[]]),
    ((ONE, TWO), [[ONE_PIXELS, TWO_PIXELS]]),
    ([10, 20.5, 30, 40], [[ONE_PIXELS]]),
    ([[10, 20.5, 30, 40], [0, 0, 5, 6]], [[ONE_PIXELS, TWO_PIXELS]]),
    ([[[10, 20.5, 30, 40]], [[0, 0, 5, 6]]], [[ONE_PIXELS], [TWO_PIXELS]]),
    ({"bbox": [100, 50, 300, 150], "type": "obj", "desc": "hat"}, [[(10, 10, 20, 20)]]),
    ([{"bbox": [300, 150, 100, 50]}], [[(10, 10, 20, 20)]]),
    ([], [[]]),
    ([[]], [[]]),
]


@pytest.mark.parametrize("boxes, expected", FORMS)
@pytest.mark.parametrize("text", [False, True])
def test_every_form_is_understood(parsed, boxes, expected, text):
    assert pixels(parsed(json.dumps(boxes) if text else boxes)) == [
        [pytest.approx(box) for box in boxes] for boxes in expected
    ]


def test_empty_text_has_no_boxes(parsed):
    assert parsed("") == parsed("  ") == [[]]


def test_numbers_and_arrays_of_numpy_are_taken(parsed):
    assert pixels(parsed({key: np.float32(value) for key, value in ONE.items()})) == [[ONE_PIXELS]]
    assert pixels(parsed(np.array([[10, 20.5, 30, 40]], np.float32))) == [[ONE_PIXELS]]


def test_metadata_comes_along(parsed):
    [[one, two]] = parsed([ONE, TWO])
    assert one.metadata == {} and two.metadata == {"name": "hat", "score": 0.9}
    [[element]] = parsed({"bbox": [0, 0, 500, 500], "desc": "hat"})
    assert element.metadata == {"desc": "hat"}


@pytest.mark.parametrize(
    "boxes, words",
    [
        ("there, on the left", "no JSON: 'there, on the left'"),
        ('[{"x": 1,', "no JSON"),
        ("[" * 100_000, r"no JSON: '\[\["),
        ("5", "list of boxes .* not 5"),
        (7, "not 7"),
        ({"x": 1, "y": 2, "width": 3}, "has no height"),
        ([{"x1": 1, "y1": 2, "x2": 3, "y2": 4}], "has no x"),
        ([[1, 2, 3]], r"must be x, y, width, height, not \[1, 2, 3\]"),
        ({**ONE, "x": "left"}, "the x of a box must be a number, not 'left'"),
        ({**ONE, "x": None}, "the x of a box must be a number, not None"),
        ({**ONE, "height": True}, "the height of a box must be a number, not True"),
        ({"bbox": [1, 2, 3]}, "must be ymin, xmin, ymax, xmax"),
        ([ONE, [ONE]], "a box must be .* or such a list for each image"),
        ([[[ONE]]], "a box must be .* or such a list for each image"),
        ([[None]], "a box must be"),
        ([ONE, None], "box 2 of 2: a box must be x, y, width, height, not None"),
        ([[ONE, {**ONE, "x": None}]], "box 2 of 2: the x of a box must be a number, not None"),
        ({**ONE, "width": 10**400}, "the width of a box must be a number, not 1000"),
        ({**ONE, "width": float("inf")}, "the width of a box must be a number, not inf"),
        ({"bbox": [0, 0, 5000, 500]}, r"thousandths of the picture, 0..1000, not \[0, 0, 5000, 500\]"),
        ({"bbox": [-200, 0, 500, 500]}, "thousandths"),
        ([ONE, 5], "a box must be"),
    ],
)
def test_what_is_no_box_is_refused_in_one_sentence(parsed, boxes, words):
    with pytest.raises(ValueError, match=words) as error:
        parsed(boxes)
    assert "\n" not in str(error.value) and len(str(error.value)) < 200
