"""Forks `python run.py ARGUMENTS` from a process that has imported the packages already.

Of the four seconds of a tiny run three are imports. Each fork is a process of its own, with its own folder,
environment, streams and exit code, and imports unet_exp itself anew. What a fresh interpreter does otherwise
is for tests that start one: the fixture `command`.

A line of JSON on standard input for each: arguments, cwd, environment, printed (a file for both streams). The
answer is its exit code, as subprocess has it.
"""

import importlib
import json
import os
import runpy
import signal
import sys
import warnings
from pathlib import Path
from typing import Any

LIMIT = 240  # seconds after which a process that hangs is ended
PACKAGES = (
    "hydra",
    "matplotlib.backends.backend_agg",
    "matplotlib.figure",
    "PIL.Image",
    "safetensors.torch",
    "scipy.ndimage",
    "tifffile",
    "torch.utils.tensorboard",
    "tqdm",
)
RUN_PY = Path(__file__).resolve().parents[1] / "run.py"


def become(request: dict[str, Any]) -> None:
    """The process that was asked for, in all that a program sees of where it was started."""
    printed = os.open(request["printed"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, stream in ((nothing, 0), (printed, 1), (printed, 2)):
        os.dup2(source, stream)
    os.close(printed)
    os.close(nothing)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["environment"])
    signal.alarm(LIMIT)
    path = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    sys.path[:] = [str(RUN_PY.parent), *path, *sys.path[1:]]
    sys.argv = [str(RUN_PY), *request["arguments"]]


def serve() -> bool:
    """True in each process that was asked for, False at the end of the requests."""
    for line in sys.stdin:
        with warnings.catch_warnings(action="ignore"):  # that numpy has threads
            child = os.fork()
        if child == 0:
            become(json.loads(line))
            return True
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)
    return False


if __name__ == "__main__":
    for package in PACKAGES:
        importlib.import_module(package)
    if serve():
        runpy.run_path(str(RUN_PY), run_name="__main__")
