"""Workflows of packs that are not installed run with our nodes, where ComfyUI knows replacements (0.25 and later)."""

import re
import shutil

import numpy as np
import pytest
from PIL import Image

from tests.comfyui import browser
from tests.comfyui.server import ROOT

BUNDLED = ROOT / "birefnet_core" / "weights" / "bundled.safetensors"
SIDE = 256  # at which the old node has the network see the picture


@pytest.fixture(scope="module")
def server(comfyui):
    """With a model in the place where the other pack put what it called General-Lite."""
    if not (comfyui.tree / "app" / "node_replace_manager.py").is_file():
        pytest.skip("this ComfyUI knows no replacements of nodes")
    folder = comfyui.base / "models" / "BiRefNet"
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("General-Lite.safetensors", "mine.safetensors"):
        shutil.copy(BUNDLED, folder / name)
    shutil.copy(ROOT / "demo" / "photograph.jpg", comfyui.base / "input")
    yield comfyui
    (folder / "General-Lite.safetensors").unlink()


def node(kind: str, **inputs) -> dict:
    return {"class_type": kind, "inputs": inputs, "_meta": {"title": kind}}


def old(loader: dict) -> dict:
    """A prompt of lldacing's nodes."""
    size = {"width": SIDE, "height": SIDE, "upscale_method": "bilinear", "mask_threshold": 0.0}
    blur = {"blur_size": 91, "blur_size_two": 7, "fill_color": False, "color": 0}
    return {
        "1": node("LoadImage", image="photograph.jpg"),
        "2": loader,
        "3": node("GetMaskByBiRefNet", model=["2", 0], images=["1", 0], **size),
        "4": node("BlurFusionForegroundEstimation", images=["1", 0], masks=["3", 0], **blur),
        "5": node("ProbeTensor", tensor=["4", 0], name="old-image.npy"),
        "6": node("ProbeTensor", tensor=["4", 1], name="old-mask.npy"),
    }


def ours() -> dict:
    return {
        "1": node("LoadImage", image="photograph.jpg"),
        "2": node("LoadBiRefNet", model="bundled", device="cpu"),
        "3": node("BiRefNetSegment", model=["2", 0], image=["1", 0], width=SIDE, height=SIDE),
        "4": node("BiRefNetApplyMask", image=["1", 0], mask=["3", 0]),
        "5": node("ProbeTensor", tensor=["4", 1], name="our-image.npy"),
        "6": node("ProbeTensor", tensor=["4", 3], name="our-mask.npy"),
    }


LOADERS = {
    "by name": node("AutoDownloadBiRefNetModel", model_name="General-Lite", device="CPU", dtype="float32"),
    "by file": node("LoadRembgByBiRefNetModel", model="mine.safetensors", device="AUTO", use_weight=False),
    "ZHO's": node("BiRefNet_ModelLoader_Zho", birefnet_model="mine.safetensors"),
}


@pytest.mark.parametrize("loader", LOADERS)
def test_a_prompt_of_missing_nodes_runs_with_ours(server, loader):
    server.run(ours())
    server.run(old(LOADERS[loader]))
    for name, channels in (("image", 4), ("mask", None)):
        made, expected = (np.load(server.base / "output" / f"{who}-{name}.npy") for who in ("old", "our"))
        assert made.shape == expected.shape and (channels is None or made.shape[-1] == channels)
        assert np.abs(made - expected).max() < 1e-4


def test_a_node_that_is_installed_is_not_replaced(server):
    """Offered is only what is not there: none of what ComfyUI has here is in the table."""
    known = server.get("/object_info")
    offered = server.get("/node_replacements")
    ours = {key for key, rows in offered.items() if rows[0]["new_node_id"] in known and "BiRefNet" in str(rows)}
    assert "GetMaskByBiRefNet" in ours and not ours & known.keys()


def test_a_saved_workflow_is_mended_in_the_page(server):
    if reason := browser.missing():
        pytest.skip(f"not opened in the frontend: {reason}")
    with browser.frontend(server) as page:
        missing = browser.open_workflow(page, workflow(), "old")
        assert set(missing) == {"AutoDownloadBiRefNetModel", "GetMaskByBiRefNet", "BlurFusionForegroundEstimation"}
        replace_all(page)
        prompt = browser.to_prompt(page)["output"]
    assert {node["class_type"] for node in prompt.values()} >= {"LoadBiRefNet", "BiRefNetSegment", "BiRefNetApplyMask"}
    assert prompt["2"]["inputs"]["model"] == "General-Lite"
    assert prompt["3"]["inputs"]["width"] == prompt["3"]["inputs"]["height"] == SIDE
    assert prompt["4"]["inputs"]["image"] == ["1", 0] and prompt["4"]["inputs"]["mask"] == ["3", 0]
    assert prompt["5"]["inputs"]["images"] == ["4", 1]  # the cut-out
    assert prompt["6"]["inputs"]["mask"] == ["4", 3]
    server.run(prompt)
    [*_, saved] = sorted((server.base / "output").glob("replaced_*.png"))
    assert Image.open(saved).mode == "RGBA"


def replace_all(page) -> None:
    """Presses what the page offers for nodes that it can replace."""
    page.get_by_role("button", name=re.compile("^(Show swap nodes|View details|See errors)$", re.IGNORECASE)).click()
    for _ in range(10):
        button = page.get_by_role("button", name=re.compile(r"^\s*Replace (All|Node)\s*$"))
        if not page.evaluate(browser.UNKNOWN):
            return
        button.first.click(timeout=30_000)
        page.wait_for_timeout(500)
    raise AssertionError(f"not replaced: {page.evaluate(browser.UNKNOWN)}")


def workflow() -> dict:
    """The same as the other pack's workflows are saved."""

    def saved(number, kind, inputs, outputs, values):
        return {
            "id": number,
            "type": kind,
            "pos": [320 * number, 100],
            "size": [300, 200],
            "flags": {},
            "order": number,
            "mode": 0,
            "inputs": [{"name": name, "type": type_, "link": link} for name, type_, link in inputs],
            "outputs": [{"name": name, "type": type_, "links": links} for name, type_, links in outputs],
            "properties": {"Node name for S&R": kind},
            "widgets_values": values,
        }

    loads = saved(2, "AutoDownloadBiRefNetModel", [], [("model", "BIREFNET", [2])], ["General-Lite", "CPU", "float32"])
    image = saved(1, "LoadImage", [], [("IMAGE", "IMAGE", [1, 3]), ("MASK", "MASK", [])], ["photograph.jpg", "image"])
    masks = saved(
        3,
        "GetMaskByBiRefNet",
        [("model", "BIREFNET", 2), ("images", "IMAGE", 1)],
        [("mask", "MASK", [4])],
        [SIDE, SIDE, "bilinear", 0],
    )
    cleans = saved(
        4,
        "BlurFusionForegroundEstimation",
        [("images", "IMAGE", 3), ("masks", "MASK", 4)],
        [("image", "IMAGE", [5]), ("mask", "MASK", [6])],
        [91, 7, False, 0],
    )
    shows = saved(6, "MaskPreview", [("mask", "MASK", 6)], [], [])
    saves = saved(5, "SaveImage", [("images", "IMAGE", 5)], [], ["replaced"])
    return {
        "version": 0.4,
        "last_node_id": 6,
        "last_link_id": 6,
        "nodes": [image, loads, masks, cleans, saves, shows],
        "links": [
            [1, 1, 0, 3, 1, "IMAGE"],
            [2, 2, 0, 3, 0, "BIREFNET"],
            [3, 1, 0, 4, 0, "IMAGE"],
            [4, 3, 0, 4, 1, "MASK"],
            [5, 4, 0, 5, 0, "IMAGE"],
            [6, 4, 1, 6, 0, "MASK"],
        ],
        "groups": [],
        "config": {},
        "extra": {},
    }
