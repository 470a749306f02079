"""Several subjects of one picture: pieces of an alpha, and alphas that share a pixel."""

import pytest
import torch

from birefnet_core.matting.split import content_rect, overlap, pieces, shared_out

SIZE = 60


def disc(x: float, y: float, radius: float) -> torch.Tensor:
    """[SIZE, SIZE], with an edge soft over four pixels."""
    rows, columns = torch.meshgrid(torch.arange(float(SIZE)), torch.arange(float(SIZE)), indexing="ij")
    return ((radius - torch.hypot(columns - x, rows - y)) / 4 + 0.5).clamp(0, 1)


def test_pieces_come_largest_first_with_their_soft_edges():
    small, large = disc(12, 12, 6), disc(40, 40, 14)
    found = pieces(small + large, 5)
    assert torch.equal(found, torch.stack([large, small]))
    assert torch.equal(pieces(small + large, 1), large[None])


def test_pieces_add_up_to_the_alpha_also_across_a_soft_bridge():
    alpha = disc(16, 30, 10) + disc(44, 30, 11)
    alpha[28:32, 24:36] = alpha[28:32, 24:36].maximum(torch.tensor(0.4))
    found = pieces(alpha, 5)
    assert len(found) == 2 and torch.equal(found.sum(0), alpha) and not overlap(found)


def test_strands_and_soft_tails_stay_with_what_they_hang_on():
    alpha = disc(20, 42, 10)
    alpha[4:34, 20] = torch.tensor([0.7, 0.7, 0.35]).repeat(10)  # solid islands in a strand are no pieces
    alone = pieces(alpha, 5)
    assert torch.equal(alone, alpha[None])
    other = disc(44, 42, 8)
    alpha[30, 20:46] = 0.4  # a tail that ends nearer to the other one and does not touch it
    found = pieces(alpha.maximum(other), 5)
    assert torch.equal(found.sum(0), alpha.maximum(other))
    assert torch.equal(found[0], alpha) and torch.equal(found[1], other)


def test_specks_are_no_pieces_and_nothing_has_none():
    alpha = disc(30, 30, 20)
    alpha[2, 2] = 1
    assert len(pieces(alpha, 5)) == 1
    for empty in (torch.zeros(SIZE, SIZE), torch.full((SIZE, SIZE), 0.3)):
        assert pieces(empty, 5).shape == (0, SIZE, SIZE)


def over(alphas: torch.Tensor) -> torch.Tensor:
    """The alpha of layers laid over each other."""
    return 1 - (1 - alphas).prod(0)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_where_subjects_touch_each_pixel_is_one_ones(order):
    """Two halves of one disc whose alphas fade into each other, as hints leave them."""
    whole = disc(30, 30, 20)
    fade = ((torch.arange(SIZE) - 24) / 12.0).clamp(0, 1)
    alphas = torch.stack([whole * (1 - fade), whole * fade])[list(order)]
    shared = shared_out(alphas, whole)
    torch.testing.assert_close(shared.sum(0), whole)
    torch.testing.assert_close(over(shared), whole)
    assert not overlap(shared)
    assert torch.equal(shared[order.index(0), 30, :20], whole[30, :20])
    assert torch.equal(shared[order.index(1), 30, 40:], whole[30, 40:])


@pytest.mark.parametrize("gap", [1, 2])
def test_what_two_leave_out_between_them_goes_to_the_nearer_one(gap):
    """Each is cut off for the other's sake; seen at once there is no gap."""
    whole = disc(30, 30, 20)
    columns = torch.arange(SIZE)
    alphas = torch.stack([whole * (columns < 30 - gap), whole * (columns >= 30 + gap)])
    shared = shared_out(alphas, whole)
    torch.testing.assert_close(shared.sum(0), whole)
    assert not overlap(shared)
    assert not shared[0, :, 30 + gap :].any() and not shared[1, :, : 30 - gap].any()
    assert shared[0, 30, 29] == 1 and shared[1, 30, 30] == 1


def test_where_one_subject_is_alone_its_alpha_stays():
    alphas = torch.stack([disc(15, 30, 10), disc(45, 30, 10)])
    for together in (torch.zeros(SIZE, SIZE), torch.ones(SIZE, SIZE)):
        assert torch.equal(shared_out(alphas, together), alphas)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_what_lies_within_another_subject_is_taken_out_of_it(order):
    person, hat = disc(30, 30, 22) * 0.99, disc(30, 20, 6) * 0.97
    shared = shared_out(torch.stack([person, hat])[list(order)], person)
    first, second = shared[order.index(0)], shared[order.index(1)]
    assert second[20, 30] == pytest.approx(0.99) and first[20, 30] == 0 and first[45, 30] == pytest.approx(0.99)


def test_three_of_the_same_are_one():
    alpha = disc(30, 30, 15)
    shared = shared_out(alpha.expand(3, -1, -1), alpha)
    assert torch.equal(shared.sum(0), alpha) and (shared.amax((1, 2)) > 0).sum() == 1


def test_content_rect_holds_all_that_is_seen():
    alpha = torch.zeros(SIZE, SIZE)
    assert content_rect(alpha) == (0, 0, 0, 0)
    alpha[10:14, 20:30], alpha[40, 50] = 1, 0.01
    assert content_rect(alpha) == (20, 10, 31, 31)
    assert content_rect(torch.ones(3, 5)) == (0, 0, 5, 3)
