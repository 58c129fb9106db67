"""What Hydra finds as hydra/launcher=process and hydra/sweeper=grid, tune. Hydra imports this at every start,
so it is thin: the work is in unet_exp/sweeps/."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class ProcessLauncher(Launcher):
    """Each job in a process of its own on this machine."""

    def __init__(
        self, n_jobs: int | str, gpus: list[int] | None, job_minutes: float | None, fail_fast: bool
    ) -> None:
        from unet_exp.sweeps.runner import Limits

        self.limits = Limits(n_jobs, list(gpus or []), job_minutes, fail_fast)
        self.sweep_dir = Path()

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.sweep_dir = Path(str(config.hydra.sweep.dir))

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """job_overrides: of each job the name of its directory. Results are in the files of the jobs."""
        from unet_exp.rundir.sweep_directory import read_jobs
        from unet_exp.sweeps.live_table import LiveTable
        from unet_exp.sweeps.results import LiveCsv
        from unet_exp.sweeps.runner import run_all

        every = {job.name: job for job in read_jobs(self.sweep_dir)}
        todo = [every[overrides[0]] for overrides in job_overrides]
        table = LiveTable(list(every.values()))
        csv = LiveCsv(self.sweep_dir)
        run_all(todo, self.limits, table, lambda job, state: csv.ended(job), csv.refresh)
        return []


class _Sweeper(Sweeper):
    context: HydraContext
    master: DictConfig

    def __init__(self, **options: Any) -> None:
        """The options are read from the config, where the sweeps find them."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.context = hydra_context
        self.master = config

    def sweep(self, arguments: list[str]) -> None:
        import sys

        from unet_exp import errors

        try:
            with errors.in_words("sweep"):
                self.run(arguments)
        except errors.UserError as error:
            sys.exit(f"error: {error}")

    def run(self, arguments: list[str]) -> None:
        raise NotImplementedError


class GridSweeper(_Sweeper):
    """All combinations of the axes, and listed points."""

    def run(self, arguments: list[str]) -> None:
        from unet_exp.sweeps.grid import run_grid

        run_grid(self.context, self.master, arguments)


class OptunaSweeper(_Sweeper):
    """A search by Optuna."""

    def run(self, arguments: list[str]) -> None:
        from unet_exp.sweeps.search import run_search

        run_search(self.context, self.master, arguments)
