"""Imports run one way: of each pair of rooms at most one knows the other (README's map, and each room's `__init__`)."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CORE = {  # a room -> the rooms of the same house it may import, besides the single files beside them
    "network": (),
    "weights": ("network",),
    "matting": ("network", "weights"),
    "video": ("matting",),
    "bench": ("network", "weights", "matting", "video"),
    "commands": ("network", "weights", "matting", "video", "bench"),
}
TRAIN = {
    "shared": (),
    "scenes": ("shared",),
    "data": ("scenes", "shared"),
    "evaluation": ("scenes", "shared"),
    "run": ("data", "evaluation", "scenes", "shared"),
    "bench": ("run", "data", "evaluation", "scenes", "shared"),
}
PROGRAMS = ("train.py", "evaluate.py", "average.py")  # of train/; they stand above all rooms but the benches


def imported(file: Path) -> set[str]:
    """The dotted modules that a file imports anywhere, relative ones written out, from the repository's root."""
    package, found = file.relative_to(ROOT).parts[:-1], set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*base, *([node.module] if node.module else [])])
            found.update(f"{module}.{alias.name}" for alias in node.names)
    return found


def rooms_of(file: Path, house: str, rooms: dict) -> set[str]:
    names = [name.split(".") for name in imported(file)]
    return {name[1] for name in names if name[0] == house and len(name) > 1 and name[1] in rooms}


@pytest.mark.parametrize("house, rooms", [("birefnet_core", CORE), ("train", TRAIN)])
def test_no_room_imports_one_above_it(house, rooms):
    folders = {path.parent.name for path in (ROOT / house).glob("*/__init__.py")}
    assert folders == set(rooms), "a new room needs its place in the order"
    for room, below in rooms.items():
        for file in (ROOT / house / room).rglob("*.py"):
            assert rooms_of(file, house, rooms) <= {room, *below}, file
    for file in (ROOT / house).glob("*.py"):  # what all rooms share, and the programs
        if file.name not in (*PROGRAMS, "__init__.py", "__main__.py"):
            assert not rooms_of(file, house, rooms), file


def test_the_core_knows_nothing_above_it():
    for file in (ROOT / "birefnet_core").rglob("*.py"):
        assert not {name.split(".")[0] for name in imported(file)} & {"train", "nodes", "comfy", "folder_paths"}, file
    for room in TRAIN:
        for file in (ROOT / "train" / room).rglob("*.py"):
            above = {".".join(name.split(".")[:2]) for name in imported(file)}
            assert room == "bench" or not above & {f"train.{name.removesuffix('.py')}" for name in PROGRAMS}, file
