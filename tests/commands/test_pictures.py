import argparse
import os
import re
import struct
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from birefnet_core.commands import matte as command
from birefnet_core.commands import pictures
from birefnet_core.commands.inputs import find
from birefnet_core.commands.main import main
from birefnet_core.matting import MattingModel
from birefnet_core.matting.deep import put_chunk
from birefnet_core.matting.foreground import estimate_foreground
from birefnet_core.matting.images import read
from birefnet_core.matting.load import load_model
from birefnet_core.picture_files import READ_SUFFIXES, ImageError
from birefnet_core.weights.places import BUNDLED
from birefnet_core.weights.save import save_model


@pytest.fixture
def matte(model, monkeypatch):
    """`matte ARGUMENTS...` with the narrow network in place of what load_model would load; gives the exit code."""
    loaded = []

    def load_model(name, **options):
        loaded.append((name, options))
        return model

    monkeypatch.setattr("birefnet_core.matting.load.load_model", load_model)

    def matte(*arguments):
        return command.run(parsed(*arguments))

    matte.loaded = loaded
    return matte


def parsed(*arguments):
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return parser.parse_args([str(argument) for argument in arguments])


@pytest.fixture
def folder(tmp_path, photograph):
    """in/: a.jpg, b.png with transparency, c.png which is damaged, d.webp, notes.txt, and sub/e.png."""
    inside = tmp_path / "in"
    (inside / "sub").mkdir(parents=True)
    crops = [Image.fromarray(photograph[60 * i : 60 * i + 60, 80 * i : 80 * i + 90]) for i in range(4)]
    crops[0].save(inside / "a.jpg", quality=95)
    transparent = crops[1].copy()
    transparent.putalpha(Image.fromarray(np.repeat(np.uint8([[0, 255]]), 45, axis=1).repeat(60, axis=0)))
    transparent.save(inside / "b.png")
    crops[2].save(inside / "c.png")
    (inside / "c.png").write_bytes((inside / "c.png").read_bytes()[:2000])
    crops[2].save(inside / "d.webp")
    (inside / "notes.txt").write_text("not a picture")
    crops[3].save(inside / "sub" / "e.png")
    return inside


def files(folder):
    return sorted(str(path.relative_to(folder).as_posix()) for path in folder.rglob("*") if path.is_file())


def test_one_file_to_one_file(matte, model, folder, tmp_path):
    assert matte(folder / "a.jpg", "-o", tmp_path / "deep" / "x.png", "--no-clean-foreground") == 0
    source, cutout = read(folder / "a.jpg"), read(tmp_path / "deep" / "x.png")
    assert torch.equal(cutout.pixels, source.pixels)
    torch.testing.assert_close(cutout.alpha, model.predict(source.pixels[None])[0], atol=0.51 / 255, rtol=0)
    assert files(tmp_path / "deep") == ["x.png"]
    assert matte.loaded == [(BUNDLED, {"device": "auto", "dtype": "auto", "patch_order": "auto"})]


def test_one_bad_file_is_reported_and_the_rest_go_on(matte, folder, tmp_path, capsys):
    assert matte(folder, "-o", tmp_path / "out") == 1
    assert files(tmp_path / "out") == ["a.png", "b.png", "d.png"]
    captured = capsys.readouterr()
    assert captured.err.count("c.png") == 1
    assert "c.png cannot be read" in captured.err
    assert "Traceback" not in captured.err
    assert "4/4" in captured.err  # the progress bar
    assert "3 of 4 pictures" in captured.out


def test_transparency_of_the_file_stays(matte, folder, tmp_path):
    assert matte(folder / "b.png", "-o", tmp_path / "out") == 0
    alpha = read(tmp_path / "out" / "b.png").alpha
    assert alpha[:, :45].max() == 0
    assert alpha[:, 45:].max() > 0


def test_missing_file_among_others(matte, folder, tmp_path, capsys):
    assert matte(folder / "a.jpg", folder / "nowhere.jpg", folder / "d.webp", "-o", tmp_path / "out") == 1
    assert files(tmp_path / "out") == ["a.png", "d.png"]
    assert "nowhere.jpg does not exist" in capsys.readouterr().err


def test_patterns_are_expanded_and_sorted(matte, folder, tmp_path):
    assert (
        matte(folder / "[ad].*", folder / "a.jpg", folder / "not*", "-o", tmp_path / "out") == 1
    )  # notes.txt: no picture
    assert files(tmp_path / "out") == ["a.png", "d.png"]
    sources, unmatched = command.find([str(folder / "*")])
    assert [source.name for source, _ in sources] == ["a.jpg", "b.png", "c.png", "d.webp"]
    assert unmatched == []
    (folder / "c.png").unlink()
    assert matte(folder / "**" / "*.png", "-o", tmp_path / "deep") == 0
    assert files(tmp_path / "deep") == ["b.png", "e.png"]


def test_a_name_with_brackets_is_a_name(matte, folder, tmp_path):
    (folder / "d.webp").rename(folder / "d [1].webp")
    assert matte(folder / "d [1].webp", "-o", tmp_path / "out") == 0
    assert files(tmp_path / "out") == ["d [1].png"]


def test_folders_go_deeper_when_asked(matte, folder, tmp_path):
    (folder / "c.png").unlink()
    assert matte(folder, "-o", tmp_path / "out", "--recursive") == 0
    assert files(tmp_path / "out") == ["a.png", "b.png", "d.png", "sub/e.png"]


def test_several_kinds_of_output(matte, model, folder, tmp_path):
    out = tmp_path / "out"
    kinds = ["--output", "alpha", "--output", "cutout", "--depth", "16", "--background", "#00ff00"]
    assert matte(folder / "a.jpg", "-o", out, *kinds, "--no-clean-foreground") == 0
    assert files(out) == ["a_alpha.png", "a_composite.png", "a_cutout.png"]
    source = read(folder / "a.jpg").pixels
    alpha = model.predict(source[None])[0]
    torch.testing.assert_close(read(out / "a_alpha.png").pixels[..., 0], alpha, atol=1e-5, rtol=0)
    composite = source * alpha[..., None] + torch.tensor([0.0, 1.0, 0.0]) * (1 - alpha[..., None])
    torch.testing.assert_close(read(out / "a_composite.png").pixels, composite, atol=0.51 / 255, rtol=0)


def test_soft_edges_lose_the_old_background(matte, model, folder, tmp_path):
    kinds = ["--output", "cutout", "--background", "#00ff00"]
    assert matte(folder / "d.webp", "-o", tmp_path / "out", *kinds) == 0
    source = read(folder / "d.webp").pixels
    alpha = model.predict(source[None])
    expected = estimate_foreground(source[None], alpha)[0]
    assert (expected - source).abs().max() > 0.02
    cutout = read(tmp_path / "out" / "d_cutout.png").pixels
    torch.testing.assert_close(cutout, expected, atol=0.51 / 255, rtol=0)
    composite = expected * alpha[0, ..., None] + torch.tensor([0.0, 1.0, 0.0]) * (1 - alpha[0, ..., None])
    torch.testing.assert_close(read(tmp_path / "out" / "d_composite.png").pixels, composite, atol=0.51 / 255, rtol=0)


def test_a_transparent_picture_keeps_its_colours(matte, model, tmp_path):
    """Straight alpha: where the network's alpha is not lower than the file's, in every kind of output."""
    own = np.tile(np.linspace(0, 255, 96).astype(np.uint8), (64, 1))
    colours = np.where(own[..., None] > 0, np.uint8([200, 100, 100]), np.uint8([255, 255, 255]))
    Image.fromarray(np.dstack([colours, own])).save(tmp_path / "logo.png")
    kinds = ["--output", "cutout", "--background", "#00ff00"]
    assert matte(tmp_path / "logo.png", "-o", tmp_path / "out", *kinds) == 0
    found = np.asarray(Image.open(tmp_path / "out" / "logo_cutout.png")).astype(int)
    assert np.abs(found[..., :3] - (200, 100, 100))[found[..., 3] > 0].max() == 0
    network = model.predict(read(tmp_path / "logo.png").pixels[None])[0].numpy()
    assert np.abs(found[..., 3] - network * own).max() < 0.51
    composite = np.asarray(Image.open(tmp_path / "out" / "logo_composite.png")).astype(int)
    share = (network * own / 255)[..., None]
    assert np.abs(composite - (share * (200, 100, 100) + (1 - share) * (0, 255, 0))).max() < 1.6


def test_what_an_option_implies(matte, folder, tmp_path):
    assert matte(folder / "a.jpg", "-o", tmp_path / "on.jpg", "--background", "navy") == 0
    assert matte(folder / "a.jpg", "-o", tmp_path / "deep.png", "--depth", "16") == 0
    assert matte(folder / "a.jpg", "-o", tmp_path / "two.webp", "--depth", "16", "--background", "navy") == 0
    assert {path.name for path in tmp_path.glob("two*")} == {"two_alpha.png", "two_composite.webp"}
    with Image.open(tmp_path / "on.jpg") as composite, Image.open(tmp_path / "deep.png") as alpha:
        assert (composite.format, composite.mode) == ("JPEG", "RGB")
        assert alpha.mode == "I;16"


@pytest.mark.parametrize(
    "options, said",
    [
        (["-o", "x.webp"], r"x\.webp: \.webp has 8 bits; cut-outs of 16 are \.png, \.tif or \.exr$"),
        (["-o", "x.jpg"], r"x\.jpg: a cutout is written as \.png"),
    ],
)
def test_16_bits_under_a_name_without_them_are_refused_as_a_cutout(matte, folder, options, said, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    refused(matte, said, folder / "a.jpg", *options, "--depth", "16")


def test_pictures_go_on_a_picture(matte, model, folder, tmp_path):
    back = Image.new("RGB", (90, 60), "navy")
    back.save(tmp_path / "back.png")
    assert matte(folder / "a.jpg", "-o", tmp_path / "x.png", "--background", tmp_path / "back.png") == 0
    assert matte(folder / "a.jpg", "-o", tmp_path / "y.png", "--background", "navy") == 0
    assert (tmp_path / "x.png").read_bytes() == (tmp_path / "y.png").read_bytes()
    assert matte(folder / "a.jpg", "-o", tmp_path / "z.png", "--background", tmp_path / "back.png", "--square") == 0
    with Image.open(tmp_path / "z.png") as squared:
        assert squared.size == (90, 90) and squared.getpixel((45, 2)) == (0, 0, 128)


def test_a_background_that_is_no_picture_is_named_before_anything_is_matted(matte, folder, tmp_path):
    with pytest.raises(ImageError, match=r"notes\.txt"):
        matte(folder / "a.jpg", "-o", tmp_path / "x.png", "--background", folder / "notes.txt")
    (tmp_path / "clip.mp4").write_bytes(b"")
    with pytest.raises(ValueError, match="pictures go on a colour or a picture, only clips on a clip"):
        matte(folder / "a.jpg", "-o", tmp_path / "x.png", "--background", tmp_path / "clip.mp4")
    assert not matte.loaded and not (tmp_path / "x.png").exists()


def test_the_suffix_of_a_file_serves_the_kinds_it_can(matte, folder, tmp_path):
    kinds = ["--output", "alpha", "--output", "composite"]
    assert matte(folder / "a.jpg", "-o", tmp_path / "out" / "x.jpg", *kinds) == 0
    assert files(tmp_path / "out") == ["x_alpha.png", "x_composite.jpg"]


def test_profile_travels_and_orientation_is_applied(matte, folder, tmp_path, srgb_profile):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (60, 40), "teal").save(folder / "turned.jpg", exif=exif, icc_profile=srgb_profile)
    assert matte(folder / "turned.jpg", "-o", tmp_path / "x.png") == 0
    with Image.open(tmp_path / "x.png") as image:
        assert image.size == (40, 60)
        assert image.info["icc_profile"] == srgb_profile
        assert image.getexif().get(0x0112) is None


def test_metadata_stays_unless_stripped(matte, tmp_path, srgb_profile):
    exif = Image.Exif()
    exif[0x010F], exif[0x8825] = "Maker", {1: "N"}
    options = {"exif": exif, "dpi": (300, 300), "xmp": b"<x/>", "icc_profile": srgb_profile}
    Image.new("RGB", (60, 40), "teal").save(tmp_path / "a.jpg", **options)
    kinds = ["--output", "cutout", "--output", "alpha", "--background", "red"]
    assert matte(tmp_path / "a.jpg", "-o", tmp_path / "kept", *kinds) == 0
    assert matte(tmp_path / "a.jpg", "-o", tmp_path / "stripped", *kinds, "--strip-metadata") == 0
    for name in ("a_cutout.png", "a_alpha.png", "a_composite.png"):
        with Image.open(tmp_path / "kept" / name) as kept, Image.open(tmp_path / "stripped" / name) as stripped:
            assert kept.getexif()[0x010F] == "Maker" and kept.getexif().get_ifd(0x8825) == {1: "N"}
            assert kept.info["dpi"] == pytest.approx((300, 300), abs=0.01) and kept.info["XML:com.adobe.xmp"] == "<x/>"
            assert not stripped.getexif() and not {"dpi", "exif", "xmp", "XML:com.adobe.xmp"} & set(stripped.info)
            assert stripped.info.get("icc_profile") == (None if "alpha" in name else srgb_profile)


def test_hidden_files_are_nobodys_pictures(matte, folder, tmp_path, capsys):
    (folder / "c.png").unlink()
    (folder / ".thumbnails" / "deep").mkdir(parents=True)
    for name in ("._a.jpg", ".thumbnails/t.jpg", ".thumbnails/deep/u.jpg", "sub/._e.png", "._clip.mp4"):
        (folder / name).write_bytes(b"\0\5\x16\7\0\2\0\0Mac OS X" + bytes(60))
    assert matte(folder, "-o", tmp_path / "out", "--recursive") == 0
    assert files(tmp_path / "out") == ["a.png", "b.png", "d.png", "sub/e.png"]
    assert "._" not in capsys.readouterr().err  # nor left out: nobody meant them
    assert matte(folder / "*", folder / "**" / "*.png", "-o", tmp_path / "two") == 0
    assert files(tmp_path / "two") == ["a.png", "b.png", "d.png", "e.png"]
    # named outright it is meant, as is a folder whose own name begins with a dot
    Image.new("RGB", (20, 20)).save(folder / ".thumbnails" / ".dot.png")
    assert matte(folder / ".thumbnails" / ".dot.png", "-o", tmp_path / "x.png") == 0
    assert matte(folder / "._a.jpg", "-o", tmp_path / "y.png") == 1
    assert "._a.jpg is not a picture we can read" in capsys.readouterr().err
    Image.new("RGB", (20, 20)).save(folder / ".thumbnails" / "t.jpg")
    assert matte(folder / ".thumbnails", "-o", tmp_path / "three") == 0
    assert files(tmp_path / "three") == ["t.png"]


def test_results_below_what_is_searched_are_not_matted_in_the_next_run(matte, folder, capsys):
    (folder / "c.png").unlink()
    for _ in range(2):
        assert matte(folder, "-o", folder / "out", "--recursive", "--overwrite") == 0
        assert files(folder / "out") == ["a.png", "b.png", "d.png", "sub/e.png"]
    assert f"{folder}: what is in {folder / 'out'} left out, since that is where results go" in capsys.readouterr().err
    assert matte(folder / "**" / "*", "-o", folder / "out", "--overwrite") == 0
    assert files(folder / "out") == ["a.png", "b.png", "d.png", "e.png", "sub/e.png"]
    assert matte(folder / "out", "-o", folder, "--suffix", "tif", "--recursive") == 0  # it is meant here
    assert (folder / "a.tif").is_file() and (folder / "sub" / "e.tif").is_file()


def test_an_out_that_cannot_be_a_folder_is_told_before_anything_is_loaded(matte, folder):
    (folder / "gone").symlink_to(folder / "nowhere")
    for inputs, out, said in (
        (["a.jpg", "b.webp"], str(folder / "a.jpg"), "a.jpg is a file, and what is written needs a folder there"),
        (["b.webp"], str(folder / "a.jpg" / "x.png"), "a.jpg is a file, and what is written needs a folder there"),
        (["b.webp"], "/dev/null", "/dev/null is no folder, and what is written needs a folder there"),
        (
            ["b.webp"],
            str(folder / "gone" / "x.png"),
            "gone is a link to nothing, and what is written needs a folder there",
        ),
        (["b.webp"], "", "-o is empty: name a folder, or for one input a file"),
    ):
        with pytest.raises(ValueError, match=said):
            matte(*(folder / name for name in inputs), "-o", out)
    assert not matte.loaded


def test_an_interrupt_says_how_many_are_whole(matte, folder, tmp_path, monkeypatch, capsys):
    from birefnet_core.commands import pictures

    def stopped_at_the_third(model, job, **options):
        if job.source.name == "d.webp":
            raise KeyboardInterrupt
        one(model, job, **options)

    one = pictures.matte_file
    monkeypatch.setattr(pictures, "matte_file", stopped_at_the_third)
    (folder / "c.png").unlink()
    with pytest.raises(KeyboardInterrupt):
        matte(folder, "-o", tmp_path / "out")
    assert "2 of 3 pictures are matted" in capsys.readouterr().err and files(tmp_path / "out") == ["a.png", "b.png"]


def test_what_is_left_out_is_named_once(matte, folder, tmp_path, capsys):
    for name in ("b.heic", "c.psd", "d.cr2", "e.txt", "f.json", "Thumbs.db"):
        (folder / name).write_bytes(b"something")
    (folder / "c.png").unlink()
    (folder / "empty").mkdir()
    assert matte(folder, "-o", tmp_path / "out") == 0
    error = capsys.readouterr().err
    assert error.count("left out") == 2
    assert f"{folder}: 6 files (b.heic, c.psd, d.cr2, e.txt, f.json, ...) left out, no picture or clip we read" in error
    assert f"{folder}: 1 sub-folder (sub) left out, --recursive takes them" in error
    assert ("install pillow-heif" in error) == (".heic" not in READ_SUFFIXES)
    assert matte(folder / "a.jpg", "-o", tmp_path / "one") == 0
    assert "left out" not in capsys.readouterr().err
    assert matte(folder / "[ae].*", "-o", tmp_path / "two") == 0
    assert "1 file (e.txt) left out" in capsys.readouterr().err
    with pytest.raises(ValueError, match=r"no pictures or clips in .*psd: 1 file \(c\.psd\) left out, no picture"):
        matte(folder / "*.psd", "-o", tmp_path / "three")


@pytest.mark.parametrize(
    "options",
    [["--stabilise", "0.8"], ["--start", "5"], ["--end", "5"], ["--frames", "1"], ["--every", "2"], ["--no-sound"]],
)
def test_options_of_clips_are_refused_for_pictures(matte, folder, tmp_path, options):
    refused(matte, f"{options[0]}: only for clips", folder, "-o", tmp_path / "out", *options)
    refused(matte, "--format: only for clips", folder, "-o", tmp_path / "out", "--format", "webm")
    assert not (tmp_path / "out").exists()


def test_options_of_pictures_are_refused_for_clips(matte, tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"no clip, but called one")
    for options in (["--suffix", "webp"], ["--format", "mask", "--depth", "16"]):
        refused(matte, "only for pictures", tmp_path / "a.mp4", "-o", tmp_path / "out", *options)


def test_the_suffix_of_a_folders_pictures(matte, folder, tmp_path):
    (folder / "c.png").unlink()
    assert matte(folder, "-o", tmp_path / "out", "--background", "navy", "--suffix", "jpg") == 0
    assert files(tmp_path / "out") == ["a.jpg", "b.jpg", "d.jpg"]
    with Image.open(tmp_path / "out" / "a.jpg") as image:
        assert image.format == "JPEG"
    kinds = ["--output", "alpha", "--output", "cutout", "--background", "navy", "--suffix", ".WebP"]
    assert matte(folder / "a.jpg", "-o", tmp_path / "more", *kinds) == 0
    assert files(tmp_path / "more") == ["a_alpha.png", "a_composite.webp", "a_cutout.webp"]
    jpg = ["--suffix", "jpg"]
    with pytest.raises(ValueError, match=r"a\.jpg: a cutout is written as \.png or \.webp"):
        matte(folder, "-o", tmp_path / "out", *jpg)
    with pytest.raises(ValueError, match=r"--suffix .jpg is for folders: -o .*x.png names the file itself"):
        matte(folder / "a.jpg", "-o", tmp_path / "x.png", "--background", "navy", *jpg)
    with pytest.raises(SystemExit):
        parsed("a.png", "-o", "b", "--suffix", "gif")


def test_invert(matte, folder, tmp_path):
    assert matte(folder / "a.jpg", "-o", tmp_path / "x.png", "--output", "alpha") == 0
    assert matte(folder / "a.jpg", "-o", tmp_path / "y.png", "--output", "alpha", "--invert") == 0
    total = read(tmp_path / "x.png").pixels + read(tmp_path / "y.png").pixels
    torch.testing.assert_close(total, torch.ones_like(total), atol=1.01 / 255, rtol=0)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], (96, 128)),
        (["--size", "64"], (64, 64)),
        (["--size", "160x64"], (64, 160)),
        (["--size", "192", "--keep-aspect"], (128, 192)),
        (["--keep-aspect"], (96, 128)),
    ],
)
def test_sizes(matte, model, folder, tmp_path, options, expected):
    seen = []
    hook = model.network.register_forward_pre_hook(lambda _, inputs: seen.append(tuple(inputs[0].shape[2:])))
    try:
        assert matte(folder / "a.jpg", "-o", tmp_path / "x.png", *options) == 0
    finally:
        hook.remove()
    assert seen == [expected]


@pytest.mark.parametrize(
    "arguments",
    [["--size", "0"], ["--size", "12x"], ["--size", "1x2x3"], ["--background", "greenish"], ["--depth", "12"]],
)
def test_wrong_options_are_refused_by_the_parser(arguments, capsys):
    with pytest.raises(SystemExit):
        parsed("a.png", "-o", "b", *arguments)
    assert arguments[1] in capsys.readouterr().err


def test_nothing_is_overwritten_without_the_option(matte, folder, tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.png").write_bytes(b"precious")
    assert matte(folder / "a.jpg", folder / "d.webp", "-o", out) == 1
    assert (out / "a.png").read_bytes() == b"precious"
    assert files(out) == ["a.png", "d.png"]
    assert "a.png exists" in capsys.readouterr().err
    assert matte(folder / "a.jpg", "-o", out, "--overwrite") == 0
    assert read(out / "a.png").alpha is not None


def refused(matte, message, *arguments):
    with pytest.raises(ValueError, match=message) as raised:
        matte(*arguments)
    assert matte.loaded == []  # before any work
    assert "\n" not in str(raised.value)


def test_an_input_is_never_overwritten(matte, folder, tmp_path):
    before = (folder / "b.png").read_bytes()
    refused(matte, "would replace the input", folder / "b.png", "-o", folder, "--overwrite")
    refused(matte, "would replace the input", folder / "b.png", "-o", folder / "b.png", "--overwrite")
    # nor another picture of the same call
    (folder / "b.jpg").write_bytes((folder / "a.jpg").read_bytes())
    refused(matte, "b.png would replace", folder / "b.jpg", folder / "b.png", "-o", f"{folder}/sub/..", "--overwrite")
    assert (folder / "b.png").read_bytes() == before


def test_two_pictures_of_one_name_are_refused(matte, folder, tmp_path):
    (folder / "d.webp").rename(folder / "a.webp")
    refused(matte, "a.jpg and .*a.webp would both become .*a.png", folder, "-o", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_nothing_matched(matte, tmp_path):
    refused(matte, "no pictures or clips in", tmp_path / "*.png", "-o", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    refused(matte, "no pictures or clips in", tmp_path / "empty", "-o", tmp_path / "out")


@pytest.mark.parametrize("edges, said", [("off", "edges are off"), ("auto", "draws no edges by itself")])
def test_a_radius_of_edges_that_are_not_drawn_is_refused(matte, folder, tmp_path, edges, said):
    asked = ("--edges", edges, "--edge-radius", "5")
    with pytest.raises(ValueError, match=f"--edge-radius: an edge radius of 5 does nothing, since .*{said}"):
        matte(folder / "a.jpg", "-o", tmp_path / "x.png", *asked)
    assert matte(folder / "a.jpg", "-o", tmp_path / "x.png", "--edges", "drawn", "--edge-radius", "5") == 0
    with pytest.raises(ValueError, match="--edge-radius must be 1 to 64 pixels, not 0"):
        matte(folder / "a.jpg", "-o", tmp_path / "y.png", "--edge-radius", "0")


def test_an_empty_name_is_not_the_current_folder(matte, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(folder)
    refused(matte, "an input is empty", "", "-o", tmp_path / "out.png")


def test_a_suffix_the_kind_is_not_written_as(matte, folder, tmp_path):
    alpha = ["--output", "alpha"]
    refused(matte, "x.jpg: an alpha is written as .png", folder / "a.jpg", "-o", tmp_path / "x.jpg", *alpha)
    refused(matte, "x.jpg: a cutout is written as .png or .webp", folder / "a.jpg", "-o", tmp_path / "x.jpg")


def test_the_whole_command_with_a_weight_file(network, model, folder, tmp_path, capsys):
    weights = tmp_path / "narrow.safetensors"
    save_model(network.network, weights, spec=model.spec, dtype=torch.float32)
    out = tmp_path / "out"
    assert main(["matte", str(folder), "-o", str(out), "--model", str(weights), "--device", "cpu"]) == 1
    assert files(out) == ["a.png", "b.png", "d.png"]
    assert "c.png cannot be read" in capsys.readouterr().err
    expected = load_model(weights, device="cpu").predict(read(folder / "d.webp").pixels[None])[0]
    torch.testing.assert_close(read(out / "d.png").alpha, expected, atol=0.51 / 255, rtol=0)

    assert main(["matte", str(folder), "-o", str(out), "--model", str(tmp_path / "no.safetensors")]) == 1
    assert main(["matte", str(tmp_path / "*.gif"), "-o", str(out), "--model", str(weights)]) == 1
    error = capsys.readouterr().err
    assert "no.safetensors" in error
    assert "no pictures or clips in" in error
    assert error.count("\n") == 2


def test_out_of_memory_on_one_picture_does_not_stop_the_others(model, folder, tmp_path, capsys):
    def full(_, inputs):
        if inputs[0].shape[3] > 512:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    Image.new("RGB", (600, 100)).save(folder / "b.png")
    dynamic = MattingModel(model.network, replace(model.spec, size=None))
    sources, _ = command.find([str(folder / name) for name in ("a.jpg", "b.png", "d.webp")])
    hook = model.network.register_forward_pre_hook(full)
    try:
        assert pictures.matte_files(dynamic, pictures.plan(sources, str(tmp_path / "out"), ["alpha"])) == 1
    finally:
        hook.remove()
    assert files(tmp_path / "out") == ["a.png", "d.png"]
    error = capsys.readouterr().err
    assert "b.png: not enough memory on cpu for one 600 x 100 picture at the model size 1536 x 256" in error


def test_a_trimmed_square_cutout_of_16_bits(matte, model, folder, tmp_path, capsys):
    out = tmp_path / "x.png"
    assert matte(folder / "a.jpg", "-o", out, "--output", "cutout", "--depth", "16", "--trim", "--square", "10") == 0
    alpha = model.predict(read(folder / "a.jpg").pixels[None])[0]
    seen = torch.nonzero(alpha >= 0.5 / 255)
    height, width = (seen.max(0).values - seen.min(0).values + 1).tolist()
    made = read(out)
    side = round(1.2 * max(height, width))
    assert made.alpha.shape == (side, side) and float(made.alpha.sum()) == pytest.approx(float(alpha.sum()), rel=1e-2)
    assert out.read_bytes()[24] == 16  # bits, in IHDR
    assert f"{side} x {side} pixels from" in capsys.readouterr().out


def test_haze_far_from_the_subject_is_not_trimmed_to(matte, model, tmp_path, monkeypatch):
    """Networks leave some; a soft edge that hangs together with the subject is its own."""
    alpha = torch.zeros(1, 60, 80)
    alpha[:, 20:40, 30:50], alpha[:, 20:40, 50:56] = 1, 0.04
    alpha[:, 2, 3], alpha[:, 55:58, 70:75], alpha[:, 10:20, 30:50] = 0.09, 0.02, 0.004
    monkeypatch.setattr(model, "predict", lambda *_, **__: alpha)
    Image.new("RGB", (80, 60)).save(tmp_path / "a.png")
    for kind in ("cutout", "alpha", "composite"):
        out = tmp_path / f"{kind}.png"
        assert matte(tmp_path / "a.png", "-o", out, "--output", kind, "--trim") == 0
        assert Image.open(out).size == (26, 20)
        assert b"oFFs" + struct.pack(">iiB", 30, 20, 0) in out.read_bytes()


def test_where_a_subject_was_is_said_also_where_the_size_stays(matte, model, tmp_path, capsys, monkeypatch):
    upper = torch.zeros(1, 40, 40)
    upper[:, :20] = 1
    monkeypatch.setattr(model, "predict", lambda *_, **__: upper)
    Image.new("RGB", (40, 40)).save(tmp_path / "a.png")
    assert matte(tmp_path / "a.png", "-o", tmp_path / "out.png", "--trim", "--square") == 0
    assert "40 x 40 pixels from 0, -10" in capsys.readouterr().out


def test_how_colours_go_with_alpha_is_refused_where_nothing_has_both(matte, folder, tmp_path):
    asked = ("--output", "alpha", "--alpha", "premultiplied")
    with pytest.raises(ValueError, match="--alpha premultiplied is for cut-outs"):
        matte(folder / "a.jpg", "-o", tmp_path / "a.png", *asked)
    assert not (tmp_path / "a.png").exists()


def test_tif_and_exr_are_cutouts(matte, folder, tmp_path):
    assert matte(folder / "a.jpg", "-o", tmp_path / "x.exr") == 0
    assert matte(folder / "a.jpg", folder / "d.webp", "-o", tmp_path / "out", "--suffix", "tif", "--depth", "16") == 0
    assert files(tmp_path / "out") == ["a.tif", "d.tif"]
    with Image.open(tmp_path / "out" / "a.tif") as image:
        assert image.tag_v2[258] == (16,) * 4


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["-o", "x.png", "--alpha", "premultiplied"], "in .png it is straight"),
        (["-o", "x.webp", "--output", "cutout", "--depth", "16"], "has 8 bits"),
    ],
)
def test_what_a_cutout_cannot_be_is_said_before_anything_is_done(matte, folder, tmp_path, arguments, said):
    with pytest.raises(ValueError, match=said):
        matte(folder / "a.jpg", *[str(tmp_path / word) if word.startswith("x.") else word for word in arguments])
    assert not matte.loaded


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["-o", "x.png"], [r"high dynamic range \(PQ\) and the primaries of BT\.2020: colours are kept .* in bands"]),
        (["-o", "x.tif"], [r"which \.tif cannot tell"]),
        (["-o", "x.exr"], []),
        (["-o", "x.png", "--output", "alpha"], []),
        (["-o", "x.jpg", "--background", "white"], ["its background is taken as if", r"which \.jpg cannot tell"]),
        (["-o", "x.png", "--output", "cutout", "--depth", "16"], [r"flat where sRGB's is expected$"]),
    ],
)
def test_what_becomes_of_high_dynamic_range_is_said(matte, folder, tmp_path, capsys, arguments, said):
    Image.new("RGB", (64, 48), "red").save(tmp_path / "pq.png")
    put_chunk(tmp_path / "pq.png", b"cICP", bytes((9, 16, 0, 1)))
    assert (
        matte(tmp_path / "pq.png", *[str(tmp_path / word) if word.startswith("x.") else word for word in arguments])
        == 0
    )
    lines = [line for line in capsys.readouterr().err.splitlines() if "dynamic" in line]
    assert len(lines) == len(said) and all(re.search(*pair) for pair in zip(said, lines))


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.png"])
def test_an_animated_picture_of_which_a_frame_is_matted_is_told(matte, tmp_path, capsys, name):
    frames = [Image.new("RGB", (64, 48), colour) for colour in ("red", "blue", "green", "white")]
    frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], duration=100)
    frames[0].save(tmp_path / f"still{name}")
    for path in (tmp_path / name, tmp_path / f"still{name}"):
        assert matte(path, "-o", tmp_path / "out") == 0
    said = [line for line in capsys.readouterr().err.splitlines() if "animated" in line]
    assert len(said) == 1 and f"{tmp_path / name} is animated, and this is its first frame" in said[0]
    assert matte(tmp_path / name, "-o", tmp_path / "x.apng", "--format", "apng") == 0
    with Image.open(tmp_path / "x.apng") as image:
        assert image.n_frames == 4


def test_a_picture_named_as_a_clip_is_refused_with_the_format_of_one(matte, folder, tmp_path):
    said = r"x\.apng: a cutout is written as .*; for all frames of an animated picture add --format apng$"
    refused(matte, said, folder / "a.jpg", "-o", tmp_path / "x.apng")
    refused(matte, r"as \.png or .*\.exr$", folder / "a.jpg", "-o", tmp_path / "x.bmp")


@pytest.mark.parametrize("name, more", [("x.tif", ("--depth", "16")), ("x.exr", ()), ("x.tif", ())])
def test_a_deep_cutout_of_colours_read_with_8_bits_is_told(matte, tmp_path, capsys, name, more):
    Image.new("RGB", (64, 48), "red").save(tmp_path / "a.jp2")
    data = (tmp_path / "a.jp2").read_bytes()
    place = data.index(b"ihdr") + 14
    (tmp_path / "a.jp2").write_bytes(data[:place] + bytes([15]) + data[place + 1 :])
    assert matte(tmp_path / "a.jp2", "-o", tmp_path / name, *more) == 0
    assert ("only 8 of the bits of its colours are read" in capsys.readouterr().err) == (name == "x.exr" or bool(more))


def test_what_exr_has_no_place_for_is_told(matte, tmp_path, capsys):
    exif = Image.Exif()
    exif[271] = "Maker"
    Image.new("RGB", (64, 48), "red").save(tmp_path / "a.jpg", exif=exif, dpi=(300, 300))
    for name, more, told in (("x.exr", (), True), ("y.exr", ("--strip-metadata",), False), ("x.tif", (), False)):
        assert matte(tmp_path / "a.jpg", "-o", tmp_path / name, *more) == 0
        assert (f"EXIF left out of {tmp_path / name}" in capsys.readouterr().err) == told
        assert (b"xDensity" in (tmp_path / name).read_bytes()) == told


def test_a_background_of_high_dynamic_range_is_told(matte, folder, tmp_path, capsys):
    Image.new("RGB", (64, 48), "red").save(tmp_path / "pq.png")
    put_chunk(tmp_path / "pq.png", b"cICP", bytes((9, 16, 0, 1)))
    assert matte(folder / "a.jpg", "-o", tmp_path / "x.png", "--background", tmp_path / "pq.png") == 0
    assert "pq.png has high dynamic range (PQ) and the primaries of BT.2020: behind the" in capsys.readouterr().err


def before_green(path):
    """A red ball with a soft edge before a green screen; returns its true alpha."""
    y, x = np.mgrid[0:96, 0:96] - 47.5
    alpha = ((26 - np.hypot(y, x)) / 10 + 0.5).clip(0, 1)[..., None]
    pixels = alpha * [200, 60, 60] + (1 - alpha) * [33, 158, 61]
    Image.fromarray(pixels.round().astype(np.uint8)).save(path)
    return alpha[..., 0]


@pytest.mark.parametrize("option", ["--screen", "--despill"])
def test_a_picture_before_a_screen_is_keyed_or_despilled(matte, model, tmp_path, option, monkeypatch):
    truth = before_green(tmp_path / "in.png")
    sharp = torch.from_numpy(((truth - 0.5) * 2 + 0.5).clip(0, 1)).float()[None]
    monkeypatch.setattr(model, "predict", lambda *args, **options: sharp)
    shown = {}
    for name, more in (("plain", ()), ("made", (option, "auto"))):
        assert matte(tmp_path / "in.png", "-o", tmp_path / f"{name}.png", "--no-clean-foreground", *more) == 0
        shown[name] = np.asarray(Image.open(tmp_path / f"{name}.png")).astype(float)
    soft = (truth > 0.2) & (truth < 0.9)
    colours = [np.abs(shown[name][..., :3] - [200, 60, 60])[soft].mean() for name in ("plain", "made")]
    assert colours[1] < 0.5 * colours[0]
    alphas = [np.abs(shown[name][..., 3] / 255 - truth)[soft].mean() for name in ("plain", "made")]
    assert alphas[1] < 0.5 * alphas[0] if option == "--screen" else alphas[1] == alphas[0]


@pytest.mark.parametrize("option", [("--screen", "green"), ("--despill", "auto")])
def test_a_picture_without_the_screen_asked_for_is_told(matte, folder, tmp_path, capsys, option):
    assert matte(folder / "a.jpg", "-o", tmp_path / "x.png", *option) == 0
    said = [line for line in capsys.readouterr().err.splitlines() if "where the mask says background" in line]
    assert len(said) == 1 and f"{folder / 'a.jpg'} shows no green" in said[0]


def test_the_strength_of_despill(matte, model, tmp_path, monkeypatch):
    alpha = torch.from_numpy(before_green(tmp_path / "in.png")).float()[None]
    monkeypatch.setattr(model, "predict", lambda *args, **options: alpha)
    made = {}
    for strength in ("0", "0.5", "1"):
        out = tmp_path / f"{strength}.png"
        options = ("--despill", "green", "--despill-strength", strength, "--no-clean-foreground")
        assert matte(tmp_path / "in.png", "-o", out, *options) == 0
        made[strength] = np.asarray(Image.open(out).convert("RGBA")).astype(float)[..., :3]
    seen = alpha[0].numpy() > 0.2
    assert np.array_equal(made["0"][seen], np.asarray(Image.open(tmp_path / "in.png"))[seen])
    assert np.abs(made["0.5"] - (made["0"] + made["1"]) / 2)[seen].max() <= 1
    assert np.abs(made["1"] - made["0"])[seen].max() > 20


@pytest.mark.parametrize("option", [("--despill", "green"), ("--clean-foreground",), ("--no-clean-foreground",)])
def test_options_of_colours_are_refused_where_only_alpha_is_written(matte, folder, tmp_path, option):
    refused(matte, f"{option[0]}: only for colours", folder, "-o", tmp_path / "out", "--output", "alpha", *option)
    (tmp_path / "a.mp4").write_bytes(b"no clip, but called one")
    arguments = (tmp_path / "a.mp4", "-o", tmp_path / "out", "--format", "mask", *option)
    refused(matte, f"{option[0]}: only for colours", *arguments)
    both = ("--output", "alpha", "--output", "cutout")
    assert matte(folder / "a.jpg", "-o", tmp_path / "out", *both, *option) == 0


def test_screens_that_contradict_each_other_are_refused(matte, folder, tmp_path):
    out = ("-o", tmp_path / "out")
    refused(matte, "screen is green and despill blue", folder, *out, "--screen", "green", "--despill", "blue")
    refused(matte, "add --despill or --screen", folder, *out, "--despill-strength", "0.5")
    assert not (tmp_path / "out").exists()


def test_a_screen_and_invert_are_refused_together(matte, tmp_path):
    before_green(tmp_path / "in.png")
    with pytest.raises(ValueError, match="leave screen and despill off"):
        matte(tmp_path / "in.png", "-o", tmp_path / "out.png", "--screen", "auto", "--invert")


@pytest.mark.skipif(os.name == "nt", reason="links need a right of their own there")
def test_linked_folders_are_entered_once(tmp_path):
    """Those that lead elsewhere; of what is here already there are no two, and a link to what holds it has no end."""
    inside, elsewhere = tmp_path / "in", tmp_path / "elsewhere"
    for path in (inside / "a.jpg", inside / "sub" / "b.jpg", elsewhere / "deep" / "c.jpg"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (elsewhere / "back").symlink_to(elsewhere)
    for name, target in (("link", elsewhere), ("again", elsewhere), ("up", tmp_path), ("same", inside / "sub")):
        (inside / name).symlink_to(target)
    (tmp_path / "entry").symlink_to(inside)
    for folder in (inside, tmp_path / "entry"):
        found, unmatched = find([str(folder)], recursive=True)
        assert [str(name) for _, name in found] == ["a.jpg", "again/deep/c.jpg", "sub/b.jpg"] and not unmatched
