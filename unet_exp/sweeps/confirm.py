"""sweep=confirm: the best settings of a search again, with seeds that the search has not seen."""

from typing import Any

from hydra.core.config_loader import ConfigLoader
from omegaconf import DictConfig, OmegaConf

from unet_exp.config.paths import expanded
from unet_exp.config.quoting import hydra_value
from unet_exp.config.saved import flat, read_config, without_hydra
from unet_exp.config.schema import LABELS
from unet_exp.errors import CheckpointError, ConfigError
from unet_exp.messages import shown_path
from unet_exp.rundir import layout
from unet_exp.rundir.sweep_directory import REPEATS, Job, read_rows
from unet_exp.sweeps import plan
from unet_exp.sweeps.ranking import ranking

CONFIRM = "confirm"
ASIDE = (*REPEATS, *LABELS, "threads", "sweep")  # of a job, and no part of its setting


def points_of_search(
    sweeper: DictConfig, arguments: list[str], master: DictConfig, loader: ConfigLoader
) -> dict[str, dict[str, str]]:
    """The best `top` settings as named points. Raises ConfigError without a search, or for seeds that it
    used."""
    if not sweeper.confirm:
        raise ConfigError(
            "sweep=confirm confirms a search", do="name its directory: sweep=confirm confirm=multirun/tune"
        )
    directory = expanded(str(sweeper.confirm))
    settings = ranking(read_rows(directory))
    if not settings:
        raise CheckpointError(
            f"{shown_path(directory)} has no finished jobs", allowed="the directory of a search"
        )
    refuse_used_seeds(sweeper, arguments, [row.job for one in settings for row in one.rows], loader)
    points = {}
    for rank, setting in enumerate(settings[: int(sweeper.top)], start=1):
        job = setting.rows[0].job
        words = ", ".join(
            f"{key.rpartition('.')[2]}={value}" for key, value in setting.values.items() if value
        )
        points[f"{rank} {words}"] = point_of(job, arguments, master, loader)
    return points


def point_of(job: Job, arguments: list[str], master: DictConfig, loader: ConfigLoader) -> dict[str, str]:
    """The keys that give a job's setting: what it was given, and whatever its sweep's file had set beside."""
    recorded: Any = OmegaConf.load(job.directory / ".hydra/overrides.yaml")
    pairs = (str(override).lstrip("+").partition("=")[::2] for override in recorded)
    point = {key: value for key, value in pairs if key not in ASIDE and not key.startswith("hydra")}
    typed = {plan.key_of(argument) for argument in arguments}
    fixed = [str(o.input_line) for o in plan.parse(arguments, loader) if not o.is_sweep_override()]
    composed = loader.load_sweep_config(master, [*fixed, *(f"{k}={v}" for k, v in point.items())])
    here = flat(OmegaConf.to_container(without_hydra(composed), resolve=False))
    wanted = flat(OmegaConf.to_container(read_config(job.directory / layout.SAVED_CONFIG), resolve=False))
    others = {
        key: hydra_value(value)
        for key, value in wanted.items()
        if key in here and here[key] != value and key not in (*ASIDE, *typed)
    }
    return point | others


def refuse_used_seeds(
    sweeper: DictConfig, arguments: list[str], jobs: list[Job], loader: ConfigLoader
) -> None:
    """Raises ConfigError for a seed with which the search has trained: its luck is in the ranking already."""
    given = [argument for argument in arguments if argument.startswith("seed=")]
    seeds = given or [f"seed={sweeper.params.seed}"]
    wanted = {override[0].partition("=")[2] for override in plan.expand(seeds, loader)}
    used = {str(OmegaConf.select(read_config(job.directory / layout.SAVED_CONFIG), "seed")) for job in jobs}
    if wanted & used:
        raise ConfigError(
            f"the search has trained with seed {', '.join(sorted(wanted & used))} already",
            allowed="new seeds, such as seed='range(1000,1005)'",
        )
