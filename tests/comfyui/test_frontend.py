"""ComfyUI's real frontend opens the example workflows and makes of them what `tests/workflows_api` says."""

import json
import shutil
import urllib.error
import urllib.request

import pytest

from tests.comfyui import browser
from tests.comfyui.graphs import CLIP, SAM3
from tests.comfyui.server import PACK, ROOT

WORKFLOWS = sorted(path.stem for path in (ROOT / "example_workflows").glob("*.json"))


@pytest.fixture(scope="module")
def any_page(comfyui):
    if reason := browser.missing():
        pytest.skip(f"not opened in the frontend: {reason}")
    for path in (comfyui.tree / "input" / "example.png", ROOT / "demo" / "clip.mp4"):
        shutil.copy(path, comfyui.base / "input")
    with browser.frontend(comfyui) as page:
        yield page


@pytest.fixture
def page(comfyui, any_page):
    if not comfyui.has_native_background_removal:
        pytest.skip("the workflows are for ComfyUI 0.25")
    return any_page


def read(folder: str, name: str) -> dict:
    return json.loads((ROOT / folder / f"{name}.json").read_text(encoding="utf-8"))


def sent(page) -> dict:
    """What the page would send, without the state of its video players, which it sends along once a clip is shown, and
    without the codec that Save Video has below its format since 0.33, beside the old one."""
    prompt = browser.to_prompt(page)["output"]
    for node in prompt.values():
        node["inputs"].pop("video-preview", None)
        assert node["inputs"].pop("format.codec", "auto") == "auto"
    return prompt


def frontend_version(page) -> tuple[int, ...]:
    return tuple(map(int, page.evaluate("() => window.__COMFYUI_FRONTEND_VERSION__").split(".")))


@pytest.mark.parametrize("name", WORKFLOWS)
def test_the_frontend_knows_every_node_and_sends_the_twin(page, name):
    assert browser.open_workflow(page, read("example_workflows", name), name) == []
    assert sent(page) == read("tests/workflows_api", name)


def test_what_save_video_is_sent_runs(page, comfyui):
    """Its format and codec are saved in another way since 0.33."""
    browser.open_workflow(page, read("example_workflows", "7-clip-in-generated-scene"), "7-clip-in-generated-scene")
    [save] = [node for node in browser.to_prompt(page)["output"].values() if node["class_type"] == "SaveVideo"]
    load = {"class_type": "LoadVideo", "inputs": {"file": CLIP}}
    entry = comfyui.run({"1": load, "2": {**save, "inputs": {**save["inputs"], "video": ["1", 0]}}})
    [saved] = entry["outputs"]["2"]["images"]
    assert saved["filename"].startswith("clip-scene") and saved["filename"].endswith(".mp4")
    assert (comfyui.base / "output" / saved["subfolder"] / saved["filename"]).stat().st_size > 1000


def test_a_bypassed_picture_leaves_plain_green(page):
    """As the note in workflow 8 says."""
    browser.open_workflow(page, read("example_workflows", "8-green-screen"), "8-green-screen")
    page.evaluate("() => app.graph.nodes.forEach(node => { if (node.type === 'LoadImage') node.mode = 4 })")
    expected = read("tests/workflows_api", "8-green-screen")
    [picture] = [key for key, node in expected.items() if node["class_type"] == "LoadImage"]
    del expected[picture]
    [matte] = [node for node in expected.values() if node["class_type"] == "BiRefNetMatteVideo"]
    assert matte["inputs"].pop("background_image") == [picture, 0]
    assert sent(page) == expected


def test_the_clip_takes_the_place_of_the_frames_shown_before(page, comfyui):
    browser.open_workflow(page, read("example_workflows", "6-clip-to-alpha"), "6-clip-to-alpha")
    page.evaluate("""() => {
      const node = app.graph.nodes.find(node => node.type === 'BiRefNetMatteVideo')
      node.widgets.find(widget => widget.name === 'size').value = 64
      app.api.addEventListener('b_preview_with_metadata', () => { window.previews = (window.previews ?? 0) + 1 })
      app.queuePrompt(0)
    }""")
    shown = "[...document.querySelectorAll('video')].find(v => v.src.includes('preview_') && v.readyState >= 2)"
    page.wait_for_function(f"() => {shown}")
    assert page.evaluate("() => window.previews") > 0
    page.wait_for_timeout(2000)  # a frame that is still being loaded may come back for a second
    matte = "app.graph.nodes.find(node => node.type === 'BiRefNetMatteVideo')"
    assert page.evaluate(f"() => {matte}.imgs ?? null") is None
    widgets = page.evaluate(f"() => {matte}.widgets.map(widget => widget.name)")
    assert "video-preview" in widgets and "$$canvas-image-preview" not in widgets


def test_the_frontend_names_a_node_it_does_not_know(page):
    workflow = read("example_workflows", "1-cut-out")
    workflow["nodes"][-1]["type"] = "NobodyKnowsThisNode"
    assert browser.open_workflow(page, workflow, "broken") == ["NobodyKnowsThisNode"]


def test_the_templates_are_listed_and_served(comfyui):
    assert set(comfyui.get("/api/workflow_templates")[PACK]) == set(WORKFLOWS)
    for name in WORKFLOWS:
        assert comfyui.get(f"/api/workflow_templates/{PACK}/{name}.json") == read("example_workflows", name)


def test_a_template_opens_in_the_page(any_page):
    workflow = any_page.evaluate(f"async () => (await fetch('/api/workflow_templates/{PACK}/1-cut-out.json')).json()")
    assert browser.open_workflow(any_page, workflow, "1-cut-out") == []


def test_the_templates_have_pictures(comfyui):
    for name in WORKFLOWS:
        try:
            with urllib.request.urlopen(f"{comfyui.address}/api/workflow_templates/{PACK}/{name}.jpg") as answer:
                assert answer.read() == (ROOT / "example_workflows" / f"{name}.jpg").read_bytes()
        except urllib.error.HTTPError as error:
            if error.code != 404 or "web.static" in (comfyui.tree / "app" / "custom_node_manager.py").read_text():
                raise
            pytest.skip("this ComfyUI serves templates of packs without their pictures")


def test_help_pages_pictures_and_translations_are_served(comfyui):
    for path in (ROOT / "web" / "docs").iterdir():
        with urllib.request.urlopen(f"{comfyui.address}/extensions/{PACK}/docs/{path.name}") as answer:
            assert answer.read() == path.read_bytes()
    translations = comfyui.get("/i18n")
    for language in ("en", "zh", "ja"):
        ours = json.loads((ROOT / "locales" / language / "nodeDefs.json").read_text(encoding="utf-8"))
        assert ours.items() <= translations[language]["nodeDefs"].items()


def test_the_portrait_model_is_offered_until_it_is_there(page, comfyui):
    """By frontends that read what a workflow says of its models; Load BiRefNet downloads it in any case."""
    if (version := frontend_version(page)) >= (1, 49):
        pytest.skip(f"frontend {'.'.join(map(str, version))} offers only models that a widget names by their file")
    workflow = read("example_workflows", "4-portrait")
    [portrait] = workflow["models"]
    other = {**portrait, "name": "never-there.safetensors"}
    [loader] = [node for node in workflow["nodes"] if node["type"] == "LoadBiRefNet"]
    for models in (workflow["models"], loader["properties"]["models"]):
        models.append(other)
    file = comfyui.base / "models" / portrait["directory"] / portrait["name"]
    assert browser.offered(page, workflow) == {portrait["name"], other["name"]}
    file.touch()
    assert browser.offered(page, workflow) == {other["name"]}
    file.unlink()


def test_the_checkpoint_of_sam_is_offered(page):
    workflow = read("example_workflows", "10-sam3-says-what")
    if frontend_version(page) < (1, 49):
        assert browser.offered(page, workflow) == {SAM3["name"]}
    else:
        browser.open_workflow(page, workflow, "10-sam3-says-what")
        page.get_by_text(f"{SAM3['name']} is missing").first.wait_for(timeout=60_000)
