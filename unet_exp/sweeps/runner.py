"""Jobs in processes on this machine, some at a time; one that dies costs itself alone."""

import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from unet_exp.errors import ConfigError
from unet_exp.rundir import layout, signals
from unet_exp.rundir.sweep_directory import DONE, Job
from unet_exp.sweeps import jobs
from unet_exp.sweeps.jobs import GRACE
from unet_exp.sweeps.live_table import LiveTable

POLL = 0.1  # seconds


@dataclass(frozen=True)
class Limits:
    """n_jobs at a time (auto: one per GPU of `gpus`, else one); minutes: longest time of a job."""

    n_jobs: int | str = "auto"
    gpus: list[int] = field(default_factory=list)
    minutes: float | None = None
    fail_fast: bool = False

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
    process: "subprocess.Popen[bytes]"
    slot: int
    started: float
    asked: float | None = None  # when it was asked to stop
    reason: str = ""


def run_all(todo: list[Job], limits: Limits, shown: LiveTable, ended: Callable[[Job], None]) -> None:
    """Run these jobs to their ends. Raises KeyboardInterrupt after a signal, once every job has saved."""
    waiting = list(todo)
    running = list[Running]()
    since = time.monotonic()
    with signals.stop_on_signals() as stop:
        try:
            while waiting or running:
                if stop.requested:
                    waiting.clear()
                    for each in running:
                        ask_to_stop(each)
                free = [slot for slot in range(limits.slots) if slot not in [each.slot for each in running]]
                for job in waiting[: len(free)]:
                    if not jobs.is_held(job.directory):
                        running.append(launch(job, free.pop(0), limits))
                        waiting.remove(job)
                    elif time.monotonic() - since > GRACE and not running:
                        waiting.remove(job)
                        shown.say(f"{job.name}: left out, another process has had it for {GRACE:.0f} s")
                for each in [each for each in running if is_over(each, limits)]:
                    running.remove(each)
                    state = jobs.conclude(each.job.directory, each.process.returncode, each.reason)
                    ended(each.job)
                    shown.ended(each.job, state)
                    if state == "failed" and limits.fail_fast:
                        shown.say("fail_fast=true: stopping the other jobs")
                        waiting.clear()
                        for other in running:
                            ask_to_stop(other)
                shown.refresh({each.job.name: each.started for each in running})
                time.sleep(POLL)
        finally:
            for each in running:  # only after a second signal
                each.process.kill()
                each.process.wait()
            shown.close()
    if stop.requested:
        signals.process.received = stop.signal
        raise KeyboardInterrupt


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
    if running.asked is not None and now - running.asked > GRACE:
        process.kill()
    return False


def ask_to_stop(running: Running) -> None:
    """Once: a second signal would cut off the saving."""
    if running.asked is None:
        running.asked = time.monotonic()
        running.process.send_signal(signal.SIGTERM)


def unfinished(found: list[Job]) -> list[Job]:
    """The jobs that the same command still has to run."""
    return [job for job in found if layout.read_status(job.directory).get("state") not in DONE]
