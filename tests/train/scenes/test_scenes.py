"""Drawn pictures: reproducible, in range, split by name, right where nothing was degraded."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from train.scenes import clutter, cutouts, light, scenes
from train.scenes.backgrounds import KINDS, procedural
from train.shared.holdout import held_out
from train.tables import INVENTED, LIGHTS

STYLE = scenes.SceneStyle(object_counts=(0.1, 0.5, 0.4))


@pytest.fixture(scope="module")
def packs(pack_folder):
    return cutouts.read_pack(pack_folder)


def test_split_has_no_name_on_both_sides_and_keeps_views_together(packs):
    training, validation = packs
    for ours, theirs in (
        (training.foregrounds, validation.foregrounds),
        (training.backgrounds, validation.backgrounds),
    ):
        assert ours and theirs
        assert not {picture.name for picture in ours} & {picture.name for picture in theirs}
    for pack in packs:
        views = [picture.name for picture in pack.foregrounds]
        assert all(views.count(name) == 2 for name in views)
    assert len(training.foregrounds) + len(validation.foregrounds) == 80


def test_about_six_percent_of_names_are_held_out():
    names = [f"object{index}" for index in range(5000)]
    held = held_out(names, 6)
    assert 200 < len(held) < 400
    assert held & set(names[:2500]) == held_out(names[:2500], 6), "what more data there is makes no difference"
    assert held_out(names, 0) == held_out(names[:1], 50) == set()


def test_unreadable_file_is_named(pack_folder, tmp_path):
    broken = tmp_path / "broken.webp"
    broken.write_bytes(b"not a picture")
    with pytest.raises(ValueError, match=r"broken\.webp"):
        cutouts.read_picture(broken, "RGBA")
    with pytest.raises(ValueError, match="foregrounds"):
        cutouts.read_pack(tmp_path)


@pytest.fixture
def small_pack(pack_folder, tmp_path):
    """Two views of three objects and two backgrounds, none of which falls to validation by its name."""
    for folder, count in (("foregrounds/discs", 3), ("backgrounds/noise", 2)):
        paths = sorted((pack_folder / folder).iterdir())
        everything = {cutouts.model_name(path) for path in paths}
        names = sorted(everything - held_out(everything, 6))
        (tmp_path / folder).mkdir(parents=True)
        for path in paths:
            if cutouts.model_name(path) in names[:count]:
                shutil.copy(path, tmp_path / folder)
    return tmp_path


def test_of_a_small_pack_one_name_is_held_out(small_pack):
    training, validation = cutouts.read_pack(small_pack)
    assert (len(training.foregrounds), len(validation.foregrounds)) == (4, 2)
    assert len({picture.name for picture in validation.foregrounds}) == 1
    assert (len(training.backgrounds), len(validation.backgrounds)) == (1, 1)
    training, validation = cutouts.read_pack(small_pack, hold_out=0)
    assert (len(training.foregrounds), len(training.backgrounds)) == (6, 2) and not validation.foregrounds
    next((small_pack / "backgrounds" / "noise").iterdir()).unlink()
    assert len(cutouts.read_pack(small_pack, hold_out=0)[0].backgrounds) == 1
    with pytest.raises(ValueError, match=r"backgrounds: of 1 files .* 1 different names.* add more"):
        cutouts.read_pack(small_pack)


def test_a_cameras_numbers_are_no_views(small_pack):
    for kind in ("foregrounds/discs", "backgrounds/noise"):
        for number, path in enumerate(sorted((small_pack / kind).iterdir())):
            suffix = f"{number:04d}" if "discs" in kind else number
            path.rename(path.with_name(f"IMG_{suffix}{path.suffix}"))
    training, validation = cutouts.read_pack(small_pack)
    assert (len(training.foregrounds), len(validation.foregrounds)) == (5, 1)
    assert (len(training.backgrounds), len(validation.backgrounds)) == (1, 1)
    assert cutouts.model_name(Path("person0012_0.webp")) == "person0012"
    assert cutouts.model_name(Path("lamp_07.webp")) == "lamp" and cutouts.model_name(Path("_7.webp")) == "_7"


def test_a_name_that_most_cutouts_have_is_not_held_out_silently(small_pack):
    discs = sorted((small_pack / "foregrounds" / "discs").iterdir())
    for number, path in enumerate(discs[1:]):
        path.rename(path.with_name(f"IMG_{number:02d}{path.suffix}"))
    discs[0].rename(discs[0].with_name("dog.webp"))
    with pytest.raises(ValueError, match=r"foregrounds: 5 of 6 pictures are taken for views of one thing, IMG"):
        cutouts.read_pack(small_pack)
    assert len(cutouts.read_pack(small_pack, hold_out=0)[0].foregrounds) == 6


def test_cutouts_behind_a_link_are_found(small_pack):
    (small_pack / "foregrounds" / "discs").rename(small_pack / "elsewhere")
    (small_pack / "foregrounds" / "linked").symlink_to(small_pack / "elsewhere")
    training, _ = cutouts.read_pack(small_pack, hold_out=0)
    assert {picture.source for picture in training.foregrounds} == {"linked"} and len(training.foregrounds) == 6


def test_what_cannot_be_used_is_told_and_left_out(small_pack):
    (small_pack / "foregrounds" / "discs" / "broken.webp").write_bytes(b"not a picture")
    Image.new("RGBA", (9, 9), (200, 0, 0, 0)).save(small_pack / "foregrounds" / "discs" / "nothing.png")
    problems = []
    training, validation = cutouts.read_pack(small_pack, problems=problems)
    assert len(training.foregrounds) + len(validation.foregrounds) == 6
    assert len(problems) == 2 and "broken.webp" in problems[0] and "nothing.png is transparent" in problems[1]
    Image.new("RGB", (9, 9)).save(small_pack / "foregrounds" / "discs" / "photograph.jpg")
    cutouts.read_pack(small_pack, problems=(opaque := []))
    assert len(opaque) == 3 and "photograph.jpg has no transparency" in opaque[2]


def test_pictures_are_read_upright_and_opaque_where_they_have_no_transparency(tmp_path):
    pixels = np.zeros((4, 6, 3), dtype=np.uint8)
    pixels[:2, :, 0] = 200
    turned = Image.Exif()
    turned[0x0112] = 6  # the camera lay on its side: the top of the file is the right of the picture
    Image.fromarray(pixels).save(tmp_path / "photo.png", exif=turned)
    upright = np.rot90(pixels, -1).transpose(2, 0, 1)
    assert np.array_equal(cutouts.read_picture(tmp_path / "photo.png", "RGB"), upright)
    assert np.array_equal(cutouts.read_picture(tmp_path / "photo.png", "RGBA"), [*upright, np.full((6, 4), 255)])
    cut = np.random.default_rng(0).integers(0, 256, (5, 3, 4), dtype=np.uint8)
    Image.fromarray(cut).save(tmp_path / "cut.png")
    assert np.array_equal(cutouts.read_picture(tmp_path / "cut.png", "RGBA"), cut.transpose(2, 0, 1))


def test_same_seed_and_index_give_the_same_picture_in_any_batch(packs):
    drawn = scenes.Scenes(packs[0], STYLE, seed=7)
    images, alpha = drawn.batch(range(20, 26), 64)
    again, alpha_again = scenes.Scenes(packs[0], STYLE, seed=7).batch(range(20, 26), 64)
    assert torch.equal(images, again) and torch.equal(alpha, alpha_again)
    single, single_alpha = drawn.batch([23], 64)
    torch.testing.assert_close(single[0], images[3], atol=0.02, rtol=0)  # rounding before JPEG's quantiser may differ
    torch.testing.assert_close(single_alpha[0], alpha[3], atol=1e-4, rtol=0)
    other, _ = scenes.Scenes(packs[0], STYLE, seed=8).batch(range(20, 26), 64)
    assert (other - images).abs().mean() > 0.05


def test_pictures_are_in_range_and_vary(packs):
    images, alpha = scenes.Scenes(packs[0], STYLE, seed=0).batch(range(24), 64)
    assert images.shape == (24, 3, 64, 64) and alpha.shape == (24, 1, 64, 64)
    for values in (images, alpha):
        assert values.dtype == torch.float32
        assert values.min() >= 0 and values.max() <= 1 and torch.isfinite(values).all()
    areas = alpha.mean(dim=(1, 2, 3))
    assert areas.min() < 0.1 < 0.3 < areas.max()


def test_empty_frames_have_background_and_no_alpha(packs):
    images, alpha = scenes.Scenes(packs[0], replace(STYLE, object_counts=(1.0,)), seed=0).batch(range(4), 64)
    assert alpha.abs().max() == 0
    assert images.std() > 0.01


def test_opaque_foreground_hides_the_background_completely(packs):
    """Blending depends on the background only where alpha is below one."""
    rngs = [np.random.default_rng((3, index)) for index in range(8)]
    drawn = scenes.Scenes(packs[0], replace(STYLE, object_counts=(0.0, 1.0)), seed=3)
    layers = torch.stack([scenes._over_each_other(drawn._objects(rng, 64).layers, 64, drawn.device) for rng in rngs])
    alpha = layers[:, 3:]
    solid = (alpha == 1).expand(-1, 3, -1, -1)
    assert solid.any()
    composite = scenes.over(layers, torch.rand(8, 3, 64, 64, generator=torch.Generator().manual_seed(0)))
    torch.testing.assert_close(composite[solid], layers[:, :3][solid])
    outside = (alpha == 0).expand(-1, 3, -1, -1)
    assert (layers[:, :3][outside] == 0).all()


def test_sources_and_emphasis_set_the_chances(packs):
    foregrounds = packs[0].foregrounds
    name = foregrounds[0].name
    chances = scenes.draw_probabilities(foregrounds, scenes.SceneStyle(emphasised=(name,), emphasis=3.0))
    assert chances.sum() == pytest.approx(1)
    assert chances[0] == pytest.approx(3 * chances[-1])
    with pytest.raises(ValueError, match="missing"):
        scenes.draw_probabilities(foregrounds, scenes.SceneStyle(sources={"missing": 1.0}))


def test_size_must_fit_the_network(packs):
    with pytest.raises(ValueError, match="multiple of 32"):
        scenes.Scenes(packs[0], STYLE, seed=0).batch([0], 100)


def test_procedural_backgrounds_of_every_kind_are_in_range():
    for kind in KINDS.values():
        assert kind(64, np.random.default_rng(1)).shape == (3, 64, 64)
    drawn = torch.stack([procedural(64, np.random.default_rng(seed)) for seed in range(24)])
    assert drawn.min() >= 0 and drawn.max() <= 1
    assert drawn.mean(dim=(1, 2, 3)).std() > 0.05


def test_clutter_covers_the_canvas_in_range_and_leaves_what_it_was_given():
    canvas = torch.full((3, 64, 64), 0.5)
    thing = torch.cat([torch.rand(3, 20, 12, generator=torch.Generator().manual_seed(0)), torch.ones(1, 20, 12)])
    for draw in (
        lambda rng: clutter.crowd(canvas, lambda: thing, rng),
        lambda rng: clutter.close_up(canvas, thing, rng),
        lambda rng: clutter.strands(canvas, rng),
        lambda rng: clutter.foliage(canvas, rng),
    ):
        drawn = torch.stack([draw(np.random.default_rng(seed)) for seed in range(8)])
        again = torch.stack([draw(np.random.default_rng(seed)) for seed in range(8)])
        assert torch.equal(drawn, again)
        assert drawn.shape == (8, 3, 64, 64) and drawn.min() >= 0 and drawn.max() <= 1
        assert ((drawn - 0.5).abs() > 0.02).any(1).float().mean() > 0.05
    assert (canvas == 0.5).all()


def test_a_strand_grows_from_the_border_to_its_tip():
    canvas = torch.zeros(3, 32, 32)
    clutter._strand(canvas, torch.ones(3, 1, 1), root=16.5, height=24.0, bend=(0.0, 0.0), half=3.0, tapered=True)
    widths = (canvas[0] > 0.25).sum(1)
    assert (widths[:8] == 0).all() and widths[-1] == 6
    assert (widths.diff() >= 0).all()


def test_a_leaf_is_pointed_at_both_ends_and_has_a_lighter_rib():
    canvas = torch.zeros(3, 64, 64)
    root = np.array([4.0, 32.0])
    clutter._blade(canvas, torch.full((3, 1, 1), 0.5), root=root, angle=0.0, length=56.0, half=9.0, bend=0.0, ribs=0.1)
    heights = (canvas[0] > 0.1).sum(0)
    assert (heights[:3] == 0).all() and (heights[61:] == 0).all()
    assert 16 <= heights.max() <= 19 and heights[8] < heights[28] > heights[56]
    assert canvas[0, 32, 28] > canvas[0, 28, 28] + 0.1


def test_tall_objects_are_sometimes_cut_below_the_chest_and_wide_ones_are_not():
    def below(shape: tuple[int, int]) -> float:
        picture = torch.ones(4, *shape)
        placed = [
            scenes.sample(picture, scenes._place(picture, 1, np.random.default_rng(seed)), (32, 32))[3]
            for seed in range(200)
        ]
        return sum(bool(p[:2].max() < 0.5 and p[-1].max() > 0.5 and p.max(1).values[8:].min() > 0.5) for p in placed)

    assert below((90, 30)) > 20 and below((30, 90)) == 0


def test_pictures_cut_below_end_at_the_lower_border(packs):
    """A bust never floats: whatever row of it is the last in the frame, it is no edge of the picture."""
    pictures = [
        cutouts.Picture("busts", "bust", torch.full((4, side, 60), 255, dtype=torch.uint8)) for side in (40, 90)
    ]
    pack = cutouts.Pack(pictures, packs[0].backgrounds)
    for counts in ((0.0, 1.0), (0.0, 0.0, 1.0)):
        style = replace(STYLE, object_counts=counts, cut=("busts",), sources={}, emphasised=())
        _, alpha = scenes.Scenes(pack, style, seed=1).batch(range(24), 64)
        filled = alpha[:, 0] > 0.5
        assert filled.any(dim=(1, 2)).all()
        columns = filled.any(dim=1)
        assert (filled[:, -1] | ~columns)[:, 8:-8].float().mean() > 0.97  # at steep sides rounding may miss one
        assert not filled[:, 0].all(dim=1).all()


def test_some_pictures_are_painted(packs):
    plain = scenes.Scenes(packs[0], replace(STYLE, plain=1.0), seed=2).batch(range(6), 64)
    painted = scenes.Scenes(packs[0], replace(STYLE, plain=1.0, painted=1.0), seed=2).batch(range(6), 64)
    assert torch.equal(plain[1], painted[1])  # of the picture, not of its alpha
    assert 0.002 < (plain[0] - painted[0]).abs().mean() < 0.1


def squares(packs, *sources):
    """A pack of one white square by every source, on the pack's backgrounds."""
    pixels = torch.full((4, 40, 40), 255, dtype=torch.uint8)
    return cutouts.Pack([cutouts.Picture(source, source, pixels) for source in sources], packs[0].backgrounds)


def widths(alpha):
    """How many columns of each picture [N,1,S,S] have something."""
    return (alpha[:, 0] > 0.5).any(dim=1).sum(dim=1)


ONE = scenes.SceneStyle(object_counts=(0.0, 1.0), plain=1.0)


def test_a_recipe_says_how_large_single_objects_are(packs):
    pack = squares(packs, "things")
    small, large = (
        scenes.Scenes(pack, replace(ONE, extents=((1.0, *extent),)), seed=1).batch(range(24), 64)[1]
        for extent in ((0.2, 0.3), (1.4, 1.6))
    )
    assert widths(small).min() >= 8 and widths(small).max() <= 30
    assert (widths(large) == 64).float().mean() > 0.4 and large.mean() > 0.6


def test_what_a_recipe_does_not_ask_for_changes_no_picture(packs):
    """Nor does what cannot happen: nobody in this pack is of people."""
    style = replace(ONE, people=("nobody",), together=1.0, holding=1.0, shining=("x",), paper=("y",))
    for plain, other in zip(
        scenes.Scenes(packs[0], ONE, seed=4).batch(range(6), 64),
        scenes.Scenes(packs[0], style, seed=4).batch(range(6), 64),
    ):
        assert torch.equal(plain, other)


def test_people_stand_together_and_hold_things(packs):
    pack = squares(packs, "people", "things")
    together = scenes.Scenes(pack, replace(ONE, people=("people",), together=1.0), seed=2)
    for index in range(12):
        objects = together._objects(np.random.default_rng((2, index)), 64)
        assert 2 <= len(objects.layers) <= 4 and objects.sources == {"people"}
    pack.foregrounds[0].pixels[3] = 128  # half opaque: what is held shows
    style = replace(ONE, people=("people",), holding=1.0, sources={"people": 1.0, "things": 0.0})
    holding, empty = (scenes.Scenes(pack, replace(style, holding=share), seed=2) for share in (1.0, 0.0))
    for index in range(12):  # one layer, so that whoever asks for the person gets what the person holds
        rngs = [np.random.default_rng((2, index)) for _ in range(2)]
        (both,), (alone,) = (each._objects(rng, 64).layers for each, rng in zip((holding, empty), rngs))
        held = both[3] - alone[3] > 0.1
        assert 0 < held.sum() < 0.5 * max((alone[3] > 0.4).sum(), 100) and (both[3] >= alone[3] - 1e-3).all()


def test_what_stands_before_the_objects_is_no_subject(packs):
    style = replace(ONE, behind=1.0, extents=((1.0, 1.0, 1.2),))
    drawn = scenes.Scenes(squares(packs, "things"), style, seed=5)
    images, alpha = drawn.batch(range(24), 64)
    hidden = 0
    for index in range(24):
        objects = drawn._objects(np.random.default_rng((5, index)), 64)
        covered = objects.front[3] > 0.999
        hidden += int(covered.sum())
        assert not (alpha[index, 0][covered] > 2e-3).any()
        front = objects.front[:3, covered]
        torch.testing.assert_close(images[index][:, covered], front.clamp(0, 1), atol=2e-3, rtol=0)
    assert hidden > 24 * 64
    _, asked, given = drawn.hinted_batch(range(24), 64, 1.0)
    shown = asked.flatten(1).amax(1) > 0.5
    assert shown.float().mean() > 0.8 and ((given - asked).abs().flatten(1).mean(1) < 0.5)[shown].float().mean() > 0.8


def test_camouflaged_objects_take_the_colours_behind_them(packs):
    def difference(style):
        images, alpha = scenes.Scenes(squares(packs, "things"), style, seed=6).batch(range(24), 64)
        inside = (images * alpha).sum((2, 3)) / alpha.sum((2, 3)).clamp(min=1)
        outside = (images * (1 - alpha)).sum((2, 3)) / (1 - alpha).sum((2, 3)).clamp(min=1)
        return (inside - outside).abs().mean()

    assert difference(replace(ONE, camouflaged=1.0)) < 0.6 * difference(ONE)


def test_it_is_dark_behind_what_shines_and_plain_behind_half_of_the_drawings(packs):
    pack = squares(packs, "things")
    empty = np.random.default_rng(0)
    objects = scenes._Objects([], {"things"})
    dark, paper = (scenes.Scenes(pack, replace(ONE, **{name: ("things",)}), seed=1) for name in ("shining", "paper"))
    assert torch.stack([dark._behind(objects, empty, 64) for _ in range(12)]).mean() < 0.35
    plain = [paper._behind(objects, empty, 64).flatten(1).std(dim=1).max() < 1e-6 for _ in range(40)]
    assert 8 < sum(plain) < 32


@pytest.mark.parametrize("name", light.LIGHTS)
def test_lights_keep_alpha_and_range(name):
    rng = np.random.default_rng(0)
    alpha = torch.zeros(1, 64, 64)
    alpha[:, 16:48, 16:48] = 1
    alpha[:, :, 40] *= 0.5
    layer = torch.cat([alpha * torch.tensor([0.8, 0.6, 0.5]).view(3, 1, 1), alpha])
    behind = torch.full((3, 64, 64), 0.5)
    for _ in range(20):
        lit, ground = light.LIGHTS[name](layer, behind, rng)
        assert torch.equal(lit[3:], alpha) and (lit[:3] <= alpha + 1e-6).all() and lit.min() >= 0
        assert ground.shape == behind.shape and ground.min() >= 0 and ground.max() <= 1
        assert (lit[:3] - layer[:3]).abs().max() > 0.02 or (ground - behind).abs().max() > 0.02
    assert (behind == 0.5).all() and layer[0, 20, 20] == pytest.approx(0.8)


def test_lights_are_drawn_by_their_shares(packs):
    layer, behind = torch.zeros(4, 32, 32), torch.full((3, 32, 32), 0.5)
    rng = np.random.default_rng(3)
    changed = sum(not torch.equal(light.lit(layer, behind, {"flash": 0.25}, rng)[1], behind) for _ in range(400))
    assert 70 < changed < 130


def test_invented_backgrounds_are_drawn_by_their_shares():
    for seed in range(5):
        drawn = procedural(32, np.random.default_rng(seed), {"sky": 2.0})
        rng = np.random.default_rng(seed)
        rng.random()
        assert torch.equal(drawn, KINDS["sky"](32, rng).clamp(0, 1))


def test_recipes_may_name_all_that_is_drawn_in_any_order(packs):
    assert (tuple(KINDS), tuple(light.LIGHTS)) == (INVENTED, LIGHTS)
    style = replace(ONE, procedural_background=1.0, lights=dict.fromkeys(LIGHTS, 0.16))
    style = replace(style, invented={name: index + 1.0 for index, name in enumerate(INVENTED)})
    turned = {name: dict(reversed(getattr(style, name).items())) for name in ("lights", "invented")}
    one, other = (scenes.Scenes(packs[0], each, seed=3) for each in (style, replace(style, **turned)))
    for first, second in zip(one.batch(range(12), 32), other.batch(range(12), 32)):
        assert torch.equal(first, second)


# Means of the pictures and of what is asked for as drawn at commit 6dbc305, by `hinted_batch`; of the hints, of which a
# dot is told as a blob since; and of the pictures by `batch`.
DRAWN = (
    (0.6307, 0.7205, 0.4964, 0.7144, 0.5873, 0.6307, 0.4515, 0.6053, 0.5347, 0.7235, 0.5387, 0.8925),
    (0.0575, 0.2415, 0.2881, 0.2363, 0.3344, 0.7068, 0.2191, 0.3287, 0.3156, 0.0357, 0.0837, 0.1601),
    (0.0664, 0.5000, 0.0960, 0.2344, 0.1844, 0.5745, 0.2029, 0.2527, 0.5000, 0.0359, 0.0728, 0.1599),
    (0.7327, 0.7205, 0.6084, 0.7144, 0.5873, 0.6307, 0.4447, 0.4045, 0.5347, 0.3082, 0.5800, 0.8925),
)


def test_recipes_that_say_nothing_new_draw_what_they_always_drew():
    rng = np.random.default_rng(0)

    def picture(source, bands):
        pixels = torch.full((bands, 48, 40), 255, dtype=torch.uint8)
        pixels[:3] = torch.from_numpy(rng.integers(0, 255, (3, 1, 1), dtype=np.uint8))
        return cutouts.Picture(source, source, pixels)

    pack = cutouts.Pack([picture("things", 4) for _ in range(4)], [picture("plain", 3) for _ in range(3)])
    drawn = scenes.Scenes(pack, scenes.SceneStyle(procedural_background=0.6), seed=0)
    for values, then in zip((*drawn.hinted_batch(range(12), 64), drawn.batch(range(12), 64)[0]), DRAWN):
        np.testing.assert_allclose(values.mean(dim=(1, 2, 3)), then, atol=5e-4)


def test_pictures_with_everything_are_the_same_every_time_and_in_range(packs):
    style = replace(
        STYLE,
        people=("discs",),
        together=0.3,
        holding=0.5,
        behind=0.4,
        camouflaged=0.3,
        painted=0.1,
        lights={name: 1 / 6 for name in light.LIGHTS},
        invented={"bokeh": 1, "ground": 1},
        procedural_background=0.5,
    )
    once, again = (scenes.Scenes(packs[0], style, seed=9).hinted_batch(range(16), 64) for _ in range(2))
    for first, second in zip(once, again):
        assert torch.equal(first, second) and first.min() >= 0 and first.max() <= 1 and torch.isfinite(first).all()


def test_closer_views_are_cut_from_the_scene_and_asked_for_with_a_rough_mask(packs):
    style = replace(ONE, extents=((1.0, 0.9, 0.9),))
    far, near = (
        scenes.Scenes(squares(packs, "things"), replace(style, closer=share), seed=11).hinted_batch(range(60), 64, 1.0)
        for share in (0.0, 1.0)
    )
    alone = [scenes.SEVERAL < 1 and not torch.equal(*pair) for pair in zip(far[1], near[1])]
    assert 6 <= sum(alone) <= 24, "only where one subject is asked for"
    area = [each[1].flatten(1).mean(1)[torch.tensor(alone)].mean() for each in (far, near)]
    assert area[1] > area[0]
    for hint, alpha in zip(near[2][alone], near[1][alone]):
        if not (hint == 0.5).all():  # a part of the frame may be empty
            assert ((hint > 0.5).float() - (alpha > 0.5).float()).abs().mean() < 0.3
    plain = scenes.Scenes(squares(packs, "things"), replace(style, closer=1.0), seed=11).batch(range(8), 64)
    without = scenes.Scenes(squares(packs, "things"), style, seed=11).batch(range(8), 64)
    assert all(torch.equal(*pair) for pair in zip(plain, without))
