"""A process that imports what jobs need and forks one process for each job, which spares a job two seconds.
Linux only: a fork after these imports is unsafe on macOS, and Windows has no fork.

This file has both ends of the connection; the sweep's end does not import torch. A message is one packet of
JSON. To the process: the job's directory and the changes to the environment, with the descriptor of the file
that the job prints to. From it: ["ready"] after the imports, ["began", pid], ["ended", pid, exit code].
"""

import contextlib
import functools
import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import IO, Any

from unet_exp.messages import RUN_PY
from unet_exp.rundir import layout, signals
from unet_exp.rundir.sweep_directory import DONE

MODULES = (
    "unet_exp.inference.threshold",
    "unet_exp.plots.run",
    "unet_exp.training.announce",
    "unet_exp.training.build",
    "unet_exp.training.checkpoint",
    "unet_exp.training.loop",
    "unet_exp.training.profiling",
    "unet_exp.training.resume",
    "unet_exp.training.setup",
    "unet_exp.training.tracker",
)  # what run.py imports for most jobs
PACKET = 1 << 16  # bytes
LONGEST = 60.0  # seconds that a fork may take


class ForkedJob:
    """The process of one job, with the members of subprocess.Popen that the sweep uses.

    handle: of the process itself (pidfd), so that no signal meets a later process of its number.
    """

    stdin = None

    def __init__(self, warm: "WarmProcess", directory: Path, pid: int, handle: int) -> None:
        self.warm = warm
        self.directory = directory
        self.pid = pid
        self.handle = handle
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """The exit code, negative after a signal; None while it runs."""
        if self.returncode is None:
            self.returncode = self.warm.code_of(self)
            if self.returncode is not None:
                os.close(self.handle)
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):  # it has ended since
                signal.pidfd_send_signal(self.handle, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def wait(self) -> None:
        while self.poll() is None:
            select.select([self.handle], [], [], 0.1)

    def code_without_parent(self) -> int | None:
        """What stands for the exit code where nobody can tell it: by the status that the job left."""
        if not select.select([self.handle], [], [], 0)[0]:
            return None
        return 0 if layout.read_status(self.directory).get("state") in DONE else -signal.SIGKILL


class WarmProcess:
    """The sweep's end. When the sweep ends, the process ends too, and its jobs stop as after SIGTERM."""

    def __init__(self) -> None:
        self.made_for = circumstances()
        self.connection, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, str(RUN_PY), "--warm", str(theirs.fileno())],
                stdin=subprocess.PIPE,  # nothing is written; the jobs see its end
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        self.is_ready = False
        self.is_gone = False
        self.codes: dict[int, int | None] = {}  # of the jobs that were not asked for yet
        self.lock = threading.Lock()  # some launchers run jobs in threads

    def is_importing(self) -> bool:
        with self.lock:
            if not self.is_ready:
                self.is_ready = self.receive(0)[0] == ["ready"]
            return not self.is_ready and not self.is_gone

    def begin(self, output: IO[bytes], directory: Path, environment: dict[str, str]) -> ForkedJob | None:
        """A process for the job in this directory that prints to output.

        None where none could be forked, or where code, environment or directory have changed since the
        imports: what a job then needs is a process of its own.
        """
        with self.lock:
            if self.is_gone or self.made_for != circumstances():
                return None
            packet = json.dumps([str(directory), environment]).encode()
            try:
                socket.send_fds(self.connection, [packet], [output.fileno()])
            except OSError:
                self.is_gone = True
            until = time.monotonic() + LONGEST
            while not self.is_gone and time.monotonic() < until:
                match self.receive(1):
                    case ["began", pid], [handle]:
                        self.codes[pid] = None
                        return ForkedJob(self, directory, pid, handle)
                    case ["ended", pid, code], _ if pid in self.codes:
                        self.codes[pid] = code
                    case ["ended", *_], _:
                        return None
            self.is_gone = True
            self.process.kill()
        return None

    def code_of(self, job: ForkedJob) -> int | None:
        """The job's exit code, returned once; None while it runs."""
        with self.lock:
            while (message := self.receive(0)[0]) is not None:
                match message:
                    case ["ended", pid, code]:
                        self.codes[pid] = code
            if self.codes[job.pid] is None and self.is_gone:
                self.codes[job.pid] = job.code_without_parent()
            if self.codes[job.pid] is None:
                return None
            return self.codes.pop(job.pid)

    def receive(self, seconds: float) -> tuple[Any, list[int]]:
        """The next message and what files came with it; None if none comes in this time, or no more will."""
        if self.is_gone or not select.select([self.connection], [], [], seconds)[0]:
            return None, []
        try:
            packet, files, _, _ = socket.recv_fds(self.connection, PACKET, 1)
        except ConnectionError:
            packet, files = b"", []
        if not packet:
            self.is_gone = True
            return None, []
        return json.loads(packet), files


def circumstances() -> tuple[Any, ...]:
    """What a process takes over when it starts: environment, directory, and the code as it stands."""
    files = [RUN_PY, *(RUN_PY.parent / "unet_exp").rglob("*.py")]
    facts = [(str(path), path.stat().st_mtime_ns, path.stat().st_size) for path in sorted(files)]
    return dict(os.environ), os.getcwd(), facts


def warm_process() -> WarmProcess | None:
    """This process's own, which the first call starts; None where there can't be one."""
    return warm_process_of(os.getpid())


@functools.cache
def warm_process_of(pid: int) -> WarmProcess | None:
    """pid: of the caller, as a fork of it must not share the connection."""
    if sys.platform != "linux":
        return None
    try:
        os.close(os.pidfd_open(pid))
    except OSError:  # Linux before 5.3, or a container that forbids it
        return None
    return WarmProcess()


def serve(number: int) -> Path | None:
    """The other end, on the socket of this number. Returns the directory of a job, in each process that was
    forked for one; None in the warm process itself, after the sweep has gone."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # a parent that ignores it would take the exit codes
    for module in MODULES:
        importlib.import_module(module)
    gc.collect()
    gc.freeze()  # the collector would make the forks copy what they share
    signals.leave_to_rank_0()  # a cluster signals every process
    running = dict[int, int]()  # handles of processes, and their numbers
    with socket.socket(fileno=number) as connection:
        connection.send(json.dumps(["ready"]).encode())
        while True:
            ready = select.select([connection.fileno(), *running], [], [])[0]
            for handle in [handle for handle in running if handle in ready]:
                pid = running.pop(handle)
                code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                os.close(handle)
                connection.send(json.dumps(["ended", pid, code]).encode())
            if connection.fileno() not in ready:
                continue
            packet, files, _, _ = socket.recv_fds(connection, PACKET, 1)
            if not packet:
                return None
            pid = fork() if files else -1
            if pid == 0:
                for handle in running:
                    os.close(handle)
                return become(connection, files[0], *json.loads(packet))
            for file in files:
                os.close(file)
            if pid < 0:
                connection.send(json.dumps(["ended", 0, 1]).encode())
            else:
                running[os.pidfd_open(pid)] = pid


def fork() -> int:
    """As os.fork; -1 where the system allows no more processes or open files."""
    try:
        os.close(os.dup(0))  # room for the handle of the process
        with warnings.catch_warnings(action="ignore"):  # that numpy has threads
            return os.fork()
    except OSError:
        return -1


def become(connection: socket.socket, output: int, directory: str, environment: dict[str, str]) -> Path:
    """The process of this job, in all that a program sees of how it was started."""
    import numpy as np

    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    os.environ.update(environment)
    sys.argv[1:] = ["--job", directory]
    sys.orig_argv = [sys.executable, *sys.argv]
    np.random.seed()  # noqa: NPY002  # as at a start; Python's own generator sees to itself
    signals.interrupt_on_signals()
    handle = os.pidfd_open(os.getpid())
    socket.send_fds(connection, [json.dumps(["began", os.getpid()]).encode()], [handle])
    os.close(handle)
    return Path(directory)
