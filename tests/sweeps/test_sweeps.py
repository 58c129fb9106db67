"""Sweeps: one process for each job, failures alone, the same command again, and what was found."""

import csv
import json
import os
import signal
import statistics
import subprocess
import time
from pathlib import Path

import pytest

from tests.conftest import TINY, Cli, hear_hangups
from tests.support import state
from unet_exp.rundir.sweep_directory import RECORD, by_number, read_jobs
from unet_exp.sweeps.plan import slug_of

SABOTEUR = """
import os, signal, pathlib

class Saboteur:
    def __init__(self, seed):
        self.seed, self.calls = seed, 0
        pathlib.Path(f"gpu_{seed}").write_text(os.environ["CUDA_VISIBLE_DEVICES"])

    def __call__(self, sample, rng):
        self.calls += 1
        if self.calls == 14 and pathlib.Path("broken").exists():
            if self.seed == 1:
                raise RuntimeError("out of luck")
            if self.seed == 3:
                os._exit(1)
            if self.seed == 5:
                os.kill(os.getpid(), signal.SIGKILL)
        return sample
"""
SABOTAGE = ["transform.train.flip._target_=saboteur.Saboteur", "+transform.train.flip.seed=${seed}"]
CHOOSE = "trainer.choose_threshold=v_rand"
EXACT = ("metrics.csv", "steps.csv")


def rows(sweep: Path) -> list[dict[str, str]]:
    with open(sweep / "sweep.csv", newline="") as file:
        return list(csv.DictReader(file))


def without_clocks(sweep: Path) -> list[dict[str, str]]:
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows(sweep)]


@pytest.fixture(scope="module")
def small_sweep(cli: Cli, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Four jobs, two at a time: the directory in which it was started and what was printed. Read only."""
    start = tmp_path_factory.mktemp("sweep")
    done = cli("-m", *TINY, "lr=1e-3,1e-2", "seed=0,1", "n_jobs=2", CHOOSE, "sweep_dir=a sweep", cwd=start)
    assert done.returncode == 0, done.stdout
    return start, done.stdout


def test_failed_jobs_cost_themselves_and_run_again(cli: Cli, command: list[str], tmp_path: Path) -> None:
    """Six jobs, three of them sabotaged; again; and beside it a sweep whose parent is killed on the way."""
    (tmp_path / "saboteur.py").write_text(SABOTEUR)
    own = {"UNET_EXP_ALLOW": "saboteur", "PYTHONPATH": str(tmp_path)}
    arguments = ["-m", *TINY, "epochs=6", "seed=range(6)", *SABOTAGE, "gpus=[3,4]"]
    (tmp_path / "broken").touch()
    done = cli(*arguments, "sweep_dir=sweep", cwd=tmp_path, **own)
    assert done.returncode == 1, done.stdout
    found = rows(tmp_path / "sweep")
    assert [row["state"] for row in found] == ["finished", "failed"] * 3
    reasons = ["out of luck", "exit code 1", "SIGKILL"]
    assert all(reason in row["reason"] for reason, row in zip(reasons, found[1::2], strict=True))
    assert all((tmp_path / "sweep" / row["log"]).exists() for row in found)
    assert "3 of 6 jobs did not finish" in done.stdout
    seen = {(tmp_path / f"gpu_{seed}").read_text() for seed in range(6)}
    assert seen == {"3", "4"}  # one for each of the two slots
    finished = {row["job"]: (tmp_path / "sweep" / row["job"] / "status.json").stat() for row in found[::2]}

    (tmp_path / "broken").unlink()
    done = cli(*arguments, "sweep_dir=sweep", cwd=tmp_path, **own)
    assert done.returncode == 0, done.stdout
    assert "3 done, 3 to continue" in done.stdout
    assert {job: (tmp_path / "sweep" / job / "status.json").stat() for job in finished} == finished
    for row in found[1::2]:
        log = (tmp_path / "sweep" / row["log"]).read_text()
        assert "continuing after step" in log

    with subprocess.Popen(
        [*command, *arguments, "sweep_dir=killed"],
        cwd=tmp_path,
        env={**os.environ, **own},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as parent:
        while not list(tmp_path.glob("killed/seed-2*/checkpoints/last.pt")):
            time.sleep(0.02)
            assert parent.poll() is None
        parent.kill()
    done = cli(*arguments, "sweep_dir=killed", cwd=tmp_path, **own)
    assert done.returncode == 0, done.stdout
    assert "0 done" not in done.stdout
    assert without_clocks(tmp_path / "killed") == without_clocks(tmp_path / "sweep")
    for row in rows(tmp_path / "sweep"):
        for name in EXACT:
            pair = [(tmp_path / sweep / row["job"] / name).read_bytes() for sweep in ("sweep", "killed")]
            assert pair[0] == pair[1], (row["job"], name)


def test_a_job_is_the_run_of_its_overrides(cli: Cli, small_sweep: tuple[Path, str], tmp_path: Path) -> None:
    (job,) = (small_sweep[0] / "a sweep").glob("lr-0.01_seed-1-*")
    done = cli(*TINY, "lr=1e-2", "seed=1", "hydra.run.dir=alone", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    for name in EXACT:
        assert (job / name).read_bytes() == (tmp_path / "alone" / name).read_bytes()
    assert state(job)["best_metric"] == state(tmp_path / "alone")["best_metric"]


def test_the_ranking_takes_seeds_together(small_sweep: tuple[Path, str]) -> None:
    start, printed = small_sweep
    found = rows(start / "a sweep")
    means = {lr: sum(float(row["best"]) for row in found if row["lr"] == lr) / 2 for lr in ("0.001", "0.01")}
    lines = [line.split() for line in printed.splitlines()]
    head = lines.index(
        ["rank", "lr", "dice", "sd", "95", "%", "interval", "n", "v_rand_tta", "v_info_tta", "seconds"]
    )
    order = sorted(means, key=lambda lr: -means[lr])
    assert [line[1:3] for line in lines[head + 1 : head + 3]] == [[lr, f"{means[lr]:.4f}"] for lr in order]
    assert [line[6] for line in lines[head + 1 : head + 3]] == ["2", "2"]
    for row in found:  # what each job scored at its own threshold, and over the seeds in ranking.csv
        assert float(row["v_rand_tta"]) == state(start / "a sweep" / row["job"])["scores"]["v_rand_tta"]
    with open(start / "a sweep" / "ranking.csv", newline="") as file:
        ranked = list(csv.DictReader(file))
    assert [row["lr"] for row in ranked] == order
    for row in ranked:
        scores = [float(job["v_info"]) for job in found if job["lr"] == row["lr"]]
        assert float(row["v_info"]) == pytest.approx(statistics.mean(scores), abs=1e-4)
        assert float(row["v_info_sd"]) == pytest.approx(statistics.stdev(scores), abs=1e-4)
        assert (row["jobs"], row["dice"]) == ("2", f"{means[row['lr']]:.4f}")
    assert (start / "a sweep" / "sweep.png").read_bytes().startswith(b"\x89PNG")
    best = max((row for row in found if row["lr"] == order[0]), key=lambda row: float(row["best"]))
    assert f"from_run='a sweep/{best['job']}'" in printed
    assert max(map(len, printed.splitlines()[:6])) <= 80


def test_more_values_meet_the_same_jobs(cli: Cli, small_sweep: tuple[Path, str], tmp_path: Path) -> None:
    """Only what is missing is run; another spelling of a number, or an axis less, is the same job."""
    subprocess.run(["cp", "-r", str(small_sweep[0] / "a sweep"), str(tmp_path / "again")], check=True)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "again").glob("*/metrics.csv")}
    done = cli("-m", *TINY, "lr=0.001,0.010,1.0", "seed=0", CHOOSE, "sweep_dir=again", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert "3 jobs in again: 2 done, 0 to continue, 1 to start" in done.stdout
    assert {path: path.stat().st_mtime_ns for path in before} == before
    shown = cli("task=summary", "sweep_dir=again", cwd=tmp_path)
    assert shown.returncode == 0
    assert shown.stdout.strip() in done.stdout
    refused = cli("task=summary", "sweep_dir=.", cwd=tmp_path)
    assert (refused.returncode, "no jobs of a sweep" in refused.stdout) == (1, True)


def test_all_jobs_are_checked_before_the_first_starts(cli: Cli, tmp_path: Path) -> None:
    done = cli("-m", *TINY, "lr=1e-3", "batch_size=4,0", cwd=tmp_path)
    assert done.returncode == 1
    assert "batch_size is 0" in done.stdout
    assert "no job was started" in done.stdout
    assert not (tmp_path / "multirun").exists()


def test_a_job_over_its_time_and_fail_fast(cli: Cli, tmp_path: Path) -> None:
    arguments = ["-m", *TINY, "epochs=100000", "seed=0,1,2", "job_minutes=0.1", "fail_fast=true"]
    done = cli(*arguments, "sweep_dir=sweep", cwd=tmp_path)
    assert done.returncode == 1
    found = rows(tmp_path / "sweep")
    assert [row["state"] for row in found] == ["failed", "waiting", "waiting"]
    assert "job_minutes=0.1" in found[0]["reason"]


def test_a_signal_leaves_a_sweep_that_goes_on(command: list[str], tmp_path: Path) -> None:
    arguments = ["-m", *TINY, "epochs=100000", "seed=0,1", "sweep_dir=sweep"]
    parent = subprocess.Popen(
        [*command, *arguments],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=hear_hangups,
    )
    try:
        while not list(tmp_path.glob("sweep/*/checkpoints/last.pt")):
            time.sleep(0.02)
        for _ in range(2):  # a shell that goes sends it, then the system
            parent.send_signal(signal.SIGHUP)
        printed, _ = parent.communicate(timeout=120)
    finally:
        parent.kill()
    assert parent.returncode == 129, printed
    assert "the same command continues the sweep" in printed
    assert [row["state"] for row in rows(tmp_path / "sweep")] == ["interrupted", "waiting"]
    assert "Traceback" not in printed


def test_a_sweep_whose_reader_goes_away_goes_on(command: list[str], tmp_path: Path) -> None:
    arguments = ["-m", *TINY, "epochs=1", "seed=0,1", "n_jobs=2", "sweep_dir=sweep"]
    with subprocess.Popen([*command, *arguments], cwd=tmp_path, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert b"2 jobs in sweep" in parent.stdout.readline()
        parent.stdout.close()
        assert parent.wait(120) == 0
    assert [row["state"] for row in rows(tmp_path / "sweep")] == ["finished"] * 2


@pytest.mark.parametrize(
    ("arguments", "jobs"),
    [
        (["sweep=lr_batch"], 9),
        (["sweep=lr_batch", "lr=5e-3"], 3),
        (["sweep=seeds"], 5),
        (["sweep=folds"], 5),
        (["sweep=augment"], 4),
        (["sweep=ablation"], 39),
        (["sweep=ablation_folds"], 9),
        (["-m", "points=[{lr:1e-3,batch_size:4},{lr:1e-4,batch_size:8}]", "seed=range(2)"], 4),
        (["-m", "points={one:{lr:1e-3},two:{lr:1e-4}}", "seed=range(2)"], 4),
        (["-m", "model=glob(unet_*)", "optimizer=adam,sgd"], 4),
    ],
)
def test_axes_become_jobs(arguments: list[str], jobs: int, cli: Cli, tmp_path: Path) -> None:
    """From any directory; the check of the last job stops the sweep before it starts anything."""
    done = cli(*arguments, "data.root=nowhere", "data=image_folder", "trainer.monitor=nothing", cwd=tmp_path)
    assert done.returncode == 1, done.stdout
    words = next(line for line in done.stdout.splitlines() if line.startswith("    in "))
    more = words.partition(" and ")[2].partition(" more")[0]
    assert len(words.split("; ")) + int(more or 0) == jobs, done.stdout


def test_names_of_points_stand_for_their_keys(cli: Cli, tmp_path: Path) -> None:
    """Also where their jobs were done before the points had names."""
    done = cli("-m", *TINY, "points=[{lr:1e-3,batch_size:2}]", "sweep_dir=sweep", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    named = "points={slow: {lr:1e-3,batch_size:2}, fast: {lr:1e-2,batch_size:2}}"
    done = cli("-m", *TINY, named, "sweep_dir=sweep", cwd=tmp_path)
    assert "2 jobs in sweep: 1 done, 0 to continue, 1 to start" in done.stdout
    found = {row["point"]: row["job"] for row in rows(tmp_path / "sweep")}
    assert set(found) == {"slow", "fast"}
    assert found["fast"].startswith("point-fast-")
    assert not {"lr", "batch_size"} & set(rows(tmp_path / "sweep")[0])
    assert (tmp_path / "sweep/sweep.png").read_bytes().startswith(b"\x89PNG")


def test_settings_are_drawn_in_the_order_of_their_numbers() -> None:
    places = [("10 + c", "0.5"), ("8 + SGD", "2"), ("9 + b", "1"), ("8 + SGD", "10")]
    ordered = sorted(places, key=lambda place: by_number(" ".join(place)))
    assert ordered == [places[1], places[3], places[2], places[0]]


def test_jobs_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    """Not as text, where seed 10 comes before seed 2 and 0.001 before 1e-05."""
    record = {"overrides": {}, "axes": [], "monitor": "dice", "mode": "max", "epochs": 1}
    ordered = ["lr-1e-05_seed-2-ab", "lr-0.001_seed-2-0c", "lr-0.001_seed-10-0a", "lr-0.01_seed-1-9e9"]
    for name in ordered:
        (tmp_path / name).mkdir()
        (tmp_path / name / RECORD).write_text(json.dumps(record))
    assert [job.name for job in read_jobs(tmp_path)] == ordered


def test_a_point_with_a_base_is_the_job_of_one_written_out(cli: Cli, tmp_path: Path) -> None:
    whole = "points={slow: {lr: 1e-3, batch_size: 2}, fast: {lr: 1e-2, batch_size: 2}}"
    delta = "points={slow: {lr: 1e-3, batch_size: 2}, fast: {base: slow, lr: 1e-2}}"
    done = cli("-m", *TINY, whole, "epochs=1", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    (sweep,) = (tmp_path / "multirun").iterdir()
    done = cli("-m", *TINY, delta, "epochs=1", cwd=tmp_path)
    assert f"2 jobs in multirun/{sweep.name}: 2 done, 0 to continue, 0 to start" in done.stdout
    done = cli("-m", *TINY, "points={slow: {base: fast}, fast: {lr: 1e-2}}", cwd=tmp_path)
    assert done.returncode == 1
    assert "the base of slow is fast" in done.stdout
    assert "allowed: a point above it" in done.stdout


def test_what_is_typed_beside_named_points_stays_an_axis(cli: Cli, tmp_path: Path) -> None:
    """Else two learning rates would be taken for repeats of one setting."""
    named = "points={slow: {lr: 1e-3, batch_size: 2}, fast: {lr: 1e-2, batch_size: 3}}"
    done = cli("-m", *TINY, "epochs=1", named, "lr=1e-3,1e-2", "sweep_dir=sweep", "n_jobs=2", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    found = {(row["point"], row["lr"]) for row in rows(tmp_path / "sweep")}
    assert found == {(point, lr) for point in ("slow", "fast") for lr in ("0.001", "0.01")}
    done = cli("-m", "points={slow: 3}", cwd=tmp_path)
    assert (done.returncode, "Traceback" in done.stdout) == (1, False)
    assert "points is {'slow': 3}" in done.stdout


def test_settings_of_sweeps_belong_to_sweeps(cli: Cli, tmp_path: Path) -> None:
    done = cli("n_jobs=2", cwd=tmp_path)
    assert (done.returncode, "add -m" in done.stdout) == (1, True)
    done = cli("-m", "lr=1e-3", "n_jobs=2", "hydra/launcher=submitit_local", cwd=tmp_path)
    assert (done.returncode, "has other settings" in done.stdout) == (1, True)
    done = cli("-m", "lr=1e-3", "n_jobs=zero", cwd=tmp_path)
    assert (done.returncode, "n_jobs is 'zero'" in done.stdout) == (1, True), done.stdout


def test_slugs_hold_only_what_every_file_system_takes() -> None:
    assert slug_of({"lr": "0.001", "model.depth": "3"}) == "lr-0.001_depth-3"
    assert slug_of({"data.root": "/a b/ü:*"}) == "root-a-b"
    assert slug_of({"a.x": "1", "b.x": "2"}) == "a.x-1_b.x-2"
    assert len(slug_of({"lr": "1" * 300})) <= 80


def test_hparams_of_the_jobs_are_in_tensorboard(small_sweep: tuple[Path, str]) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    seen = set()
    for events in (small_sweep[0] / "a sweep").glob("*/tensorboard/val"):
        accumulator = EventAccumulator(str(events))
        accumulator.Reload()
        content = accumulator.summary_metadata["_hparams_/session_start_info"].plugin_data.content
        seen.add(content)
    assert len(seen) == 4


def test_a_search_prunes_stops_and_goes_on(cli: Cli, tmp_path: Path) -> None:
    """n_trials counts all starts together; the second start repeats nothing."""
    pruning = ["hydra.sweeper.pruner_options={n_startup_trials:1,n_warmup_steps:1}"]
    arguments = ["sweep=tune", *TINY, "epochs=5", "batch_size=2", "model.depth=2", "optimizer=adam", *pruning]
    done = cli(*arguments, "lr=tag(log,interval(1e-5,1e-1))", "n_trials=3", "n_jobs=2", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    sweep = tmp_path / "multirun" / "tune"
    first = {row["job"]: row["state"] for row in rows(sweep)}
    assert len(first) == 3
    done = cli(*arguments, "lr=tag(log,interval(1e-5,1e-1))", "n_trials=6", "n_jobs=2", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert "6 trials in multirun/tune: 3 done" in done.stdout
    found = rows(sweep)
    assert len(found) == 6
    assert {row["job"]: row["state"] for row in found if row["job"] in first} == first
    assert {row["state"] for row in found} == {"finished", "pruned"}
    pruned = [row for row in found if row["state"] == "pruned"]
    assert all("MedianPruner" in row["reason"] and int(row["epoch"]) < 5 for row in pruned)
    assert (sweep / "search.png").exists()


def test_ray_gives_the_same_jobs(cli: Cli, small_sweep: tuple[Path, str], tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="needs the extra [ray], in an environment of its own: CONTRIBUTING.md")
    same_jobs("ray", cli, small_sweep, tmp_path)


def test_submitit_gives_the_same_jobs(cli: Cli, small_sweep: tuple[Path, str], tmp_path: Path) -> None:
    same_jobs("submitit_local", cli, small_sweep, tmp_path)


def same_jobs(launcher: str, cli: Cli, small_sweep: tuple[Path, str], start: Path) -> None:
    arguments = [
        "-m",
        *TINY,
        "lr=1e-3,1e-2",
        "seed=0,1",
        CHOOSE,
        f"hydra/launcher={launcher}",
        "sweep_dir=sweep",
    ]
    done = cli(*arguments, cwd=start)
    assert done.returncode == 0, done.stdout
    assert without_clocks(start / "sweep") == without_clocks(small_sweep[0] / "a sweep")
    for row in rows(start / "sweep"):
        for name in EXACT:
            ours = (small_sweep[0] / "a sweep" / row["job"] / name).read_bytes()
            assert (start / "sweep" / row["job"] / name).read_bytes() == ours
    again = cli(*arguments, cwd=start)
    assert "4 done" in again.stdout, again.stdout
