"""Importing the package costs nothing, and its modules do not care what else is called `models` or `utils`."""

import subprocess
import sys
from pathlib import Path

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
