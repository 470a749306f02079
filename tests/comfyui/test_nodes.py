"""Our nodes in a real ComfyUI: they load, run, stop, are cached and freed, and fit ComfyUI's own nodes."""

import itertools
import json
import shutil

import numpy as np
import pytest

from tests.comfyui.server import PACK, ROOT, Refused

ids = itertools.count()


@pytest.fixture
def nodes(comfyui):
    """What the server says of each of our nodes."""
    return {name: info for name, info in comfyui.get("/object_info").items() if PACK in info["python_module"]}


def graph(image: str, *, model: str = "bundled", out: str = "mask.npy", watch: int | None = None, **segment) -> dict:
    """A picture through our two nodes into output/<out>; `watch`: the pass of the network that presses stop, 0 none."""
    prompt = {
        "load": {"class_type": "LoadBiRefNet", "inputs": {"model": model}},
        "image": {"class_type": "ProbeImage", "inputs": {"name": image}},
        "segment": {
            "class_type": "BiRefNetSegment",
            "inputs": {"model": ["load", 0], "image": ["image", 0], **segment},
        },
        "save": {"class_type": "ProbeTensor", "inputs": {"tensor": ["segment", 0], "name": out}},
    }
    if watch is not None:
        prompt["watch"] = {"class_type": "ProbeModel", "inputs": {"model": ["load", 0], "interrupt_at": watch}}
        prompt["segment"]["inputs"]["model"] = ["watch", 0]
    return prompt


def test_every_node_is_registered_with_its_texts(nodes):
    assert nodes["LoadBiRefNet"]["display_name"] == "Load BiRefNet"
    assert nodes["BiRefNetSegment"]["display_name"] == "Segment (BiRefNet)"
    for name, info in nodes.items():
        assert info["category"] == "BiRefNet", name
        assert info["description"] and len(info["output_tooltips"]) == len(info["output"]), name
    assert nodes["LoadBiRefNet"]["input"]["required"]["model"][0][0] == "bundled"


def test_a_batch_is_segmented_and_a_second_run_is_cached(comfyui, put_images):
    put_images("batch.npy", count=3)
    prompt = graph("batch.npy")
    comfyui.run(prompt)
    mask = np.load(comfyui.base / "output" / "mask.npy")
    assert mask.shape == (3, 80, 120) and mask.dtype == np.float32
    assert mask.min() >= 0 and mask.max() <= 1 and mask.std() > 0.01
    again = comfyui.messages(comfyui.run(prompt))["execution_cached"]["nodes"]
    assert {"load", "image", "segment"} <= set(again)


def test_both_masks_join_their_polarity(comfyui, put_images):
    put_images("polarity.npy")
    prompt = graph("polarity.npy", out="mask.npy")
    prompt["inverted"] = {"class_type": "ProbeTensor", "inputs": {"tensor": ["segment", 1], "name": "inverted.npy"}}
    comfyui.run(prompt)
    mask, inverted = (np.load(comfyui.base / "output" / name) for name in ("mask.npy", "inverted.npy"))
    np.testing.assert_allclose(mask + inverted, 1, atol=1e-6)


@pytest.mark.parametrize("boxes", [{"x": 0, "y": 0, "width": 60, "height": 80}, "[[[0, 0, 60, 80]]]"])
def test_a_box_says_where_the_subject_is(comfyui, put_images, boxes):
    put_images("boxed.npy")
    comfyui.run(graph("boxed.npy", boxes=boxes))
    left, right = np.split(np.load(comfyui.base / "output" / "mask.npy")[0], 2, axis=1)
    assert left.max() > 0.05 and right[:, 20:].max() < 0.05


def test_stop_is_obeyed_within_one_image(comfyui, put_images):
    put_images("many.npy", count=6)
    before = comfyui.get("/probe")["forwards"]
    entry = comfyui.finished(comfyui.queue(graph("many.npy", watch=2)))
    assert "execution_interrupted" in comfyui.messages(entry)
    assert comfyui.get("/probe")["forwards"] - before == 2


def test_free_releases_the_network(comfyui, put_images):
    put_images("freed.npy")
    comfyui.run(graph("freed.npy", watch=0))
    assert comfyui.get("/probe")["alive"] >= 1

    def freed() -> bool:
        # Asked again each time: ComfyUI's worker misses a call that comes while it tidies up after a prompt.
        comfyui.post("/free", {"unload_models": True, "free_memory": True})
        return comfyui.get("/probe")["alive"] == 0

    comfyui.wait_for(freed, "the networks to be freed")
    comfyui.run(graph("freed.npy"))  # and everything still works


def test_a_workflow_reaches_no_file_outside_the_model_folders(comfyui, put_images, tmp_path):
    put_images("refused.npy")
    secret = comfyui.base / "secret.safetensors"
    shutil.copy(ROOT / "birefnet_core" / "weights" / "bundled.safetensors", secret)
    for name in (
        "../../secret.safetensors",
        "../secret.safetensors",
        str(secret),
        "../models/../../secret.safetensors",
    ):
        with pytest.raises(Refused) as refused:
            comfyui.queue(graph("refused.npy", model=name))
        assert "there is no model" in json.dumps(refused.value.errors), name


@pytest.mark.parametrize("home", ["background_removal", "BiRefNet", "RMBG"])
def test_a_file_in_every_home_is_listed_and_runs(comfyui, put_images, home):
    put_images("home.npy")
    folder = comfyui.base / "models" / home / "mine"
    folder.mkdir(parents=True)
    shutil.copy(ROOT / "birefnet_core" / "weights" / "bundled.safetensors", folder / f"in-{home}.safetensors")
    comfyui.run(graph("home.npy", model=f"mine/in-{home}.safetensors", out=f"{home}.npy"))
    comfyui.run(graph("home.npy", out="bundled.npy"))
    masks = [np.load(comfyui.base / "output" / name) for name in (f"{home}.npy", "bundled.npy")]
    np.testing.assert_array_equal(*masks)


def test_a_model_far_from_its_size_says_so(comfyui, put_images):
    put_images("small.npy")
    comfyui.run(graph("small.npy", width=128, height=128))
    assert any("runs at 128 x 128 but was trained for" in line for line in comfyui.log)


def test_native_remove_background_takes_our_model(native, put_images):
    put_images("native.npy", count=2)
    prompt = graph("native.npy", out="ours.npy")
    prompt["native"] = {
        "class_type": "RemoveBackground",
        "inputs": {"bg_removal_model": ["load", 0], "image": ["image", 0]},
    }
    prompt["save native"] = {"class_type": "ProbeTensor", "inputs": {"tensor": ["native", 0], "name": "native.npy"}}
    native.run(prompt)
    ours, theirs = (np.load(native.base / "output" / name) for name in ("ours.npy", "native.npy"))
    assert ours.shape == theirs.shape == (2, 80, 120)
    np.testing.assert_array_equal(ours, theirs)
