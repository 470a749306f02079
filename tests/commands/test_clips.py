"""`python -m birefnet_core matte` with clips."""

import argparse
import os
import subprocess
import sys
from fractions import Fraction
from functools import partial
from pathlib import Path
from time import sleep

import av
import numpy as np
import pytest
import torch
from PIL import Image

from birefnet_core.bench.video import stub
from birefnet_core.commands import hints
from birefnet_core.commands import matte as command
from birefnet_core.commands.clips import plan
from birefnet_core.commands.main import main
from birefnet_core.matting.load import load_model
from birefnet_core.video import Clip
from birefnet_core.video.colour import to_rgb
from birefnet_core.video.hint_clip import HintClip
from birefnet_core.video.source import VideoError
from birefnet_core.weights.places import BUNDLED
from tests.video.conftest import BAD
from tests.video.pictures import COUNT, HEIGHT, WIDTH, number_of

ROOT = Path(__file__).parents[2]


@pytest.fixture
def stubbed(monkeypatch):
    """A soft ellipse in place of a network."""
    monkeypatch.setattr("birefnet_core.matting.load.load_model", lambda *_, **__: stub(64))


def matte(*arguments):
    return main(["matte", *(str(argument) for argument in arguments), "--device", "cpu", "--size", "64"])


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def clip(make_clip):
    return make_clip("in/clip.mp4", count=6, sound="aac")


def test_a_clip_to_prores_is_what_the_model_says(clip, tmp_path, decode, capsys):
    assert matte(clip, "-o", tmp_path / "out.mov") == 0
    frames, times = decode(tmp_path / "out.mov")
    source = torch.stack([torch.from_numpy(to_rgb(frame.picture)) for frame in Clip(clip).frames()])
    alpha = load_model(BUNDLED, device="cpu").predict(source, size=64).numpy()
    difference = np.abs(frames[..., 3] / 255 - alpha)
    assert difference[:, 2:-2, 2:-2].max() <= 2 / 255
    assert difference.max() <= 4 / 255  # the outermost pixels are resized otherwise
    assert times == pytest.approx([index / 12 for index in range(6)])
    printed = capsys.readouterr()
    assert "1 of 1 clips matted" in printed.out
    assert "6/6" in printed.err


def test_clips_and_pictures_of_a_folder(stubbed, clip, make_clip, tmp_path, capsys):
    make_clip("in/other.webm", codec="libvpx-vp9", count=3)
    Image.new("RGB", (40, 30), "red").save(tmp_path / "in" / "photo.jpg")
    (tmp_path / "in" / "broken.mkv").write_bytes(b"nothing")
    assert matte(tmp_path / "in", "-o", tmp_path / "out", "--format", "png", "--frames", "2") == 1
    pictures = ["000001.png", "000002.png", "times.txt"]
    expected = [f"{folder}/{name}" for folder in ("clip", "other") for name in pictures]
    assert names(tmp_path / "out") == [*expected, "photo.png"]
    printed = capsys.readouterr()
    assert "2 of 3 clips matted" in printed.out
    assert "1 of 1 pictures matted" in printed.out
    assert "broken.mkv is not a clip we can read" in printed.err


def test_pictures_and_clips_may_become_different_things(stubbed, clip, tmp_path):
    Image.new("RGB", (40, 30), "red").save(tmp_path / "in" / "photo.jpg")
    options = ["--format", "mask", "--background", "green", "--output", "composite"]
    assert matte(tmp_path / "in", "-o", tmp_path / "out", *options) == 0
    assert names(tmp_path / "out") == ["clip.mp4", "photo.png"]


def test_bad_clips_are_named_and_the_rest_go_on(stubbed, bad_clips, make_clip, tmp_path, capsys):
    """And what was there before, under the name that each would get, stays."""
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    bad_clips(tmp_path / "in")
    for name in BAD:
        (tmp_path / "out" / name).with_suffix(".mov").write_bytes(b"before")
    make_clip("in/good.mp4", count=2)
    assert matte(tmp_path / "in", "-o", tmp_path / "out", "--overwrite") == 1
    printed = capsys.readouterr()
    assert f"1 of {len(BAD) + 1} clips matted" in printed.out
    told = {line.split(" ")[0].rsplit("/", 1)[1]: line for line in printed.err.splitlines() if line.startswith("/")}
    for name, words in BAD.items():
        assert words in told[name]
    assert names(tmp_path / "out") == sorted(["good.mov", *(name.rsplit(".", 1)[0] + ".mov" for name in BAD)])
    for name in BAD:
        assert (tmp_path / "out" / name).with_suffix(".mov").read_bytes() == b"before"


def test_a_codec_nobody_knows_is_named_and_the_rest_go_on(stubbed, make_clip, tmp_path, capsys):
    source = make_clip("in/a.mkv", count=2)
    source.write_bytes(source.read_bytes().replace(b"V_MPEG4/ISO/AVC", b"V_ZPEG4/ISO/ZZZ"))
    make_clip("in/good.mp4", count=2)
    assert matte(tmp_path / "in", "-o", tmp_path / "out") == 1
    printed = capsys.readouterr()
    assert "1 of 2 clips matted" in printed.out
    assert "a.mkv has pictures of a codec that FFmpeg cannot decode" in printed.err


def test_the_format_follows_the_name_or_the_background(stubbed, clip, tmp_path, decode):
    Image.new("RGB", (8, 8), "#00ff00").save(tmp_path / "back.png")
    assert matte(clip, "-o", tmp_path / "a", "--background", tmp_path / "back.png") == 0
    assert matte(clip, "-o", tmp_path / "b.webm", "--stabilise", "0.5") == 0
    assert matte(clip, "-o", tmp_path / "c.mp4", "--format", "side-by-side") == 0
    assert decode(tmp_path / "a" / "clip.mp4")[0].shape == (6, HEIGHT, WIDTH, 4)
    assert Clip(tmp_path / "b.webm").info.has_alpha
    assert decode(tmp_path / "c.mp4")[0].shape == (6, HEIGHT, 3 * WIDTH, 4)


def test_pictures_named_by_their_suffix_go_into_a_folder_of_that_name(stubbed, clip, tmp_path):
    assert matte(clip, "-o", tmp_path / "plate.exr", "--frames", "2") == 0
    assert matte(clip, "-o", tmp_path / "shot.v2.PNG", "--frames", "1") == 0
    assert matte(clip, "-o", tmp_path / "deep.png", "--frames", "1", "--format", "png16") == 0
    assert names(tmp_path / "plate") == ["plate.1001.exr", "plate.1002.exr", "times.txt"]
    assert names(tmp_path / "shot.v2") == names(tmp_path / "deep") == ["000001.png", "times.txt"]


def test_a_folder_of_pictures_is_named_and_replaced_by_its_kind_only(stubbed, clip, tmp_path, capsys):
    assert matte(clip, "-o", tmp_path / "plate.exr", "--frames", "2") == 0
    assert f"1 of 1 clips matted into {tmp_path / 'plate'}\n" in capsys.readouterr().out
    assert matte(clip, "-o", tmp_path / "plate.png", "--frames", "1", "--overwrite") == 1
    assert "plate has plate.1001.exr in it, which .png pictures do not replace" in capsys.readouterr().err
    (tmp_path / "plate" / ".DS_Store").touch()
    assert matte(clip, "-o", tmp_path / "plate.exr", "--frames", "1", "--overwrite") == 0
    assert names(tmp_path / "plate") == ["plate.1001.exr", "times.txt"]


@pytest.mark.parametrize("name", ["moving.gif", "moving.webp", "moving.png"])
def test_an_animated_picture_behind_the_subject_moves(tmp_path, name):
    from birefnet_core.video.behind import backgrounds

    shades = [Image.new("RGB", (16, 12), (80 * index,) * 3) for index in range(3)]
    lossless = {"lossless": True} if name.endswith("webp") else {}
    shades[0].save(tmp_path / name, save_all=True, append_images=shades[1:], duration=100, **lossless)
    shades[2].save(tmp_path / f"still-{name}")
    moving, still = (backgrounds(path, (16, 12), Fraction(1)) for path in (tmp_path / name, tmp_path / f"still-{name}"))
    seconds = [Fraction(index, 10) for index in range(5)]
    assert [round(moving(time)[6, 8, 0] / 80) for time in seconds] == [0, 1, 2, 0, 1]
    assert [still(time)[6, 8, 0] for time in seconds] == [160] * 5


def test_a_span_of_the_clip(stubbed, make_clip, tmp_path, decode):
    source = make_clip("clip.mkv", codec="ffv1", pixels="yuv444p")
    assert matte(source, "-o", tmp_path / "a.mov", "--start", "0.75", "--frames", "3", "--every", "2") == 0
    frames, _ = decode(tmp_path / "a.mov")
    assert [number_of(frame[..., :3]) for frame in frames] == [9, 11, 13]
    assert COUNT > 13


@pytest.mark.parametrize("mode", ["locate", "detail"])
def test_locate_and_detail_see_whole_frames(mode, stubbed, clip, tmp_path, decode):
    assert matte(clip, "-o", tmp_path / "a.mov", "--mode", mode, "--frames", "1") == 0
    assert decode(tmp_path / "a.mov")[0].shape == (1, HEIGHT, WIDTH, 4)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-o", "out.mov", "--stabilise", "2"], "'2' is no strength"),
        (["-o", "out.mov", "--output", "alpha"], "--output alpha is for pictures"),
        (["-o", "out", "--depth", "16"], "say with --format what clips become"),
        (["-o", "out.mov", "--format", "webm"], "the format webm is written as .webm"),
        (["-o", "out.tif"], "out.tif: clips are not written as .tif, but as .apng or .exr or .mov or .mp4 or .png or"),
        (["-o", "out.mov", "--start", "9"], "no frames from 9 s"),
        (["-o", "out.mov", "--every", "0"], "--every must be a whole number, 1 to 1000000, not 0"),
        (
            ["-o", "out.mov", "--every", "2147483648"],
            "--every must be a whole number, 1 to 1000000, not 2147483648",
        ),
        (
            ["-o", "out.mov", "--frames", "0", "--model", "BiRefNet"],
            "--frames must be a whole number, 1 or more, not 0",
        ),
        (["-o", "out.mov", "--start", "-1"], "--start must be 0 or more seconds, not -1.0"),
        (["-o", "out.mov", "--end", "inf"], "--end must be a number of seconds after start (0.0 s), not inf"),
        (["-o", "out.mov", "--background", "green"], "--background green would not be seen: clips become prores"),
        (["-o", "out", "--format", "webm", "--background", "green"], "clips become webm"),
        (["-o", "out", "--output", "composite"], "--output composite is for pictures: clips become prores"),
        (["-o", "out", "--output", "cutout", "--format", "mask"], "--output cutout is for pictures: clips become mask"),
        (["-o", "out.mov", "--background", "greenish"], "no file and no colour"),
        (["-o", "clip.mp4", "--overwrite"], "would replace the input"),
        (["-o", "out.mov", "--after-cut", "everything"], "--after-cut everything does nothing without a hint"),
        (
            ["-o", "out.mov", "--edges", "off", "--edge-radius", "5"],
            "an edge radius of 5 does nothing, since edges are",
        ),
    ],
)
def test_wrong_arguments_are_told_in_one_sentence(stubbed, clip, capsys, monkeypatch, arguments, said):
    monkeypatch.chdir(clip.parent)
    content = clip.read_bytes()
    try:
        assert matte("clip.mp4", *arguments) != 0
    except SystemExit as stopped:
        assert stopped.code == 2
    printed = capsys.readouterr().err
    assert said in printed
    assert "Traceback" not in printed
    assert names(clip.parent) == ["clip.mp4"]
    assert clip.read_bytes() == content


@pytest.mark.skipif(os.name == "nt", reason="terminate() asks no one there")
def test_a_run_that_is_terminated_keeps_what_is_done(make_clip, tmp_path):
    source = make_clip("clip.mkv", codec="ffv1", pixels="yuv444p", count=400)
    arguments = ["matte", str(source), "-o", str(tmp_path / "out" / "a.mov"), "--device", "cpu", "--size", "128"]
    with subprocess.Popen([sys.executable, "-m", "birefnet_core", *arguments], cwd=ROOT, stderr=subprocess.PIPE) as run:
        while not any(path.stat().st_size for path in tmp_path.glob("out/.*.part")):
            assert run.poll() is None
            sleep(0.05)
        run.terminate()
        assert run.wait(60) == 130
    assert names(tmp_path / "out") == ["a.partial.mov"]


def test_two_clips_do_not_share_a_name(tmp_path):
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    args = parser.parse_args(["x", "-o", "out"])
    sources = [(tmp_path / "a.mp4", tmp_path / "a.mp4"), (tmp_path / "a.mkv", tmp_path / "a.mkv")]
    with pytest.raises(ValueError, match="would both become"):
        plan(sources, args, single=False)


def test_a_damaged_frame_is_told_and_strict_stops_there(stubbed, make_clip, tmp_path, capsys):
    source = make_clip("clip.mov", codec="png", pixels="rgba", count=8)
    data = bytearray(source.read_bytes())
    with av.open(str(source)) as container:
        place = [packet.pos for packet in container.demux(video=0) if packet.size][5]
    data[place : place + 16] = bytes(16)
    source.write_bytes(data)
    assert matte(source, "-o", tmp_path / "out.mov") == 0
    assert f"{source}: 1 frame could not be decoded (at 0.42 s); 1 held by the frame before" in capsys.readouterr().err
    assert len(list(Clip(tmp_path / "out.mov").frames())) == 8
    assert matte(source, "-o", tmp_path / "strict.mov", "--strict") == 1
    printed = capsys.readouterr()
    assert "0 of 1 clips matted" in printed.out
    assert "is cut off or damaged at 0." in printed.err
    assert len(list(Clip(tmp_path / "strict.partial.mov").frames())) <= 5


# Which subject: the ellipse of the stand-in fills most of the frame, and hints ask for parts of it.


def half(width=WIDTH, height=HEIGHT, right=False):
    mask = np.zeros((height, width), np.uint8)
    mask[:, width // 2 :] = 255
    return Image.fromarray(mask if right else mask[:, ::-1])


def sides(path, decode):
    """Mean alpha of the left and of the right part of each frame."""
    alpha = decode(path)[0][..., 3] / 255
    width = alpha.shape[2]
    return alpha[:, :, : width // 3].mean(axis=(1, 2)), alpha[:, :, -width // 3 :].mean(axis=(1, 2))


def test_a_mask_or_a_box_of_the_first_frame(stubbed, clip, tmp_path, decode):
    half().save(tmp_path / "left.png")
    for name, option in (("a", ["--hint", tmp_path / "left.png"]), ("b", ["--box", f"0,0,{WIDTH // 2},{HEIGHT}"])):
        assert matte(clip, "-o", tmp_path / f"{name}.mov", *option) == 0
        left, right = sides(tmp_path / f"{name}.mov", decode)
        assert len(left) == 6
        assert left.min() > 0.2 and right.max() < 0.05


def test_a_point_asks_for_the_one_that_is_there(stubbed, clip, tmp_path, decode):
    assert matte(clip, "-o", tmp_path / "a.mov", "--point", f"{WIDTH // 2},{HEIGHT // 2}", "--frames", "1") == 0
    assert decode(tmp_path / "a.mov")[0][..., 3].max() > 200


@pytest.mark.parametrize("place", ["hints", "hints/clip"])
def test_a_folder_has_a_mask_for_each_frame_by_its_number(stubbed, clip, tmp_path, decode, place):
    """10 comes after 9, and the sixth frame's mask is another."""
    folder = tmp_path / place
    folder.mkdir(parents=True)
    for number in range(5, 11):
        half(right=number == 10).save(folder / f"mask_{number}.png")
    assert matte(clip, "-o", tmp_path / "a.mov", "--hint", tmp_path / "hints") == 0
    left, right = sides(tmp_path / "a.mov", decode)
    assert left[:5].min() > 0.2 > 0.05 > left[5]
    assert right[5] > 0.2 > 0.05 > right[:5].max()


@pytest.mark.parametrize("form", ["mask.mkv", "cutout.mov", "moving.png", "hints/clip.mkv"])
def test_a_clip_of_masks_has_one_for_each_frame(stubbed, clip, make_clip, tmp_path, decode, form):
    """The sixth frame's mask is another. Of a cut-out its transparency is meant, its picture is white."""
    masks = [half(right=number == 5) for number in range(6)]
    path = tmp_path / form
    if form == "moving.png":
        masks[0].save(path, save_all=True, append_images=masks[1:])
    else:
        cutout = form == "cutout.mov"
        white, shown = np.full((HEIGHT, WIDTH, 3), 255, np.uint8), [np.asarray(each.convert("RGB")) for each in masks]
        pictures = [np.dstack([white, each[..., :1]]) for each in shown] if cutout else shown
        kind = {"codec": "prores_ks", "pixels": "yuva444p10le"} if cutout else {"codec": "ffv1", "pixels": "yuv444p"}
        path.parent.mkdir(exist_ok=True)
        make_clip(form, count=6, frame=lambda index, *_: pictures[index], **kind)
    given = path.parent if path.parent != tmp_path else path
    assert matte(clip, "-o", tmp_path / "a.mov", "--hint", given) == 0
    left, right = sides(tmp_path / "a.mov", decode)
    assert left[:5].min() > 0.2 > 0.05 > left[5]
    assert right[5] > 0.2 > 0.05 > right[:5].max()


def test_pictures_come_before_a_clip_of_the_same_name(make_clip, tmp_path):
    """Such as the input itself, or a look at the masks as a clip, which a segmenter lays beside them."""
    clip = make_clip("in/clip.mp4", count=3)
    for number in range(3):
        half().save(tmp_path / "in" / f"{number:03}.png")
    found = partial(hints.frames_of, source=Path(clip), name=Path("clip.mp4"))
    frames = [tmp_path / "in" / f"{number:03}.png" for number in range(3)]
    assert found(tmp_path / "in", only=True) == frames
    with pytest.raises(ValueError, match="there is no mask for it in"):
        found(tmp_path / "in", only=False)  # but the input itself
    other = make_clip("masks/clip.mkv", codec="ffv1", count=3)
    assert found(tmp_path / "masks", only=True) == found(tmp_path / "masks", only=False) == [other]
    half().save(tmp_path / "masks" / "clip.png")
    assert (
        found(tmp_path / "masks", only=True) == found(tmp_path / "masks", only=False) == [tmp_path / "masks/clip.png"]
    )
    half().save(tmp_path / "in" / "clip.png")
    assert found(tmp_path / "in", only=False) == [tmp_path / "in" / "clip.png"]


def test_a_clip_of_masks_that_ends_early_is_named(make_clip, monkeypatch):
    """Where frames are left out that its packets promise."""
    clip = Clip(make_clip("masks.mkv", codec="ffv1", count=5))
    masks = HintClip(clip)
    monkeypatch.setattr(masks, "_numbers", range(7))
    assert len(masks) == 7 and masks[4].shape == masks[1].shape == (HEIGHT, WIDTH)
    with pytest.raises(VideoError, match=r"masks\.mkv ends after 5 masks"):
        masks[5]


def test_masks_of_a_clip_come_in_any_order(make_clip):
    clip = Clip(make_clip("masks.mkv", codec="ffv1", pixels="yuv444p", count=230))
    masks = HintClip(clip)
    expected = [to_rgb(frame.picture) for frame in clip.frames()]
    for number in (0, 0, 1, 3, 150, 149, -1, 228):
        assert np.allclose(masks[number], expected[number].mean(axis=2) / 255, atol=1e-6)
    assert [len(masks[2:7]), len(masks[2:7][1:3])] == [5, 2]
    assert torch.equal(masks[2:7][1:3][1], masks[4])


def test_of_several_clips_each_has_its_own_hint(stubbed, clip, make_clip, tmp_path, decode, capsys):
    make_clip("in/other.mp4", count=2)
    make_clip("in/third.mp4", count=2)
    (tmp_path / "hints").mkdir()
    half().save(tmp_path / "hints" / "clip.png")
    half(right=True).save(tmp_path / "hints" / "other.png")
    assert matte(tmp_path / "in", "-o", tmp_path / "out", "--hint", tmp_path / "hints") == 1
    assert sides(tmp_path / "out" / "clip.mov", decode)[1].max() < 0.05
    assert sides(tmp_path / "out" / "other.mov", decode)[0].max() < 0.05
    assert f"third.mp4: there is no mask for it in {tmp_path / 'hints'}" in capsys.readouterr().err


def test_boxes_are_in_pixels_of_what_is_written(stubbed, make_clip, tmp_path, decode):
    source = make_clip("wide.mp4", count=2, pixel_aspect=2)
    box = ["--box", f"{WIDTH},0,{WIDTH},{HEIGHT}"]  # the right half of pixels made square; else outside
    assert matte(source, "-o", tmp_path / "a.mov", "--square-pixels", *box) == 0
    left, right = sides(tmp_path / "a.mov", decode)
    assert right.min() > 0.2 and left.max() < 0.05
    assert matte(source, "-o", tmp_path / "b.mov", *box) == 1
    assert matte(source, "-o", tmp_path / "c.apng", *box) == 0  # which has square pixels only


def test_hints_for_each_frame_are_of_the_clips_own_frames(stubbed, make_clip, tmp_path, capsys):
    """At an even rate there may be as many, and others."""
    times = [0, 100, 200, 300, 310, 320, 600, 700, 800, 900]
    source = make_clip("uneven.mkv", codec="ffv1", times=times, time_base=Fraction(1, 1000), rate=10, count=10)
    for count, said in ((1, False), (10, True)):
        (tmp_path / f"hints{count}").mkdir()
        for number in range(count):
            half().save(tmp_path / f"hints{count}" / f"{number}.png")
        assert matte(source, "-o", tmp_path / f"{count}.mov", "--hint", tmp_path / f"hints{count}") == 0
        assert ("the hints must be of these frames, not of those at an even rate" in capsys.readouterr().err) == said


def test_a_folder_that_cannot_be_written_to_is_told_by_the_outputs_name(stubbed, clip, tmp_path, capsys):
    for name in ("x.mov", "y"):
        assert matte(clip, "-o", f"/proc/self/{name}", "--format", "png" if name == "y" else "prores") == 1
        printed = capsys.readouterr().err
        assert f"'/proc/self/{name}" in printed and ".part" not in printed


def test_a_cut_is_told_and_what_comes_after_is_a_choice(stubbed, make_clip, tmp_path, decode, capsys):
    levels = (20, 20, 20, 230, 230, 230)
    source = make_clip("cut.mkv", codec="ffv1", pixels="yuv444p", count=6,
                       frame=lambda index, *_: np.full((HEIGHT, WIDTH, 3), levels[index], np.uint8))  # fmt: skip
    for name, options in (("nothing", []), ("everything", ["--after-cut", "everything"])):
        assert matte(source, "-o", tmp_path / f"{name}.mov", "--box", f"0,0,32,{HEIGHT}", *options) == 0
        said = f"{source}: the hint ends at a cut: {name} is matted from there (at 0.25 s)"
        assert said in capsys.readouterr().err
        right = sides(tmp_path / f"{name}.mov", decode)[1]
        assert right[:3].max() < 0.05
        assert (right[3:] > 0.2).all() == (right[3:] > 0.05).any() == (name == "everything")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--hint", "three"], "three hints"),
        (["--hint", "empty"], "there is no mask for it in empty"),
        (["--hint", "three", "--after-cut", "everything"], "does nothing, since three has a mask for each frame"),
        (["--hint", "three", "--box", "1,1,5,5"], "--box and --point are of the first frame, and three has 3 masks"),
        (["--box", "900,1,5,5"], "lies outside the 64 x 48 picture"),
        (["--point", "1,900"], "lies outside the 64 x 48 picture"),
    ],
)
def test_hints_that_do_not_fit_are_told_in_one_sentence(stubbed, clip, capsys, monkeypatch, options, said):
    monkeypatch.chdir(clip.parent)
    Path("empty").mkdir()
    Path("three").mkdir()
    for number in range(3):
        half().save(f"three/{number}.png")
    assert matte("clip.mp4", "-o", "out.mov", *options) == 1
    printed = capsys.readouterr().err
    assert said.replace("three hints", "3 hints do not go with 6 frames") in printed
    assert "Traceback" not in printed
    assert not Path("out.mov").exists()
