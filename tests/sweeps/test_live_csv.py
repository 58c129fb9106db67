"""sweep.csv while jobs run: no end of a job is left out until the next one ends."""

from pathlib import Path

import pytest

from tests.support import read_csv
from unet_exp.rundir import atomic, layout
from unet_exp.rundir.sweep_directory import RECORD, Job
from unet_exp.sweeps import results
from unet_exp.sweeps.results import LiveCsv

ENDED = {"state": "finished", "epoch": 2, "best_metric": 0.5, "best_epoch": 1, "seconds": 1.0}


def states(sweep_dir: Path) -> list[str]:
    return [row["state"] for row in read_csv(sweep_dir / "sweep.csv")]


def test_two_ends_within_a_second_are_both_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "EVERY", 60.0)
    jobs = [Job(tmp_path / name, {"seed": name}, "dice", "max", 2, ["seed"]) for name in ("0", "1")]
    for job in jobs:
        job.directory.mkdir()
        atomic.write_json(job.directory / RECORD, job.record())
    table = LiveCsv(tmp_path)
    table.written = -60.0
    for job in jobs:
        atomic.write_json(job.directory / layout.STATUS, ENDED)
        table.ended(job)
        table.refresh()
    assert states(tmp_path) == ["finished", "waiting"]
    table.written -= 60.0
    table.refresh()
    assert states(tmp_path) == ["finished", "finished"]
    written = (tmp_path / "sweep.csv").stat().st_mtime_ns
    table.written -= 60.0
    table.refresh()
    assert (tmp_path / "sweep.csv").stat().st_mtime_ns == written
