"""The config of a run, read back as data: nothing in it can choose what Hydra does or call anything."""

import copy
import dataclasses
import logging
import os
import re
from pathlib import Path
from typing import Any

from hydra import compose
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf, open_dict

from unet_exp.config import yaml_files
from unet_exp.config.may_change import MAY_CHANGE
from unet_exp.config.schema import RENAMED, Config
from unet_exp.config.typed import literal
from unet_exp.errors import CheckpointError, did_you_mean
from unet_exp.messages import numbered
from unet_exp.rundir import atomic, layout
from unet_exp.rundir.provenance import starts

log = logging.getLogger("unet_exp")

PRIMARY = "_saved"  # the name under which Hydra finds it
# What the machine decides once, and a run then keeps in later starts.
DECIDED = ("threads", "device", "trainer.precision", "trainer.channels_last")
PLACES = ("data.root", "model.weights")  # where its files were last found
AGAIN = (*DECIDED, *PLACES)  # what from_run= takes beside the config as it was composed
CARRIED = tuple(dict.fromkeys((*AGAIN, *MAY_CHANGE)))  # and resume=


def load_saved(run_dir: Path, carried: tuple[str, ...]) -> DictConfig:
    """The config of a run as it was composed, with the `carried` keys as its last start had them.

    Relative paths in it are taken from where that run was started, or from where they are now: see `place`.
    Raises CheckpointError for what is no run, for keys that are not known (any more), and for a config that
    holds more than values and references between its own keys.
    """
    path = run_dir / layout.SAVED_CONFIG
    if not layout.is_run(run_dir):
        state = "is there" if run_dir.is_dir() else "is not there"
        raise CheckpointError(
            f"{run_dir} is not a run directory: {path} is missing (the folder {state})",
            allowed="a directory that a run made, such as outputs/DATE/TIME",
            do="ls outputs/*/ shows them",
        )
    saved = read_config(path)
    for key in ("hydra", "defaults"):
        saved.pop(key, None)
    saved = DictConfig(renamed(OmegaConf.to_container(saved, resolve=False), where=path))
    problems = unknown_keys(OmegaConf.to_container(saved, resolve=False), Config)
    if problems:
        raise CheckpointError(
            numbered(f"{path} does not fit this version of unet_exp", problems, len(problems)),
            do=f"change these lines in {path}, or use the commit that made it (environment.json)",
        )
    for key, value in last_values(run_dir, saved, carried).items():
        OmegaConf.update(saved, key, literal(value))
    return saved


def last_values(run_dir: Path, saved: DictConfig, keys: tuple[str, ...]) -> dict[str, Any]:
    """What the last start of a run had of these keys, {} where it never trained.

    A key that resume= may change has the value that was last given, also "auto"; what a machine decides has
    what was decided. Runs of before given values were recorded have what was decided, or "auto".
    """
    path = run_dir / layout.RESOLVED_CONFIG
    known = starts(run_dir) if (run_dir / layout.ENVIRONMENT).exists() else []
    given = known[-1].get("given", {}) if known else {}
    given = {RENAMED.get(key, key): value for key, value in given.items()}
    decided = flat(resolved(run_dir)) if path.exists() else {}
    values = {}
    for key in keys:
        if key in given and key not in DECIDED:
            values[key] = given[key]
        elif key in decided and (key in DECIDED or OmegaConf.select(saved, key) != "auto"):
            values[key] = decided[key]
    for key in PLACES:
        # Of the last start, and of the config itself: a sweep writes there where the files of a job are now.
        ways = [(values[key], -1)] if key in values else []
        ways.append((OmegaConf.select(saved, key), 0))
        names = [
            place(value, run_dir, known[start]["start_dir"])
            for value, start in ways
            if isinstance(value, str) and known
        ]
        if names:
            values[key] = next(filter(os.path.exists, names), names[0])
    return values


def renamed(values: Any, where: str | Path | None = None) -> Any:
    """A saved config with today's names of its keys and _target_ paths. where: what a warning calls it."""
    changed = []
    for old, new in RENAMED.items():
        *path, name = old.split(".")
        node = values
        for key in path:
            node = node.get(key) if isinstance(node, dict) else None
        if isinstance(node, dict) and name in node:
            value = node.pop(name)
            *path, name = new.split(".")
            node = values
            for key in path:
                node = node.setdefault(key, {})
            node.setdefault(name, value)
            changed.append(old)
    changed += rename_targets(values)
    if changed and where is not None:
        warn_of_old_names(changed, where)
    return values


def rename_targets(node: Any) -> list[str]:
    """Give each `_target_` its path of today, in place; returns the earlier ones."""
    changed = []
    if isinstance(node, dict):
        if node.get("_target_") in RENAMED:
            changed.append(node["_target_"])
            node["_target_"] = RENAMED[node["_target_"]]
        changed += [target for value in node.values() for target in rename_targets(value)]
    return changed


def renamed_overrides(overrides: list[str]) -> list[str]:
    """KEY=VALUE of a command line with today's names of keys and _target_ paths; warns of earlier ones."""
    changed = []
    words = []
    for override in overrides:
        key, equals, value = override.partition("=")
        bare = key.lstrip("+~")
        changed += [word for word in (bare, value) if word in RENAMED]
        key = key[: len(key) - len(bare)] + RENAMED.get(bare, bare)
        words.append(key + equals + RENAMED.get(value, value))
    if changed:
        warn_of_old_names(changed, "the command line")
    return words


def warn_of_old_names(names: list[str], where: str | Path) -> None:
    now = ", ".join(f"{name} is {RENAMED[name]} now" for name in dict.fromkeys(names))
    log.warning("%s has earlier names, which still work: %s", where, now)


def has(config: DictConfig, key: str) -> bool:
    """Whether a dotted key exists, even as null."""
    parent, _, name = key.rpartition(".")
    node = OmegaConf.select(config, parent) if parent else config
    return isinstance(node, DictConfig) and name in node


def place(path: str, run_dir: Path, start_dir: str) -> str:
    """Where a path of an earlier start is now.

    From where that start stood; if nothing is there (any more), because a whole project was moved, from the
    nearest folder above the run in which it is, then from here. Where it is nowhere: as that start had it.
    """
    for folder in (Path(start_dir), *run_dir.absolute().parents, Path.cwd()):
        if (folder / path).exists():
            return str(folder / path)
    return str(Path(start_dir) / path)


def unknown_keys(node: Any, schema: type, prefix: str = "") -> list[str]:
    """One line for each key that the schema does not have (any more)."""
    fields = {field.name: field.type for field in dataclasses.fields(schema)}
    lines = []
    for key, value in node.items():
        name = f"{prefix}{key}"
        if key not in fields:
            lines.append(f"{name} is not known{did_you_mean(str(key), list(fields))}")
        elif dataclasses.is_dataclass(fields[key]) and isinstance(value, dict):
            lines += unknown_keys(value, fields[key], f"{name}.")  # type: ignore[arg-type]
    return lines


def read_config(path: Path) -> DictConfig:
    """YAML whose only interpolations are references to its own keys. Raises CheckpointError otherwise."""
    try:
        config = OmegaConf.create(path.read_text(encoding="utf-8"))
    except Exception as error:  # damaged YAML raises many kinds
        raise CheckpointError(yaml_files.fault(path, error)) from error
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


def without_hydra(config: DictConfig) -> DictConfig:
    """A copy without Hydra's own node, the type of each key kept, by which ${oc.env:LR} is a number."""
    copied = copy.deepcopy(config)
    with open_dict(copied):
        copied.pop("hydra", None)
    return copied


def without_calls(config: DictConfig) -> DictConfig:
    """A config with calls such as ${oc.env:HOME} replaced by their values; references to keys stay."""

    def settled(raw: Any, node: Any) -> Any:
        pairs = raw.items() if isinstance(raw, dict) else enumerate(raw)
        values = {key: one(value, node, key) for key, value in pairs}
        return values if isinstance(raw, dict) else list(values.values())

    def one(value: Any, parent: Any, key: Any) -> Any:
        if isinstance(value, (dict, list)):
            return settled(value, parent[key])
        if isinstance(value, str) and calls_something(value):
            now = parent[key]
            return literal(OmegaConf.to_container(now, resolve=True) if OmegaConf.is_config(now) else now)
        return value

    return DictConfig(settled(OmegaConf.to_container(config), config))


def save_composed(config: DictConfig, run_dir: Path) -> DictConfig:
    """Write .hydra/config.yaml as it will be read again, whatever hydra.output_subdir is; return it."""
    settled = without_calls(config)
    path = run_dir / layout.SAVED_CONFIG
    atomic.make_directory(path.parent)
    atomic.write_text(path, OmegaConf.to_yaml(settled))
    return settled


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


def compose_saved(run_dir: Path, carried: tuple[str, ...], typed: dict[str, str]) -> DictConfig:
    """The saved config under today's schema, from within a running Hydra program.

    typed: paths that are others now, by their keys.
    """
    saved = load_saved(run_dir, carried)
    for key, value in typed.items():
        OmegaConf.update(saved, key, literal(value))
    return compose(make_primary(saved))


def config_changes(run_dir: Path, values: dict[str, Any]) -> list[str]:
    """'lr: 0.001 -> 0.0005' for each key in which a config differs from the resolved one of a run."""
    if not (run_dir / layout.RESOLVED_CONFIG).exists():  # cut off before it trained
        return []
    # A knob that came since the run was made had its default there.
    old = flat(dataclasses.asdict(Config())) | flat(resolved(run_dir))
    new = flat(values)
    return [
        f"{key}: {old.get(key)} -> {new.get(key)}" for key in {**old, **new} if old.get(key) != new.get(key)
    ]


def resolved(run_dir: Path) -> dict[str, Any]:
    """config_resolved.yaml of a run. Raises CheckpointError."""
    config = read_config(run_dir / layout.RESOLVED_CONFIG)
    return dict(renamed(OmegaConf.to_container(config, resolve=True)))


def flat(values: Any, prefix: str = "") -> dict[str, Any]:
    """{'a': {'b': 1}} as {'a.b': 1}."""
    if not isinstance(values, dict):
        return {prefix[:-1]: values}
    return {k: v for key, value in values.items() for k, v in flat(value, f"{prefix}{key}.").items()}
