"""`python -m birefnet_core models`, `download` and `inspect`: the models there are, and what a file is."""

from __future__ import annotations

import argparse
import os
from pathlib import Path


def add_models_dir(command: argparse.ArgumentParser) -> None:
    command.add_argument("--models-dir", type=Path, help="where downloaded models are (default: models/ in the pack)")


def add_patch_order(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--patch-order",
        default="auto",
        choices=("auto", "2024", "2025"),
        help="the order in which a file's decoder takes the patches of a picture (default: auto, as the file says)",
    )


def add_download_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("name", metavar="NAME")
    command.add_argument("--endpoint", help="address of the hub or of a mirror")
    command.add_argument("--token", help="for gated repositories")
    add_models_dir(command)


def add_inspect_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("files", nargs="+", metavar="FILE", help="a weight file, or bundled")
    add_patch_order(command)


def show(args: argparse.Namespace) -> int:
    from ..weights.catalog import ModelSpec, published
    from ..weights.files import SUFFIXES
    from ..weights.metadata import spec_in_header
    from ..weights.places import BUNDLED, MODELS_DIR

    line = "{:<25} {:<13} {:<11} {:<9} {:<8} {:<14} {:<5} {}"

    def show(name: str, spec: ModelSpec, here: bool) -> None:
        size = f"{spec.size[0]}x{spec.size[1]}" if spec.size else "dynamic"
        backbone = spec.backbone.removeprefix("timm:tf_")[:13]
        place = "here" if here else ""
        print(line.format(name, backbone, size, spec.task, spec.patch_order, spec.licence, place, spec.note))

    def show_file(name: str, path: Path) -> None:
        from ..weights.inspection import inspect  # brings torch, which the list of what is known does without

        found = inspect(path)
        if found.problem:
            print(f"{name:<25} {found.problem}")
        else:
            show(name, found.spec, here=True)

    folder = args.models_dir or MODELS_DIR
    print(line.format("name", "backbone", "size", "task", "patches", "licence", "", "note"))
    show("bundled", spec_in_header(BUNDLED), here=True)
    for row in published():
        show(row.spec.name, row.spec, (folder / row.file_name).is_file())
    names = {row.file_name for row in published()}
    for file in sorted(folder.iterdir()) if folder.is_dir() else ():
        if file.suffix.lower() in SUFFIXES and file.name not in names:
            show_file(str(file), file)
    return 0


def fetch(args: argparse.Namespace) -> int:
    from ..progress import byte_bar
    from ..weights.download import download
    from ..weights.places import MODELS_DIR

    folder = args.models_dir or MODELS_DIR
    path = download(args.name, folder, endpoint=args.endpoint, token=args.token, on_progress=byte_bar(args.name))
    print(path)
    return 0


def inspect(args: argparse.Namespace) -> int:
    from ..weights.files import check_there
    from ..weights.places import BUNDLED

    files = [BUNDLED if name == "bundled" else Path(name) for name in args.files]
    if not any(os.path.isfile(path) for path in files):  # where Path.is_file raises, too: of names that are too long
        check_there(files[0])  # before torch is imported
    from ..weights.inspection import inspect

    found = [inspect(path, args.patch_order) for path in files]
    print("\n".join(str(inspection) for inspection in found))
    return 1 if any(inspection.problem for inspection in found) else 0
