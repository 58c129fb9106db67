"""The processes of a run on several devices: how rank 0 starts the others, and what happens when one ends."""

import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from unet_exp import errors
from unet_exp.errors import TrainingError, UserError
from unet_exp.training import ranks
from unet_exp.training.distributed import hand_over, join, leave, open_store, rank, size

LAST_WORDS = 15.0  # seconds that rank 0 has to notice by itself that another rank died


@dataclass
class Followers:
    """The other ranks' processes. reasons: where a rank that fails leaves its last words."""

    reasons: Path
    processes: dict[int, "subprocess.Popen[bytes]"] = field(default_factory=dict)
    over: bool = False

    def start(self, command: list[str], devices: int, port: int) -> None:
        """Ranks 1 to devices - 1 on this machine; they end when we do, because their standard input does.

        port: of the store in which they meet.
        """
        for each in range(1, devices):
            own = {**os.environ, ranks.OWN: f"{each} {devices} {port}"}
            self.processes[each] = subprocess.Popen(
                command, env=own, stdin=subprocess.PIPE, start_new_session=True
            )
        threading.Thread(target=self.watch, daemon=True).start()

    def dead(self) -> str | None:
        """What became of the first rank that ended badly."""
        for each, process in self.processes.items():
            if process.poll() not in (None, 0):
                path = self.reasons / f".rank_{each}"
                words = path.read_text(encoding="utf-8") if path.exists() else ""
                killed = " (out of memory?)" if process.returncode == -signal.SIGKILL else ""
                return words or f"rank {each} ended with exit code {process.returncode}{killed}"
        return None

    def watch(self) -> None:
        """A rank that dies leaves us waiting for it in vain; gloo notices, others may not."""
        while not self.over:
            if self.dead() is not None:
                time.sleep(LAST_WORDS)
                if not self.over:
                    with suppress(OSError):  # the terminal may be gone
                        os.write(2, f"error: {self.dead()}\n".encode())
                    os._exit(1)
            time.sleep(0.5)

    def end(self) -> None:
        self.over = True
        for each, process in self.processes.items():
            if process.stdin is not None:
                process.stdin.close()
            try:
                process.wait(LAST_WORDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            (self.reasons / f".rank_{each}").unlink(missing_ok=True)


@contextmanager
def followed(devices: int, run_dir: Path) -> Iterator[int]:
    """Inside, the other ranks are there; gives how many there are. Without others it does nothing.

    Raises TrainingError with the reason of a rank that failed, whatever that did to this one.
    """
    launched = ranks.launched()
    if launched == 1 and devices == 1:
        yield 1
        return
    followers = Followers(run_dir)
    store = open_store(0, devices) if launched == 1 else None
    if store is not None:
        followers.start([sys.executable, sys.argv[0]], devices, store.port)
    try:
        join(0, devices, store)
        yield size()
    except (Exception, KeyboardInterrupt) as error:
        deadline = time.monotonic() + 3
        while isinstance(error, RuntimeError) and followers.dead() is None and time.monotonic() < deadline:
            time.sleep(0.1)
        reason = followers.dead()
        if reason is not None and not isinstance(error, (TrainingError, KeyboardInterrupt)):
            raise TrainingError(reason) from error
        raise
    finally:
        followers.over = True
        leave()
        followers.end()


@contextmanager
def following() -> Iterator[Any]:
    """Inside, this process follows rank 0; gives what that hands over. Ends the process on errors."""
    end_with_parent()
    run_dir = None
    try:
        launch = ranks.launch()
        assert launch is not None
        port = launch.port
        join(launch.rank, launch.size, None if port is None else open_store(port, launch.size))
        content = hand_over(None)
        run_dir = content[-1]
        yield content
        leave()
    except BaseException as error:
        known = errors.explained(error, "train")
        if not isinstance(error, UserError) and known is None:
            traceback.print_exc()
        last_words(run_dir, known or error)
        os._exit(1)


def end_with_parent() -> None:
    """In a rank that rank 0 started: leave at once when rank 0 is gone."""

    def watch() -> None:
        while os.read(0, 1):
            pass
        os._exit(1)

    if os.environ.get(ranks.OWN):
        threading.Thread(target=watch, daemon=True).start()


def last_words(run_dir: Path | None, error: BaseException) -> None:
    """Leave the reason of this rank's end where rank 0 finds it."""
    if run_dir is not None:
        text = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        (run_dir / f".rank_{rank()}").write_text(f"rank {rank()}: {text}", encoding="utf-8")
