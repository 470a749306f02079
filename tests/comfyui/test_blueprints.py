"""The blueprints of subgraphs/ in ComfyUI's real frontend: each is placed as one node, runs, and does what it says."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from tests.comfyui import browser
from tests.comfyui.server import PACK, ROOT

NAMES = sorted(path.stem for path in (ROOT / "subgraphs").glob("*.json"))
OF_EIGHT_BITS = 1.01 / 255
# Places a blueprint as the page does when one picks it in its node library, between what its sockets are for.
PLACE = """
([blueprint, inputs, outputs]) => {
  app.graph.clear()
  const placed = app.canvas._deserializeItems(
    { nodes: blueprint.nodes, subgraphs: blueprint.definitions.subgraphs }, { position: [400, 100] })
  const node = placed.nodes.values().next().value
  const add = (type, widgets) => {
    const other = LiteGraph.createNode(type)
    app.graph.add(other)
    for (const [name, value] of Object.entries(widgets)) other.widgets.find(w => w.name === name).value = value
    return other
  }
  for (const [slot, file] of Object.entries(inputs))
    if (!add('LoadImage', { image: file }).connect(0, node, node.findInputSlot(slot))) throw new Error(slot)
  for (const [slot, prefix] of Object.entries(outputs)) {
    let [from, index] = [node, node.findOutputSlot(slot)]
    if (node.outputs[index].type === 'MASK') {
      const image = add('MaskToImage', {})
      from.connect(index, image, 0)
      ;[from, index] = [image, 0]
    }
    if (!from.connect(index, add('SaveImage', { filename_prefix: prefix }), 0)) throw new Error(slot)
  }
  return { type: node.type, title: node.title, widgets: node.widgets.map(widget => widget.name),
    count: app.graph.nodes.filter(other => other.type === node.type).length }
}
"""
SET = """
([name, value]) => {
  const node = app.graph.nodes.find(node => node.subgraph)
  node.widgets.find(widget => widget.name === name).value = value
}
"""


@pytest.fixture(scope="module")
def page(comfyui):
    if not (comfyui.tree / "app" / "subgraph_manager.py").is_file():
        pytest.skip("this ComfyUI knows no blueprints")
    if reason := browser.missing():
        pytest.skip(f"not opened in the frontend: {reason}")
    shutil.copy(ROOT / "demo" / "photograph.jpg", comfyui.base / "input")
    Image.new("RGB", (64, 64), "#3060c0").save(comfyui.base / "input" / "blue.png")
    with browser.frontend(comfyui) as page:
        yield page


def served(comfyui, name: str) -> dict:
    """A blueprint as ComfyUI hands it out."""
    known = comfyui.get("/global_subgraphs")
    [key] = [key for key, row in known.items() if row["info"]["node_pack"].endswith(PACK) and row["name"] == name]
    return json.loads(comfyui.get(f"/global_subgraphs/{key}")["data"])


def run(comfyui, page, prefix: str) -> np.ndarray:
    """Queues what is open; the picture that was saved under the prefix, 0..1."""
    prompt = browser.to_prompt(page)["output"]
    comfyui.run(prompt)
    [*_, path] = sorted((comfyui.base / "output").glob(f"{prefix}_*.png"))
    return np.asarray(Image.open(path)) / 255


def test_there_are_two(page, comfyui):
    assert NAMES == ["Cut Out Subject", "Replace Background"]
    for name in NAMES:
        assert served(comfyui, name) == json.loads((ROOT / "subgraphs" / f"{name}.json").read_text(encoding="utf-8"))


def test_the_page_offers_them_as_nodes(page):
    listed = page.evaluate(
        "() => [...app.extensionManager._p._s.get('subgraph').subgraphBlueprints].map(one => one.display_name)"
    )
    assert set(NAMES) <= set(listed)


def test_a_subject_is_cut_out_by_one_node(page, comfyui):
    outputs = {"cutout": "blueprint-cutout", "mask": "blueprint-mask"}
    blueprint = served(comfyui, "Cut Out Subject")
    placed = page.evaluate(PLACE, [blueprint, {"image": "photograph.jpg"}, outputs])
    assert placed["title"] == "Cut Out Subject" and placed["count"] == 1
    assert {"model", "clean_foreground"} <= set(placed["widgets"])
    cutout = run(comfyui, page, "blueprint-cutout")
    [*_, path] = sorted((comfyui.base / "output").glob("blueprint-mask_*.png"))
    mask = np.asarray(Image.open(path).convert("L")) / 255
    photograph = np.asarray(Image.open(ROOT / "demo" / "photograph.jpg")) / 255
    assert cutout.shape == (*photograph.shape[:2], 4)
    np.testing.assert_allclose(cutout[..., 3], mask, atol=OF_EIGHT_BITS)
    subject = mask > 0.97
    assert 0.05 < subject.mean() < 0.7 and (mask < 0.03).mean() > 0.2
    assert np.abs(cutout[subject][:, :3] - photograph[subject]).mean() < 0.02


def test_a_background_is_replaced_by_one_node(page, comfyui):
    files = {"image": "photograph.jpg", "background_image": "blue.png"}
    outputs = {"composite": "blueprint-image"}
    page.evaluate(PLACE, [served(comfyui, "Replace Background"), files, outputs])
    image = run(comfyui, page, "blueprint-image")
    assert image.shape[2] == 3
    assert np.abs(image[:40, :40] - np.array([0x30, 0x60, 0xC0]) / 255).max() < 0.02
    for widget, value in (("background", "colour"), ("colour", "#ff0000")):
        page.evaluate(SET, [widget, value])
    red = run(comfyui, page, "blueprint-image")
    assert np.abs(red[:40, :40] - [1, 0, 0]).max() < 0.02
    same = np.abs(red - image).max(-1) < 0.02
    assert 0.05 < same.mean() < 0.7  # the subject
