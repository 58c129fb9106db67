"""Several small images at a time: threads that share the cores, and the images in their order."""

import os
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch

from unet_exp.inference.inputs import Job

MOST = 4
LARGE_FILE = 1 << 23  # bytes; its image is not read before its turn, for the memory


@contextmanager
def pool_of(workers: int, threads: int) -> Iterator[ThreadPoolExecutor]:
    """Workers whose torch computes in so many threads. After an error, what has not begun is dropped."""
    before = torch.get_num_threads()
    pool = ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(threads,))
    with warnings.catch_warnings():  # as in threads.in_threads
        try:
            yield pool
        finally:
            pool.shutdown(cancel_futures=True)
            torch.set_num_threads(before)  # for threads that start later


def submitted(
    pool: ThreadPoolExecutor, task: Callable[[Job], Any], jobs: list[Job], ahead: int
) -> Iterator[tuple[Job, Future[Any] | None]]:
    """Each job in order with its task, started before; without one where the file is large."""
    waiting: deque[tuple[Job, Future[Any] | None]] = deque()
    for job in jobs:
        waiting.append((job, None if is_large(job.path) else pool.submit(task, job)))
        if len(waiting) > ahead:
            yield waiting.popleft()
    yield from waiting


def is_large(path: Path) -> bool:
    with suppress(OSError):  # which opening it will tell
        return os.path.getsize(path) > LARGE_FILE
    return False
