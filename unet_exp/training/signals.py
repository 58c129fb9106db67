"""A clean stop: the first Ctrl-C or SIGTERM is noted and obeyed after the step, a second ends at once."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType


@dataclass
class Stop:
    """signal: the number of the signal that asked to stop, 0 while none did."""

    signal: int = 0

    @property
    def requested(self) -> bool:
        return self.signal != 0


@contextmanager
def stop_on_signals() -> Iterator[Stop]:
    """Inside, SIGINT and SIGTERM set the flag; a second one has its usual effect."""
    stop = Stop()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, frame: FrameType | None) -> None:
        stop.signal = number
        restore()
        print("\nstopping after this step; once more stops at once", flush=True)

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    for number in before:
        signal.signal(number, note)
    try:
        yield stop
    finally:
        restore()
