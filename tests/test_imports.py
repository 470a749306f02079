"""Importing the package costs nothing, and its modules do not care what else is called `models` or `utils`."""

import subprocess
import sys
from pathlib import Path

import pytest

import birefnet_core

ROOT = Path(__file__).parents[1]


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_listing_models_imports_nothing_heavy():
    loaded = run(
        "import sys, birefnet_core, birefnet_core.weights.catalog, birefnet_core.weights.download;"
        "print(*({'torch', 'timm', 'huggingface_hub', 'PIL', 'scipy'} & set(sys.modules)))"
    )
    assert loaded.strip() == ""


def test_the_public_names_are_there_beside_hostile_modules():
    run(
        "import sys, types\n"
        "for name in ('nodes', 'utils', 'models', 'config', 'birefnet', 'dataset'):\n"
        "    sys.modules[name] = types.ModuleType(name)\n"
        "import birefnet_core as bc\n"
        "assert bc.load_model('bundled', device='cpu').spec.name == 'bundled'\n"
    )


def test_every_public_name_resolves():
    for name in birefnet_core.__all__:
        assert getattr(birefnet_core, name).__name__ == name


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["matte", "--help"],
        ["models", "--models-dir", "nowhere"],
        ["matte", "nowhere.jpg", "-o", "out.png"],
        ["matte", "nowhere/*.mp4", "-o", "out"],
        ["matte", __file__, "-o", "out.png", "--size", "large"],
        ["matte", __file__, "-o", "out.png", "--background", "no colour"],
        ["matte", __file__, "-o", "out.png", "--stabilise", "2"],
        ["matte", __file__, "-o", "out.png", "--box", "1,2,3"],
        ["matte", __file__, "-o", "out.png", "--point", "left"],
        ["matte", __file__, "-o", "out.png", "--hint", "nowhere.png"],
        ["matte", __file__, "-o", "out.bmp"],
        ["matte", __file__, "-o", "out.png", "--model", "nowhere.pth"],
        ["matte", __file__, "-o", "out.png", "--model", "BiRefNet-portrayt"],
        ["download", "BiRefNet-portrayt"],
        ["inspect", "nowhere.pth"],
        ["bench", "--size", "large"],
    ],
    ids=" ".join,
)
def test_what_needs_no_network_is_answered_without_torch(arguments):
    loaded = run(
        "import sys\n"
        "from birefnet_core.commands.main import main\n"
        "try:\n"
        f"    main({arguments!r})\n"
        "except SystemExit:\n"
        "    pass\n"
        "print(*({'torch', 'timm', 'scipy', 'av', 'huggingface_hub'} & set(sys.modules)), sep='', end='|end')\n"
    )
    assert loaded.endswith("|end") and loaded.splitlines()[-1] == "|end"
