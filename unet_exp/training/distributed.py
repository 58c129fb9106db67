"""One run on several devices: rank 0 is the run itself, the others follow it. Only here: torch.distributed.

With one process every function gives back what it was given, so that the loop reads the same.
"""

import logging
import pickle
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from unet_exp.config.schema import Config
from unet_exp.errors import ConfigError
from unet_exp.signals import Stop
from unet_exp.training import ranks
from unet_exp.training.checkpoint import Checkpoints
from unet_exp.training.state import State, Sums
from unet_exp.training.tracker import Tracker

log = logging.getLogger(__name__)
PATIENCE = timedelta(hours=2)  # the longest that a rank waits for another, such as for one that validates


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def size() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def own_device(device: str) -> str:
    """cuda becomes the GPU of this process."""
    if not device.startswith("cuda") or size() == 1:
        return device
    launch = ranks.launch()  # None in the process that started the others
    return f"cuda:{0 if launch is None else launch.local}"


def check(config: Config) -> None:
    """Raises ConfigError for what this machine has not, or can't share out. The config has no 'auto' left."""
    devices = config.trainer.devices
    there = torch.cuda.device_count()
    is_cuda = config.device.startswith("cuda")
    if is_cuda and ranks.launched() == 1 and devices > there:
        raise ConfigError(
            f"trainer.devices is {devices}, but there are {there} GPUs", allowed=f"1 to {there}"
        )
    if devices > 1 and not (is_cuda or config.device == "cpu"):
        raise ConfigError(
            f"trainer.devices is {devices} on {config.device}", allowed="several on cuda or cpu"
        )
    if config.batch_size < devices:
        raise ConfigError(
            f"batch_size is {config.batch_size}, the number of samples on all {devices} devices together",
            allowed=f"at least {devices}",
        )
    if devices > 1 and config.trainer.compile:
        raise ConfigError("trainer.compile is for one device", do="leave it out, or trainer.devices=1")
    if devices > 1 and config.metrics:
        raise ConfigError("metrics of other packages are not summed over devices", do="trainer.devices=1")
    if config.trainer.sync_batchnorm and not is_cuda:
        raise ConfigError("trainer.sync_batchnorm is for GPUs", do="leave it out, or model.norm=group")


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


def hand_over(content: Any) -> Any:
    """What rank 0 has, on every rank. Our own objects between our own processes."""
    if size() == 1:
        return content
    box = [pickle.dumps(content) if rank() == 0 else None]
    dist.broadcast_object_list(box, 0)
    return pickle.loads(box[0] or b"")


def wrap(model: nn.Module, device: str, sync_batchnorm: bool) -> nn.Module:
    """The network whose backward averages gradients over ranks; itself with one process."""
    if size() == 1:
        return model
    if device.startswith("cuda"):
        torch.cuda.set_device(own_device(device))
    ids = [torch.device(own_device(device)).index] if device.startswith("cuda") else None
    if sync_batchnorm:
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
    return DistributedDataParallel(model, device_ids=ids)


def total(loss: float, samples: int, counts: Tensor) -> tuple[float, int, Tensor]:
    """Mean loss, samples and confusion of a batch over all ranks. samples: of this rank, 0 for a stand-in."""
    if size() == 1:
        return loss, samples, counts
    own = torch.cat(
        [torch.tensor([loss * samples, samples]), counts.flatten().cpu() * (samples > 0)]
    ).double()
    own = over_ranks(own)
    everywhere = int(own[1])
    return float(own[0]) / max(everywhere, 1), everywhere, own[2:].long().reshape(counts.shape)


def sum_of(sums: Sums) -> Sums:
    """The sums of all ranks' parts of a pass."""
    if size() > 1:
        mean, samples, matrix = total(sums.mean_loss(), sums.samples, sums.confusion)
        sums.loss = mean * samples
        sums.samples = samples
        sums.confusion = matrix
    return sums


def over_ranks(values: Tensor) -> Tensor:
    """The sum over ranks of a tensor on the CPU."""
    dist.all_reduce(values)
    return values


def asked_to_stop(stop: Stop) -> bool:
    """Whether a signal came; all ranks agree, so that they stop after the same update."""
    if size() == 1:
        stop.agreed = stop.requested
    else:
        number = over_ranks(torch.tensor([float(stop.signal if rank() == 0 else 0)]))
        stop.agreed = bool(number[0] > 0)
    return stop.agreed


def of_first(value: float) -> float:
    """Rank 0's number, such as its clock's."""
    return (
        value if size() == 1 else float(over_ranks(torch.tensor([value if rank() == 0 else 0.0]).double())[0])
    )


def same_buffers(model: nn.Module) -> None:
    """Rank 0's running statistics on every rank, before they are used."""
    if size() > 1:
        for buffer in model.buffers():
            dist.broadcast(buffer, 0)


class SilentTracker(Tracker):
    """For ranks that tell nothing."""

    def __init__(self) -> None:
        pass

    @contextmanager
    def progress(
        self, batches: Iterable[Any], split: str, epoch: int, total: int, done: int = 0
    ) -> Iterator[Any]:
        yield batches

    def batch(self, *arguments: Any) -> None: ...

    def wants_images(self, *arguments: Any) -> bool:
        return False

    def step(self, *arguments: Any) -> None: ...

    def flush(self) -> None: ...

    def epoch(self, *arguments: Any) -> None: ...

    def end_epoch(self, *arguments: Any) -> None: ...

    def close(self) -> None: ...


class NoCheckpoints(Checkpoints):
    """For ranks that write nothing."""

    def save(self, contents: dict[str, Any], state: State, best: bool, numbered: bool) -> None: ...
