"""How many processes there are, and what the python that renders must be able to import."""

import os
import subprocess
import sys
from pathlib import Path

from train.shared.processes import MOST, processes_for

REPOSITORY = Path(__file__).resolve().parents[3]


def test_what_renders_needs_neither_scipy_nor_torch():
    code = "import sys; sys.modules.update(dict.fromkeys(['scipy', 'torch']))\n"
    code += "import train.evaluation.sets.__main__, train.scenes.training_pack"
    run = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def test_few_images_get_one_process_and_no_machine_gets_more_than_windows_can_wait_for(monkeypatch):
    assert processes_for(0) == processes_for(15) == 1
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(128)), raising=False)
    assert processes_for(24) == 3 and processes_for(10_000) == MOST
