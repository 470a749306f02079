"""Which precision a device computes natively: measured, not guessed from a name.

A processor without bfloat16 arithmetic computes it all the same, by emulation, several times slower than float32; so do
some GPUs with float16. One convolution and one matrix product, forward and backward, tell: natively they take half of
float32's time (.5 to .6 on a processor with AVX512-BF16), emulated two and a half to fourteen times of it (on the same
processor, kept from using that: `ONEDNN_MAX_CPU_ISA=AVX512_CORE` and `AVX2`).
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import lru_cache

import torch
import torch.nn.functional as F

from .out_of_memory import is_out_of_memory

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}

CPU = torch.device("cpu")
CASTING = ("cpu", "cuda", "mps", "xpu")  # kinds of devices, for torch.autocast
NATIVE = 1.25  # the most of float32's time that counts as native; what is between .6 and 2.5 was never seen
ROUNDS = 4  # the fastest counts
CPU_SIZES, OTHER_SIZES = (1, 64, 48, 512), (4, 256, 128, 4096)  # pictures, channels, side; side of the matrices


class _DefaultDtype:
    """float32 while anybody is within; then what it was before the first. It is one for all threads: what somebody sets
    meanwhile is lost."""

    def __init__(self) -> None:
        self._lock, self._users, self._before = threading.Lock(), 0, None

    def __enter__(self) -> None:
        with self._lock:
            if not self._users:
                self._before = torch.get_default_dtype()
                torch.set_default_dtype(torch.float32)
            self._users += 1

    def __exit__(self, *_) -> None:
        with self._lock:
            self._users -= 1
            if not self._users:
                torch.set_default_dtype(self._before)


_default_dtype = _DefaultDtype()


@contextmanager
def torch_as_usual() -> Iterator[None]:
    """While it lasts, tensors made without a dtype or a device are float32 on the CPU and nothing is cast by itself, as
    torch has it until somebody in the process says otherwise, such as loaders of language models: a key was .23 off
    then, a hint .12, or failed."""
    device = torch.empty(0).device
    with ExitStack() as stack:
        stack.enter_context(_default_dtype)
        if device != CPU:
            stack.enter_context(CPU)
        for kind in filter(_casts, CASTING):
            stack.enter_context(torch.autocast(kind, enabled=False))
        yield


def _casts(kind: str) -> bool:
    """Whether this thread is within torch.autocast for a kind of device."""
    try:
        return torch.is_autocast_enabled(kind)
    except RuntimeError:  # a kind that this torch does not know
        return False
    except TypeError:  # before torch 2.4
        return {"cpu": torch.is_autocast_cpu_enabled, "cuda": torch.is_autocast_enabled}.get(kind, bool)()


@lru_cache
def share_of_float32(dtype: torch.dtype, device: torch.device) -> float:
    """The time that `device` takes in `dtype`, as a share of what it takes in float32; infinity where it cannot.

    On a CPU counted in time of one thread, so that other work on the machine does not matter. Takes a tenth of a
    second, once a process.
    """
    if device.type == "cuda" and dtype == torch.bfloat16 and torch.cuda.get_device_capability(device) < (8, 0):
        return math.inf  # torch emulates it there (`torch.cuda.is_bf16_supported` says so)
    threads = torch.get_num_threads()
    try:
        if device.type == "cpu":
            torch.set_num_threads(1)
        work = {each: _work(each, device) for each in (torch.float32, dtype)}
        seconds = {each: math.inf for each in work}
        for _ in range(ROUNDS + 1):  # the first may compile
            for each, run in work.items():
                seconds[each] = min(seconds[each], _time(run, device))
    except (RuntimeError, TypeError, AssertionError) as error:
        if is_out_of_memory(error):
            raise
        return math.inf
    finally:
        if device.type == "cpu":
            torch.set_num_threads(threads)
    return seconds[dtype] / seconds[torch.float32]


def _work(dtype: torch.dtype, device: torch.device) -> Callable[[], float]:
    """A convolution and a matrix product as a training step has them."""
    count, channels, side, square = CPU_SIZES if device.type == "cpu" else OTHER_SIZES
    image = torch.full((count, channels, side, side), 0.5, device=device).to(memory_format=torch.channels_last)
    kernels = torch.full((channels, channels, 3, 3), 0.5 / channels, device=device)
    left, right = (torch.full((square, square), 0.5, device=device) for _ in range(2))
    learnt = [each.requires_grad_() for each in (image, kernels, right)]

    def run() -> float:
        with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
            loss = F.conv2d(image, kernels, padding=1).float().mean() + (left @ right).float().mean()
        gradients = torch.autograd.grad(loss, learnt)
        return sum(each.flatten()[0].item() for each in gradients)  # waits for a GPU

    return run


def _time(run: Callable[[], float], device: torch.device) -> float:
    clock = time.thread_time if device.type == "cpu" else time.perf_counter
    began = clock()
    run()
    return clock() - began


def is_native(share: float) -> bool:
    """Whether a `share_of_float32` is that of arithmetic which the device has."""
    return share <= NATIVE


def in_words(share: float) -> str:
    """A `share_of_float32` as half a sentence."""
    return "cannot be computed here" if math.isinf(share) else f"takes {share:.2g} of float32's time here"


def for_matting(device: torch.device) -> torch.dtype:
    """float16 on CUDA, unless this GPU is slower in it; float32 elsewhere.

    bfloat16, with its 8 bits, is for training; on a CPU even float16 that is native is not worth a coarser matte.
    """
    if device.type != "cuda":
        return torch.float32
    slow = torch.cuda.is_available() and not is_native(share_of_float32(torch.float16, device))
    return torch.float32 if slow else torch.float16


def pick_dtype(dtype: str | torch.dtype, device: torch.device) -> torch.dtype:
    """What `for_matting` says for "auto"; else what was asked for. ValueError for anything else."""
    if isinstance(dtype, torch.dtype) and dtype in DTYPES.values():
        return dtype
    if dtype == "auto":
        return for_matting(device)
    if dtype not in DTYPES:
        raise ValueError(f"dtype must be auto, {', '.join(DTYPES)}, got '{dtype}'")
    return DTYPES[dtype]
