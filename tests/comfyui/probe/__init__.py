"""Custom nodes for tests: exact pictures in, exact masks out, and eyes inside the server."""

import os
import time
import urllib.request
import weakref

import folder_paths
import numpy as np
import torch
from aiohttp import web
from server import PromptServer

from .newer import NODES

networks = weakref.WeakSet()
forwards = 0


@PromptServer.instance.routes.get("/probe")
async def probe(request):
    """How many of the watched networks are still in memory, and how often they ran in all."""
    return web.json_response({"alive": len(networks), "forwards": forwards})


class ProbeImage:
    """input/<name>: an array saved by numpy, as IMAGE."""

    CATEGORY, FUNCTION, RETURN_TYPES = "probe", "read", ("IMAGE",)

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"name": ("STRING", {})}}

    def read(self, name):
        return (torch.from_numpy(np.load(f"{folder_paths.get_input_directory()}/{name}")),)


class ProbeTensor:
    """Saves an IMAGE, MASK or the samples of a LATENT as output/<name>."""

    CATEGORY, FUNCTION, RETURN_TYPES, OUTPUT_NODE = "probe", "write", (), True

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"tensor": ("IMAGE,MASK,LATENT", {}), "name": ("STRING", {})}}

    def write(self, tensor, name):
        tensor = tensor["samples"] if isinstance(tensor, dict) else tensor
        np.save(f"{folder_paths.get_output_directory()}/{name}", tensor.numpy())
        return {}


class ProbeModel:
    """Watches the network of a model of ours. In its `interrupt_at`-th pass it presses stop as the browser does, and
    in its `hold_at`-th it waits for the file input/go."""

    CATEGORY, FUNCTION, RETURN_TYPES = "probe", "watch", ("BACKGROUND_REMOVAL",)

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {"model": ("BACKGROUND_REMOVAL", {}), "interrupt_at": ("INT", {"default": 0})},
            "optional": {"hold_at": ("INT", {"default": 0})},
        }

    @classmethod
    def IS_CHANGED(cls, hold_at=0, **_):
        return float("nan") if hold_at else ""  # passes are counted in each run

    def watch(self, model, interrupt_at, hold_at=0):
        passes = 0

        def count(*_):
            nonlocal passes
            global forwards
            passes += 1
            forwards += 1
            if passes == interrupt_at:
                address = f"http://127.0.0.1:{PromptServer.instance.port}/interrupt"
                urllib.request.urlopen(urllib.request.Request(address, b"{}"))
            while passes == hold_at and not os.path.exists(f"{folder_paths.get_input_directory()}/go"):
                time.sleep(0.05)

        network = model.managed.model
        networks.add(network)
        network.register_forward_pre_hook(count)
        return (model,)


NODE_CLASS_MAPPINGS = {cls.__name__: cls for cls in (*NODES, ProbeImage, ProbeTensor, ProbeModel)}
