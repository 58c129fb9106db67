"""A run from the command line to its directory: files, numbers, TensorBoard, console, sweeps, replays."""

import csv
import json
import math
import re
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.conftest import TINY, Cli, run_dirs, write_folder
from tests.support import rows
from unet_exp.config.hydra_hooks import output_problem
from unet_exp.data.synthetic import generate_membranes
from unet_exp.messages import logdir

Run = tuple[Path, str]


def events(run_dir: Path, split: str) -> EventAccumulator:
    accumulator = EventAccumulator(str(run_dir / "tensorboard" / split), size_guidance={"images": 0})
    accumulator.Reload()
    return accumulator


def test_the_run_directory_is_complete(finished_run: Run) -> None:
    run_dir, _ = finished_run
    for name in (
        ".hydra/config.yaml",
        ".hydra/overrides.yaml",
        ".hydra/hydra.yaml",
        "config_resolved.yaml",
        "environment.json",
        "status.json",
        "metrics.csv",
        "run.log",
        "checkpoints/last.pt",
        "checkpoints/best.pt",
        "checkpoints/best.safetensors",
        "checkpoints/epoch_0003.pt",
        "checkpoints/epoch_0004.pt",
        "tensorboard/train",
        "tensorboard/val",
        "plots/curves.png",
        "plots/samples.png",
    ):
        assert (run_dir / name).exists(), name
    assert not (run_dir / "checkpoints" / "epoch_0002.pt").exists()
    assert not list(run_dir.rglob("*.tmp"))


def test_an_epoch_is_one_line_and_the_lectures_lines_are_logged(finished_run: Run) -> None:
    run_dir, printed = finished_run
    log = (run_dir / "run.log").read_text()
    for pattern in (
        r"TRAIN: EPOCH 0001 / 0004 \| BATCH 0002 / 0002 \| LOSS \d\.\d{4}$",
        r"VALID: EPOCH 0004 / 0004 \| BATCH 0001 / 0001 \| LOSS \d\.\d{4}$",
    ):
        assert re.search(pattern, log, re.MULTILINE), pattern
        assert not re.search(pattern, printed, re.MULTILINE), pattern
    line = r"epoch 4/4 train \d\.\d{4} val \d\.\d{4} dice \d\.\d{4}\*? lr 1e-3 \d+ img/s$"
    for text in (printed, log):
        assert re.search(line, text, re.MULTILINE)
        assert re.search(r"epoch 1/4 .* img/s \d+s left$", text, re.MULTILINE)
        assert "not a terminal: one line an epoch; in run.log also one every 10 batches" in text
    assert "\r" not in printed  # no progress bar when piped


def test_tensorboard_is_given_the_runs_and_not_the_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    assert logdir(Path("outputs/2026-01-31/12-00-00")) == "outputs/2026-01-31"
    assert logdir(Path("run")) == "run"
    assert logdir(tmp_path / "run") == "../run"


def test_the_metrics_file_has_its_columns(finished_run: Run) -> None:
    run_dir, _ = finished_run
    header = (run_dir / "metrics.csv").read_text().splitlines()[0]
    assert header == (
        "epoch,step,split,loss,dice,iou,precision,recall,dice_membrane,dice_interior,iou_membrane,"
        "iou_interior,precision_membrane,precision_interior,recall_membrane,recall_interior,lr"
    )
    for row in rows(run_dir):
        assert float(row["dice"]) == pytest.approx(
            np.nanmean([float(row["dice_membrane"]), float(row["dice_interior"])])
        )
        dice, iou = float(row["dice_interior"]), float(row["iou_interior"])
        assert iou == pytest.approx(dice / (2 - dice))


def test_what_a_clock_says_is_apart(finished_run: Run) -> None:
    with open(finished_run[0] / "timing.csv", newline="") as file:
        timing = list(csv.DictReader(file))
    keys = ("epoch", "step", "split")
    assert [[row[k] for k in keys] for row in timing] == [[r[k] for k in keys] for r in rows(finished_run[0])]
    assert all(float(row["seconds"]) > 0 and float(row["images_per_second"]) > 0 for row in timing)


def test_every_update_has_its_line(finished_run: Run) -> None:
    with open(finished_run[0] / "steps.csv", newline="") as file:
        steps = list(csv.DictReader(file))
    assert [row["step"] for row in steps] == [str(step) for step in range(1, 9)]
    assert [bool(row["weights"]) for row in steps] == [False, True] * 4
    for epoch, first in enumerate(range(0, 8, 2), start=1):  # 6 samples in batches of 4 and 2
        mean = (4 * float(steps[first]["loss"]) + 2 * float(steps[first + 1]["loss"])) / 6
        row = next(r for r in rows(finished_run[0]) if r["split"] == "train" and r["epoch"] == str(epoch))
        assert mean == pytest.approx(float(row["loss"]), rel=1e-12)


def test_tensorboard_agrees_with_the_metrics_file(finished_run: Run) -> None:
    run_dir, _ = finished_run
    for split in ("train", "val"):
        recorded = events(run_dir, split)
        assert {"loss", "dice", "iou", "lr", "images_per_second"} <= set(recorded.Tags()["scalars"])
        for tag in ("loss", "dice", "iou", "lr"):
            expected = [(int(r["epoch"]), float(r[tag])) for r in rows(run_dir) if r["split"] == split]
            found = [(event.step, event.value) for event in recorded.Scalars(tag)]
            assert [step for step, _ in found] == [step for step, _ in expected]
            assert np.allclose([value for _, value in found], [value for _, value in expected], rtol=1e-6)


def test_tensorboard_has_pictures_and_settings(finished_run: Run) -> None:
    run_dir, _ = finished_run
    for split, samples in (("train", 4), ("val", 3)):
        recorded = events(run_dir, split)
        assert set(recorded.Tags()["images"]) == {"input", "label", "output"}
        pictures = recorded.Images("input")
        assert [picture.step for picture in pictures] == [1, 2, 4]
        assert (pictures[0].width, pictures[0].height) == (32 * samples, 32)
    content = events(run_dir, "val").summary_metadata
    assert "_hparams_/session_start_info" in content


def test_hparams_have_the_best_validation(finished_run: Run) -> None:
    """As the table of a sweep: of the epoch with the best Dice, not of the last."""
    run_dir, _ = finished_run
    status = json.loads((run_dir / "status.json").read_text())
    best = next(r for r in rows(run_dir) if r["split"] == "val" and r["epoch"] == str(status["best_epoch"]))
    recorded = events(run_dir, "val")
    for tag in ("dice", "iou", "loss"):
        newest = recorded.Scalars(f"best/{tag}")[-1]
        assert newest.step == status["best_epoch"]
        assert newest.value == pytest.approx(float(best[tag]), rel=1e-6)
    experiment = recorded.summary_metadata["_hparams_/experiment"].plugin_data.content
    assert all(f"best/{tag}".encode() in experiment for tag in ("dice", "iou", "loss"))


def test_the_console_says_what_dice_is(finished_run: Run) -> None:
    run_dir, printed = finished_run
    assert "dice: mean of membrane and interior; best.pt is saved at the highest dice" in printed
    status = json.loads((run_dir / "status.json").read_text())
    best = next(r for r in rows(run_dir) if r["split"] == "val" and r["epoch"] == str(status["best_epoch"]))
    each = ", ".join(f"{name} {float(best[f'dice_{name}']):.4f}" for name in ("membrane", "interior"))
    assert f"dice of each class at the best epoch: {each}" in printed


def test_pictures_are_denormalised(finished_run: Run) -> None:
    """The validation images of TensorBoard are the drawn ones, within the rounding of 8 bits."""
    recorded = events(finished_run[0], "val")
    shown, labels = (
        np.asarray(Image.open(BytesIO(recorded.Images(tag)[0].encoded_image_string)))[:, :32, 0]
        for tag in ("input", "label")
    )
    image, label = generate_membranes(0, 6, 32)  # the first after six training images
    assert np.abs(shown.astype(int) - image).max() <= 1
    assert np.array_equal(labels > 127, label == 1)


def test_resolved_config_has_no_auto_left(finished_run: Run) -> None:
    run_dir, _ = finished_run
    text = (run_dir / "config_resolved.yaml").read_text()
    assert "auto" not in text.replace("mode: auto", "", 1)  # data.split.mode names how the data lay
    resolved = OmegaConf.create(text)
    assert resolved.model.in_channels == resolved.model.out_channels == 1
    assert resolved.trainer.precision in ("fp32", "bf16")
    assert resolved.num_workers == 0
    assert resolved.device in ("cpu", "cuda", "mps")


def test_status_and_environment(finished_run: Run) -> None:
    run_dir, _ = finished_run
    status = json.loads((run_dir / "status.json").read_text())
    best = max(float(row["dice"]) for row in rows(run_dir) if row["split"] == "val")
    assert (status["state"], status["epoch"], status["step"]) == ("finished", 4, 8)
    assert status["best_metric"] == best
    environment = json.loads((run_dir / "environment.json").read_text())
    assert environment["threads"] == 1
    versions = environment["packages"]["torch"], torch.__version__
    assert len({version.partition("+")[0] for version in versions}) == 1  # +cu130 names the build
    assert environment["start_dir"] == str(run_dir.parent)


def test_checkpoints_hold_plain_containers(finished_run: Run) -> None:
    run_dir, _ = finished_run
    saved = torch.load(run_dir / "checkpoints" / "last.pt", weights_only=True)
    assert {"format", "model", "optimizer", "scheduler", "scaler", "ema", "state", "rng", "config"} <= set(
        saved
    )
    assert saved["state"]["epoch"] == 4
    best = torch.load(run_dir / "checkpoints" / "best.pt", weights_only=True)
    weights = load_file(run_dir / "checkpoints" / "best.safetensors")
    assert all(torch.equal(weights[name], tensor) for name, tensor in best["model"].items())


def test_the_same_command_gives_the_same_numbers(cli: Cli, tmp_path: Path) -> None:
    """Twice alone, and with two workers; with augmentation, dropout and bf16."""
    arguments = [*TINY, "model.dropout=0.3", "trainer.precision=bf16", "batch_size=4"]
    tables = []
    for name, workers in (("a", 0), ("b", 0), ("c", 2)):
        done = cli(*arguments, f"num_workers={workers}", f"hydra.run.dir={name}", cwd=tmp_path)
        assert done.returncode == 0, done.stdout
        tables.append([(tmp_path / name / file).read_bytes() for file in ("metrics.csv", "steps.csv")])
    assert tables[0] == tables[1] == tables[2]


def test_two_starts_at_once_have_two_directories(command: list[str], tmp_path: Path) -> None:
    arguments = [*command, *TINY, "epochs=1"]
    both = [subprocess.Popen(arguments, cwd=tmp_path, stdout=subprocess.DEVNULL) for _ in range(2)]
    assert [process.wait(240) for process in both] == [0, 0]
    found = run_dirs(tmp_path)
    assert len(found) == 2
    assert all(re.fullmatch(r"\d\d-\d\d-\d\d-\d{6}", path.name) for path in found)


def test_starts_at_once_do_not_refuse_each_other(tmp_path: Path) -> None:
    """They share the new parents outputs/ and outputs/DATE/, which none may take from another."""
    together = threading.Barrier(4)

    def start(number: int) -> list[str | None]:
        problems = []
        for attempt in range(100):
            together.wait(60)
            problems.append(output_problem(tmp_path / f"outputs-{attempt}" / "date" / f"run-{number}", False))
        return problems

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(start, range(4))) == [[None] * 100] * 4


def test_a_refused_directory_leaves_no_parents(cli: Cli, tmp_path: Path) -> None:
    done = cli(*TINY, f"hydra.run.dir=new/{'x' * 300}/run", cwd=tmp_path)
    assert done.returncode == 1
    assert "can't be made: File name too long; choose another hydra.run.dir=DIR" in done.stdout
    assert "Traceback" not in done.stdout
    assert not list(tmp_path.iterdir())


def test_a_saved_config_runs_again(cli: Cli, finished_run: Run, tmp_path: Path) -> None:
    run_dir, _ = finished_run
    done = cli(f"from_run={run_dir}", "hydra.run.dir=again", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    for name in ("metrics.csv", "steps.csv"):
        assert (tmp_path / "again" / name).read_bytes() == (run_dir / name).read_bytes()
    assert "the same configuration" in done.stdout
    assert "from_run" not in (tmp_path / "again" / ".hydra" / "overrides.yaml").read_text()


def test_a_saved_config_runs_with_changes_and_the_schema(cli: Cli, finished_run: Run, tmp_path: Path) -> None:
    run_dir, _ = finished_run
    refused = cli("-cp", str(run_dir / ".hydra"), "-cn", "config", "batch_size=abc", cwd=tmp_path)
    assert refused.returncode == 1
    assert "could not be converted to Integer" in refused.stdout
    done = cli("lr=0.5", "-cp", str(run_dir / ".hydra"), "-cn", "config", "epochs=1", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    (new,) = run_dirs(tmp_path)
    resolved = OmegaConf.load(new / "config_resolved.yaml")
    assert (resolved.optimizer.lr, resolved.epochs) == (0.5, 1)


@pytest.mark.parametrize("folder", ["a b=[1],2", "한글 'quoted'"])
def test_data_below_any_path(folder: str, cli: Cli, tmp_path: Path) -> None:
    write_folder(tmp_path / folder)
    arguments = ["data=image_folder", f"data.root={folder}", "data.split.val=2", "model.base_channels=4"]
    done = cli(*arguments, "epochs=1", "threads=1", f"hydra.run.dir={folder}/run", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    resolved = OmegaConf.load(tmp_path / folder / "run" / "config_resolved.yaml")
    assert resolved.data.root == folder
    # A replay from elsewhere finds the data where the first run found it.
    (tmp_path / "elsewhere").mkdir()
    again = cli(f"from_run=../{folder}/run", cwd=tmp_path / "elsewhere")
    assert again.returncode == 0, again.stdout


def test_metrics_of_an_absent_class_are_nan_not_zero(cli: Cli, tmp_path: Path) -> None:
    write_folder(tmp_path / "data")
    for path in (tmp_path / "data" / "labels").iterdir():
        Image.fromarray(np.full((32, 32), 255, np.uint8)).save(path)
    arguments = ["data=image_folder", "data.root=data", "model.base_channels=4", "threads=1"]
    done = cli(*arguments, "epochs=30", "lr=0.01", "model.norm=none", "hydra.run.dir=run", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    last = rows(tmp_path / "run")[-1]
    assert float(last["dice_foreground"]) == 1.0
    assert math.isnan(float(last["dice_background"]))
    assert float(last["dice"]) == 1.0
