"""The settings of a run that is given none, to say what a run has differently."""

from typing import Any

from hydra import compose
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from unet_exp.config.saved import flat, without_hydra


def default_settings() -> dict[str, Any] | None:
    """Every setting of `python run.py` by its dotted key, as composed now, without keys that follow others.

    None outside a running Hydra program.
    """
    if not GlobalHydra.instance().is_initialized():
        return None
    composed = without_hydra(compose("config"))
    values = flat(OmegaConf.to_container(composed, resolve=True))
    written = flat(OmegaConf.to_container(composed, resolve=False))
    return {key: value for key, value in values.items() if not str(written.get(key)).startswith("${")}
