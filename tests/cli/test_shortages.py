"""Memory, /dev/shm, threads and open files that run out: what is said, by the errors that libraries raise."""

import errno
import subprocess
import sys
from multiprocessing import synchronize
from typing import Any

import numpy as np
import pytest
import torch

from tests.conftest import ROOT
from unet_exp import errors
from unet_exp.errors import DataError, TrainingError

WORKER = "DataLoader worker (pid 12) is killed by signal: "


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            RuntimeError(
                "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate "
                "memory: you tried to allocate 1342177280 bytes. Error code 12"
            ),
            "the memory is full",
        ),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes."), "is full"),
        (
            RuntimeError(
                "Caught RuntimeError in DataLoader worker process 0.\nOriginal Traceback\n"
                "numpy._core._exceptions._ArrayMemoryError: Unable to allocate 10.0 GiB"
            ),
            "is full",
        ),
        (MemoryError(), "the memory is full"),
        (RuntimeError("could not create a primitive"), "is full"),
        (ImportError("libtorch_cpu.so: failed to map segment from shared object"), "is full"),
        (ValueError("Input array could not be made C-contiguous"), "is full"),  # matplotlib, of a picture
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "the memory is full"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "of the GPU is full"),
        (RuntimeError("CUDA error: out of memory"), "the memory of the GPU is full"),
        (RuntimeError("unable to write to file </torch_12_3_0>: No space left on device (28)"), "/dev/shm"),
        (RuntimeError(WORKER + "Bus error. It is possible that"), "/dev/shm"),
        (RuntimeError(WORKER + "Killed. "), "was killed"),
        (RuntimeError("DataLoader worker (pid(s) 12, 13) exited unexpectedly"), "was killed"),
        (RuntimeError("can't start new thread"), "no more threads"),
        (OSError(errno.EMFILE, "Too many open files"), "too many files"),
        (RuntimeError("unable to open </torch_1>: Too many open files (24)"), "too many files"),
    ],
)
def test_what_ran_out_is_said(error: Exception, said: str) -> None:
    for each in (error, chained(error)):
        with pytest.raises(TrainingError, match=said) as caught, errors.in_words("train"):
            raise each
        assert caught.value.do


def chained(error: Exception) -> Exception:
    """As of a file that can't be read for want of memory."""
    outer = DataError("a.tif can't be read")
    outer.__cause__ = error
    return outer


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
        ValueError("x"),
        OSError(errno.ENOSPC, "full"),
        RuntimeError("out of resource: shared memory, Required: 262144"),
        DataError("a.tif can't be read"),
        RuntimeError("could not create a primitive descriptor for a convolution"),
        ImportError("x.so: failed to map segment from shared object: Operation not permitted"),
        RuntimeError(WORKER + "Segmentation fault. "),
    ],
)
def test_other_errors_stay_what_they_are(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, errors.in_words("train"):
        raise error
    assert caught.value is error


def test_numpys_and_torchs_own_words_are_known() -> None:
    for allocate in (lambda: np.zeros((10**9, 10**7)), lambda: torch.zeros(10**9, 10**6)):
        with (
            pytest.raises(TrainingError, match=r": [\d.]+ \w+ more were requested"),
            errors.in_words("train"),
        ):
            allocate()


def test_shared_memory_that_is_not_for_writing() -> None:
    """As SemLock of multiprocessing raises it, which every loading process needs."""
    code = compile("def lock(): raise OSError(30, 'Read-only file system')", synchronize.__file__, "exec")
    space: dict[str, Any] = {}
    exec(code, space)
    with pytest.raises(TrainingError, match="/dev/shm can't be used: Read-only"), errors.in_words("train"):
        space["lock"]()
    with pytest.raises(OSError, match="Read-only"), errors.in_words("train"):
        raise OSError(errno.EROFS, "Read-only file system")


def test_processes_that_end_at_the_exit_raise_nothing() -> None:
    """As torch's handler, which tells of each loading process that died."""
    code = """
import atexit, os, signal, sys, time
from unet_exp.cli.process import end
def tell(*_): raise RuntimeError("a worker died")
signal.signal(signal.SIGCHLD, tell)
@atexit.register
def last():
    child = os.fork()
    if not child: os._exit(1)
    os.waitpid(child, 0)
end(lambda: sys.exit(1))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")
