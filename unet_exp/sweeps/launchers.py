"""How Hydra's launchers run jobs that are composed already: they get names of frozen jobs, not overrides."""

import copy
import os
from pathlib import Path

from hydra._internal.callbacks import Callbacks
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_search_path_impl import ConfigSearchPathImpl
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext
from omegaconf import DictConfig, open_dict, read_write

from unet_exp.messages import RUN_PY
from unet_exp.sweeps.results import write_csv
from unet_exp.sweeps.runner import run_here


class FrozenLoader(ConfigLoaderImpl):
    """Composes nothing: the 'overrides' of a job are the name of its directory."""

    def load_sweep_config(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        config = copy.deepcopy(master_config)
        with read_write(config), open_dict(config):
            config.hydra.sweep.subdir = sweep_overrides[0]
        return config


def run_frozen(config: DictConfig) -> str:
    """What a launcher runs for a job, wherever it brings us: a process on its frozen config."""
    directory = Path(HydraConfig.get().runtime.output_dir)
    state = run_here(directory)
    write_csv(directory.parent)
    return state


def make_launcher(master: DictConfig, sweep_dir: Path) -> Launcher:
    """The launcher that the command line chose, to be given names of jobs in sweep_dir."""
    config = copy.deepcopy(master)
    with read_write(config), open_dict(config):
        config.hydra.sweep.dir = str(sweep_dir)
        config.hydra.output_subdir = None  # .hydra/ is there and stays as it is
        config.hydra.job_logging = {"version": 1, "root": None}
        config.hydra.callbacks = {}
    # Workers on this or other machines import what they are told to run.
    root = str(RUN_PY.parent)
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if root not in paths:
        os.environ["PYTHONPATH"] = os.pathsep.join([root, *filter(None, paths)])
    context = HydraContext(config_loader=FrozenLoader(ConfigSearchPathImpl()), callbacks=Callbacks())
    return Plugins.instance().instantiate_launcher(
        hydra_context=context, task_function=run_frozen, config=config
    )
