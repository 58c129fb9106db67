"""Jobs that are forked from a process which has imported what they need."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import TINY, Cli
from tests.support import read_csv, state, table

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="jobs are forked on Linux alone")


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def running_jobs(sweep: Path) -> list[int]:
    """The numbers of the processes that print to the log of a job."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            printed = os.readlink(process / "fd" / "1")
        except OSError:  # ended, or of another user
            continue
        if printed.startswith(f"{sweep}/") and printed.endswith("job.log"):
            found.append(int(process.name))
    return found


def test_the_process_that_forks_may_die(cli: Cli, command: list[str], tmp_path: Path) -> None:
    """Its job is lost and said to be, the others run in processes of their own, and to the same bits."""
    arguments = ["-m", *TINY, "epochs=8", "seed=range(3)", "sweep_dir=sweep"]
    with subprocess.Popen(
        [*command, *arguments], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as sweep:
        while not list(tmp_path.glob("sweep/seed-0-*/checkpoints/last.pt")):
            time.sleep(0.02)
            assert sweep.poll() is None
        (forked,) = running_jobs(tmp_path / "sweep")
        assert parent_of(parent_of(forked)) == sweep.pid
        os.kill(parent_of(forked), signal.SIGKILL)
        printed, _ = sweep.communicate()
    assert sweep.returncode == 1, printed
    assert [row["state"] for row in read_csv(tmp_path / "sweep" / "sweep.csv")] == [
        "failed",
        "finished",
        "finished",
    ]
    (first,) = tmp_path.glob("sweep/seed-0-*")
    assert "SIGKILL" in state(first)["error"]
    assert not running_jobs(tmp_path / "sweep")

    done = cli(*arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert "2 done, 1 to continue" in done.stdout
    whole = cli(*arguments[:-1], "sweep_dir=whole", cwd=tmp_path)
    assert whole.returncode == 0, whole.stdout
    for job in tmp_path.glob("sweep/seed-*"):
        assert table(job) == table(tmp_path / "whole" / job.name)


def test_a_job_records_its_own_command(cli: Cli, tmp_path: Path) -> None:
    done = cli("-m", *TINY, "seed=1,2", "sweep_dir=sweep", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    for job in tmp_path.glob("sweep/seed-*"):
        environment = json.loads((job / "environment.json").read_text())
        assert environment["command"][1:] == ["--job", str(job)]
