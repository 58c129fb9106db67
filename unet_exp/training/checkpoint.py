"""Checkpoints: the only place that calls torch.save and torch.load.

A checkpoint holds tensors and plain containers only, so that it loads with weights_only=True:
format, model, ema, optimizer, scheduler, scaler, state, rng, config (YAML text).
torch writes a zip archive; its comment field takes the sha256 of all bytes before it, so that one file
carries its own checksum and any torch.load still reads it.
"""

import hashlib
import io
import logging
import re
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import safetensors.torch
import torch
from torch import Tensor, nn

from unet_exp import errors
from unet_exp.errors import CheckpointError, first_line
from unet_exp.messages import as_lines, shortened
from unet_exp.rundir import atomic
from unet_exp.training.state import State

log = logging.getLogger(__name__)
FORMAT = 2
LAST = "last.pt"
BEST = "best.pt"
WEIGHTS = "best.safetensors"
MARK = b"sha256:"
COMMENT = len(MARK) + 64


class Checkpoints:
    """The checkpoints/ folder of one run. keep: how many epoch_NNNN.pt stay, 0 for all; None: write nothing.

    A checkpoint is copied when it is asked for and written by a thread while training goes on, one at a time.
    """

    def __init__(self, folder: Path, config: str, keep: int | None) -> None:
        self.folder = folder
        self.config = config
        self.keep = keep
        self.thread = ThreadPoolExecutor(1, "checkpoint")
        self.writing: Future[None] | None = None

    def save(self, contents: dict[str, Any], state: State, best: bool, numbered: bool) -> None:
        """Begin to write last.pt, and on demand best.pt (with best.safetensors) and epoch_NNNN.pt.

        Raises CheckpointError for the checkpoint before this one, as raise_failure().
        """
        self.wait()
        if self.keep is None:  # of a rank other than 0
            return
        everything = {"format": FORMAT, "config": self.config, "state": state.state_dict(), **contents}
        self.writing = self.thread.submit(self.write, on_cpu(everything), state.epoch, best, numbered)

    def raise_failure(self) -> None:
        """Raises CheckpointError where the disk or the directory refused; the older files are whole then."""
        if self.writing is not None and self.writing.done():
            self.wait()

    def wait(self) -> None:
        """Until nothing is being written any more. Raises CheckpointError as raise_failure()."""
        writing = self.writing
        self.writing = None
        if writing is not None:
            writing.result()

    def close(self) -> None:
        """Wait, and end the thread."""
        try:
            self.wait()
        finally:
            self.thread.shutdown()

    def write(self, contents: dict[str, Any], epoch: int, best: bool, numbered: bool) -> None:
        """last.pt is written last: what it says of the best epoch is on disk by then."""
        buffer = io.BytesIO()
        torch.save(contents, buffer)
        add_checksum(buffer)
        with buffer.getbuffer() as content:
            if best:
                atomic.write_bytes(self.folder / WEIGHTS, safetensors.torch.save(weights_of(contents)))
                atomic.write_bytes(self.folder / BEST, content)
            if numbered:
                atomic.write_bytes(self.folder / f"epoch_{epoch:04d}.pt", content)
                for old in self.old_epochs(epoch):
                    old.unlink(missing_ok=True)
            atomic.write_bytes(self.folder / LAST, content)

    def old_epochs(self, epoch: int) -> list[Path]:
        """Checkpoints to delete by trainer.keep; first those of later epochs, if the run went back."""
        paths = sorted(numbered(self.folder), key=lambda path: number(path) <= epoch)
        return paths[: -self.keep] if self.keep else []


def numbered(folder: Path) -> list[Path]:
    """The files epoch_NNNN.pt in numeric order: five digits come after four."""
    paths = (path for path in folder.glob("epoch_*.pt") if path.stem.removeprefix("epoch_").isdecimal())
    return sorted(paths, key=number)


def number(path: Path) -> int:
    """The epoch in the name of a numbered checkpoint."""
    return int(path.stem.removeprefix("epoch_"))


def on_cpu(contents: Any) -> Any:
    """The same containers with copies of their tensors, which training may go on to change."""
    if isinstance(contents, Tensor):
        return contents.detach().clone() if contents.device.type == "cpu" else contents.detach().cpu()
    if isinstance(contents, dict):
        return {key: on_cpu(value) for key, value in contents.items()}
    if isinstance(contents, (list, tuple)):
        return type(contents)(map(on_cpu, contents))
    return contents


def weights_of(contents: dict[str, Any]) -> dict[str, Tensor]:
    """The weights that are validated: the moving average where there is one."""
    weights: dict[str, Tensor] = contents["ema"] or contents["model"]
    return {name: tensor.contiguous() for name, tensor in weights.items()}


def weights_sha256(contents: dict[str, Any]) -> str:
    """One hash of the network's weights and buffers and of their moving average, names included."""
    digest = hashlib.sha256()
    for network in ("model", "ema"):
        for name, tensor in (contents[network] or {}).items():
            digest.update(f"{network}.{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def add_checksum(archive: io.BytesIO) -> None:
    """Give a zip archive without comment the sha256 of itself as its comment."""
    with archive.getbuffer() as content:
        comment = MARK + hashlib.sha256(content).hexdigest().encode()
    archive.seek(-2, io.SEEK_END)
    archive.write(len(comment).to_bytes(2, "little") + comment)


def read_verified(path: Path) -> bytes:
    """The bytes of a checkpoint. Raises CheckpointError for one that is missing or not as it was written."""
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} is not there") from error
    except OSError as error:
        raise CheckpointError(f"{path} can't be read: {error.strerror}") from error
    if content[-COMMENT:-64] != MARK:
        what = f"{path} is cut off, or not a checkpoint of this version"
        raise CheckpointError(f"{what}: its checksum is missing")
    archive = hashlib.sha256(memoryview(content)[: -COMMENT - 2])
    archive.update(b"\0\0")  # the length of the comment before there was one
    length = int.from_bytes(content[-COMMENT - 2 : -COMMENT], "little")
    if length != COMMENT or archive.hexdigest().encode() != content[-64:]:
        raise CheckpointError(f"{path} is damaged: its bytes do not give its checksum")
    return content


def load(path: Path) -> dict[str, Any]:
    """A checkpoint on the CPU. Raises CheckpointError for a missing, damaged or foreign file."""
    content = read_verified(path)
    try:
        contents = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        known = contents["format"]
    except Exception as error:  # what is no checkpoint raises whatever its bytes happen to mean
        raise CheckpointError(f"{path} can't be read as a checkpoint: {first_line(error)}") from error
    if known != FORMAT:
        raise CheckpointError(f"{path} has format {known}", allowed=f"format {FORMAT}")
    return dict(contents)


class Saved(NamedTuple):
    """A checkpoint that was read: what it holds, the state in it, and its file."""

    contents: dict[str, Any]
    state: State
    path: Path


def load_newest(folder: Path) -> Saved | None:
    """The newest checkpoint that is whole; None where there is none at all.

    One line is logged for each that was skipped. Raises CheckpointError when all are damaged.
    """
    paths = sorted(folder.glob("*.pt"))
    if not paths:
        return None
    problems = []
    whole: list[Saved] = []
    for path in [folder / LAST, *(path for path in paths if path.name != LAST)]:
        try:
            contents = load(path)
            whole.append(Saved(contents, State.from_dict(contents["state"]), path))
        except (CheckpointError, KeyError, TypeError) as error:
            errors.pass_on(error)
            problems.append(error.what if isinstance(error, CheckpointError) else f"{path} has no state")
        if whole and path.name == LAST:
            break
    if not whole:
        raise CheckpointError(
            as_lines("no checkpoint of this run can be used", problems),
            do="start it anew: python run.py from_run=RUN_DIR",
        )
    newest = max(whole, key=lambda saved: saved.state.step)
    for problem in problems:
        log.warning("%s; skipped", problem)
    if problems:
        log.warning("going on from %s, after step %d", newest.path.name, newest.state.step)
    return newest


def set_damaged_best_aside(folder: Path, best_epoch: int) -> None:
    """Say in one line that best.pt is gone or damaged, and take a damaged one out of the way."""
    if not best_epoch:
        return
    path = folder / BEST
    try:
        read_verified(path)
    except CheckpointError as error:
        lost = f"the weights of epoch {best_epoch} are lost"
        log.warning("%s; %s, a better epoch will write it", error.what, lost)
        if path.exists():
            path.replace(path.with_suffix(".damaged"))


def load_weights(model: nn.Module, weights: dict[str, Tensor], path: Path) -> None:
    """Put weights into a network. Raises CheckpointError listing the keys that do not fit."""
    lines = misfits(model, weights)
    if lines:
        raise CheckpointError(
            "\n".join([f"{path} is of another model", *lines]),
            do="use the model settings of that run: its .hydra/config.yaml has them",
        )
    model.load_state_dict(weights)


# Under which keys files keep their dict of tensors: "net" is the lecture's.
NESTED = ("state_dict", "model_state_dict", "model", "net")
WRAPPED = re.compile(r"^((module|_orig_mod)\.)+")  # by DataParallel and its kin, by torch.compile


def start_from(model: nn.Module, path: Path) -> None:
    """Put into a network what fits it of the weights in a file, and say in a line each what does not.

    A .safetensors file, a checkpoint of ours (its moving average, if it has one), or any .pt file with a dict
    of tensors, which may lie under one of the keys of NESTED, with names that begin as WRAPPED. Raises
    CheckpointError where nothing fits.
    """
    try:
        if path.suffix == ".safetensors":
            weights: Any = safetensors.torch.load_file(path)
        else:
            weights = torch.load(path, map_location="cpu", weights_only=True)
            if "format" in weights and "ema" in weights:
                weights = weights_of(weights)
            weights = next((weights[key] for key in NESTED if key in weights), weights)
        weights = {
            WRAPPED.sub("", name): value for name, value in weights.items() if isinstance(value, Tensor)
        }
    except Exception as error:  # what is no file of weights raises whatever its bytes happen to mean
        raise CheckpointError(f"{path} can't be read as weights: {first_line(error)}") from error
    have = model.state_dict()
    fitting = {
        name: tensor for name, tensor in weights.items() if name in have and have[name].shape == tensor.shape
    }
    lines = misfits(model, weights)
    if not fitting:
        raise CheckpointError("\n".join([f"{path}: none of its weights fits the model", *lines[:2]]))
    model.load_state_dict(fitting, strict=False)
    log.info("starting from %s: %d of %d tensors of the model", path, len(fitting), len(have))
    for line in lines:
        log.warning("%s", line.strip())


def misfits(model: nn.Module, weights: dict[str, Tensor]) -> list[str]:
    """A line each for the keys that are missing, that the model has not, and that have another shape."""
    have = model.state_dict()
    return [
        f"  {what}: {shortened(keys, 6)}"
        for what, keys in (
            ("missing", [key for key in have if key not in weights]),
            ("not of this model", [key for key in weights if key not in have]),
            (
                "other shape",
                [
                    f"{key} {tuple(weights[key].shape)} instead of {tuple(have[key].shape)}"
                    for key in have
                    if key in weights and weights[key].shape != have[key].shape
                ],
            ),
        )
        if keys
    ]
