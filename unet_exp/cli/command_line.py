"""What happens to the command line before Hydra reads it: flags in front, paths quoted, runs looked up."""

import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from unet_exp.config.paths import expanded, is_quoted, quote_path, quoted_path
from unet_exp.config.saved import AGAIN, CARRIED, load_saved, make_primary, renamed_overrides
from unet_exp.config.schema import LABELS
from unet_exp.config.suggestions import OF_SWEEPS
from unet_exp.config.task_schema import TASK_SCHEMAS
from unet_exp.errors import ConfigError, did_you_mean
from unet_exp.training import ranks

CONF = Path(__file__).resolve().parents[2] / "conf"
SHOWING = {"--cfg", "-c", "--info", "-i", "--help", "-h", "--hydra-help"}  # flags that start nothing
LOOKING = SHOWING | {"-sc", "--shell-completion"}
TASKS = (*TASK_SCHEMAS, "check_data", "autotune")  # each in unet_exp/tasks/
QUOTES = "'\""
MULTIRUN = {"-m", "--multirun"}
CONFIG_FLAGS = ("--config-name", "-cn", "--config-path", "-cp")
FLAGS_WITH_VALUE = {*CONFIG_FLAGS, "--config-dir", "-cd", "--cfg", "-c", "--package", "-p", "-sc"}
FLAGS_WITH_VALUE |= {"--shell-completion", "--experimental-rerun"}


@dataclass
class CommandLine:
    """What Hydra gets to read; the run that this one continues (resume) or starts again; the task, if any."""

    argv: list[str]
    origin: Path | None = None
    resume: bool = False
    saved: DictConfig | None = field(default=None, repr=False)
    task: str | None = None
    beside: dict[str, Any] = field(default_factory=dict)  # what the task gets beside its configuration


def prepare(argv: list[str]) -> CommandLine:
    """The command line as Hydra understands it. argv: without the program's name.

    Raises CheckpointError for a resume= or from_run= that is no run, ConfigError where both are given and for
    a task= that there is not.
    """
    refuse_references(Path())
    flags, overrides = replay_of_config_path(*split_flags(argv))
    strange = [word for word in overrides if word.startswith("=") or "=" not in word.replace("~", "=")]
    if strange:
        raise ConfigError(f"{shlex.join(strange)} is not KEY=VALUE", do="leave no blanks beside =")
    looking = bool(LOOKING & set(flags))
    multirun = not looking and (bool(MULTIRUN & set(flags)) or any(map(is_sweep, overrides)))
    flags = [flag for flag in flags if flag not in MULTIRUN]  # Hydra refuses --cfg beside -m
    if multirun:
        flags.append("--multirun")
    values = {key: path_value(overrides, key) for key in ("task", "resume", "from_run")}
    given = {key: value for key, value in values.items() if value is not None}
    task = given.get("task")
    if not looking:
        check_launch("a sweep" if multirun else f"task={task}" if task else "")
    overrides = [override for override in overrides if override.partition("=")[0] not in given]
    if task is None:
        overrides = sweep_keys(overrides, multirun or looking)
    overrides = [quote_names(quote_path(word, multirun)) for word in renamed_overrides(overrides)]
    if task is not None:
        return task_command(task, flags, overrides, alone=len(given) == 1 and not multirun)
    if not given:
        return CommandLine([*flags, *overrides])
    if len(given) > 1 or ("resume" in given and multirun):
        raise ConfigError(
            "resume= continues one run, from_run= starts a new one like it",
            allowed="one of the two; -m only with from_run=",
        )
    ((key, path),) = given.items()
    return saved_command(expanded(path), key == "resume", flags, overrides)


def saved_command(run_dir: Path, resume: bool, flags: list[str], overrides: list[str]) -> CommandLine:
    """resume= or from_run=: the config of that run is the primary one."""
    if resume:
        refuse_references(run_dir)
    saved = load_saved(run_dir, CARRIED if resume else AGAIN)
    names = groups()
    for override in overrides:
        if override.partition("=")[0] in names and not is_sweep(override):
            raise ConfigError(
                f"{override} chooses a group, and a saved config has its groups already",
                allowed="single keys, such as model.depth=3 or optimizer.lr=1e-4",
                do=f"to change a whole group start from the groups: python run.py {override}",
            )
    if not resume:
        for key in LABELS:  # of that run, not of this one
            saved.pop(key, None)
    argv = ["--config-name", make_primary(saved), *flags, *overrides]
    if not resume:
        return CommandLine(argv, run_dir)
    argv += [f"hydra.run.dir={quoted_path(str(run_dir))}", "hydra.output_subdir=null"]
    return CommandLine([*argv, "hydra.callbacks.check.resume=true"], run_dir, True, saved)


def check_launch(alone: str) -> None:
    """Raises ConfigError for leftover ranks, and if torchrun started several of what runs `alone`."""
    several = ranks.launched() > 1
    if several or not alone.startswith("task="):  # nothing else of a task depends on ranks
        ranks.refuse_leftovers()
    if alone and several:
        raise ConfigError(
            f"{alone} is started once, and torchrun starts every process",
            do="python run.py instead of torchrun; jobs of a sweep take trainer.devices=N",
        )


def refuse_references(path: Path) -> None:
    """Raises ConfigError for a run directory whose name Hydra would take for a reference."""
    if "${" in str(path.absolute()):
        raise ConfigError(
            f"{path.absolute()} has ${{ in its name, which Hydra takes for a reference",
            do="rename the folder",
        )


def task_command(task: str, flags: list[str], overrides: list[str], alone: bool) -> CommandLine:
    """task=NAME: its own primary config, or that of training. alone: without -m, resume= and from_run=."""
    if task not in TASKS:
        raise ConfigError(
            f"task={task} is not known{did_you_mean(task, list(TASKS))}",
            allowed=f"task={', task='.join(TASKS)}; training needs none",
        )
    if not alone:
        raise ConfigError(f"task={task} goes with run=RUN_DIR, not with -m, resume= or from_run=")
    if task in TASK_SCHEMAS:
        return CommandLine(["--config-name", task, *flags, *overrides], task=task)
    # The configuration of training, without a run: no directory, no lock, lines on the terminal only.
    beside: dict[str, Any] = {}
    if task == "check_data":
        output = path_value(overrides, "output")
        typed = [override for override in overrides if not override.startswith("output=")]
        beside = {"typed": typed} | ({"output": str(expanded(output))} if output else {})
        keys = {override.partition("=")[0] for override in typed}
        chosen = keys & {"data", "data.kind", "experiment"}
        overrides = ["data=image_folder", *typed] if "data.root" in keys and not chosen else typed
    without_run = [
        "hydra.run.dir=.",
        "hydra.output_subdir=null",
        "~hydra.callbacks.check",
        "hydra/job_logging=stdout",
        "~hydra.job_logging.handlers.file",
    ]
    return CommandLine([*flags, *overrides, *without_run], task=task, beside=beside)


def quote_names(override: str) -> str:
    """data.classes and tags with each bare name in quotes: to Hydra true, null and 1e3 are not words.

    name and notes as a whole, whatever signs are in them; one tag, or several between commas, as a list.
    """
    key, _, value = override.partition("=")
    if key in ("name", "notes") and value not in ("", "null") and not is_quoted(value):
        return f"{key}={quoted_path(value)}"
    if key == "tags" and value not in ("", "null") and not value.startswith("["):
        override = f"tags=[{value.strip(QUOTES)}]"
    elif key.lstrip("+") not in ("data.classes", "tags"):
        return override
    key, _, value = override.partition("=")

    def quote(names: re.Match[str]) -> str:
        return "[" + ",".join(f"'{name.strip()}'" for name in names[1].split(",")) + "]"

    return f"{key}=" + re.sub(r"\[([^][{}()$'\"\\]+)\]", quote, value)


def is_sweep(override: str) -> bool:
    return override.startswith("sweep=") and override != "sweep=null"


def sweep_keys(overrides: list[str], multirun: bool) -> list[str]:
    """The short names of a sweep's settings as Hydra's own; without a sweep they are unknown keys."""
    if not multirun:
        return overrides
    launcher = [o.partition("=")[2] for o in overrides if o.startswith("hydra/launcher=")]
    of_process = [
        o for o in overrides if OF_SWEEPS.get(o.partition("=")[0], "").startswith("hydra.launcher.")
    ]
    if of_process and launcher[-1:] not in ([], ["process"]):
        raise ConfigError(
            f"{of_process[0]} is for jobs on this machine; hydra/launcher={launcher[-1]} has other settings",
            do=f"python run.py --cfg hydra -p hydra.launcher hydra/launcher={launcher[-1]} shows them",
        )
    overrides = [o.replace("launcher=submitit_slurm", "launcher=slurm") for o in overrides]  # with requeueing
    return [
        OF_SWEEPS.get(key, key) + equals + value
        for key, equals, value in (override.partition("=") for override in overrides)
    ]


def split_flags(argv: list[str]) -> tuple[list[str], list[str]]:
    """Flags (with their values) and overrides; Hydra 1.3 refuses flags that stand between overrides."""
    flags: list[str] = []
    overrides: list[str] = []
    rest = iter(argv)
    for word in rest:
        if not word.startswith("-") or word == "-":
            overrides.append(word)
            continue
        flags.append(word)
        if word in FLAGS_WITH_VALUE:
            flags += [value for value in (next(rest, None),) if value is not None]
    if "--info" in flags and overrides and "=" not in overrides[0]:
        flags.insert(flags.index("--info") + 1, overrides.pop(0))
    return flags, overrides


def replay_of_config_path(flags: list[str], overrides: list[str]) -> tuple[list[str], list[str]]:
    """`-cp RUN_DIR/.hydra -cn config` becomes from_run=RUN_DIR.

    By itself it would lose the schema and the output directory, and obey a stranger's `hydra:` block.
    """
    kept: list[str] = []
    run_dir = None
    rest = iter(flags)
    for flag in rest:
        name, equals, value = flag.partition("=")
        if name not in CONFIG_FLAGS:
            kept.append(flag)
            continue
        value = value if equals else next(rest, "")
        if name in CONFIG_FLAGS[2:] and Path(value).name == ".hydra":
            run_dir = Path(value).parent
        elif value != "config":
            kept += [name, value]
    return (flags, overrides) if run_dir is None else (kept, [*overrides, f"from_run={run_dir}"])


def path_value(overrides: list[str], key: str) -> str | None:
    """The value of the last `key=value`, its quotes taken off."""
    values = [value for name, _, value in (o.partition("=") for o in overrides) if name == key]
    if values and not values[-1]:
        raise ConfigError(f"{key}= has no value", allowed=f"{key}=RUN_DIR")
    return (values[-1][1:-1] if is_quoted(values[-1]) else values[-1]) if values else None


def groups() -> dict[str, list[str]]:
    """The config groups and their options, from the folders of conf/, and the named sweeps."""
    folders = {folder.name: folder for folder in CONF.iterdir() if folder.is_dir() and folder.name != "hydra"}
    folders["sweep"] = CONF.parent / "multirun_sweeps"
    return {name: sorted(file.stem for file in folder.glob("*.yaml")) for name, folder in folders.items()}
