"""Pictures of the example workflows in ComfyUI's real frontend, after a run: docs/workflow-*.png.

    COMFYUI_PATH=... COMFYUI_PYTHON=... python -m tests.comfyui.make_screenshots [--only NAME] [--out docs]

They show the repository's photograph and clip. Stable Diffusion has random weights, so that it paints coloured noise.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

from PIL import Image

from tests.comfyui import random_checkpoint
from tests.comfyui.browser import frontend, open_workflow, settle
from tests.comfyui.graphs import CLIP, SD15
from tests.comfyui.server import ROOT, Server

PHOTOGRAPH = ROOT / "demo" / "photograph.jpg"
PICTURES = {
    "1-cut-out": "workflow-1",
    "2-new-background": "workflow-2",
    "6-clip-to-alpha": "workflow-6",
    "7-clip-in-generated-scene": "workflow-7",
}
MARGIN = 20
COLOURS = 256
NOISE_NEEDS_NO_MORE = {"KSampler": {2: 3}, "ImageScaleToTotalPixels": {1: 0.15}}  # steps, megapixels
STAGE = """
(margin) => {  // the canvas alone, all of the graph in it, one pixel of the graph a pixel of the screen
  const boxes = app.graph.groups.map(group => [...group.pos, ...group.size])
  const right = Math.max(...boxes.map(box => box[0] + box[2])), bottom = Math.max(...boxes.map(box => box[1] + box[3]))
  app.canvas.ds.scale = 1
  app.canvas.ds.offset = [margin, margin]
  app.canvas.setDirty(true, true)
  return [right + 2 * margin, bottom + 2 * margin]
}
"""
# Everything but the canvas and what lies on it, such as the notes.
HIDE = """
body * { visibility: hidden !important }
canvas#graph-canvas, .dom-widget, .dom-widget *:not(button) { visibility: visible !important }
"""
LOADED = """
() => app.graph.nodes.every(node => (node.imgs ?? []).every(image => image.complete && image.naturalWidth))
  && [...document.querySelectorAll('video')].every(video => video.readyState >= 2)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=PICTURES)
    parser.add_argument("--out", type=Path, default=ROOT / "docs")
    args = parser.parse_args()
    args.out.mkdir(exist_ok=True)
    names = [args.only] if args.only else list(PICTURES)
    tree, python = Path(os.environ["COMFYUI_PATH"]).resolve(), os.environ.get("COMFYUI_PYTHON", sys.executable)
    with tempfile.TemporaryDirectory() as folder, Server(tree, Path(folder), python=python) as server:
        (server.base / "models" / "checkpoints").mkdir(exist_ok=True)
        random_checkpoint.make(tree, server.base / "models" / "checkpoints" / SD15["name"], python)
        shutil.copy(PHOTOGRAPH, server.base / "input")
        shutil.copy(tree / "input" / "example.png", server.base / "input")
        shutil.copy(ROOT / "demo" / "clip.mp4", server.base / "input" / CLIP)
        for name in names:
            picture = take(server, name)
            path = args.out / f"{PICTURES[name]}.png"
            picture.quantize(COLOURS).save(path, optimize=True)
            print(f"{path} {picture.width} x {picture.height}, {path.stat().st_size // 1000} kB")


def take(server: Server, name: str) -> Image.Image:
    """The workflow with the photograph in it, after a run."""
    workflow = json.loads((ROOT / "example_workflows" / f"{name}.json").read_text(encoding="utf-8"))
    for node in workflow["nodes"]:
        if node["type"] == "LoadImage" and "title" not in node:  # the others are backgrounds
            node["widgets_values"][0] = PHOTOGRAPH.name
        for widget, value in NOISE_NEEDS_NO_MORE.get(node["type"], {}).items():
            node["widgets_values"][widget] = value
    with frontend(server, settings={"Comfy.Graph.CanvasInfo": False}) as page:
        if unknown := open_workflow(page, workflow, name):
            raise RuntimeError(f"unknown nodes: {unknown}")
        before = set(server.get("/history"))
        page.evaluate("() => app.queuePrompt(0)")
        [prompt] = server.wait_for(lambda: set(server.get("/history")) - before, name)
        entry = server.finished(prompt)
        if entry["status"]["status_str"] != "success":
            raise RuntimeError(server.error(entry))
        width, height = page.evaluate(STAGE, MARGIN)
        page.set_viewport_size({"width": int(width), "height": int(height)})
        page.evaluate("style => document.head.appendChild(document.createElement('style')).append(style)", HIDE)
        page.evaluate(STAGE, MARGIN)
        page.wait_for_function(LOADED)
        settle(page)
        return Image.open(io.BytesIO(page.screenshot())).convert("RGB")


if __name__ == "__main__":
    main()
