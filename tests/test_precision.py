"""Which precision a device computes natively is measured: the same processor, kept from bfloat16, is told apart."""

import os
import platform
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

import birefnet_core as bc
from birefnet_core import precision
from birefnet_core.matting.hint import draw_boxes, draw_points
from birefnet_core.precision import pick_dtype

CPU = torch.device("cpu")
CODE = (
    "import torch; from birefnet_core.precision import *;"
    "print(is_native(share_of_float32(torch.bfloat16, torch.device('cpu'))), torch.get_num_threads())"
)


def _measured(**environment: str) -> list[str]:
    return subprocess.run(
        [sys.executable, "-c", CODE],
        env=os.environ | {"OMP_NUM_THREADS": "2"} | environment,
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="oneDNN's switch is of x86")
@pytest.mark.parametrize("instructions", ["AVX2", "AVX512_CORE"])
def test_emulation_is_not_native(instructions):
    assert _measured(ONEDNN_MAX_CPU_ISA=instructions) == ["False", "2"], "and the number of threads is left as it was"


def test_a_processor_that_has_it_is_native():
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.is_file() or not {"avx512_bf16", "amx_bf16"} & set(cpuinfo.read_text().split()):
        pytest.skip("this processor does not say that it has bfloat16")
    assert _measured() == ["True", "2"]


def test_what_cannot_be_computed_is_not_native():
    share = precision.share_of_float32(torch.bfloat16, torch.device("meta"))
    assert not precision.is_native(share) and precision.in_words(share) == "cannot be computed here"


def test_matting_takes_half_on_cuda_alone():
    assert pick_dtype("auto", CPU) == precision.for_matting(CPU) == torch.float32
    assert precision.for_matting(torch.device("mps")) == torch.float32


@pytest.mark.parametrize(
    "defaults", [{"dtype": torch.float64}, {"dtype": torch.float16}, {"dtype": torch.bfloat16}, {"device": "meta"}]
)
def test_other_defaults_of_torch_change_nothing(defaults, set_defaults):
    """Loaders of language models set them for the whole process, and some leave them."""
    images = torch.rand(1, 90, 120, 3, generator=torch.Generator().manual_seed(0))
    size = (120, 90)
    hints = [None, torch.ones(90, 120), draw_boxes([(20, 10, 60, 70)], size), draw_points([(60, 45)], size)]

    def results():
        model = bc.load_model("bundled", device="cpu")
        alphas = [model.predict(images, 64, hint=hint) for hint in hints]
        alphas += [model.predict(images, 64, mode=mode) for mode in ("locate", "detail")]
        return [*alphas, bc.estimate_foreground(images, alphas[0])]

    expected = results()
    set_defaults(**defaults)
    found = results()
    assert torch.get_default_dtype() == defaults.get("dtype", torch.float32)
    assert torch.empty(0).device.type == defaults.get("device", "cpu")
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_changes_nothing(dtype):
    images = torch.rand(1, 90, 120, 3, generator=torch.Generator().manual_seed(0))
    model = bc.load_model("bundled", device="cpu")

    def results():
        alphas = [model.predict(images, 64, hint=hint) for hint in (None, torch.ones(90, 120))]
        return [*alphas, model.predict(images, 64, mode="detail"), bc.estimate_foreground(images, alphas[0])]

    expected = results()
    with torch.autocast("cpu", dtype):
        found = results()
        assert torch.is_autocast_enabled("cpu")
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


def test_the_default_dtype_is_float32_while_any_thread_needs_it(set_defaults):
    set_defaults(dtype=torch.float64)
    inside, go_on = threading.Event(), threading.Event()

    def longer():
        with precision.torch_as_usual():
            inside.set()
            go_on.wait()

    thread = threading.Thread(target=longer)
    with precision.torch_as_usual():
        thread.start()
        inside.wait()
    assert torch.get_default_dtype() == torch.float32
    go_on.set()
    thread.join()
    assert torch.get_default_dtype() == torch.float64
