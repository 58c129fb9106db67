"""Other labels (name, notes, tags) for a run that has ended."""

from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from unet_exp.config.saved import read_config
from unet_exp.config.typed import literal
from unet_exp.rundir import atomic, layout


def relabel(run_dir: Path, labels: dict[str, Any]) -> list[str]:
    """Write them into config_resolved.yaml and environment.json; returns the names of those that changed.

    Raises CheckpointError for a damaged file.
    """
    path = run_dir / layout.RESOLVED_CONFIG
    known = OmegaConf.to_container(read_config(path), resolve=False)
    assert isinstance(known, dict)
    new = {key: literal(value) for key, value in labels.items()}
    # Runs of before there were labels have none: that is no change.
    changed = [key for key, value in new.items() if (known.get(key) or None) != (value or None)]
    if changed:
        environment = atomic.read_json(run_dir / layout.ENVIRONMENT)
        last = (environment.get("restarts") or [environment])[-1]
        last["given"] = {**last.get("given", {}), **labels}  # what the next start takes over
        atomic.write_json(run_dir / layout.ENVIRONMENT, environment)
        atomic.write_text(path, OmegaConf.to_yaml(OmegaConf.create({**known, **new})))
    return changed
