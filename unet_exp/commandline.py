"""What happens to the command line before Hydra reads it: flags in front, paths quoted, runs looked up."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf

from unet_exp import runs
from unet_exp.errors import CheckpointError, ConfigError, did_you_mean

CONF = Path(__file__).resolve().parents[1] / "conf"
PATH_KEYS = (
    "data.root", "data.images", "data.labels", "data.image_stack", "data.label_stack", "resume", "from_run",
    "hydra.run.dir", "hydra.sweep.dir",
)  # fmt: skip
# What a continued run takes from its last start: what may have been changed by then, and what was decided.
CARRIED = (
    "epochs", "threads", "trainer.precision", "trainer.channels_last", "trainer.max_minutes",
    "trainer.early_stop", "trainer.save_every", "trainer.keep", "trainer.log_every", "trainer.images_every",
    "trainer.images_max", "trainer.images_each_batch",
)  # fmt: skip
FLAGS_WITH_VALUE = (
    "--config-name", "-cn", "--config-path", "-cp", "--config-dir", "-cd", "--cfg", "-c", "--package", "-p",
    "--shell-completion", "-sc", "--experimental-rerun",
)  # fmt: skip
SAVED = "_saved"  # the primary config of resume= and from_run=


@dataclass
class CommandLine:
    """What Hydra gets to read, and the run to continue or to start again."""

    argv: list[str]
    resume: Path | None = None
    saved: DictConfig | None = field(default=None, repr=False)


def prepare(argv: list[str]) -> CommandLine:
    """The command line as Hydra understands it. argv: without the program's name.

    Raises CheckpointError for a resume= or from_run= that is no run, ConfigError where both are given.
    """
    flags, overrides = split_flags(argv)
    flags, overrides = replay_of_config_path(flags, overrides)
    multirun = bool({"-m", "--multirun"} & set(flags))
    given = {key: path_value(overrides, key) for key in ("resume", "from_run")}
    overrides = [o for o in overrides if o.partition("=")[0] not in given]
    overrides = [quote_path(override, multirun) for override in overrides]
    if not any(given.values()):
        return CommandLine([*flags, *overrides])
    if all(given.values()) or (given["resume"] and multirun):
        raise ConfigError(
            "resume= continues one run, from_run= starts a new one like it",
            allowed="one of the two; -m only with from_run=",
        )
    run_dir = Path(given["resume"] or given["from_run"] or "").expanduser()
    saved = load_saved(run_dir)
    if given["resume"] and (run_dir / runs.RESOLVED_CONFIG).exists():
        newest = OmegaConf.load(run_dir / runs.RESOLVED_CONFIG)
        for key in CARRIED:
            OmegaConf.update(saved, key, OmegaConf.select(newest, key))
    chosen = [override for override in overrides if override.partition("=")[0] in groups()]
    if chosen:
        raise ConfigError(
            f"{chosen[0]} chooses a group, and a saved config has its groups already",
            allowed="single keys, such as model.depth=3 or optimizer.lr=1e-4",
            do="to change a whole group start from the groups: python run.py " + chosen[0],
        )
    node = {"defaults": ["base_schema", "settings", "_self_"]}
    ConfigStore.instance().store(name=SAVED, node={**node, **OmegaConf.to_container(saved)})  # type: ignore[dict-item]
    argv = ["--config-name", SAVED, *flags]
    if not given["resume"]:
        return CommandLine([*argv, *overrides])
    own = [f"hydra.run.dir={quoted(str(run_dir))}", "hydra.output_subdir=null"]
    return CommandLine([*argv, *overrides, *own], run_dir, saved)


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


def load_saved(run_dir: Path) -> DictConfig:
    """The config of a run as it was composed, read as data: nothing in it can choose what Hydra does.

    Relative paths in it are taken from where that run was started.
    """
    if not runs.is_run(run_dir):
        found = "is there" if run_dir.is_dir() else "is not there"
        raise CheckpointError(
            f"{run_dir} is no run directory: {run_dir / runs.SAVED_CONFIG} is missing (the folder {found})",
            allowed="a directory that a run made, such as outputs/DATE/TIME",
            do="ls outputs/*/ shows them",
        )
    text = (run_dir / runs.SAVED_CONFIG).read_text(encoding="utf-8")
    if re.search(r"\$\{\s*oc\.", text):
        raise CheckpointError(
            f"{run_dir / runs.SAVED_CONFIG} reads the environment (${{oc...}}), which a saved config may not",
            do="replace it by the value itself",
        )
    saved = OmegaConf.create(text)
    if not isinstance(saved, DictConfig):
        raise CheckpointError(f"{run_dir / runs.SAVED_CONFIG} is not a configuration")
    for key in ("hydra", "defaults"):
        saved.pop(key, None)
    root = OmegaConf.select(saved, "data.root")
    if isinstance(root, str) and (run_dir / runs.ENVIRONMENT).exists():
        start_dir = runs.read_json(run_dir / runs.ENVIRONMENT)["start_dir"]
        saved.data.root = str(Path(start_dir) / root)
    return saved


def path_value(overrides: list[str], key: str) -> str | None:
    """The value of the last `key=value`, its quotes taken off."""
    values = [value for name, _, value in (o.partition("=") for o in overrides) if name == key]
    if values and not values[-1]:
        raise ConfigError(f"{key}= has no value", allowed=f"{key}=RUN_DIR")
    return (values[-1][1:-1] if is_quoted(values[-1]) else values[-1]) if values else None


def is_quoted(value: str) -> bool:
    return len(value) > 1 and value[0] == value[-1] and value[0] in "'\""


def quote_path(override: str, multirun: bool) -> str:
    """An override whose value is a path, made safe for Hydra's grammar; others as they are.

    With -m a comma separates paths, unless the whole is a path that exists.
    """
    key, equals, value = override.partition("=")
    if key.lstrip("+") not in PATH_KEYS or not equals or value in ("", "null") or is_quoted(value):
        return override
    several = multirun and "," in value and not Path(value).expanduser().exists()
    paths = value.split(",") if several else [value]
    return f"{key}=" + ",".join(quoted(str(Path(p).expanduser()) if p.startswith("~") else p) for p in paths)


def quoted(value: str) -> str:
    """A value in Hydra's single quotes: quotes, the backslashes before them and interpolations escaped.

    `${now:...}` and Hydra's own variables stay alive, because run directories are named by them.
    """
    value = re.sub(r"\$\{(?!now:|hydra[:.])", r"\\${", value)
    value = re.sub(r"(\\*)'", lambda found: found[1] * 2 + r"\'", value)
    tail = len(value) - len(value.rstrip("\\"))
    return "'" + value + "\\" * tail + "'"


def groups() -> dict[str, list[str]]:
    """The config groups and their options, from the folders of conf/."""
    return {
        folder.name: sorted(file.stem for file in folder.glob("*.yaml"))
        for folder in CONF.iterdir()
        if folder.is_dir()
    }


def suggestions(argv: list[str]) -> list[str]:
    """'did you mean' lines for overrides that Hydra refused to compose. argv: as given to Hydra."""
    options = groups()
    pairs = [override.partition("=")[::2] for override in split_flags(argv)[1]]
    chosen = [f"{key}={value}" for key, value in pairs if value in options.get(key, [])]
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            known = flat_keys(compose("config", overrides=chosen))
    except Exception:  # conf/ itself does not compose, which Hydra has said already
        return []
    lines = []
    for key, value in pairs:
        key = key.lstrip("+~")
        if key in options and value not in options[key]:
            lines.append(f"{key}={value}{did_you_mean(value, options[key])}")
        elif key not in (*known, *options) and not key.startswith("hydra"):
            lines.append(f"{key}{did_you_mean(key, [*known, *options])}")
    return [line for line in lines if "did you mean" in line]


def flat_keys(node: Any, prefix: str = "") -> list[str]:
    """Dotted names of every key of a config."""
    keys = []
    for key in node:
        keys.append(f"{prefix}{key}")
        value = node._get_node(key)
        if isinstance(value, DictConfig) and not value._is_none():
            keys += flat_keys(value, f"{prefix}{key}.")
    return keys
