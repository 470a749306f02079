"""Workflows that were saved before inputs were added open with their values in place."""

import shutil

import pytest

from tests.comfyui import browser
from tests.comfyui.server import ROOT

# As 0.1.0 saved it: the last value is the frontend's own, of its upload button.
BEFORE = {"start": 1, "start_unit": "seconds", "count": 48, "every_nth": 2, "longest_side": 768}
VALUES = ["clip.mp4", *BEFORE.values(), "image"]


@pytest.mark.parametrize("values", [VALUES, VALUES[:-1]], ids=["with upload", "without"])
def test_video_frames_of_an_older_workflow(comfyui, values):
    if reason := browser.missing():
        pytest.skip(f"not opened in the frontend: {reason}")
    shutil.copy(ROOT / "demo" / "clip.mp4", comfyui.base / "input")
    node = {
        "id": 1,
        "type": "BiRefNetVideoFrames",
        "pos": [0, 0],
        "size": [300, 300],
        "flags": {},
        "order": 0,
        "mode": 0,
    }
    node |= {"inputs": [], "outputs": [], "properties": {}, "widgets_values": values}
    graph = {"last_node_id": 1, "last_link_id": 0, "nodes": [node], "links": [], "groups": [], "version": 0.4}
    with browser.frontend(comfyui) as page:
        assert browser.open_workflow(page, graph, "before") == []
        [sent] = browser.to_prompt(page)["output"].values()
    expected = {"file": "clip.mp4", **BEFORE, "sound_track": 0, "even_rate": True, "square_pixels": False}
    assert {name: sent["inputs"].get(name) for name in expected} == expected
