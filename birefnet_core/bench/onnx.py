"""`python -m birefnet_core.bench.onnx`: exported graphs in onnxruntime beside our network, on a CPU.

A model is exported once, for any size where its encoder allows, else once a size. Each side then runs in a process of
its own, on the same pictures of random numbers, without hints. Needs onnx, onnxscript and onnxruntime.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from .report import duration, table

THREADS = 2


@dataclass(frozen=True)
class Run:
    """One side on one shape. graph: the ONNX file, None for our network. shape: (batch, 3, height, width)."""

    weights: Path
    graph: Path | None
    shape: tuple[int, int, int, int]
    repeats: int


@dataclass(frozen=True)
class Measured:
    """seconds: median of a forward pass. peak: bytes resident in the whole process, the model included. logits: numpy
    [N,1,H,W]."""

    seconds: float
    peak: int
    logits: object


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m birefnet_core.bench.onnx", description=__doc__.split(":")[0])
    parser.add_argument("--model", type=Path, action="append", default=[], metavar="FILE", help="a weight file")
    parser.add_argument(
        "--backbone", action="append", default=[], metavar="NAME", help="a network of random weights on it"
    )
    parser.add_argument("--size", type=int, nargs="+", default=[64, 96, 128], help="sides (default: 64 96 128)")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 2], help="pictures a pass (default: 1 2)")
    parser.add_argument("--repeats", type=int, default=1, help="timed runs, the median counts (default: 1)")
    parser.add_argument("--decompose", action="store_true", help="GridSample in place of DeformConv")
    parser.add_argument("--dtype", default="float32", choices=("float32", "float16"))
    parser.add_argument("--one-size", action="store_true", help="export once a size, whatever the encoder allows")
    args = parser.parse_args(arguments)
    from ..matting.onnx_export import check_packages

    check_packages()
    if importlib.util.find_spec("onnxruntime") is None:
        raise RuntimeError("this bench needs onnxruntime, not installed here: pip install onnxruntime")
    print(table(HEADER, []), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for name in (*args.model, *args.backbone):
            for row in rows_of(name, Path(folder), args):
                print(table(HEADER, [row]).splitlines()[-1], flush=True)
    return 0


HEADER = ["model", "size", "batch", "largest logit difference", "logits reach", "onnxruntime", "ours", "peak", "ours "]


def rows_of(name: str | Path, folder: Path, args: argparse.Namespace):
    """A row of the table for each size and batch of one model."""
    import numpy as np

    from .measure import in_new_process

    weights = name if isinstance(name, Path) else folder / "random.safetensors"
    if weights is not name:
        in_new_process(_write_random, name, weights)
    for size in args.size:
        graph = in_new_process(_export, weights, folder, size, args.decompose, args.dtype, args.one_size)
        for batch in args.batch:
            shape = (batch, 3, size, size)
            theirs, ours = (in_new_process(_measure, Run(weights, each, shape, args.repeats)) for each in (graph, None))
            difference = np.abs(theirs.logits - ours.logits).max()
            times = [duration(side.seconds) for side in (theirs, ours)]
            peaks = [f"{side.peak / 2**20:,.0f} MiB" for side in (theirs, ours)]
            label = name.stem if isinstance(name, Path) else name
            reach = f"{np.abs(ours.logits).max():.1f}"
            yield [label, f"{size}", f"{batch}", f"{difference:.1e}", reach, *times, *peaks]


def _write_random(backbone: str, path: Path) -> None:
    from ..network import Architecture
    from .measure import write_random_weights

    write_random_weights(Architecture(backbone), path)


def _export(weights: Path, folder: Path, size: int, decompose: bool, dtype: str, one_size: bool) -> Path:
    """The graph for a size; one that takes any size is made once."""
    from ..matting.onnx_export import export_onnx
    from ..network.backbones import find_backbone
    from ..weights.load import load_network

    network, spec = load_network(weights, "2025", hint=False)
    dynamic = find_backbone(spec.backbone).pyramid and not one_size
    path = folder / f"{weights.stem}-{spec.backbone.replace(':', '-')}-{'any' if dynamic else size}.onnx"
    if not path.is_file():
        options = {"dynamic": True} if dynamic else {"size": size}
        export_onnx(network, spec, path, decompose=decompose, dtype=dtype, **options)
    return path


def _measure(run: Run) -> Measured:
    import numpy as np
    import torch

    torch.set_num_threads(THREADS)
    image = np.random.default_rng(1).standard_normal(run.shape, dtype=np.float32)
    if run.graph is not None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = THREADS
        session = onnxruntime.InferenceSession(run.graph, options, providers=["CPUExecutionProvider"])

        def forward():
            return session.run(None, {"input_image": image})[0]
    else:
        from ..weights.load import load_network

        network, _ = load_network(run.weights, "2025", hint=False)

        @torch.inference_mode()
        def forward():
            return network(torch.from_numpy(image)).numpy()

    logits, seconds = forward(), []
    for _ in range(run.repeats):
        start = time.perf_counter()
        forward()
        seconds.append(time.perf_counter() - start)
    from .measure import peak_memory

    return Measured(statistics.median(seconds), peak_memory(torch.device("cpu")), logits)


if __name__ == "__main__":
    raise SystemExit(main())
