"""What Matte Video shows on its node, in the frontends that COMFYUI_FRONTENDS has: live frames while it runs, and then
the finished clip, in both renderers.

COMFYUI_FRONTENDS names a folder in which VERSION/comfyui_frontend_package is what `pip install --target VERSION
comfyui-frontend-package==VERSION` puts there.
"""

import io
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.comfyui import browser
from tests.comfyui.graphs import CLIP
from tests.comfyui.server import ROOT

FRONTENDS = ("1.27.10", "1.45.19", "1.49.6", "1.58.1")
GREYS = ((160,) * 3, (96,) * 3)  # of the checkerboard behind live frames
MAGENTA = (255, 0, 255)  # behind the subject of the finished clip
CLOSE = 14  # levels; JPEG and H.264 are lossy
MUCH = 4000  # pixels of the screen
PATIENCE_SECONDS = 240
PLACE = """
() => {  // the node alone in the window's middle, away from what lies over the canvas
  const node = app.graph.nodes.find(node => node.type === 'BiRefNetMatteVideo')
  app.graph.nodes.forEach(other => { if (other !== node) other.pos = [-3000, other.pos[1]] })
  node.pos = [0, 0]
  app.canvas.ds.scale = 0.8
  app.canvas.ds.offset = [500, 150]
  app.canvas.setDirty(true, true)
}
"""
ANOTHER = """
() => {  // file name, so that ComfyUI runs the node again
  const node = app.graph.nodes.find(node => node.type === 'BiRefNetMatteVideo')
  node.widgets.find(widget => widget.name === 'filename_prefix').value += 'x'
}
"""


@pytest.fixture(scope="module", params=FRONTENDS)
def served(request, start_comfyui):
    """A server with one of the frontends."""
    if reason := browser.missing():
        pytest.skip(f"not opened in the frontend: {reason}")
    root = Path(os.environ.get("COMFYUI_FRONTENDS", "")) / request.param / "comfyui_frontend_package" / "static"
    if "COMFYUI_FRONTENDS" not in os.environ or not root.is_dir():
        pytest.skip(f"COMFYUI_FRONTENDS names no folder with frontend {request.param}")
    with start_comfyui("--front-end-root", str(root)) as server:
        shutil.copy(ROOT / "demo" / "clip.mp4", server.base / "input" / CLIP)
        yield server


@pytest.fixture(params=[False, True], ids=["canvas", "nodes2"])
def page(request, served):
    if request.param and request.node.callspec.params["served"] == "1.27.10":
        pytest.skip("frontend 1.27.10 shows no clips on any node in its first form of Nodes 2.0")
    with browser.frontend(served, settings={"Comfy.VueNodes.Enabled": request.param}) as page:
        yield page


def graph(**inputs) -> dict:
    """A clip matted on magenta, held in the midst of it."""
    return {
        "1": {"class_type": "LoadVideo", "inputs": {"file": CLIP}},
        "2": {"class_type": "LoadBiRefNet", "inputs": {"model": "bundled", "device": "cpu"}},
        "3": {"class_type": "ProbeModel", "inputs": {"model": ["2", 0], "interrupt_at": 0, "hold_at": 8}},
        "4": {
            "class_type": "BiRefNetMatteVideo",
            "inputs": {
                "video": ["1", 0],
                "model": ["3", 0],
                "format": "h264",
                "background_colour": "#ff00ff",
                "size": 64,
                **inputs,
            },
        },
    }


def run(server, page) -> Callable[[], None]:
    """Presses Run. What lets it go on to its end."""
    before = set(server.get("/history"))
    (server.base / "input" / "go").unlink(missing_ok=True)
    page.evaluate("() => app.queuePrompt(0)")

    def finish() -> None:
        (server.base / "input" / "go").touch()
        [prompt] = server.wait_for(lambda: set(server.get("/history")) - before, "the run")
        entry = server.finished(prompt)
        assert entry["status"]["status_str"] == "success", server.error(entry)

    return finish


def count(page, *colours) -> int:
    """How many pixels of the window have one of the colours."""
    pixels = np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("RGB")).astype(int)
    return sum(int((np.abs(pixels - colour).max(-1) <= CLOSE).sum()) for colour in colours)


def wait_until(page, seen, what: str) -> None:
    until = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < until:
        if seen():
            return
        page.wait_for_timeout(500)
    raise AssertionError(f"the node never showed {what}")


def shows_frames(page) -> bool:
    return all(count(page, grey) > MUCH for grey in GREYS) and count(page, MAGENTA) == 0


def shows_clip(page) -> bool:
    return count(page, MAGENTA) > MUCH and not all(count(page, grey) > MUCH for grey in GREYS)


def test_live_frames_and_then_the_clip(page, served):
    page.evaluate("graph => app.loadApiJson(graph, 'clip')", graph())
    page.evaluate(PLACE)
    browser.settle(page)
    for _ in ("first run", "second run"):
        page.evaluate(ANOTHER)
        finish = run(served, page)
        wait_until(page, lambda: shows_frames(page), "live frames")
        finish()
        wait_until(page, lambda: shows_clip(page), "the clip")
        page.wait_for_timeout(1500)  # a frame that was still being loaded may come back
        assert shows_clip(page)


def test_a_frontend_that_is_not_known_shows_the_clip_alone(page, served):
    """One that keeps frames elsewhere loses the live frames, not the clip."""
    page.route("**/matte_video.js*", without_the_store)
    page.reload()
    page.wait_for_function(browser.READY.format("BiRefNetMatteVideo"))
    browser.settle(page)
    page.evaluate("graph => app.loadApiJson(graph, 'clip')", graph())
    page.evaluate(PLACE)
    page.evaluate("() => app.api.addEventListener('progress', () => { window.seen = (window.seen ?? 0) + 1 })")
    finish = run(served, page)
    page.wait_for_function("() => window.seen > 2", timeout=PATIENCE_SECONDS * 1000)
    page.wait_for_timeout(1000)
    shown = shows_frames(page)
    finish()
    assert not shown
    wait_until(page, lambda: shows_clip(page), "the clip")


def without_the_store(route) -> None:
    script = (ROOT / "web" / "matte_video.js").read_text(encoding="utf-8")
    assert '"nodeOutput"' in script
    route.fulfill(body=script.replace('"nodeOutput"', '"elsewhere"'), content_type="text/javascript")
