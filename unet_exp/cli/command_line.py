"""What happens to the command line before Hydra reads it: flags in front, paths quoted, runs looked up."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from unet_exp.config.paths import expanded, is_quoted, quote_path, quoted_path
from unet_exp.config.saved import AGAIN, CARRIED, load_saved, make_primary, renamed_overrides
from unet_exp.config.suggestions import OF_SWEEPS
from unet_exp.config.task_schema import TASK_SCHEMAS
from unet_exp.errors import ConfigError, did_you_mean
from unet_exp.training import ranks

CONF = Path(__file__).resolve().parents[2] / "conf"
SHOWING = {"--cfg", "-c", "--info", "-i", "--help", "-h", "--hydra-help"}  # flags that start nothing
LOOKING = SHOWING | {"-sc", "--shell-completion"}
TASKS = (*TASK_SCHEMAS, "check_data", "autotune")  # each with unet_exp/tasks/VERB.py
FLAGS_WITH_VALUE = (
    "--config-name",
    "-cn",
    "--config-path",
    "-cp",
    "--config-dir",
    "-cd",
    "--cfg",
    "-c",
    "--package",
    "-p",
    "--shell-completion",
    "-sc",
    "--experimental-rerun",
)


@dataclass
class CommandLine:
    """What Hydra gets to read; the run that this one continues (resume) or starts again; the verb, if any."""

    argv: list[str]
    origin: Path | None = None
    resume: bool = False
    saved: DictConfig | None = field(default=None, repr=False)
    task: str | None = None
    own: dict[str, Any] = field(default_factory=dict)  # what the verb gets beside its configuration


def prepare(argv: list[str]) -> CommandLine:
    """The command line as Hydra understands it. argv: without the program's name.

    Raises CheckpointError for a resume= or from_run= that is no run, ConfigError where both are given and for
    a task= that there is not.
    """
    refuse_references(Path())
    flags, overrides = split_flags(argv)
    flags, overrides = replay_of_config_path(flags, overrides)
    if LOOKING & set(flags):  # Hydra refuses --cfg beside -m
        flags = [flag for flag in flags if flag not in ("-m", "--multirun")]
    elif any(is_sweep(override) for override in overrides) and not {"-m", "--multirun"} & set(flags):
        flags = [*flags, "--multirun"]
    multirun = bool({"-m", "--multirun"} & set(flags))
    given = {key: path_value(overrides, key) for key in ("task", "resume", "from_run")}
    if not LOOKING & set(flags):
        check_launch("a sweep" if multirun else f"task={given['task']}" if given["task"] else "")
    overrides = [o for o in overrides if o.partition("=")[0] not in given]
    if given["task"] is None:
        overrides = sweep_keys(overrides, multirun or bool(LOOKING & set(flags)))
    overrides = [quote_names(quote_path(word, multirun)) for word in renamed_overrides(overrides)]
    if given["task"] is not None:
        return task_command(given["task"], flags, overrides, [key for key in given if given[key]], multirun)
    if not any(given.values()):
        return CommandLine([*flags, *overrides])
    if all((given["resume"], given["from_run"])) or (given["resume"] and multirun):
        raise ConfigError(
            "resume= continues one run, from_run= starts a new one like it",
            allowed="one of the two; -m only with from_run=",
        )
    run_dir = expanded(given["resume"] or given["from_run"] or "")
    if given["resume"]:
        refuse_references(run_dir)
    saved = load_saved(run_dir, CARRIED if given["resume"] else AGAIN)
    chosen = [o for o in overrides if o.partition("=")[0] in groups() and not is_sweep(o)]
    if chosen:
        raise ConfigError(
            f"{chosen[0]} chooses a group, and a saved config has its groups already",
            allowed="single keys, such as model.depth=3 or optimizer.lr=1e-4",
            do="to change a whole group start from the groups: python run.py " + chosen[0],
        )
    argv = ["--config-name", make_primary(saved), *flags]
    if not given["resume"]:
        return CommandLine([*argv, *overrides], run_dir)
    own = [f"hydra.run.dir={quoted_path(str(run_dir))}", "hydra.output_subdir=null"]
    own.append("hydra.callbacks.check.resume=true")
    return CommandLine([*argv, *overrides, *own], run_dir, True, saved)


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


def task_command(
    task: str, flags: list[str], overrides: list[str], given: list[str], multirun: bool
) -> CommandLine:
    """task=VERB: the verb's own primary config, which holds nothing but its keys."""
    if task not in TASKS:
        raise ConfigError(
            f"task={task} is not known{did_you_mean(task, list(TASKS))}",
            allowed=f"task={', task='.join(TASKS)}; training needs none",
        )
    if task in ("check_data", "autotune") and len(given) == 1 and not multirun:
        # The configuration of training, without a run: no directory, no lock, lines on the terminal only.
        beside: dict[str, Any] = {}
        if task == "check_data":
            output = path_value(overrides, "output")
            overrides = [o for o in overrides if o.partition("=")[0] != "output"]
            beside = {"typed": overrides} | ({"output": str(expanded(output))} if output else {})
            if any(o.startswith("data.root=") for o in overrides) and not chooses_data(overrides):
                overrides = ["data=image_folder", *overrides]
        own = [
            "hydra.run.dir=.",
            "hydra.output_subdir=null",
            "~hydra.callbacks.check",
            "hydra/job_logging=stdout",
            "~hydra.job_logging.handlers.file",
        ]
        return CommandLine([*flags, *overrides, *own], task=task, own=beside)
    if len(given) > 1 or multirun:
        raise ConfigError(f"task={task} goes with run=RUN_DIR, not with -m, resume= or from_run=")
    return CommandLine(["--config-name", task, *flags, *overrides], task=task)


def chooses_data(overrides: list[str]) -> bool:
    return any(o.partition("=")[0] in ("data", "data.kind", "experiment") for o in overrides)


def quote_names(override: str) -> str:
    """data.classes with each bare name in quotes: to Hydra true, null and 1e3 are not words."""
    key, _, value = override.partition("=")
    if key.lstrip("+") != "data.classes":
        return override

    def quote(found: re.Match[str]) -> str:
        return "[" + ",".join(f"'{name.strip()}'" for name in found[1].split(",")) + "]"

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
        if name not in ("-cp", "--config-path", "-cn", "--config-name"):
            kept.append(flag)
            continue
        value = value if equals else next(rest, "")
        if name in ("-cp", "--config-path") and Path(value).name == ".hydra":
            run_dir = Path(value).parent
        else:
            kept += [name, value]
    if run_dir is None:
        return flags, overrides
    if "config" in kept:  # -cn config
        index = kept.index("config")
        kept = kept[: index - 1] + kept[index + 1 :]
    return kept, [*overrides, f"from_run={run_dir}"]


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
