"""What is asked for, and how it is said: every kind of hint for every kind of mask."""

import numpy as np
import pytest

from train.shared import hints
from train.tables import HINT_KINDS, HintStyle


def disc(shape=(96, 128), centre=(0.5, 0.5), radius=0.3) -> np.ndarray:
    """Soft-edged, its place and radius as shares of the sides."""
    y, x = (np.arange(side) / side - middle for side, middle in zip(shape, centre))
    return np.clip((radius - np.hypot(y[:, None], x)) * 40, 0, 1).astype(np.float32)


def one_pixel():
    alpha = np.zeros((64, 64), np.float32)
    alpha[0, 63] = 1
    return alpha


MASKS = {
    "disc": disc(),
    "in a corner": disc(centre=(0.05, 0.98)),
    "large": disc((300, 500)),
    "two": np.maximum(disc(centre=(0.3, 0.2), radius=0.12), disc(centre=(0.7, 0.8), radius=0.12)),
    "thin": np.eye(96, dtype=np.float32),
    "one pixel": one_pixel(),
    "everything": np.ones((40, 33), np.float32),
    "faint": np.full((32, 64), 0.3, np.float32),
}


def drawn(kind, alpha, seed):
    return hints.KINDS[kind](alpha, np.random.default_rng(seed))


@pytest.mark.parametrize("name", MASKS)
def test_every_mask_gets_a_hint_that_asks_for_something_of_it(name):
    alpha = MASKS[name]
    for seed in range(60):
        hint = hints.draw_hint(alpha, hints.pieces(alpha), np.random.default_rng(seed))
        assert hint.shape == alpha.shape and hint.dtype == np.float32 and hint.flags.c_contiguous
        assert hint.min() >= 0 and 0.5 <= hint.max() <= 1
        assert np.array_equal(hint, hints.draw_hint(alpha, hints.pieces(alpha), np.random.default_rng(seed)))
    assert alpha is MASKS[name] and np.array_equal(alpha, MASKS[name].copy())


def test_the_kinds_are_what_they_are_called():
    alpha = MASKS["disc"]
    solid, size = alpha > 0.5, np.sqrt((alpha > 0.5).sum())
    for seed in range(20):
        assert np.array_equal(drawn("exact", alpha, seed), alpha)
        eroded, dilated = (drawn(kind, alpha, seed) > 0.5 for kind in ("eroded", "dilated"))
        assert (solid | eroded).sum() == solid.sum() > eroded.sum() > 0
        assert (solid & dilated).sum() == solid.sum() < dilated.sum()
        shifted = drawn("shifted", alpha, seed)
        assert shifted.sum() == pytest.approx(solid.sum(), rel=0.1) and np.abs(shifted - solid).sum() > 0
        box = drawn("box", alpha, seed)
        rows, columns = np.flatnonzero(box.any(1)), np.flatnonzero(box.any(0))
        assert box[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
        assert (box[solid] > 0).mean() > 0.8 and box.sum() < 1.7 * size**2 / 0.785
        for kind, least in (("dots", 1), ("scribble", 1)):
            mark = drawn(kind, alpha, seed)
            assert least <= mark.sum() < 0.6 * solid.sum() and mark[solid].sum() > 0.4 * mark.sum()
        for kind in ("blurred", "coarser"):
            soft = drawn(kind, alpha, seed)
            assert ((soft > 0.02) & (soft < 0.98)).sum() > ((alpha > 0.02) & (alpha < 0.98)).sum()
            assert np.corrcoef(soft.ravel(), alpha.ravel())[0, 1] > 0.7
    wrong = [np.abs(drawn("wrong", alpha, seed) - solid).sum() / solid.sum() for seed in range(40)]
    assert np.median(wrong) > 0.15


def test_each_subject_that_is_asked_for_gets_a_mark_of_its_own():
    alpha = MASKS["two"]
    left, single = np.arange(alpha.shape[1]) < alpha.shape[1] / 2, 0
    for kind in ("dots", "scribble", "box"):
        for seed in range(20):
            one, two = (
                (hints.draw_hint(alpha, subjects, np.random.default_rng(seed), {kind: 1}) > 0.98) * (alpha > 0.5)
                for subjects in (alpha[None], hints.pieces(alpha))
            )
            assert two[:, left].any() and two[:, ~left].any()
            if kind == "box":
                assert not (two & ~(alpha > 0.5))[:, 52:76].any(), "between the two boxes nothing is asked for"
            if kind == "dots":
                single += one[:, left].any() != one[:, ~left].any()
    assert single > 12, "one subject in two pieces mostly gets one dot"


def test_a_dot_and_a_scribble_are_told_as_blobs_and_a_mask_or_a_box_as_it_is():
    alpha = MASKS["large"]
    for kind in hints.KINDS:
        drawn_ones = [hints.draw_hint(alpha, alpha[None], np.random.default_rng(seed), {kind: 1}) for seed in range(20)]
        blobs = sum(((hint > 0.1) & (hint < 0.9)).mean() > 0.15 for hint in drawn_ones)
        # Two dots that overlap and a scribble that fills look like masks, to whoever is handed them.
        soft = {"dots": (18, 20), "scribble": (5, 20), "wrong": (0, 4), "blurred": (0, 20), "coarser": (0, 20)}
        least, most = soft.get(kind, (0, 0))
        assert least <= blobs <= most, kind
        assert all(hint.min() < 0.4 and hint.max() > 0.98 for hint in drawn_ones if kind in hints.MARKS)
        assert all(set(np.unique(hint)) == {0, 1} for hint in drawn_ones if kind == "box")


def test_pieces_sum_up_to_the_matte_with_its_soft_edges_and_specks():
    alpha = MASKS["two"].copy()
    alpha[90, 5] = 1  # a speck is no piece
    parts = hints.pieces(alpha)
    assert len(parts) == 2 and np.array_equal(parts.sum(axis=0), alpha)
    assert all(0 < (part > 0).sum() < (alpha > 0).sum() for part in parts)
    for whole in (MASKS["disc"], MASKS["faint"], np.zeros((8, 8), np.float32)):
        assert np.array_equal(hints.pieces(whole), whole[None])


def test_some_of_the_subjects_are_asked_for_never_none_and_never_one_that_is_not_seen():
    hidden = np.zeros_like(MASKS["disc"])
    visible = np.stack([MASKS["disc"], hidden, disc(centre=(0.2, 0.2), radius=0.1)])
    chosen = {tuple(hints.choose(visible, np.random.default_rng(seed))) for seed in range(50)}
    assert chosen == {(True, False, False), (False, False, True), (True, False, True)}
    rest = np.zeros((1, 200, 200))
    rest[0, 0, :39] = 1
    assert not hints.choose(rest, np.random.default_rng(0)).any(), "a thousandth of the picture must be seen"
    rest[0, 0, :40] = 1
    assert hints.choose(rest, np.random.default_rng(0)).all()
    assert not hints.choose(hidden[None], np.random.default_rng(0)).any()
    assert not hints.choose(np.zeros((0, 8, 8)), np.random.default_rng(0)).any()


def test_a_third_of_the_draws_ask_for_everything_and_the_rest_for_the_matte_or_a_piece_of_it():
    alpha, parts, without, whole, piece = MASKS["two"], hints.pieces(MASKS["two"]), 0, 0, 0
    for seed in range(300):
        asked, hint = hints.ask(alpha, np.random.default_rng(seed))
        if (hint == hints.SAYS_NOTHING).all():
            assert asked is alpha
            without += 1
        elif np.array_equal(asked, alpha):
            whole += 1
        else:
            assert any(np.array_equal(asked, part) for part in parts)
            piece += 1
    assert 70 < without < 130 and whole > 25 and piece > 90
    assert all((hints.ask(alpha, np.random.default_rng(seed), 1.0)[1] != 0.5).any() for seed in range(20))
    empty = np.zeros((16, 16), np.float32)
    assert (hints.ask(empty, np.random.default_rng(0), 1.0)[1] == hints.SAYS_NOTHING).all()


def test_only_the_kinds_that_are_asked_for_are_drawn_as_often_as_asked():
    alpha, size = MASKS["disc"], MASKS["disc"].size
    rng = np.random.default_rng(0)
    kinds = {"dots": 3, "exact": 1, "box": 0}
    dots = [(hints.draw_hint(alpha, alpha[None], rng, kinds) == 1).sum() < 0.05 * size for _ in range(200)]
    assert 125 < sum(dots) < 175
    assert all(np.array_equal(hints.draw_hint(alpha, alpha[None], rng, {"exact": 0.2}), alpha) for _ in range(5))
    words = hints.in_words(HintStyle(0.5, {"dots": 3, "exact": 1, "box": 0}))
    assert words == "in 50 % of the draws, of these dots 75 %, exact 25 %"
    assert list(hints.KINDS) == list(HINT_KINDS) and sum(HINT_KINDS.values()) == pytest.approx(1)


def test_the_order_of_the_kinds_in_a_recipe_changes_no_hint():
    kinds = {"wrong": 1, "dots": 3, "exact": 2}
    for seed in range(20):
        one, other = (
            hints.draw_hint(MASKS["disc"], MASKS["disc"][None], np.random.default_rng(seed), ordered)
            for ordered in (dict(sorted(kinds.items(), reverse=turned)) for turned in (False, True))
        )
        assert np.array_equal(one, other)
