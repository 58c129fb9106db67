"""What a sweep says at its end: intervals, what can't be told apart, folds as one predictor, a search
again."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import f1_score

import unet_exp
from tests.conftest import TINY, Cli
from tests.support import read_csv
from unet_exp.data.synthetic import generate_membranes
from unet_exp.errors import UserError

pytest.importorskip("optuna")


@pytest.fixture(scope="module")
def folds(cli: Cli, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep over three folds of twelve images. Do not change it."""
    start = tmp_path_factory.mktemp("folds")
    words = ["sweep=folds", "data.folds=3", "data.fold=range(3)", "data.split.val=6"]
    more = ["trainer.choose_threshold=dice", "trainer.plots=false", "lr=0.01"]
    done = cli(*TINY, *words, *more, cwd=start)
    assert done.returncode == 0, done.stdout
    (start / "printed.txt").write_text(done.stdout)
    return start


def test_the_ranking_has_intervals_and_says_what_is_chance(recipes: Path, cli: Cli, tmp_path: Path) -> None:
    shutil.copytree(recipes / "multirun/two", tmp_path / "two")
    done = cli("task=summary", "sweep_dir=two", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    lines = done.stdout.splitlines()
    assert "95 % interval" in lines[1]
    assert any("(n = 2, 12 images)" in line for line in lines)
    jobs = read_csv(tmp_path / "two/sweep.csv")
    for row in read_csv(tmp_path / "two/ranking.csv"):
        scores = [float(job["best"]) for job in jobs if float(job["lr"]) == float(row["lr"])]
        low, high = stats.t.interval(0.95, 1, np.mean(scores), stats.sem(scores))
        assert [float(row["dice_low"]), float(row["dice_high"])] == pytest.approx([low, high], abs=1e-4)
        assert row["like_best"] in ("yes", "no")
    assert read_csv(tmp_path / "two/ranking.csv")[0]["like_best"] == "yes"


def test_a_clear_winner_is_named(recipes: Path, cli: Cli, tmp_path: Path) -> None:
    """The scores of one recipe made worse by much."""
    shutil.copytree(recipes / "multirun/two", tmp_path / "two")
    for name in ("images.csv", "validations.csv"):
        for path in tmp_path.glob(f"two/lr-0.001*/{name}"):
            rows = read_csv(path)
            worse = [
                {
                    k: f"{float(v) / 100:.6f}" if k not in ("epoch", "step", "name", "group") else v
                    for k, v in r.items()
                }
                for r in rows
            ]
            with open(path, "w", newline="") as file:
                writer = csv.DictWriter(file, list(rows[0]))
                writer.writeheader()
                writer.writerows(worse)
    for path in tmp_path.glob("two/lr-0.001*/status.json"):
        status = json.loads(path.read_text())
        path.write_text(json.dumps(status | {"best_metric": status["best_metric"] / 100}))
    done = cli("task=summary", "sweep_dir=two", cwd=tmp_path)
    assert "1 is better than all others (n = 2, 12 images)" in done.stdout
    assert [row["like_best"] for row in read_csv(tmp_path / "two/ranking.csv")] == ["yes", "no"]


def test_folds_are_pooled_with_each_image_once(folds: Path) -> None:
    printed = (folds / "printed.txt").read_text()
    rows = read_csv(folds / "multirun/folds/out_of_fold.csv")
    assert sorted(row["name"] for row in rows) == [f"membranes_{i:04d}" for i in range(12)]
    assert {row["fold"] for row in rows} == {"0", "1", "2"}
    assert "12 images, each scored by a network that has not seen it (3 folds)" in " ".join(printed.split())
    assert "best: " not in printed
    assert "task=predict run=multirun/folds input=DIR" in printed
    (line,) = [line.split() for line in printed.splitlines() if line.startswith("iou  ")]
    assert float(line[1]) == pytest.approx(np.mean([float(row["iou"]) for row in rows]), abs=1e-4)
    means = [np.mean([float(r["iou"]) for r in rows if r["fold"] == fold]) for fold in "012"]
    low, high = stats.t.interval(0.95, 2, np.mean(means), stats.sem(means))
    assert [float(line[2][1:-1]), float(line[3][:-1])] == pytest.approx([low, high], abs=1e-4)


def test_the_page_of_folds_has_the_pooled_scores(
    recipes: Path, folds: Path, cli: Cli, tmp_path: Path
) -> None:
    done = cli("task=report", "sweep_dir=multirun/folds", f"output={tmp_path}/page.html", cwd=folds)
    assert done.returncode == 0, done.stdout
    page = (tmp_path / "page.html").read_text()
    printed = (folds / "printed.txt").read_text()
    (line,) = [line.split() for line in printed.splitlines() if line.startswith("iou  ")]
    section = page[page.index("Out of fold") : page.index("Ranking")]
    assert line[1] in section
    assert line[2][1:-1] in section
    assert "each scored by a network that has not seen it (3 folds)" in section
    done = cli("task=report", "sweep_dir=multirun/two", f"output={tmp_path}/page.html", cwd=recipes)
    assert "Out of fold" not in (tmp_path / "page.html").read_text()


def test_folds_are_one_predictor_with_the_threshold_of_all_of_them(folds: Path) -> None:
    sweep = folds / "multirun/folds"
    predictor = unet_exp.load_run(sweep)
    runs = sorted(path.parent for path in sweep.glob("*/job.json"))
    image = generate_membranes(7, 0, 48)[0]
    alone = [unet_exp.load_run(run).probabilities(image) for run in runs]
    assert predictor.probabilities(image) == pytest.approx(np.mean(alone, 0), abs=1e-5)
    maps, labels = [], []
    for run in runs:
        of_run = unet_exp.load_run(run)
        for row in read_csv(run / "images.csv"):
            image, label = generate_membranes(0, int(row["name"][-4:]), 32)
            maps.append(of_run.probabilities(image)[1])
            labels.append(label)
    scores = {
        t: f1_score(np.ravel(labels), np.ravel([m > t for m in maps]), average="macro")
        for t in np.arange(1, 20) / 20
    }
    stored = json.loads((sweep / "folds.json").read_text())["threshold"]["plain"]
    assert predictor.cut == stored["threshold"]
    assert stored["dice"] == pytest.approx(max(scores.values()), abs=1e-6)


def test_folds_predict_and_notice_a_run_that_changed(folds: Path, cli: Cli, tmp_path: Path) -> None:
    from tests.support import save

    shutil.copytree(folds / "multirun/folds", tmp_path / "folds")
    save(tmp_path / "in/a.png", generate_membranes(7, 0, 48)[0])
    done = cli("task=predict", "run=folds", "input=in", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert (tmp_path / "folds/predictions/in/a.png").exists()
    (status, *_) = sorted((tmp_path / "folds").glob("*/status.json"))
    status.write_text(json.dumps(json.loads(status.read_text()) | {"best_epoch": 9}))
    with pytest.raises(UserError, match="was trained again since"):
        unet_exp.load_run(tmp_path / "folds")


def test_a_sweep_that_is_no_predictor_says_so(recipes: Path, cli: Cli) -> None:
    done = cli("task=predict", "run=multirun/two", "input=.", cwd=recipes)
    assert done.returncode == 1
    assert "is a sweep without folds.json, so it is no predictor" in done.stdout


def test_a_search_is_confirmed_with_new_seeds(cli: Cli, tmp_path: Path) -> None:
    words = [
        "n_trials=3",
        "lr=interval(0.001,0.01)",
        "batch_size=2",
        "model.depth=2",
        "optimizer=choice(adam,sgd)",
    ]
    small = [word for word in TINY if not word.startswith("model.depth")]
    done = cli("sweep=tune", *words, *small, "trainer.plots=false", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert "the best of 3 settings owes part of its score to chance" in done.stdout
    assert "sweep=confirm confirm=multirun/tune" in done.stdout
    more = ["sweep=confirm", "confirm=multirun/tune", "top=2"]
    done = cli(*more, "seed=1000,1001", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    best = read_csv(tmp_path / "multirun/tune/ranking.csv")[:2]
    jobs = sorted((tmp_path / "multirun/tune-confirm").glob("*/config_resolved.yaml"))
    assert len(jobs) == 4
    for row in best:
        lr = f"{float(row['lr']):.4g}"
        assert sum(f"lr: {lr}"[:9] in path.read_text() for path in jobs) == 2
    assert "4 done, 0 to continue, 0 to start" in cli(*more, "seed=1000,1001", cwd=tmp_path).stdout
    done = cli(*more, "seed=0,5", cwd=tmp_path)
    assert done.returncode == 1
    assert "the search has trained with seed 0 already" in done.stdout


def test_a_damaged_job_does_not_hide_what_the_others_found(recipes: Path, cli: Cli, tmp_path: Path) -> None:
    shutil.copytree(recipes / "multirun/two", tmp_path / "two")
    damaged = sorted(tmp_path.glob("two/*/job.json"))[0].parent
    (damaged / ".hydra/config.yaml").write_text("model: [\n")
    done = cli("task=summary", "sweep_dir=two", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert "warning: no report: " in done.stdout
    assert "settings can't be compared: " in done.stdout
    assert "best:    two/" in done.stdout
    assert "Traceback" not in done.stdout


def test_a_fold_that_did_not_finish_is_named(folds: Path, cli: Cli, tmp_path: Path) -> None:
    shutil.copytree(folds / "multirun/folds", tmp_path / "folds")
    status = sorted(tmp_path.glob("folds/*/status.json"))[1]
    status.write_text(json.dumps(json.loads(status.read_text()) | {"state": "failed"}))
    done = cli("task=summary", "sweep_dir=folds", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert "warning: not finished: fold 1;" in done.stdout
    assert "8 images" in done.stdout
    done = cli("task=export", "run=folds", cwd=tmp_path)
    assert done.returncode == 1
    assert "task=export run=" in done.stdout
