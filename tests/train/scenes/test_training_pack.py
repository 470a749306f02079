import base64
import importlib.util
import io
import json
import os
import subprocess
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFont

from tests.train.evaluation.test_sets import png, write_deb
from tests.train.scenes.test_people import write_bodies, write_light
from train.evaluation.sets import __main__ as sets_command
from train.evaluation.sets import rendered
from train.scenes import training_pack
from train.scenes.cutouts import read_pack
from train.scenes.drawn.kinds import KINDS
from train.scenes.renders.lights import unpack_lights
from train.scenes.renders.models import CATALOGUES, held_out, unpacked
from train.shared.lists import read_list

REPOSITORY = Path(__file__).resolve().parents[3]
TETRAHEDRON = "v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\nf 1 3 2\nf 1 2 4\nf 1 4 3\nf 2 3 4\n"
WITHOUT_BPY = importlib.util.find_spec("bpy") is None


def write_tgz(path, files):
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def write_models(folder, names):
    """A stand-in of sweethome3d-furniture: a tetrahedron by every (catalogue, name)."""
    files = {}
    for catalogue in CATALOGUES:
        data = io.BytesIO()
        with zipfile.ZipFile(data, "w") as archive:
            for name in [name for of, name in names if of == catalogue]:
                archive.writestr(f"{catalogue.lower()}/{name}/{name}.obj", TETRAHEDRON)
        files[f"usr/share/sweethome3d/furniture/{catalogue}.sh3f"] = data.getvalue()
    write_deb(folder / "sweethome3d-furniture_9.deb", files)


def write_lights(folder, data=b"no panorama"):
    text = b"export default 'data:application/exr;base64," + base64.b64encode(data) + b"'\n"
    write_tgz(folder / "pmndrs-assets-1.7.0.tgz", {"package/hdri/dawn.exr.js": text, "package/hdri/dawn.exr.d.ts": b""})


@pytest.fixture
def packages(tmp_path):
    """Stand-ins of all packages of the training pack, with every file that the lists name."""
    folder = tmp_path / "packages"
    folder.mkdir()
    disc = np.zeros((60, 80, 4))
    disc[10:50, 20:70] = (200, 30, 30, 255)
    disc[25:35, 40:50] = 0
    disc = png(disc)
    write_deb(
        folder / "openclipart-png_1.deb",
        {training_pack.CLIPART_FOLDER + line[0]: disc for line in read_list(training_pack.CLIPART)},
    )
    photographs = {}
    for _, package, path in read_list(training_pack.BACKGROUNDS):
        photographs.setdefault(package, {})[path] = png(np.full((30, 50, 3), 99))
    for package, files in photographs.items():
        write_deb(folder / f"{package}_1.deb", files)
    smile = io.BytesIO()
    Image.open(io.BytesIO(disc)).save(smile, "WEBP", lossless=True)
    emoji = [f"package/assets/{name}.webp" for name in ("1f600", "1f44b-1f3fd", "1f1e6-1f1e8")]
    write_tgz(folder / training_pack.EMOJI_PACKAGE, dict.fromkeys(emoji, smile.getvalue()))
    write_models(folder, [("Scopia", "lamp"), ("Scopia", "frontDoor"), ("Reallusion", "male02"), ("Scopia", "palm")])
    write_lights(folder)
    write_bodies(folder)
    for name in training_pack.FONTS:
        write_font(folder, name)
    return folder


def write_font(folder, name):
    """A stand-in of a package of fonts: with the one that Pillow brings."""
    font = ImageFont.load_default(20).font_bytes
    write_deb(folder / f"{name}_1.deb", {f"usr/share/fonts/{name}.ttf": font, "usr/share/doc/licence": b""})


@pytest.mark.skipif(not WITHOUT_BPY, reason="bpy is installed here: what is said without it cannot be seen")
def test_the_pack_holds_what_can_be_had_without_rendering_and_says_what_rendering_needs(packages, tmp_path):
    out = tmp_path / "pack"
    with pytest.raises(SystemExit, match="the pack is not complete: rendering needs Blender's module bpy"):
        training_pack.main(["--packages", str(packages), "--out", str(out), "--drawn", "1"])
    found = {path.name: len(list(path.iterdir())) for path in out.glob("*/*")}
    assert found == {"EndlessSky": 157, "Lomiri": 10, "FluentEmoji": 1, "Openclipart": 279, **dict.fromkeys(KINDS, 1)}
    emoji = Image.open(out / "foregrounds" / "FluentEmoji" / "1f600.webp")
    assert emoji.size == (50, 40) and emoji.getchannel("A").getpixel((0, 0)) == 255  # cropped to the object
    training, validation = read_pack(out)
    assert len(training.foregrounds) + len(validation.foregrounds) == 280 + len(KINDS)


def test_a_missing_package_is_named(packages, tmp_path):
    (packages / training_pack.EMOJI_PACKAGE).unlink()
    with pytest.raises(SystemExit, match=r"npm pack @lobehub/fluent-emoji-3d@1\.1\.0"):
        training_pack.main(["--packages", str(packages), "--out", str(tmp_path / "pack")])
    with pytest.raises(FileNotFoundError, match=r"npm pack @pmndrs/assets@1\.7\.0"):
        unpack_lights(tmp_path, tmp_path)


def test_parts_of_buildings_are_no_models(packages):
    with unpacked(packages) as models:
        assert [(model.catalogue, model.name, model.varied) for model in models] == [
            ("Reallusion", "male02", True),
            ("Scopia", "lamp", False),
            ("Scopia", "palm", True),
        ]
        assert all(model.path.read_text() == TETRAHEDRON for model in models)
    assert not models[0].path.exists()


def test_lights_are_unpacked(tmp_path):
    write_lights(tmp_path, b"\x00panorama\xff" * 99)
    (light,) = unpack_lights(tmp_path, tmp_path)
    assert light.name == "dawn.exr" and light.read_bytes() == b"\x00panorama\xff" * 99


def test_a_damaged_package_is_named(packages, tmp_path):
    path = packages / "pmndrs-assets-1.7.0.tgz"
    data = bytearray(path.read_bytes())
    data[40:60] = bytes(20)
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"pmndrs-assets-1\.7\.0\.tgz is damaged"):
        unpack_lights(packages, tmp_path)


def test_models_are_held_out_for_one_set():
    held = held_out()
    assert set(held.values()) == {"E2", "E3"} and {catalogue for catalogue, _ in held} == set(CATALOGUES)
    assert list(held.values()).count("E2") >= 30 and list(held.values()).count("E3") >= 15
    assert held["Scopia", "palm"] == "E3"


def test_a_set_of_renders_names_a_model_that_the_package_lacks(packages, tmp_path):
    (tmp_path / "work").mkdir()
    with pytest.raises(ValueError, match=r"lacks \d+ models of E3, such as BlendSwap-CC-0/augalas"):
        rendered.render_held_out("E3", packages, tmp_path / "work", rendered.QUALITY)


def test_the_lemur_goes_with_e3_only(tmp_path, capsys):
    with pytest.raises(SystemExit):
        sets_command.main(["E2", "--packages", str(tmp_path), "--out", str(tmp_path), "--lemur", str(tmp_path)])
    assert "--lemur goes with E3" in capsys.readouterr().err


RENDER = """
import json, sys
from pathlib import Path
from train.scenes.renders.gatherings import GatheringJob
from train.scenes.renders.models import Model
from train.scenes.renders.render import Job, Quality, render_all
if __name__ == "__main__":
    folder = Path(sys.argv[1])
    models = tuple(Model("Scopia", name, folder / f"{name}.obj") for name in ("solid", "empty"))
    lights = (folder / "light.exr",)
    quality = Quality(size=160, samples=1)
    jobs = [Job(model, (0, 1), folder / "out", lights, quality) for model in models]
    floors = (folder / "floor.png",)
    jobs += [GatheringJob(number, models[:1], floors, folder / "out", lights, quality) for number in (0, 1)]
    jobs += [GatheringJob(2, models[1:], floors, folder / "out", lights, quality)]
    render_all(jobs, processes=1)
    print(json.dumps(sorted(str(path.relative_to(folder)) for path in folder.rglob("*.webp"))))
"""


@pytest.mark.slow
def test_blender_renders_a_model_with_its_alpha_and_gatherings_of_it(tmp_path):
    python = os.environ.get("BPY_PYTHON")
    if not python:
        pytest.skip("BPY_PYTHON does not name a python with bpy")
    (tmp_path / "solid.obj").write_text(TETRAHEDRON)
    (tmp_path / "empty.obj").write_text("v 0 0 0\n")
    write_light(python, tmp_path / "light.exr")
    Image.fromarray(np.indices((64, 64)).sum(axis=0).astype(np.uint8) * 2).convert("RGB").save(tmp_path / "floor.png")
    (tmp_path / "job.py").write_text(RENDER)
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    run = subprocess.run(
        [python, tmp_path / "job.py", tmp_path], capture_output=True, text=True, env=environment, cwd=REPOSITORY
    )
    assert run.returncode == 0, run.stderr
    assert "left out: Scopia/empty: it has no faces" in run.stderr
    assert "left out: gathering 2: it has no faces" in run.stderr
    *gatherings, first, second = json.loads(run.stdout.splitlines()[-1])
    assert [first, second] == ["out/Scopia/solid_0.webp", "out/Scopia/solid_1.webp"]
    assert gatherings == ["out/Gatherings/gathering0000.webp", "out/Gatherings/gathering0001.webp"]
    for path in gatherings:
        behind = Image.open(tmp_path / path)
        assert behind.mode == "RGB" and behind.size == (160, 160) and np.asarray(behind).std() > 3
    picture = Image.open(tmp_path / first)
    alpha = np.asarray(picture.getchannel("A"))
    assert picture.mode == "RGBA" and min(picture.size) >= 48
    assert alpha.max() == 255 and alpha.min() == 0 and 0.2 < (alpha > 128).mean() < 0.95
