"""Writes subgraphs/*.json, graphs that ComfyUI offers as one node each, with ComfyUI's real frontend.

    COMFYUI_PATH=... COMFYUI_PYTHON=... python -m tests.comfyui.make_blueprints

The page builds the nodes inside with what they are linked to outside, turns them into a subgraph as its own command
does, and serialises the one node that is left.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.comfyui.browser import frontend
from tests.comfyui.graphs import Node
from tests.comfyui.make_workflows import NAMESPACE, pack_version, properties, write
from tests.comfyui.server import PACK, ROOT, Server

FOLDER = ROOT / "subgraphs"
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


@dataclass(frozen=True)
class Blueprint:
    """nodes: inside. inputs: name -> the inner "node.input"s that it feeds. outputs: name -> the inner "node.OUTPUT".
    widgets: the inner "node.widget"s that it shows."""

    description: str
    nodes: dict[str, Node]
    inputs: dict[str, tuple[str, ...]]
    outputs: dict[str, str]
    widgets: tuple[str, ...]


INSIDE = {
    "load": Node("LoadBiRefNet"),
    "segment": Node("BiRefNetSegment", {"model": "load.model"}),
}
BLUEPRINTS = {
    "Cut Out Subject": Blueprint(
        "Cuts the subject out of each image: RGBA with clean edges, and the mask, 1 on the subject.",
        {**INSIDE, "apply": Node("BiRefNetApplyMask", {"mask": "segment.mask"})},
        {"image": ("segment.image", "apply.image")},
        {"cutout": "apply.cutout", "mask": "apply.mask"},
        ("load.model", "apply.clean_foreground"),
    ),
    "Replace Background": Blueprint(
        "Puts the subject of each image on another image or, with background set to colour, on a colour.",
        {**INSIDE, "apply": Node("BiRefNetApplyMask", {"mask": "segment.mask"}, {"background": "image"})},
        {"image": ("segment.image", "apply.image"), "background_image": ("apply.background_image",)},
        {"composite": "apply.composite", "mask": "apply.mask"},
        ("load.model", "apply.background", "apply.colour", "apply.clean_foreground"),
    ),
}
BUILD = """
([name, blueprint, pack]) => {
  app.graph.clear()
  const made = {}
  let left = 0
  for (const [key, spec] of Object.entries(blueprint.nodes)) {
    const node = made[key] = LiteGraph.createNode(spec.type)
    app.graph.add(node)
    for (const [widget, value] of Object.entries(spec.widgets))
      node.widgets.find(one => one.name === widget).value = value
    Object.assign(node.properties, pack)
    node.pos = [left, 0]
    left += node.size[0] + 60
  }
  const link = (source, target, input) => {
    const [from, output] = source.split('.')
    made[from].connect(made[from].findOutputSlot(output), target, input)
  }
  for (const [key, spec] of Object.entries(blueprint.nodes))
    for (const [input, source] of Object.entries(spec.inputs)) link(source, made[key], input)
  const outside = []
  for (const targets of Object.values(blueprint.inputs)) {
    const source = LiteGraph.createNode('LoadImage')
    app.graph.add(source)
    outside.push(source)
    for (const target of targets) source.connect(0, made[target.split('.')[0]], target.split('.')[1])
  }
  const sinks = []
  for (const [output, source] of Object.entries(blueprint.outputs)) {
    const [key, slot] = source.split('.')
    const index = made[key].findOutputSlot(slot)
    const sink = LiteGraph.createNode(made[key].outputs[index].type === 'MASK' ? 'MaskPreview' : 'PreviewImage')
    app.graph.add(sink)
    made[key].connect(index, sink, 0)
    sinks.push(sink)
  }
  const { subgraph, node } = app.graph.convertToSubgraph(new Set(Object.values(made)))
  subgraph.name = node.title = name
  subgraph.description = blueprint.description
  Object.keys(blueprint.inputs).forEach((input, index) => subgraph.renameInput(subgraph.inputs[index], input))
  Object.keys(blueprint.outputs).forEach((output, index) => subgraph.renameOutput(subgraph.outputs[index], output))
  for (const other of [...outside, ...sinks]) app.graph.remove(other)
  node.pos = [0, 0]
  node.setSize(node.computeSize())
  const { revision, last_node_id, last_link_id, nodes, definitions, version } = app.graph.serialize()
  // Not as inputs of the subgraph, which frontends up to 1.49 do not show again.
  nodes[0].properties.proxyWidgets = blueprint.widgets.map(widget => {
    const [key, name] = widget.split('.')
    return [String(made[key].id), name]
  })
  return JSON.stringify({ revision, last_node_id, last_link_id, nodes, links: [], definitions, version,
    extra: { BlueprintDescription: blueprint.description } })
}
"""


def main() -> None:
    tree = Path(os.environ["COMFYUI_PATH"]).resolve()
    with tempfile.TemporaryDirectory() as folder:
        server = Server(tree, Path(folder), python=os.environ.get("COMFYUI_PYTHON", sys.executable))
        with server, frontend(server) as page:
            for name, blueprint in BLUEPRINTS.items():
                text = page.evaluate(BUILD, [name, asdict(blueprint), properties(PACK, pack_version())])
                write(FOLDER / f"{name}.json", json.loads(named(text, name)))


def named(text: str, name: str) -> str:
    """The text with ids that follow from the name in place of random ones, so that a second run writes the same."""
    found = dict.fromkeys(UUID.findall(text))
    for index, old in enumerate(found):
        text = text.replace(old, str(uuid.uuid5(NAMESPACE, f"{name} {index}")))
    return text


if __name__ == "__main__":
    main()
