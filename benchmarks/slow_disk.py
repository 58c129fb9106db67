"""Run a program on a disk whose flushes and renames take SLOW_DISK seconds: python slow_disk.py run.py ...

A kill at a random moment then often falls inside a save. The program itself is not changed.
"""

import os
import runpy
import sys
import time
from typing import Any

SECONDS = float(os.environ["SLOW_DISK"])
fsync, replace = os.fsync, os.replace


def slow_fsync(handle: int) -> None:
    time.sleep(SECONDS)
    fsync(handle)


def slow_replace(*arguments: Any) -> None:
    time.sleep(SECONDS)
    replace(*arguments)


os.fsync, os.replace = slow_fsync, slow_replace  # type: ignore[assignment]
sys.argv[:] = sys.argv[1:]
sys.path.insert(0, os.path.dirname(os.path.abspath(sys.argv[0])))
runpy.run_path(sys.argv[0], run_name="__main__")
