"""Help pages and translations cover the nodes exactly, and the English texts are those of the code.

`python -m tests.nodes.test_texts` writes locales/en again after a text in the code has changed.
"""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LANGUAGES = ("en", "zh", "ja")


def locale(language: str) -> dict:
    return json.loads((ROOT / "locales" / language / "nodeDefs.json").read_text(encoding="utf-8"))


def inputs(node: type) -> dict:
    """Name -> options of every input of a node class."""
    groups = node.INPUT_TYPES()
    return {
        name: (spec[1] if len(spec) > 1 else {})
        for group in ("required", "optional")
        for name, spec in groups.get(group, {}).items()
    }


def english(pack) -> dict:
    """nodeDefs.json as ComfyUI reads it, from the texts in the code."""
    return {
        key: {
            "display_name": pack.NODE_DISPLAY_NAME_MAPPINGS[key],
            "description": node.DESCRIPTION,
            "inputs": {name: {"name": name, "tooltip": options["tooltip"]} for name, options in inputs(node).items()},
            "outputs": {
                str(i): {"name": name, "tooltip": tooltip}
                for i, (name, tooltip) in enumerate(zip(node.RETURN_NAMES, node.OUTPUT_TOOLTIPS, strict=True))
            },
        }
        for key, node in pack.NODE_CLASS_MAPPINGS.items()
    }


def shape(content):
    """The keys of nested dicts, without the texts; no text may be empty."""
    if isinstance(content, dict):
        return {key: shape(value) for key, value in content.items()}
    assert content.strip()
    return str


def test_the_english_texts_are_those_of_the_code(pack):
    assert locale("en") == english(pack), "run `python -m tests.nodes.test_texts`"


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_text_is_translated_and_none_is_left_over(pack, language):
    assert shape(locale(language)) == shape(english(pack))


@pytest.mark.parametrize("language", LANGUAGES[1:])
def test_a_translation_is_in_its_language(language):
    letters = {"zh": r"[\u4e00-\u9fff]", "ja": r"[\u3040-\u30ff]"}[language]
    for key, node in locale(language).items():
        for text in (node["description"], *(entry["tooltip"] for entry in node["inputs"].values())):
            assert re.search(letters, text), f"{key}: {text}"


def test_every_node_has_a_help_page_that_names_its_inputs_and_outputs(pack):
    pages = {path.stem: path.read_text(encoding="utf-8") for path in (ROOT / "web" / "docs").glob("*.md")}
    assert pages.keys() == pack.NODE_CLASS_MAPPINGS.keys()
    for key, node in pack.NODE_CLASS_MAPPINGS.items():
        page = pages[key]
        assert page.startswith(f"# {pack.NODE_DISPLAY_NAME_MAPPINGS[key]}\n")
        named = set(re.findall(r"\*\*(\w+)\*\*", page))
        assert set(inputs(node)) | set(node.RETURN_NAMES or ()) <= named, f"{key} does not name everything"
        pictures = re.findall(r"!\[.+?\]\((.+?)\)", page)
        assert pictures, f"{key} has no picture"
        for picture in pictures:
            assert (ROOT / "web" / "docs" / picture).is_file(), picture


def test_the_web_folder_holds_no_other_script():
    """ComfyUI runs every .js below it in the browser."""
    assert sorted(path.name for path in (ROOT / "web").rglob("*.js")) == ["matte_video.js", "video_frames.js"]


if __name__ == "__main__":
    from tests.nodes.conftest import load_pack

    path = ROOT / "locales" / "en" / "nodeDefs.json"
    texts = json.dumps(english(load_pack("birefnet_suite_texts")), indent=2, ensure_ascii=False)
    path.write_text(texts + "\n", encoding="utf-8")
    print(path.relative_to(ROOT))
