"""What differs between a run and the one it continues, starts again or replays."""

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from unet_exp import provenance, runs
from unet_exp.errors import CheckpointError
from unet_exp.saved import read_config, starts
from unet_exp.schema import Config


def config_changes(run_dir: Path, values: dict[str, Any]) -> list[str]:
    """'lr: 0.001 -> 0.0005' for each key in which a config differs from the resolved one of a run."""
    if not (run_dir / runs.RESOLVED_CONFIG).exists():  # cut off before it trained
        return []
    # A knob that came since the run was made had its default there.
    old, new = flat(dataclasses.asdict(Config())) | flat(resolved(run_dir)), flat(values)
    return [
        f"{key}: {old.get(key)} -> {new.get(key)}" for key in {**old, **new} if old.get(key) != new.get(key)
    ]


def resolved(run_dir: Path) -> dict[str, Any]:
    """config_resolved.yaml of a run. Raises CheckpointError."""
    config = read_config(run_dir / runs.RESOLVED_CONFIG)
    return dict(OmegaConf.to_container(config, resolve=True))  # type: ignore[arg-type]


def flat(values: Any, prefix: str = "") -> dict[str, Any]:
    """{'a': {'b': 1}} as {'a.b': 1}."""
    if not isinstance(values, dict):
        return {prefix[:-1]: values}
    return {k: v for key, value in values.items() for k, v in flat(value, f"{prefix}{key}.").items()}


def environment_changes(run_dir: Path, environment: dict[str, Any]) -> list[str]:
    """What differs from the environment of a run's last start: code, packages, machine, decoded data."""
    if not (run_dir / runs.ENVIRONMENT).exists():
        return []
    old = starts(run_dir)[-1]
    lines = provenance.differences(old, environment)
    for part in ("train", "val"):
        before, after = (side.get("data", {}).get(part, {}).get("sha256") for side in (old, environment))
        if before != after:
            lines.append(f"data: the {part} images and labels, once decoded, are not the same")
    return lines


def known_files(run_dir: Path | None) -> dict[str, Any] | None:
    """The fingerprint of a run's data, None where there is none."""
    if run_dir is None or not (run_dir / runs.FINGERPRINT).exists():
        return None
    known = runs.read_json(run_dir / runs.FINGERPRINT)
    if not isinstance(known, dict) or not {"method", "files"} <= set(known):
        raise CheckpointError(f"{run_dir / runs.FINGERPRINT} is not a fingerprint", do="remove it")
    return known


def as_lines(title: str, lines: Iterable[str]) -> str:
    """A title and below it the lines, indented."""
    return "\n".join([title, *(f"  {line}" for line in lines)])
