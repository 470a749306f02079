"""`python -m birefnet_core export`: a model as one ONNX file, for other runtimes."""

from __future__ import annotations

import argparse
from pathlib import Path

from .matte import parse_size
from .models import add_models_dir, add_patch_order


def add_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("model", metavar="MODEL", help="bundled, a weight file or a published name")
    command.add_argument("-o", "--out", required=True, type=Path, metavar="FILE.onnx", help="the file to write")
    command.add_argument(
        "--size", type=parse_size, metavar="N", help="of the network's input, or WxH (default: the model's own)"
    )
    command.add_argument("--opset", type=int, default=20, help="of ONNX's operators (default: 20)")
    command.add_argument("--dynamic", action="store_true", help="for all sides that are multiples of 32")
    command.add_argument("--dtype", default="float32", choices=("float32", "float16"), help="of weights and arithmetic")
    command.add_argument(
        "--with-preprocessing",
        action="store_true",
        help="take RGB pictures 0..1 of any size and give alpha 0..1 (default: take normalised ones, give logits)",
    )
    command.add_argument("--uint8", action="store_true", help="with preprocessing: pictures of 0..255")
    command.add_argument(
        "--decompose", action="store_true", help="for runtimes without DeformConv: GridSample in its place"
    )
    command.add_argument(
        "--no-hint",
        dest="hint",
        action="store_false",
        help="of a model that takes hints: without that input, for rembg",
    )
    add_patch_order(command)
    command.add_argument("--overwrite", action="store_true", help="replace files that exist")
    add_models_dir(command)


def run(args: argparse.Namespace) -> int:
    """Write the file and say what it is. Raises ValueError, OSError or RuntimeError, each one sentence."""
    out = args.out
    if out.suffix.lower() != ".onnx":
        raise ValueError(f"-o must name a file that ends in .onnx, got {out}")
    if not out.parent.is_dir():
        raise ValueError(f"{out.parent}: there is no such folder")
    there = [path for path in (out, out.with_suffix(".json"), out.with_name(f"{out.name}.data")) if path.exists()]
    if there and not args.overwrite:
        raise ValueError(f"{there[0]} exists: give --overwrite or another -o")
    from ..matting.onnx_export import check_packages, export_onnx

    check_packages()
    from ..weights.load import load_network
    from ..weights.places import locate

    network, spec = load_network(locate(args.model, args.models_dir), args.patch_order)
    files = export_onnx(
        network,
        spec,
        out,
        size=args.size,
        opset=args.opset,
        dynamic=args.dynamic,
        dtype=args.dtype,
        preprocessing=args.with_preprocessing,
        uint8=args.uint8,
        decompose=args.decompose,
        hint=args.hint,
    )
    for path in files:
        print(f"{path} ({path.stat().st_size / 2**20:,.1f} MiB)")
    return 0
