"""Render gatherings: many models on a floor, in rows or strewn, none of which is the subject. They go behind the
objects of the training pictures, as shelves, markets, car parks and rooms do in photographs."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from pathlib import Path

from train.shared.pictures import save_picture

from .materials import worn
from .models import Model
from .render import Quality, RenderError, add_camera, bounds, import_model, light, rendered

FOLDER = "Gatherings"
LARGEST = 3_000_000  # bytes of a model's OBJ, of which a gathering reads up to six
REACH = 14.0  # how far from the camera things stand, in heights of a thing


def small_enough(model: Model) -> bool:
    """Whether gatherings take the model."""
    return model.path.stat().st_size < LARGEST


@dataclass(frozen=True)
class GatheringJob:
    """Gathering `number`, to render into folder/FOLDER."""

    number: int
    models: tuple[Model, ...]  # to choose from
    surfaces: tuple[Path, ...]  # photographs, which floors and walls may wear
    folder: Path
    lights: tuple[Path, ...]
    quality: Quality

    @property
    def path(self) -> Path:
        return self.folder / FOLDER / f"gathering{self.number:04}.webp"

    def done(self) -> bool:
        return self.path.exists()

    def render(self) -> None:
        """Write the picture. RenderError names the gathering."""
        import bpy

        draw = random.Random(f"gathering {self.number}")
        bpy.ops.wm.read_factory_settings(use_empty=True)
        scene = bpy.context.scene
        try:
            kinds = min(draw.choice((1, 1, 2, 3, 6)), len(self.models))
            kinds = [_read(model) for model in draw.sample(self.models, kinds)]
            for place in _places(draw):
                _stand(draw.choice(kinds), place, scene, draw)
            _build_floor(scene, self.surfaces, draw)
            _point_camera(scene, draw)
            light(scene, self.lights, draw)
            scene.view_settings.exposure = draw.gauss(-0.6, 0.5)  # stops; floors in the open throw much light back
            scene.render.resolution_x = scene.render.resolution_y = self.quality.size
            picture = rendered(scene, self.quality, transparent=False)
        except RuntimeError as error:
            raise RenderError(f"gathering {self.number}: {error}") from None
        save_picture(picture.convert("RGB"), self.path)


def _read(model: Model):
    """The model as a collection to take instances of: 1 high (or less, where it is flat), standing on the origin."""
    import bpy
    from mathutils import Matrix, Vector

    meshes = import_model(model.path)
    low, high = bounds(meshes)
    extent = high - low
    scale = 1 / max(extent.z, 0.6 * extent.x, 0.6 * extent.y, 1e-4)
    foot = Vector(((low.x + high.x) / 2, (low.y + high.y) / 2, low.z))
    group = bpy.data.collections.new(model.name)
    for each in meshes:
        each.matrix_world = Matrix.Scale(scale, 4) @ Matrix.Translation(-foot) @ each.matrix_world
        for holder in list(each.users_collection):
            holder.objects.unlink(each)
        group.objects.link(each)
    return group


def _places(draw: random.Random) -> list[tuple[float, float]]:
    """Where things stand, the camera at (0, 0) looking along y: rows and columns, or strewn. Denser or sparser."""
    pitch = draw.uniform(0.7, 2.2)
    count = int(REACH / pitch)
    columns = range(-count // 2, count // 2 + 1)
    grid = [(pitch * column, pitch * (row + 1)) for row in range(count) for column in columns]
    if draw.random() < 0.45:
        turn = draw.gauss(0, 0.3)
        places = [(x * math.cos(turn) - y * math.sin(turn), x * math.sin(turn) + y * math.cos(turn)) for x, y in grid]
    else:
        places = [(draw.uniform(-REACH / 2, REACH / 2), draw.uniform(0.7, REACH)) for _ in grid]
    return [(x, y) for x, y in places if y > 0.7 and abs(x) < 0.8 * y + 1]  # what the camera may see


def _stand(kind, place: tuple[float, float], scene, draw: random.Random) -> None:
    """One of the kind at the place, turned and sized a little differently from the others."""
    import bpy

    one = bpy.data.objects.new("one", None)
    one.instance_type, one.instance_collection = "COLLECTION", kind
    one.location = (*place, 0)
    one.rotation_euler[2] = draw.gauss(0, 0.4) if draw.random() < 0.5 else draw.uniform(-math.pi, math.pi)
    one.scale = [math.exp(draw.gauss(0, 0.12))] * 3
    scene.collection.objects.link(one)


def _build_floor(scene, surfaces, draw: random.Random) -> None:
    """A floor and, half of the time, a wall behind, in a colour or wearing a photograph."""
    import bpy

    bpy.ops.mesh.primitive_plane_add(size=8 * REACH)
    bpy.context.object.data.materials.append(worn(draw, surfaces))
    if draw.random() < 0.5:
        away = draw.uniform(0.3, 1) * REACH
        bpy.ops.mesh.primitive_plane_add(size=8 * REACH, location=(0, away, 0), rotation=(math.pi / 2, 0, 0))
        bpy.context.object.data.materials.append(worn(draw, surfaces))


def _point_camera(scene, draw: random.Random) -> None:
    """From among the things or from above them; half of the time only one depth is in focus."""
    camera, lens = add_camera(scene)
    lens.lens = draw.choice((24, 35, 50, 85))  # millimetres, on 36 mm of film
    down = draw.choice((draw.uniform(0.02, 0.3), draw.uniform(0.3, 1.1)))
    height = draw.uniform(0.6, 1.5) if down < 0.3 else draw.uniform(1.5, 5)
    camera.location = (draw.gauss(0, 0.3), 0 if down < 0.3 else -0.3, height)
    camera.rotation_euler = (math.pi / 2 - down, draw.gauss(0, 0.06), draw.gauss(0, 0.15))
    lens.clip_start, lens.clip_end = 0.02, 20 * REACH
    if draw.random() < 0.5:
        lens.dof.use_dof = True
        lens.dof.focus_distance = draw.uniform(1, REACH / 2)
        lens.dof.aperture_fstop = math.exp(draw.uniform(math.log(0.06), math.log(0.5)))
