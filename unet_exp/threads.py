"""Files read by several threads: decoders and hashes leave the interpreter to others."""

import os
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

AHEAD = 4  # files of each thread that are read before their turn

Given = TypeVar("Given")
Found = TypeVar("Found")


def cores() -> int:
    """Those that we may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def in_threads(
    read: Callable[[Given], Found], things: Sequence[Given], threads: int | None = None
) -> Iterator[Iterator[tuple[Given, Future[Found]]]]:
    """Each thing in order with its future, read by as many threads as there are cores."""
    # Readers change the filters of warnings while they open a file. Several at once would not put them back.
    with warnings.catch_warnings(), ThreadPoolExecutor(threads or cores()) as pool:
        try:
            yield in_order(pool, read, things, AHEAD * (threads or cores()))
        finally:
            pool.shutdown(cancel_futures=True)


def in_order(
    pool: ThreadPoolExecutor, read: Callable[[Given], Found], things: Sequence[Given], ahead: int
) -> Iterator[tuple[Given, Future[Found]]]:
    waiting: deque[tuple[Given, Future[Found]]] = deque()
    for thing in things:
        waiting.append((thing, pool.submit(read, thing)))
        if len(waiting) > ahead:
            yield waiting.popleft()
    while waiting:
        yield waiting.popleft()
