"""The kill harness, a short round of it: benchmarks/kill_resume.py has the long one."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT


@pytest.mark.parametrize(("number", "first"), [("KILL", 1), ("TERM", 2)])
def test_killed_runs_end_like_those_left_alone(number: str, first: int, tmp_path: Path) -> None:
    """Two workers and SIGKILL; no workers, accumulation and SIGTERM."""
    done = subprocess.run(
        [
            sys.executable,
            str(ROOT / "benchmarks" / "kill_resume.py"),
            "--runs",
            "1",
            "--kills",
            "3",
            "--epochs",
            "60",
            "--first",
            str(first),
            "--signal",
            number,
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "| equal |" in done.stdout
    assert "3 kills" in done.stdout
