"""`--hint`, `--box` and `--point`: which subject of a picture, said on the command line."""

import re
import unicodedata
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from birefnet_core.commands import hints
from birefnet_core.commands.main import _parse
from birefnet_core.matting.hint import draw_boxes, draw_points
from birefnet_core.matting.images import read
from tests.commands.test_pictures import files, matte, parsed  # noqa: F401

WIDTH, HEIGHT = 90, 60


@pytest.fixture
def folder(tmp_path, photograph):
    """in/: a.jpg, b.png, sub/a.png."""
    inside = tmp_path / "in"
    (inside / "sub").mkdir(parents=True)
    for index, name in enumerate(("a.jpg", "b.png", "sub/a.png")):
        crop = photograph[60 * index : 60 * index + HEIGHT, 80 * index : 80 * index + WIDTH]
        Image.fromarray(crop).save(inside / name)
    return inside


@pytest.fixture
def asked(model, monkeypatch):
    """The hints that reach predict."""
    asked = []
    predict = type(model).predict

    def watched(self, images, **options):
        asked.append(options.get("hint"))
        return predict(self, images, **options)

    monkeypatch.setattr(type(model), "predict", watched)
    return asked


def mask(seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).random((12, 18)) > 0.5).astype(np.uint8) * 255


def put(path, pixels) -> torch.Tensor:
    """Writes a mask; the hint [1, h, w] that it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return torch.from_numpy(pixels / np.float32(255))[None]


def test_a_mask_says_which_subject(matte, asked, model, folder, tmp_path):  # noqa: F811
    hint = put(tmp_path / "mask.png", mask())
    assert matte(folder / "b.png", "-o", tmp_path / "x.png", "--output", "alpha", "--hint", tmp_path / "mask.png") == 0
    assert torch.equal(asked[0], hint)
    expected = model.predict(read(folder / "b.png").pixels[None], hint=hint)[0]
    torch.testing.assert_close(read(tmp_path / "x.png").pixels[..., 0], expected, atol=0.51 / 255, rtol=0)


def test_without_a_hint_everything_is_as_before(matte, asked, folder, tmp_path):  # noqa: F811
    assert matte(folder, "-o", tmp_path / "out") == 0
    assert asked == [None, None]


def test_a_hint_under_which_nothing_is_seen_is_told(matte, asked, folder, tmp_path, capsys):  # noqa: F811
    put(tmp_path / "black.png", np.zeros((HEIGHT, WIDTH), np.uint8))
    assert matte(folder / "b.png", "-o", tmp_path / "x.png", "--hint", tmp_path / "black.png") == 0
    assert "b.png: the hint names nothing that is seen, nothing is matted" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--hint", "--background"])
def test_a_name_that_is_too_long_is_one_sentence(matte, folder, tmp_path, capsys, option):  # noqa: F811
    with pytest.raises(SystemExit):
        matte(folder / "b.png", "-o", tmp_path / "x.png", option, "z" * 300)
    assert "zzz' cannot be looked at: File name too long" in capsys.readouterr().err


def test_a_folder_of_masks_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    def refused(folder):
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr(hints.Path, "iterdir", refused)
    with pytest.raises(PermissionError, match=re.escape(str(tmp_path))):
        hints.mask_of(tmp_path, hints.Path("a.png"))


def test_boxes_and_points_apply_to_all_and_count_together(matte, asked, folder, tmp_path):  # noqa: F811
    options = ("--box", "10,5,20.5,30", "--box", "60,40,10,10", "--point", "50,20")
    assert matte(folder, "-o", tmp_path / "out", *options) == 0
    boxes = draw_boxes([(10, 5, 20.5, 30), (60, 40, 10, 10)], (WIDTH, HEIGHT))
    expected = boxes.maximum(draw_points([(50, 20)], (WIDTH, HEIGHT)))[None]
    assert len(asked) == 2 and all(torch.equal(hint, expected) for hint in asked)


def test_a_mask_and_a_box_count_together(matte, asked, folder, tmp_path):  # noqa: F811
    put(tmp_path / "mask.png", np.zeros((HEIGHT, WIDTH), np.uint8))
    assert matte(folder / "b.png", "-o", tmp_path / "x.png", "--hint", tmp_path / "mask.png", "--box", "1,2,3,4") == 0
    assert torch.equal(asked[0], draw_boxes([(1, 2, 3, 4)], (WIDTH, HEIGHT))[None])


def test_a_folder_has_a_mask_for_each(matte, asked, folder, tmp_path):  # noqa: F811
    expected = [put(tmp_path / "hints" / name, mask(i)) for i, name in enumerate(("a.png", "b.webp", "sub/a.bmp"))]
    expected[1] = read(tmp_path / "hints" / "b.webp").pixels.mean(-1)[None]
    (tmp_path / "hints" / ".a.png").write_bytes(b"hidden")
    (tmp_path / "hints" / "a.txt").write_text("notes")
    options = ("--recursive", "--hint", tmp_path / "hints")
    assert matte(folder, "-o", tmp_path / "out", *options) == 0
    assert [torch.equal(*pair) for pair in zip(asked, expected, strict=True)] == [True] * 3


@pytest.mark.parametrize(("ours", "theirs"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_accents_may_be_written_in_two_ways(ours, theirs, tmp_path):
    """A Mac writes a letter and its accent as two; a folder of masks may come from one."""
    one, other = (partial(unicodedata.normalize, form) for form in (ours, theirs))
    path = tmp_path / "hints" / other("für") / other("müde.png")
    put(path, mask())
    place, name = tmp_path / "hints", Path(one("für")) / one("müde.jpg")
    assert hints.mask_of(place, name) == path and hints.frames_of(place, place, name, only=False) == [path]
    frame = path.parent / other("café") / "1.png"
    put(frame, mask())
    assert hints.frames_of(place, place, name.with_name(one("café.mp4")), only=False) == [frame]


def test_masks_that_fail_stop_only_their_picture(matte, folder, tmp_path, capsys):  # noqa: F811
    put(tmp_path / "hints" / "sub" / "a.png", mask())
    (tmp_path / "hints" / "b.png").write_bytes(b"no picture")
    assert matte(folder, "-o", tmp_path / "out", "--recursive", "--hint", tmp_path / "hints") == 1
    assert files(tmp_path / "out") == ["sub/a.png"]
    said = [line for line in capsys.readouterr().err.splitlines() if "hints" in line]
    assert len(said) == 2
    assert "a.jpg: there is no mask for it in" in said[0] and "b.png is not a picture we can read" in said[1]


def test_two_masks_of_one_name_are_one_too_many(folder, tmp_path):
    for name in ("a.png", "a.bmp"):
        put(tmp_path / "hints" / name, mask())
    with pytest.raises(ValueError, match=r"has several masks for it: a\.bmp, a\.png"):
        hints.mask_of(tmp_path / "hints", (folder / "a.jpg").relative_to(folder))


def test_a_box_outside_one_picture_is_said_of_it(matte, folder, tmp_path, capsys):  # noqa: F811
    Image.new("RGB", (200, 100)).save(folder / "large.png")
    assert matte(folder, "-o", tmp_path / "out", "--box", "150,10,20,20") == 1
    assert files(tmp_path / "out") == ["large.png"]
    assert capsys.readouterr().err.count("lies outside the 90 x 60 picture") == 2


def test_one_mask_for_several_pictures_is_refused(matte, folder, tmp_path):  # noqa: F811
    put(tmp_path / "mask.png", mask())
    with pytest.raises(ValueError, match="is for one input: name a folder"):
        matte(folder, "-o", tmp_path / "out", "--hint", tmp_path / "mask.png")


def test_the_opaque_part_of_a_cut_out_is_a_hint(tmp_path):
    pixels = np.zeros((4, 6, 4), np.uint8)
    pixels[:, :3] = 0, 0, 0, 255
    Image.fromarray(pixels).save(tmp_path / "cut-out.png")
    assert hints.read_hint(tmp_path / "cut-out.png").tolist() == [[1, 1, 1, 0, 0, 0]] * 4


def test_a_hint_that_moves_is_refused(tmp_path):
    """Its first picture would be taken, silently."""
    frames = [Image.fromarray(mask(seed)) for seed in range(2)]
    for name in ("a.png", "a.webp", "a.gif"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
    (tmp_path / "a.mp4").write_bytes(b"")
    for name in ("a.png", "a.webp", "a.gif", "a.mp4"):
        with pytest.raises(
            ValueError, match=f"{name} moves, and the hint of a picture, or of one frame, is one picture"
        ):
            hints.read_hint(tmp_path / name)


def test_a_box_may_begin_outside_the_picture():
    """Detectors give such boxes, and argparse takes for an option what begins with a minus."""
    _, args = _parse(["matte", "a.jpg", "-o", "out", "--box", "-20,-10.5,100,90", "--box", "1,2,3,4", "--point", "5,6"])
    assert args.box == [(-20, -10.5, 100, 90), (1, 2, 3, 4)] and args.point == [(5, 6)]


@pytest.mark.parametrize(
    "option, value, words",
    [
        ("--box", "1,2,3", "'1,2,3' is not x,y,w,h, numbers of pixels"),
        ("--box", "1,2,3,four", "is not x,y,w,h"),
        ("--box", "1,2,nan,4", "is not x,y,w,h"),
        ("--box", "1,2,0,4", "its width and height must be positive"),
        ("--box", "1,2,3,-4", "its width and height must be positive"),
        ("--point", "1", "is not x,y, numbers of pixels"),
        ("--point", "1,2,3", "is not x,y"),
        ("--point=-1,2", None, "is in no picture"),
        ("--hint", "nowhere.png", "'nowhere.png' is no mask and no folder: it does not exist"),
    ],
)
def test_bad_values_are_errors_of_the_parser(option, value, words, capsys):
    with pytest.raises(SystemExit):
        parsed("a.jpg", "-o", "out", option, *([] if value is None else [value]))
    assert words in capsys.readouterr().err
