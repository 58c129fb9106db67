"""Jobs in processes on this machine, some at a time; one that dies costs itself alone."""

import math
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from unet_exp.errors import ConfigError
from unet_exp.rundir import layout, lock, signals
from unet_exp.rundir.sweep_directory import DONE, Job, progress, read_job
from unet_exp.sweeps import jobs
from unet_exp.sweeps.live_table import LiveTable

POLL = 0.1  # seconds
GRACE = 60.0  # seconds


@dataclass(frozen=True)
class Limits:
    """n_jobs at a time (auto: one per GPU of `gpus`, else one); minutes: longest time of a job.

    grace: seconds that a job has to save and leave after it was asked to stop.
    """

    n_jobs: int | str = "auto"
    gpus: list[int] = field(default_factory=list)
    minutes: float | None = None
    fail_fast: bool = False
    grace: float = GRACE

    @property
    def slots(self) -> int:
        return max(len(self.gpus), 1) if self.n_jobs == "auto" else int(self.n_jobs)

    def check(self) -> None:
        """Raises ConfigError for values that make no sense."""
        number = type(self.n_jobs) is int and self.n_jobs > 0
        if self.n_jobs != "auto" and not number:
            raise ConfigError(f"n_jobs is {self.n_jobs!r}", allowed="auto, or a whole number from 1")
        if any(type(gpu) is not int or gpu < 0 for gpu in self.gpus):
            raise ConfigError(f"gpus is {self.gpus}", allowed="numbers of GPUs, such as gpus=[0,1]")
        if type(self.fail_fast) is not bool:
            raise ConfigError(f"fail_fast is {self.fail_fast!r}", allowed="true or false")
        if self.minutes is not None and (isinstance(self.minutes, (bool, str)) or self.minutes <= 0):
            raise ConfigError(f"job_minutes is {self.minutes!r}", allowed="null, or a number above 0")


@dataclass
class Running:
    job: Job
    process: jobs.Process
    slot: int
    started: float
    asked: float | None = None  # when it was asked to stop
    reason: str = ""


def run_all(
    todo: list[Job],
    limits: Limits,
    table: LiveTable,
    ended: Callable[[Job, str], object],
    between: Callable[[], object] = lambda: None,
) -> None:
    """Run these jobs to their ends, and tell each end: the job and its state. between: called while they run,
    several times a second.

    Raises KeyboardInterrupt after a signal, once every job has saved.
    """
    waiting = list(todo)
    running = list[Running]()
    since = time.monotonic()
    in_main_thread = threading.current_thread() is threading.main_thread()  # the one that hears of signals
    with signals.stop_on_signals(obey=in_main_thread) as stop:
        try:
            while waiting or running:
                if stop.requested:
                    stop_all(waiting, running)
                start_jobs(waiting, running, limits, table, time.monotonic() - since)
                for one in [one for one in running if is_over(one, limits)]:
                    running.remove(one)
                    state = jobs.conclude(one.job.directory, one.process.returncode or 0, one.reason)
                    ended(one.job, state)
                    table.ended(one.job, state)
                    if state == "failed" and limits.fail_fast:
                        table.say("fail_fast=true: the other jobs are stopped")
                        stop_all(waiting, running)
                table.refresh({one.job.name: one.started for one in running}, waiting)
                between()
                time.sleep(POLL)
        finally:
            for one in running:  # only after a second signal
                one.process.kill()
                one.process.wait()
            table.wipe()
    if stop.requested:
        signals.process.received = stop.signal
        raise KeyboardInterrupt


def run_here(directory: Path) -> str:
    """Run one job and wait for it, for launchers that bring us to another machine; returns its state.

    SIGTERM and SIGUSR2 (a cluster that takes its machine back) reach the job, which saves and leaves in the
    time that the cluster gives; then they have their usual effect here, such as submitit's new submission.
    Raises CheckpointError if another process keeps the job.
    """
    job = read_job(directory)
    if not unfinished([job]):
        return progress(job).state
    states = list[str]()
    signals.process.patient = True  # a cluster sends several signals
    try:
        table = LiveTable([job], quiet=True)
        run_all([job], Limits(grace=math.inf), table, lambda job, state: states.append(state))
    except KeyboardInterrupt:
        number = signals.process.received
        signals.process.received = signal.SIGINT  # else a hangup would be taken for one that was obeyed
        signal.raise_signal(number)
    if not states:
        lock.unlock(lock.lock(directory))  # raises the error that names the other process
    return states[0] if states else progress(job).state


def start_jobs(
    waiting: list[Job], running: list[Running], limits: Limits, table: LiveTable, seconds: float
) -> None:
    """Start the next jobs in the free slots. One that another process has waits; after GRACE it is left out.

    seconds: since the first job of this start.
    """
    free = [slot for slot in range(limits.slots) if slot not in [one.slot for one in running]]
    if not (waiting and free and jobs.can_begin()):
        return
    for job in waiting[: len(free)]:
        if not jobs.is_held(job.directory):
            running.append(launch(job, free.pop(0), limits))
            waiting.remove(job)
        elif seconds > GRACE and not running:
            waiting.remove(job)
            table.say(f"{job.name}: left out; another process has had it for {GRACE:.0f} s")


def stop_all(waiting: list[Job], running: list[Running]) -> None:
    waiting.clear()
    for one in running:
        ask_to_stop(one)


def launch(job: Job, slot: int, limits: Limits) -> Running:
    environment = {}
    if limits.gpus:
        environment["CUDA_VISIBLE_DEVICES"] = str(limits.gpus[slot % len(limits.gpus)])
    return Running(job, jobs.begin(job.directory, environment), slot, time.monotonic())


def is_over(running: Running, limits: Limits) -> bool:
    """Whether the process has ended; one that is over its time is asked to stop, then killed."""
    process = running.process
    now = time.monotonic()
    if process.poll() is not None:
        if process.stdin is not None:
            process.stdin.close()
        return True
    if limits.minutes is not None and now - running.started > 60 * limits.minutes and not running.reason:
        running.reason = f"stopped after job_minutes={limits.minutes:g}"
        ask_to_stop(running)
    if running.asked is not None and now - running.asked > limits.grace:
        process.kill()
    return False


def ask_to_stop(running: Running) -> None:
    """Once: a second signal would cut off the saving."""
    if running.asked is None:
        running.asked = time.monotonic()
        running.process.send_signal(signal.SIGTERM)


def unfinished(todo: list[Job]) -> list[Job]:
    """The jobs that the same command still has to run."""
    return [job for job in todo if layout.read_status(job.directory).get("state") not in DONE]
