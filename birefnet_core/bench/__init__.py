"""`python -m birefnet_core bench`: latency, peak memory and stages of the network, beside a checkout of the reference.

Every row of the tables is a process of its own, so that peaks do not mix and the reference's module names (`models`,
`config`, `utils`) stay out of this one. All of them read the same random weights from one file.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

REFERENCE = "https://github.com/ZhengPeng7/BiRefNet"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--against", type=Path, metavar="PATH", help=f"a checkout of the reference, {REFERENCE}")
    parser.add_argument(
        "--backbone", action="append", metavar="NAME", help="may be given several times (default: swin_v1_t)"
    )
    parser.add_argument("--size", type=int, default=1024, help="side of the square input (default: 1024)")
    parser.add_argument("--dtype", default="float32", choices=("auto", "float32", "float16", "bfloat16"))
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default: 2)")
    parser.add_argument("--repeats", type=int, default=3, help="timed runs, the median counts (default: 3)")
    parser.add_argument("--compile", action="store_true", help="also measure the network under torch.compile")
    parser.add_argument(
        "--widths",
        type=int,
        nargs=3,
        metavar=("BLOCK", "BRANCH", "INWARD"),
        help="channels inside the decoder's blocks (default: the published 64 256 64)",
    )


def run(args: argparse.Namespace) -> int:
    """Measure and print Markdown tables. Raises ValueError for arguments that do not fit, RuntimeError when a
    measurement fails; the messages say which."""
    import torch

    from ..device import pick_device
    from ..network import Architecture
    from ..network.birefnet import STRIDE
    from ..precision import pick_dtype
    from .reference import check_checkout

    if args.against is not None:
        check_checkout(args.against)
        if args.widths:
            raise ValueError("--widths and --against do not go together: the reference has no such widths")
    if args.size < STRIDE or args.size % STRIDE:
        raise ValueError(f"--size must be a positive multiple of {STRIDE}, got {args.size}")
    if min(args.repeats, args.threads, *(args.widths or ())) < 1:
        raise ValueError("--repeats, --threads and --widths must be at least 1")
    args.device = str(pick_device(args.device))
    args.dtype = str(pick_dtype(args.dtype, torch.device(args.device))).removeprefix("torch.")
    widths = dict(zip(("block_channels", "branch_channels", "inward_channels"), args.widths or ()))
    for backbone in args.backbone or ["swin_v1_t"]:
        print(_compare(Architecture(backbone, **widths), args), flush=True)
    return 0


def _compare(architecture, args: argparse.Namespace) -> str:
    """Every row for one architecture, as Markdown."""
    from .measure import Case, in_new_process, measure, write_random_weights
    from .report import markdown

    rows = []  # (label, reference?, compiled?)
    if args.against is not None:
        rows.append(("reference", True, False))
        if args.compile or (args.device.startswith("cuda") and args.dtype == "float16"):
            rows.append(("reference, compiled", True, True))
    rows.append(("ours", False, False))
    if args.compile:
        rows.append(("ours, compiled", False, True))
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder, "random.safetensors")
        write_random_weights(architecture, weights)
        measurements = {}
        for label, reference, compiled in rows:
            case = Case(
                architecture=architecture,
                weights=weights,
                checkout=args.against.resolve() if reference else None,
                size=args.size,
                dtype=args.dtype,
                device=args.device,
                threads=args.threads,
                repeats=args.repeats,
                compiled=compiled,
            )
            measurements[label] = in_new_process(measure, case)
    processor = f"{args.threads} CPU threads" if args.device == "cpu" else measurements["ours"].device_name
    title = f"{architecture.backbone}, {args.size} x {args.size}, {args.dtype}, batch 1, {processor}"
    return markdown(title, measurements)
