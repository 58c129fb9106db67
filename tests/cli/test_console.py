"""What a run says on the console: its progress, what it takes of the disk, what to type next."""

import os
import re
import shlex
from contextlib import suppress
from pathlib import Path

import pytest

from tests.conftest import TINY, Cli, in_terminal, write_folder
from unet_exp.messages import counted, duration
from unet_exp.training.pace import Pace


def shown_in_terminal(command: list[str], cwd: Path) -> str:
    process, terminal = in_terminal(command, cwd)
    printed = b""
    with suppress(OSError):  # the end of its output
        while chunk := os.read(terminal, 4096):
            printed += chunk
    os.close(terminal)
    assert process.wait(timeout=240) == 0, printed
    return printed.decode()


def test_a_terminal_shows_one_line_an_epoch_and_the_time_left(command: list[str], tmp_path: Path) -> None:
    printed = shown_in_terminal([*command, *TINY, "epochs=3", "batch_size=1", "hydra.run.dir=run"], tmp_path)
    lines = [line for line in printed.splitlines() if line.startswith("epoch ")]
    assert [line.split()[1] for line in lines] == ["1/3", "2/3", "3/3"]
    assert [line.endswith(" left") for line in lines] == [True, True, False]
    assert "EPOCH" not in printed
    assert "not a terminal" not in printed
    bars = [bar for bar in re.split(r"[\r\n]+", printed) if bar.startswith("TRAIN 2/3")]
    assert bars, printed
    assert any(re.search(r"run: \d+s left\]$", bar) for bar in bars), bars
    assert max(map(len, bars)) < 80


def test_the_lectures_lines_are_printed_where_asked_for(cli: Cli, tmp_path: Path) -> None:
    asked = ["trainer.print_steps=true", "trainer.log_every=1"]
    done = cli(*TINY, *asked, "epochs=1", "hydra.run.dir=run", cwd=tmp_path)
    assert "TRAIN: EPOCH 0001 / 0001 | BATCH 0001 / 0002 | LOSS 0." in done.stdout
    assert "not a terminal" not in done.stdout


def next_commands(printed: str) -> list[list[str]]:
    """The arguments of what the last lines propose, as a shell reads them."""
    lines = [line.removeprefix("next: ") for line in printed.splitlines() if line.startswith("next: ")]
    return [shlex.split(line)[2:] for line in lines]


@pytest.mark.parametrize("data", [[], ["data=image_folder", "data.root=my data"]], ids=["generated", "own"])
def test_what_comes_next_works_when_pasted(data: list[str], cli: Cli, tmp_path: Path) -> None:
    words = TINY
    if data:
        write_folder(tmp_path / "my data")
        words = [*(word for word in TINY if not word.startswith("data.")), *data]
    done = cli(*words, "epochs=2", "trainer.save_every=1", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert re.search(
        r"^size: \d+ MB, \d+ MB of it epoch_NNNN.pt \(trainer.keep=3, trainer.save_every=1\)$",
        done.stdout,
        re.MULTILINE,
    )
    (run_dir,) = (tmp_path / "outputs").glob("*/*")
    proposed = next_commands(done.stdout)
    assert [words[0] for words in proposed] == ["task=evaluate", "task=predict"]
    for words in proposed:
        assert cli(*words, cwd=tmp_path).returncode == 0
    assert (run_dir / "evaluation" / "val").is_dir()
    assert len(list((run_dir / "predicted").glob("*.png"))) == 1


def test_the_time_left_is_that_of_the_whole_run(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    from tests.conftest import composed

    pace = Pace(composed("epochs=10", "trainer.max_minutes=10"), seconds=60)
    assert pace.left() == ""
    pace.reached(2.5)  # of an earlier start
    assert pace.left() == ""
    now[0] += 30
    pace.reached(3)
    assert pace.left() == "7m left"  # 7 epochs of 60 s
    pace.reached(2.6)
    assert pace.left() == "8m left"  # trainer.max_minutes
    pace.reached(10)
    assert pace.left() == ""


def test_numbers_are_said_with_their_noun() -> None:
    assert [counted(number, "thread") for number in (0, 1, 2000)] == [
        "0 threads",
        "1 thread",
        "2,000 threads",
    ]
    assert counted(2, "batch", "batches") == "2 batches"
    assert [duration(seconds) for seconds in (0.4, 99, 100, 5940, 36000)] == [
        "0s",
        "99s",
        "2m",
        "99m",
        "10.0h",
    ]
