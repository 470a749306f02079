"""Materials of people and floors: skin, cloth and leather, metal, hair, photographs. Colours are linear light, 0..1."""

from __future__ import annotations

import colorsys
import math
import random
from collections.abc import Sequence
from pathlib import Path

HAIRS = ((0.02, 0.015, 0.01), (0.08, 0.045, 0.025), (0.2, 0.11, 0.05), (0.55, 0.38, 0.18), (0.4, 0.12, 0.04))


def _surface():
    import bpy

    material = bpy.data.materials.new("surface")
    material.use_nodes = True
    return material.node_tree.nodes, material.node_tree.links, material


def tinted(*, roughness: float):
    """Coloured by the mesh's attribute `tint`."""
    nodes, links, material = _surface()
    shader, attribute = nodes["Principled BSDF"], nodes.new("ShaderNodeAttribute")
    attribute.attribute_name = "tint"
    links.new(attribute.outputs["Color"], shader.inputs["Base Color"])
    shader.inputs["Roughness"].default_value = roughness
    return material


def fabric(draw: random.Random):
    """Cloth or leather of any colour: plain, mottled, striped, chequered or spotted, a little uneven."""
    nodes, links, material = _surface()
    shader = nodes["Principled BSDF"]
    first, second = _colour(draw), _colour(draw)
    shader.inputs["Roughness"].default_value = draw.uniform(0.3, 1.0)
    where = nodes.new("ShaderNodeTexCoord").outputs["Object"]
    kind = draw.choice(("plain", "plain", "mottled", "striped", "chequered", "spotted"))
    shader.inputs["Base Color"].default_value = (*first, 1)
    if kind != "plain":
        pattern = nodes.new(
            {"mottled": "ShaderNodeTexNoise", "striped": "ShaderNodeTexWave", "chequered": "ShaderNodeTexChecker",
             "spotted": "ShaderNodeTexVoronoi"}[kind]
        )  # fmt: skip
        pattern.inputs["Scale"].default_value = math.exp(draw.uniform(math.log(5), math.log(60)))
        if kind == "striped":
            pattern.bands_direction = draw.choice(("X", "Z", "DIAGONAL"))
        links.new(where, pattern.inputs["Vector"])
        ramp = nodes.new("ShaderNodeValToRGB")
        middle, soft = draw.uniform(0.3, 0.6), draw.uniform(0.01, 0.3)
        for element, position, colour in zip(ramp.color_ramp.elements, (middle - soft, middle + soft), (first, second)):
            element.position, element.color = position, (*colour, 1)
        links.new(pattern.outputs["Distance" if kind == "spotted" else "Fac"], ramp.inputs["Fac"])
        links.new(ramp.outputs["Color"], shader.inputs["Base Color"])
    _bumpy(nodes, links, where, shader, scale=draw.uniform(10, 60), strength=draw.uniform(0.1, 0.8))
    return material


def steel(draw: random.Random):
    """Metal: grey, golden, coppery or black."""
    nodes, links, material = _surface()
    shader = nodes["Principled BSDF"]
    colour = draw.choice(((0.6, 0.6, 0.62), (0.4, 0.4, 0.45), (0.75, 0.55, 0.2), (0.6, 0.3, 0.15), (0.08, 0.08, 0.1)))
    shader.inputs["Base Color"].default_value = (*colour, 1)
    shader.inputs["Metallic"].default_value = 1
    shader.inputs["Roughness"].default_value = draw.uniform(0.1, 0.5)
    where = nodes.new("ShaderNodeTexCoord").outputs["Object"]
    _bumpy(nodes, links, where, shader, scale=draw.uniform(10, 80), strength=draw.uniform(0, 0.3))
    return material


def hair_material(colour):
    """Strands of slightly different lightness."""
    nodes, links, material = _surface()
    shader, strand = nodes["Principled BSDF"], nodes.new("ShaderNodeHairInfo")
    ramp = nodes.new("ShaderNodeValToRGB")
    for element, lightness in zip(ramp.color_ramp.elements, (0.6, 1.5)):
        element.color = (*(min(1, lightness * value) for value in colour), 1)
    links.new(strand.outputs["Random"], ramp.inputs["Fac"])
    links.new(ramp.outputs["Color"], shader.inputs["Base Color"])
    shader.inputs["Roughness"].default_value = 0.4
    return material


def worn(draw: random.Random, photographs: Sequence[Path]):
    """Of a floor or a wall: a colour or, half of the time, one of the photographs in tiles."""
    import bpy

    nodes, links, material = _surface()
    shader = nodes["Principled BSDF"]
    shader.inputs["Roughness"].default_value = draw.uniform(0.1, 0.9)
    grey = draw.uniform(0.02, 0.9)
    shader.inputs["Base Color"].default_value = (*(grey * draw.uniform(0.5, 1) for _ in "rgb"), 1)
    if draw.random() < 0.5:
        photograph, tiles = nodes.new("ShaderNodeTexImage"), nodes.new("ShaderNodeMapping")
        photograph.image = bpy.data.images.load(str(draw.choice(photographs)))
        photograph.extension = "MIRROR"
        tiles.inputs["Scale"].default_value = [draw.choice((2, 8, 30))] * 3
        links.new(nodes.new("ShaderNodeTexCoord").outputs["UV"], tiles.inputs["Vector"])
        links.new(tiles.outputs[0], photograph.inputs[0])
        links.new(photograph.outputs["Color"], shader.inputs["Base Color"])
    return material


def hair_colour(draw: random.Random, *, dyed: float):
    if draw.random() < dyed:
        return _colour(draw)
    if draw.random() < 0.2:  # grey to white
        return (draw.uniform(0.2, 0.8),) * 3
    return tuple(value * draw.uniform(0.7, 1.5) for value in draw.choice(HAIRS))


def _colour(draw: random.Random):
    """Linear light: often dark, grey, brown or white, sometimes bright."""
    if draw.random() < 0.35:
        return (math.exp(draw.uniform(math.log(0.01), math.log(0.8))),) * 3
    hue, saturation = draw.random(), draw.uniform(0.2, 0.95)
    if draw.random() < 0.3:
        hue, saturation = draw.uniform(0.03, 0.11), draw.uniform(0.3, 0.7)  # leather, wood
    return colorsys.hsv_to_rgb(hue, saturation, math.exp(draw.uniform(math.log(0.03), math.log(0.8))))


def _bumpy(nodes, links, where, shader, *, scale: float, strength: float) -> None:
    noise, bump = nodes.new("ShaderNodeTexNoise"), nodes.new("ShaderNodeBump")
    noise.inputs["Scale"].default_value = scale
    bump.inputs["Strength"].default_value = strength
    bump.inputs["Distance"].default_value = 0.02
    links.new(where, noise.inputs["Vector"])
    links.new(noise.outputs["Fac"], bump.inputs["Height"])
    links.new(bump.outputs["Normal"], shader.inputs["Normal"])
