"""What Hydra can't compose, all of it in one error and in our words."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hydra.core.override_parser.types import Override, OverrideType
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig

from unet_exp.config.checks import GROUPS, find_problems, task_problems
from unet_exp.config.components import COMPONENTS
from unet_exp.config.hydra_hooks import refuse
from unet_exp.config.resolve import config_error
from unet_exp.config.saved import has, without_hydra
from unet_exp.config.task_schema import TASK_SCHEMAS
from unet_exp.errors import UserError, did_you_mean, first_line

ADVICE = {  # beginning of a message of Hydra: what to do
    "Ambiguous value": "-m makes a sweep of several values, [a,b] a list",
    "Multiple values": "a group has one option: GROUP=OPTION, without +",
    "Error parsing override": "put an odd value in quotes: KEY=\"'VALUE'\"",
}


@dataclass
class Composition:
    """Hydra's composing, going on after what it can't take, and refusing that with all unknown keys.

    looking: the config is only shown, so that no check of a run follows. hydra_load, hydra_apply: as Hydra
    has them.
    """

    looking: bool
    hydra_load: Callable[..., Any]
    hydra_apply: Callable[[list[Override], DictConfig], None]
    problems: list[str] = field(default_factory=list)
    new_keys: list[str] = field(default_factory=list)

    def apply(self, overrides: list[Override], config: DictConfig) -> None:
        for override in overrides:
            key = override.key_or_group
            if override.type is OverrideType.CHANGE and not key.startswith("hydra.") and not has(config, key):
                self.new_keys.append(key)
                override = dataclasses.replace(override, type=OverrideType.FORCE_ADD)
            try:
                self.hydra_apply([override], config)
            except HydraException as error:
                self.problems.append(f"{override.input_line}: {first_line(error.__cause__ or error)}")

    def load(
        self, loader: Any, config_name: str | None, overrides: list[str], *args: Any, **options: Any
    ) -> Any:
        self.problems.clear()
        self.new_keys.clear()
        kept = list(overrides)
        config = None
        while config is None:
            try:
                config = self.hydra_load(loader, config_name, kept, *args, **options)
            except HydraException as error:
                refused = [word for word in kept if is_refused(word, error)]
                self.problems.append(in_words(error))
                if not refused:
                    refuse(config_error(self.problems))
                kept = [word for word in kept if word not in refused]
        self.problems += argument_problems(config, self.new_keys)
        if self.problems or (self.looking and self.new_keys):
            of_refused = tuple(f"{key_of(word)}." for word in overrides if word not in kept)
            others = problems_of(without_hydra(config), config_name)
            self.problems += [text for text in others if not text.startswith(of_refused)]
        if self.problems:
            refuse(config_error(self.problems))
        return config


def key_of(override: str) -> str:
    return override.partition("=")[0].lstrip("+~")


def is_refused(override: str, error: HydraException) -> bool:
    """Whether the first line of Hydra's message is about this override."""
    option = override.lstrip("+").replace("=", "/", 1)  # model=unett is looked for as model/unett
    return any(f"'{name}'" in first_line(error) for name in (override, key_of(override), option))


def in_words(error: HydraException) -> str:
    """A message of Hydra in one line, with what to do."""
    if isinstance(error, MissingConfigException) and error.options:
        group, _, option = str(error.missing_cfg_file).rpartition("/")
        meant = did_you_mean(option.lower(), list(error.options))
        return f"{group}={option} is not known{meant}; allowed: {', '.join(error.options)}"
    line = first_line(error if str(error) else error.__cause__ or error)
    line = line.partition(". To override")[0]  # which is for files
    advice = [text for beginning, text in ADVICE.items() if line.startswith(beginning)]
    return "; ".join([line, *advice])


def problems_of(config: DictConfig, config_name: str | None) -> list[str]:
    """What is wrong with single values of a config of training or of a task."""
    if config_name in TASK_SCHEMAS:
        return task_problems(config, TASK_SCHEMAS[config_name])
    return find_problems(config, conflicts=False)


def argument_problems(config: DictConfig, keys: list[str]) -> list[str]:
    """Keys that are arguments for a class of another package, which does not take them."""
    problems = []
    for group in GROUPS:
        names = [key.split(".")[1] for key in keys if key.startswith(f"{group}.")]
        if not names or str(config[group].get("_target_")) in COMPONENTS:
            continue
        from unet_exp.training.build import check_arguments

        try:
            check_arguments(str(config[group].get("_target_")), group, names, ("params", "optimizer"))
        except UserError as error:
            problems.append(f"{error.what}; allowed: {error.allowed}")
    return problems
