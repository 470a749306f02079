"""Batches with hints: targets are what is asked for, whoever draws them and how many at a time."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from train.data.pairs import Pairs, find_pairs
from train.data.sources import Mixture, Root, SceneSource, read_data
from train.recipe import read_recipe
from train.scenes.cutouts import read_pack
from train.scenes.scenes import Scenes, _over_each_other, _visible
from train.shared.hints import SAYS_NOTHING
from train.tables import Augmentation, SceneStyle


@pytest.fixture(scope="module")
def scenes(pack_folder):
    return Scenes(read_pack(pack_folder, threads=2)[0], SceneStyle(), seed=7)


@pytest.fixture
def two_discs(tmp_path):
    """Six pictures of two discs each, with their matte."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:1:64j, 0:1:96j]
    for index in range(6):
        alpha = np.maximum(
            *(np.clip((0.15 - np.hypot(x - c, y - rng.uniform(0.3, 0.7))) * 30, 0, 1) for c in (0.25, 0.75))
        )
        for folder, values in (("im", rng.uniform(0, 255, (64, 96, 3))), ("gt", 255 * alpha)):
            (tmp_path / folder).mkdir(exist_ok=True)
            Image.fromarray(values.astype(np.uint8)).save(tmp_path / folder / f"{index}.png")
    return tmp_path


def says_nothing(hints):
    return (hints == SAYS_NOTHING).flatten(1).all(dim=1)


def test_without_hints_nothing_changes(scenes, two_discs):
    assert SceneSource(scenes).batch(range(2), (64, 64)).hints is None
    pairs = Pairs(find_pairs(two_discs).pairs, augmentation=Augmentation())
    plain, hinted = (each.batch(range(12), (96, 64)) for each in (pairs, pairs.with_hints(2 / 3)))
    assert plain.hints is None and torch.equal(plain.images, hinted.images)
    unasked = says_nothing(hinted.hints)
    assert 1 <= unasked.sum() <= 8
    assert torch.equal(hinted.alpha[unasked], plain.alpha[unasked])


def test_a_pair_is_asked_for_whole_or_in_pieces(two_discs):
    pairs = Pairs(find_pairs(two_discs).pairs, augmentation=Augmentation())
    plain, hinted = (each.batch(range(60), (96, 64)) for each in (pairs, pairs.with_hints(1.0)))
    assert not says_nothing(hinted.hints).any() and hinted.hints.shape == hinted.alpha.shape
    share = (hinted.alpha.flatten(1).sum(1) / plain.alpha.flatten(1).sum(1)).tolist()
    assert all(each == pytest.approx(1, abs=0.01) or 0.3 < each < 0.7 for each in share)
    assert 25 < sum(each < 0.7 for each in share) < 57


def test_the_draw_depends_on_nothing_but_the_seed(scenes, two_discs):
    found = find_pairs(two_discs).pairs
    for one, other in (
        (SceneSource(scenes, 2 / 3), SceneSource(Scenes(scenes.pack, scenes.style, seed=7), 2 / 3)),
        *((Pairs(found, seed=1, augmentation=Augmentation(crop=0.8), workers=n, hinted=2 / 3) for n in (1, 4)),),
    ):
        whole = one.batch(range(3, 13), (64, 64))
        parts = [other.batch([index], (64, 64)) for index in range(3, 13)]
        for name in ("images", "alpha", "hints"):
            one_by_one = torch.cat([getattr(part, name) for part in parts])
            torch.testing.assert_close(getattr(whole, name), one_by_one, atol=1e-6, rtol=0)  # scenes blur by batches


def test_of_a_scene_the_visible_part_of_what_is_asked_for_is_the_target(scenes):
    """Two objects: what is asked for and what is not sum up to what there is."""
    images, alpha, hints = scenes.hinted_batch(range(40), 64)
    assert images.shape == (40, 3, 64, 64) and alpha.shape == hints.shape == (40, 1, 64, 64)
    unasked = says_nothing(hints)
    assert 6 <= unasked.sum() <= 22
    fits = [(hint * target).sum() / target.sum() for hint, target in zip(hints[~unasked], alpha[~unasked])]
    assert np.median(fits) > 0.6
    back = torch.zeros(4, 8, 8)
    back[:, 2:6, 2:6] = 1
    front = torch.zeros(4, 8, 8)
    front[:, 4:, 4:] = 0.5
    seen = _visible([back, front], 8, "cpu")
    torch.testing.assert_close(seen.sum(0), _over_each_other([back, front], 8, "cpu")[3])
    assert seen[0, 4, 4] == 0.5 and seen[0, 2, 2] == 1 and seen[1, 4, 4] == 0.5


def test_an_empty_scene_has_no_hint(scenes, pack_folder):
    empty = Scenes(scenes.pack, replace(scenes.style, object_counts=(1.0,)), seed=0)
    _, alpha, hints = empty.hinted_batch(range(40), 64)
    assert says_nothing(hints[alpha.flatten(1).amax(1) == 0]).all()
    assert (alpha.flatten(1).amax(1) == 0).sum() > 10


@pytest.mark.parametrize("hint", [True, False])
def test_a_recipe_that_says_hint_overrules_its_architecture(recipe_file, hint):
    recipe = read_recipe(recipe_file(), overrides={"hint": hint, "architecture.hint": not hint})
    assert recipe.hint == recipe.architecture.hint == hint


def test_a_network_that_is_to_learn_hints_is_shown_some(recipe_file):
    with pytest.raises(ValueError, match=r"with hints.share 0 the network learns no hint"):
        read_recipe(recipe_file(), overrides={"hint": True, "hints.share": 0})


def test_a_recipe_with_hints_draws_them_of_all_its_data_and_validates_with_them(
    recipe_file, pack_folder, two_discs, tmp_path
):
    recipe = read_recipe(recipe_file(), overrides={"hint": True, "validation_pictures": 2})
    assert recipe.hint and recipe.architecture.hint
    data = read_data([Root(pack_folder), Root(two_discs)], [], recipe, out=tmp_path / "run")
    assert isinstance(data.training, Mixture)
    batch = data.training.batch(range(12), (64, 64))
    assert batch.labels is None and batch.hints.shape == (12, 1, 64, 64)
    assert 1 <= says_nothing(batch.hints).sum() <= 9
    assert data.validation.batch(range(2), (64, 64)).hints is None
    hinted = data.hinted.batch(range(data.hinted.samples), (64, 64))
    assert data.hinted.samples == data.validation.samples and not says_nothing(hinted.hints).any()
    plain = read_data([Root(pack_folder)], [], read_recipe(recipe_file()), out=tmp_path / "plain")
    assert plain.hinted is None and plain.training.batch(range(2), (64, 64)).hints is None
