"""Split Subjects with ComfyUI's own layer nodes (0.31 and later): what it takes apart is put together again."""

import shutil

import numpy as np
import pytest

from tests.comfyui.make_pictures import BOXES
from tests.comfyui.server import ROOT

WIDTH, HEIGHT = 680, 440
BYTE = 1.01 / 255  # the compositor works in 8 bits


@pytest.fixture(scope="module")
def layered(comfyui):
    if "LayersFromBoundingBoxes" not in comfyui.get("/object_info"):
        pytest.skip("this ComfyUI has no layers")
    shutil.copy(ROOT / "demo" / "two.jpg", comfyui.base / "input")
    return comfyui


def graph(boxes: list[dict] = BOXES, *, crop: bool = True, photograph_below: bool = False) -> dict:
    prompt = {
        "photo": {"class_type": "LoadImage", "inputs": {"image": "two.jpg"}},
        "load": {"class_type": "LoadBiRefNet", "inputs": {"model": "bundled"}},
        "boxes": {
            "class_type": "CreateBoundingBoxes",
            "inputs": {"width": WIDTH, "height": HEIGHT, "editor_state": {"__value__": list(boxes)}},
        },
        "split": {
            "class_type": "BiRefNetSplitSubjects",
            "inputs": {"image": ["photo", 0], "model": ["load", 0], "boxes": ["boxes", 1]},
        },
        "layers": {
            "class_type": "LayersFromBoundingBoxes",
            "inputs": {
                "image": ["split", 0],
                "bboxes": ["split", 2],
                "crop_to_content": crop,
                "canvas_width": WIDTH,
                "canvas_height": HEIGHT,
            },
        },
        "layered": {"class_type": "ImageCompositor", "inputs": {"layers": ["layers", 0], "compositor": {}}},
    }
    if photograph_below:
        prompt["below"] = {"class_type": "AddLayer", "inputs": {"image": ["photo", 0], "blend_mode": "normal"}}
        prompt["layers"]["inputs"]["layers"] = ["below", 0]
    return prompt


def run(server, prompt: dict, **watched) -> list[np.ndarray]:
    for name, link in watched.items():
        prompt[name] = {"class_type": "ProbeTensor", "inputs": {"tensor": link, "name": f"{name}.npy"}}
    server.run(prompt)
    return [np.load(server.base / "output" / f"{name}.npy") for name in watched]


@pytest.mark.parametrize("crop", [True, False])
def test_layers_rebuild_the_picture(layered, crop):
    watched = {"photo-seen": ["photo", 0], "cut": ["split", 0], "rebuilt": ["layered", 0], "clear": ["layered", 1]}
    [photo], cut, [rebuilt], [clear] = run(layered, graph(crop=crop), **watched)
    assert cut.shape == (2, HEIGHT, WIDTH, 4) and rebuilt.shape == (HEIGHT, WIDTH, 4)
    assert all(0.1 < (layer[..., 3] > 0.5).mean() < 0.4 for layer in cut)
    union = cut[..., 3].sum(0)
    assert union.max() <= 1 and not ((cut[..., 3] > BYTE).sum(0) > 1).any()
    np.testing.assert_allclose(rebuilt[..., 3], union, atol=BYTE)
    np.testing.assert_allclose(clear, 1 - rebuilt[..., 3], atol=1e-6)
    solid = union > 0.99
    assert solid.mean() > 0.2
    np.testing.assert_allclose(rebuilt[solid][:, :3], photo[solid], atol=0.03)  # alpha of .99 lets a little be cleaned


def test_on_the_photograph_they_look_as_they_did(layered):
    watched = {"photo-seen": ["photo", 0], "rebuilt": ["layered", 0]}
    [photo], [rebuilt] = run(layered, graph(photograph_below=True), **watched)
    assert rebuilt.shape == (HEIGHT, WIDTH, 3)
    assert np.abs(rebuilt - photo).mean() < 0.004


def test_nothing_found_runs_on(layered):
    prompt = graph([])
    prompt["save"] = {"class_type": "SaveImage", "inputs": {"images": ["split", 0], "filename_prefix": "nothing"}}
    prompt["show"] = {"class_type": "MaskPreview", "inputs": {"mask": ["split", 1]}}
    cut, [rebuilt] = run(layered, prompt, cut=["split", 0], rebuilt=["layered", 0])
    assert cut.shape == (1, HEIGHT, WIDTH, 4) and not cut[..., 3].any() and not rebuilt[..., 3].any()
    assert any("found nothing" in line for line in layered.log)


def test_masks_one_by_one_are_taken_as_sam_gives_them(layered):
    hints = np.zeros((2, HEIGHT // 4, WIDTH // 4, 3), np.float32)  # coarse, by way of images
    for hint, box in zip(hints, BOXES, strict=True):
        x, y, width, height = (side // 4 for side in box.values())
        hint[y + 10 : y + height - 2, x + 10 : x + width - 10] = 1
    np.save(layered.base / "input" / "hints.npy", hints)
    prompt = graph()
    prompt["hints"] = {"class_type": "ProbeImage", "inputs": {"name": "hints.npy"}}
    prompt["masks"] = {"class_type": "ImageToMask", "inputs": {"image": ["hints", 0], "channel": "red"}}
    prompt["split"]["inputs"]["masks"] = ["masks", 0]
    cut, [rebuilt] = run(layered, prompt, cut=["split", 0], rebuilt=["layered", 0])
    np.testing.assert_allclose(rebuilt[..., 3], cut[..., 3].sum(0), atol=BYTE)
    middles = [cut[:, box["y"] + box["height"] // 2, box["x"] + box["width"] // 2, 3] for box in BOXES]
    np.testing.assert_allclose(middles, np.eye(2), atol=0.1)
