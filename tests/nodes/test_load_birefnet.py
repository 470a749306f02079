"""Load BiRefNet without ComfyUI: what it lists, finds, fetches and refuses, and what it hands on."""

import os
import shutil
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import birefnet_core as bc
from tests.weights.hub_server import LocalHub

BUNDLED = Path(__file__).parents[2] / "birefnet_core" / "weights" / "bundled.safetensors"
PORTRAIT = "BiRefNet-portrait"  # by the published name, whether the file is there or not
PORTRAIT_FILE = "BiRefNet-portrait.safetensors"


class Stopped(BaseException):
    """As ComfyUI's InterruptProcessingException."""


@pytest.fixture
def host(module):
    return module("nodes.host")


@pytest.fixture
def homes(tmp_path, host, monkeypatch):
    """The three model folders of a ComfyUI, empty, as the nodes see them."""
    folders = [tmp_path / "models" / name for name in ("background_removal", "BiRefNet", "RMBG")]
    for folder in folders:
        folder.mkdir(parents=True)
    monkeypatch.setattr(host, "model_folders", lambda: folders)
    return folders


@pytest.fixture
def hub(module, monkeypatch):
    """A hub that has the portrait model; its content is the bundled one's, so that it loads quickly."""
    weights = module("birefnet_core.weights.download")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    with LocalHub({("ZhengPeng7/BiRefNet-portrait", "model.safetensors"): BUNDLED.read_bytes()}) as hub:
        monkeypatch.setattr(weights, "download", partial(weights.download, endpoint=hub.endpoint))
        yield hub


@pytest.fixture
def load(node):
    def load(model="bundled", **options):
        loader = node("LoadBiRefNet")()
        (loaded,) = getattr(loader, loader.FUNCTION)(model, **options)
        return loaded

    return load


@pytest.fixture
def names(node):
    return lambda: node("LoadBiRefNet").INPUT_TYPES()["required"]["model"][0]


def parameter(loaded) -> torch.Tensor:
    return next(loaded.managed.model.parameters())


def test_bundled_comes_first_then_files_then_what_can_be_fetched(homes, names):
    (homes[0] / "mine.safetensors").touch()
    (homes[1] / "deep").mkdir()
    (homes[1] / "deep" / "other.PTH").touch()
    listed = names()
    assert listed[:3] == ["bundled", "deep/other.PTH", "mine.safetensors"]
    assert {"BiRefNet", "BiRefNet_lite", "RMBG-2.0", PORTRAIT} <= set(listed[3:])
    assert len(listed) == len(set(listed))


def test_what_is_no_weight_file_is_not_listed(homes, names):
    before = names()
    for name in ("notes.txt", "weights.pkl", ".hidden.safetensors", "x.safetensors.0123.part"):
        (homes[0] / name).touch()
    (homes[0] / ".cache").mkdir()
    (homes[0] / ".cache" / "copy.safetensors").touch()
    assert names() == before


def test_a_published_model_keeps_its_name_when_it_is_fetched(homes, names, hub, load):
    assert PORTRAIT in names() and PORTRAIT_FILE not in names()
    assert load(PORTRAIT).spec.backbone == "timm:tf_efficientnet_lite0"
    assert (homes[0] / PORTRAIT_FILE).read_bytes() == BUNDLED.read_bytes()
    assert PORTRAIT in names() and PORTRAIT_FILE in names()
    asked = len(hub.requests)
    load(PORTRAIT)
    load(PORTRAIT_FILE)
    assert asked and len(hub.requests) == asked


@pytest.mark.parametrize("folder", [".", "BiRefNet"])  # ComfyUI-RMBG has it in RMBG/BiRefNet
def test_a_published_model_in_another_packs_folder_is_not_fetched(homes, hub, load, folder):
    (homes[2] / folder).mkdir(exist_ok=True)
    shutil.copy(BUNDLED, homes[2] / folder / PORTRAIT_FILE)
    load(PORTRAIT)
    assert hub.requests == []


@pytest.mark.parametrize("file", ["BiRefNet/Portrait.safetensors", "BiRefNet-portrait/model.safetensors"])
def test_a_published_model_under_another_packs_name_is_not_fetched(homes, hub, load, file):
    (homes[2] / file).parent.mkdir()
    shutil.copy(BUNDLED, homes[2] / file)
    load(PORTRAIT)
    assert hub.requests == []


def test_of_two_files_of_a_published_model_our_own_counts(homes, module):
    (homes[0] / "copies").mkdir()
    for folder in (homes[2], homes[0] / "copies", homes[0]):
        shutil.copy(BUNDLED, folder / PORTRAIT_FILE)
    shutil.copy(BUNDLED, homes[0] / "Portrait.safetensors")  # another pack's name, and shorter
    assert module("nodes.load_birefnet").on_disk(PORTRAIT) == homes[0] / PORTRAIT_FILE


def test_a_download_stops_when_the_user_says_so_and_goes_on_later(homes, hub, load, host, monkeypatch):
    asked = 0

    def stop_at_the_tenth():
        nonlocal asked
        asked += 1
        if asked == 10:
            raise Stopped

    with monkeypatch.context() as patched:
        patched.setattr(host, "check_interrupt", stop_at_the_tenth)
        with pytest.raises(Stopped):
            load(PORTRAIT)
    assert not (homes[0] / PORTRAIT_FILE).exists()
    load(PORTRAIT)
    assert (homes[0] / PORTRAIT_FILE).read_bytes() == BUNDLED.read_bytes()
    assert hub.bodies[-1].range not in (None, "bytes=0-")


def test_no_network_says_which_file_to_put_where(homes, hub, load):
    hub.status = 503
    with pytest.raises(RuntimeError, match="BiRefNet-portrait") as error:
        load(PORTRAIT)
    assert str(homes[0] / PORTRAIT_FILE) in str(error.value)


@pytest.mark.parametrize(
    "name",
    [
        "../outside.safetensors",
        "../../outside.safetensors",
        "deep/../../../outside.safetensors",
        "{outside}",
        "background_removal/../../outside.safetensors",
        "..\\outside.safetensors",
        PORTRAIT_FILE,
        "",
        ".",
    ],
)
def test_nothing_outside_the_model_folders_can_be_named(tmp_path, homes, load, name):
    outside = tmp_path / "outside.safetensors"
    shutil.copy(BUNDLED, outside)
    shutil.copy(BUNDLED, tmp_path / "models" / "outside.safetensors")
    (homes[0] / "deep").mkdir()
    with pytest.raises(ValueError, match="there is no weight file"):
        load(name.format(outside=outside))


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="no links here")
def test_a_link_that_the_user_made_is_followed_and_a_circle_ends(tmp_path, homes, load, names):
    shutil.copy(BUNDLED, tmp_path / "elsewhere.safetensors")
    (homes[0] / "linked.safetensors").symlink_to(tmp_path / "elsewhere.safetensors")
    (homes[0] / "circle").symlink_to(homes[0])
    assert load("linked.safetensors").spec.name == "bundled"
    assert names()[1:3] == ["linked.safetensors", "BiRefNet"]


def test_of_two_files_of_one_name_the_first_folders_counts(homes, host):
    for folder in homes:
        (folder / "same.safetensors").touch()
    assert host.model_path("same.safetensors") == homes[0] / "same.safetensors"


def test_a_file_that_is_something_else_is_named(homes, load):
    (homes[0] / "page.safetensors").write_text("<html>not found</html>")
    with pytest.raises(ValueError, match=r"page\.safetensors"):
        load("page.safetensors")


def test_a_replaced_file_is_loaded_again(homes, node):
    changed = node("LoadBiRefNet").IS_CHANGED
    file = homes[0] / "mine.safetensors"
    file.touch()
    os.utime(file, ns=(1, 1))
    before = changed(model=file.name, device="auto", precision="auto")
    assert changed(model=file.name) == before
    os.utime(file, ns=(2, 2))
    assert changed(model=file.name) != before
    assert changed(model="bundled") == changed(model="bundled")
    before = changed(model=PORTRAIT)
    shutil.copy(BUNDLED, homes[0] / PORTRAIT_FILE)
    assert changed(model=PORTRAIT) == before, "its download must not make the next run start over"


@pytest.mark.parametrize(
    "precision, dtype",
    [("auto", torch.float32), ("fp32", torch.float32), ("fp16", torch.float16), ("bf16", torch.bfloat16)],
)
def test_precision_on_a_cpu(load, precision, dtype):
    loaded = load(device="cpu", precision=precision)
    assert parameter(loaded).dtype == dtype
    assert parameter(loaded).device.type == "cpu"
    assert loaded.managed.load_device.type == "cpu"
    assert not loaded.managed.model.training


def _several_gpus(name):
    """As ComfyUI's own resolve_gpu_device_option on a machine with two; the meta device stands in for them."""
    return {"gpu:0": torch.device("meta", 0), "gpu:1": torch.device("meta", 1)}.get(name)


def test_gpus_are_offered_where_comfyui_names_several(node, host, monkeypatch):
    names = SimpleNamespace(get_gpu_device_options=lambda: ["default", "cpu", "gpu:0", "gpu:1"])
    names.resolve_gpu_device_option = _several_gpus
    with monkeypatch.context() as patch:
        patch.setattr(host, "management", names)
        found = host.gpus()
        assert host.named_device("gpu:1") == torch.device("meta", 1)
        assert host.named_device("cpu") == torch.device("cpu")
    assert found == ["gpu:0", "gpu:1"] and host.gpus() == []
    monkeypatch.setattr(host, "gpus", lambda: found)
    assert node("LoadBiRefNet").INPUT_TYPES()["optional"]["device"][0] == ["auto", "cpu", "gpu:0", "gpu:1"]


def test_a_gpu_that_is_not_here_is_told_and_the_default_taken(load, node, caplog):
    """A workflow made on another machine; ComfyUI's own nodes do the same."""
    validate = node("LoadBiRefNet").VALIDATE_INPUTS
    assert validate(device="gpu:7") is True and validate(device="auto") is True and validate() is True
    assert validate(device="tpu") == "device must be auto, cpu or a GPU such as gpu:0, not 'tpu'"
    loaded = load(device="gpu:7")
    assert loaded.managed.load_device == load(device="auto").managed.load_device
    assert "there is no gpu:7 here: runs on" in caplog.text


def test_the_files_own_tensors_are_left_alone(load, module, monkeypatch):
    """ComfyUI maps weights into memory; batch normalisation is folded on private copies."""
    weights = module("birefnet_core.weights.load")
    read, kept = weights.read_weights, {}

    def keep(path):
        tensors, metadata = read(path)
        kept.update({key: (tensor, tensor.clone()) for key, tensor in tensors.items()})
        return tensors, metadata

    monkeypatch.setattr(weights, "read_weights", keep)
    loaded = load(device="cpu", precision="fp16")  # the file's own precision: nothing has to be converted
    loaded.encode_image(torch.rand(1, 40, 40, 3))
    mapped = {tensor.untyped_storage().data_ptr() for tensor, _ in kept.values()}
    used = {tensor.untyped_storage().data_ptr() for tensor in loaded.managed.model.state_dict().values()}
    assert kept and not mapped & used
    assert all(torch.equal(tensor, copy) for tensor, copy in kept.values())


def test_an_undecided_patch_order_is_said_aloud(homes, load, module, caplog):
    core = module("birefnet_core")
    network = core.build_network("timm:tf_efficientnet_lite0", block_channels=8, branch_channels=16, inward_channels=8)
    metadata = {"architecture": network.architecture.to_json()}
    module("birefnet_core.weights.files").write_weights(
        homes[0] / "random.safetensors", core.export_published(network), metadata
    )
    with caplog.at_level("WARNING", "birefnet-suite"):
        load("random.safetensors")
    assert "patch order undecided" in caplog.text
    caplog.clear()
    with caplog.at_level("WARNING", "birefnet-suite"):
        assert load("random.safetensors", patch_order="2024").spec.patch_order == "2024"
    assert caplog.text == ""


def test_encode_image_is_what_segment_gives(load, node):
    loaded = load()
    images = torch.rand(2, 50, 70, 3) * 0.1
    images[:, 10:40, 20:50, 0] += 0.8  # a subject: in mere noise there is none at any size
    mask, _ = node("BiRefNetSegment")().segment(loaded, images)
    assert torch.equal(loaded.encode_image(images), mask) and mask.max() > 0.5
    small, _ = node("BiRefNetSegment")().segment(loaded, images, width=256, height=256)
    assert torch.equal(loaded.encode_image(images, resolution=256), small)
    assert not torch.equal(small, mask)


def test_a_model_that_takes_a_hint_mattes_without_one(homes, load):
    """Also for ComfyUI's own Remove Background, which knows no hints."""
    model = bc.load_model(BUNDLED, device="cpu", fold=False, hint=False)
    bc.save_model(model.network, homes[0] / "plain.safetensors", spec=model.spec)
    bundled, plain = load(), load("plain.safetensors")
    images = torch.rand(1, 50, 70, 3)
    assert torch.equal(bundled.predict(images, 128), plain.predict(images, 128))
    assert torch.equal(bundled.encode_image(images, 128), plain.encode_image(images, 128))


def test_names_of_other_packs_loaders_are_taken(node, homes, hub, load):
    """As workflows have them whose loader ours replaces."""
    validate = node("LoadBiRefNet").VALIDATE_INPUTS
    assert validate() is True and validate(model=None, device=None) is True  # as another node gives them
    for name in ("Portrait", "General-Lite", PORTRAIT, "bundled"):
        assert validate(model=name, device="AUTO") is True
    assert "'Generic'" in validate(model="Generic")
    assert "'CUDA:99'" in validate(model="bundled", device="CUDA:99")
    assert load("Portrait", device="CPU").spec.name == load(PORTRAIT, device="cpu").spec.name
    assert (homes[0] / PORTRAIT_FILE).is_file()


def test_what_another_node_gives_is_looked_at_when_it_is_there(node, load):
    for wrong in (None, 5, "tpu"):
        with pytest.raises(ValueError, match="device must be auto, cpu or a GPU such as gpu:0, not "):
            load("bundled", device=wrong)
    for wrong in (None, 5, "nobody"):
        with pytest.raises(ValueError, match=f"there is no weight file {wrong!r} in "):
            load(wrong)
    assert node("LoadBiRefNet").IS_CHANGED(model=None) == node("BiRefNetVideoFrames").IS_CHANGED(file=None) == ""
    with pytest.raises(ValueError, match="there is no clip None"):
        node("BiRefNetVideoFrames")().read(None)


def test_files_of_ones_own_come_before_names_of_other_packs(node, homes, load):
    shutil.copy(BUNDLED, homes[1] / "Portrait.safetensors")
    assert node("LoadBiRefNet").VALIDATE_INPUTS(model="Portrait.safetensors") is True
    assert load("Portrait.safetensors").spec.name == "bundled"
