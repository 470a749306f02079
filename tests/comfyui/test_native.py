"""ComfyUI's own background removal beside ours, on one file of random swin_v1_l weights at 1024 x 1024."""

import numpy as np
import pytest

from birefnet_core.bench.native import FILE, SIZE, Case, write_weights


@pytest.fixture(scope="module")
def masks(comfyui):
    """Name -> mask of one picture, by each pair of a loader and a node that fits it."""
    if not comfyui.has_native_background_removal:
        pytest.skip("this ComfyUI has no background-removal nodes of its own")
    write_weights(Case(comfyui.tree, comfyui.base, images=1, threads=1))
    y, x = np.mgrid[0 : 1 : SIZE * 1j, 0 : 1 : SIZE * 1j]
    picture = np.stack([x, y, np.hypot(x - 0.5, y - 0.5) < 0.25], -1)[None]
    # 8 bits, as from a file: ComfyUI's own node rounds to them.
    np.save(comfyui.base / "input" / "picture.npy", (picture * 255).round().astype(np.float32) / 255)
    prompt = {
        "image": {"class_type": "ProbeImage", "inputs": {"name": "picture.npy"}},
        "ours": {"class_type": "LoadBiRefNet", "inputs": {"model": FILE}},
        "native": {"class_type": "LoadBackgroundRemovalModel", "inputs": {"bg_removal_name": FILE}},
    }
    for loader, node, model, size in [
        ("ours", "BiRefNetSegment", "model", {}),
        ("ours", "BiRefNetSegment", "model", {"width": 512}),
        ("native", "BiRefNetSegment", "model", {}),
        ("native", "BiRefNetSegment", "model", {"width": 512}),
        ("native", "RemoveBackground", "bg_removal_model", {}),
    ]:
        name = f"{loader} {node}" + (" at 512" if size else "")
        prompt[name] = {"class_type": node, "inputs": {model: [loader, 0], "image": ["image", 0], **size}}
        save = {"tensor": [name, 0], "name": f"{name}.npy"}
        prompt[f"save {name}"] = {"class_type": "ProbeTensor", "inputs": save}
    comfyui.run(prompt)
    comfyui.post("/free", {"unload_models": True, "free_memory": True})
    return {path.stem: np.load(path) for path in (comfyui.base / "output").glob("* *.npy")}


def test_segment_takes_what_the_native_loader_gives(masks):
    mask = masks["native BiRefNetSegment"]
    assert mask.shape == (1, SIZE, SIZE) and mask.std() > 0.05
    np.testing.assert_array_equal(mask, masks["native RemoveBackground"])


def test_both_networks_compute_the_same(masks):
    """The file is written the way this ComfyUI reads every file, so nothing is left to differ but rounding."""
    np.testing.assert_allclose(masks["ours BiRefNetSegment"], masks["native RemoveBackground"], atol=1e-3)


def test_the_native_model_takes_segments_size(masks):
    theirs = masks["native BiRefNetSegment at 512"]
    assert np.abs(theirs - masks["native BiRefNetSegment"]).max() > 1e-2
    # Both resize the image before; theirs the mask's logits after, ours the mask.
    np.testing.assert_allclose(theirs, masks["ours BiRefNetSegment at 512"], atol=0.1)
    assert np.abs(theirs - masks["ours BiRefNetSegment at 512"]).mean() < 5e-3
