"""The set `pairs` in little, and the command that measures on it."""

import csv
import shutil

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from scipy import ndimage

import birefnet_core
from birefnet_core.matting.hint import checked_hint
from birefnet_core.weights.download import DownloadError
from train.evaluation import hints
from train.evaluation.sets import pairs
from train.shared.pictures import by_stem, read_image, read_matte


def cutout(colour, size=(240, 200)):
    picture = Image.new("RGBA", size)
    draw = ImageDraw.Draw(picture)
    draw.ellipse((0, 0, size[0] - 1, size[1] - 1), fill=colour)
    draw.ellipse((size[0] // 3, size[1] // 3, size[0] // 2, size[1] // 2), fill="#fff0")
    return picture


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    cutouts = {
        name: cutout(colour) for name, colour in (("a.png", "#c02010"), ("b.png", "#1030c0"), ("c.png", "#10a020"))
    }
    photographs = {"sky": Image.linear_gradient("L").resize((700, 700)).convert("RGB")}
    folder = tmp_path_factory.mktemp("pairs")

    def build(name):
        return pairs.write(folder / name, cutouts, photographs, images=4, seed=3)

    return folder, build("one"), build("two")


def test_the_same_seed_gives_the_same_pixels(small):
    _, one, two = small
    assert one == two


def test_every_other_one_touches_another_and_the_truth_is_what_is_seen(small):
    folder = small[0] / "one"
    rows = list(csv.DictReader((folder / "index.csv").open()))
    assert [row["kind"] for row in rows] == ["apart", "touching"] * 2
    images, truths = by_stem(folder / "im"), by_stem(folder / "gt")
    assert [row["stem"] for row in rows] == list(images) == list(truths)
    for row in rows:
        image = np.asarray(read_image(images[row["stem"]])).astype(int)
        truth = read_matte(truths[row["stem"]])
        assert image.shape[:2] == truth.shape and 0.02 < truth.mean() < 0.4
        asked = row["stamps"].split("; ")[int(row["asked"])]
        channel = {"a.png": 0, "b.png": 2, "c.png": 1}[asked]
        inside = image[truth == 1]
        assert (inside.argmax(1) == channel).all()  # nothing of another lies within


def test_hints_say_what_their_names_say(small):
    folder = small[0] / "one"
    truths = by_stem(folder / "gt")
    kinds = {kind: by_stem(folder / "hints" / kind) for kind in pairs.HINTS}
    assert list(kinds) == ["perfect", "eroded", "dilated", "shifted", "coarser", "box", "dot"]
    for stem, path in truths.items():
        truth = read_matte(path)
        solid = truth >= 0.5
        hint = {kind: read_matte(files[stem]) for kind, files in kinds.items()}
        assert all(each.any() for each in hint.values())
        checked_hint(torch.stack([torch.from_numpy(hint["coarser"]).float()]), 1)
        np.testing.assert_array_equal(hint["perfect"], truth)
        assert (hint["eroded"] <= solid).all() and hint["eroded"].sum() < solid.sum()
        assert (hint["dilated"] >= solid).all() and hint["dilated"].sum() > solid.sum()
        assert hint["shifted"].sum() <= solid.sum() and (hint["shifted"] != solid).any()
        assert hint["coarser"].shape == tuple(max(1, round(side / 16)) for side in truth.shape)
        assert (hint["box"] >= solid).all() and hint["box"].sum() == np.prod([np.ptp(a) + 1 for a in np.nonzero(solid)])
        assert solid[hint["dot"] == 1].mean() > 0.9 and hint["dot"].sum() < 0.1 * solid.sum()


def test_an_eroded_hint_of_something_thin_is_not_empty():
    thin = np.zeros((60, 200), np.float32)
    thin[28:31, 10:190] = 1
    assert pairs.HINTS["eroded"](thin, pairs.random.Random(1)).any()


def test_what_is_drawn_by_hand_goes_around_it_or_lies_inside(small):
    for path in by_stem(small[0] / "one" / "gt").values():
        truth = read_matte(path)
        solid = truth >= 0.5
        drawn = {kind: make(truth, pairs.random.Random(1)) for kind, make in pairs.DRAWN.items()}
        assert all(each.shape == truth.shape and 0 < each.mean() < 0.2 for each in drawn.values())
        sides, _ = ndimage.label(~drawn["outline"])
        within = np.isin(sides, sides[solid])
        assert not (drawn["outline"] & solid).any() and solid.sum() < within.sum() < 3 * solid.sum() < (~within).sum()
        assert drawn["scribble"][solid].sum() > 0.8 * drawn["scribble"].sum()
        assert not (drawn["strokes"] & ~solid).any() and ndimage.label(drawn["strokes"])[1] > 1
        assert not (drawn["painted"] & ~solid).any() and drawn["painted"].sum() > drawn["scribble"].sum()


def test_no_room_is_an_error(monkeypatch):
    monkeypatch.setattr(pairs, "TRIES", 3)
    two = {"a.png": cutout("red"), "b.png": cutout("blue")}
    with pytest.raises(ValueError, match=r"found no place for a.png, b.png in a picture of 9 x 9"):
        pairs._scene(np.zeros((9, 9, 3), np.float32), list(two), two, pairs.random.Random(0), touching=False)


def test_the_command_measures_by_kind_and_draws_a_sheet(small, tmp_path, capsys, one_thread):
    folder = small[0] / "one"
    arguments = ["--model", "bundled", "--data", str(folder), "--every", "4", "--device", "cpu"]
    hints.main([*arguments, "--sheet", str(tmp_path / "sheet.jpg")])
    lines = capsys.readouterr().out.splitlines()
    rows = {line.split("|")[1].strip(): line for line in lines[2:]}
    assert set(rows) == {*pairs.HINTS, *pairs.DRAWN}
    assert "| 1.000 / 0.0000 |" in rows["perfect"]
    with Image.open(tmp_path / "sheet.jpg") as sheet:
        assert sheet.width > 1000
    with pytest.raises(SystemExit, match="has no folder im/"):
        hints.main(["--model", "bundled", "--data", str(tmp_path)])
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit, match="the sheet was not written: "):
        hints.main([*arguments, "--sheet", str(tmp_path / "file" / "sheet.jpg")])
    assert "| perfect |" in capsys.readouterr().out


@pytest.mark.parametrize("error", [DownloadError("no network"), ArithmeticError("the network gave NaN")])
def test_what_keeps_it_from_measuring_is_a_sentence(small, monkeypatch, error):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(birefnet_core, "load_model", fail)
    with pytest.raises(SystemExit, match=f"not measured: {error}"):
        hints.main(["--model", "BiRefNet", "--data", str(small[0] / "one")])


def test_a_model_that_takes_hints_is_measured_either_way(small, tmp_path, monkeypatch, one_thread):
    """Told them, or not, as models that take none."""
    network = birefnet_core.build_network("timm:test_efficientnet", block_channels=8, branch_channels=8, hint=True)
    spec = birefnet_core.ModelSpec("hinted", "timm:test_efficientnet", (64, 64))
    birefnet_core.save_model(network.eval(), tmp_path / "hinted.safetensors", spec=spec)
    took = []
    monkeypatch.setattr(hints, "measure", lambda model, *_: took.append(model.takes_hint) or ({}, []))
    arguments = ["--model", str(tmp_path / "hinted.safetensors"), "--data", str(small[0] / "one"), "--device", "cpu"]
    hints.main(arguments)
    hints.main([*arguments, "--untold"])
    assert took == [True, False]


def test_a_set_without_hints_gets_those_of_its_truths(small, tmp_path):
    folder = small[0] / "one"
    for part in ("im", "gt"):
        shutil.copytree(folder / part, tmp_path / part)
    stem, path = next(iter(by_stem(tmp_path / "gt").items()))
    truth = read_matte(path)
    made = hints.hints_of({}, stem, truth)
    assert list(made) == [*pairs.HINTS, *pairs.DRAWN]
    assert all(torch.equal(one, two) for one, two in zip(made.values(), hints.hints_of({}, stem, truth).values()))
    np.testing.assert_array_equal(made["perfect"], truth.astype(np.float32))
    np.testing.assert_array_equal(made["box"], read_matte(by_stem(folder / "hints" / "box")[stem]))


def test_pictures_that_cannot_be_asked_for_are_left_out(small, tmp_path, capsys, one_thread):
    arguments = ["--model", "bundled", "--data", str(tmp_path), "--device", "cpu"]
    for part in ("im", "gt"):
        shutil.copytree(small[0] / "one" / part, tmp_path / part)
    first, *others = by_stem(tmp_path / "gt").values()
    size = read_image(tmp_path / "im" / first.name).size
    Image.new("L", size, 90).save(first)
    for path in others[1:]:
        path.unlink(), (tmp_path / "im" / path.name).unlink()
    hints.main(arguments)
    out, err = capsys.readouterr()
    assert err == f"left out: {first} has nothing that is half opaque\n" and out.count("\n") == 2 + len(
        pairs.HINTS | pairs.DRAWN
    )
    Image.new("L", read_image(tmp_path / "im" / others[0].name).size).save(others[0])
    with pytest.raises(SystemExit, match=r"no truth in .*gt has anything that is half opaque"):
        hints.main(arguments)
    first.unlink()
    with pytest.raises(SystemExit, match=f"not measured: .*{first.name} has no picture of the same name in .*gt"):
        hints.main(arguments)


def test_a_truth_of_another_size_and_a_sheet_that_cannot_be_written_are_told(small, tmp_path, monkeypatch, capsys):
    """The second before hours of measuring."""
    shutil.copytree(small[0] / "one", tmp_path / "set")
    first = next(iter(by_stem(tmp_path / "set" / "gt").values()))
    Image.new("L", (50, 40), 255).save(first)
    arguments = ["--model", "bundled", "--data", str(tmp_path / "set"), "--device", "cpu"]
    with pytest.raises(SystemExit, match=rf"not measured: .* x .*, its matte .*{first.name} is 50 x 40$"):
        hints.main(arguments)
    monkeypatch.setattr(hints, "measure", lambda *_: pytest.fail("it was measured"))
    with pytest.raises(SystemExit):
        hints.main([*arguments, "--sheet", "sheet.nope"])
    assert "sheet.nope names no kind of picture that can be written" in capsys.readouterr().err


def test_a_hint_that_is_missing_is_named(small, tmp_path):
    shutil.copytree(small[0] / "one", tmp_path / "set")
    first = next(iter(by_stem(tmp_path / "set" / "hints" / "box").values()))
    first.unlink()
    with pytest.raises(SystemExit, match=f"{first.name} has no picture of the same name in .*box"):
        hints.main(["--model", "bundled", "--data", str(tmp_path / "set"), "--device", "cpu"])


def test_figures_are_those_of_the_mattes():
    truth = torch.tensor([[1.0, 1, 0, 0]])
    assert hints.iou(torch.tensor([[1.0, 0.4, 0.6, 0]]), truth) == pytest.approx(1 / 3)
    assert hints.mad(torch.tensor([[1.0, 0.4, 0.6, 0]]), truth) == pytest.approx(0.3)
    assert hints.iou(0 * truth, 0 * truth) == 1
