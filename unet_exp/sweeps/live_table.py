"""The jobs of a sweep on the terminal: a table that is written again in place, plain lines when piped."""

import shutil
import sys
import time

from unet_exp.messages import counted, say
from unet_exp.rundir import layout
from unet_exp.rundir.sweep_directory import DONE, Job, Progress, progress

EVERY = 1.0  # seconds between two tables
LEAST_ROWS = 3
MOST_NEXT = 5  # jobs that come next, while there are others to show
RUNNING = "running"
NEXT = "next"
ENDED = "ended"


class LiveTable:
    """jobs: all of the sweep, those that are done too. quiet: says nothing."""

    def __init__(self, jobs: list[Job], quiet: bool = False) -> None:
        self.jobs = jobs
        self.quiet = quiet
        self.live = sys.stdout.isatty() and not quiet
        self.num_lines = 0  # of the table that stands on the terminal
        self.written = 0.0
        self.num_ended = sum(progress(job).state in DONE for job in jobs)
        self.first: dict[str, tuple[int, float]] = {}  # job: its epoch and the time when it began here

    def say(self, line: str) -> None:
        """A line above the table."""
        self.wipe()
        if not self.quiet:
            say(line)

    def ended(self, job: Job, state: str) -> None:
        end = progress(job)
        self.num_ended += state != "interrupted"
        score = f" {job.monitor} {score_text(end.best)}" if end.best is not None else ""
        reason = f": {end.reason}" if end.reason else ""
        self.say(f"[{self.num_ended}/{len(self.jobs)}] {state} {job.name}{score} {end.seconds:.0f} s{reason}")

    def refresh(self, started: dict[str, float], waiting: list[Job]) -> None:
        """Write the table again if it is time. started: the running jobs, and when (time.monotonic) each
        began. waiting: those that come next, in their order."""
        now = time.monotonic()
        if not self.live or now - self.written < EVERY:
            return
        self.written = now
        width, height = shutil.get_terminal_size((80, 24))
        most = max(height - 4, LEAST_ROWS)
        shown = rows_shown(self.jobs, set(started), waiting, most)
        lines = [line_of(("job", "epoch", "best", "state", "left"), width)]
        for job, state in shown:
            now_at = progress(job)
            left = self.left(job, now_at, started[job.name]) if state == RUNNING else ""
            epoch = f"{now_at.epoch}/{job.epochs}"
            word = now_at.state if state == ENDED else state
            lines.append(line_of((job.name, epoch, score_text(now_at.best), word, left), width))
        if len(self.jobs) > len(shown):
            count = f"{len(started)} running, {len(waiting)} to come, {self.num_ended} done"
            lines.append(f"{counted(len(self.jobs), 'job')}: {count}"[: width - 1])
        self.wipe()
        say("\n".join(lines))
        self.num_lines = len(lines)

    def left(self, job: Job, now_at: Progress, started: float) -> str:
        """The time a job still needs, by the epochs of this start."""
        epoch, began = self.first.setdefault(job.name, (now_at.epoch, started))
        done = now_at.epoch - epoch
        return time_text((time.monotonic() - began) / done * (job.epochs - now_at.epoch)) if done > 0 else ""

    def wipe(self) -> None:
        if self.num_lines:
            say(f"\x1b[{self.num_lines}F\x1b[J", end="")
            self.num_lines = 0


def rows_shown(jobs: list[Job], running: set[str], waiting: list[Job], most: int) -> list[tuple[Job, str]]:
    """The jobs that fit, with their state here: those running, then the next ones, then the last that ended.

    What is left of `most` rows goes to more of the next ones.
    """
    others = running | {job.name for job in waiting}
    ended = [job for job in jobs if job.name not in others and progress(job).state != "waiting"]
    ended.sort(key=ended_at, reverse=True)
    rows = [(job, RUNNING) for job in jobs if job.name in running][:most]
    room = most - len(rows)
    num_next = min(room, max(MOST_NEXT, room - len(ended)))
    rows += [(job, NEXT) for job in waiting[:num_next]]
    return [*rows, *((job, ENDED) for job in ended[: most - len(rows)])]


def ended_at(job: Job) -> float:
    """When the status of a job was last written, in seconds; 0 where it was never."""
    path = job.directory / layout.STATUS
    return path.stat().st_mtime if path.exists() else 0.0


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
