"""The pack as a whole: what ComfyUI sees, and what importing it costs."""

import inspect
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_every_node_says_what_it_is(pack):
    assert pack.NODE_CLASS_MAPPINGS.keys() == pack.NODE_DISPLAY_NAME_MAPPINGS.keys()
    for node_id, cls in pack.NODE_CLASS_MAPPINGS.items():
        assert cls.CATEGORY == "BiRefNet", node_id
        assert callable(getattr(cls, cls.FUNCTION)), node_id
        assert cls.DESCRIPTION and cls.SEARCH_ALIASES, node_id
        assert len(cls.RETURN_TYPES) == len(cls.RETURN_NAMES) == len(cls.OUTPUT_TOOLTIPS), node_id
        inputs = cls.INPUT_TYPES()
        for name, (kind, options) in {**inputs["required"], **inputs.get("optional", {})}.items():
            assert kind and options["tooltip"], f"{node_id}.{name}"


def test_every_optional_input_has_a_default(pack):
    """Workflows and API callers that leave them out get the same as the widgets show."""
    for node_id, cls in pack.NODE_CLASS_MAPPINGS.items():
        parameters = inspect.signature(getattr(cls, cls.FUNCTION)).parameters
        for name, (_kind, options) in cls.INPUT_TYPES().get("optional", {}).items():
            default = parameters[name].default
            assert default is not inspect.Parameter.empty, f"{node_id}.{name}"
            if "default" in options:
                assert default == options["default"], f"{node_id}.{name}"


def test_ids_and_inputs_are_as_workflows_know_them(pack):
    def names(node_id: str) -> list[str]:
        inputs = pack.NODE_CLASS_MAPPINGS[node_id].INPUT_TYPES()
        return [*inputs["required"], *inputs.get("optional", {})]

    assert names("LoadBiRefNet") == ["model", "device", "precision", "compile", "patch_order"]
    segment = ["model", "image", "width", "height", "mode", "batch_size", "hint", "boxes"]
    segment += ["edges", "edge_radius"]
    assert names("BiRefNetSegment") == segment
    assert names("BiRefNetSplitSubjects") == ["image", "model", "masks", "boxes", "count"]


IMPORT = """
import importlib.util, json, sys, types
import numpy, torch, PIL.Image, tqdm  # ComfyUI has these when it loads packs
for name in {hostile}:
    sys.modules[name] = types.ModuleType(name)
before = set(sys.modules)

def audit(event, arguments):
    if event == "socket.connect" or (event == "open" and str(arguments[0]).endswith((".safetensors", ".pth"))):
        raise AssertionError(f"{{event}} {{arguments}} while the pack is imported")

sys.addaudithook(audit)
spec = importlib.util.spec_from_file_location({name!r}, {root!r} + "/__init__.py")
module = importlib.util.module_from_spec(spec)
sys.modules[{name!r}] = module
spec.loader.exec_module(module)
names = module.NODE_CLASS_MAPPINGS["LoadBiRefNet"].INPUT_TYPES()["required"]["model"][0]
print(json.dumps({{"new": sorted(set(sys.modules) - before), "nodes": sorted(module.NODE_CLASS_MAPPINGS),
                   "models": names}}))
"""


def import_pack(tmp_path: Path, hostile: tuple[str, ...] = ()) -> dict:
    """Imports the pack in a process of its own, in a folder of its own, with nothing of ours on the path."""
    name = str(ROOT).replace(".", "_x_")
    code = IMPORT.format(hostile=hostile, name=name, root=str(ROOT))
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    return import_pack(tmp_path_factory.mktemp("import"))


def test_importing_and_listing_loads_nothing_heavy(imported):
    """The audit hook in the process above sees to it that no weights are read and no connection is opened."""
    heavy = {"timm", "huggingface_hub", "torchvision", "av", "scipy", "transformers", "cv2"}
    assert not heavy & {name.split(".")[0] for name in imported["new"]}
    assert imported["models"][0] == "bundled"


def test_importing_adds_modules_under_its_own_name_only(imported):
    """Relative imports throughout: nothing of ours takes a name that ComfyUI or another pack may want."""
    ours = {"nodes", "birefnet_core", "train", "tests", "example_workflows"}
    assert not ours & {name.split(".")[0] for name in imported["new"]}
    assert any(name.endswith(".nodes.host") for name in imported["new"])


def test_hostile_modules_of_common_names_do_not_matter(imported, tmp_path):
    hostile = ("nodes", "utils", "models", "config", "birefnet", "dataset", "train", "birefnet_core")
    assert import_pack(tmp_path, hostile)["nodes"] == imported["nodes"]
