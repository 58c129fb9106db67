"""Device, number format, memory format, allocator and threads: what 'auto' means on this machine."""

import ctypes
import logging
import os
import platform
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch

from unet_exp.errors import TrainingError

log = logging.getLogger("unet_exp")
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3  # malloc.h


@dataclass(frozen=True)
class Precision:
    """Where and in what numbers the network computes. Losses and scores are always fp32."""

    device: torch.device
    name: str
    channels_last: bool

    def autocast(self) -> AbstractContextManager[None]:
        dtype = DTYPES.get(self.name, torch.float32)
        # The cache of cast weights would outlive an update inside one context; ours are one forward long.
        return torch.autocast(self.device.type, dtype=dtype, enabled=self.name in DTYPES)

    def scaler(self) -> torch.amp.GradScaler:
        """Scales the loss of fp16, whose small gradients would vanish; does nothing otherwise."""
        return torch.amp.GradScaler(self.device.type, enabled=self.name == "fp16")

    def to_device(self, batch: torch.Tensor) -> torch.Tensor:
        format = torch.channels_last if self.channels_last else torch.contiguous_format
        return batch.to(self.device, non_blocking=True, memory_format=format)


def decide_device(name: str) -> torch.device:
    """The device of a config. Raises TrainingError for one that this machine has not."""
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    device = torch.device(name)
    have = {
        "cpu": 1,
        "mps": int(torch.backends.mps.is_available()),
        "cuda": torch.cuda.device_count() if torch.cuda.is_available() else 0,
    }
    if (device.index or 0) >= have[device.type]:
        there = [kind if count == 1 else f"{kind}:0..{count - 1}" for kind, count in have.items() if count]
        raise TrainingError(
            f"device={name}, but this machine and this torch ({torch.__version__}) have none",
            allowed=f"auto, {', '.join(there)}",
            do="device=auto, or install a torch for your GPU (README, Install)",
        )
    return device


def decide_precision(name: str, device: torch.device) -> str:
    """bf16 where the chip multiplies in it; anything else would be emulated and slower."""
    if name != "auto":
        return name
    if device.type == "cuda":
        return "bf16" if torch.cuda.get_device_capability(device)[0] >= 8 else "fp32"
    return "bf16" if device.type == "cpu" and cpu_has_bf16() else "fp32"


def cpu_has_bf16() -> bool:
    """AVX-512 BF16 or AMX on x86, BF16 on Arm."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            lines = [line for line in file if line.startswith(("flags", "Features"))]
    except OSError:  # macOS, Windows
        return False
    flags = set(lines[0].split()) if lines else set()
    return bool(flags & {"avx512_bf16", "amx_bf16", "bf16"})


def decide_channels_last(value: bool | str, device: torch.device) -> bool:
    """NHWC, measured 1.3 times as fast on CPUs and what tensor cores read; untested on mps, so off."""
    return device.type != "mps" if value == "auto" else bool(value)


def decide_fused(value: bool | str, device: torch.device) -> bool:
    """One kernel for the whole update: on a CPU half the time of torch's default; untested on mps, so off."""
    return device.type != "mps" if value == "auto" else bool(value)


def decide_allocator(value: str, device: torch.device) -> str:
    """keep where the network computes in memory from glibc's malloc: a CPU under Linux."""
    if value != "auto":
        return value
    return "keep" if device.type == "cpu" and platform.libc_ver()[0] == "glibc" else "system"


def set_allocator(value: str) -> None:
    """keep: glibc takes large blocks from the heap too, and returns none of it to the system (mallopt(3)).

    Freshly mapped pages have to be cleared by the kernel in every step; it costs 13-25 % of a step at 256 and
    512 pixels. Raises TrainingError where there is no mallopt.
    """
    if value != "keep":
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError) as error:  # musl, macOS, Windows
        raise TrainingError(
            "trainer.allocator=keep needs glibc, which this system has not", allowed="auto, system"
        ) from error
    for option, amount in ((M_MMAP_THRESHOLD, 2**30), (M_TRIM_THRESHOLD, 2**31 - 1), (M_TOP_PAD, 2**26)):
        if not mallopt(option, amount):
            log.warning("glibc refused mallopt(%d, %d); the allocator stays as it was", option, amount)


def decide_threads(value: int | str, devices: int) -> int:
    """auto: the cores that we may use, shared out among the processes of the run."""
    if value != "auto":
        return int(value)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(cores // devices, 1)
