"""The typed configuration: registered with Hydra before composing, checked as a whole after it."""

import copy
import dataclasses
import logging
import os
import sys
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from unet_exp import runs, yaml_files
from unet_exp.checks import GROUPS, find_problems, literal, node_problems, typed_config
from unet_exp.compare import flat
from unet_exp.data.names import decoded, is_utf8
from unet_exp.errors import ConfigError, UserError
from unet_exp.saved import MAY_CHANGE, without_hydra
from unet_exp.schema import Config
from unet_exp.targets import TARGETS, UNetConfig
from unet_exp.verbs import VERBS

SWEEPS = Path(__file__).resolve().parents[1] / "multirun_sweeps"


def register() -> None:
    """Make known to Hydra: the schema, on which conf/config.yaml and conf/model/*.yaml build; the sweeps."""
    store = ConfigStore.instance()
    store.store(name="base_schema", node=Config)
    store.store(group="schema", name="unet", node=UNetConfig)
    for verb, schema in VERBS.items():
        store.store(name=f"{verb}_schema", node=schema)
    for path in sorted(SWEEPS.glob("*.yaml")):
        try:
            sweep = yaml_files.load_sweep(path)
        except Exception as error:  # damaged YAML raises many kinds; the other sweeps still work
            wrong = yaml_files.fault(path, error)
            if f"sweep={path.stem}" in runs.command():
                sys.exit(f"error: {wrong}")
            logging.warning("sweep=%s is left out: %s", path.stem, wrong)
            continue
        store.store(group="sweep", name=path.stem, node=sweep, package="_global_", provider=str(path))


class CheckAtStart(Callback):
    """Checks a run before its directory exists and before torch is imported; exits with 1."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        runs.composed()
        HydraConfig.instance().set_config(config)  # for ${hydra:...} in hydra.run.dir
        # Hydra turns exceptions of a callback into warnings, so a refusal has to leave by exit.
        try:
            run_dir = Path(str(config.hydra.run.dir))
        except OmegaConfBaseException as error:
            sys.exit(f"error: hydra.run.dir: {str(error).splitlines()[0]}")
        runs.remember_start(run_dir)
        goes_on = runs.is_resuming() and runs.has_checkpoints(run_dir)
        problems = find_problems(without_hydra(config), first_start=not goes_on)
        problems += [problem for problem in (output_problem(run_dir),) if problem]
        if problems:
            runs.remove_unstarted(run_dir)
            print(f"error: {config_error(problems)}", file=sys.stderr)
            sys.exit(1)
        take(run_dir)

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        runs.composed()
        if config.hydra.runtime.choices["hydra/sweeper"] not in ("grid", "tune"):
            print("error: hydra/sweeper is not one of this project\n  allowed: grid, tune", file=sys.stderr)
            sys.exit(1)


def take(directory: Path) -> None:
    """Make a directory and lock it before Hydra writes into it, or exit with 1."""
    try:
        runs.make_directory(directory)
        runs.lock(directory)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)


def config_error(problems: list[str]) -> ConfigError:
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    numbered = [f"  {number}. {problem}" for number, problem in enumerate(problems, start=1)]
    return ConfigError("\n".join([f"{count} in the configuration", *numbered]))


def output_problem(run_dir: Path) -> str | None:
    """Why a run can't be written to this directory, or None; the directory is made to find out."""
    if not is_utf8(str(run_dir.absolute())):
        return f"{decoded(str(run_dir.absolute()))} is not UTF-8; choose another hydra.run.dir=DIR"
    parent = run_dir.absolute()
    while not os.path.exists(parent) and parent != parent.parent:
        parent = parent.parent
    if not parent.is_dir():
        return f"{run_dir} can't be made: {parent} is a file; choose another hydra.run.dir=DIR"
    if not os.access(parent, os.W_OK):
        return f"{run_dir} can't be written: no permission in {parent}; choose hydra.run.dir=DIR"
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return f"{run_dir} can't be made: {error.strerror}; choose another hydra.run.dir=DIR"
    if runs.has_started(run_dir) and not runs.is_resuming():
        return (
            f"{run_dir} already holds a run; resume={run_dir} continues it, hydra.run.dir=DIR goes elsewhere"
        )
    return None


def check(cfg: DictConfig, first_start: bool = True) -> Config:
    """The typed config with every default filled in and every interpolation resolved.

    first_start: the run has no weights of its own yet, so the file of model.weights has to be there.
    Raises ConfigError naming all problems at once.
    """
    problems = find_problems(cfg, first_start)
    if problems:
        raise config_error(problems)
    values: Any = literal(OmegaConf.to_container(cfg, resolve=True))
    for group in GROUPS:
        values[group] = filled(values[group])
    if isinstance(
        values["data"]["label_map"], dict
    ):  # nan is not equal to itself, so a resume would see a change
        named = values["data"]["label_map"].items()
        values["data"]["label_map"] = {"nan" if key != key else key: name for key, name in named}
    values["metrics"] = {name: filled(node) for name, node in values["metrics"].items()}
    for part in ("train", "eval"):
        steps = values["transform"][part]
        values["transform"][part] = {name: filled(step) for name, step in steps.items() if step}
    return typed_config(values)


def check_values(values: dict[str, Any]) -> Config:
    """Like check, for the plain values of a run that has trained."""
    config = OmegaConf.create(literal(values))
    assert isinstance(config, DictConfig)
    return check(config, first_start=False)


def filled(node: dict[str, Any]) -> dict[str, Any]:
    """A node with the schema's defaults for keys it lacks; nodes of other people's targets as they are."""
    schema = TARGETS.get(node["_target_"])
    if schema is None:
        return node
    merged = OmegaConf.merge(OmegaConf.structured(schema), node)
    return dict(OmegaConf.to_container(merged))  # type: ignore[arg-type]


def check_resume(saved: DictConfig, config: Config) -> None:
    """Raises ConfigError naming what a run that is continued can't change, with both values."""
    new = flat(dataclasses.asdict(config))
    before = copy.deepcopy(saved)
    for key in MAY_CHANGE:  # so that no path of an earlier start has to be there
        if key in new:
            OmegaConf.update(before, key, literal(new[key]))
    old = flat(dataclasses.asdict(check(before, first_start=False)))
    problems = [
        f"{key} was {old.get(key)!r} and can't become {new.get(key)!r} on resume"
        for key in {**old, **new}
        if old.get(key) != new.get(key) and key not in MAY_CHANGE
    ]
    if problems:
        lines = [f"  {number}. {problem}" for number, problem in enumerate(problems, start=1)]
        raise ConfigError(
            "\n".join(["this run can't be continued so", *lines]),
            do="leave these keys out, or start a new run with from_run=RUN_DIR",
        )


def changeable(config: Config) -> dict[str, Any]:
    """The knobs of a config, as given, that a later start of the run may change."""
    values = flat(dataclasses.asdict(config))
    return {key: values[key] for key in MAY_CHANGE if key in values}


def check_task(cfg: DictConfig, schema: type) -> Any:
    """The typed keys of a verb. Raises ConfigError naming all problems at once."""
    problems = [str(problem) for problem in node_problems(cfg, schema, "")]
    if problems:
        raise config_error(problems)
    return OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(schema), cfg))


def save_resolved(config: Config, path: Path) -> None:
    """Write what really runs, every 'auto' decided."""
    runs.write_text(path, OmegaConf.to_yaml(OmegaConf.create(literal(dataclasses.asdict(config)))))
