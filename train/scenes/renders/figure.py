"""A dressed person in a new scene: skin, hair of single strands, clothes, armour, hats and things in the hands."""

from __future__ import annotations

import colorsys
import math
import random

import numpy as np

from .bodies import Bodies, Body
from .hair import Growth, draw_growth, grow
from .materials import fabric, hair_colour, hair_material, steel, tinted
from .shapes import moved, placed, sphere, tube, vertex_normals, waves

# Bones whose part of the tights a garment covers.
TOP = ("spine01", "spine02", "spine03", "breast", "clavicle", "shoulder")
SLEEVES = ((), ("upperarm01",), ("upperarm",), ("upperarm", "lowerarm01"), ("upperarm", "lowerarm"))
BOTTOM = ("root", "pelvis", "spine04", "spine05", "upperleg01")
LEGS = ((), ("upperleg",), ("upperleg", "lowerleg"), ("upperleg", "lowerleg"))
SHOES = (("foot", "toe"), ("foot", "toe", "lowerleg02"), ("foot", "toe", "lowerleg"))
ARMOUR = (("spine01", "spine02", "spine03", "breast"), ("clavicle", "shoulder", "upperarm01"), ("lowerarm",))
SKINS = ((0.86, 0.62, 0.50), (0.78, 0.53, 0.38), (0.63, 0.41, 0.27), (0.42, 0.25, 0.16), (0.22, 0.12, 0.08))


class Figure:
    """One dressed person in a new scene."""

    def __init__(self, bodies: Bodies, draw: random.Random) -> None:
        import bpy

        bpy.ops.wm.read_factory_settings(use_empty=True)
        self.scene = bpy.context.scene
        self.bodies, self.draw = bodies, draw
        self.rng = np.random.default_rng(draw.getrandbits(32))
        self.body: Body = bodies.draw(draw)
        self.faces = {name: bodies.faces[name] for name in ("body", "helper-tights", "helper-skirt", "helper-hair")}
        self.normals = vertex_normals(self.body.vertices, [face for group in self.faces.values() for face in group])
        self.points: list[np.ndarray] = []  # of everything, to frame it by
        self.hat_rim: float | None = None  # height on the upright body above which no hair grows

    def dress(self) -> None:
        draw = self.draw
        beast = draw.random() < 0.07
        self.skin()
        if beast:
            self.fur()
        if not beast or draw.random() < 0.5:
            self.clothes()
        if draw.random() < 0.22:
            self.armour()
        if draw.random() < 0.15:
            self.cape()
        headwear = draw.random()
        if headwear < 0.25:
            self.hat()
        elif headwear < 0.32:
            self.garment("helper-hair", np.ones(len(self.body.vertices), bool), 0.012, fabric(draw))  # hood or veil
            self.hat_rim = -math.inf
        if not beast:
            self.hair()
        for side in "LR":
            if draw.random() < 0.33:
                self.hold(side)

    # Parts

    def skin(self) -> None:
        draw, body, bodies = self.draw, self.body, self.bodies
        tone = np.array(draw.choice(SKINS)) * draw.uniform(0.8, 1.15)
        if draw.random() < 0.07:  # no human's
            tone = np.array(colorsys.hsv_to_rgb(draw.random(), draw.uniform(0.1, 0.6), draw.uniform(0.2, 0.7)))
        colours = np.tile(tone, (len(body.vertices), 1))
        colours *= 1 + 0.08 * waves(body.upright, self.rng, 60)[:, None]
        rouge = bodies.lips[:, None] * draw.uniform(0.2, 0.8)
        colours += rouge * (tone * np.array([0.95, 0.45, 0.5]) - colours)
        material = tinted(roughness=draw.uniform(0.35, 0.6))
        self.add(body.vertices, self.faces["body"], material, colours=colours, subdivided=1)
        iris = np.array(draw.choice(((0.1, 0.05, 0.02), (0.2, 0.12, 0.05), (0.1, 0.2, 0.3), (0.12, 0.2, 0.1))))
        for side in ("helper-l-eye", "helper-r-eye"):
            faces = bodies.faces[side]
            ball = sorted({vertex for face in faces for vertex in face})
            upright = body.upright[ball]
            ahead = upright - (upright.min(axis=0) + upright.max(axis=0)) / 2
            facing = -ahead[:, 1] / np.linalg.norm(ahead, axis=1)
            colours[ball] = 0.75
            colours[np.array(ball)[facing > 0.85]] = iris
            colours[np.array(ball)[facing > 0.96]] = 0.005
            self.add(body.vertices, faces, tinted(roughness=0.1), colours=colours)

    def clothes(self) -> None:
        draw = self.draw
        long = () if draw.random() < 0.4 else ("spine04", "spine05")
        top, bottom = fabric(draw), fabric(draw)
        thick = draw.uniform(0.003, 0.012)
        self.region_of_tights(BOTTOM + draw.choice(LEGS), thick, bottom)
        self.region_of_tights(TOP + long + draw.choice(SLEEVES), thick + 0.004, top)
        self.region_of_tights(draw.choice(SHOES), draw.uniform(0.006, 0.015), fabric(draw))
        if draw.random() < 0.3:
            skirt = self.body.upright[self.skirt_vertices()]
            low, high = skirt[:, 2].min(), skirt[:, 2].max()
            hem = draw.uniform(low, low + 0.75 * (high - low))
            self.garment("helper-skirt", self.body.upright[:, 2] > hem, thick + 0.008, draw.choice((top, fabric(draw))))
        if draw.random() < 0.3:  # open coat or vest over it
            self.region_of_tights(TOP + long + draw.choice(SLEEVES), thick + 0.015, fabric(draw), open_in_front=True)
        if draw.random() < 0.3:
            self.region_of_tights(("spine05",), thick + 0.014, fabric(draw))  # belt
        if draw.random() < 0.12:
            self.collar()

    def armour(self) -> None:
        metal = steel(self.draw)
        for part in ARMOUR + SHOES[2:]:
            if self.draw.random() < 0.6:
                self.region_of_tights(part, self.draw.uniform(0.018, 0.04), metal, folds=0.0)

    def region_of_tights(self, bones, thick, material, *, open_in_front=False, folds=1.0) -> None:
        chosen = self.bodies.region(*bones)
        if open_in_front:
            width = self.draw.uniform(0.03, 0.08)
            in_front = self.body.upright[:, 1] < self.body.joints["spine01"][1]
            chosen = chosen & ~(in_front & (np.abs(self.body.upright[:, 0]) < width))
        self.garment("helper-tights", chosen, thick, material, folds=folds)

    def garment(self, helper: str, chosen: np.ndarray, thick: float, material, *, folds: float = 1.0) -> None:
        """What of a helper lies on `chosen` vertices [V] bool, `thick` metres further out, in folds."""
        faces = [face for face in self.faces[helper] if all(chosen[vertex] for vertex in face)]
        if faces:
            depth = thick * (1 + 0.5 * folds * waves(self.body.upright, self.rng, 45))
            self.add(self.body.vertices + depth[:, None] * self.normals, faces, material, subdivided=1)

    def skirt_vertices(self) -> list[int]:
        return sorted({vertex for face in self.faces["helper-skirt"] for vertex in face})

    def cape(self) -> None:
        draw, joints = self.draw, self.body.joints
        width, height = abs(joints["upperarm01.L"][0]), joints["upperarm01.L"][2]
        length, flare = draw.uniform(0.5, 1.3), draw.uniform(0.2, 0.9)
        across, down = np.meshgrid(np.linspace(-1, 1, 33), np.linspace(0, 1, 25))
        fold = 0.05 * down * np.sin(across * draw.uniform(6, 16) + draw.uniform(0, 6))
        behind = self.body.upright[self.bodies.region("spine01", "spine02"), 1].max() + 0.035
        x = across * width * (0.85 + flare * down)
        y = behind - 0.16 * across**2 * (1 - down) + draw.uniform(0, 0.25) * down**2 + fold
        z = height + 0.05 - 0.05 * across**2 - length * down
        rows, columns = across.shape
        faces = [
            (row * columns + column, row * columns + column + 1, (row + 1) * columns + column + 1,
             (row + 1) * columns + column)
            for row in range(rows - 1) for column in range(columns - 1)
        ]  # fmt: skip
        sheet = np.stack([x, y, z], axis=-1).reshape(-1, 3)
        self.add(moved(sheet, self.body.bones["spine01"]), faces, fabric(draw), subdivided=1)

    def hat(self) -> None:
        draw = self.draw
        head = self.body.upright[self.bodies.region("head") & self.on_body()]
        top, eyes = head[:, 2].max(), self.body.joints["eye.L"][2]
        rim = eyes + draw.uniform(0.35, 0.6) * (top - eyes)
        above = head[head[:, 2] > rim - 0.02]
        middle = (above.min(axis=0) + above.max(axis=0)) / 2
        wide = 1.1 * (above.max(axis=0) - above.min(axis=0))[:2].max() / 2
        at = self.body.bones["head"] @ placed((middle[0], middle[1], rim))
        kind = draw.choice(("cap", "helmet", "brimmed", "pointed"))
        material = steel(draw) if kind == "helmet" else fabric(draw)
        if kind in ("cap", "helmet"):
            ball, faces = sphere()
            dome = ball * (wide, wide, 1.25 * (top - rim) + 0.01)
            kept = [face for face in faces if all(dome[vertex, 2] > -0.015 for vertex in face)]
            self.add(moved(dome, at), kept, material)
            if kind == "helmet" and draw.random() < 0.4:
                self.plume(dome, kept, at)
        else:
            high = draw.uniform(0.3, 0.6) if kind == "pointed" else draw.uniform(0.1, 0.22)
            narrow = 0.02 if kind == "pointed" else draw.uniform(0.75, 1.05)
            lean = draw.uniform(-0.15, 0.25)
            crown, faces = tube([(1.02, 0), (1.0, 0.3), (0.6 + 0.4 * narrow, 0.7), (narrow, 1), (0, 1)])
            crown = crown * (wide, wide, high)
            crown[:, 1] += lean * np.maximum(crown[:, 2], 0) ** 2 / high
            self.add(moved(crown, at), faces, material)
            brim, faces = tube([(1.0, 0), (draw.uniform(1.2, 2.0), draw.uniform(-0.05, 0.1))])
            self.add(moved(brim * (wide, wide, high), at), faces, material)
        if kind == "cap" and draw.random() < 0.5:
            visor, faces = tube([(0.3, 0), (1.0, 0)])
            self.add(moved(visor * (wide, wide, 1) + np.array((0, -0.6 * wide, 0)), at), faces, material)
        self.hat_rim = rim

    def plume(self, dome, faces, at) -> None:
        ridge = [face for face in faces if all(abs(dome[vertex, 0]) < 0.03 for vertex in face)]
        if ridge:
            growth = Growth(self.draw.uniform(0.08, 0.25), 3000, 1.0, (0, 1, 0.2), 0.9, thick=0.0006)
            self.strands(moved(dome, at), ridge, growth, hair_colour(self.draw, dyed=0.8), moved(dome, at), faces)

    def collar(self) -> None:
        """Fur around the neck."""
        chosen = self.bodies.region("clavicle", "neck01", "neck02", "shoulder01")
        faces = [face for face in self.faces["body"] if all(chosen[vertex] for vertex in face)]
        growth = Growth(self.draw.uniform(0.03, 0.09), 9000, 0.8, stiffness=0.85, frizz=0.004, thick=0.0003)
        self.strands(self.body.vertices, faces, growth, hair_colour(self.draw, dyed=0.3))

    def fur(self) -> None:
        """All over, as a beast has it."""
        face = self.bodies.lips > 0.1
        chosen = self.on_body() & ~face & ~self.bodies.region("eye", "orbicularis", "finger", "oris")
        faces = [face for face in self.faces["body"] if all(chosen[vertex] for vertex in face)]
        growth = Growth(self.draw.uniform(0.02, 0.09), 40000, 0.6, stiffness=0.8, frizz=0.004, thick=0.0006)
        self.strands(self.body.vertices, faces, growth, hair_colour(self.draw, dyed=0.2))

    def hair(self) -> None:
        draw, upright = self.draw, self.body.upright
        colour = hair_colour(draw, dyed=0.06)
        brows = [face for face in self.faces["body"] if all(self.bodies.eyebrows[vertex] for vertex in face)]
        if brows:
            short = Growth(0.009, 500, 0.3, (0, -0.3, 0.4), 0.95, clumped=0, frizz=0.001, thick=0.0002)
            self.strands(self.body.vertices, brows, short, colour)
        if draw.random() > 0.08:
            chosen = self.scalp()
            if self.hat_rim is not None:
                chosen &= upright[:, 2] < self.hat_rim + 0.01
            faces = [face for face in self.faces["body"] if all(chosen[vertex] for vertex in face)]
            if len(faces) > 20:
                self.strands(self.body.vertices, faces, draw_growth(draw), colour)
        if self.body.male and not self.body.child and draw.random() < 0.45:
            mouth, neck = self.body.joints["oris01"], self.body.joints["jaw"]
            low = upright[self.bodies.lips > 0.5, 2].min()
            chin = self.on_body() & self.bodies.region("jaw", "oris", "special04", "head", "levator", "risorius")
            chosen = chin & (upright[:, 2] < mouth[2] + 0.02) & (upright[:, 2] > low - 0.085)
            chosen &= (upright[:, 1] < neck[1] + 0.01) & (self.bodies.lips < 0.15)
            faces = [face for face in self.faces["body"] if all(chosen[vertex] for vertex in face)]
            length = draw.choice((0.004, 0.01, 0.03, 0.1, 0.25)) * draw.uniform(0.7, 1.3)
            growth = Growth(length, 5000, 0.5, (0, -0.4, -1), 0.6, curl=0.003, turns=length * 20, frizz=0.002)
            if faces:
                self.strands(self.body.vertices, faces, growth, colour)

    def scalp(self) -> np.ndarray:
        """Vertices that carry hair, [V] bool: above a line from the forehead over the ears to the neck."""
        upright, joints = self.body.upright, self.body.joints
        head = self.bodies.region("head", "temporalis", "neck03") & self.on_body()
        skull = upright[head]
        top, eyes = skull[:, 2].max(), joints["eye.L"][2]
        front, back = skull[:, 1].min(), skull[:, 1].max()
        behind = ((upright[:, 1] - front) / (back - front)).clip(0, 1)
        line = np.interp(behind, (0, 0.25, 0.5, 0.62, 1), (0.62, 0.5, 0.2, -0.3, -0.75))
        return head & ((upright[:, 2] - eyes) / (top - eyes) > line)

    def on_body(self) -> np.ndarray:
        return np.arange(len(self.body.vertices)) < self.bodies.skin_vertices

    def hold(self, side: str) -> None:
        """Something in the hand: a staff, a blade, a shield, a box or a ball."""
        draw, body = self.draw, self.body
        first, last = (body.joints[f"finger{finger}-1.{side}"] for finger in (2, 5))
        wrist = body.joints[f"wrist.{side}"]
        along, out = first - last, (first + last) / 2 - wrist
        palm = np.cross(along, out)
        palm *= -1 if (side == "L") == (palm[0] > 0) else 1  # inward
        frame = np.stack([vector / np.linalg.norm(vector) for vector in (out, np.cross(along, out), along)], axis=1)
        grip = np.eye(4)
        grip[:3, :3] = frame
        grip[:3, 3] = (first + last) / 2 + 0.025 * palm / np.linalg.norm(palm)
        at = body.bones[f"wrist.{side}"] @ grip
        kind = draw.choice(("staff", "blade", "blade", "shield", "box", "ball", "thing"))
        if kind in ("staff", "thing"):
            thick, long = draw.uniform(0.008, 0.02), draw.uniform(0.5, 2.0)
            low = -long * draw.uniform(0.1, 0.6)
            rod, faces = tube([(0, low), (1, low), (1, low + long), (0, low + long)], sides=12)
            self.add(moved(rod * (thick, thick, 1), at), faces, draw.choice((fabric, steel))(draw))
            if draw.random() < 0.6:
                head = sphere()[0] * np.array([draw.uniform(0.02, 0.12) for _ in range(3)]) + np.array(
                    (0, 0, low + long)
                )
                self.add(moved(head, at), sphere()[1], draw.choice((fabric, steel))(draw))
        elif kind == "blade":
            long, wide = draw.uniform(0.2, 1.1), draw.uniform(0.015, 0.04)
            blade, faces = tube([(0, 0.06), (1, 0.06), (0.9, 0.85 * long), (0, long)], sides=4)
            self.add(moved(blade * (wide, 0.004, 1), at), faces, steel(draw), smooth=False)
            hilt, faces = tube([(0, -0.1), (1, -0.1), (1, 0.06), (4, 0.06), (4, 0.075), (0, 0.075)], sides=10)
            self.add(moved(hilt * (0.014, 0.014, 1), at), faces, draw.choice((fabric, steel))(draw))
        elif kind == "shield":
            disc, faces = tube([(0, 0.12), (0.5, 0.1), (0.95, 0.03), (1, 0)], sides=draw.choice((5, 32, 32)))
            turned = disc[:, [0, 2, 1]] * (draw.uniform(0.15, 0.4), -1, draw.uniform(0.15, 0.4))
            self.add(moved(turned + np.array((0, -0.03, 0)), at), faces, draw.choice((fabric, steel))(draw))
        else:
            size = np.array([draw.uniform(0.05, 0.2) for _ in range(3)])
            shape, faces = sphere() if kind == "ball" else tube([(0, -1), (1, -1), (1, 1), (0, 1)], sides=4)
            self.add(moved(shape * size, at), faces, fabric(draw), smooth=kind == "ball")

    # Into the scene

    def add(self, vertices, faces, material, *, colours=None, subdivided=0, smooth=True) -> None:
        """A mesh of the vertices that `faces` use."""
        import bpy

        used = np.unique(np.concatenate([np.array(face) for face in faces]))
        number = np.zeros(len(vertices), int)
        number[used] = np.arange(len(used))
        mesh = bpy.data.meshes.new("part")
        mesh.from_pydata(vertices[used].tolist(), [], [number[list(face)].tolist() for face in faces])
        if smooth:
            mesh.shade_smooth()
        if colours is not None:
            tint = mesh.color_attributes.new("tint", "FLOAT_COLOR", "POINT")
            tint.data.foreach_set("color", np.c_[colours[used], np.ones(len(used))].clip(0, 1).ravel())
        mesh.materials.append(material)
        part = bpy.data.objects.new("part", mesh)
        if subdivided:
            modifier = part.modifiers.new("subdivision", "SUBSURF")
            modifier.levels = modifier.render_levels = subdivided
        self.scene.collection.objects.link(part)
        self.points.append(vertices[used])

    def strands(self, vertices, faces, growth: Growth, colour, around=None, around_faces=None) -> None:
        """Hair rooted in `faces`, kept out of `around` (by default the person's skin)."""
        import bpy
        from mathutils.bvhtree import BVHTree

        triangles = np.array([(face[0], face[k], face[k + 1]) for face in faces for k in range(1, len(face) - 1)])
        around = self.body.vertices if around is None else around
        surface = BVHTree.FromPolygons(around.tolist(), [list(face) for face in around_faces or self.faces["body"]])
        ways = grow(vertices, triangles, growth, surface, self.rng)
        count, points = ways.shape[:2]
        curves = bpy.data.hair_curves.new("hair")
        curves.add_curves([points] * count)
        curves.attributes["position"].data.foreach_set("vector", ways.astype(np.float32).ravel())
        radius = curves.attributes.get("radius") or curves.attributes.new("radius", "FLOAT", "POINT")
        thick = growth.thick * np.linspace(1, 0.15, points, dtype=np.float32)
        radius.data.foreach_set("value", np.tile(thick, count))
        curves.materials.append(hair_material(colour))
        self.scene.collection.objects.link(bpy.data.objects.new("hair", curves))
        self.points.append(ways[::5].reshape(-1, 3))
