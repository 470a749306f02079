"""Drawn pictures: reproducible, in range, split by name, right where nothing was degraded."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from train.scenes import clutter, cutouts, scenes
from train.scenes.backgrounds import KINDS, procedural
from train.shared.holdout import held_out

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
    layers = torch.stack([scenes._over_each_other(drawn._objects(rng, 64), 64, drawn.device) for rng in rngs])
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
    for kind in KINDS:
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
