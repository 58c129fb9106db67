"""Disks that are full, files that are gone, processes that meet: what is read, what is kept."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT, TINY, Cli
from tests.support import table

Run = tuple[Path, str]
RESUME = ["resume=run", "epochs=6", "trainer.images_every=0"]


@pytest.fixture
def run_dir(finished_run: Run, tmp_path: Path) -> Path:
    shutil.copytree(finished_run[0], tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture(scope="module")
def six_epochs(cli: Cli, finished_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the run is when nothing goes wrong."""
    start = tmp_path_factory.mktemp("six")
    shutil.copytree(finished_run[0], start / "run")
    assert cli(*RESUME, cwd=start).returncode == 0
    return start / "run"


def checkpoints(run_dir: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (run_dir / "checkpoints").iterdir()}


def assert_loud_and_kept(code: int, printed: str, before: dict[str, bytes], run_dir: Path) -> None:
    assert code == 1, printed
    assert "could not be written" in printed
    assert "what was saved before is still whole" in printed
    assert "Traceback" not in printed
    assert checkpoints(run_dir) == before


def test_a_short_write_keeps_the_last_checkpoint(
    command: list[str], cli: Cli, six_epochs: Path, run_dir: Path, tmp_path: Path
) -> None:
    """Files may grow to 60 kB, and a checkpoint has 147: the write stops within it."""
    before = checkpoints(run_dir)
    done = subprocess.run(
        [*command, *RESUME],
        cwd=tmp_path,
        text=True,
        capture_output=True,
        timeout=240,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000)),
    )
    assert_loud_and_kept(done.returncode, done.stdout + done.stderr, before, run_dir)
    assert ".pt" in done.stderr
    assert "File too large" in done.stderr
    assert json.loads((run_dir / "status.json").read_text())["state"] == "failed"
    done_again = cli(*RESUME, cwd=tmp_path)
    assert done_again.returncode == 0, done_again.stdout
    assert table(run_dir) == table(six_epochs)


def test_a_full_disk_keeps_the_last_checkpoint(
    command: list[str], cli: Cli, six_epochs: Path, run_dir: Path, tmp_path: Path
) -> None:
    """A file system in memory that has room for the run and 50 kB more, in a namespace of its own."""
    size = sum(path.stat().st_size for path in run_dir.rglob("*") if path.is_file()) // 1024 + 300
    shutil.move(run_dir, tmp_path / "kept")
    run_dir.mkdir()
    script = (
        f"mount -t tmpfs -o size={size}k none run && cp -r kept/. run/"
        " && dd if=/dev/zero of=run/ballast bs=1k 2>/dev/null; truncate -s -50k run/ballast"
        f"; {' '.join(command)} {' '.join(RESUME)}; code=$?; rm run/ballast; cp -r run out; exit $code"
    )
    if subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode:
        pytest.skip("this machine does not let a test mount a file system")
    before = checkpoints(tmp_path / "kept")
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", script], cwd=tmp_path, text=True, capture_output=True, timeout=240
    )
    assert_loud_and_kept(done.returncode, done.stdout + done.stderr, before, tmp_path / "out")
    assert "No space left on device" in done.stderr
    run_dir.rmdir()
    shutil.move(tmp_path / "out", run_dir)
    assert cli(*RESUME, cwd=tmp_path).returncode == 0
    assert table(run_dir) == table(six_epochs)


def test_a_checkpoint_folder_that_is_a_file_is_refused(cli: Cli, run_dir: Path, tmp_path: Path) -> None:
    """What EACCES is to a user: chmod means nothing where tests run as root."""
    shutil.rmtree(run_dir / "checkpoints")
    (run_dir / "checkpoints").write_text("in the way")
    (run_dir / "metrics.csv").unlink()
    done = cli(*RESUME, cwd=tmp_path)
    assert done.returncode == 1
    assert "could not be written" in done.stdout
    assert "Traceback" not in done.stdout


@pytest.fixture
def training(command: list[str], tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    """A run of many epochs, in its first ones."""
    process = subprocess.Popen(
        [*command, *TINY, "epochs=100000", "trainer.save_every=0", "hydra.run.dir=run"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    deadline = time.monotonic() + 120
    while not (tmp_path / "run" / "checkpoints" / "last.pt").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    yield process
    process.kill()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


def test_a_signal_to_a_whole_group_ends_no_loading_process(command: list[str], tmp_path: Path) -> None:
    """As a shell, systemd or a cluster sends it: SIGHUP twice, then SIGTERM, to every process of the run."""
    arguments = ["epochs=100000", "num_workers=2", "trainer.save_every=0", "hydra.run.dir=run"]
    with subprocess.Popen(
        [*command, *TINY, *arguments],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        while not (tmp_path / "run" / "checkpoints" / "last.pt").exists():
            time.sleep(0.02)
        for each in (signal.SIGHUP, signal.SIGHUP, signal.SIGTERM):
            os.killpg(process.pid, each)
        printed, _ = process.communicate(timeout=60)
    assert process.returncode in (129, 143), printed  # whichever the main thread meets first
    assert "everything is saved" in printed
    assert "Traceback" not in printed
    assert json.loads((tmp_path / "run" / "status.json").read_text())["state"] == "interrupted"
    with pytest.raises(ProcessLookupError):  # the loading processes are gone too
        os.killpg(process.pid, 0)


@pytest.mark.parametrize("handler", ["SIG_IGN", "SIG_DFL"])
def test_a_hangup_that_nohup_ignores_stays_ignored(handler: str) -> None:
    program = (
        f"import signal; signal.signal(signal.SIGHUP, signal.{handler}); "
        "from unet_exp.rundir import signals; "
        "signals.interrupt_on_signals(); print(signal.getsignal(signal.SIGHUP) is signal.SIG_IGN)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, text=True, capture_output=True)
    assert done.stdout.strip() == str(handler == "SIG_IGN"), done.stderr


def test_a_directory_deleted_while_running_ends_the_run(
    training: "subprocess.Popen[str]", tmp_path: Path
) -> None:
    while (tmp_path / "run").exists():
        shutil.rmtree(tmp_path / "run", ignore_errors=True)
    printed, _ = training.communicate(timeout=60)
    assert training.returncode == 1
    assert "could not be written: No such file or directory" in printed
    assert "Traceback" not in printed
    assert not (tmp_path / "run").exists()


def test_a_directory_has_one_writer(training: "subprocess.Popen[str]", cli: Cli, tmp_path: Path) -> None:
    for arguments in (["resume=run"], [*TINY, "hydra.run.dir=run"], ["-m", *TINY, "hydra.sweep.dir=run"]):
        before = (tmp_path / "run" / ".hydra" / "config.yaml").read_bytes()
        done = cli(*arguments, cwd=tmp_path)
        assert done.returncode == 1
        if arguments[0] == "resume=run":
            assert f"is being written by process {training.pid} on {os.uname().nodename}" in done.stdout
        assert "Traceback" not in done.stdout
        assert (tmp_path / "run" / ".hydra" / "config.yaml").read_bytes() == before
    assert training.poll() is None
    training.kill()
    training.wait()
    lines = (tmp_path / "run" / "metrics.csv").read_text().splitlines()
    epochs = sum(line.split(",")[2] == "val" for line in lines)
    done = cli("resume=run", f"epochs={epochs + 3}", cwd=tmp_path)  # the lock of a dead process is none
    assert done.returncode == 0, done.stdout


def test_two_first_starts_in_one_directory(command: list[str], tmp_path: Path) -> None:
    arguments = [*command, *TINY, "epochs=3", "hydra.run.dir=run"]
    both = []
    for seed in (0, 1):
        with open(tmp_path / f"printed{seed}", "w") as log:
            words = [*arguments, f"seed={seed}"]
            both.append(subprocess.Popen(words, cwd=tmp_path, stdout=log, stderr=log))
    for process in both:
        process.wait(timeout=240)
    printed = [(tmp_path / f"printed{seed}").read_text() for seed in (0, 1)]
    codes = [process.returncode for process in both]
    assert sorted(codes) == [0, 1], printed
    assert "being written by" in printed[codes.index(1)] or "already holds" in printed[codes.index(1)]
    winner = codes.index(0)
    assert f"seed: {winner}" in (tmp_path / "run" / ".hydra" / "config.yaml").read_text()


@pytest.mark.parametrize("name", ["metrics.csv", "timing.csv", "steps.csv"])
def test_a_torn_last_line_is_dropped_with_a_notice(
    name: str, cli: Cli, run_dir: Path, tmp_path: Path
) -> None:
    text = (run_dir / name).read_text()
    (run_dir / name).write_text(text[:-4])
    done = cli(*RESUME, cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert f"{name}: the last line was cut off and is dropped" in done.stdout
    lines = (run_dir / name).read_text().splitlines()
    assert len({line.count(",") for line in lines}) == 1
    assert text.splitlines()[-1][:-3] + "\n" not in (run_dir / name).read_text()


def test_damaged_small_files_do_not_stop_a_run(
    cli: Cli, six_epochs: Path, run_dir: Path, tmp_path: Path
) -> None:
    (run_dir / "status.json").write_text('{"state": "runn')
    (run_dir / "checkpoints" / ".last.pt.123.tmp").write_bytes(b"half a checkpoint")
    done = cli(*RESUME, cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert table(run_dir) == table(six_epochs)
    assert not list((run_dir / "checkpoints").glob(".*"))
