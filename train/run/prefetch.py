"""Batches drawn ahead of the training step, by one thread."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from typing import TypeVar

import torch

Batch = TypeVar("Batch")
_END = object()


def prefetch(draw: Callable[[int], Batch], steps: range, *, depth: int = 3) -> Iterator[Batch]:
    """Yield `draw(step)` for each step, computed up to `depth` ahead in a thread. An error there is raised here."""
    waiting: queue.Queue = queue.Queue(maxsize=depth)
    stopped = threading.Event()

    def put(item) -> None:
        while not stopped.is_set():
            try:
                return waiting.put(item, timeout=0.2)
            except queue.Full:
                continue

    def work() -> None:
        torch.set_num_threads(1)  # of this thread only: the training step keeps its own
        try:
            for step in steps:
                if stopped.is_set():
                    return
                put(draw(step))
            put(_END)
        except Exception as error:  # handed to the consumer, which raises it
            put(error)

    worker = threading.Thread(target=work, daemon=True, name="prefetch")
    worker.start()
    try:
        while (item := waiting.get()) is not _END:
            if isinstance(item, Exception):
                raise item
            yield item
    finally:
        stopped.set()
        worker.join()
