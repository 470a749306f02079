"""A Stable Diffusion 1.5 checkpoint with random weights, for tests: `python random_checkpoint.py COMFYUI_TREE OUT`.

Key layout, text encoder and VAE are those of the real one; of the UNet only the two outer levels, one residual block
each, so that a step on a CPU takes a second. ComfyUI takes it for SD 1.5 all the same, since it reads depth from keys.
It runs in an interpreter of its own because ComfyUI's modules want `sys.argv` and its folder on `sys.path`.
"""

import subprocess
import sys
from pathlib import Path

UNET = {
    "image_size": 32,
    "in_channels": 4,
    "out_channels": 4,
    "model_channels": 320,
    "num_res_blocks": [1, 1],
    "channel_mult": [1, 2],
    "transformer_depth": [1, 1],
    "transformer_depth_output": [1, 1, 1, 1],
    "transformer_depth_middle": 1,
    "context_dim": 768,
    "num_heads": 8,
    "use_spatial_transformer": True,
}
VAE = {
    "double_z": True,
    "z_channels": 4,
    "resolution": 256,
    "in_channels": 3,
    "out_ch": 3,
    "ch": 128,
    "ch_mult": [1, 2, 4, 4],
    "num_res_blocks": 2,
    "attn_resolutions": [],
    "dropout": 0.0,
}


def make(tree: Path, out: Path, python: str) -> None:
    """Writes the checkpoint to `out`; `python` has ComfyUI's requirements."""
    subprocess.run([python, __file__, str(tree), str(out)], check=True, cwd=tree)


def main(tree: str, out: str) -> None:
    sys.path.insert(0, tree)
    sys.argv = ["random_checkpoint", "--cpu"]
    import comfy.options

    comfy.options.enable_args_parsing()
    import comfy.ops
    import comfy.sd1_clip
    import torch
    from comfy.ldm.models.autoencoder import AutoencoderKL
    from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel
    from safetensors.torch import save_file

    torch.manual_seed(0)
    with torch.device("meta"):
        parts = {
            "model.diffusion_model.": UNetModel(**UNET, operations=comfy.ops.disable_weight_init),
            "first_stage_model.": AutoencoderKL(ddconfig=VAE, embed_dim=4),
            "cond_stage_model.transformer.": comfy.sd1_clip.SDClipModel(device="meta").transformer,
        }
    weights = {
        prefix + key: random(key, value) for prefix, part in parts.items() for key, value in part.state_dict().items()
    }
    save_file(weights, Path(out))


def random(key: str, like):
    """Values of a network before training: norms that do nothing, the rest such that activations keep their size."""
    import torch

    if like.ndim == 1:
        one = key.endswith("weight")
        return torch.full(like.shape, float(one), dtype=torch.float16)
    fan_in = like[0].numel()
    return (torch.randn(like.shape) / fan_in**0.5).half()


if __name__ == "__main__":
    main(*sys.argv[1:])
