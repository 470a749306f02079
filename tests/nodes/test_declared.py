"""What another node gives is held to what a node declares, as ComfyUI holds its widgets to it."""

import math

import numpy as np
import pytest
import torch

NODES = (
    "LoadBiRefNet",
    "BiRefNetSegment",
    "BiRefNetApplyMask",
    "BiRefNetVideoFrames",
    "BiRefNetMatteVideo",
    "BiRefNetSplitSubjects",
    "BiRefNetKeyScreen",
)


def wrong_values(cls):
    """Names and values of what inputs that are typed or chosen do not take, but for what it checks itself."""
    own = cls.VALIDATE_INPUTS.__code__.co_varnames if hasattr(cls, "VALIDATE_INPUTS") else ()
    types = cls.INPUT_TYPES()
    for name, (kind, options) in {**types["required"], **types.get("optional", {})}.items():
        wrong = ()
        if kind in ("INT", "FLOAT"):
            wrong = (options["min"] - 1, options["max"] + 1, math.nan, math.inf, -math.inf, 10**400, "1", None, True)
            wrong += (0.5,) if kind == "INT" else ()
        elif kind == "BOOLEAN":
            wrong = ("false", 2, None, math.nan, torch.ones(2))
        elif kind == "STRING":
            wrong = (7, None, "a\0b")
        elif isinstance(kind, list):
            wrong = ("x", "", 0, None, np.array(["x", "y"]))
        if name not in own:
            yield from ((name, value) for value in wrong)


def test_these_are_all_nodes(pack):
    assert set(NODES) == set(pack.NODE_CLASS_MAPPINGS)


@pytest.mark.parametrize("name", NODES)
def test_what_an_input_does_not_take_is_named(node, name):
    cls = node(name)
    others = dict.fromkeys(cls.INPUT_TYPES()["required"])
    others.update({name: "" for name in ("file", "model") if name in others})
    tried = list(wrong_values(cls))
    assert tried
    for wrong, value in tried:
        with pytest.raises(ValueError, match=f"^{wrong} must .*") as error:
            getattr(cls(), cls.FUNCTION)(**{**others, wrong: value})
        assert repr(value) in str(error.value)


def test_whole_numbers_may_be_floats(node):
    image, mask = torch.rand(1, 8, 8, 3), torch.rand(1, 8, 8)
    apply = node("BiRefNetApplyMask")().apply_mask
    whole, as_float = apply(image, mask, grow=1), apply(image, mask, grow=1.0, invert=0)
    assert all(torch.equal(one, other) for one, other in zip(whole, as_float, strict=True))


def test_limits_may_be_reached(node):
    image, mask = torch.rand(1, 8, 8, 3), torch.rand(1, 8, 8)
    for strength in (0, 1, 1.0):
        assert node("BiRefNetKeyScreen")().key(image, mask, despill=strength)[0].shape == (1, 8, 8)


@pytest.mark.parametrize("defaults", [{"dtype": torch.float64}, {"dtype": torch.bfloat16}, {"device": "meta"}])
def test_other_defaults_of_torch_change_no_key(node, defaults, set_defaults):
    """Another pack may leave one behind; the key was .23 off."""
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(1, 300, 600, 3, generator=generator) * 0.2 + torch.tensor([0.1, 0.7, 0.2])
    mask = torch.zeros(1, 300, 600)
    mask[:, 100:200, 200:400] = torch.linspace(0, 1, 200)
    image[mask > 0.5] = torch.tensor([0.8, 0.4, 0.3])
    key = node("BiRefNetKeyScreen")().key
    expected = key(image, mask)
    set_defaults(**defaults)
    found = key(image, mask)
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
