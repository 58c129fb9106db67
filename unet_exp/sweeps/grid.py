"""A sweep from its first check to its last table."""

import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf

from unet_exp.comparison.settings import Reader
from unet_exp.config.relabel import relabel
from unet_exp.config.schema import LABELS
from unet_exp.errors import ConfigError, UserError, first_line
from unet_exp.messages import counted, say, shortened, shortened_lines, shown_path
from unet_exp.rundir import atomic, layout, lock
from unet_exp.rundir.sweep_directory import DONE, JOB_LOG, POINT, RECORD, Job, progress
from unet_exp.sweeps import plan
from unet_exp.sweeps.composing import Composer
from unet_exp.sweeps.confirm import CONFIRM, points_of_search
from unet_exp.sweeps.known import Known
from unet_exp.sweeps.launchers import make_launcher
from unet_exp.sweeps.plan import Overrides, Planned
from unet_exp.sweeps.results import say_results, write_csv
from unet_exp.sweeps.runner import Limits, unfinished

MOST_FAILURES = 20  # jobs named at the end of a sweep
STOPPED = "stopped; the same command continues the sweep"


@dataclass(frozen=True)
class Sweep:
    """known: the jobs that are there. axes: the keys it goes through. master: the config without them."""

    known: Known
    axes: list[str]
    context: HydraContext
    master: DictConfig
    launcher: Launcher

    @property
    def directory(self) -> Path:
        return self.known.directory


def open_sweep(
    context: HydraContext, master: DictConfig, axes: list[str], planned: Sequence[Planned]
) -> Sweep:
    """The sweep to which these jobs belong; nothing is written yet.

    Raises ConfigError where a run lies in the way.
    """
    limits = limits_of(master)
    if limits is not None:
        limits.check()
    known = plan.find_sweep(master, axes, planned)
    if layout.has_started(known.directory):
        raise ConfigError(
            f"{shown_path(known.directory)} already holds a run", do="choose another sweep_dir=DIR"
        )
    return Sweep(known, axes, context, master, make_launcher(master, known.directory))


@dataclass(frozen=True)
class Expanded:
    """jobs: the name of its point and the overrides of each. axes: the keys that differ between them.

    labels: the axes that name a job, where a point stands for its keys, of_points.
    """

    jobs: list[tuple[str | None, Overrides]]
    axes: list[str]
    labels: list[str]
    of_points: list[str]


def expand(master: DictConfig, arguments: Overrides, loader: ConfigLoader) -> Expanded:
    """All combinations of the axes with each point. Raises ConfigError for points of another form."""
    sweeper = master.hydra.sweeper
    params: Any = OmegaConf.to_container(sweeper.params, resolve=True) if sweeper.params else {}
    points: Any = OmegaConf.to_container(sweeper.points, resolve=True) if sweeper.points else []
    if master.hydra.runtime.choices.get("sweep") == CONFIRM:
        points = points_of_search(sweeper, arguments, master, loader)
    named = isinstance(points, dict)
    names: list[Any] = [str(name) for name in points] if named else [None] * max(len(points), 1)
    points = plan.with_bases(points) if named else points
    if not all(isinstance(point, dict) for point in points):
        raise ConfigError(
            f"points is {sweeper.points}",
            allowed="[{lr: 1e-3}, {lr: 1e-4}] or {one: {lr: 1e-3}, two: {lr: 1e-4}}",
        )
    lists = plan.merged(arguments, params, points)
    jobs = [(name, job) for name, line in zip(names, lists, strict=True) for job in plan.expand(line, loader)]
    swept = [str(o.get_key_element()) for o in plan.parse(lists[0], loader) if o.is_sweep_override()]
    keys = list(dict.fromkeys(str(key) for point in points for key in point))
    axes = list(dict.fromkeys([*swept, *keys]))
    if not named:
        return Expanded(jobs, axes, axes, [])
    typed = {plan.key_of(argument) for argument in arguments}  # what is typed is no part of a point any more
    of_points = [key for key in keys if key not in typed]
    labels = [POINT, *(axis for axis in swept if axis not in of_points)]
    return Expanded(jobs, axes, labels, of_points)


def run_grid(context: HydraContext, master: DictConfig, arguments: Overrides) -> None:
    """All jobs of a grid or of listed points; leaves by SystemExit(1) if some failed."""
    grid = expand(master, arguments, context.config_loader)
    composed = compose(context, master, grid.labels, grid.jobs, grid.of_points)
    sweep = open_sweep(context, master, grid.axes, composed)
    threads = threads_per_job(master)
    planned = [plan.put(job, sweep.known, plan.frozen_text(job.config, threads)) for job in composed]
    start(sweep)
    freeze(sweep, planned)
    jobs = [job.job for job in planned]
    todo = unfinished(jobs)
    relabel_ended(planned, todo, arguments)
    begun = sum(layout.has_started(job.directory) for job in todo)
    say(
        f"{counted(len(jobs), 'job')} in {shown_path(sweep.directory)}: {len(jobs) - len(todo)} done, "
        f"{begun} to continue, {len(todo) - begun} to start"
    )
    try:
        launch(sweep, todo)
    except KeyboardInterrupt:
        write_csv(sweep.directory)
        say(STOPPED)
        raise
    say_results(sweep.directory)
    leave(jobs)


def relabel_ended(planned: Sequence[Planned], todo: Sequence[Job], arguments: Overrides) -> None:
    """Give jobs that are done the labels that were typed."""
    typed = {plan.key_of(argument) for argument in arguments} & set(LABELS)
    waiting = {job.name for job in todo}
    reader = Reader()
    changed = 0
    for one in planned if typed else []:
        directory = one.job.directory
        new = {key: one.config.values.get(key) for key in typed}
        if one.job.name not in waiting and not new.items() <= reader.labels(directory).items():
            changed += bool(relabel(directory, new))
    if changed:
        say(f"{' and '.join(sorted(typed))} of {counted(changed, 'job')} changed")


def start(sweep: Sweep) -> None:
    """From here on the sweep writes. Raises CheckpointError while another process has its directory."""
    atomic.make_directory(sweep.directory)
    lock.lock(sweep.directory)


def compose(
    context: HydraContext,
    master: DictConfig,
    axes: list[str],
    jobs: Iterable[tuple[str | None, Overrides]],
    of_points: Sequence[str] = (),
) -> list[Planned]:
    """Compose and check every job: the name of its point, its overrides. of_points: keys that points set.

    Raises ConfigError that says which are wrong, before any starts.
    """
    composer = Composer(context.config_loader, master)
    planned: dict[str, Planned] = {}
    wrong: dict[str, list[str]] = {}  # problem: jobs
    for point, overrides in jobs:
        # Unknown keys and groups are Hydra's to tell, in its words.
        job, problems = plan.compose(overrides, axes, composer, point, of_points)
        words = " ".join([*([point] if point else []), *(o for o in overrides if plan.key_of(o) in axes)])
        words = words or "the job"
        for problem in problems:
            wrong.setdefault(problem, []).append(words)
        if not problems and job.job.name in planned:
            say(f"{words}: the same settings as another job, which runs once")
        planned[job.job.name] = job
    if wrong:
        lines = [f"  {problem}\n    in {shortened(words, 5, '; ')}" for problem, words in wrong.items()]
        raise ConfigError(
            "\n".join(["some jobs have problems in their configuration", *lines]),
            do="correct the settings, then give the command again; no job was started",
        )
    return list(planned.values())


def freeze(sweep: Sweep, planned: list[Planned]) -> None:
    """Write the configs of jobs that have not begun."""
    threads = threads_per_job(sweep.master)
    files = [file for job in planned for file in plan.freeze(job, threads).items()]
    # A record makes a directory a job of the sweep, so it comes last.
    atomic.write_many(file for file in files if file[0].name != RECORD)
    atomic.write_many(file for file in files if file[0].name == RECORD)


def threads_per_job(master: DictConfig) -> int | None:
    """The share of the cores of each job, None where it may use all it sees."""
    launcher = master.hydra.launcher
    limits = limits_of(master)
    if limits is not None:
        return None if limits.slots < 2 else max(available_cores() // limits.slots, 1)
    cpus = launcher.get("cpus_per_task") or OmegaConf.select(launcher, "ray.remote.num_cpus")
    return None if cpus is None else max(int(cpus), 1)


def limits_of(master: DictConfig) -> Limits | None:
    """Of hydra/launcher=process; None for the others."""
    launcher = master.hydra.launcher
    if "n_jobs" not in launcher or "job_minutes" not in launcher:
        return None
    return Limits(launcher.n_jobs, list(launcher.gpus or []), launcher.job_minutes, launcher.fail_fast)


def available_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def launch(sweep: Sweep, jobs: list[Job]) -> None:
    """Run these jobs. What one of them does wrong is in its status.json, whatever the launcher says."""
    if not jobs:
        return
    try:
        sweep.launcher.launch([[job.name] for job in jobs], 0)
    except Exception as error:  # a cluster that lost a worker; the jobs' own files say what is missing
        if isinstance(error, UserError) or limits_of(sweep.master) is not None:
            raise
        say(f"the launcher reports {type(error).__name__}: {first_line(error)}")
    write_csv(sweep.directory)


def leave(jobs: list[Job]) -> None:
    """Name the jobs that did not end well, and leave by SystemExit(1) if there are some."""
    ends = [(job, progress(job)) for job in jobs]
    failures = [
        f"  {job.name}: {end.state}{', ' if end.reason else ''}{end.reason}\n"
        f"    log: {shown_path(job.directory)}/{JOB_LOG}"
        for job, end in ends
        if end.state not in DONE
    ]
    if failures:
        count = f"{len(failures)} of {counted(len(jobs), 'job')}"
        title = f"error: {count} did not finish; the same command runs them again"
        sys.exit("\n".join([title, *shortened_lines(failures, MOST_FAILURES)]))
