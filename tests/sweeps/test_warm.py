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
from tests.support import read_csv, table

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
    """Its job goes on, the others run in processes of their own, all to the bits of a sweep left alone."""
    arguments = ["-m", *TINY, "epochs=8", "seed=range(3)"]
    with subprocess.Popen(
        [*command, *arguments, "sweep_dir=sweep"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as sweep:
        while not list(tmp_path.glob("sweep/seed-0-*/checkpoints/last.pt")):
            time.sleep(0.02)
            assert sweep.poll() is None
        (forked,) = running_jobs(tmp_path / "sweep")
        assert parent_of(parent_of(forked)) == sweep.pid
        os.kill(parent_of(forked), signal.SIGKILL)
        printed, _ = sweep.communicate()
    assert sweep.returncode == 0, printed
    assert [row["state"] for row in read_csv(tmp_path / "sweep" / "sweep.csv")] == ["finished"] * 3
    assert not running_jobs(tmp_path / "sweep")
    whole = cli(*arguments, "sweep_dir=whole", cwd=tmp_path)
    assert whole.returncode == 0, whole.stdout
    for job in tmp_path.glob("sweep/seed-*"):
        assert table(job) == table(tmp_path / "whole" / job.name)


def test_a_job_has_the_environment_that_its_launcher_gives(cli: Cli, tmp_path: Path) -> None:
    """Such as a GPU for each: a process forked from one with the environment of another would have that."""
    words = ["hydra/launcher=basic", "+hydra.job.env_set.CUDA_VISIBLE_DEVICES=${hydra.job.num}"]
    done = cli("-m", *TINY, *words, "seed=1,2", "sweep_dir=sweep", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    jobs = sorted(tmp_path.glob("sweep/seed-*"))
    kept = [json.loads((job / "environment.json").read_text())["variables"] for job in jobs]
    assert [one["CUDA_VISIBLE_DEVICES"] for one in kept] == ["0", "1"]


def test_a_sweep_survives_a_parent_that_ignores_its_children(command: list[str], tmp_path: Path) -> None:
    words = [*command, "-m", *TINY, "seed=1,2", "sweep_dir=sweep"]
    program = "import os, signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN);"
    program += "os.execv(sys.argv[1], sys.argv[1:])"
    start = [sys.executable, "-c", program]
    done = subprocess.run([*start, *words], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [row["state"] for row in read_csv(tmp_path / "sweep" / "sweep.csv")] == ["finished"] * 2


def test_a_job_records_its_own_command(cli: Cli, tmp_path: Path) -> None:
    done = cli("-m", *TINY, "seed=1,2", "sweep_dir=sweep", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    for job in tmp_path.glob("sweep/seed-*"):
        environment = json.loads((job / "environment.json").read_text())
        assert environment["command"][1:] == ["--job", str(job)]
