"""Signals. While training, the first Ctrl-C, SIGTERM or SIGHUP is noted and obeyed after the step, a second
at once (but for SIGHUP, which comes more than once); before training each ends the program like Ctrl-C.
Imports no torch: it is set up before anything else."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

# SIGUSR1 and SIGUSR2 are how clusters announce that they take their machine back.
STOPPING = [
    signal.Signals[name] for name in ("SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2") if hasattr(signal, name)
]
# The terminal or the ssh connection is gone. The shell sends it to its jobs, then the system once more to the
# one in front. nohup has it ignored, and so it stays.
HANGUP: int | None = getattr(signal, "SIGHUP", None)
if HANGUP is not None and signal.getsignal(HANGUP) is not signal.SIG_IGN:
    STOPPING.append(signal.Signals(HANGUP))


@dataclass
class ProcessSignals:
    """The one thing that all of a process shares, as signals reach all of it.

    received: the signal behind a KeyboardInterrupt. patient: a job of a sweep, where a second signal changes
    nothing, as clusters send several to every process. pending: what came while nobody could obey.
    """

    received: int = signal.SIGINT
    patient: bool = False
    pending: list[int] = field(default_factory=list)
    before: dict[int, Any] = field(default_factory=dict)

    def hold(self) -> None:
        """From here on a signal waits for release()."""
        if not self.before:
            self.before = {number: signal.signal(number, self.note) for number in STOPPING}

    def release(self) -> None:
        """Obey what came since hold()."""
        for number, handler in self.before.items():
            signal.signal(number, handler)
        self.before = {}
        if self.pending:
            number = self.pending[0]
            self.pending = []
            signal.raise_signal(number)

    def note(self, number: int, frame: FrameType | None) -> None:
        self.pending.append(number)


process = ProcessSignals()


@dataclass
class Stop:
    """signal: the one that asked to stop, 0 while none did. after_epoch: stop there anyway.

    prune: told the epoch and the monitored metric of each validation, it gives a search's reason to give the
    run up, or "". agreed: every rank knows that a signal came.
    """

    signal: int = 0
    after_epoch: int | None = None
    prune: Callable[[int, float], str] | None = None
    prune_reason: str = ""
    agreed: bool = False

    @property
    def requested(self) -> bool:
        return self.signal != 0


def interrupt_on_signals() -> None:
    """Let SIGTERM raise KeyboardInterrupt like Ctrl-C, also where a shell started us with SIGINT ignored."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        if number == HANGUP == process.received:
            return
        process.received = number
        raise KeyboardInterrupt

    for number in STOPPING:
        signal.signal(number, interrupt)


@contextmanager
def held() -> Iterator[None]:
    """Inside, Ctrl-C and SIGTERM wait for the end: an import cut in its middle leaves a broken module."""
    process.hold()
    try:
        yield
    finally:
        process.release()


@contextmanager
def stop_on_signals(obey: bool = True) -> Iterator[Stop]:
    """Inside, a signal sets the flag; a second one has its usual effect, but for a hangup.

    obey: False for a rank other than 0, which hears of signals from rank 0.
    """
    stop = Stop()
    if not obey:
        yield stop
        return
    before = {number: signal.getsignal(number) for number in STOPPING}

    def note(number: int, frame: FrameType | None) -> None:
        stop.signal = stop.signal or number
        if number == HANGUP:
            process.received = number
        if process.patient or number == HANGUP:
            return
        restore()
        with suppress(OSError):  # print could be interrupted
            os.write(2, b"\nstopping after this step; once more stops at once\n")

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    for number in before:
        signal.signal(number, note)
    try:
        yield stop
    finally:
        restore()


def leave_to_rank_0() -> None:
    """For the other processes of a run: the first one tells them when to stop."""
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)


def leave_signals_to_the_parent(worker: int) -> None:
    """For processes that load samples: what a terminal or a cluster sends to a whole group reaches them too.

    SIGTERM is obeyed where it comes from the parent, with which torch ends them.
    """
    for number in (*STOPPING, *([] if HANGUP is None else [HANGUP])):
        signal.signal(number, signal.SIG_IGN)
    if not hasattr(signal, "sigwaitinfo"):  # macOS, Windows
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        return
    parent = os.getppid()

    def wait_for_the_parent() -> None:
        while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
            pass
        os._exit(128 + signal.SIGTERM)

    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # an ignored signal can't be waited for
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    threading.Thread(target=wait_for_the_parent, daemon=True).start()
