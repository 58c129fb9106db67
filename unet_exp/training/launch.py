"""The processes of a run on several devices: rank 0, which the user started, starts the others.

torch's own launcher would not do: it kills ranks 30 s after a signal, in the middle of a long save, and
leaves them running where it is killed itself (torch 2.13, measured).
Ranks that the user's torchrun started meet as it says.
"""

import logging
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

import torch
import torch.distributed as dist

from unet_exp import errors
from unet_exp.errors import TrainingError, UserError
from unet_exp.training import ranks
from unet_exp.training.distributed import PATIENCE, broadcast, rank

LAST_WORDS = 15.0  # seconds that rank 0 has to notice by itself that another rank died


@dataclass
class Ranks:
    """The processes that rank 0 started. reasons: where a rank that fails leaves its last words."""

    reasons: Path
    processes: dict[int, "subprocess.Popen[bytes]"] = field(default_factory=dict)
    over: bool = False

    def start(self, devices: int, port: int) -> None:
        """Ranks 1 to devices - 1 on this machine; they end when we do, because their standard input does."""
        for number in range(1, devices):
            environment = {**os.environ, ranks.STARTED_AS: f"{number} {devices} {port}"}
            self.processes[number] = subprocess.Popen(
                [sys.executable, sys.argv[0]], env=environment, stdin=subprocess.PIPE, start_new_session=True
            )
        threading.Thread(target=self.watch, daemon=True).start()

    def dead(self) -> str | None:
        """What became of the first rank that ended badly."""
        for number, process in self.processes.items():
            if process.poll() not in (None, 0):
                path = self.reasons / f".rank_{number}"
                words = path.read_text(encoding="utf-8") if path.exists() else ""
                killed = " (out of memory?)" if process.returncode == -signal.SIGKILL else ""
                return words or f"rank {number} ended with exit code {process.returncode}{killed}"
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
        for number, process in self.processes.items():
            if process.stdin is not None:
                process.stdin.close()
            try:
                process.wait(LAST_WORDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            (self.reasons / f".rank_{number}").unlink(missing_ok=True)


@contextmanager
def rank_0(devices: int, run_dir: Path, content: Any) -> Iterator[None]:
    """Inside, the other ranks are there and have the content. Without others it does nothing.

    Raises TrainingError with the reason of a rank that failed, whatever that did to this one.
    """
    launched = ranks.launched()
    if launched == 1 and devices == 1:
        yield
        return
    others = Ranks(run_dir)
    store = open_store(0, devices) if launched == 1 else None
    try:
        if store is not None:
            others.start(devices, store.port)
        join(0, devices, store)
        broadcast((run_dir, content))
        yield
    except (Exception, KeyboardInterrupt) as error:
        deadline = time.monotonic() + 3
        while isinstance(error, RuntimeError) and others.dead() is None and time.monotonic() < deadline:
            time.sleep(0.1)
        reason = others.dead()
        if reason is not None and not isinstance(error, (UserError, KeyboardInterrupt)):
            raise TrainingError(reason) from error
        raise
    finally:
        others.over = True
        leave()
        others.end()


@contextmanager
def other_rank() -> Iterator[Any]:
    """Inside, this process is a rank other than 0; gives rank 0's content. Ends the process on errors."""
    end_with_rank_0()
    logging.getLogger().addHandler(logging.NullHandler())  # rank 0 says it
    run_dir = None
    try:
        launch = ranks.launch()
        assert launch is not None
        port = launch.port
        join(launch.rank, launch.size, None if port is None else open_store(port, launch.size))
        run_dir, content = broadcast(None)
        yield run_dir, content
        leave()
    except BaseException as error:
        known = errors.explained(error, "train")
        if not isinstance(error, UserError) and known is None:
            traceback.print_exc()
        leave_last_words(run_dir, known or error)
        os._exit(1)


def open_store(port: int, size: int) -> Any:
    """Where the ranks of this machine meet. port: 0 for the rank that opens it, on a port that is free."""
    return dist.TCPStore(  # type: ignore[attr-defined]
        "127.0.0.1", port, size, is_master=port == 0, timeout=PATIENCE, wait_for_workers=False
    )


def join(rank: int, size: int, store: Any) -> None:
    """Meet the other ranks in the store or where torchrun says: gloo for the CPU, nccl for GPUs."""
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    if store is None:
        dist.init_process_group(backend, timeout=PATIENCE)
    else:  # reads nothing from the environment, which may have leftovers
        dist.init_process_group(backend, timeout=PATIENCE, store=store, rank=rank, world_size=size)


def leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def end_with_rank_0() -> None:
    """In a rank that rank 0 started: leave at once when rank 0 is gone."""

    def watch() -> None:
        while os.read(0, 1):
            pass
        os._exit(1)

    if os.environ.get(ranks.STARTED_AS):
        threading.Thread(target=watch, daemon=True).start()


def leave_last_words(run_dir: Path | None, error: BaseException) -> None:
    """The reason of this rank's end, where rank 0 finds it."""
    if run_dir is not None:
        text = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        (run_dir / f".rank_{rank()}").write_text(f"rank {rank()}: {text}", encoding="utf-8")
