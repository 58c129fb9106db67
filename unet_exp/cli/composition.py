"""What Hydra can't compose, all of it in one error and in our words."""

import dataclasses
import inspect
from collections.abc import Iterator
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.types import Override, OverrideType
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig

from unet_exp.config.checks import GROUPS, find_problems, task_problems
from unet_exp.config.components import COMPONENTS
from unet_exp.config.hydra_hooks import refuse
from unet_exp.config.resolve import config_error
from unet_exp.config.saved import has, without_hydra
from unet_exp.config.task_schema import TASK_SCHEMAS
from unet_exp.errors import UserError, did_you_mean, first_line


def compose_in_words(looking: bool) -> None:
    """Let Hydra go on after what it can't take, and refuse that together with all unknown keys.

    By itself it stops at the first, and advises `+key`, which the check refuses then. looking: the config is
    only shown, so that no check of a run follows.
    """
    hydra_load = ConfigLoaderImpl.load_configuration
    hydra_apply = ConfigLoaderImpl._apply_overrides_to_config
    problems: list[str] = []
    new_keys: list[str] = []

    def apply(overrides: list[Override], config: DictConfig) -> None:
        for override in overrides:
            key = override.key_or_group
            if override.type is OverrideType.CHANGE and not key.startswith("hydra.") and not has(config, key):
                new_keys.append(key)
                override = dataclasses.replace(override, type=OverrideType.FORCE_ADD)
            try:
                hydra_apply([override], config)
            except HydraException as error:
                problems.append(f"{override.input_line}: {first_line(error.__cause__ or error)}")

    def load(
        self: ConfigLoaderImpl, config_name: str | None, overrides: list[str], *args: Any, **options: Any
    ) -> DictConfig:
        kept = list(overrides)
        problems.clear()
        new_keys.clear()
        while True:
            try:
                config = hydra_load(self, config_name, kept, *args, **options)
                break
            except HydraException as error:
                problems.append(in_words(error))
                refused = refused_override(error, kept)
                if refused is None:
                    refuse(config_error(problems))
                kept.remove(refused)
        problems.extend(text for key in new_keys for text in argument_problems(config, key))
        if problems or (looking and new_keys):
            dropped = tuple(f"{key_of(word)}." for word in set(overrides) - set(kept))
            others = problems_of(config, config_name)
            problems.extend(text for text in others if not text.startswith(dropped))
        if problems:
            refuse(config_error(problems))
        return config

    ConfigLoaderImpl.load_configuration = load  # type: ignore[method-assign]
    ConfigLoaderImpl._apply_overrides_to_config = staticmethod(apply)  # type: ignore


def key_of(override: str) -> str:
    return override.partition("=")[0].lstrip("+~")


def problems_of(config: DictConfig, config_name: str | None) -> list[str]:
    """What is wrong with single values of a config of training or of a task."""
    plain = without_hydra(config)
    if config_name in TASK_SCHEMAS:
        return task_problems(plain, TASK_SCHEMAS[config_name])
    return find_problems(plain, conflicts=False)


def refused_override(error: HydraException, overrides: list[str]) -> str | None:
    """The override that Hydra does not take, or None if it is at odds with something else."""
    if isinstance(error, OverrideParseException):
        named = [error.override]
    elif isinstance(error, MissingConfigException):
        group, _, option = str(error.missing_cfg_file).rpartition("/")
        named = [word for word in overrides if word.lstrip("+") == f"{group}={option}"]
    else:
        named = [word for word in overrides if word in str(error) or f"'{key_of(word)}'" in str(error)]
    return next((word for word in named if word in overrides), None)


def in_words(error: HydraException) -> str:
    if isinstance(error, OverrideParseException):
        if "=" not in error.override:
            return f"{error.override} is not KEY=VALUE (without blanks around =)"
        return f"{error.override} can't be read; put the value in quotes: KEY=\"'VALUE'\""
    if isinstance(error, MissingConfigException) and error.options:
        group, _, option = str(error.missing_cfg_file).rpartition("/")
        meant = did_you_mean(option.lower(), list(error.options))
        return f"{group}={option} is not known{meant}; allowed: {', '.join(error.options)}"
    line = first_line(error if str(error) else error.__cause__ or error)
    if line.startswith("Ambiguous value"):
        return f"{line.split(' ', 4)[-1]} has several values; -m makes a sweep of them, [a,b] a list"
    return line


def argument_problems(config: DictConfig, key: str) -> Iterator[str]:
    """That the class of another package does not take an argument that conf/ does not give it."""
    group, _, name = key.partition(".")
    if group not in GROUPS or not name or str(config[group].get("_target_")) in COMPONENTS:
        return
    from unet_exp.training.build import find_class

    target = str(config[group].get("_target_"))
    try:
        parameters = inspect.signature(find_class(target, group)).parameters
    except UserError:  # which the check says
        return
    taken = [word for word in parameters if word not in ("params", "optimizer")]
    open_ended = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    if not open_ended and name.partition(".")[0] not in taken:
        yield f"{key} is not an argument of {target}{did_you_mean(name, taken)}; allowed: {', '.join(taken)}"
