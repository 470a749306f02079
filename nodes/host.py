"""What the nodes need of ComfyUI: devices, model memory, progress, interrupts, folders.

The only file that knows ComfyUI. Without it everything here works on plain torch, with `models/` in the pack and
`input/` and `output/` in the current folder. Works with ComfyUI 0.3.64 and later.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from tqdm import tqdm

from ..birefnet_core.weights.files import SUFFIXES

try:
    import comfy.model_management as management
    import comfy.model_patcher
    import comfy.utils
    import folder_paths
except ImportError:
    management = None

log = logging.getLogger("birefnet-suite")

MODELS_KEY = "background_removal"  # ComfyUI's own key since 0.21
# Homes of other packs, below ComfyUI's models folder and under keys of the same name, in any case.
OTHER_HOMES = ("BiRefNet", "RMBG")
PREVIEW_SIDE = 512  # pixels, of pictures shown while a node runs
PACK = Path(__file__).resolve().parents[1]

if management is not None and MODELS_KEY not in folder_paths.folder_names_and_paths:
    folder_paths.folder_names_and_paths[MODELS_KEY] = (
        [os.path.join(folder_paths.models_dir, MODELS_KEY)],
        folder_paths.supported_pt_extensions,
    )


# Devices and tensors


def compute_device() -> torch.device:
    """Where networks run."""
    if management is not None:
        return management.get_torch_device()
    from ..birefnet_core.device import pick_device

    return pick_device("auto")


def gpus() -> list[str]:
    """The GPUs to choose from where ComfyUI names several (since 0.25): "gpu:0", "gpu:1"..."""
    options = getattr(management, "get_gpu_device_options", list)()
    return [option for option in options if option.startswith("gpu:")]


def named_device(name: str) -> torch.device:
    """The device that "auto", "cpu" or one of `gpus` means; the compute device, and a word of it, for a GPU that is not
    here."""
    if name == "cpu":
        return torch.device("cpu")
    # As the list says it: with one GPU ComfyUI names none.
    found = getattr(management, "resolve_gpu_device_option", lambda name: None)(name)
    if found is None:
        found = compute_device()
        if name != "auto":
            say(f"there is no {name} here: runs on {found}, as auto", logging.WARNING)
    return found


def compute_dtype(device: torch.device) -> torch.dtype:
    """The precision ComfyUI would choose for a small network on `device`: half where that is fast and right, or where
    its user said so (--force-fp16, ...). Without it the core's own choice."""
    if management is None:
        from ..birefnet_core.precision import for_matting

        return for_matting(device)
    if management.should_use_fp16(device):
        return torch.float16
    return torch.bfloat16 if management.should_use_bf16(device) else torch.float32


def output(tensor: Tensor) -> Tensor:
    """An IMAGE or MASK as nodes hand them on: on ComfyUI's intermediate device, in its intermediate dtype."""
    if management is None:
        return tensor.to("cpu", torch.float32)
    # --fp16-intermediates came with ComfyUI 0.18
    dtype = management.intermediate_dtype() if hasattr(management, "intermediate_dtype") else torch.float32
    return tensor.to(management.intermediate_device(), dtype)


# Model memory


class Unmanaged:
    """Stands in for ComfyUI's ModelPatcher where there is no ComfyUI."""

    def __init__(self, network: nn.Module, load_device: torch.device) -> None:
        self.model = network
        self.load_device = load_device


def manage(network: nn.Module, device: torch.device | None = None) -> comfy.model_patcher.ModelPatcher | Unmanaged:
    """Hands a network to ComfyUI's model manager, which moves it to `device` (by default the compute device) when
    `load` asks and away when others need the room. Gone when the returned object is: keep no other reference.

    The patcher that core gives its own models: under dynamic VRAM loading any other sends dynamic models
    away; its own upscalers, plain torch modules like ours, are loaded by it too, wholly on a device or wholly off it.
    """
    device = compute_device() if device is None else device
    if management is None:
        return Unmanaged(network, device)
    offload = device if device.type == "cpu" else management.unet_offload_device()
    patcher = getattr(comfy.model_patcher, "CoreModelPatcher", comfy.model_patcher.ModelPatcher)
    return patcher(network, load_device=device, offload_device=offload)


def load(managed: comfy.model_patcher.ModelPatcher | Unmanaged, activations: int = 0) -> nn.Module:
    """The network of `managed`, wholly on its device, with room for `activations` bytes beside it if that can be had.

    Call it before every use: since the last one others may have taken the room.
    """
    if management is None:
        return managed.model.to(managed.load_device)
    if is_dynamic(managed):
        return _load_dynamic(managed, activations)
    management.load_models_gpu([managed], memory_required=activations, force_full_load=True)
    if managed.loaded_size() < managed.model_size():  # --novram loads nothing that has no Comfy casts
        managed.load(managed.load_device, full_load=True)
    return managed.model


def is_dynamic(managed: comfy.model_patcher.ModelPatcher | Unmanaged) -> bool:
    return hasattr(managed, "is_dynamic") and managed.is_dynamic()


def _load_dynamic(managed: comfy.model_patcher.ModelPatcher, activations: int) -> nn.Module:
    """As `load`, under dynamic VRAM: what other dynamic models hold is given back by itself when it is wanted."""
    network, device = managed.model, managed.load_device
    if _is_on(network, device):  # loaded again, all weights would be copied again
        room = activations + management.extra_reserved_memory()
        management.free_memory(room, device, for_dynamic=True)
        return network
    management.load_models_gpu([managed], memory_required=activations, force_full_load=True)
    # Modules without Comfy casts are left behind by some versions.
    return network if _is_on(network, device) else network.to(device)


def _is_on(network: nn.Module, device: torch.device) -> bool:
    return all(tensor.device == device for tensor in (*network.parameters(), *network.buffers()))


def free_memory(managed: comfy.model_patcher.ModelPatcher | Unmanaged, device: torch.device) -> int | None:
    """Bytes that activations can take on `device` beside a managed network; None where torch has to tell."""
    if management is None:
        return None
    # Newer patchers have an answer of their own, which counts what dynamic models give back by themselves.
    ask = getattr(managed, "get_free_memory", management.get_free_memory)
    return int(ask(device))


def free_cache() -> None:
    """Gives back what torch keeps for later allocations."""
    if management is not None:
        management.soft_empty_cache()
    elif torch.cuda.is_available():
        torch.cuda.empty_cache()


def is_out_of_memory(error: BaseException) -> bool:
    from ..birefnet_core.out_of_memory import is_out_of_memory

    return is_out_of_memory(error) or (hasattr(management, "is_oom") and management.is_oom(error))


def computed(work: Callable[[torch.device], Any], device: torch.device) -> tuple[Any, torch.device]:
    """work(device), or on the CPU where the memory of `device` does not hold it; and the device that did it."""
    try:
        return work(device), device
    except Exception as error:
        if device.type == "cpu" or not is_out_of_memory(error):
            raise
    free_cache()
    return work(torch.device("cpu")), torch.device("cpu")


# Progress, interrupts, messages


def check_interrupt() -> None:
    """Raises ComfyUI's InterruptProcessingException (a BaseException in newer versions) when the user pressed stop."""
    if management is not None:
        management.throw_exception_if_processing_interrupted()


def is_interrupt(error: BaseException | None) -> bool:
    """Whether an error is that of `check_interrupt`."""
    return management is not None and isinstance(error, management.InterruptProcessingException)


class Progress:
    """Reports to the node in the browser and to the console. Every report raises when the user pressed stop."""

    def __init__(self, total: int, bar: tqdm) -> None:
        self.done = 0
        self._console = bar
        self._node = comfy.utils.ProgressBar(total) if management is not None else None

    def update(self, count: int = 1) -> None:
        self.report(self.done + count, self._console.total)

    def report(self, done: float, total: int, preview: Image.Image | None = None) -> None:
        """Takes the arguments of every `on_progress` in birefnet_core, and a picture to show on the node."""
        # Asked here too: ComfyUI's bar asks only when it shows something, at most ten times a second.
        check_interrupt()
        self._console.total = total
        self._console.update(done - self.done)
        self.done = done
        if self._node is not None:
            self._node.update_absolute(done, total, ("JPEG", preview, PREVIEW_SIDE) if preview else None)


@contextmanager
def progress(total: int, unit: str = "image") -> Iterator[Progress]:
    """`with progress(len(images)) as bar: ... bar.update()`; unit "B" counts bytes."""
    check_interrupt()
    with tqdm(total=total, unit=unit, unit_scale=unit == "B") as bar:
        yield Progress(total, bar)


def running() -> Any:
    """Which node runs, in which run of a workflow, with its `node_id`; None without ComfyUI."""
    if management is None:
        return None
    from comfy_execution.utils import get_executing_context

    return get_executing_context()


def say(text: str, level: int = logging.INFO) -> None:
    """A line in the log and, under ComfyUI, on the node that is running."""
    log.log(level, text)
    say_on_node(text)


def say_on_node(text: str) -> None:
    if (context := running()) is None:
        return
    if hasattr(server := _server(), "send_progress_text"):
        from comfy_execution.progress import get_progress_state

        # Loops run copies of nodes, which the page does not know.
        seen = get_progress_state().dynprompt.get_display_node_id(context.node_id)
        server.send_progress_text(text, seen)


def offer_replacement(*, output_mapping: list[dict[str, int]], **fields: Any) -> None:
    """A node of ours for one that may be missing; takes what ComfyUI's NodeReplace does, and is nothing before 0.25."""
    if management is None or not hasattr(server := _server(), "node_replace_manager"):
        return
    from comfy_api.latest import io

    class Replacement(io.NodeReplace):
        def as_dict(self) -> dict[str, Any]:
            """For the page, which takes over only the outputs that are named."""
            return {**super().as_dict(), "output_mapping": output_mapping}

    # The server looks for what reads an output under the name that its input had before it was replaced, too, and
    # fails where that comes first: so it gets outputs only where they move.
    moved = any(output["old_idx"] != output["new_idx"] for output in output_mapping)
    server.node_replace_manager.register(Replacement(**fields, output_mapping=output_mapping if moved else None))


def _server() -> Any:
    """ComfyUI's server. Not imported: where its other parts are used alone there is none, and no browser either."""
    return getattr(getattr(sys.modules.get("server"), "PromptServer", None), "instance", None)


@contextmanager
def clip_notes() -> Iterator[None]:
    """While it lasts, what the core says of a clip (its notes) is said on the node, all of it: a node shows one
    text."""
    from ..birefnet_core.video.notes import notes_to

    said = []

    def tell(text: str) -> None:
        said.append(text)
        log.warning(text)
        say_on_node("\n".join(said))

    with notes_to(tell):
        yield


# Folders


def input_folder() -> Path:
    return Path(folder_paths.get_input_directory()) if management is not None else Path("input").absolute()


def output_folder() -> Path:
    return Path(folder_paths.get_output_directory()) if management is not None else Path("output").absolute()


def temp_folder() -> Path:
    return Path(folder_paths.get_temp_directory()) if management is not None else Path(tempfile.gettempdir())


def annotated(name: str) -> tuple[str, Path]:
    """A name as ComfyUI's pickers give it, such as "clip.mp4 [output]" -> the name alone, and the folder it is in."""
    for kind, folder in (("input", input_folder), ("output", output_folder), ("temp", temp_folder)):
        if name.endswith(f" [{kind}]"):
            return name.removesuffix(f" [{kind}]"), folder()
    return name, input_folder()


def is_inside(folder: Path, path: Path) -> bool:
    """Whether a path, links followed, lies below a folder. Workflows, which may come from strangers, name files."""
    base, real = os.path.realpath(folder), os.path.realpath(path)
    if real == base or os.path.splitdrive(real)[0] != os.path.splitdrive(base)[0]:
        return False
    return os.path.commonpath([base, real]) == base


def output_place(prefix: str, size: tuple[int, int]) -> tuple[Path, str]:
    """A folder in the output folder and a name without suffix that is not taken there, from a prefix such as
    "video/clip", in which ComfyUI fills in %width% and the like. ValueError when it leads out of the folder."""
    prefix = with_dates(prefix, datetime.now())
    if management is None:
        stem = output_folder() / prefix
        if not is_inside(output_folder(), stem):
            raise ValueError(f"{prefix!r} does not name a file inside {output_folder()}")
        stem.parent.mkdir(parents=True, exist_ok=True)
        taken = [path.name for path in stem.parent.glob(f"{stem.name}_*")]
        count = next(n for n in range(1, len(taken) + 2) if not any(f"{stem.name}_{n:05}_" in name for name in taken))
        return stem.parent, f"{stem.name}_{count:05}_"
    # Raises an Exception that names both folders when the prefix leads out.
    folder, name, counter, _, _ = folder_paths.get_save_image_path(prefix, str(output_folder()), *size)
    return Path(folder), f"{name}_{counter:05}_"


def with_dates(prefix: str, now: datetime) -> str:
    """With "%date:yyyy-MM-dd%" and the like filled in, which the page does for ComfyUI's own nodes alone: y, M, d, h, m
    and s of that time, of two digits for two letters; of a year the last ones."""
    parts = {"y": now.year, "M": now.month, "d": now.day, "h": now.hour, "m": now.minute, "s": now.second}

    def digits(match: re.Match) -> str:
        text = str(parts[match[0][0]]).zfill(len(match[0]))
        return text[-len(match[0]) :] if match[0][0] == "y" else text

    return re.sub(r"%date:([^%]*)%", lambda date: re.sub(r"yyyy|yy|MM?|dd?|hh?|mm?|ss?", digits, date[1]), prefix)


def shown(path: Path, kind: str) -> dict[str, str]:
    """What the browser needs to show a file below the output ("output") or the temporary folder ("temp")."""
    folder = output_folder() if kind == "output" else temp_folder()
    inside = os.path.relpath(os.path.realpath(path.parent), os.path.realpath(folder))
    return {"filename": path.name, "subfolder": "" if inside == "." else Path(inside).as_posix(), "type": kind}


def video_of(path: Path) -> Any:
    """A VIDEO as other nodes take it; without ComfyUI the path."""
    if management is None:
        return path
    from comfy_api.latest import InputImpl

    return InputImpl.VideoFromFile(str(path))


def video_base() -> type | None:
    """The class of all VIDEOs, whose methods are fallbacks; None without ComfyUI."""
    if management is None:
        return None
    from comfy_api.latest import Input

    return Input.Video


def lies_in_memory(video: Any) -> bool:
    """Whether a VIDEO is made of frames that are all in memory already, as Create Video's."""
    if management is None:
        return False
    from comfy_api.latest import InputImpl

    return isinstance(video, InputImpl.VideoFromComponents)


def blocked(message: str) -> Any:
    """An output that lets no node behind it run and tells why; None without ComfyUI."""
    if management is None:
        return None
    from comfy_execution.graph_utils import ExecutionBlocker

    return ExecutionBlocker(message)


def keeps_metadata() -> bool:
    """Whether workflows may be written into files (ComfyUI's --disable-metadata)."""
    if management is None:
        return False
    from comfy.cli_args import args

    return not args.disable_metadata


def model_folders() -> list[Path]:
    """Where weights are looked for, whether they exist or not. Downloads go into the first."""
    if management is None:
        return [PACK / "models"]
    folders = list(folder_paths.get_folder_paths(MODELS_KEY))
    for name in OTHER_HOMES:
        folders.append(os.path.join(folder_paths.models_dir, name))
        for key in folder_paths.folder_names_and_paths:
            if key.casefold() == name.casefold():
                folders += folder_paths.get_folder_paths(key)
    unique: dict[str, Path] = {}
    for folder in folders:
        unique.setdefault(os.path.realpath(folder), Path(folder))
    return list(unique.values())


def model_files() -> dict[str, Path]:
    """Name -> path of every weight file there is, names relative to their folder with "/" on every system. Of two that
    share a name the one in the first folder counts, as everywhere in ComfyUI."""
    files: dict[str, Path] = {}
    for folder in model_folders():
        for path in _weight_files(folder):
            files.setdefault(path.relative_to(folder).as_posix(), path)
    return dict(sorted(files.items(), key=lambda item: item[0].casefold()))


def model_path(name: str) -> Path:
    """The path of a name of `model_files`; no other file can be reached. ValueError for any other name."""
    path = model_files().get(name)
    if path is None:
        folders = ", ".join(str(folder) for folder in model_folders())
        raise ValueError(f"there is no weight file {name!r} in {folders}")
    return path


def _weight_files(folder: Path) -> Iterator[Path]:
    """Below `folder`, through links, hidden folders left out."""
    seen = set()
    for where, folders, names in os.walk(folder, followlinks=True):
        if (real := os.path.realpath(where)) in seen:  # a link back up
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in names:
            if name.lower().endswith(SUFFIXES) and not name.startswith("."):
                yield Path(where, name)
