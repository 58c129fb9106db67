"""The config of a run, read back as data: nothing in it can choose what Hydra does or call anything."""

import dataclasses
import re
from pathlib import Path
from typing import Any

from hydra import compose
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf

from unet_exp import runs
from unet_exp.errors import CheckpointError, did_you_mean
from unet_exp.schema import RENAMED, Config

PRIMARY = "_saved"  # the name under which Hydra finds it
DECIDED = ("threads", "device", "trainer.precision", "trainer.channels_last")
# What a continued run takes from its last start, because it may have been changed by then.
CARRIED = (
    *DECIDED, "epochs", "num_workers", "data.root", "trainer.devices",
    "trainer.max_minutes", "trainer.early_stop", "trainer.choose_threshold",
    "trainer.save_every", "trainer.keep", "trainer.log_every", "trainer.images_every", "trainer.images_max",
    "trainer.images_each_batch", "trainer.checkpoint_every_steps", "trainer.checkpoint_every_minutes",
)  # fmt: skip


def load_saved(run_dir: Path, carried: tuple[str, ...]) -> DictConfig:
    """The config of a run as it was composed, with the `carried` keys as that run decided them.

    Relative paths in it are taken from where that run was started.
    Raises CheckpointError for what is no run, for keys that are not known (any more), and for a config that
    holds more than values and references between its own keys.
    """
    path = run_dir / runs.SAVED_CONFIG
    if not runs.is_run(run_dir):
        found = "is there" if run_dir.is_dir() else "is not there"
        raise CheckpointError(
            f"{run_dir} is no run directory: {path} is missing (the folder {found})",
            allowed="a directory that a run made, such as outputs/DATE/TIME",
            do="ls outputs/*/ shows them",
        )
    saved = read_config(path)
    for key in ("hydra", "defaults"):
        saved.pop(key, None)
    problems = unknown_keys(OmegaConf.to_container(saved, resolve=False), Config)
    if problems:
        lines = [f"  {number}. {problem}" for number, problem in enumerate(problems, start=1)]
        raise CheckpointError(
            "\n".join([f"{path} does not fit this version of unet_exp", *lines]),
            do=f"change these lines in {path}, or use the commit that made it (environment.json)",
        )
    resolved = run_dir / runs.RESOLVED_CONFIG
    if carried and resolved.exists():
        newest = read_config(resolved)
        for key in carried:
            value = OmegaConf.select(newest, key)
            if value is not None or key not in DECIDED:
                OmegaConf.update(saved, key, value)
    weights = OmegaConf.select(saved, "model.weights")
    if isinstance(weights, str) and (run_dir / runs.ENVIRONMENT).exists():
        saved.model.weights = str(Path(starts(run_dir)[0]["start_dir"]) / weights)
    root = OmegaConf.select(saved, "data.root")
    if isinstance(root, str) and (run_dir / runs.ENVIRONMENT).exists():
        start = starts(run_dir)[-1 if "data.root" in carried and resolved.exists() else 0]
        saved.data.root = str(Path(start["start_dir"]) / root)
    return saved


def starts(run_dir: Path) -> list[dict[str, Any]]:
    """What environment.json says of the first start and of each later one. Raises CheckpointError."""
    path = run_dir / runs.ENVIRONMENT
    environment = runs.read_json(path)
    try:
        each = [environment, *environment.get("restarts", [])]
        kinds = {"start_dir": str, "epochs": int, "from_epoch": int}
        if all(isinstance(start[key], kind) for start in each for key, kind in kinds.items()):
            return each
    except (AttributeError, KeyError, TypeError):
        pass
    raise CheckpointError(f"{path} is not the description of a run", do="remove it; it is written again")


def unknown_keys(node: Any, schema: type, prefix: str = "") -> list[str]:
    """One line for each key that the schema has not (any more), with its name of today."""
    fields = {field.name: field.type for field in dataclasses.fields(schema)}
    lines = []
    for key, value in node.items():
        name = f"{prefix}{key}"
        if name in RENAMED:
            lines.append(f"{name} is called {RENAMED[name]} today")
        elif key not in fields:
            lines.append(f"{name} is not known{did_you_mean(str(key), list(fields))}")
        elif dataclasses.is_dataclass(fields[key]) and isinstance(value, dict):
            lines += unknown_keys(value, fields[key], f"{name}.")  # type: ignore[arg-type]
    return lines


def read_config(path: Path) -> DictConfig:
    """YAML whose only interpolations are references to its own keys. Raises CheckpointError otherwise."""
    try:
        config = OmegaConf.create(path.read_text(encoding="utf-8"))
    except Exception as error:  # YAML that is none raises many things
        raise CheckpointError(
            f"{path} can't be read: {(str(error).splitlines() or ['damaged'])[0]}"
        ) from error
    if not isinstance(config, DictConfig):
        raise CheckpointError(f"{path} is not a configuration")
    for key, value in leaves(OmegaConf.to_container(config, resolve=False)):
        if isinstance(value, str) and calls_something(value):
            raise CheckpointError(
                f"{path}: {key} is {value!r}, but a saved config may not call anything",
                allowed="values, and references such as ${lr}",
                do="replace it by the value itself",
            )
    return config


def calls_something(text: str) -> bool:
    """Whether a string holds an interpolation that is more than ${a.b}, such as ${oc.env:HOME}."""
    unescaped = re.sub(r"\\\\|\\\$\{", "", text)
    return "${" in re.sub(r"\$\{\.*[A-Za-z_][\w.]*\}", "", unescaped)


def leaves(node: Any, prefix: str = "") -> list[tuple[str, Any]]:
    """Dotted keys and values of everything in nested mappings and lists."""
    pairs = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else None
    if pairs is None:
        return [(prefix[:-1], node)]
    return [leaf for key, value in pairs for leaf in leaves(value, f"{prefix}{key}.")]


def make_primary(saved: DictConfig) -> str:
    """Let Hydra compose this config under today's schema and settings; returns the config name to ask for."""
    defaults = {"defaults": ["sweep_settings", "base_schema", "settings", "_self_", {"sweep": None}]}
    values: Any = OmegaConf.to_container(saved)
    ConfigStore.instance().store(name=PRIMARY, node={**defaults, **values})
    return PRIMARY


def compose_saved(run_dir: Path, carried: tuple[str, ...]) -> DictConfig:
    """The saved config under today's schema, from within a running Hydra program."""
    return compose(make_primary(load_saved(run_dir, carried)))
