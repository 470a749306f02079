"""Iterators and sinks that run ahead of, or behind, the thread that uses them, with bounded queues between; and
what keeps an error from losing the work before it."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")
_END = object()


@contextmanager
def ahead(items: Iterator[T], depth: int) -> Iterator[Iterator[T]]:
    """`items`, produced by a thread that is at most `depth` ahead. What it raises reaches the user of the items; on
    leaving the block the thread has ended and `items` is closed."""
    waiting: queue.Queue = queue.Queue(depth)
    stop = threading.Event()

    def produce() -> None:
        try:
            for item in items:
                if not _put(waiting, (item, None), stop):
                    break
            else:
                _put(waiting, (_END, None), stop)
        except BaseException as error:
            _put(waiting, (_END, error), stop)
        finally:
            close = getattr(items, "close", None)
            if close:
                close()

    def consume() -> Iterator[T]:
        while True:
            item, error = waiting.get()
            if error is not None:
                raise error
            if item is _END:
                return
            yield item

    thread = threading.Thread(target=produce, name="decode", daemon=True)
    thread.start()
    try:
        yield consume()
    finally:
        stop.set()
        thread.join()


def until_error(
    items: Iterator[T], errors: list[BaseException], kinds: tuple[type[BaseException], ...] = (Exception,)
) -> Iterator[T]:
    """`items` up to the error that ends them, which goes into `errors`: to be raised when what came before is done."""
    try:
        yield from items
    except kinds as error:
        errors.append(error)


class Behind:
    """Calls `sink(*arguments)` in a thread, in order, at most `depth` behind. An error of the sink is raised by the
    next `put` or by `close`; `close` waits for what was put, `cancel` only for the call under way."""

    def __init__(self, sink: Callable, depth: int) -> None:
        self._waiting: queue.Queue = queue.Queue(depth)
        self._sink, self._stop = sink, threading.Event()
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="encode", daemon=True)
        self._thread.start()

    def put(self, *arguments) -> None:
        if not _put(self._waiting, arguments, self._stop):
            raise self.error

    def close(self) -> None:
        _put(self._waiting, _END, self._stop)
        self._thread.join()
        if self.error is not None:
            raise self.error

    def cancel(self) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                arguments = self._waiting.get(timeout=0.1)
            except queue.Empty:
                continue
            if arguments is _END:
                return
            try:
                self._sink(*arguments)
            except BaseException as error:
                self.error = error
                self._stop.set()


def _put(waiting: queue.Queue, item, stop: threading.Event) -> bool:
    """Wait for room; False when told to stop."""
    while not stop.is_set():
        try:
            waiting.put(item, timeout=0.1)
            return True
        except queue.Full:
            continue
    return False
