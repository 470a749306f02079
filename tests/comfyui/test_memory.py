"""Our networks under --novram, where ComfyUI's manager leaves weights behind: whole on their device all the same.

The manager's own code, without a server; torch's meta device stands in for a GPU.
"""

import os
import subprocess

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
SCRIPT = """
import importlib.util, sys
tree, base, root = sys.argv[1:]
sys.argv = ["main.py", "--cpu", "--base-directory", base]
sys.path.insert(0, tree)
import comfy.options
comfy.options.enable_args_parsing()
import torch
from comfy import model_management

spec = importlib.util.spec_from_file_location("pack", root + "/__init__.py")
pack = sys.modules["pack"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(pack)
host = sys.modules["pack.nodes.host"]
(model,) = pack.NODE_CLASS_MAPPINGS["LoadBiRefNet"]().load("bundled")
gpu = torch.device("meta")
patcher = host.manage(model.managed.model, gpu)

def devices():
    return {t.device.type for t in (*patcher.model.parameters(), *patcher.model.buffers())}

def load_models_gpu(models, **options):
    models[0].model_patches_to(gpu)
    models[0].partially_load(gpu, 0.1)  # bytes of weights: what --novram leaves

model_management.load_models_gpu = load_models_gpu
load_models_gpu([patcher])
assert devices() == {"cpu"}, "the manager no longer leaves modules without casts behind: " + str(devices())
for _ in range(2):
    host.load(patcher)
    assert devices() == {"meta"} and patcher.loaded_size() == patcher.model_size()
print("whole")
"""


def test_a_network_is_whole_on_its_device_under_novram(start_comfyui, tmp_path):
    server = start_comfyui()  # only to know the checkout and the interpreter
    command = [server.python, "-c", SCRIPT, str(server.tree), str(tmp_path), ROOT]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.strip().endswith("whole")
