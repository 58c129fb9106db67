"""Runs on numbered objects: from label files to tables, and as exact as other runs."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

import unet_exp
from tests.conftest import Cli, composed, train
from tests.support import table
from unet_exp.config.label_map import ObjectTarget
from unet_exp.config.task_schema import EvaluateConfig, PredictConfig
from unet_exp.data.nuclei import generate_nuclei
from unet_exp.data.transforms import Compose, MirrorBorder, ToTensor
from unet_exp.data.weight_map import weight_map
from unet_exp.errors import ModelError, UserError
from unet_exp.objects.scores import fates_of, overlaps
from unet_exp.objects.targets import object_target
from unet_exp.tasks.evaluate import evaluate
from unet_exp.tasks.predict import predict
from unet_exp.training import build, setup

TINY = [
    "data=nuclei",
    "data.size=64",
    "data.split.train=6",
    "data.split.val=3",
    "data.split.test=0",
    "model.depth=2",
    "model.base_channels=8",
    "batch_size=2",
    "epochs=4",
    "lr=0.01",
    "threads=1",
    "trainer.precision=fp32",
    "trainer.monitor=ap",
]


@pytest.fixture(scope="module")
def run(cli: Cli, tmp_path_factory: pytest.TempPathFactory) -> Path:
    start = tmp_path_factory.mktemp("objects")
    done = cli(*TINY, "hydra.run.dir=run", cwd=start)
    assert done.returncode == 0, done.stdout
    return start / "run"


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def write_objects(root: Path, count: int = 6) -> Path:
    for folder in ("images", "labels"):
        (root / folder).mkdir(parents=True)
    for index in range(count):
        image, objects = generate_nuclei(1, index, 64)
        Image.fromarray(image).save(root / "images" / f"{index}.png")
        Image.fromarray(objects).save(root / "labels" / f"{index}.png")
    return root


def test_validations_have_object_scores_and_a_rule_is_kept(run: Path) -> None:
    last = [row for row in rows(run / "metrics.csv") if row["split"] == "val"][-1]
    assert all(last[name] for name in ("f1", "ap", "ap50", "pq", "aji", "seg", "count_error"))
    stored = json.loads((run / "objects.json").read_text())
    for rule in (stored["plain"], stored["tta"]):
        assert rule.keys() == {"dip", "foreground", "smallest", "confidence", "target", "ap", "f1"}


def test_a_finished_run_chooses_its_rule_anew_where_it_is_gone(run: Path, cli: Cli, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run")
    rule = tmp_path / "run/objects.json"
    before = rule.read_bytes()
    rule.write_text(before.decode().replace('"dip"', '"seed"'))
    refused = cli("task=evaluate", "run=run", cwd=tmp_path)
    assert "objects.json lacks 'dip'" in refused.stdout
    command = refused.stdout.split("choose anew: ")[1].splitlines()[0]
    assert command == "rm run/objects.json; python run.py resume=run"
    rule.unlink()
    done = cli("resume=run", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert rule.read_bytes() == before
    assert "nothing to do" in cli("resume=run", cwd=tmp_path).stdout


def test_a_stopped_run_goes_on_to_the_same_bits_also_on_two_ranks(
    run: Path, cli: Cli, tmp_path: Path
) -> None:
    shorter = [word if not word.startswith("epochs=") else "epochs=2" for word in TINY]
    assert cli(*shorter, "hydra.run.dir=run", cwd=tmp_path).returncode == 0
    done = cli("resume=run", "epochs=4", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert table(tmp_path / "run") == table(run)
    done = cli(
        *TINY, "trainer.devices=2", "device=cpu", "model.norm=group", "hydra.run.dir=two", cwd=tmp_path
    )
    assert done.returncode == 0, done.stdout
    # What both ranks counted is what one process counts with the same weights.
    evaluate(EvaluateConfig(run=str(tmp_path / "two"), weights="last", output=str(tmp_path / "out"), worst=0))
    counted = json.loads((tmp_path / "out/evaluation.json").read_text())
    trained = rows(tmp_path / "two/metrics.csv")[-1]
    for name in ("ap", "f1", "pq", "aji", "seg", "count_error"):
        assert float(trained[name]) == pytest.approx(counted[name], abs=1e-6), name
    assert cli("task=reproduce", "run=run", cwd=tmp_path).returncode == 0


def test_evaluation_gives_the_numbers_of_training_and_of_predict(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    best = json.loads((run / "status.json").read_text())["best_epoch"]
    trained = next(r for r in rows(run / "metrics.csv") if r["split"] == "val" and r["epoch"] == str(best))
    evaluate(EvaluateConfig(run=str(run), output=str(tmp_path)))
    result = json.loads((tmp_path / "evaluation.json").read_text())
    for name in ("ap", "f1", "pq", "count_error"):
        assert result[name] == pytest.approx(float(trained[name]), nan_ok=True)
    stored = json.loads((run / "objects.json").read_text())["plain"]
    assert result["objects"]["mean"]["ap"] == pytest.approx(stored["ap"])
    assert "mean of images " in capsys.readouterr().out
    fates = rows(tmp_path / "objects.csv")
    assert len(fates) == result["objects"]["pooled"]["objects_true"]
    assert {row["event"] for row in fates} <= {"found", "missed", "split", "merged"}


def test_label_files_become_objects_and_measurements(run: Path, tmp_path: Path) -> None:
    root = write_objects(tmp_path / "set")
    own = train(
        tmp_path / "own",
        "data=image_folder",
        f"data.root={root}",
        "data.labels_are=objects",
        "data.classes=[background,edge,middle,core]",
        "transform=strong",
        "transform.train.crop.size=32",
    )
    predict(
        PredictConfig(run=str(run), input=str(root / "images"), output=str(tmp_path / "out"), pixel_size=0.5)
    )
    everything = rows(tmp_path / "out" / "objects.csv")
    counts = {row["image"]: int(row["objects"]) for row in rows(tmp_path / "out" / "counts.csv")}
    predictor = unet_exp.load_run(run)
    for index in range(6):
        numbers = predictor.objects(root / "images" / f"{index}.png")
        stored = tifffile.imread(tmp_path / "out" / "objects" / f"{index}.tif")
        assert np.array_equal(stored, numbers)
        assert counts[str(index)] == numbers.max() == sum(row["image"] == str(index) for row in everything)
    for row in everything:
        assert float(row["area_um2"]) == pytest.approx(0.25 * int(row["area_px"]))
    shutil.rmtree(tmp_path / "out")
    predict(
        PredictConfig(run=str(own), input=str(root / "images"), output=str(tmp_path / "out"), objects=False)
    )
    assert not (tmp_path / "out" / "objects").exists()


def test_objects_that_cross_tiles_are_whole(run: Path) -> None:
    image, _ = generate_nuclei(1, 50, 200)
    predictor = unet_exp.load_run(run, device="cpu")
    whole = predictor.objects(image)
    tiled = predictor.with_options(tile=64, overlap=0.6).objects(image)
    fates = {fate.number: fate.iou for fate in fates_of(overlaps(whole, tiled))}
    crossing = np.union1d(whole[63][whole[63] == whole[64]], whole[:, 63][whole[:, 63] == whole[:, 64]])
    crossing = crossing[crossing > 0]
    assert len(crossing) > 5
    assert min(fates[number] for number in crossing) > 0.9
    assert np.array_equal(np.unique(tiled[tiled > 0]), np.arange(1, tiled.max() + 1))


def test_a_run_on_classes_has_no_objects(tmp_path: Path) -> None:
    run = train(tmp_path / "run", "data.size=32", "data.split.train=2", "data.split.val=1")
    with pytest.raises(ModelError, match="trained on classes"):
        unet_exp.load_run(run).objects(np.zeros((32, 32), np.uint8))
    Image.fromarray(np.zeros((32, 32), np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(UserError, match="objects=true"):
        predict(
            PredictConfig(
                run=str(run), input=str(tmp_path / "a.png"), output=str(tmp_path / "o"), objects=True
            )
        )


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            ["data=membranes", "data.labels_are=objects"],
            "data.labels_are is 'objects', but data=membranes has classes",
        ),
        (["data.classes=[a,b]"], "it names background, edge and at least one deeper level"),
        (["data.target=binary"], "it names background and object"),
        (["trainer.monitor=apx"], "did you mean 'ap"),
    ],
)
def test_settings_that_do_not_fit(arguments: list[str], expected: str, cli: Cli, tmp_path: Path) -> None:
    done = cli(*TINY, *arguments, cwd=tmp_path)
    assert done.returncode == 1
    assert expected in done.stdout


def test_samples_of_objects(tmp_path: Path) -> None:
    """Numbers 255 and 256 are objects like others, in the target, in the weight map and beyond a border."""
    numbers = np.zeros((32, 32), np.uint16)
    numbers[4:14, 4:14] = 255
    numbers[4:14, 17:27] = 256
    numbers[16:26, 4:14] = 7
    for folder, content in (("images", numbers.astype(np.uint8)), ("labels", numbers)):
        (tmp_path / folder).mkdir()
        for index in range(2):
            Image.fromarray((content + index * (content > 0)).astype(content.dtype)).save(
                tmp_path / folder / f"{index}.png"
            )
    config = composed(
        "data=image_folder",
        f"data.root={tmp_path}",
        "data.labels_are=objects",
        "data.classes=[background,edge,middle,core]",
        "data.split.val=1",
        "loss.w0=10",
        "loss.sigma=2",
        "model.depth=1",
        "batch_size=1",
    )
    data = setup.read_samples(config, setup.find_items(config))
    _, val = build.build_loaders(setup.settle_data(config, data), data)
    val.dataset.transform = Compose([MirrorBorder(1), ToTensor()])
    sample = val.dataset[(0, 0)]
    border = (sample["input"].shape[1] - 32) // 2
    inner = slice(border, border + 32)
    objects = sample["objects"][0, inner, inner].numpy()
    assert np.array_equal(objects > 0, numbers > 0)
    assert sample["label"].shape == sample["objects"].shape == sample["weight"].shape
    assert not sample["objects"][0, : border or 1].any()
    target = object_target(objects.astype(np.int32), ObjectTarget("distance", 2, 1, 4))
    assert np.array_equal(sample["label"][0, inner, inner].numpy(), target)
    expected = weight_map((numbers > 0).astype(np.uint8), 10.0, 2.0, inside=True)  # no two of them touch
    assert np.array_equal(sample["weight"][0, inner, inner].numpy(), expected)
    assert expected.max() > 1
