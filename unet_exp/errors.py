"""Errors meant for the user: what was given, what is allowed, what to do. Never shown with a traceback."""

import errno
import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager


class UserError(Exception):
    """Something the user can put right.

    what: what was given and why it can't be used; allowed: what would be accepted;
    do: the next thing to type or look at. The last two may be empty.
    """

    def __init__(self, what: str, allowed: str = "", do: str = "") -> None:
        self.what = what
        self.allowed = allowed
        self.do = do
        super().__init__(what, allowed, do)

    def __str__(self) -> str:
        lines = [self.what]
        if self.allowed:
            lines.append(f"  allowed: {self.allowed}")
        if self.do:
            lines.append(f"  to do:   {self.do}")
        return "\n".join(lines)


class ConfigError(UserError):
    """The configuration can't be run."""


class DataError(UserError):
    """Images or labels can't be used as they are."""


class ModelError(UserError):
    """The network can't be built, or can't take this input."""


class CheckpointError(UserError):
    """A run directory or checkpoint can't be read, written or continued."""


class TrainingError(UserError):
    """Training can't go on, for instance because the loss is not a number."""


def first_line(error: BaseException) -> str:
    """The first line of another package's error; its type if it has no text."""
    lines = [line.strip() for line in str(error).splitlines()]
    return next(filter(None, lines), type(error).__name__)


def did_you_mean(given: str, known: list[str]) -> str:
    """'; did you mean 'lr'?' for the nearest known name, or an empty string."""
    import difflib

    near = difflib.get_close_matches(given, known, n=1, cutoff=0.6)
    return f"; did you mean '{near[0]}'?" if near else ""


LESS = (
    "a smaller batch_size (with trainer.accumulate), trainer.val_batch_size=1, transform=crop "
    "transform.train.crop.size=256, or a smaller model.base_channels"
)


HELPS = {
    "train": LESS,
    "autotune": LESS,
    "predict": "smaller tiles: tile=512 batch_size=1 (and probabilities=false)",
    "evaluate": "em=false worst=0, or task=predict, which works in tiles",
}


MORE = "more memory: another machine, a higher limit of the container, or fewer other programs"


NO_MEMORY = (
    "can't allocate memory",
    "not enough memory",
    "Unable to allocate",
    "Cannot allocate memory",
    "std::bad_alloc",
    "could not allocate",
    "MemoryError",
    "could not be made C-contiguous",
    "could not create a primitive\n",
    "could not execute a primitive\n",  # oneDNN
    "failed to map segment from shared object\n",  # a library that is loaded
)


NO_GPU_MEMORY = (
    "CUDA out of memory",
    "CUDA error: out of memory",
    "HIP out of memory",
    "MPS backend out of memory",
    "STATUS_ALLOC_FAILED",
)


NO_SHARED_MEMORY = (
    "shared memory(shm)",
    "out of shared memory",
    "shared memory object",
    "</torch_",
    "Bus error",
)


NO_THREADS = ("can't start new thread",)


NO_FILES = ("Too many open files", "received 0 items of ancdata")


def explained(error: BaseException, task: str) -> TrainingError | None:
    """The error to show if something ran out for torch, numpy, Python or a loading process, else None."""
    less = HELPS.get(task, MORE)
    for explain in (of_files, of_shared_memory, of_memory, of_threads):
        known = explain(error, f"{type(error).__name__}: {error}\n", less)
        if known is not None:
            return known
    if error.__cause__ is None or isinstance(error, TrainingError):
        return None
    return explained(error.__cause__, task)  # such as of a file that can't be read for want of memory


def says(text: str, words: tuple[str, ...]) -> bool:
    return any(word in text for word in words)


def of_files(error: BaseException, text: str, less: str) -> TrainingError | None:
    if says(text, NO_FILES) or getattr(error, "errno", None) in (errno.EMFILE, errno.ENFILE):
        return TrainingError(
            "too many files are open at once", do="run ulimit -n 65536 before, or give num_workers=0"
        )
    return None


def of_shared_memory(error: BaseException, text: str, less: str) -> TrainingError | None:
    is_full = isinstance(error, RuntimeError) and says(text, NO_SHARED_MEMORY)
    if is_full or is_of_processes(error, errno.ENOSPC):
        return TrainingError(
            "/dev/shm is full, the shared memory through which the loading processes pass samples",
            do="num_workers=0, or more of it: docker run --shm-size=8g (or --ipc=host)",
        )
    unusable = (errno.EROFS, errno.EACCES, errno.ENOSYS, errno.ENOENT)
    if any(is_of_processes(error, number, "synchronize.py") for number in unusable):
        return TrainingError(
            f"/dev/shm can't be used: {getattr(error, 'strerror', None) or error}",
            do="num_workers=0, or mount it for writing: mount -t tmpfs tmpfs /dev/shm",
        )
    return None


def of_memory(error: BaseException, text: str, less: str) -> TrainingError | None:
    by_torch = isinstance(error, RuntimeError)
    if by_torch and says(text, NO_GPU_MEMORY):
        return TrainingError("the memory of the GPU is full", do=less)
    if by_torch and "DataLoader worker" in text and says(text, ("Killed", "exited unexpect")):
        return TrainingError(
            "a process that loads samples was killed, most likely because the memory ran out",
            do=f"num_workers=0, or {less}",
        )
    in_words = isinstance(error, (RuntimeError, ValueError, ImportError)) and says(text, NO_MEMORY)
    if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM or in_words:
        return TrainingError(f"the memory is full, or a limit is reached{amount(text)}", do=less)
    return None


def of_threads(error: BaseException, text: str, less: str) -> TrainingError | None:
    refused = isinstance(error, RuntimeError) and says(text, NO_THREADS)
    if refused or is_of_processes(error, errno.EAGAIN):
        return TrainingError(
            "no more threads or processes can be started here",
            do="threads=1 num_workers=0, or a higher limit (ulimit -u, docker run --pids-limit)",
        )
    return None


def pass_on(error: Exception) -> None:
    """Raise the error again if something ran out, since the file that was read is then not at fault."""
    if explained(error, "") is not None:
        raise error


def amount(text: str) -> str:
    """': 1.3 GB more were requested', if torch or numpy give a size."""
    asked = re.search(r"tried to allocate (\d+) bytes", text)
    if asked:
        return f": {int(asked[1]) / 1e9:.1f} GB more were requested"
    asked = re.search(r"Unable to allocate ([\d.]+ \w+)", text)
    return f": {asked[1]} more were requested" if asked else ""


def is_of_processes(error: BaseException, number: int, last: str = "") -> bool:
    """Whether the system refused a new process, or memory that processes share, with this errno.

    last: the file of multiprocessing in which it has to be raised, where not any will do.
    """
    if not isinstance(error, OSError) or error.errno != number:
        return False
    files = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
    if last:
        return files[-1].endswith(f"multiprocessing/{last}")
    return any("multiprocessing" in file or file.endswith("subprocess.py") for file in files)


@contextmanager
def in_words(task: str) -> Iterator[None]:
    """Inside, running out of something raises TrainingError. task: train, or the verb that runs."""
    try:
        yield
    except Exception as error:
        known = explained(error, task)
        if known is None:
            raise
        raise known from error
