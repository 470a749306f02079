"""The pages: links lead somewhere, and the commands and files that they name exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "train/recipes/README.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "web" / "docs").glob("*.md")),
]
FOLDERS = "birefnet_core|demo|docs|example_workflows|locales|nodes|subgraphs|tests|train|web"
NOT_OURS = ("pip", "venv", "pytest", "ruff")  # modules that pages run and that are no part of the repository

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
MODULE = re.compile(r"\b(?:py|python[\w.]*|torchrun[^\n`]*?) -m (\w+(?:\.\w+)*)")
PROGRAM = re.compile(r"\b(?:python[\w.]*|torchrun[^\n`]*?) ([\w./-]+\.py)\b")
FILE = re.compile(rf"(?<![\w./-])((?:{FOLDERS})/(?:[\w./*-]|<[^>\n]*>)*)")


def named(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def anchors(page: Path) -> set[str]:
    """What GitHub makes of a page's headings."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(page: Path) -> list[str]:
    broken = []
    for link in LINK.findall(page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    return broken


def is_runnable(module: str) -> bool:
    path = ROOT.joinpath(*module.split("."))
    return module in NOT_OURS or path.with_suffix(".py").is_file() or (path / "__main__.py").is_file()


def missing_files(page: Path) -> list[str]:
    """What a page runs or names of the repository and is not there."""
    text = page.read_text(encoding="utf-8")
    modules = [name for name in MODULE.findall(text) if not is_runnable(name)]
    programs = [name for name in PROGRAM.findall(text) if not (ROOT / name).is_file()]
    files = [name.rstrip("./") for name in FILE.findall(text)]
    files = [name for name in files if not any(ROOT.glob(re.sub("<[^>]*>", "*", name)))]
    return modules + programs + files


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CHANGELOG.md"], ids=named)
def test_links_lead_somewhere(page):
    assert broken_links(page) == []


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_what_a_page_names_exists(page):
    assert missing_files(page) == []


def test_what_is_missing_is_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "# A heading, `twice`\n[a](#a-heading-twice) [b](#another) [c](none.md) [d](page.md#none) [e](https://a.b/c#d)\n"
        "`python -m train.nothing` `python -m pip` `python train/nothing.py --x`, `torchrun -n 2 -m train.none x`\n"
        "`train/recipes/*.toml`, train/recipes/none.toml and `locales/<language>/none.json`.\n"
    )
    assert broken_links(page) == ["#another", "none.md", "page.md#none"]
    assert missing_files(page) == [
        *("train.nothing", "train.none", "train/nothing.py"),
        *("train/nothing.py", "train/recipes/none.toml", "locales/<language>/none.json"),
    ]


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


@pytest.mark.parametrize("side", ["birefnet_core", "train"])
def test_every_package_is_on_the_maps(side):
    packages = {path.parent.relative_to(ROOT).as_posix() + "/" for path in (ROOT / side).glob("*/__init__.py")}
    for page in ("README.md", "CONTRIBUTING.md"):
        text = (ROOT / page).read_text(encoding="utf-8")
        assert [package for package in sorted(packages) if package not in text] == [], page
