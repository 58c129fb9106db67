"""The table of a sweep in a terminal of 24 lines."""

import json
import os
import time
from pathlib import Path

import pytest

from unet_exp.rundir.sweep_directory import Job
from unet_exp.sweeps.live_table import LiveTable


def make_jobs(directory: Path, num_done: int, num_jobs: int) -> list[Job]:
    """The done ones ended in their order."""
    jobs = [Job(directory / f"seed-{i}", {}, "dice", "max", 50) for i in range(num_jobs)]
    for number, job in enumerate(jobs):
        job.directory.mkdir()
        status = {"state": "finished", "epoch": 50, "best_metric": 0.5, "best_epoch": 3, "seconds": 9}
        if number < num_done:
            (job.directory / "status.json").write_text(json.dumps(status))
            os.utime(job.directory / "status.json", (number, number))
    return jobs


@pytest.mark.parametrize(
    ("num_done", "num_jobs", "rows"),
    [
        (30, 60, [30, 31, *range(32, 37), *range(29, 16, -1)]),
        (3, 60, [3, 4, *range(5, 20), 2, 1, 0]),
        (3, 6, [3, 4, 5, 2, 1, 0]),
    ],
)
def test_the_table_shows_what_runs_comes_next_and_ended_last(
    num_done: int,
    num_jobs: int,
    rows: list[int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "24")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    jobs = make_jobs(tmp_path, num_done, num_jobs)
    running = jobs[num_done : num_done + 2]
    table = LiveTable(jobs)
    table.refresh({job.name: time.monotonic() for job in running}, jobs[num_done + 2 :])
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == ["job", "epoch", "best", "state", "left"]
    if num_jobs > len(rows):
        assert lines.pop() == f"60 jobs: 2 running, {58 - num_done} to come, {num_done} done"
    assert [line.split()[0] for line in lines] == [f"seed-{row}" for row in rows]
    states = [line.split()[-1] for line in lines]
    num_next = len(rows) - 2 - states.count("finished")
    assert states == ["running"] * 2 + ["next"] * num_next + ["finished"] * states.count("finished")
    assert len(lines) < 24
    assert all(len(line) < 80 for line in lines)
