"""A process that imports what jobs need and forks one process for each job, which spares a job two seconds.
Linux only: a fork after these imports is unsafe on macOS, and Windows has no fork.

This file has both ends of the connection; the sweep's end does not import torch. A message is one packet of
JSON. To the process: the job's directory and the changes to the environment, with the descriptor of the file
that the job prints to. From it: ["ready"] after the imports, ["began", pid], ["ended", pid, exit code].
"""

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
import warnings
from pathlib import Path
from typing import IO, Any

from unet_exp.messages import RUN_PY
from unet_exp.rundir import signals

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


class ForkedJob:
    """The process of one job, with the members of subprocess.Popen that the sweep uses."""

    stdin = None

    def __init__(self, warm: "WarmProcess", pid: int) -> None:
        self.warm = warm
        self.pid = pid
        self.handle = os.pidfd_open(pid)  # no signal meets a later process of that number
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
            signal.pidfd_send_signal(self.handle, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def wait(self) -> None:
        while self.poll() is None:
            select.select([self.warm.connection], [], [], 0.1)


class WarmProcess:
    """The sweep's end. When the sweep ends, the process ends too, and its jobs stop as after SIGTERM."""

    def __init__(self) -> None:
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
                self.is_ready = self.receive(0) == ["ready"]
            return not self.is_ready and not self.is_gone

    def begin(self, output: IO[bytes], directory: Path, environment: dict[str, str]) -> ForkedJob | None:
        """A process for the job in this directory that prints to output; None where none could be forked."""
        with self.lock:
            packet = json.dumps([str(directory), environment]).encode()
            try:
                socket.send_fds(self.connection, [packet], [output.fileno()])
            except OSError:
                self.is_gone = True
            while not self.is_gone:
                match self.receive(1):
                    case ["began", pid]:
                        self.codes[pid] = None
                        return ForkedJob(self, pid)
                    case ["ended", pid, code] if pid in self.codes:
                        self.codes[pid] = code
                    case ["ended", *_]:
                        return None
        return None

    def code_of(self, job: ForkedJob) -> int | None:
        """The job's exit code, returned once. If the warm process has gone, the job is killed: -SIGKILL."""
        with self.lock:
            while message := self.receive(0):
                _, pid, code = message
                self.codes[pid] = code
            if self.codes[job.pid] is None and self.is_gone:
                signal.pidfd_send_signal(job.handle, signal.SIGKILL)
                self.codes[job.pid] = -signal.SIGKILL
            if self.codes[job.pid] is None:
                return None
            return self.codes.pop(job.pid)

    def receive(self, seconds: float) -> Any:
        """The next message; None if none comes in this time, or the process has gone."""
        if self.is_gone or not select.select([self.connection], [], [], seconds)[0]:
            return None
        try:
            packet = self.connection.recv(PACKET)
        except ConnectionError:
            packet = b""
        if not packet:
            self.is_gone = True
            return None
        return json.loads(packet)


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
            with warnings.catch_warnings(action="ignore"):  # that numpy has threads
                pid = os.fork()
            if pid == 0:
                for handle in running:
                    os.close(handle)
                return become(connection, files[0], *json.loads(packet))
            os.close(files[0])
            running[os.pidfd_open(pid)] = pid


def become(connection: socket.socket, output: int, directory: str, environment: dict[str, str]) -> Path:
    """The process of this job, in all that a program sees of how it was started."""
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    os.environ.update(environment)
    sys.argv[1:] = ["--job", directory]
    sys.orig_argv = [sys.executable, *sys.argv]
    signals.interrupt_on_signals()
    connection.send(json.dumps(["began", os.getpid()]).encode())
    return Path(directory)
