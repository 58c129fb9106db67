"""The jobs of a sweep on the terminal: a table that is drawn again in place, plain lines when piped."""

import shutil
import sys
import time

from unet_exp.messages import say
from unet_exp.rundir.sweep_directory import DONE, Job, Progress, progress

EVERY = 1.0  # seconds between drawings
LEAST_ROWS = 3


class LiveTable:
    """jobs: all of the sweep, those that are done too."""

    def __init__(self, jobs: list[Job]) -> None:
        self.jobs = jobs
        self.drawn = 0
        self.last = 0.0
        self.live = sys.stdout.isatty()
        self.over = sum(progress(job).state in DONE for job in jobs)
        self.first: dict[str, tuple[int, float]] = {}  # job: epoch and time at which this start found it

    def say(self, line: str) -> None:
        """A line above the table."""
        self.wipe()
        say(line)

    def ended(self, job: Job, state: str) -> None:
        found = progress(job)
        self.over += state != "interrupted"
        score = f" {job.monitor} {score_text(found.best)}" if found.best is not None else ""
        reason = f": {found.reason}" if found.reason else ""
        self.say(f"[{self.over}/{len(self.jobs)}] {state} {job.name}{score} {found.seconds:.0f} s{reason}")

    def refresh(self, started: dict[str, float]) -> None:
        """Draw again if it is time. started: the running jobs, and when (time.monotonic) each began."""
        now = time.monotonic()
        if not self.live or now - self.last < EVERY:
            return
        self.last = now
        width, height = shutil.get_terminal_size((80, 24))
        rows = [(job, progress(job)) for job in self.jobs]
        running = [(job, found) for job, found in rows if job.name in started]
        others = [(job, found) for job, found in rows if job.name not in started]
        shown = [*running, *others[::-1]][: max(height - 4, LEAST_ROWS)]
        lines = [line_of(("job", "epoch", "best", "state", "left"), width)]
        for job, found in shown:
            state = "running" if job.name in started else found.state
            left = self.left(job, found, started[job.name]) if job.name in started else ""
            epoch = f"{found.epoch}/{job.epochs}"
            lines.append(line_of((job.name, epoch, score_text(found.best), state, left), width))
        if len(rows) > len(shown):
            lines.append(f"... and {len(rows) - len(shown)} more"[: width - 1])
        self.wipe()
        say("\n".join(lines))
        self.drawn = len(lines)

    def left(self, job: Job, found: Progress, started: float) -> str:
        """The time a job still needs, by the epochs of this start."""
        epoch, began = self.first.setdefault(job.name, (found.epoch, started))
        done = found.epoch - epoch
        return time_text((time.monotonic() - began) / done * (job.epochs - found.epoch)) if done > 0 else ""

    def wipe(self) -> None:
        if self.drawn:
            say(f"\x1b[{self.drawn}F\x1b[J", end="")
            self.drawn = 0

    def close(self) -> None:
        self.wipe()


def line_of(cells: tuple[str, str, str, str, str], width: int) -> str:
    """The job cut to what the others leave of the terminal; its end says more than its middle."""
    job, epoch, best, state, left = cells
    room = max(width - 1 - 10 - 9 - 12 - 8, 12)
    if len(job) > room:
        job = job[: room - 10] + "~" + job[-9:]
    return f"{job:<{room}}{epoch:>10}{best:>9} {state:<11}{left:>8}"


def score_text(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def time_text(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
