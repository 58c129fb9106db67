"""From what Hydra composed to the typed config: checked, every default filled in."""

import copy
import dataclasses
from typing import Any

from omegaconf import DictConfig, OmegaConf

from unet_exp.config.checks import GROUPS, UNKNOWN, find_problems, task_problems
from unet_exp.config.components import COMPONENTS
from unet_exp.config.may_change import MAY_CHANGE
from unet_exp.config.saved import flat
from unet_exp.config.schema import Config
from unet_exp.config.typed import literal, object_of
from unet_exp.errors import ConfigError
from unet_exp.messages import counted, numbered


def config_error(problems: list[str]) -> ConfigError:
    title = f"{counted(len(problems), 'problem')} in the configuration"
    do = "python run.py --help lists the keys, with task=NAME those of a task"
    is_unknown = any(UNKNOWN in problem for problem in problems)
    return ConfigError(numbered(title, problems, len(problems)), do=do if is_unknown else "")


def check(cfg: DictConfig, first_start: bool = True) -> Config:
    """The typed config with every default filled in and every interpolation resolved.

    first_start: the run has no weights of its own yet, so the file of model.weights has to be there.
    Raises ConfigError naming all problems at once.
    """
    problems = find_problems(cfg, first_start)
    if problems:
        raise config_error(problems)
    values: Any = OmegaConf.to_container(cfg, resolve=True)
    for group in GROUPS:
        values[group] = filled(values[group])
    label_map = values["data"]["label_map"]
    if isinstance(label_map, dict):  # nan is not equal to itself, so a resume would see a change
        values["data"]["label_map"] = {"nan" if key != key else key: name for key, name in label_map.items()}
    values["metrics"] = {name: filled(node) for name, node in values["metrics"].items()}
    for phase in ("train", "eval"):
        steps = values["transform"][phase]
        values["transform"][phase] = {name: filled(step) for name, step in steps.items() if step}
    return object_of(Config, values)


def check_values(values: dict[str, Any]) -> Config:
    """Like check, for the plain values of a run that has trained."""
    config = OmegaConf.create(literal(values))
    assert isinstance(config, DictConfig)
    return check(config, first_start=False)


def filled(node: dict[str, Any]) -> dict[str, Any]:
    """A node with the schema's defaults for keys it lacks; nodes of other people's targets as they are."""
    schema = COMPONENTS.get(node["_target_"])
    if schema is None:
        return node
    merged = OmegaConf.merge(OmegaConf.structured(schema), literal(node))
    return dict(OmegaConf.to_container(merged, resolve=True))  # type: ignore[arg-type]


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
        raise ConfigError(
            numbered("this run can't be continued so", problems, len(problems)),
            do="leave these keys out, or start a new run with from_run=RUN_DIR",
        )


def changeable(config: Config) -> dict[str, Any]:
    """The knobs of a config, as given, that a later start of the run may change."""
    values = flat(dataclasses.asdict(config))
    return {key: values[key] for key in MAY_CHANGE if key in values}


def check_task(cfg: DictConfig, schema: type) -> Any:
    """The typed keys of a verb. Raises ConfigError naming all problems at once."""
    problems = task_problems(cfg, schema)
    if problems:
        raise config_error(problems)
    return OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(schema), cfg))


def resolved_yaml(config: Config) -> str:
    """What really runs, every 'auto' settled, as YAML."""
    return OmegaConf.to_yaml(OmegaConf.create(literal(dataclasses.asdict(config))))
