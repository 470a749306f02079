"""The pack as ComfyUI loads it: its folder as one package, under a name made from its path."""

import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def load_pack(name: str):
    spec = importlib.util.spec_from_file_location(name, ROOT / "__init__.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def pack():
    """The root package. Its `birefnet_core` is another copy of the one that tests import by that name."""
    return load_pack(str(ROOT).replace(".", "_x_"))


@pytest.fixture(scope="session")
def node(pack):
    """node("BiRefNetSegment") -> the node class."""
    return lambda name: pack.NODE_CLASS_MAPPINGS[name]


@pytest.fixture(scope="session")
def module(pack):
    """module("nodes.host") -> that module of the pack, as its nodes see it."""
    return lambda name: importlib.import_module(f"{pack.__name__}.{name}")


@pytest.fixture(autouse=True)
def _one_thread(one_thread):
    """Every test of this folder works on small tensors."""
