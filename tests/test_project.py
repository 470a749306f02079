"""What pyproject.toml says to ComfyUI's registry."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
tomllib = pytest.importorskip("tomllib", reason="Python 3.10 reads no TOML")


@pytest.fixture(scope="module")
def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_dependencies_are_a_list_and_those_of_requirements_txt(project):
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert project["project"]["dependencies"] == [line for line in lines if line and not line.startswith("#")]
    assert "dynamic" not in project["project"]


def test_the_registry_is_told_what_it_asks_for(project):
    assert re.fullmatch(r"\d+\.\d+\.\d+", project["project"]["version"])
    assert project["tool"]["comfy"]["PublisherId"] and project["tool"]["comfy"]["DisplayName"]
    assert project["tool"]["comfy"]["requires-comfyui"] == ">=0.3.64"  # as nodes/host.py says
