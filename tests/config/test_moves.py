"""Runs go on after their data, their folder or the whole project has moved, and with other settings."""

import dataclasses
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

import run
from tests.conftest import ROOT, Cli, write_folder
from unet_exp.cli import command_line
from unet_exp.cli.process import attend
from unet_exp.config import saved
from unet_exp.config.checks import find_problems
from unet_exp.config.hydra_hooks import register
from unet_exp.config.may_change import MAY_CHANGE
from unet_exp.config.resolve import changeable, check, check_resume, resolved_yaml
from unet_exp.config.schema import Config
from unet_exp.config.task_schema import (
    DataRootConfig,
    EvaluateConfig,
    MovedDataConfig,
    MovedWeightsConfig,
    ReproduceConfig,
)
from unet_exp.errors import UserError
from unet_exp.inference.load import run_config
from unet_exp.rundir import layout, provenance
from unet_exp.rundir.directory import Origin, RunDirectory
from unet_exp.tasks.evaluate import evaluate
from unet_exp.tasks.reproduce import reproduce

SMALL = [
    "model.depth=1",
    "model.base_channels=2",
    "epochs=1",
    "batch_size=2",
    "threads=1",
    "device=cpu",
    "trainer.plots=false",
]
FOLDER = ["data=image_folder", "data.root=data", *SMALL]
Start = Callable[..., Path]


def typed(monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    """Let this process have been started as `python run.py WORDS`."""
    for name in ("argv", "orig_argv"):
        monkeypatch.setattr(sys, name, ["run.py", *words])


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Start:
    """As `python run.py WORDS`, in this process; returns the run directory."""

    def begin(*words: str, run_dir: str = "run") -> Path:
        typed(monkeypatch, *words)
        register()
        GlobalHydra.instance().clear()
        command = command_line.prepare(list(words))
        primary = command.argv[1] if command.argv[0] == "--config-name" else "config"
        overrides = [word for word in command.argv if "=" in word and not word.startswith("hydra.")]
        with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
            cfg = compose(primary, overrides=overrides)
        directory = command.origin if command.resume and command.origin else Path(run_dir)
        if not command.resume:
            (directory / ".hydra").mkdir(parents=True)
            OmegaConf.save(cfg, directory / layout.SAVED_CONFIG)
        origin = Origin(command.origin, command.resume)
        if code := attend(run.train, cfg, RunDirectory(directory), origin, command.saved):
            sys.exit(code)
        return directory

    return begin


@pytest.fixture
def project(tmp_path: Path, start: Start, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with its data in data/ and a run of one epoch in run/; we stand in it."""
    home = tmp_path / "project"
    write_folder(home / "data")
    monkeypatch.chdir(home)
    start(*FOLDER)
    return home


def replay(**options: Any) -> None:
    """task=reproduce, which Hydra has started."""
    register()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        reproduce(ReproduceConfig(**options), run.train)


def epochs(run_dir: Path) -> int:
    return int(json.loads((run_dir / "status.json").read_text())["epoch"])


def other_value(field: "dataclasses.Field[Any]", value: Any) -> Any:
    """A value that the knob may have and has not."""
    rules = field.metadata
    if "choices" in rules:
        return next(choice for choice in rules["choices"] if choice not in (value, "auto"))
    if isinstance(value, bool):
        return not value
    if field.name == "tags":
        return [*value, "other"]
    if "str" in str(field.type):
        return {"device": "cpu", "num_workers": 1, "choose_threshold": "dice"}.get(field.name, "other")
    return (value or 1) + 1


def fields() -> dict[str, "dataclasses.Field[Any]"]:
    found = {}
    for key in MAY_CHANGE:
        *path, name = key.split(".")
        schema: Any = Config
        for part in path:
            schema = {f.name: f.type for f in dataclasses.fields(schema)}[part]
        if dataclasses.is_dataclass(schema):
            found[key] = {f.name: f for f in dataclasses.fields(schema)}[name]
    return found


def test_what_a_resumed_run_may_change_it_keeps(tmp_path: Path) -> None:
    """Every knob that resume= may change: changed once, it has that value at each later start."""
    cfg = compose_with("data=image_folder", f"data.root={tmp_path}")
    (tmp_path / ".hydra").mkdir()
    OmegaConf.save(cfg, tmp_path / layout.SAVED_CONFIG)

    def begin(config: Config) -> dict[str, Any]:
        """What a start leaves; the resolved config has other values than were given."""
        decided = dataclasses.replace(config, data=dataclasses.replace(config.data, cache="ram"))
        (tmp_path / layout.RESOLVED_CONFIG).write_text(
            resolved_yaml(dataclasses.replace(decided, num_workers=0))
        )
        given = changeable(config)
        facts = {"start_dir": str(tmp_path), "epochs": config.epochs, "from_epoch": 0, "given": given}
        provenance.write_environment(tmp_path, facts)
        return given

    before = begin(check(cfg))
    assert before["data.cache"] == "auto"
    kept = {key: other_value(field, before[key]) for key, field in fields().items()}
    kept["data.root"] = str(write_folder(tmp_path / "moved"))
    again = saved.load_saved(tmp_path, saved.CARRIED)
    for key, value in kept.items():
        OmegaConf.update(again, key, value)
    changed = check(again)
    check_resume(saved.load_saved(tmp_path, saved.CARRIED), changed)
    given = begin(changed)
    assert {key: given[key] for key in kept} == kept
    assert sum(kept[key] != before[key] for key in kept) >= len(kept) - 1  # the device is the same word
    for _ in range(2):
        later = check(saved.load_saved(tmp_path, saved.CARRIED))
        given = begin(later)
        assert {key: given[key] for key in kept} == kept


def test_auto_stays_auto_and_its_limit_counts(project: Path, start: Start) -> None:
    start("resume=run", "epochs=2", "data.cache_limit_mb=0", "trainer.save_every=1", "trainer.keep=1")
    start("resume=run", "epochs=3")
    resolved = OmegaConf.load(project / "run/config_resolved.yaml")
    assert (resolved.data.cache, resolved.data.cache_limit_mb) == ("disk", 0)
    assert [path.name for path in (project / "run/checkpoints").glob("epoch_*")] == ["epoch_0003.pt"]


def test_a_run_of_before_values_were_recorded_goes_on(project: Path, start: Start) -> None:
    start("resume=run", "epochs=2", "trainer.images_max=2")
    path = project / "run/environment.json"
    environment = json.loads(path.read_text())
    del environment["given"], environment["restarts"][0]["given"]
    path.write_text(json.dumps(environment))
    start("resume=run", "epochs=3")
    resolved = OmegaConf.load(project / "run/config_resolved.yaml")
    assert (resolved.trainer.images_max, resolved.epochs) == (2, 3)


def test_moved_data(project: Path, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """resume, from_run, reproduce and evaluate say what to type, and take it."""
    (project / "data").rename(project / "elsewhere")
    with pytest.raises(SystemExit):
        start("resume=run", "epochs=2")
    with pytest.raises(UserError, match=r"resume=run data\.root=DIR"):
        check(saved.load_saved(Path("run"), saved.CARRIED))
    start("resume=run", "epochs=2", "data.root=elsewhere")
    assert epochs(project / "run") == 2
    start("resume=run", "epochs=3")  # it is remembered
    start("from_run=run", run_dir="new")
    (project / "elsewhere").rename(project.parent / "third")
    monkeypatch.chdir(project.parent)
    typed(monkeypatch, "task=evaluate", "run=project/run")
    with pytest.raises(UserError, match=r"task=evaluate run=project/run data\.root=DIR"):
        evaluate(EvaluateConfig(run="project/run"))
    replay(run="project/run", data=MovedDataConfig(root="third"))
    evaluate(EvaluateConfig(run="project/run", data=DataRootConfig(root="third")))
    assert run_config(project / "run").data.root == str(project / "elsewhere")


def test_a_list_of_whole_paths_moves_with_its_files(project: Path, start: Start) -> None:
    """Their ends are looked for below data.root; the samples keep their names."""
    rows = [f"{project}/data/images/{i:02d}.png,{project}/data/labels/{i:02d}.png" for i in range(6)]
    (project / "data/list.csv").write_text("\n".join(["image,label", *rows]) + "\n")
    start("data=csv", "data.root=data", *SMALL, run_dir="listed")
    (project / "data").rename(project / "moved")
    start("resume=listed", "epochs=2", "data.root=moved")
    assert epochs(project / "listed") == 2
    replay(run="listed")


def test_other_data_is_no_moved_data(project: Path, start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    write_folder(project / "other", seed=1)
    with pytest.raises(SystemExit):
        start("resume=run", "epochs=2", "data.root=other")
    assert "train/images/00.png has other content" in capsys.readouterr().err


@pytest.mark.parametrize("where", ["in the project", "elsewhere"])
def test_a_moved_project(
    where: str, project: Path, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = tmp_path / "another machine" / "project"
    new.parent.mkdir()
    monkeypatch.chdir(tmp_path)
    project.rename(new)
    monkeypatch.chdir(new if where == "in the project" else tmp_path)
    directory = start(f"resume={new / 'run'}", "epochs=2")
    assert epochs(directory) == 2
    replay(run=str(directory))
    evaluate(EvaluateConfig(run=str(directory)))
    start(f"from_run={directory}", run_dir=str(tmp_path / "again"))


def test_the_file_that_a_run_began_from_may_be_gone_later(
    project: Path, start: Start, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    base = project / "run/checkpoints/best.safetensors"
    shutil.copy(base, project / "base.safetensors")
    start(*FOLDER, "model.weights=base.safetensors", run_dir="tuned")
    (project / "base.safetensors").unlink()
    start("resume=tuned", "epochs=2")
    assert epochs(project / "tuned") == 2
    evaluate(EvaluateConfig(run="tuned"))
    with pytest.raises(SystemExit):
        start("from_run=tuned", run_dir="again")
    error = capsys.readouterr().err
    assert "1 problem" in error
    assert "base.safetensors is not there" in error
    assert "from_run=tuned model.weights=FILE" in error
    typed(monkeypatch, "task=reproduce", "run=tuned")
    with pytest.raises(UserError, match=r"task=reproduce run=tuned model\.weights=FILE"):
        replay(run="tuned")
    (project / "backup").mkdir()
    shutil.copy(base, project / "backup/base.safetensors")
    moved = MovedWeightsConfig(weights="backup/base.safetensors")
    replay(run="tuned", model=moved)


def test_a_path_with_dollars_is_taken_as_it_is(
    project: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = project / "a${x}b $HOME ${oc.env:HOME}"
    (project / "data").rename(odd)
    start(*FOLDER, f"data.root={odd.name}", run_dir="odd")
    start("resume=odd", "epochs=2")
    start("from_run=odd", run_dir="again")
    evaluate(EvaluateConfig(run="odd"))
    replay(run="again")
    assert run_config(Path("odd")).data.root == str(odd)


def compose_with(*words: str) -> Any:
    register()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return compose("config", overrides=list(words))


def test_calls_are_saved_as_the_values_they_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of each kind, alone and within text, lists and mappings; references between keys stay references."""
    monkeypatch.setenv("MINE", "a${lr}b")
    monkeypatch.setenv("NUMBER", "8")
    OmegaConf.register_new_resolver("mine", lambda x: 2 * int(x), replace=True)
    cfg = compose_with()
    OmegaConf.set_struct(cfg, False)
    cfg.data.csv = "${oc.env:MINE}/x"
    cfg.data.images = "${lr}"
    cfg.data.classes = ["${oc.env:NOT_THERE,cell}", "${data.labels}"]
    cfg.data.label_map = {0: "${oc.env:NUMBER}", 255: "ignore"}
    cfg.data.size = "${oc.decode:${oc.env:NUMBER}}"
    cfg.optimizer.betas = "${oc.create:[0.5, 0.9]}"
    cfg.optimizer.weight_decay = "${mine:${batch_size}}"
    kept = saved.save_composed(cfg, tmp_path)
    back = saved.load_saved(tmp_path, ())
    assert OmegaConf.to_container(back) == OmegaConf.to_container(kept)
    text = (tmp_path / layout.SAVED_CONFIG).read_text()
    assert "lr: ${lr}" in text
    assert "mean: ${transform.mean}" in text
    assert not any(name in text for name in ("oc.", "mine:"))
    assert (back.data.csv, back.data.images, back.data.size) == ("a${lr}b/x", 0.001, 8)
    assert (list(back.data.classes), back.data.label_map[0]) == (["cell", "labels"], "8")
    assert (list(back.optimizer.betas), back.optimizer.weight_decay) == ([0.5, 0.9], 8)


def test_a_number_of_the_environment_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LR", "0.002")
    own = saved.without_hydra(compose_with("lr=${oc.env:LR}", "batch_size=${oc.env:BATCH,3}"))
    assert find_problems(own) == []
    assert (own.lr, own.optimizer.lr, own.batch_size) == (0.002, 0.002, 3)
    monkeypatch.delenv("LR")
    (problem,) = find_problems(own)
    assert problem == "lr: the environment variable LR is not set"


def test_a_run_directory_by_its_keys_and_any_output_subdir(cli: Cli, tmp_path: Path) -> None:
    """As the Hydra templates have it: root from the environment, no .hydra, the directory named by a knob."""
    write_folder(tmp_path / "data")
    (tmp_path / "conf/data").mkdir(parents=True)
    (tmp_path / "conf/data/mine.yaml").write_text("defaults: [image_folder]\nroot: ${oc.env:MY_DATA}\n")
    words = ["data=mine", *SMALL, "hydra.run.dir=runs/${hydra:runtime.choices.model}_${lr}"]
    odd = ["hydra.output_subdir=null", "hydra.job.chdir=true"]
    done = cli("--config-dir", "conf", *words, *odd, cwd=tmp_path, MY_DATA="data")
    assert done.returncode == 0, done.stdout
    assert "hydra.job.chdir is ignored" in done.stdout
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["unet_small_0.001"]
    more = cli("resume=runs/unet_small_0.001", "epochs=2", cwd=tmp_path)
    assert more.returncode == 0, more.stdout
    assert epochs(tmp_path / "runs/unet_small_0.001") == 2
    wrong = cli(*SMALL, "hydra.run.dir=runs/${no.such.key}", cwd=tmp_path)
    assert (wrong.returncode, "Traceback" in wrong.stdout) == (1, False)
    assert "hydra.run.dir: Interpolation key 'no.such.key' not found" in wrong.stdout
    assert len(list((tmp_path / "runs").iterdir())) == 1


def test_places_that_hydra_would_misread_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    odd = tmp_path / "a${x}b"
    odd.mkdir()
    with pytest.raises(UserError, match="rename the folder"):
        command_line.prepare([f"resume={odd}"])
    monkeypatch.chdir(odd)
    with pytest.raises(UserError, match="rename the folder"):
        command_line.prepare([])
