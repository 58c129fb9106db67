"""The tests of backends_alone.py, in a process of their own.

OpenVINO leaves threads in the process that uses it, and other tests fork.
"""

import subprocess
import sys

from tests.conftest import ROOT


def test_backends_alone() -> None:
    file = ROOT / "tests" / "inference" / "backends_alone.py"
    command = [sys.executable, "-m", "pytest", "-n", "0", "-p", "no:cacheprovider", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
