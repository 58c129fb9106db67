"""task=summary: the tables and pictures of a sweep, at any time."""

from unet_exp.config.paths import expanded
from unet_exp.config.task_schema import SummaryConfig
from unet_exp.errors import CheckpointError
from unet_exp.rundir.sweep_directory import read_jobs
from unet_exp.sweeps.results import say_results
from unet_exp.sweeps.search import summarise


def summary(options: SummaryConfig) -> None:
    """sweep.csv, sweep.png, the ranking and the best job. Raises CheckpointError for what is no sweep."""
    directory = expanded(options.sweep_dir)
    jobs = read_jobs(directory)
    if not jobs:
        raise CheckpointError(
            f"{directory} holds no jobs of a sweep", allowed="a directory such as multirun/lr_batch"
        )
    summarise(directory, jobs[0])
    say_results(directory)
