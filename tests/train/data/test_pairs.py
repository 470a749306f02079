"""Folders of pictures and mattes: every usual layout, bad files, draws that depend on seed, epoch and sample alone."""

import os
import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from train.data import sources
from train.data.augment import augment
from train.data.pairs import Pair, Pairs, class_name, find_pairs, split
from train.recipe import read_recipe
from train.shared.pictures import by_stem
from train.tables import Augmentation

RECIPE = Path(__file__).parents[3] / "train" / "recipes" / "general.toml"


def _read(roots, out, **changes):
    recipe = read_recipe(RECIPE, overrides={"size": 64, **changes})
    return sources.read_data([sources.Root.parse(str(root)) for root in roots], [], recipe, out=out)


@pytest.mark.parametrize(
    ("images", "mattes"),
    [
        ("im", "gt"),
        ("DIS5K/DIS-TR/im", "DIS5K/DIS-TR/gt"),
        ("Imgs", "GT"),
        ("Train/Image", "Train/GT_Object"),
        ("HRSOD_train", "HRSOD_train_mask"),
        ("DUTS-TR/DUTS-TR-Image", "DUTS-TR/DUTS-TR-Mask"),
        ("P3M-10k/train/blurred_image", "P3M-10k/train/mask"),
        ("validation/P3M-500-NP/original_image", "validation/P3M-500-NP/mask"),
        ("images", "masks"),
        ("image", "alpha"),
    ],
)
def test_usual_layouts_are_found(images, mattes, discs, tmp_path):
    shutil.copytree(discs / "im", tmp_path / images)
    shutil.copytree(discs / "gt", tmp_path / mattes)
    (tmp_path / images).parent.joinpath("trimap").mkdir()
    found = find_pairs(tmp_path)
    assert len(found.pairs) == 12 and not found.lonely
    assert all(pair.image.stem == pair.matte.stem for pair in found.pairs)


def test_original_pictures_come_before_blurred_ones(discs, tmp_path):
    for name in ("blurred_image", "original_image"):
        shutil.copytree(discs / "im", tmp_path / name)
    shutil.copytree(discs / "gt", tmp_path / "mask")
    assert {pair.image.parent.name for pair in find_pairs(tmp_path).pairs} == {"original_image"}


def test_bad_files_are_listed_and_left_out(discs, tmp_path, write_pair, capsys):
    root, out = tmp_path / "set", tmp_path / "run"
    shutil.copytree(discs, root)
    write_pair(root, "empty", np.random.default_rng(1))
    Image.new("L", (80, 64)).save(root / "gt" / "empty.png")
    write_pair(root, "small", np.random.default_rng(2))
    Image.new("L", (40, 32), 255).save(root / "gt" / "small.png")
    write_pair(root, "cut", np.random.default_rng(3))
    whole = (root / "im" / "cut.jpg").read_bytes()
    (root / "im" / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    write_pair(root, "lonely", np.random.default_rng(4))
    (root / "gt" / "lonely.png").unlink()
    write_pair(root, "numbered", np.random.default_rng(7))
    Image.fromarray((np.asarray(Image.open(root / "gt" / "numbered.png")) > 128).astype(np.uint8)).save(
        root / "gt" / "numbered.png"
    )
    write_pair(root, "twice", np.random.default_rng(5))
    shutil.copy(root / "im" / "twice.jpg", root / "im" / "twice.jpeg")
    (root / "gt" / "notes.txt").write_text("no picture")
    data = _read([root], out, hold_out=0)
    assert data.training.samples == 12 and data.validation is None
    report = (out / sources.REPORT).read_text()
    for expected in (
        "12 pairs, 6 left out",
        "numbered.png is 1 of 255 at its brightest",
        "empty.png is empty",
        "small.jpg is 80 x 64, its matte small.png is 40 x 32",
        "cut.jpg cannot be read",
        "lonely.jpg has no matte gt/lonely.*",
        "more than one picture or matte called twice",
    ):
        assert expected in report
    assert "6 left out" in capsys.readouterr().out
    data.training.batch(range(24), (64, 64))

    seen = []
    original = Pair.read
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Pair, "read", lambda pair: seen.append(pair.name) or original(pair))
        (root / "gt" / "small.png").unlink()
        write_pair(root, "small", np.random.default_rng(6))  # mended
        assert _read([root], out, hold_out=0).training.samples == 13
    assert sorted(seen) == ["cut", "empty", "numbered", "small"]  # sound ones are known, problems may have passed


def test_a_problem_that_passed_is_not_remembered(discs, tmp_path):
    root, out = tmp_path / "set", tmp_path / "run"
    shutil.copytree(discs, root)
    matte = next((root / "gt").iterdir())
    matte.rename(tmp_path / "away.png")
    (root / "gt" / matte.name).symlink_to(tmp_path / "mount" / "away.png")  # a disk that is not mounted
    assert _read([root], out, hold_out=0).training.samples == 11
    assert f"{matte} does not exist" in (out / sources.REPORT).read_text()
    (tmp_path / "mount").mkdir()
    shutil.move(tmp_path / "away.png", tmp_path / "mount")
    assert _read([root], out, hold_out=0).training.samples == 12


def test_a_file_that_could_not_be_read_once_is_checked_again(discs, tmp_path):
    shutil.copytree(discs, tmp_path / "set")
    matte = next((tmp_path / "set" / "gt").iterdir())
    sound, state = matte.read_bytes(), matte.stat()
    for content, samples in ((bytes(len(sound)), 11), (sound, 12)):  # nothing that can be seen from outside changes
        matte.write_bytes(content)
        os.utime(matte, ns=(state.st_atime_ns, state.st_mtime_ns))
        assert _read([tmp_path / "set"], tmp_path / "run", hold_out=0).training.samples == samples


def test_names_with_accents_are_pairs_however_they_are_written(tmp_path, write_pair):
    composed, apart = (unicodedata.normalize(form, "Bär") for form in ("NFC", "NFD"))
    write_pair(tmp_path, composed, np.random.default_rng(0))
    (tmp_path / "im" / f"{composed}.jpg").rename(tmp_path / "im" / f"{apart}.jpg")
    assert len(find_pairs(tmp_path).pairs) == 1
    assert list(by_stem(tmp_path / "im")) == list(by_stem(tmp_path / "gt")) == [composed]


def test_pictures_deeper_than_the_others_are_told(discs, tmp_path):
    shutil.copytree(discs, tmp_path / "nested")
    for kind in ("im", "gt"):
        deeper = tmp_path / "nested" / kind / "cat"
        deeper.mkdir()
        shutil.copy(next(path for path in (discs / kind).iterdir()), deeper)
    found = find_pairs(tmp_path / "nested")
    assert len(found.pairs) == 12
    assert [line.split(" holds ")[0].split("/")[-2:] for line in found.lonely] == [["im", "cat"], ["gt", "cat"]]


def test_a_folder_without_usable_pairs_is_refused(tmp_path, write_pair):
    with pytest.raises(ValueError, match="is not a folder"):
        find_pairs(tmp_path / "none")
    with pytest.raises(ValueError, match=r"no pictures with mattes: put them into .*im and .*gt"):
        find_pairs(tmp_path)
    write_pair(tmp_path, "one", np.random.default_rng(0))
    (tmp_path / "gt" / "one.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"None of the 1 pairs .*one\.png"):
        _read([tmp_path], tmp_path / "run")


def test_a_file_that_goes_bad_later_is_replaced_by_the_next(discs, tmp_path, capsys):
    shutil.copytree(discs, tmp_path, dirs_exist_ok=True)
    pairs = Pairs(find_pairs(tmp_path).pairs, augmentation=Augmentation(), workers=2)
    pairs.pairs[3].image.unlink()
    first, again = (pairs.batch(range(24), (64, 64)) for _ in range(2))
    assert first.images.shape == (24, 3, 64, 64) and torch.equal(first.images, again.images)
    printed = capsys.readouterr().out
    assert printed.count("replaced by the next picture") == 1 and pairs.pairs[3].image.name in printed


def test_pictures_are_upright_and_mattes_keep_sixteen_bits(tmp_path):
    pixels = np.zeros((4, 6, 3), dtype=np.uint8)
    pixels[:2] = 200
    turned = Image.Exif()
    turned[0x0112] = 6
    matte = (np.arange(24).reshape(6, 4) * 1000 + 7).astype(np.uint16)
    for name in ("im", "gt"):
        (tmp_path / name).mkdir()
    Image.fromarray(pixels).save(tmp_path / "im" / "a.png", exif=turned)
    Image.fromarray(matte).save(tmp_path / "gt" / "a.png")
    image, alpha = find_pairs(tmp_path).pairs[0].read()
    assert image.shape == (3, 6, 4) and image[0, :, :2].max() == 0 and image[0, :, 2:].min() > 0.7
    torch.testing.assert_close(alpha[0], torch.from_numpy(matte / 65535).float())


def test_draws_depend_on_seed_epoch_and_sample_alone(discs):
    strong = Augmentation(crop=0.6, rotate=10, colour=1.0, degrade=0.7, plain_background=0.3)
    found = find_pairs(discs).pairs
    one, four, other = (
        Pairs(found, seed=seed, augmentation=strong, workers=workers) for seed, workers in ((1, 1), (1, 4), (2, 1))
    )
    whole = one.batch(range(5, 30), (96, 64))
    assert whole.images.shape == (25, 3, 64, 96) and whole.alpha.shape == (25, 1, 64, 96)
    for values in (whole.images, whole.alpha):
        assert values.min() >= 0 and values.max() <= 1 and values.dtype == torch.float32
    parts = [four.batch(range(first, first + 5), (96, 64)) for first in range(5, 30, 5)]
    assert torch.equal(whole.images, torch.cat([part.images for part in parts]))
    assert torch.equal(whole.alpha, torch.cat([part.alpha for part in parts]))
    assert not torch.equal(whole.images, other.batch(range(5, 30), (96, 64)).images)


def test_an_epoch_draws_every_pair_once_in_another_order(discs):
    pairs = Pairs(find_pairs(discs).pairs, augmentation=Augmentation(flip=0.0))
    epochs = [pairs.batch(range(12 * epoch, 12 * epoch + 12), (32, 32)).images.flatten(1) for epoch in range(2)]
    assert not torch.equal(*epochs)
    assert torch.equal(*(epoch[epoch.sum(1).argsort()] for epoch in epochs))


def test_the_default_flips_and_does_nothing_else(discs):
    image, alpha = find_pairs(discs).pairs[0].read()
    seen = set()
    for seed in range(8):
        rng = np.random.default_rng(seed)
        drawn, matte = augment(image, alpha, (80, 64), Augmentation(), rng)
        flipped = torch.equal(drawn, image.flip(2))
        assert flipped or torch.equal(drawn, image)
        assert torch.equal(matte, alpha.flip(2) if flipped else alpha)
        seen.add(flipped)
    assert seen == {True, False}


def test_strong_augmentation_moves_picture_and_matte_together():
    """A picture that equals its matte must still equal it after everything geometric."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, 96), torch.linspace(-1, 1, 128), indexing="ij")
    alpha = ((0.4 - (x**2 + (y - 0.2) ** 2)) * 8).clamp(0, 1)[None]
    style = Augmentation(crop=0.5, rotate=20)
    for seed in range(6):
        image, matte = augment(alpha.expand(3, -1, -1), alpha, (64, 64), style, np.random.default_rng(seed))
        torch.testing.assert_close(image, matte.expand(3, -1, -1))
        assert 0.02 < matte.mean() < 0.98


def test_weights_say_how_often_a_set_is_drawn(discs, tmp_path, write_pair):
    small = tmp_path / "small"
    for index in range(4):
        write_pair(small, f"s{index}", np.random.default_rng(index))
    data = _read([f"{discs}=0.5", f"{small}=3"], tmp_path / "run", hold_out=0)
    mixture = data.training
    assert mixture.samples == 6 + 12
    places = [mixture._find(index) for index in range(36)]
    for epoch in range(2):
        numbers = [number for number, _ in places[18 * epoch : 18 * epoch + 18]]
        assert numbers.count(0) == 6 and numbers.count(1) == 12 and numbers != sorted(numbers)
    assert sorted(index for number, index in places if number == 0) == list(range(12))  # one half, then the other
    batch = mixture.batch(range(7), (64, 64))
    assert batch.images.shape == (7, 3, 64, 64) and batch.labels is None
    single = mixture.batch([3], (64, 64))
    assert torch.equal(single.images[0], batch.images[3])


@pytest.mark.parametrize("weight", ["1e9", "1e300", "1e308"])
def test_an_epoch_that_no_memory_holds_is_told(discs, tmp_path, weight):
    with pytest.raises(
        ValueError, match=r"with these weights of --data an epoch is (1\.2e\+.*|inf) pictures, and may be 1e\+08"
    ):
        _read([f"{discs}={weight}"], tmp_path / "run", hold_out=0)


def test_bad_cutouts_are_listed_and_left_out(pack_folder, tmp_path):
    shutil.copytree(pack_folder, tmp_path / "pack")
    (tmp_path / "pack" / "foregrounds" / "discs" / "broken.webp").write_bytes(b"no picture")
    data = _read([tmp_path / "pack"], tmp_path / "run")
    assert data.training.samples > 50
    report = (tmp_path / "run" / sources.REPORT).read_text()
    assert "80 cut-outs, 40 backgrounds, 1 left out" in report and "broken.webp" in report


@pytest.mark.parametrize("named", [True, False])
def test_of_cutouts_nothing_is_held_out_where_validation_is_named_or_not_wanted(named, discs, pack_folder, tmp_path):
    recipe = read_recipe(RECIPE, overrides={"size": 64, "hold_out": 6 if named else 0})
    data = sources.read_data([sources.Root(pack_folder)], [discs] if named else [], recipe, out=tmp_path)
    assert data.training.samples == 80 and (data.validation is not None) == named


def test_pairs_and_cutouts_mix(discs, pack_folder, tmp_path):
    data = _read([discs, pack_folder], tmp_path / "run")
    assert data.training.samples == len(data.training.sources[0].pairs) + data.training.sources[1].samples
    batch = data.training.batch(range(8), (64, 64))
    assert batch.images.shape == (8, 3, 64, 64) and batch.alpha.max() <= 1
    held = data.validation.batch(range(data.validation.samples), (64, 64))
    assert len(held.images) > 1
    with pytest.raises(ValueError, match="square"):
        data.training.batch(range(40), (96, 64))


def test_held_out_names_are_not_trained_on(discs, tmp_path):
    pairs = find_pairs(discs).pairs
    for percent in (1, 6, 50, 100):
        training, held = split(pairs, percent)
        assert training and held and len(training) + len(held) == 12
        assert not {pair.name for pair in training} & {pair.name for pair in held}
    assert split(pairs, 0) == (pairs, []) and split(pairs[:1], 50) == (pairs[:1], [])
    recipe = read_recipe(RECIPE, overrides={"size": 64, "validation_pictures": 5})
    other = tmp_path / "other"
    shutil.copytree(discs, other)
    data = sources.read_data([sources.Root(discs)], [other], recipe, out=tmp_path)
    assert data.training.samples == 12 and data.validation.samples == 5


def test_what_validation_names_is_not_trained_on_although_it_lies_under_data(discs, tmp_path):
    for name in ("DIS-TR", "DIS-VD"):
        shutil.copytree(discs, tmp_path / "sets" / name)
    recipe = read_recipe(RECIPE, overrides={"size": 64})
    everything = [sources.Root(tmp_path / "sets")]
    data = sources.read_data(everything, [tmp_path / "sets" / "DIS-VD"], recipe, out=tmp_path / "run")
    assert {pair.root.name for pair in data.training.pairs} == {"DIS-TR"} and data.validation.samples == 12
    assert "not trained on: 12 pairs" in (tmp_path / "run" / sources.REPORT).read_text()
    unvalidated = sources.read_data([sources.Root(tmp_path / "sets" / "DIS-TR")], [], recipe, out=tmp_path / "run")
    assert data.fingerprint != unvalidated.fingerprint, "which weights are the best depends on it"
    with pytest.raises(ValueError, match=r"All pairs under .* are under --validation too"):
        sources.read_data(everything, [tmp_path / "sets"], recipe, out=tmp_path / "run")


def test_labels_come_from_names_when_the_network_asks(discs, pack_folder, tmp_path):
    data = _read([discs], tmp_path / "a", hold_out=0, **{"architecture.classes": 3})
    batch = data.training.batch(range(12), (32, 32))
    assert sorted(batch.labels.tolist()) == [0] * 4 + [1] * 4 + [2] * 4
    with pytest.raises(ValueError, match="3 classes, the recipe's class head 2"):
        _read([discs], tmp_path / "b", **{"architecture.classes": 2})
    with pytest.raises(ValueError, match=r"holds cut-outs, which have no class labels"):
        _read([discs, pack_folder], tmp_path / "c", **{"architecture.classes": 3})
    with pytest.raises(ValueError, match=r"photo.jpg carries no class label .*architecture.classes=0"):
        class_name(Pair(Path("photo.jpg"), Path("photo.png"), Path()))
