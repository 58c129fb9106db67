"""A run of an earlier version resumes, evaluates, predicts and reproduces."""

import csv
import shutil
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf
from PIL import Image

from tests.conftest import ROOT, Cli
from unet_exp.cli.command_line import prepare
from unet_exp.config import saved
from unet_exp.config.resolve import check
from unet_exp.config.schema import RENAMED
from unet_exp.rundir import layout

KEPT = ROOT / "tests/fixtures/run_fae3d32"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with the kept run as run/."""
    shutil.copytree(KEPT, tmp_path / "run")
    return tmp_path


def tables(run_dir: Path) -> tuple[str, str]:
    return (run_dir / layout.STEPS).read_text(), (run_dir / layout.METRICS).read_text()


def test_it_resumes_to_equal_bits_also_from_its_config_in_todays_spelling(cli: Cli, project: Path) -> None:
    for name in ("again", "rewritten"):
        shutil.copytree(KEPT, project / name)
    path = project / "rewritten" / layout.SAVED_CONFIG
    today = asdict(check(saved.load_saved(project / "rewritten", saved.CARRIED), first_start=False))
    assert len(saved.flat(today)) > len(saved.flat(OmegaConf.to_container(OmegaConf.load(path))))
    path.write_text(OmegaConf.to_yaml(OmegaConf.create(today)))
    ends = []
    for name in ("run", "again", "rewritten"):
        done = cli(f"resume={name}", cwd=project)
        assert done.returncode == 0, done.stdout
        assert "warning" not in done.stdout.lower()
        ends.append(tables(project / name))
    assert ends[0] == ends[1] == ends[2]
    before = tables(KEPT)
    assert ends[0][0].startswith(before[0])
    assert ends[0][1].startswith(before[1])
    rows = list(csv.DictReader(ends[0][0].splitlines()))
    assert [int(row["step"]) for row in rows] == list(range(1, 13))
    assert len(rows[-1]["weights"]) == 64


def test_it_is_evaluated(cli: Cli, project: Path) -> None:
    done = cli("task=evaluate", "run=run", "split=test", cwd=project)
    assert done.returncode == 0, done.stdout
    assert (project / "run" / "evaluation" / "test").is_dir()


def test_it_predicts(cli: Cli, project: Path) -> None:
    (project / "images").mkdir()
    Image.fromarray(np.full((40, 48), 128, np.uint8)).save(project / "images" / "a.png")
    done = cli("task=predict", "run=run", "input=images", "output=masks", cwd=project)
    assert done.returncode == 0, done.stdout
    with Image.open(next((project / "masks").rglob("a.png"))) as mask:
        assert mask.size == (48, 40)


def test_it_is_reproduced_or_told_what_differs(cli: Cli, project: Path) -> None:
    """Equal bits are promised on the chip and packages of the run; elsewhere the difference is explained."""
    done = cli("task=reproduce", "run=run", cwd=project)
    assert "Traceback" not in done.stdout
    if done.returncode == 0:
        assert "identical: 6 steps, 3 epochs, weights sha256" in done.stdout
        return
    assert done.returncode == 1
    assert "differs first at epoch " in done.stdout
    assert "what could explain it:" in done.stdout
    assert "nothing that is recorded" not in done.stdout


def test_earlier_names_work_with_one_warning_line(
    project: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """In a saved config and on the command line, of keys and of _target_ paths."""
    target = "unet_exp.losses.CEDiceLoss"
    for name in (layout.SAVED_CONFIG, layout.RESOLVED_CONFIG):
        path = project / "run" / name
        path.write_text(
            path.read_text().replace("lr: 0.001\n", "rate: 0.001\n", 1).replace(target, "unet_exp.Old")
        )
    monkeypatch.setitem(RENAMED, "rate", "lr")
    monkeypatch.setitem(RENAMED, "unet_exp.Old", target)
    config = saved.load_saved(project / "run", saved.CARRIED)
    assert OmegaConf.to_container(config) == OmegaConf.to_container(saved.load_saved(KEPT, saved.CARRIED))
    assert saved.resolved(project / "run") == saved.resolved(KEPT)
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.endswith(f"rate is lr now, unet_exp.Old is {target} now")
    caplog.clear()
    argv = prepare(["rate=1e-2", "loss._target_=unet_exp.Old"]).argv
    assert argv == ["lr=1e-2", f"loss._target_={target}"]
    (line,) = [record.getMessage() for record in caplog.records]
    assert "command line" in line
    assert line.endswith(f"rate is lr now, unet_exp.Old is {target} now")
