"""A sweep of an earlier version goes on in its own directories, whatever knobs came since, and moved ones."""

import json
import shutil
from copy import deepcopy
from dataclasses import asdict, dataclass, fields, make_dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path
from hydra.core.global_hydra import GlobalHydra
from hydra.core.utils import setup_globals
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from tests.conftest import ROOT, Cli, write_folder
from tests.support import state
from unet_exp.config import saved, schema, whole
from unet_exp.config.hydra_hooks import register
from unet_exp.config.schema import MAY_CHANGE, knob
from unet_exp.errors import UserError
from unet_exp.rundir import atomic, layout
from unet_exp.sweeps import composing, known, plan
from unet_exp.sweeps.plan import Planned
from unet_exp.sweeps.trial import open_study

KEPT = ROOT / "tests/fixtures/sweep_fae3d32"
SWEEP = "multirun/lr-ea621df5"
WORDS = [
    "data.size=32",
    "data.split.train=4",
    "data.split.val=2",
    "data.split.test=0",
    "model.depth=1",
    "model.base_channels=2",
    "batch_size=2",
    "epochs=20",
    "threads=1",
    "trainer.plots=false",
    "trainer.save_every=0",
]
RATES = ["3e-3", "1e-3", "3e-4"]
DONE, BEGUN, WAITING = "lr-0.003-170f1855", "lr-0.001-c855f75b", "lr-0.0003-59a69489"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The kept sweep in a project of today; we stand in it."""
    shutil.copytree(KEPT, tmp_path / "multirun")
    monkeypatch.chdir(tmp_path)
    return tmp_path


class Composer:
    """What Hydra gives to a sweeper: its loader, and the config without the axes."""

    def __init__(self, words: list[str]) -> None:
        register()
        setup_globals()
        GlobalHydra.instance().clear()
        self.words = words
        self.loader = ConfigLoaderImpl(create_config_search_path(str(ROOT / "conf")))
        self.master: DictConfig = self.loader.load_configuration("config", words, RunMode.MULTIRUN)

    def jobs(self, axis: str, values: list[str]) -> list[Planned]:
        found = []
        for value in values:
            words = [*self.words, f"{axis}={value}"]
            planned, problems = plan.compose(words, [axis], composing.Composer(self.loader, self.master))
            assert problems == []
            found.append(planned)
        return found

    def sweep(self, axis: str, values: list[str]) -> list[Path]:
        """The directories of the jobs, relative to where we stand."""
        planned = self.jobs(axis, values)
        there = plan.find_sweep(self.master, [axis], planned)
        return [plan.put(each, there).job.directory.relative_to(Path.cwd()) for each in planned]


def test_a_kept_sweep_goes_on_in_its_directories(cli: Cli, project: Path) -> None:
    """The job that is done is left alone, the begun one continues, the waiting one starts."""
    sweep = project / SWEEP
    before = {path: path.stat().st_mtime_ns for path in (sweep / DONE).glob("*.csv")}
    steps = (sweep / BEGUN / "steps.csv").read_text()
    done = cli("-m", *WORDS, f"lr={','.join(RATES)}", cwd=project)
    assert done.returncode == 0, done.stdout
    assert f"3 jobs in {SWEEP}: 1 done, 1 to continue, 1 to start" in done.stdout
    assert [path.name for path in (project / "multirun").iterdir()] == [sweep.name]
    assert sorted(path.name for path in sweep.iterdir() if path.is_dir()) == sorted([DONE, BEGUN, WAITING])
    assert {path: path.stat().st_mtime_ns for path in before} == before
    for job in (BEGUN, WAITING):
        assert (state(sweep / job)["state"], state(sweep / job)["epoch"]) == ("finished", 20)
    assert (sweep / BEGUN / "steps.csv").read_text().startswith(steps)
    assert "continuing after step 5" in (sweep / BEGUN / "job.log").read_text()


def test_a_kept_run_is_continued_by_itself(cli: Cli, project: Path) -> None:
    done = cli(f"resume={SWEEP}/{BEGUN}", "epochs=4", cwd=project)
    assert done.returncode == 0, done.stdout
    assert state(project / SWEEP / BEGUN)["epoch"] == 4


def test_a_knob_that_came_since_is_no_change(project: Path) -> None:
    values = saved.resolved(project / SWEEP / DONE)
    assert not {"channels", "unlabelled"} & set(values["data"])
    values["data"] = asdict(schema.DataConfig()) | values["data"] | {"unlabelled": "skip"}
    values["trainer"] = asdict(schema.TrainerConfig()) | values["trainer"]
    values["tags"] = []
    assert saved.config_changes(project / SWEEP / DONE, values) == ["data.unlabelled: refuse -> skip"]


def with_knob(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if trainer.sparkle, data.sparkle and model.sparkle had come since."""
    from unet_exp.config import components

    new: Any = [("sparkle", int, knob(3, "made up", minimum=0))]
    trainer: Any = dataclass(make_dataclass("TrainerConfig", new, bases=(schema.TrainerConfig,)))
    data: Any = dataclass(make_dataclass("DataConfig", new, bases=(schema.DataConfig,)))
    unet: Any = dataclass(make_dataclass("UNetConfig", new, bases=(components.UNetConfig,)))
    parts: Any = [("trainer", trainer, knob(None, "")), ("data", data, knob(None, ""))]
    config: Any = dataclass(make_dataclass("Config", parts, bases=(schema.Config,)))
    monkeypatch.setattr(whole, "Config", config)
    monkeypatch.setitem(components.COMPONENTS, components.UNetConfig._target_, unet)


def test_a_new_knob_changes_no_directory(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the sweep's nor the jobs', also where a value is added or typed otherwise."""
    with_knob(monkeypatch)
    usual = plan.values_of

    def composed_today(planned: Planned) -> dict[str, Any]:
        values = deepcopy(usual(planned))
        for group in ("trainer", "data", "model"):
            values[group]["sparkle"] = 3
        return values

    monkeypatch.setattr(plan, "values_of", composed_today)
    monkeypatch.setattr(plan, "digest", lambda own: "newdigst")
    composer = Composer(WORDS)
    found = composer.sweep("lr", ["0.00030", "3e-3", "1e-3", "1e-2"])
    assert found == [Path(SWEEP, name) for name in (WAITING, DONE, BEGUN, "lr-0.01-newdigst")]


def test_a_begun_job_whose_config_is_damaged_is_named(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / SWEEP / BEGUN / layout.SAVED_CONFIG).write_text("lr: 0.1\n\tseed: 1\n")
    assert len(known.Known(project / SWEEP).jobs) == 2
    said = capsys.readouterr().out
    assert f"{SWEEP}/{BEGUN}/{layout.SAVED_CONFIG} line 2" in said


def test_what_differs_is_another_job(project: Path) -> None:
    assert Composer([*WORDS, "seed=1"]).sweep("lr", RATES)[0].parent != Path(SWEEP)
    (other,) = Composer([*WORDS, f"hydra.sweep.dir={SWEEP}", "epochs=21"]).sweep("lr", ["3e-3"])
    assert other.name not in (DONE, BEGUN, WAITING)


def test_a_knob_that_has_another_name_now(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in (project / SWEEP).glob("*/.hydra/config.yaml"):
        content = yaml.safe_load(path.read_text())
        content["trainer"]["colour"] = content["trainer"].pop("precision")
        content["rate"] = content.pop("lr")
        content["optimizer"]["lr"] = content["rate"]
        path.write_text(yaml.safe_dump(content))
    monkeypatch.setitem(schema.RENAMED, "trainer.colour", "trainer.precision")
    monkeypatch.setitem(schema.RENAMED, "rate", "lr")
    assert Composer(WORDS).sweep("lr", RATES) == [Path(SWEEP, name) for name in (DONE, BEGUN, WAITING)]
    assert saved.load_saved(project / SWEEP / BEGUN, saved.CARRIED).lr == 0.001


def test_cores_that_were_shared_out_are_no_difference(project: Path) -> None:
    """Unless they were typed: then threads=auto is another job."""
    words = [word for word in WORDS if not word.startswith("threads")]
    assert Composer(words).sweep("lr", RATES)[0].parent != Path(SWEEP)
    for path in (project / SWEEP).glob("*/job.json"):
        record = json.loads(path.read_text())
        del record["overrides"]["threads"]
        path.write_text(json.dumps(record))
    assert Composer(words).sweep("lr", RATES) == [Path(SWEEP, name) for name in (DONE, BEGUN, WAITING)]


def test_a_name_is_only_a_label(project: Path) -> None:
    """Renamed directories are found; a name that another job has is not taken from it."""
    (project / SWEEP / DONE).rename(project / SWEEP / "the best one")
    (project / SWEEP / BEGUN / ".hydra/config.yaml").write_text("lr: [")  # of which nothing can be said
    found = Composer([*WORDS, f"hydra.sweep.dir={SWEEP}"]).sweep("lr", RATES[:1])
    assert found == [Path(SWEEP, "the best one")]
    job = Composer([*WORDS, f"hydra.sweep.dir={SWEEP}"])
    (planned,) = job.jobs("lr", ["1e-3"])
    there = plan.find_sweep(job.master, ["lr"], [planned])
    (project / SWEEP / BEGUN).rename(project / SWEEP / planned.job.name)
    assert plan.put(planned, there).job.name == f"{planned.job.name}-2"


def test_a_sweep_over_a_moved_folder_goes_on(cli: Cli, project: Path) -> None:
    """Its data typed by a whole path, and the project with it is elsewhere."""
    shutil.rmtree(project / "multirun")
    old, new = project / "old", project / "new"
    write_folder(old / "data")
    small = [
        "data=image_folder",
        "model.depth=1",
        "model.base_channels=2",
        "batch_size=2",
        "threads=1",
        "trainer.plots=false",
        "seed=0",
        "sweep_dir=sweep",
    ]
    done = cli("-m", *small, f"data.root={old / 'data'}", "epochs=1", cwd=old)
    assert done.returncode == 0, done.stdout
    for job in (old / "sweep").glob("job-*"):  # as if it had been cut off after its first epoch
        config = job / layout.SAVED_CONFIG
        config.write_text(config.read_text().replace("epochs: 1\n", "epochs: 2\n"))
        resolved = job / layout.RESOLVED_CONFIG
        resolved.write_text(resolved.read_text().replace("epochs: 1\n", "epochs: 2\n"))
        environment = json.loads((job / layout.ENVIRONMENT).read_text())
        environment["given"]["epochs"] = 2
        (job / layout.ENVIRONMENT).write_text(json.dumps(environment))
        layout.set_state(job, "interrupted")
    old.rename(new)
    done = cli("-m", *small, f"data.root={new / 'data'}", "epochs=2", cwd=new)
    assert done.returncode == 0, done.stdout
    assert "1 job in sweep: 0 done, 1 to continue, 0 to start" in done.stdout
    assert [state(job)["epoch"] for job in (new / "sweep").glob("job-*")] == [2]


def test_other_data_of_the_same_names_is_another_job(project: Path) -> None:
    for name in ("a", "b"):
        write_folder(project / name)
    composer = Composer([*WORDS[4:], "data=image_folder", "hydra.sweep.dir=sweep"])
    planned = composer.jobs("data.root", ["a", "b"])
    for each in planned:
        there = plan.find_sweep(composer.master, ["data.root"], planned)
        plan.freeze(plan.put(each, there), None)
    assert len({path.name for path in composer.sweep("data.root", ["a", "b"])}) == 2


def test_a_kept_search_finds_its_trials(project: Path) -> None:
    """Its proposals come from the study; each is the config of a directory."""
    shutil.copytree(KEPT.with_name("search_fae3d32"), project / "tune")
    record = atomic.read_json(next((project / "tune").glob("*/trial.json")))
    words = [
        *(word for word in WORDS if not word.startswith("epochs")),
        "epochs=12",
        "optimizer=adam",
        "hydra.sweep.dir=tune",
    ]
    proposed = [repr(trial.params["lr"]) for trial in open_study(project / "tune", record).trials]
    assert len(proposed) == 2
    found = Composer(words).sweep("lr", proposed)
    assert set(found) == {path.parent.relative_to(project) for path in (project / "tune").glob("*/job.json")}


def test_every_default_is_filled_in() -> None:
    """As the program itself fills it in when it runs a config."""
    from unet_exp.config.resolve import check

    composer = Composer(WORDS)
    (planned,) = composer.jobs("lr", ["1e-3"])
    values = deepcopy(plan.values_of(planned))
    del (
        values["trainer"]["keep"],
        values["data"]["split"]["group"],
        values["model"]["dropout"],
        values["metrics"],
    )
    full = whole.complete(values)
    config = OmegaConf.to_container(OmegaConf.structured(check(OmegaConf.create(planned.config.values))))
    assert full == config
    assert MAY_CHANGE in {field.metadata.get("on_resume") for field in fields(schema.TrainerConfig)}


def test_a_sweep_may_be_named_by_its_keys(project: Path) -> None:
    composer = Composer([*WORDS, "hydra.sweep.dir='${hydra:runtime.choices.model}_${model.depth}'"])
    assert [path.parent for path in composer.sweep("lr", RATES)] == [Path("unet_small_1")] * 3
    composer = Composer([*WORDS, "hydra.sweep.dir='${no.such.key}'"])
    with pytest.raises(UserError, match=r"sweep_dir: Interpolation key 'no\.such\.key' not found"):
        composer.sweep("lr", RATES)


def test_a_directory_that_another_job_has_is_not_met_by_its_letters(project: Path) -> None:
    """Though its frozen config is the job's to the letter, as after a move of folders."""
    there = known.Known(project / SWEEP)
    (planned,) = Composer(WORDS).jobs("lr", RATES[:1])
    frozen = (there.directory / DONE / layout.SAVED_CONFIG).read_text()
    values = plan.values_of(planned)
    assert known.find_directory(there, DONE, values, frozen) == there.directory / DONE
    taken = known.Known(project / SWEEP)
    taken.met[taken.directory / DONE] = known.settings_of({**values, "seed": 7})
    assert known.find_directory(taken, DONE, values, frozen) == taken.directory / f"{DONE}-2"
