"""task=list, and the labels by which runs are found."""

import csv
import json
import shutil
from pathlib import Path

import yaml

from tests.conftest import TINY, Cli
from tests.support import table


def test_the_runs_below_a_folder(recipes: Path, cli: Cli, tmp_path: Path) -> None:
    done = cli("task=list", "root=multirun", "sort=score", cwd=recipes)
    assert done.returncode == 0, done.stdout
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["run", "state", "score", "time", "settings"]
    assert lines[-1] == "4 runs in multirun"
    scores = [float(line.split()[2]) for line in lines[1:-1]]
    assert scores == sorted(scores, reverse=True)
    assert sum("lr=0.003" in line for line in lines) + sum("lr=0.001" in line for line in lines) == 2
    for name, read in (("a.csv", csv.DictReader), ("a.json", json.load)):
        assert cli("task=list", "root=multirun", f"output={tmp_path / name}", cwd=recipes).returncode == 0
        with open(tmp_path / name, newline="") as file:
            rows = list(read(file))
        assert len(rows) == 4
        assert {row["state"] for row in rows} == {"finished"}
        assert rows[0]["notes"] == "it's 3 = three, ${x}"
    assert rows[0]["tags"] == ["pilot", "a b"]


def test_tags_and_what_is_wrong_with_them(recipes: Path, cli: Cli) -> None:
    assert "4 runs" in cli("task=list", "root=multirun", "tag=pilot", cwd=recipes).stdout
    assert "4 runs" in cli("task=list", "root=multirun", "tag='a b'", cwd=recipes).stdout
    done = cli("task=list", "root=multirun", "tag=pilott", cwd=recipes)
    assert done.returncode == 1
    assert "no run of multirun has the tag pilott; did you mean 'pilot'?" in done.stdout
    done = cli("task=list", "root=multirun", "sort=rl", cwd=recipes)
    assert done.returncode == 1
    assert "sort=rl is no column" in done.stdout
    assert "is no folder" in cli("task=list", "root=nowhere", cwd=recipes).stdout


def test_labels_are_no_part_of_what_a_run_does(cli: Cli, tmp_path: Path) -> None:
    """Equal bits with and without; from_run= leaves them out, resume= may change them."""
    for name, words in (("a", []), ("b", ["name=my first, (run)", "tags=one,two", "notes=100% 'mine'"])):
        done = cli(*TINY, *words, f"hydra.run.dir={name}", "trainer.plots=false", cwd=tmp_path)
        assert done.returncode == 0, done.stdout
    assert table(tmp_path / "a") == table(tmp_path / "b")
    saved = yaml.safe_load((tmp_path / "b/.hydra/config.yaml").read_text())
    assert (saved["name"], saved["tags"], saved["notes"]) == (
        "my first, (run)",
        ["one", "two"],
        "100% 'mine'",
    )
    assert cli("from_run=b", "hydra.run.dir=c", "epochs=1", cwd=tmp_path).returncode == 0
    assert yaml.safe_load((tmp_path / "c/.hydra/config.yaml").read_text())["name"] is None
    assert cli("resume=b", "epochs=3", "name=longer", cwd=tmp_path).returncode == 0
    done = cli("task=list", "root=.", cwd=tmp_path)
    assert "longer" in done.stdout
    assert "#one #two" in done.stdout


def test_a_sweep_meets_its_jobs_whatever_it_is_called(cli: Cli, tmp_path: Path) -> None:
    words = ["-m", *TINY, "epochs=1", "seed=0,1", "trainer.plots=false"]
    assert cli(*words, cwd=tmp_path).returncode == 0
    done = cli(*words, "name=again", "tags=[late]", cwd=tmp_path)
    assert done.returncode == 0
    assert "2 done, 0 to continue, 0 to start" in done.stdout
    assert len(list((tmp_path / "multirun").iterdir())) == 1


def test_runs_that_are_damaged_or_never_began_are_listed(recipes: Path, cli: Cli, tmp_path: Path) -> None:
    (job, *_) = sorted(recipes.glob("multirun/two/*/job.json"))
    for name in ("damaged", "running", "waiting"):
        shutil.copytree(job.parent, tmp_path / "outputs" / name)
    (tmp_path / "outputs/damaged/.hydra/config.yaml").write_text("lr: [1\n")
    (tmp_path / "outputs/running/status.json").write_text('{"state": "running", "epoch": 0, "step": 0}')
    for path in (tmp_path / "outputs/waiting").iterdir():
        if path.name != ".hydra":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    (tmp_path / "outputs/link").symlink_to(job.parent)
    done = cli("task=list", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    lines = {line.split()[0]: line for line in done.stdout.splitlines()[1:-1]}
    assert set(lines) == {"damaged", "running", "waiting"}
    assert "config.yaml line" in lines["damaged"]
    assert lines["running"].split()[1] == "running"
    assert float(lines["running"].split()[2]) > 0
    assert lines["waiting"].split()[1:3] == ["waiting", "-"]


def test_a_file_is_csv_or_json(recipes: Path, cli: Cli) -> None:
    done = cli("task=list", "root=multirun", "output=a.txt", cwd=recipes)
    assert done.returncode == 1
    assert "a.txt is neither csv nor json" in done.stdout


def test_labels_of_what_has_ended_may_be_changed(recipes: Path, cli: Cli, tmp_path: Path) -> None:
    """Of a run by resume=, and again; of a sweep by its command."""
    shutil.copytree(recipes, tmp_path / "start")
    (job, *_) = sorted((tmp_path / "start").glob("multirun/two/*/job.json"))
    run = tmp_path / "start/outputs/run"
    shutil.copytree(job.parent, run)
    (run / "job.json").unlink()
    for words in (["name=other", "notes=seen"], []):
        done = cli("resume=outputs/run", *words, cwd=tmp_path / "start")
        assert done.returncode == 0, done.stdout
        assert ("its name and notes changed" in done.stdout) == bool(words)
        listed = cli("task=list", cwd=tmp_path / "start").stdout
        assert "other " in listed
        assert "run" in listed.splitlines()[1].split()[-1]
    words = ["lr=1e-3,3e-3", "seed=0,1", "data.split.val=12", "sweep_dir=multirun/two", "trainer.plots=false"]
    words += ["trainer.report=true", "tags=[later]"]
    done = cli("-m", *TINY, *words, cwd=tmp_path / "start")
    assert done.returncode == 0, done.stdout
    assert "4 done" in done.stdout
    assert "tags of 4 jobs changed" in done.stdout
    assert "4 runs" in cli("task=list", "root=multirun", "tag=later", cwd=tmp_path / "start").stdout
