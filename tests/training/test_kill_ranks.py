"""Signals to the processes of a run on several devices: nothing survives, nothing is lost, it resumes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT, Cli
from tests.support import table

pytestmark = pytest.mark.default_size
ARGUMENTS = [
    "data.size=32",
    "data.split.train=7",
    "data.split.val=3",
    "data.split.test=0",
    "model.depth=2",
    "model.base_channels=4",
    "model.norm=group",
    "batch_size=2",
    "threads=1",
    "device=cpu",
    "trainer.devices=2",
    "num_workers=1",
]
EPOCHS = 60
SAVE_SECONDS = 20  # longer than rank 0 waits for the end of another rank
# run.py with a disk that takes SAVE_SECONDS for last.pt, and says when it begins.
SLOW_DISK = f"""
import runpy, sys, time
from pathlib import Path
from unet_exp.rundir import atomic

write = atomic.write_bytes

def write_slowly(path, content):
    if path.name == "last.pt":
        Path("saving").touch()
        time.sleep({SAVE_SECONDS})
    write(path, content)

atomic.write_bytes = write_slowly
sys.argv[0] = {str(ROOT / "run.py")!r}
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(scope="module")
def straight(cli: Cli, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that nobody disturbs."""
    start = tmp_path_factory.mktemp("straight")
    done = cli(*ARGUMENTS, f"epochs={EPOCHS}", "hydra.run.dir=run", cwd=start)
    assert done.returncode == 0, done.stdout
    return start / "run"


def start(command: list[str], cwd: Path, *more: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [*command, *ARGUMENTS, f"epochs={EPOCHS}", *more],
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def processes_in(folder: Path) -> dict[int, str]:
    """The processes that were started in this folder, each with its rank, "" for one that has none."""
    found = {}
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdecimal() and os.readlink(entry / "cwd") == str(folder):
                variables = (entry / "environ").read_bytes().decode(errors="replace").split("\0")
                ranks = [text.partition("=")[2] for text in variables if text.startswith("UNET_EXP_RANK=")]
                found[int(entry.name)] = ranks[0].partition(" ")[0] if ranks else ""
        except OSError:  # it has ended
            continue
    return found


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 120
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} does not come"
        time.sleep(0.01)


def all_gone(folder: Path) -> bool:
    deadline = time.monotonic() + 60
    while processes_in(folder) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not processes_in(folder)


def goes_on_like(straight: Path, run_dir: Path, cli: Cli) -> None:
    assert len(table(run_dir)[1]) < len(table(straight)[1])
    done = cli(f"resume={run_dir}", cwd=run_dir.parent)
    assert done.returncode == 0, done.stdout
    assert table(run_dir) == table(straight)


@pytest.mark.parametrize("rank", ["0", "1"])
def test_a_killed_rank_leaves_nothing_and_the_run_goes_on(
    rank: str, straight: Path, command: list[str], cli: Cli, tmp_path: Path
) -> None:
    """Rank 0 is the process that the user started, and which started the other."""
    process = start(command, tmp_path, "hydra.run.dir=run")
    wait_for(tmp_path / "run" / "checkpoints" / "last.pt")
    victims = [number for number, its_rank in processes_in(tmp_path).items() if its_rank == "1"]
    os.kill(process.pid if rank == "0" else victims[0], signal.SIGKILL)
    printed, _ = process.communicate(timeout=120)
    assert process.returncode == (-signal.SIGKILL if rank == "0" else 1), printed
    assert all_gone(tmp_path)
    goes_on_like(straight, tmp_path / "run", cli)


def test_a_long_save_survives_ctrl_c(straight: Path, cli: Cli, tmp_path: Path) -> None:
    process = start([sys.executable, "-c", SLOW_DISK], tmp_path, "hydra.run.dir=run")
    wait_for(tmp_path / "saving")
    os.killpg(process.pid, signal.SIGINT)
    printed, _ = process.communicate(timeout=300)
    assert process.returncode == 130, printed
    assert all_gone(tmp_path)
    assert json.loads((tmp_path / "run" / "status.json").read_text())["state"] == "interrupted"
    assert (tmp_path / "run" / "checkpoints" / "last.pt").exists()
    goes_on_like(straight, tmp_path / "run", cli)


def test_a_killed_rank_of_a_sweeps_job_costs_that_job_alone(
    straight: Path, command: list[str], tmp_path: Path
) -> None:
    sweep = ["-m", "seed=0", "hydra.sweep.dir=sweep"]
    process = start(command, tmp_path, *sweep)
    while not list((tmp_path / "sweep").glob("*/checkpoints/last.pt")):
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.01)
    victims = [number for number, rank in processes_in(tmp_path).items() if rank == "1"]
    os.kill(victims[0], signal.SIGKILL)
    printed, _ = process.communicate(timeout=120)
    assert process.returncode == 1, printed
    assert "1 of 1 job did not finish" in printed
    assert "rank 1 ended" in printed
    assert all_gone(tmp_path)
    process = start(command, tmp_path, *sweep)
    printed, _ = process.communicate(timeout=300)
    assert process.returncode == 0, printed
    (job,) = (tmp_path / "sweep").glob("*/checkpoints")
    assert table(job.parent) == table(straight)
