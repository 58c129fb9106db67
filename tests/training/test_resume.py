"""Stopping and going on: the result of a run does not depend on where it was cut."""

import json
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.conftest import TINY, Cli
from tests.support import rows, table, weights
from unet_exp.errors import CheckpointError
from unet_exp.training.announce import say_from_the_start

Run = tuple[Path, str]
LONG = [
    *TINY,
    "batch_size=2",
    "epochs=24",
    "model.dropout=0.2",
    "trainer.ema_decay=0.9",
    "optimizer=adamw",
    "scheduler=onecycle",
    "hydra.run.dir=run",
]


@pytest.fixture(scope="module")
def straight(cli: Cli, tmp_path_factory: pytest.TempPathFactory) -> Path:
    start = tmp_path_factory.mktemp("straight")
    done = cli(*LONG, cwd=start)
    assert done.returncode == 0, done.stdout
    return start / "run"


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_run_continues_to_the_same_bits(
    sent: signal.Signals, code: int, straight: Path, command: list[str], cli: Cli, tmp_path: Path
) -> None:
    process = subprocess.Popen(
        [*command, *LONG], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    deadline = time.monotonic() + 120
    while not (tmp_path / "run" / "checkpoints" / "last.pt").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(sent)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == code, printed
    assert "continue: python" in printed
    assert "Traceback" not in printed
    status = json.loads((tmp_path / "run" / "status.json").read_text())
    assert status["state"] == "interrupted"
    assert status["epoch"] < 24

    done = cli("resume=run", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert table(tmp_path / "run") == table(straight)
    expected, found = weights(straight), weights(tmp_path / "run")
    assert all(torch.equal(tensor, found[name]) for name, tensor in expected.items())
    assert json.loads((tmp_path / "run" / "status.json").read_text())["state"] == "finished"
    accumulator = EventAccumulator(str(tmp_path / "run" / "tensorboard" / "train"))
    accumulator.Reload()
    assert [event.step for event in accumulator.Scalars("loss")] == list(range(1, 25))


def test_a_killed_run_continues_from_its_last_checkpoint(
    straight: Path, command: list[str], cli: Cli, tmp_path: Path
) -> None:
    process = subprocess.Popen([*command, *LONG], cwd=tmp_path, stdout=subprocess.DEVNULL)
    while not (tmp_path / "run" / "checkpoints" / "last.pt").exists():
        time.sleep(0.02)
    time.sleep(0.3)
    process.kill()
    process.wait()
    done = cli("resume=run", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert table(tmp_path / "run") == table(straight)
    assert all(torch.equal(v, weights(tmp_path / "run")[k]) for k, v in weights(straight).items())


def test_a_finished_run_has_nothing_to_continue(cli: Cli, finished_run: Run, tmp_path: Path) -> None:
    before = (finished_run[0] / "metrics.csv").read_bytes()
    done = cli(f"resume={finished_run[0]}", cwd=tmp_path)
    assert done.returncode == 0
    assert "is finished" in done.stdout
    assert (finished_run[0] / "metrics.csv").read_bytes() == before
    assert list(tmp_path.iterdir()) == []


def test_more_epochs_extend_a_finished_run(cli: Cli, finished_run: Run, tmp_path: Path) -> None:
    shutil.copytree(finished_run[0], tmp_path / "run")
    done = cli("resume=run", "epochs=6", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert [row["epoch"] for row in rows(tmp_path / "run") if row["split"] == "val"] == list("123456")
    assert rows(tmp_path / "run")[:8] == rows(finished_run[0])
    assert "resume" not in (tmp_path / "run" / ".hydra" / "overrides.yaml").read_text()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("model.base_channels=8", "model.base_channels was 4 and can't become 8"),
        ("seed=1", "seed was 0 and can't become 1"),
        ("data.size=64", "data.size was 32 and can't become 64"),
    ],
)
def test_what_must_stay_is_refused(
    change: str, expected: str, cli: Cli, finished_run: Run, tmp_path: Path
) -> None:
    before = (finished_run[0] / "status.json").read_bytes()
    done = cli(f"resume={finished_run[0]}", "epochs=9", change, cwd=tmp_path)
    assert done.returncode == 1
    assert expected in done.stdout
    assert "Traceback" not in done.stdout
    assert (finished_run[0] / "status.json").read_bytes() == before


def test_weights_of_another_model_are_listed(cli: Cli, finished_run: Run, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    shutil.copytree(finished_run[0], run_dir)
    config = run_dir / ".hydra" / "config.yaml"
    config.write_text(config.read_text().replace("depth: 2", "depth: 3"))
    done = cli("resume=run", "epochs=5", cwd=tmp_path)
    assert done.returncode == 1
    assert "is of another model" in done.stdout
    assert "missing: down.2.1.0.weight" in done.stdout
    assert "Traceback" not in done.stdout


@pytest.mark.parametrize("damage", ["empty", "truncated", "flipped", "missing"])
def test_a_damaged_checkpoint_is_named_and_the_newest_whole_one_used(
    damage: str, cli: Cli, finished_run: Run, tmp_path: Path
) -> None:
    """epoch_0003.pt and epoch_0004.pt are there; without the latter the run goes on from the third epoch."""
    run_dir = tmp_path / "run"
    shutil.copytree(finished_run[0], run_dir)
    checkpoints = run_dir / "checkpoints"
    (checkpoints / "epoch_0004.pt").unlink()
    last = checkpoints / "last.pt"
    content = bytearray(last.read_bytes())
    content[len(content) // 2] ^= 1
    written: dict[str, bytes] = {"empty": b"", "truncated": bytes(content[:1000]), "flipped": bytes(content)}
    if damage == "missing":
        last.unlink()
    else:
        last.write_bytes(written[damage])
    status = json.loads((run_dir / "status.json").read_text())
    (run_dir / "status.json").write_text(json.dumps({**status, "state": "running"}))
    before = torch.load(finished_run[0] / "checkpoints" / "last.pt", weights_only=True)["model"]
    best = torch.load(checkpoints / "best.pt", weights_only=True)["state"]["epoch"]
    done = cli("resume=run", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    [line] = [line for line in done.stdout.splitlines() if "skipped" in line]
    assert "last.pt" in line
    newest = "best.pt" if best == 4 else "epoch_0003.pt"
    assert f"going on from {newest}, after step {8 if best == 4 else 6}" in done.stdout
    assert "Traceback" not in done.stdout
    assert table(run_dir) == table(finished_run[0])
    after = torch.load(last, weights_only=True)["model"]
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())


def test_a_run_whose_checkpoints_are_all_damaged_lists_them(
    cli: Cli, finished_run: Run, tmp_path: Path
) -> None:
    shutil.copytree(finished_run[0], tmp_path / "run")
    paths = list((tmp_path / "run" / "checkpoints").glob("*.pt"))
    for path in paths:
        path.write_bytes(path.read_bytes()[:-200])
    done = cli("resume=run", "epochs=5", cwd=tmp_path)
    assert done.returncode == 1
    assert all(path.name in done.stdout for path in paths)
    assert "from_run=" in done.stdout
    assert "Traceback" not in done.stdout


def test_a_lost_best_checkpoint_is_said_and_the_run_goes_on(
    cli: Cli, finished_run: Run, tmp_path: Path
) -> None:
    shutil.copytree(finished_run[0], tmp_path / "run")
    (tmp_path / "run" / "checkpoints" / "best.pt").unlink()
    done = cli("resume=run", "epochs=5", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert re.search(r"best.pt is not there; the weights of epoch \d are lost", done.stdout)


def test_checkpoints_that_were_taken_away_are_missed(cli: Cli, finished_run: Run, tmp_path: Path) -> None:
    shutil.copytree(finished_run[0], tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    before = (tmp_path / "run" / "metrics.csv").read_bytes()
    done = cli("resume=run", cwd=tmp_path)
    assert done.returncode == 1
    assert "holds no checkpoint, but metrics.csv has epochs" in done.stdout
    assert (tmp_path / "run" / "metrics.csv").read_bytes() == before


def test_a_run_cut_off_before_its_first_checkpoint_starts_again_in_place(
    straight: Path, command: list[str], cli: Cli, tmp_path: Path
) -> None:
    process = subprocess.Popen([*command, *LONG], cwd=tmp_path, stdout=subprocess.DEVNULL)
    while not (tmp_path / "run" / "status.json").exists():
        time.sleep(0.005)
    process.kill()
    process.wait()
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    (tmp_path / "run" / "metrics.csv").unlink(missing_ok=True)
    done = cli("resume=run", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert "no checkpoint was written yet" in done.stdout
    assert table(tmp_path / "run") == table(straight)


def test_a_new_run_never_overwrites_checkpoints(cli: Cli, finished_run: Run, tmp_path: Path) -> None:
    shutil.copytree(finished_run[0], tmp_path / "sweep" / "0")
    content = {path: path.read_bytes() for path in (tmp_path / "sweep").rglob("*") if path.is_file()}
    for arguments in (["hydra.run.dir=sweep/0"], ["-m", "lr=1e-3", "sweep_dir=sweep/0"]):
        done = cli(*TINY, *arguments, cwd=tmp_path)
        assert done.returncode == 1
        assert "already holds" in done.stdout
        assert content == {
            path: path.read_bytes() for path in (tmp_path / "sweep").rglob("*") if path.is_file()
        }


def test_an_extended_run_that_is_interrupted_continues_to_its_new_end(
    command: list[str], cli: Cli, finished_run: Run, tmp_path: Path
) -> None:
    shutil.copytree(finished_run[0], tmp_path / "run")
    process = subprocess.Popen(
        [*command, "resume=run", "epochs=40"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    while len(rows(tmp_path / "run")) < 12:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=60)[0]
    assert process.returncode == 130
    done = cli("resume=run", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert len(rows(tmp_path / "run")) == 80


def test_a_run_cut_while_drawing_is_finished_by_resume(cli: Cli, finished_run: Run, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    shutil.copytree(finished_run[0], run_dir)
    shutil.rmtree(run_dir / "plots")
    status = json.loads((run_dir / "status.json").read_text())
    (run_dir / "status.json").write_text(json.dumps({**status, "state": "interrupted"}))
    done = cli("resume=run", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert (run_dir / "plots" / "samples.png").exists()
    assert json.loads((run_dir / "status.json").read_text())["state"] == "finished"
    assert table(run_dir) == table(finished_run[0])


def test_a_first_checkpoint_that_came_too_late_is_not_missed(tmp_path: Path) -> None:
    """It is written beside the second epoch: a kill may leave the rows of two epochs without a checkpoint."""
    lines = ["epoch,step,split", "1,2,train", "1,2,val", "2,4,train", "2,4,val"]
    (tmp_path / "metrics.csv").write_text("\n".join(lines) + "\n")
    say_from_the_start(tmp_path)
    (tmp_path / "metrics.csv").write_text("\n".join([*lines, "3,6,train"]) + "\n")
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        say_from_the_start(tmp_path)
