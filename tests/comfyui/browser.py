"""ComfyUI's real frontend in headless Chromium, driven by playwright."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
from contextlib import contextmanager
from typing import Any

from tests.comfyui.server import PATIENCE_SECONDS, Server

OPTIONS = (
    *("--no-sandbox", "--disable-gpu", "--use-gl=angle", "--use-angle=swiftshader"),
    *("--disable-background-networking", "--no-first-run"),
)
READY = "!!(window.app?.graph?.nodes && window.app.extensionManager && window.LiteGraph?.registered_node_types.{})"
UNKNOWN = "() => app.graph.nodes.map(node => node.type).filter(type => !(type in LiteGraph.registered_node_types))"


def chromium() -> str | None:
    """CHROMIUM, or the system's."""
    return os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")


def missing() -> str:
    """Why no browser can be driven here; empty if one can."""
    if importlib.util.find_spec("playwright") is None:
        return "playwright is not installed"
    return "" if chromium() else "there is no chromium (set CHROMIUM)"


@contextmanager
def frontend(server: Server, *, width: int = 1600, height: int = 900, settings: dict[str, Any] | None = None):
    """A playwright page that shows `server`'s frontend, ready for `app.loadGraphData`."""
    from playwright.sync_api import sync_playwright

    server.post("/settings", {"Comfy.TutorialCompleted": True, **(settings or {})})
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=OPTIONS)
        try:
            page = browser.new_page(viewport={"width": width, "height": height})
            page.set_default_timeout(PATIENCE_SECONDS * 1000)
            page.goto(server.address)
            page.wait_for_function(READY.format("BiRefNetSegment"))
            settle(page)
            yield page
        finally:
            browser.close()


def settle(page) -> None:
    """Until the graph that the frontend opens by itself has been loaded and drawn."""
    page.wait_for_load_state("networkidle")
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")


def open_workflow(page, workflow: dict[str, Any], name: str) -> list[str]:
    """Opens a workflow as the template browser does. Returns the types of nodes that the frontend does not know."""
    page.evaluate("([graph, name]) => app.loadGraphData(graph, true, true, name)", [workflow, name])
    settle(page)
    return page.evaluate(UNKNOWN)


def offered(page, workflow: dict[str, Any]) -> set[str]:
    """Opens a workflow of which at least one model is missing; the files that the frontend then offers to download."""
    open_workflow(page, workflow, "offered")
    page.get_by_role("button", name="Show missing models").click()
    page.get_by_role("button", name="Download all").wait_for()
    return set(re.findall(r"^(\S+\.\w+) \(\d+\)$", page.inner_text("body"), re.MULTILINE))


def to_prompt(page) -> dict[str, Any]:
    """{"output": the API form, "workflow": the UI form} of the graph that is open."""
    return json.loads(page.evaluate("async () => JSON.stringify(await app.graphToPrompt())"))
