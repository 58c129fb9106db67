"""task=reproduce: a replay meets every number of a run, or says where it does not."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from tests.conftest import ISBI, TINY, Cli, write_folder

Run = tuple[Path, str]
FOLDER = [
    "data=image_folder",
    "data.split.train=4",
    "data.split.val=2",
    "data.split.test=0",
    "batch_size=2",
    "model.depth=2",
    "model.base_channels=4",
    "epochs=2",
    "threads=1",
]


@pytest.fixture(scope="module")
def folder_run(cli: Cli, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """start/data with six images, and start/run trained on it; do not change it, copy it."""
    start = tmp_path_factory.mktemp("start")
    write_folder(start / "data")
    done = cli(*FOLDER, "data.root=data", "hydra.run.dir=run", cwd=start)
    assert done.returncode == 0, done.stdout
    return start


@pytest.fixture
def start(folder_run: Path, tmp_path: Path) -> Path:
    """A copy whose data.root is its own."""
    shutil.copytree(folder_run, tmp_path / "start")
    path = tmp_path / "start" / "run" / "environment.json"
    path.write_text(path.read_text().replace(str(folder_run), str(tmp_path / "start")))
    return tmp_path / "start"


def change_yaml(path: Path, **values: object) -> None:
    content = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump({**content, **values}))


def test_a_run_is_reproduced_from_anywhere(cli: Cli, start: Path, tmp_path: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in start.rglob("*")}
    (tmp_path / "elsewhere").mkdir()
    done = cli("task=reproduce", f"run={start / 'run'}", cwd=tmp_path / "elsewhere")
    assert done.returncode == 0, done.stdout
    last = (start / "run" / "steps.csv").read_text().splitlines()[-1].split(",")
    assert f"identical: 4 steps, 2 epochs, weights sha256 {last[4]}" in done.stdout
    assert {path: path.stat().st_mtime_ns for path in start.rglob("*")} == before
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_short_proof_keeps_the_schedule_of_the_whole(cli: Cli, tmp_path: Path) -> None:
    assert cli(*TINY, "scheduler=onecycle", "hydra.run.dir=run", cwd=tmp_path).returncode == 0
    done = cli("task=reproduce", "run=run", "until_epoch=1", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert "identical: 2 steps, 1 epoch," in done.stdout
    done = cli("task=reproduce", "run=run", "until_epoch=3", cwd=tmp_path)
    assert done.returncode == 1
    assert "allowed: 1 to 2" in done.stdout


def test_a_changed_rate_is_found_at_its_first_step(cli: Cli, start: Path) -> None:
    change_yaml(start / "run" / ".hydra" / "config.yaml", lr=0.002)
    done = cli("task=reproduce", "run=run", cwd=start)
    assert done.returncode == 1
    assert "differs first at epoch 1, step 1:" in done.stdout
    assert "lr: 0.001 -> 0.002 (by +1.000e-03" in done.stdout
    assert "config lr: 0.001 -> 0.002" in done.stdout
    assert "Traceback" not in done.stdout


def test_a_changed_seed_of_the_code_is_found_in_the_loss(cli: Cli, start: Path) -> None:
    """Another package version on record, and a loss that is another in its last digit."""
    path = start / "run" / "environment.json"
    content = json.loads(path.read_text())
    content["packages"]["numpy"] = "1.0"
    path.write_text(json.dumps(content))
    steps = start / "run" / "steps.csv"
    lines = steps.read_text().splitlines(keepends=True)
    step, epoch, loss, *rest = lines[3].split(",")
    lines[3] = ",".join([step, epoch, repr(float(np.nextafter(float(loss), 1))), *rest])
    steps.write_text("".join(lines))
    done = cli("task=reproduce", "run=run", cwd=start)
    assert done.returncode == 1
    assert "differs first at epoch 2, step 3:" in done.stdout
    assert re.search(r"loss: [\d.]+ -> [\d.]+ \(by -\d\.\d+e-1[67], relative", done.stdout)
    assert "package numpy: 1.0 -> " in done.stdout


@pytest.mark.parametrize("words", ["task=reproduce run=run", "resume=run epochs=3"])
def test_changed_data_is_named_and_nothing_trained(words: str, cli: Cli, start: Path) -> None:
    label = np.array(Image.open(start / "data" / "labels" / "02.png"))
    label[0, 0] = 255 - label[0, 0]
    Image.fromarray(label).save(start / "data" / "labels" / "02.png")
    (start / "data" / "images" / "04.png").rename(start / "data" / "images" / "044.png")
    (start / "data" / "labels" / "04.png").rename(start / "data" / "labels" / "044.png")
    before = {
        path: path.read_bytes() for path in (start / "run").rglob("*") if path.suffix in (".csv", ".pt")
    }
    done = cli(*words.split(), cwd=start)
    assert done.returncode == 1
    assert "train/labels/02.png has other content" in done.stdout
    assert "val/images/04.png is gone" in done.stdout
    assert "val/images/044.png is new" in done.stdout
    assert "nothing was trained" in done.stdout
    assert "Traceback" not in done.stdout
    assert before == {path: path.read_bytes() for path in before}
    done = cli("from_run=run", "hydra.run.dir=again", cwd=start)
    assert done.returncode == 0, done.stdout
    assert "train/labels/02.png has other content" in done.stdout


def test_a_touched_file_is_the_same_file(cli: Cli, start: Path) -> None:
    for path in (start / "data").rglob("*.png"):
        path.touch()
    assert cli("resume=run", "epochs=3", cwd=start).returncode == 0


def test_files_above_the_limit_are_sampled_and_it_is_said(cli: Cli, start: Path) -> None:
    done = cli(*FOLDER, "data.root=data", "data.fingerprint_limit_mb=0", "hydra.run.dir=sampled", cwd=start)
    assert done.returncode == 0
    found = json.loads((start / "sampled" / "environment.json").read_text())["data"]["files"]
    assert "64 KiB" in found["method"]
    assert found["files"] == 12
    Image.fromarray(np.zeros((32, 32), np.uint8)).save(start / "data" / "labels" / "02.png")
    done = cli("resume=sampled", "epochs=3", cwd=start)
    assert "train/labels/02.png has other content" in done.stdout


def test_an_interrupted_and_a_continued_run_are_reproduced(
    cli: Cli, finished_run: Run, tmp_path: Path
) -> None:
    shutil.copytree(finished_run[0], tmp_path / "run")
    assert cli("resume=run", "epochs=6", cwd=tmp_path).returncode == 0
    done = cli("task=reproduce", "run=run", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert "identical: 12 steps, 6 epochs" in done.stdout


def test_an_extended_schedule_is_reproduced_up_to_there(cli: Cli, tmp_path: Path) -> None:
    arguments = [*TINY, "scheduler=cosine", "hydra.run.dir=run"]
    assert cli(*arguments, cwd=tmp_path).returncode == 0
    assert cli("resume=run", "epochs=4", cwd=tmp_path).returncode == 0
    done = cli("task=reproduce", "run=run", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert "extended from 2 to 4 epochs after epoch 2" in done.stdout
    assert "identical: 4 steps, 2 epochs" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["task=reproduse", "run=x"], "did you mean 'reproduce'?"),
        (["task=reproduce"], "run has no value"),
        (["task=reproduce", "run=nowhere"], "is not a run directory"),
        (["task=reproduce", "run=x", "until_epoch=0"], "until_epoch is 0; allowed: at least 1"),
        (["task=reproduce", "resume=x"], "goes with run=RUN_DIR"),
        (["-m", "task=reproduce", "run=x"], "not with -m"),
    ],
    ids=str,
)
def test_a_wrong_command_is_refused(arguments: list[str], expected: str, cli: Cli, tmp_path: Path) -> None:
    done = cli(*arguments, cwd=tmp_path)
    assert done.returncode == 1
    assert expected in done.stdout
    assert "Traceback" not in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(
    not ISBI.exists(), reason=f"the ISBI 2012 slices are not at {ISBI.name} beside the project"
)
def test_a_run_on_real_slices_is_reproduced(cli: Cli, tmp_path: Path) -> None:
    for path in ISBI.glob("*/*.png"):
        cut = tmp_path / "isbi" / path.relative_to(ISBI)
        cut.parent.mkdir(parents=True, exist_ok=True)
        Image.open(path).crop((0, 0, 128, 128)).save(cut)
    done = cli(
        "data=isbi2012",
        "data.root=isbi",
        "model.base_channels=4",
        "transform=crop",
        "epochs=2",
        "transform.train.crop.size=64",
        "threads=1",
        "hydra.run.dir=run",
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout
    done = cli("task=reproduce", "run=run", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert "identical: 10 steps, 2 epochs" in done.stdout
