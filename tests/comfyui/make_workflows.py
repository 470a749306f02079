"""Writes example_workflows/*.json and their API twins in tests/workflows_api/ with ComfyUI's real frontend.

    COMFYUI_PATH=... COMFYUI_PYTHON=... python -m tests.comfyui.make_workflows

The page builds each graph of `graphs.py` out of its own node definitions, places the nodes and serialises the result,
as its Save does; nothing here knows the format.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
import uuid
from dataclasses import asdict
from pathlib import Path

from tests.comfyui.browser import frontend, to_prompt
from tests.comfyui.graphs import WORKFLOWS, Column
from tests.comfyui.server import PACK, ROOT, Server

UI, API = ROOT / "example_workflows", ROOT / "tests" / "workflows_api"
UPLOADS = ("LoadImage", "LoadVideo", "BiRefNetVideoFrames")
# ComfyUI ids everything in a new graph at random; so that a second run writes the same files.
NAMESPACE = uuid.UUID("5b1f0a44-6f5c-4c0e-9d5c-0f2b8a6f7f10")

BUILD = """
([columns, id, versions]) => {
  const GAP = 30, TITLE = LiteGraph.NODE_TITLE_HEIGHT, HEADING = 50
  app.graph.clear()
  app.graph.id = id
  const made = {}
  let left = 0
  for (const column of columns) {
    let top = HEADING, width = 0
    const members = []
    for (const [name, spec] of Object.entries(column.nodes)) {
      const node = LiteGraph.createNode(spec.type)
      if (!node) throw new Error(`there is no node ${spec.type}`)
      app.graph.add(node)
      if (spec.title) node.title = spec.title
      for (const [key, value] of Object.entries(spec.widgets)) {
        const widget = node.widgets.find(widget => widget.name === key)
        if (!widget) throw new Error(`${spec.type} has no widget ${key}`)
        widget.value = value
      }
      const pack = node.constructor.nodeData?.python_module?.startsWith('custom_nodes.') ? versions.pack : versions.core
      if (node.constructor.nodeData?.python_module) Object.assign(node.properties, pack)
      if (spec.models.length) node.properties.models = spec.models
      const least = node.computeSize()
      node.setSize([Math.max(least[0], spec.size?.[0] ?? 0), Math.max(least[1], spec.size?.[1] ?? 0)])
      node.pos = [left + GAP, top + TITLE]
      top += TITLE + node.size[1] + GAP
      width = Math.max(width, node.size[0])
      made[name] = node
      members.push(node)
    }
    const group = new LiteGraph.LGraphGroup(column.title)
    group.pos = [left, 0]
    group.size = [width + 2 * GAP, top]
    group.color = column.colour
    app.graph.add(group)
    left += width + 3 * GAP
  }
  for (const column of columns)
    for (const [name, spec] of Object.entries(column.nodes))
      for (const [input, source] of Object.entries(spec.inputs)) {
        const [from, output] = source.split('.')
        if (!made[from].connect(made[from].findOutputSlot(output), made[name], input))
          throw new Error(`${source} does not fit ${name}.${input}`)
      }
  app.canvas.ds.scale = 0.7
  app.canvas.ds.offset = [140, 160]
}
"""


def main() -> None:
    tree = Path(os.environ["COMFYUI_PATH"]).resolve()
    with tempfile.TemporaryDirectory() as folder:
        server = Server(tree, Path(folder), python=os.environ.get("COMFYUI_PYTHON", sys.executable))
        with server, frontend(server) as page:
            core = server.get("/system_stats")["system"]["comfyui_version"]
            versions = {"core": properties("comfy-core", core), "pack": properties(PACK, pack_version())}
            for name, columns in WORKFLOWS.items():
                graph = build(page, name, columns, versions)
                write(UI / f"{name}.json", graph["workflow"])
                write(API / f"{name}.json", graph["output"])


def build(page, name: str, columns: list[Column], versions: dict) -> dict:
    """{"workflow": UI form, "output": API form} of one workflow, as the page writes them."""
    identity = str(uuid.uuid5(NAMESPACE, name))
    page.evaluate(BUILD, [[asdict(column) for column in columns], identity, versions])
    written = to_prompt(page)
    for node in written["workflow"]["nodes"]:
        drop_upload(node)
    nodes = [node for column in columns for node in column.nodes.values()]
    # The frontend offers a node's models where a widget has the file's name; others the workflow has to name as well.
    models = [model for node in nodes for model in node.models if model["name"] not in node.widgets.values()]
    return {**written, "workflow": {**written["workflow"], "models": models}} if models else written


def drop_upload(node: dict) -> None:
    """Leave the value of a node's upload button out, in place. It says nothing, is the last one, and would be that of
    an input which comes before it in a later version, as Load Video's `edit` did."""
    if node["type"] in UPLOADS:
        assert node["widgets_values"].pop() == "image"


def properties(pack: str, version: str) -> dict[str, str]:
    """What ComfyUI's manager notes on each node, so that a missing pack can be found."""
    return {"cnr_id": pack, "ver": version}


def pack_version() -> str:
    return re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)[1]


def write(path: Path, content: dict) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
