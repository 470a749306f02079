"""Logits of ComfyUI's own network: `python native_logits.py COMFYUI_TREE MODEL.safetensors INPUT.npy OUTPUT.npy`.

INPUT is a normalised image [1,3,H,W]; nothing of ComfyUI's own preparation happens to it. It runs in an interpreter of
its own because ComfyUI's modules want `sys.argv` and its folder on `sys.path`.
"""

import subprocess
import sys
from pathlib import Path

import numpy as np


def compute(tree: Path, model: Path, image: np.ndarray, folder: Path, python: str) -> np.ndarray:
    """The logits [1,1,H,W]; `python` has ComfyUI's requirements, `folder` is for files on the way."""
    files = [str(folder / name) for name in ("image.npy", "logits.npy")]
    np.save(files[0], image)
    subprocess.run([python, __file__, str(tree), str(model), *files], check=True, cwd=tree)
    return np.load(files[1])


def main(tree: str, model: str, image: str, logits: str) -> None:
    sys.path.insert(0, tree)
    sys.argv = ["native_logits", "--cpu"]
    import comfy.options

    comfy.options.enable_args_parsing()
    import comfy.bg_removal_model
    import comfy.model_management
    import torch

    loaded = comfy.bg_removal_model.load(model)
    if loaded is None:
        raise SystemExit(f"ComfyUI does not take {model} for a model of its background removal")
    comfy.model_management.load_model_gpu(loaded.patcher)
    with torch.inference_mode():
        np.save(logits, loaded.model(pixel_values=torch.from_numpy(np.load(image))).float().numpy())


if __name__ == "__main__":
    main(*sys.argv[1:])
