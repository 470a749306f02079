"""`python -m birefnet_core.bench.native --comfyui PATH`: our nodes beside ComfyUI's own background removal, on a CPU.

Each side is a process of its own that runs the node classes a workflow runs: the loader, then four images in one batch.
Both read the same file of random swin_v1_l weights in half precision, as most published files are. It is written the
way the checkout reads every file: patch order of 2024, images shifted and scaled as its birefnet.json says (not at all
up to 0.33). So the masks have to agree, and the table says how far they do. Run it with an interpreter that has
ComfyUI's requirements and ours.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

from .report import duration, table

PACK = Path(__file__).parents[2]
FILE = "random.safetensors"
SIZE = 1024  # that of ComfyUI's node, and the only one up to 0.33


@dataclass(frozen=True)
class Case:
    """comfyui: the checkout. base: a folder as ComfyUI's --base-directory."""

    comfyui: Path
    base: Path
    images: int
    threads: int


@dataclass(frozen=True)
class Measurement:
    """load, run: seconds. peak: bytes resident in the whole process. mask: [images, SIZE, SIZE] of whatever computed
    it, as numpy."""

    load: float
    run: float
    peak: int
    mask: object


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m birefnet_core.bench.native", description=__doc__.split(":")[0])
    parser.add_argument("--comfyui", type=Path, required=True, metavar="PATH", help="a checkout, 0.21 or later")
    parser.add_argument("--images", type=int, default=4, help="in the batch (default: 4)")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default: 2)")
    args = parser.parse_args(arguments)
    if not (args.comfyui / "comfy" / "bg_removal_model.py").is_file():
        parser.error(f"{args.comfyui}: not a checkout of ComfyUI 0.21 or later, it has no comfy/bg_removal_model.py")
    if args.images < 1 or args.threads < 1:
        parser.error("--images and --threads must be at least 1")
    from .measure import in_new_process

    with tempfile.TemporaryDirectory() as folder:
        case = Case(args.comfyui.resolve(), Path(folder), args.images, args.threads)
        in_new_process(write_weights, case)
        native, ours = in_new_process(measure_native, case), in_new_process(measure_ours, case)
    print(markdown(case, native, ours))
    return 0


def markdown(case: Case, native: Measurement, ours: Measurement) -> str:
    """The two measurements as a table with a title."""
    import numpy as np

    header = ["", "load", f"{case.images} images", "both", "times as fast", "peak memory", "of ComfyUI's own"]
    rows = []
    for label, side in {"ComfyUI's own": native, "ours": ours}.items():
        both = side.load + side.run
        faster, share = (native.load + native.run) / both, side.peak / native.peak
        times = [duration(seconds) for seconds in (side.load, side.run, both)]
        rows.append([label, *times, f"{faster:.2f}", f"{side.peak / 2**20:,.0f} MiB", f"{share:.2f}"])
    return "\n\n".join(
        [
            f"### Remove Background, swin_v1_l, {SIZE} x {SIZE}, {case.images} images, {case.threads} CPU threads",
            table(header, rows),
            f"Largest difference between the masks {np.abs(native.mask - ours.mask).max():.1e}; they reach from "
            f"{native.mask.min():.2f} to {native.mask.max():.2f}.",
        ]
    )


def write_weights(case: Case) -> None:
    """Into the folder where both loaders look."""
    import torch

    from ..matting.load import load_model
    from ..network import Architecture
    from ..weights.save import save_model
    from .measure import write_random_weights

    folder = case.base / "models" / "background_removal"
    folder.mkdir(parents=True, exist_ok=True)
    write_random_weights(Architecture("swin_v1_l"), folder / FILE)
    model = load_model(folder / FILE, "cpu", "float32", fold=False)
    mean, std = preparation(case.comfyui)
    spec = replace(model.spec, patch_order="2024", mean=mean, std=std, size=(SIZE, SIZE))
    save_model(model.network, folder / FILE, spec=spec, dtype=torch.float16)


def preparation(comfyui: Path) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The mean and the standard deviation, a colour, by which a checkout of ComfyUI shifts and scales images (0..1)."""
    config = json.loads((comfyui / "comfy" / "background_removal" / "birefnet.json").read_text())
    return tuple(config.get("image_mean", (0.0, 0.0, 0.0))), tuple(config.get("image_std", (1.0, 1.0, 1.0)))


def measure_native(case: Case) -> Measurement:
    _start_comfyui(case)
    from comfy_extras.nodes_bg_removal import LoadBackgroundRemovalModel, RemoveBackground

    return _measure(
        case,
        load=lambda: LoadBackgroundRemovalModel.execute(bg_removal_name=FILE).args[0],
        run=lambda model, images: RemoveBackground.execute(bg_removal_model=model, image=images).args[0],
    )


def measure_ours(case: Case) -> Measurement:
    _start_comfyui(case)
    spec = importlib.util.spec_from_file_location("birefnet_suite", PACK / "__init__.py")
    pack = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = pack
    spec.loader.exec_module(pack)
    loader, segment = (pack.NODE_CLASS_MAPPINGS[name]() for name in ("LoadBiRefNet", "BiRefNetSegment"))
    return _measure(
        case,
        load=lambda: loader.load(FILE)[0],
        run=lambda model, images: segment.segment(model, images)[0],
    )


def _start_comfyui(case: Case) -> None:
    """What its main.py does before it loads any node, on a CPU."""
    sys.argv = ["main.py", "--cpu", "--base-directory", str(case.base)]
    sys.path.insert(0, str(case.comfyui))
    importlib.import_module("comfy.options").enable_args_parsing()
    importlib.import_module("comfy.model_management")


def _measure(case: Case, *, load, run) -> Measurement:
    import torch

    torch.set_num_threads(case.threads)
    generator = torch.Generator().manual_seed(1)
    coarse = torch.rand(case.images, 3, 16, 16, generator=generator)
    images = torch.nn.functional.interpolate(coarse, (SIZE, SIZE), mode="bilinear").movedim(1, -1)
    images = images.mul(255).round().div(255).contiguous()  # as from a file, so that rounding to 8 bits changes nothing
    with torch.inference_mode():  # as the executor does
        started = time.perf_counter()
        model = load()
        loaded = time.perf_counter()
        mask = run(model, images)
        done = time.perf_counter()
    from .measure import peak_memory

    return Measurement(loaded - started, done - loaded, peak_memory(torch.device("cpu")), mask.float().numpy())


if __name__ == "__main__":
    raise SystemExit(main())
