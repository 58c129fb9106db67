"""Bad input: one message that says what was given and what to do, exit code 1, nothing left behind."""

import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import TINY, Cli, write_folder
from unet_exp.cli import process
from unet_exp.rundir.directory import RunDirectory

FOLDER = [
    "data=image_folder",
    "data.root=data",
    "data.split.val=2",
    "model.base_channels=2",
    "model.depth=2",
    "threads=1",
    "epochs=1",
]


def empty_folder(data: Path) -> None:
    for path in data.rglob("*.png"):
        path.unlink()


def no_labels(data: Path) -> None:
    (data / "labels").rename(data / "masks")


def orphans(data: Path) -> None:
    (data / "labels" / "03.png").unlink()
    (data / "images" / "01.png").unlink()


def other_size(data: Path) -> None:
    Image.new("L", (32, 24)).save(data / "labels" / "02.png")


def truncated(data: Path) -> None:
    path = data / "images" / "02.png"
    path.write_bytes(path.read_bytes()[:200])


def zero_bytes(data: Path) -> None:
    (data / "labels" / "02.png").write_bytes(b"")


def three_values(data: Path) -> None:
    label = np.zeros((32, 32), np.uint8)
    label[:4, :4], label[4:, :] = 128, 255
    Image.fromarray(label).save(data / "labels" / "02.png")


def colour(data: Path) -> None:
    Image.new("RGB", (32, 32), (1, 2, 3)).save(data / "images" / "02.png")


def sizes(data: Path) -> None:
    for name in ("images", "labels"):
        Image.new("L", (48, 32)).save(data / name / "02.png")


def two_faults(data: Path) -> None:
    truncated(data)
    three = data / "labels" / "01.png"
    Image.fromarray(np.full((32, 32), 7, np.uint8)).save(three)


@pytest.mark.parametrize(
    ("damage", "arguments", "expected"),
    [
        (None, ["data.root=nowhere"], ["data.root nowhere is not there", "data.root=DIR"]),
        (None, ["data.root=data/images/01.png"], ["is a file"]),
        (empty_folder, [], ["no images in data"]),
        (no_labels, [], ["has no folder labels", "masks/", "data.labels=NAME"]),
        (orphans, [], ["images without a label (1): 03.png", "labels without an image (1): 01.png"]),
        (other_size, [], ["images/02.png is 32 x 32", "labels/02.png is 24 x 32"]),
        (truncated, [], ["images/02.png can't be read"]),
        (zero_bytes, [], ["labels/02.png can't be read"]),
        (three_values, [], ["labels/02.png has values that are not binary: 0 (112 px), 128 (16 px)"]),
        (colour, [], ["differ in their number of channels: 1 in 00, 3 in 02"]),
        (sizes, [], ["have different sizes: 32 x 32, 32 x 48", "batch_size=1"]),
        (two_faults, [], ["2 of 4 files can't be used", "01.png", "02.png"]),
        (None, ["batch_size=5"], ["batch_size is 5, but the train split has 4 images"]),
        (None, ["data.split.train=9"], ["train=9", "the data has 6 images"]),
        (None, ["transform=crop", "transform.train.crop.size=64"], ["only 32 pixels", "at most 32"]),
        (None, ["device=cuda:7"], ["device=cuda:7", "device=auto"]),
        (None, ["optimizer=sgd", "+optimizer.beta=1"], ["torch.optim.SGD does not take beta", "momentum"]),
        (None, ["loss._target_=torch.nn.NoSuch"], ["torch.nn.NoSuch can't be imported"]),
        (None, ["resume=data"], ["data is not a run directory"]),
        (None, ["from_run=nowhere"], ["nowhere is not a run directory"]),
        (None, ["model.in_channels=3"], ["model.in_channels is 3, but the images have 1"]),
        (None, ["hydra.run.dir=data/images/01.png/run"], ["01.png is a file"]),
    ],
)
def test_bad_input(
    damage: Callable[[Path], None] | None, arguments: list[str], expected: list[str], cli: Cli, tmp_path: Path
) -> None:
    data = write_folder(tmp_path / "data")
    if damage is not None:
        damage(data)
    done = cli(*FOLDER, *arguments, cwd=tmp_path)
    assert done.returncode == 1, done.stdout
    for part in expected:
        assert part in done.stdout
    assert done.stdout.count("error: ") == 1
    assert "Traceback" not in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["data"], "something was left behind"


def test_a_directory_that_was_there_before_stays(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    done = cli(*TINY, "batch_size=99", "hydra.run.dir=mine", cwd=tmp_path)
    assert done.returncode == 1
    assert (tmp_path / "mine" / "notes.txt").read_text() == "keep"


def test_a_loss_that_is_no_number_ends_the_run_and_keeps_what_was_saved(cli: Cli, tmp_path: Path) -> None:
    write_folder(tmp_path / "data")
    arguments = ["optimizer=sgd", "lr=1e30", "model.norm=none", "epochs=9", "hydra.run.dir=run"]
    done = cli(*FOLDER, *arguments, cwd=tmp_path)
    assert done.returncode == 1
    assert "the loss is" in done.stdout
    assert "a smaller lr" in done.stdout
    assert "Traceback" not in done.stdout
    assert '"state": "failed"' in (tmp_path / "run" / "status.json").read_text()
    assert "the loss is" in (tmp_path / "run" / "run.log").read_text()


def test_a_full_disk_is_said_and_costs_no_checkpoint(command: list[str], tmp_path: Path) -> None:
    """A limit on file size stands for the disk: the second start can't write what the first could."""
    arguments = [*TINY, "hydra.run.dir=run", "epochs=1"]
    assert subprocess.run([*command, *arguments], cwd=tmp_path, capture_output=True).returncode == 0
    before = (tmp_path / "run" / "checkpoints" / "last.pt").read_bytes()
    limited = f'ulimit -f {len(before) // 1024 // 2}; exec "$@"'
    done = subprocess.run(
        ["bash", "-c", limited, "bash", *command, "resume=run", "epochs=3"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 1, done.stdout
    assert "could not be written" in done.stdout
    assert "Traceback" not in done.stdout
    assert (tmp_path / "run" / "checkpoints" / "last.pt").read_bytes() == before
    assert not list((tmp_path / "run").rglob("*.tmp"))


def test_a_run_that_is_stopped_at_once_before_its_first_checkpoint_can_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = RunDirectory(tmp_path / "run")
    (tmp_path / "run").mkdir()
    run.write_status("running", epoch=0, step=0)
    process.stopped(run)
    assert "resume=" in capsys.readouterr().out
    assert run.status()["state"] == "interrupted"


def test_stopping_before_training_leaves_nothing(command: list[str], tmp_path: Path) -> None:
    started = subprocess.Popen(
        [*command, "data.split.train=5000"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    while not list(tmp_path.rglob("run.log")):  # which Hydra makes before it calls us
        time.sleep(0.05)
    time.sleep(0.5)
    started.send_signal(signal.SIGINT)
    try:
        printed, _ = started.communicate(timeout=60)
    finally:
        started.kill()
    assert started.returncode == 130, printed
    assert "stopped before training began" in printed
    assert "Traceback" not in printed
    assert list(tmp_path.iterdir()) == []
