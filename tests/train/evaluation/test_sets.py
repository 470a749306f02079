import csv
import gzip
import io
import lzma
import random
import tarfile
from concurrent.futures import BrokenExecutor

import numpy as np
import pytest
from PIL import Image, ImageFont

from train.evaluation.sets import __main__ as command
from train.evaluation.sets import composites, e1, e4, e5, effects, rendered
from train.evaluation.sets.paste import paste, resample
from train.scenes.drawn.kinds import KINDS
from train.shared.debian import find_package, list_files, read_files
from train.shared.pictures import by_stem, read_image, read_matte


def write_deb(path, files, *, compress=lzma.compress, suffix=".xz"):
    """A Debian package as dpkg writes it: an ar archive of debian-binary, control.tar.* and data.tar.*."""

    def tar(contents):
        data = io.BytesIO()
        with tarfile.open(fileobj=data, mode="w", format=tarfile.GNU_FORMAT) as archive:
            for name, content in contents.items():
                member = tarfile.TarInfo(f"./{name}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
        return compress(data.getvalue())

    control, data = tar({"control": b"odd"}), tar(files)
    members = {"debian-binary": b"2.0\n", f"control.tar{suffix}": control, f"data.tar{suffix}": data}
    with open(path, "wb") as file:
        file.write(b"!<arch>\n")
        for name, content in members.items():
            header = f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n".encode()
            file.write(header + content + b"\n" * (len(content) % 2))
    return path


@pytest.mark.parametrize("compress, suffix", [(lzma.compress, ".xz"), (gzip.compress, ".gz"), (bytes, "")])
def test_files_are_read_out_of_a_debian_package(tmp_path, compress, suffix):
    files = {"usr/share/one.txt": b"one", "usr/share/two": bytes(range(256)) * 99, "usr/three": b""}
    package = write_deb(tmp_path / "x_1.deb", files, compress=compress, suffix=suffix)
    wanted = ["usr/share/two", "usr/three"]
    assert read_files(package, wanted) == {name: files[name] for name in wanted}


def test_a_zstd_package_is_read_or_says_what_to_install(tmp_path):
    try:
        import zstandard
    except ImportError:
        package = write_deb(tmp_path / "x_1.deb", {"a": b"1"}, suffix=".zst")
        with pytest.raises(ValueError, match=r"x_1\.deb.*pip install zstandard"):
            read_files(package, ["a"])
    else:
        package = write_deb(tmp_path / "x_1.deb", {"a": b"1"}, compress=zstandard.compress, suffix=".zst")
        assert read_files(package, ["a"]) == {"a": b"1"}
        damaged = write_deb(tmp_path / "x_2.deb", {"a": b"1"}, compress=lambda data: b"no zstd" * 9, suffix=".zst")
        with pytest.raises(ValueError, match=r"x_2\.deb is damaged"):
            read_files(damaged, ["a"])


def test_wrong_packages_are_named(tmp_path):
    whole = write_deb(tmp_path / "x_1.deb", {"a": np.random.default_rng(0).bytes(5000)}).read_bytes()
    package = tmp_path / "x_2.deb"
    for content, complaint in [
        (b"<html>", "not a Debian package"),
        (whole[:100], "no data.tar"),
        (whole[:-2000], "cut short"),
        (whole[:-4000] + b"?" * 4000, "damaged"),
    ]:
        package.write_bytes(content)
        with pytest.raises(ValueError, match=rf"x_2\.deb .*{complaint}"):
            read_files(package, ["a"])
    for size in (b"xxxxxxxxxx", b"-60       "):
        package.write_bytes(whole[:56] + size + whole[66:])
        with pytest.raises(ValueError, match=r"x_2\.deb is damaged \(a member of"):
            read_files(package, ["a"])
    with pytest.raises(ValueError, match=r"x_1\.deb lacks 2 .* such as b"):
        read_files(tmp_path / "x_1.deb", ["a", "c", "b"])
    with pytest.raises(ValueError, match="several versions of x"):
        find_package(tmp_path, "x")
    with pytest.raises(FileNotFoundError, match="apt-get download y"):
        find_package(tmp_path, "y")


@pytest.mark.parametrize("left, top", [(1, 2), (-2, -1), (5, 3)])
def test_paste_is_the_over_operator_pixel_by_pixel(left, top):
    generator = np.random.default_rng(3)
    image, matte = generator.random((6, 8, 3), dtype=np.float32), generator.random((6, 8), dtype=np.float32)
    alpha = generator.random((4, 5, 1), dtype=np.float32)
    cutout = np.concatenate([generator.random((4, 5, 3), dtype=np.float32) * alpha, alpha], axis=2)
    expected_image, expected_matte = image.copy(), matte.copy()
    for row in range(4):
        for column in range(5):
            y, x = row + top, column + left
            if 0 <= y < 6 and 0 <= x < 8:
                a = cutout[row, column, 3]
                expected_image[y, x] = cutout[row, column, :3] + (1 - a) * image[y, x]
                expected_matte[y, x] = 1 - (1 - a) * (1 - matte[y, x])
    paste(image, matte, cutout, left, top)
    np.testing.assert_allclose(image, expected_image, atol=1e-6)
    np.testing.assert_allclose(matte, expected_matte, atol=1e-6)


def test_paste_refuses_a_cut_out_that_misses_the_image():
    with pytest.raises(ValueError, match=r"5x4 at \(8, 0\) misses the 8x6"):
        paste(np.zeros((6, 8, 3)), np.zeros((6, 8)), np.zeros((4, 5, 4)), 8, 0)


def test_resampling_keeps_hidden_colours_out_of_the_edge():
    pixels = np.zeros((20, 20, 4), dtype=np.uint8)
    pixels[...] = (0, 255, 0, 0)  # green nobody should see
    pixels[5:15, 5:15] = (255, 0, 0, 255)
    same = resample(Image.fromarray(pixels), (20, 20))
    np.testing.assert_array_equal(same[..., 3], pixels[..., 3] / 255)
    for size in [(7, 9), (33, 50)]:
        resized = resample(Image.fromarray(pixels), size)
        assert resized.shape == (size[1], size[0], 4) and resized.dtype == np.float32
        assert resized[..., 1].max() == 0 and (resized[..., :3] <= resized[..., 3:]).all()
        assert 0 < resized[..., 3].mean() < 1
        np.testing.assert_allclose(resized[..., 0], resized[..., 3], atol=1e-6)


def png(pixels):
    data = io.BytesIO()
    Image.fromarray(np.asarray(pixels, dtype=np.uint8)).save(data, "PNG")
    return data.getvalue()


@pytest.fixture
def packages(tmp_path):
    """Stand-ins of the packages: a red and a blue square stamp, and two flat photographs, green left and grey
    right."""
    folder = tmp_path / "packages"
    folder.mkdir()
    stamps = {}
    for name, colour in [("a/red.png", (255, 0, 0)), ("b/blue.png", (0, 0, 255))]:
        stamp = np.zeros((120, 120, 4))
        stamp[10:110, 10:110] = (*colour, 255)
        stamps[e1.STAMPS_FOLDER + name] = png(stamp)
    photograph = np.full((700, 1400, 3), 128)
    photograph[:, :700] = (0, 200, 0)
    write_deb(folder / "tuxpaint-stamps-default_9.deb", stamps)
    write_deb(folder / "photos_9.deb", {"usr/1.png": png(photograph), "usr/2.png": png(photograph)})
    return folder


BACKGROUNDS = [e1.Background("photos", path, (0, 0, 0.5, 1)) for path in ("usr/1.png", "usr/2.png")]


def build(packages, out, images=6):
    return e1.build(packages, out, stamps=["a/red.png", "b/blue.png"], backgrounds=BACKGROUNDS, images=images)


def test_e1_pictures_are_their_mattes_composites(packages, tmp_path):
    build(packages, tmp_path / "E1")
    images, mattes = by_stem(tmp_path / "E1" / "im"), by_stem(tmp_path / "E1" / "gt")
    assert list(images) == list(mattes) and len(images) == 6
    for stem in images:
        image, matte = np.asarray(read_image(images[stem])) / 255, read_matte(mattes[stem])
        assert image.shape[:2] == matte.shape and 448 <= max(matte.shape) <= 512
        assert 0.01 < matte.mean() < 0.9
        green, red_and_blue = image[..., 1], image[..., 0] + image[..., 2]
        np.testing.assert_allclose(green, (1 - matte) * 200 / 255, atol=1.01 / 255)  # only from the photograph's left
        np.testing.assert_allclose(red_and_blue, matte, atol=1.51 / 255)  # only from the stamps
    rows = list(csv.DictReader((tmp_path / "E1" / "index.csv").open()))
    assert [row["stem"] for row in rows] == list(images)
    assert {name for row in rows for name in row["stamps"].split("; ")} == {"a/red.png", "b/blue.png"}
    assert {row["background"] for row in rows} == {"usr/1.png", "usr/2.png"}
    assert Image.open(tmp_path / "E1" / "sheet.jpg").width > 1000


def test_e1_is_the_same_every_time(packages, tmp_path):
    (tmp_path / "two").mkdir()  # an empty folder is as good as none
    assert build(packages, tmp_path / "one", images=3) == build(packages, tmp_path / "two", images=3)
    files = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*.*"))
    assert len(files) == 3 + 3 + 2
    for file in files:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes(), file


def test_e1_is_built_whole_or_not_at_all(packages, tmp_path, monkeypatch):
    monkeypatch.setattr(
        composites, "contact_sheet", lambda *_, **__: (_ for _ in ()).throw(OSError("No space left on device"))
    )
    before = set(tmp_path.iterdir())
    with pytest.raises(OSError, match="No space left"):
        build(packages, tmp_path / "E1", images=1)
    assert set(tmp_path.iterdir()) == before


@pytest.fixture
def game(tmp_path):
    """A stand-in of the game's package: a bust that is cut off below, a whole beast, and a green landscape."""
    folder = tmp_path / "game"
    folder.mkdir()
    bust, beast = np.zeros((100, 80, 4)), np.zeros((90, 90, 4))
    bust[20:, 10:70] = (255, 0, 0, 255)
    beast[10:60, 20:80] = (0, 0, 255, 255)
    path = "usr/share/games/images"
    files = {f"{path}/portraits/a/bust.png": png(bust), f"{path}/portraits/beast.png": png(beast)}
    files |= {f"{path}/units/x.png": png(beast), f"{path}/story/1.png": png(np.full((600, 900, 3), (0, 200, 0)))}
    write_deb(folder / "wesnoth-1.16-data_9.deb", files)
    return folder


def test_e4_shows_every_portrait_once_and_busts_on_the_lower_edge(game, tmp_path):
    backgrounds = [composites.Background("wesnoth-1.16-data", "usr/share/games/images/story/1.png")]
    e4.build(game, tmp_path / "E4", backgrounds=backgrounds)
    mattes = {stem.split("_")[1]: read_matte(path) for stem, path in by_stem(tmp_path / "E4" / "gt").items()}
    images = {stem.split("_")[1]: path for stem, path in by_stem(tmp_path / "E4" / "im").items()}
    assert set(mattes) == {"bust", "beast"}
    for stem, colour in (("bust", 0), ("beast", 2)):
        image = np.asarray(read_image(images[stem])) / 255
        np.testing.assert_allclose(image[..., colour], mattes[stem], atol=1.01 / 255)
    assert (mattes["bust"][-1] == 1).sum() > 20


def test_only_a_cut_out_cut_below_stands():
    whole, cut = np.zeros((30, 30, 4), dtype=np.uint8), np.zeros((30, 30, 4), dtype=np.uint8)
    whole[5:29, 5:25], cut[5:, 5:25] = 255, 255
    whole[29, 14:16] = 255  # a foot
    assert not composites.is_cut_below(Image.fromarray(whole))
    assert composites.is_cut_below(Image.fromarray(cut))


@pytest.fixture
def large(packages):
    """The packages with two stamps as large as E5 asks for: one whole, one cut off below, and one that is too small."""
    whole, cut, small = np.zeros((340, 320, 4)), np.zeros((320, 340, 4)), np.zeros((120, 120, 4))
    whole[20:320, 20:300] = (255, 0, 0, 255)
    cut[10:, 10:330] = small[10:110, 10:110] = (0, 0, 255, 255)
    whole[310:320, 30:300] = 0
    stamps = {"whole.png": whole, "cut.png": cut, "small.png": small}
    write_deb(
        packages / "tuxpaint-stamps-default_9.deb",
        {e1.STAMPS_FOLDER + name: png(stamp) for name, stamp in stamps.items()},
    )
    return lambda out: e5.build(packages, out, stamps=list(stamps), backgrounds=BACKGROUNDS, people=0)


def test_e5_shows_large_subjects_mostly_cut_by_the_frame(large, tmp_path):
    assert large(tmp_path / "one") == large(tmp_path / "two")
    images, mattes = by_stem(tmp_path / "one" / "im"), by_stem(tmp_path / "one" / "gt")
    assert {stem.split("_")[1] for stem in images} == {"whole", "cut"}
    for stem, path in mattes.items():
        image, matte = np.asarray(read_image(images[stem])) / 255, read_matte(path)
        assert 384 <= max(matte.shape) <= 448 and 0.2 < matte.mean() <= e5.COVERED
        np.testing.assert_allclose(image[..., 1], (1 - matte) * 200 / 255, atol=1.01 / 255)
        if stem.endswith("cut"):
            assert (matte[-1] == 1).sum() > 100  # it stands on the lower edge


def test_e5_places_run_from_within_the_frame_to_well_beyond_it():
    draw = random.Random(0)
    square, cut = Image.new("RGBA", (300, 300), "red"), 0
    for _ in range(40):
        image, matte = np.zeros((400, 320, 3), np.float32), np.zeros((400, 320), np.float32)
        e5.place(square, image, matte, draw)
        assert e5.SHOWN * (0.8 * 320) ** 2 < matte.sum() <= e5.COVERED * matte.size
        cut += max(matte[0].max(), matte[-1].max(), matte[:, 0].max(), matte[:, -1].max()) == 1
    assert 25 < cut <= 40


def test_effects_has_a_data_set_of_every_kind(packages, tmp_path):
    write_deb(packages / "fonts-one_1.deb", {"usr/share/fonts/one.ttf": ImageFont.load_default(20).font_bytes})
    options = {"fonts": ["fonts-one"], "backgrounds": BACKGROUNDS, "images": 2, "size": 64}
    assert effects.build(packages, tmp_path / "1", **options) == effects.build(packages, tmp_path / "2", **options)
    for kind in KINDS:
        images, mattes = by_stem(tmp_path / "1" / kind / "im"), by_stem(tmp_path / "1" / kind / "gt")
        assert list(images) == list(mattes) and len(images) == 2
        for stem, path in mattes.items():
            image, matte = np.asarray(read_image(images[stem])) / 255, read_matte(path)
            assert image.shape[:2] == matte.shape and 0 < matte.mean() < 0.9
            border = image[matte == 0]
            assert kind == "LineArt" or not border[:, 0].any()  # the photograph is green, and nothing else touches it
    assert Image.open(tmp_path / "1" / "sheet.jpg").width > 300


def test_e4_needs_a_package_with_portraits(tmp_path):
    write_deb(tmp_path / "wesnoth-1.16-data_9.deb", {"usr/a.png": b""})
    with pytest.raises(ValueError, match="has no images/portraits"):
        e4.build(tmp_path, tmp_path / "E4")


def test_the_files_of_a_package_are_listed(tmp_path):
    files = {"usr/share/b": b"1", "usr/a": b""}
    assert list_files(write_deb(tmp_path / "x_1.deb", files)) == list(files)


def test_the_lemur_is_in_e3s_index_and_fingerprint(tmp_path, monkeypatch):
    Image.new("L", (30, 20), 51).save(tmp_path / "lemur_alpha.png")
    disc = Image.new("RGBA", (40, 40), "blue")
    monkeypatch.setattr(rendered, "render_held_out", lambda *_: {"a/disc_0": disc})  # a renderer is not at hand
    monkeypatch.setattr(composites, "read_backgrounds", lambda *_: {"sky": Image.new("RGB", (900, 900))})
    fingerprints = []
    for name, lemur, colour in (("without", None, "red"), ("red", tmp_path, "red"), ("green", tmp_path, "green")):
        Image.new("RGB", (30, 20), colour).save(tmp_path / "lemur.png")
        fingerprints.append(rendered.build_e3(tmp_path, tmp_path / name, lemur=lemur))
    assert len(set(fingerprints)) == 3
    rows = list(csv.DictReader((tmp_path / "red" / "index.csv").open()))
    assert [row["stem"] for row in rows] == list(by_stem(tmp_path / "red" / "im")) == ["000_disc_0", "lemur"]
    assert rows[1]["width"] == "30" and rows[1]["foreground"] == "0.2000"


def test_the_landscapes_of_e4_are_of_its_package():
    backgrounds = composites.listed_backgrounds("e4_backgrounds.txt")
    assert len(backgrounds) == len({background.path for background in backgrounds}) >= 12
    assert {background.package for background in backgrounds} == {e4.PACKAGE}


def test_e1_does_not_build_into_a_used_folder(packages, tmp_path):
    with pytest.raises(ValueError, match="packages already exists"):
        build(packages, packages)


def test_e1_is_built_where_a_link_leads_and_not_into_the_folder_one_is_in(packages, tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    build(packages, tmp_path / "link", images=1)
    assert (tmp_path / "link").is_symlink() and len(by_stem(tmp_path / "empty" / "im")) == 1
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(ValueError, match="here cannot be replaced by the finished set"):
        build(packages, ".")


def test_the_command_says_which_package_to_download(tmp_path):
    with pytest.raises(SystemExit, match=r"E1 was not built: .*apt-get download tuxpaint-stamps-default"):
        command.main(["E1", "--packages", str(tmp_path), "--out", str(tmp_path / "E1")])


@pytest.mark.parametrize(
    "error, told", [(KeyboardInterrupt, "stopped: E1 was not built"), (BrokenExecutor, "E1 was not built: one of the")]
)
def test_an_interrupt_and_a_killed_process_are_told_in_one_sentence(tmp_path, monkeypatch, error, told):
    def fail(*_):
        raise error

    monkeypatch.setitem(command.BUILDERS, "E1", fail)
    with pytest.raises(SystemExit, match=told):
        command.main(["E1", "--packages", str(tmp_path), "--out", str(tmp_path / "E1")])


def test_the_lists_of_e1_are_sound():
    stamps, backgrounds = e1.listed_stamps(), e1.listed_backgrounds()
    assert len(stamps) == len(set(stamps)) >= 144 and all(name.endswith(".png") for name in stamps)
    assert not [name for name in stamps if "cartoon" in name]
    assert {background.package for background in backgrounds} == {"mate-backgrounds", "plasma-workspace-wallpapers"}
    for background in backgrounds:
        left, top, right, bottom = background.part
        assert 0 <= left < right <= 1 and 0 <= top < bottom <= 1, background
