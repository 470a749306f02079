"""The workflow files, without ComfyUI: complete, and in step with the nodes. tests/comfyui runs them."""

import json
import re
from pathlib import Path

import pytest
from PIL import Image

from birefnet_core.weights.catalog import find

ROOT = Path(__file__).parents[2]
UPLOADS = ("LoadImage", "LoadVideo", "BiRefNetVideoFrames")
WORKFLOWS = sorted(path.stem for path in (ROOT / "example_workflows").glob("*.json"))


def read(folder: str, name: str) -> dict:
    return json.loads((ROOT / folder / f"{name}.json").read_text(encoding="utf-8"))


def test_each_workflow_has_a_picture_and_a_twin():
    assert len(WORKFLOWS) >= 8
    assert sorted(path.stem for path in (ROOT / "example_workflows").glob("*.jpg")) == WORKFLOWS
    assert sorted(path.stem for path in (ROOT / "tests" / "workflows_api").glob("*.json")) == WORKFLOWS
    for name in WORKFLOWS:
        assert min(Image.open(ROOT / "example_workflows" / f"{name}.jpg").size) >= 400


@pytest.mark.parametrize("name", WORKFLOWS)
def test_the_twin_fits_our_nodes(node, name):
    prompt = read("tests/workflows_api", name)
    ours = [entry for entry in prompt.values() if "BiRefNet" in entry["class_type"]]
    assert len(ours) >= 2
    for entry in ours:
        groups = node(entry["class_type"]).INPUT_TYPES()
        known = {**groups["required"], **groups.get("optional", {})}
        given = entry["inputs"]
        assert groups["required"].keys() <= given.keys() <= known.keys()
        for key, value in given.items():
            kind = known[key][0]
            if isinstance(value, list):
                source = prompt[value[0]]["class_type"]
                if "BiRefNet" in source:
                    assert node(source).RETURN_TYPES[value[1]] == kind
            elif isinstance(kind, list) and not known[key][1].get("video_upload"):  # the user's own files
                assert value in kind, f"{entry['class_type']}.{key}"


@pytest.mark.parametrize("name", WORKFLOWS)
def test_no_upload_button_has_a_value(name):
    """The page matches values to inputs by place: it would go to one that a later version has there."""
    loads = [entry for entry in read("example_workflows", name)["nodes"] if entry["type"] in UPLOADS]
    for entry in loads:
        assert entry["widgets_values"][-1] != "image"
        assert len(entry["widgets_values"]) == (9 if "BiRefNet" in entry["type"] else 1)


@pytest.mark.parametrize("name", WORKFLOWS)
def test_every_node_says_where_it_comes_from(node, name):
    version = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)[1]
    workflow = read("example_workflows", name)
    for entry in workflow["nodes"]:
        origin = {key: entry["properties"].get(key) for key in ("cnr_id", "ver")}
        if "BiRefNet" in entry["type"]:
            assert origin == {"cnr_id": "birefnet-suite", "ver": version}
        elif entry["type"] != "MarkdownNote":
            assert origin["cnr_id"] == "comfy-core" and origin["ver"]


def test_the_portrait_workflow_says_where_its_model_is():
    row = find("BiRefNet-portrait")
    workflow = read("example_workflows", "4-portrait")
    [loader] = [entry for entry in workflow["nodes"] if entry["type"] == "LoadBiRefNet"]
    assert loader["widgets_values"][0] == row.spec.name
    assert (
        workflow["models"]
        == loader["properties"]["models"]
        == [
            {
                "name": row.file_name,
                "url": f"https://huggingface.co/{row.repository}/resolve/main/{row.filename}",
                "directory": "background_removal",
            }
        ]
    )


def test_the_sam_workflow_says_where_its_checkpoint_is():
    [loader] = [
        entry
        for entry in read("example_workflows", "10-sam3-says-what")["nodes"]
        if entry["type"] == "CheckpointLoaderSimple"
    ]
    [model] = loader["properties"]["models"]
    assert model["name"] == loader["widgets_values"][0] and model["url"].endswith(f"checkpoints/{model['name']}")
    assert model["directory"] == "checkpoints"


def test_the_background_is_what_stable_diffusion_repaints():
    prompt = read("tests/workflows_api", "2-new-background")
    [noise] = [entry for entry in prompt.values() if entry["class_type"] == "SetLatentNoiseMask"]
    grow = prompt[noise["inputs"]["mask"][0]]
    source, output = grow["inputs"]["mask"]
    assert prompt[source]["class_type"] == "BiRefNetSegment" and output == 1  # inverted_mask
    [apply] = [entry for entry in prompt.values() if entry["class_type"] == "BiRefNetApplyMask"]
    assert apply["inputs"]["mask"] == [source, 0] and apply["inputs"]["clean_foreground"] is True


@pytest.mark.parametrize("name", ["Cut Out Subject", "Replace Background"])
def test_the_blueprints_are_one_node_made_of_ours(node, name):
    version = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)[1]
    blueprint = read("subgraphs", name)
    [outside] = blueprint["nodes"]
    [subgraph] = blueprint["definitions"]["subgraphs"]
    assert outside["type"] == subgraph["id"] and subgraph["name"] == name
    inside = {str(entry["id"]): entry for entry in subgraph["nodes"]}
    for entry in inside.values():
        assert {key: entry["properties"][key] for key in ("cnr_id", "ver")} == {
            "cnr_id": "birefnet-suite",
            "ver": version,
        }
        groups = node(entry["type"]).INPUT_TYPES()
        assert {given["name"] for given in entry["inputs"]} <= groups["required"].keys() | groups["optional"].keys()
    for number, widget in outside["properties"]["proxyWidgets"]:
        groups = node(inside[number]["type"]).INPUT_TYPES()
        assert widget in groups["required"] | groups["optional"]
