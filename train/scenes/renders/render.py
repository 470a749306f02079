"""Render models with Blender's Cycles: RGBA cut-outs, cropped to the object, with exact alpha."""

from __future__ import annotations

import hashlib
import importlib.util
import math
import multiprocessing
import random
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from train.shared.pictures import save_picture, solid_box

from .models import Model

SMALLEST = 48  # pixels: views that show the object narrower than this are left out
WITHIN = 0.92  # of the distance from which the object's ball just fills the frame
TURNED = 0.35  # share of views from anywhere around; the others come from the front half


@dataclass(frozen=True)
class Quality:
    size: int = 384  # of the frame's sides, pixels
    samples: int = 8  # light paths a pixel, before denoising
    bounces: int = 12  # of a light path, at most; 12 is Blender's own
    denoise: bool = True  # of 9 megapixels it takes longer than to render them


@dataclass(frozen=True)
class Job:
    """Views of one model to render into folder/<catalogue>/<model>_<view>.webp."""

    model: Model
    views: tuple[int, ...]
    folder: Path
    lights: tuple[Path, ...]
    quality: Quality

    def done(self) -> bool:
        return not self.missing()

    def missing(self) -> list[int]:
        return [view for view in self.views if not self.path(view).exists()]

    def path(self, view: int) -> Path:
        return self.folder / self.model.catalogue / f"{self.model.name}_{view}.webp"

    def render(self) -> None:
        """Write the missing views. RenderError names the model."""
        for view, picture in _views(self, self.missing()):
            save_cropped(picture, self.path(view))


def render_all(jobs: Sequence, *, processes: int) -> None:
    """Do every job (Job, or people.PersonJob) that is not done. One that cannot be rendered is mentioned and left out.
    ModuleNotFoundError says how to get bpy, RenderError that Blender died."""
    if importlib.util.find_spec("bpy") is None:  # importing it here would lead the spawned processes to a wrong bpy
        raise ModuleNotFoundError(
            "rendering needs Blender's module bpy: see the first lines of train/scenes/renders/__init__.py"
        )
    todo = [job for job in jobs if not job.done()]
    with (
        ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool,
        tqdm(total=len(todo), desc="rendering", unit="job", disable=not sys.stderr.isatty()) as bar,
    ):
        try:
            for done in as_completed([pool.submit(_render, job) for job in todo]):
                bar.update()
                if error := done.exception():
                    if isinstance(error, BrokenExecutor):
                        raise RenderError(f"Blender died ({error}): with too little memory, take fewer processes")
                    if not isinstance(error, RenderError):
                        raise error
                    print(f"left out: {error}", file=sys.stderr)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


class RenderError(ValueError):
    """Something cannot be rendered; names it."""


def _render(job) -> None:
    job.render()


def save_cropped(picture: Image.Image, path: Path) -> None:
    """Save what of an RGBA picture is not transparent, unless that is narrower than SMALLEST."""
    box = solid_box(picture)
    if box and min(box[2] - box[0], box[3] - box[1]) >= SMALLEST:
        save_picture(picture.crop(box), path)


def _views(job: Job, views: Sequence[int]) -> Iterator[tuple[int, Image.Image]]:
    scene, meshes = None, []
    for view in views:
        try:
            if scene is None:
                scene, meshes = _load(job.model.path)
            draw = random.Random(hashlib.sha256(f"{job.model.catalogue}/{job.model.name}/{view}".encode()).digest())
            _point_camera(scene, meshes, draw)
            light(scene, job.lights, draw)
            scene.render.resolution_x = scene.render.resolution_y = job.quality.size
            picture = rendered(scene, job.quality)
        except RuntimeError as error:  # what bpy raises
            raise RenderError(f"{job.model.catalogue}/{job.model.name}: {error}") from None
        yield view, picture


def _load(path: Path):
    """A new scene with the model in it: (scene, its meshes)."""
    import bpy

    bpy.ops.wm.read_factory_settings(use_empty=True)
    return bpy.context.scene, import_model(path)


def import_model(path: Path) -> list:
    """Add a model to the scene -> its meshes. Normals are made anew, since many of the files have wrong ones that
    render black; the transparency of PNG textures is used. RuntimeError is what bpy raises, or that it has no faces."""
    import bpy  # noqa: I001 (first: bmesh is found only after it)
    import bmesh

    bpy.ops.wm.obj_import(filepath=str(path))
    meshes = [each for each in bpy.context.selected_objects if each.type == "MESH" and each.data.polygons]
    if not meshes:
        raise RuntimeError("it has no faces")
    for each in meshes:
        mesh = bmesh.new()
        mesh.from_mesh(each.data)
        bmesh.ops.remove_doubles(mesh, verts=mesh.verts, dist=1e-6)
        bmesh.ops.recalc_face_normals(mesh, faces=mesh.faces)
        mesh.to_mesh(each.data)
        mesh.free()
        normals = each.data.attributes.get("custom_normal")
        if normals:
            each.data.attributes.remove(normals)
        each.data.shade_smooth()
    for material in {slot.material for each in meshes for slot in each.material_slots if slot.material}:
        _use_transparency(material)
    return meshes


def _use_transparency(material) -> None:
    nodes = material.node_tree.nodes if material.use_nodes else []
    surfaces = [node for node in nodes if node.type == "BSDF_PRINCIPLED"]
    for node in nodes:
        is_png = node.type == "TEX_IMAGE" and node.image and node.image.filepath.lower().endswith(".png")
        if is_png and surfaces:
            material.node_tree.links.new(node.outputs["Alpha"], surfaces[0].inputs["Alpha"])


def _point_camera(scene, meshes, draw: random.Random) -> None:
    """At the middle of the model, from a little above, so near that it fills the frame."""
    from mathutils import Vector

    low, high = bounds(meshes)
    middle, radius = (low + high) / 2, max((high - low).length / 2, 1e-4)
    camera, lens = add_camera(scene)
    lens.lens = draw.choice((35, 50, 85))  # millimetres, on 36 mm of film
    around = math.pi if draw.random() < TURNED else 0.9
    azimuth, height = draw.uniform(-around, around), draw.uniform(-0.05, 0.45)
    distance = WITHIN * radius / math.sin(math.atan(18 / lens.lens))
    away = Vector((math.sin(azimuth) * math.cos(height), -math.cos(azimuth) * math.cos(height), math.sin(height)))
    camera.location = middle + distance * away
    camera.rotation_euler = (-away).to_track_quat("-Z", "Y").to_euler()
    lens.clip_start, lens.clip_end = distance / 100, distance * 10


def bounds(meshes):
    """The least and the greatest coordinates of meshes, as two vectors."""
    from mathutils import Vector

    corners = [each.matrix_world @ Vector(corner) for each in meshes for corner in each.bound_box]
    return (Vector(pick(corner[axis] for corner in corners) for axis in range(3)) for pick in (min, max))


def add_camera(scene):
    """A camera by which the scene is seen from now on: (it, its lens)."""
    import bpy

    lens = bpy.data.cameras.new("camera")
    camera = bpy.data.objects.new("camera", lens)
    scene.collection.objects.link(camera)
    scene.camera = camera
    return camera, lens


def light(scene, lights: Sequence[Path], draw: random.Random) -> None:
    """Light the scene by a panorama turned anyhow and, half of the time, a sun."""
    import bpy

    world = bpy.data.worlds.new("world")
    scene.world = world
    world.use_nodes = True
    nodes, links = world.node_tree.nodes, world.node_tree.links
    panorama = nodes.new("ShaderNodeTexEnvironment")
    panorama.image = bpy.data.images.load(str(draw.choice(lights)))
    turn, directions = nodes.new("ShaderNodeMapping"), nodes.new("ShaderNodeTexCoord")
    turn.inputs["Rotation"].default_value[2] = draw.uniform(0, 2 * math.pi)
    links.new(directions.outputs["Generated"], turn.inputs["Vector"])
    links.new(turn.outputs[0], panorama.inputs[0])
    links.new(panorama.outputs[0], nodes["Background"].inputs[0])
    nodes["Background"].inputs[1].default_value = draw.uniform(0.7, 1.8)
    for each in [each for each in scene.objects if each.type == "LIGHT"]:
        bpy.data.objects.remove(each)  # the last view's sun
    if draw.random() < 0.5:
        sun = bpy.data.lights.new("sun", "SUN")
        sun.energy, sun.angle = draw.uniform(0.5, 3), draw.uniform(0.01, 0.3)
        above = bpy.data.objects.new("sun", sun)
        above.rotation_euler = (draw.uniform(0.2, 1.2), 0, draw.uniform(0, 2 * math.pi))
        scene.collection.objects.link(above)


def rendered(scene, quality: Quality, *, transparent: bool = True) -> Image.Image:
    """The scene as its camera sees it, RGBA; `transparent` leaves out the panorama. RuntimeError is what bpy raises."""
    import bpy

    with tempfile.TemporaryDirectory() as temporary:
        target = Path(temporary, "picture.png")
        _prepare(scene, quality, target, transparent)
        bpy.ops.render.render(write_still=True)
        with Image.open(target) as picture:
            return picture.convert("RGBA")


def _prepare(scene, quality: Quality, target: Path, transparent: bool) -> None:
    """Render into `target` with Cycles on one thread, denoised; straight colours, no film look."""
    scene.render.engine = "CYCLES"
    cycles = scene.cycles
    cycles.device, cycles.samples = "CPU", quality.samples
    cycles.max_bounces = quality.bounces
    cycles.use_denoising, cycles.denoiser = quality.denoise, "OPENIMAGEDENOISE"
    cycles.sample_clamp_direct, cycles.sample_clamp_indirect = 8, 4
    scene.render.threads_mode, scene.render.threads = "FIXED", 1
    scene.render.film_transparent = transparent
    scene.view_settings.view_transform = "Standard"
    scene.render.image_settings.file_format = "PNG"
    scene.render.image_settings.color_mode = "RGBA"
    scene.render.filepath = str(target)
