"""task=compare: settings, scores and differences of finished runs."""

import csv
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from tests.conftest import SMALL, TINY, Cli, write_folder
from tests.support import read_csv
from unet_exp.comparison.image_scores import chosen_by_others, read_images
from unet_exp.comparison.settings import Reader
from unet_exp.statistics.difference import difference
from unet_exp.statistics.selection import left_out_scores


def in_one_line(printed: str) -> str:
    return " ".join(printed.split())


def jobs(start: Path) -> list[Path]:
    return sorted(path.parent for path in start.glob("multirun/two/*/job.json"))


def test_scores_are_paired_by_image_and_repeated_by_seed(recipes: Path, cli: Cli, tmp_path: Path) -> None:
    done = cli("task=compare", "runs=multirun/two", f"output={tmp_path}", cwd=recipes)
    assert done.returncode == 0, done.stdout
    assert "A  lr=0.001: multirun/two/" in done.stdout
    assert "12 images, 2 trainings of each recipe" in done.stdout
    assert max(map(len, done.stdout.splitlines()[5:])) <= 80
    values = [
        left_out_scores(
            np.array(
                [[float(v) for k, v in row.items() if k not in ("epoch", "step")] for row in read_csv(p)]
            ),
            [str(i) for i in range(12)],
        )
        for p in (job / "validations.csv" for job in jobs(recipes))
    ]
    expected = difference(np.stack(values[:2]), np.stack(values[2:]))
    (row,) = read_csv(tmp_path / "differences.csv")
    for name in ("mean", "low", "high", "p"):
        column = "difference" if name == "mean" else name
        assert float(row[column]) == pytest.approx(getattr(expected, name), abs=1e-9)
    settings = read_csv(tmp_path / "settings.csv")
    assert [(row["lr"], row["seed"]) for row in settings] == [
        ("0.001", "0"),
        ("0.001", "1"),
        ("0.003", "0"),
        ("0.003", "1"),
    ]
    assert (tmp_path / "comparison.png").stat().st_size > 10_000


def test_images_csv_is_the_best_epoch_and_evaluate_gives_the_same(recipes: Path, cli: Cli) -> None:
    run = jobs(recipes)[0]
    rows = read_csv(run / "images.csv")
    best = json.loads((run / "status.json").read_text())["best_epoch"]
    assert {row["epoch"] for row in rows} == {str(best)}
    done = cli("task=evaluate", f"run={run}", cwd=recipes)
    assert done.returncode == 0, done.stdout
    for ours, theirs in zip(rows, read_csv(run / "evaluation/val/images.csv"), strict=True):
        for name in ("name", "group", "dice", "iou_membrane"):
            assert ours[name] == theirs[name]
    of_best = next(row for row in read_csv(run / "validations.csv") if row["epoch"] == str(best))
    assert {row["name"]: float(row["dice"]) for row in rows} == pytest.approx(
        {name: float(value) for name, value in of_best.items() if name not in ("epoch", "step")}, abs=1e-6
    )


def test_one_run_each_is_a_paired_t_test_and_says_what_it_leaves_out(
    recipes: Path, cli: Cli, tmp_path: Path
) -> None:
    first, _, second, _ = jobs(recipes)
    for run in (first, second):
        assert cli("task=evaluate", f"run={run}", "split=test", cwd=recipes).returncode == 1  # there is none
        assert cli("task=evaluate", f"run={run}", "split=train", cwd=recipes).returncode == 0
    words = [f"runs=[{first},{second}]", "split=train", "score=iou", f"output={tmp_path}"]
    done = cli("task=compare", *words, cwd=recipes)
    assert done.returncode == 0, done.stdout
    assert "nothing can be said of other images or trainings" in in_one_line(done.stdout)  # six images
    words = [f"runs=[{first},{second}]", "score=iou", f"output={tmp_path}"]
    done = cli("task=compare", *words, cwd=recipes)
    assert "the intervals leave out the luck of training" in in_one_line(done.stdout)
    assert f"-m from_run={first.relative_to(recipes)} seed=1,2,3,4" in done.stdout
    assert "the best epoch was chosen on these images" in in_one_line(done.stdout)
    values = [[float(row["iou"]) for row in read_csv(run / "images.csv")] for run in (first, second)]
    (row,) = read_csv(tmp_path / "differences.csv")
    assert float(row["p"]) == pytest.approx(stats.ttest_rel(values[1], values[0]).pvalue)


def test_runs_that_differ_in_their_seed_alone_are_compared_as_they_are(
    recipes: Path, cli: Cli, tmp_path: Path
) -> None:
    done = cli("task=compare", "runs=[multirun/two/lr-0.001*]", f"output={tmp_path}", cwd=recipes)
    assert done.returncode == 0, done.stdout
    assert "A  seed=0: " in done.stdout
    assert "B  seed=1: " in done.stdout


def test_a_run_that_is_given_twice_counts_once(recipes: Path, cli: Cli, tmp_path: Path) -> None:
    shutil.copytree(jobs(recipes)[0], tmp_path / "again")
    done = cli("task=compare", f"runs=[multirun/two,{tmp_path}/again]", f"output={tmp_path}/o", cwd=recipes)
    assert done.returncode == 0, done.stdout
    assert "has recipe and seed of" in done.stdout
    assert (read_csv(tmp_path / "o/differences.csv"))[0]["trainings_first"] == "2"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["runs=[multirun/two/lr-0.001_seed-0*]"], "runs finds 1 run"),
        (["runs=[nowhere,multirun/two]"], "nowhere finds no directory"),
        (["runs=[no*,multirun/two]"], "no* finds no directory"),
        (["runs=multirun/two", "score=dise"], "has no score dise"),
        (["runs=multirun/two", "split=test"], "task=evaluate run="),
    ],
)
def test_what_cannot_be_compared_is_said(words: list[str], said: str, recipes: Path, cli: Cli) -> None:
    done = cli("task=compare", *words, cwd=recipes)
    assert done.returncode == 1
    assert said in done.stdout
    assert "Traceback" not in done.stdout


def test_other_images_of_the_same_name_are_refused(recipes: Path, cli: Cli, tmp_path: Path) -> None:
    words = [*TINY, "data.split.val=12", "data.seed=5", "hydra.run.dir=other", "trainer.plots=false"]
    assert cli(*words, cwd=tmp_path).returncode == 0
    done = cli("task=compare", f"runs=[{jobs(recipes)[0]},other]", cwd=tmp_path)
    assert done.returncode == 1
    assert "differ in their images, so their scores can't be paired" in done.stdout


def test_scores_of_an_older_epoch_are_not_taken(recipes: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(jobs(recipes)[0], run)
    shutil.rmtree(run / "evaluation", ignore_errors=True)
    status = json.loads((run / "status.json").read_text())
    (run / "status.json").write_text(json.dumps(status | {"best_epoch": 99}))
    with pytest.raises(Exception, match="no scores of the val images yet"):
        read_images(run, "val")


def test_a_run_with_lost_validations_is_not_corrected(recipes: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(jobs(recipes)[0], run)
    settings = Reader().settings(run)
    images = read_images(run, "val")
    assert chosen_by_others(run, images, settings, "dice") is not None
    assert chosen_by_others(run, images, settings, "iou") is None
    lines = (run / "validations.csv").read_text().splitlines()
    (run / "validations.csv").write_text("\n".join(lines[:-1]) + "\n")
    assert chosen_by_others(run, images, settings, "dice") is None


def test_a_csv_of_nan_is_empty(recipes: Path, cli: Cli, tmp_path: Path) -> None:
    first, _, second, _ = jobs(recipes)
    for run in (first, second):
        cli("task=evaluate", f"run={run}", "split=train", cwd=recipes)
    words = [f"runs=[{first},{second}]", "split=train", f"output={tmp_path}"]
    assert cli("task=compare", *words, cwd=recipes).returncode == 0
    (row,) = read_csv(tmp_path / "differences.csv")
    assert row["low"] == row["p"] == ""
    assert not math.isnan(float(row["difference"]))


def test_a_run_repeated_from_its_config_is_the_same_recipe(cli: Cli, tmp_path: Path) -> None:
    """As the line "more seeds" says: from_run= fills in what the run decided, such as its precision."""
    words = ["data.split.val=10", "trainer.precision=auto", "trainer.plots=false"]
    first = cli(*TINY, *words, "hydra.run.dir=outputs/a", cwd=tmp_path)
    assert first.returncode == 0, first.stdout
    again = cli("-m", "from_run=outputs/a", "seed=1,2", "sweep_dir=multirun/more", cwd=tmp_path)
    assert again.returncode == 0, again.stdout
    other = cli(*TINY, *words, "lr=0.01", "hydra.run.dir=outputs/b", cwd=tmp_path)
    assert other.returncode == 0, other.stdout
    done = cli("task=compare", "runs=[outputs/a,multirun/more,outputs/b]", "output=c", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert "outputs/a and 2 more runs" in done.stdout
    assert "3 trainings of A, 1 training of B" in in_one_line(done.stdout)
    assert "B  lr=0.01: outputs/b" in done.stdout


def test_generated_images_of_another_seed_are_not_paired(cli: Cli, tmp_path: Path) -> None:
    """They have the same names."""
    words = ["data.split.val=10", "trainer.plots=false", "sweep_dir=multirun/images"]
    done = cli("-m", *TINY, *words, "data.seed='${seed}'", "seed=0,1", "lr=1e-3,3e-3", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert "settings can't be compared: " in done.stdout
    assert "differ in their images" in in_one_line(done.stdout)
    done = cli("task=compare", "runs=multirun/images", "output=c", cwd=tmp_path)
    assert done.returncode == 1
    assert "differ in their images, so their scores can't be paired" in done.stdout


def test_runs_of_other_images_say_which(recipes: Path, cli: Cli, tmp_path: Path) -> None:
    first, second, *_ = jobs(recipes)
    for name, run in (("a", first), ("b", second)):
        shutil.copytree(run, tmp_path / name)
    rows = read_csv(tmp_path / "b/images.csv")
    with open(tmp_path / "b/images.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(row | {"name": f"other{row['name']}"} for row in rows)
    done = cli("task=compare", "runs=[a,b]", cwd=tmp_path)
    assert done.returncode == 1, done.stdout
    assert "have no val image in common" in done.stdout
    assert "other" in done.stdout


def test_a_name_that_all_recipes_share_is_no_label(recipes: Path, cli: Cli, tmp_path: Path) -> None:
    words = [*TINY, "data.split.val=10", "trainer.plots=false", "name=pilot", "lr=1e-3,1e-2"]
    done = cli("-m", *words, "sweep_dir=multirun/named", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    done = cli("task=compare", "runs=multirun/named", "output=c", cwd=tmp_path)
    assert "A  lr=0.001: " in done.stdout
    assert "B  lr=0.01: " in done.stdout


def test_tta_compares_the_scores_of_tta(recipes: Path, cli: Cli, tmp_path: Path) -> None:
    first, _, second, _ = jobs(recipes)
    for name, run in (("a", first), ("b", second)):
        shutil.copytree(run, tmp_path / name)
        done = cli("task=evaluate", f"run={name}", "tta=true", "worst=0", cwd=tmp_path)
        assert done.returncode == 0, done.stdout
    done = cli("task=compare", "runs=[a,b]", "tta=true", "output=c", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    means = [
        np.mean([float(row["dice"]) for row in read_csv(tmp_path / name / "evaluation/val_tta/images.csv")])
        for name in ("a", "b")
    ]
    (row,) = read_csv(tmp_path / "c/differences.csv")
    assert [float(row["mean_first"]), float(row["mean_second"])] == pytest.approx(means, abs=1e-6)


def test_what_has_not_finished_is_said(recipes: Path, cli: Cli, tmp_path: Path) -> None:
    shutil.copytree(recipes / "multirun/two", tmp_path / "two")
    path = jobs(recipes)[0].name
    status = tmp_path / "two" / path / "status.json"
    status.write_text(json.dumps(json.loads(status.read_text()) | {"state": "interrupted"}))
    done = cli("task=compare", "runs=two", cwd=tmp_path)
    assert "warning: two: 1 of 4 jobs left out, not finished" in done.stdout
    assert "1 training of A, 2 trainings of B" in in_one_line(done.stdout)
    other = jobs(recipes)[2].name
    done = cli("task=compare", f"runs=[two/{path},two/{other}]", cwd=tmp_path)
    assert f"warning: two/{path} is interrupted: its scores are those so far" in done.stdout


def test_images_that_some_runs_did_not_score_are_counted(recipes: Path, cli: Cli, tmp_path: Path) -> None:
    first, _, second, _ = jobs(recipes)
    for name, run in (("a", first), ("b", second)):
        shutil.copytree(run, tmp_path / name)
    lines = (tmp_path / "b/images.csv").read_text().splitlines()
    (tmp_path / "b/images.csv").write_text("\n".join([*lines[:-1], ""]))
    done = cli("task=compare", "runs=[a,b]", cwd=tmp_path)
    assert "11 images" in done.stdout
    assert "1 image left out: some run has no dice of them" in done.stdout


def test_a_page_is_all_that_a_report_of_runs_writes(recipes: Path, cli: Cli, tmp_path: Path) -> None:
    done = cli("task=report", f"runs={recipes}/multirun/two", "output=page.html", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]
    assert "written: page.html" in done.stdout
    done = cli("task=compare", f"runs={recipes}/multirun/two", "output=page.html", cwd=tmp_path)
    assert done.returncode == 1
    assert "is a page, not a folder" in done.stdout


def test_runs_that_began_from_other_weights_are_other_recipes(cli: Cli, tmp_path: Path) -> None:
    """Both files are called best.pt; and a copy of one is the same weights."""
    tiny = [*TINY, "data.split.val=10", "trainer.plots=false"]
    for name, seed in (("a", 0), ("b", 1)):
        done = cli(*tiny, f"seed={seed}", f"hydra.run.dir=outputs/{name}", cwd=tmp_path)
        assert done.returncode == 0, done.stdout
    shutil.copytree(tmp_path / "outputs/a/checkpoints", tmp_path / "copy")
    for name, weights, seed in (
        ("from_a", "outputs/a/checkpoints/best.pt", 0),
        ("from_copy", "copy/best.pt", 1),
        ("from_b", "outputs/b/checkpoints/best.pt", 0),
    ):
        words = [f"model.weights={weights}", f"seed={seed}", f"hydra.run.dir=outputs/{name}"]
        done = cli(*tiny, *words, cwd=tmp_path)
        assert done.returncode == 0, done.stdout
    runs = "runs=[outputs/from_a,outputs/from_copy,outputs/from_b]"
    done = cli("task=compare", runs, "output=c", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert "2 trainings of A, 1 training of B" in in_one_line(done.stdout)
    assert "outputs/from_a and 1 more run" in done.stdout
    assert "B  model.weights=outputs/b/checkpoints/best.pt: outputs/from_b" in done.stdout
    done = cli("task=compare", "runs=[outputs/a,outputs/from_b]", "output=c", cwd=tmp_path)
    assert "A  model.weights=None: outputs/a" in done.stdout


def test_runs_on_other_training_images_are_other_recipes(cli: Cli, tmp_path: Path) -> None:
    """Listed in another csv; where the files lie is no difference."""
    write_folder(tmp_path / "data", 14, size=32)
    names = sorted(path.name for path in (tmp_path / "data/images").iterdir())
    for name, train in (("few", names[:2]), ("many", names[:4])):
        rows = [f"images/{one},labels/{one},train" for one in train]
        rows += [f"images/{one},labels/{one},val" for one in names[4:]]
        (tmp_path / "data" / f"{name}.csv").write_text("\n".join(["image,label,split", *rows, ""]))
        words = ["data=csv", "data.root=data", f"data.csv={name}.csv", f"hydra.run.dir=outputs/{name}"]
        done = cli(*SMALL, *words, "trainer.plots=false", "trainer.report=false", cwd=tmp_path)
        assert done.returncode == 0, done.stdout
    done = cli("task=compare", "runs=[outputs/few,outputs/many]", "output=c", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert "A  data.csv=few.csv: outputs/few" in done.stdout
    assert "B  data.csv=many.csv: outputs/many" in done.stdout


def test_a_pattern_that_finds_sweeps_says_what_is_left_out(recipes: Path, cli: Cli, tmp_path: Path) -> None:
    shutil.copytree(recipes / "multirun/two", tmp_path / "sweeps/two")
    status = tmp_path / "sweeps/two" / jobs(recipes)[0].name / "status.json"
    status.write_text(json.dumps(json.loads(status.read_text()) | {"state": "failed"}))
    done = cli("task=compare", "runs=sweeps/*", cwd=tmp_path)
    assert "warning: sweeps/two: 1 of 4 jobs left out, not finished" in done.stdout
