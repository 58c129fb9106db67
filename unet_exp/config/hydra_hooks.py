"""The typed configuration: registered with Hydra before composing, checked as a whole after it."""

import logging
import os
import sys
from pathlib import Path
from typing import Any, NoReturn

from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from unet_exp.config import yaml_files
from unet_exp.config.checks import find_problems
from unet_exp.config.components import COMPONENTS
from unet_exp.config.paths import decoded, is_utf8
from unet_exp.config.resolve import config_error
from unet_exp.config.saved import without_hydra
from unet_exp.config.schema import Config
from unet_exp.config.task_schema import TASK_SCHEMAS
from unet_exp.errors import UserError
from unet_exp.messages import typed_command
from unet_exp.rundir import layout, signals
from unet_exp.rundir.directory import RunDirectory

SWEEPS = Path(__file__).resolve().parents[2] / "multirun_sweeps"


def register() -> None:
    """Make known to Hydra: the schemas, on which the files of conf/ build; the sweeps."""
    store = ConfigStore.instance()
    store.store(name="base_schema", node=Config)
    for target, schema in COMPONENTS.items():
        store.store(name=f"{target.rpartition('.')[2]}_schema", node=schema)
    for task, schema in TASK_SCHEMAS.items():
        store.store(name=f"{task}_schema", node=schema)
    for path in sorted(SWEEPS.glob("*.yaml")):
        try:
            sweep = yaml_files.load_sweep(path)
        except Exception as error:  # damaged YAML raises many kinds; the other sweeps still work
            wrong = yaml_files.fault(path, error)
            if f"sweep={path.stem}" in typed_command():
                sys.exit(f"error: {wrong}")
            logging.warning("sweep=%s is left out: %s", path.stem, wrong)
            continue
        store.store(group="sweep", name=path.stem, node=sweep, package="_global_", provider=str(path))


class Refused(SystemExit):
    """The end of a start, its reasons printed. Hydra turns other exceptions of a callback into warnings."""


class CheckAtStart(Callback):
    """Checks a run before its directory exists and before torch is imported; exits with 1.

    resume: the run is continued, so that its directory may hold checkpoints.
    """

    def __init__(self, resume: bool = False) -> None:
        self.resume = resume

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        HydraConfig.instance().set_config(config)  # for ${hydra:...} in hydra.run.dir
        try:
            run = RunDirectory(Path(str(config.hydra.run.dir)))
        except OmegaConfBaseException as error:
            refuse(f"hydra.run.dir: {str(error).splitlines()[0]}")
        goes_on = self.resume and layout.has_checkpoints(run.path)
        problems = find_problems(without_hydra(config), first_start=not goes_on)
        problems += [problem for problem in (output_problem(run.path, self.resume),) if problem]
        # Hydra writes into the directory now: a signal waits until the run can answer for it.
        signals.process.hold()
        if not problems:
            try:
                run.lock()
                return
            except UserError as error:
                refuse(error)
        run.remove_unstarted()
        refuse(config_error(problems))

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        if config.hydra.runtime.choices["hydra/sweeper"] not in ("grid", "tune"):
            refuse("hydra/sweeper is not one of this project\n  allowed: grid, tune")


def refuse(reason: object) -> NoReturn:
    print(f"error: {reason}", file=sys.stderr)
    raise Refused(1)


def output_problem(run_dir: Path, resume: bool) -> str | None:
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
    if layout.has_started(run_dir) and not resume:
        return (
            f"{run_dir} already holds a run; resume={run_dir} continues it, hydra.run.dir=DIR goes elsewhere"
        )
    return None
