"""What the ranks of one run on several devices agree on. Only here: torch.distributed's collectives.

With one process every function gives back what it was given, so that the loop reads the same.
"""

import pickle
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from unet_exp.config.schema import Config
from unet_exp.errors import ConfigError
from unet_exp.messages import counted
from unet_exp.rundir.signals import Stop
from unet_exp.training import ranks
from unet_exp.training.state import State, Sums

PATIENCE = timedelta(hours=2)  # the longest that a rank waits for another, such as for one that validates


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def size() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def device_of_rank(device: str) -> str:
    """cuda becomes the GPU of this process."""
    if not device.startswith("cuda") or size() == 1:
        return device
    launch = ranks.launch()  # None in the process that started the others
    return f"cuda:{0 if launch is None else launch.local}"


def check(config: Config) -> None:
    """Raises ConfigError for what this machine has not, or can't share out. The config has no 'auto' left."""
    devices = config.trainer.devices
    num_gpus = torch.cuda.device_count()
    is_cuda = config.device.startswith("cuda")
    if is_cuda and ranks.launched() == 1 and devices > num_gpus:
        raise ConfigError(
            f"trainer.devices is {devices}, but this machine has {counted(num_gpus, 'GPU')}",
            allowed=f"1 to {num_gpus}",
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
    if config.trainer.sync_batchnorm and not is_cuda:
        raise ConfigError("trainer.sync_batchnorm is for GPUs", do="leave it out, or model.norm=group")


def broadcast(content: Any) -> Any:
    """What rank 0 has, on every rank. Our own objects between our own processes."""
    if size() == 1:
        return content
    box = [pickle.dumps(content) if rank() == 0 else None]
    dist.broadcast_object_list(box, 0)
    return pickle.loads(box[0] or b"")


def decided(decide: Callable[..., Any], *arguments: Any) -> Any:
    """What rank 0 gets from a function, on every rank; the others do not call it."""
    return broadcast(decide(*arguments) if rank() == 0 else None)


def all_reduce(values: Tensor) -> Tensor:
    """The sum over ranks of a tensor on the CPU."""
    if size() > 1:
        dist.all_reduce(values)
    return values


def wrap(model: nn.Module, device: str, sync_batchnorm: bool) -> nn.Module:
    """The network whose backward averages gradients over ranks; itself with one process."""
    if size() == 1:
        return model
    ids = None
    if device.startswith("cuda"):
        ids = [torch.device(device_of_rank(device)).index]
        torch.cuda.set_device(device_of_rank(device))
    if sync_batchnorm:
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
    return DistributedDataParallel(model, device_ids=ids)


def sum_of_batch(loss: float, samples: int, counts: Tensor) -> tuple[float, int, Tensor]:
    """Mean loss, samples and confusion of a batch over all ranks. samples: of this rank, 0 for a stand-in."""
    if size() == 1:
        return loss, samples, counts
    head = torch.tensor([loss * samples, samples])
    summed = all_reduce(torch.cat([head, counts.flatten().cpu() * (samples > 0)]).double())
    everywhere = int(summed[1])
    return float(summed[0]) / max(everywhere, 1), everywhere, summed[2:].long().reshape(counts.shape)


def sum_of_pass(sums: Sums) -> Sums:
    """The sums of all ranks' shares of a pass."""
    if size() > 1:
        mean, samples, matrix = sum_of_batch(sums.mean_loss(), sums.samples, sums.confusion)
        sums.loss = mean * samples
        sums.samples = samples
        sums.confusion = matrix
    return sums


def union(counts: dict[int, Any]) -> dict[int, Any]:
    """What the ranks have counted, each of its own samples."""
    if size() == 1:
        return counts
    everywhere: list[Any] = [None] * size()
    dist.all_gather_object(everywhere, counts)
    return {index: count for of_rank in everywhere for index, count in of_rank.items()}


def agree_on_step(stop: Stop, state: State) -> bool:
    """Whether to stop after this step, by rank 0's signal and clock: all ranks leave at the same step."""
    mine = [float(stop.signal), state.seconds] if rank() == 0 else [0.0, 0.0]
    number, state.seconds = all_reduce(torch.tensor(mine, dtype=torch.float64)).tolist()
    stop.agreed = number > 0
    return stop.agreed


def agree_on_stop(stop: Stop) -> bool:
    """Whether rank 0 was asked to stop."""
    stop.agreed = bool(broadcast(stop.requested))
    return stop.agreed


def agree_on_epoch(stop: Stop, prune_reason: str) -> None:
    """Whether a search gives the run up after this validation: rank 0 has asked it."""
    stop.prune_reason = broadcast(prune_reason)


def share_buffers(model: nn.Module) -> None:
    """Rank 0's running statistics on every rank, before they are used."""
    if size() > 1:
        for buffer in model.buffers():
            dist.broadcast(buffer, 0)
