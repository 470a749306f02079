"""Our networks under --novram, where ComfyUI's manager leaves weights behind: whole on their device all the same; and
under dynamic VRAM, where loading them is no reason to send other models away.

The manager's own code, without a server; torch's meta device stands in for a GPU.
"""

import os
import subprocess

import pytest

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
START = """
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

def devices(patcher):
    return {t.device.type for t in (*patcher.model.parameters(), *patcher.model.buffers())}

"""
SCRIPT = """
patcher = host.manage(model.managed.model, gpu)

def load_models_gpu(models, **options):
    models[0].model_patches_to(gpu)
    models[0].partially_load(gpu, 0.1)  # bytes of weights: what --novram leaves

model_management.load_models_gpu = load_models_gpu
load_models_gpu([patcher])
found = devices(patcher)
assert found == {"cpu"}, f"the manager no longer leaves modules without casts behind: {found}"
for _ in range(2):
    host.load(patcher)
    assert devices(patcher) == {"meta"} and patcher.loaded_size() == patcher.model_size()
print("whole")
"""
# What main.py does where a GPU has dynamic VRAM, with nothing behind the addresses that it reserves.
DYNAMIC = """
import comfy.memory_management, comfy.model_patcher, comfy_aimdo.host_buffer, comfy_aimdo.model_vbar

class Nothing:
    def __init__(self, *sizes): self.size = 0
    def loaded_size(self): return 0
    def free_memory(self, size): return 0
    def prioritize(self): pass

comfy_aimdo.host_buffer.HostBuffer = comfy_aimdo.model_vbar.ModelVBAR = Nothing
comfy_aimdo.model_vbar.vbars_analyze = lambda device: 3 << 30
comfy.model_patcher.CoreModelPatcher = comfy.model_patcher.ModelPatcherDynamic
comfy.memory_management.aimdo_enabled = True
management = model_management
free = [1 << 30]
management.get_free_memory = lambda device=None, torch_free_too=False: (free[0], 0) if torch_free_too else free[0]
management.soft_empty_cache = lambda *force: None

other = comfy.model_patcher.CoreModelPatcher(torch.nn.Linear(8, 8), load_device=gpu, offload_device=torch.device("cpu"))
management.load_models_gpu([other])
# Of leaves only: parameters of other modules are moved in place, which torch refuses to the meta device.
network = torch.nn.Sequential(torch.nn.Conv2d(3, 64, 3), torch.nn.BatchNorm2d(64), torch.nn.Conv2d(64, 64, 3))
patcher = host.manage(network.eval(), gpu)
assert patcher.is_dynamic() and devices(patcher) == {"cpu"}
assert host.free_memory(patcher, gpu) == 4 << 30, "what can be given back counts"
asked = []
free_memory = management.free_memory
def watch(*args, **options):
    asked.append(options.get("for_dynamic"))
    return free_memory(*args, **options)
management.free_memory = watch

free[0] = 0  # a card that is full of what can be given back
for _ in range(2):
    network = host.load(patcher, 1 << 30)
    assert devices(patcher) == {"meta"} and devices(other) == {"meta"}, "the other dynamic model was sent away"
assert asked and all(asked), asked
weight = next(network.parameters())
assert next(host.load(patcher, 1 << 30).parameters()) is weight, "weights that are there were copied again"
free_memory(1e30, gpu)  # as the button that unloads all models
assert next(patcher.model.parameters()).device.type == "cpu", "the manager cannot send it away"
host.load(patcher)
assert devices(patcher) == {"meta"}
plain = comfy.model_patcher.ModelPatcher(torch.nn.Linear(8, 8), load_device=gpu, offload_device=torch.device("cpu"))
management.load_models_gpu([plain])
assert asked[-1] is False, "a plain patcher no longer asks dynamic models to go"
print("kept")
"""


# The same on a card. What is read from memory must not differ by where it lay.
ON_GPU = """
import comfy_aimdo.control
comfy_aimdo.control.init()
devices = [(device.index, 0) for device in model_management.get_all_torch_devices()]
try:
    found = comfy_aimdo.control.init_devices(iter(devices))
except TypeError:  # an older protocol
    found = comfy_aimdo.control.init_devices(index for index, _ in devices)
if not found:
    print("none")
    raise SystemExit
import comfy.memory_management, comfy.model_patcher
comfy.model_patcher.CoreModelPatcher = comfy.model_patcher.ModelPatcherDynamic
comfy.memory_management.aimdo_enabled = True
device = model_management.get_torch_device()
other = torch.nn.Linear(4096, 4096)
other = comfy.model_patcher.CoreModelPatcher(other, load_device=device, offload_device=torch.device("cpu"))
load = pack.NODE_CLASS_MAPPINGS["LoadBiRefNet"]().load
images = torch.rand(2, 256, 256, 3)
with torch.inference_mode():
    model_management.load_models_gpu([other])
    expected = load("bundled", device="cpu", precision="fp32")[0].predict(images)
    (model,) = load("bundled", precision="fp32")
    assert model.patcher.is_dynamic()
    for _ in range(2):
        assert (model.predict(images) - expected).abs().max() < 1e-3
        assert {t.device.type for t in model.patcher.model.parameters()} == {device.type}
        assert next(other.model.parameters()).device.type == device.type, "the other dynamic model was sent away"
        model_management.unload_all_models()
        model_management.load_models_gpu([other])
print("kept")
"""


def _run(server, script: str, tmp_path, device: str = "cpu") -> str:
    start = START if device == "cpu" else START.replace('"--cpu", ', "")
    command = [server.python, "-c", start + script, str(server.tree), str(tmp_path), ROOT]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.strip()


def test_a_network_is_whole_on_its_device_under_novram(start_comfyui, tmp_path):
    assert _run(start_comfyui(), SCRIPT, tmp_path).endswith("whole")  # only to know the checkout and the interpreter


def test_under_dynamic_vram_our_network_sends_no_dynamic_model_away(start_comfyui, tmp_path):
    server = start_comfyui()
    if "class ModelPatcherDynamic" not in (server.tree / "comfy" / "model_patcher.py").read_text():
        pytest.skip("this ComfyUI has no dynamic VRAM")
    assert _run(server, DYNAMIC, tmp_path).endswith("kept")


def test_dynamic_vram_on_gpu(start_comfyui, tmp_path, gpu):
    server = start_comfyui()
    if gpu != "cuda" or "class ModelPatcherDynamic" not in (server.tree / "comfy" / "model_patcher.py").read_text():
        pytest.skip("this ComfyUI has no dynamic VRAM here")
    said = _run(server, ON_GPU, tmp_path, gpu)
    if said.endswith("none"):
        pytest.skip("comfy-aimdo does not work with this GPU")
    assert said.endswith("kept")


def test_comfyuis_caches_know_our_model_by_its_patcher(start_comfyui, tmp_path):
    script = """
import comfy.model_patcher
assert isinstance(model.patcher, comfy.model_patcher.ModelPatcher) and model.patcher is model.managed
print("known")
"""
    assert _run(start_comfyui(), script, tmp_path).endswith("known")
