"""Device, number format, memory format, allocator and threads: what 'auto' means on this machine."""

import ctypes
import logging
import os
import platform
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
import torch.utils.deterministic

from unet_exp.errors import TrainingError

log = logging.getLogger("unet_exp")
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
M_TRIM_THRESHOLD = -1
M_TOP_PAD = -2
M_MMAP_THRESHOLD = -3


@dataclass(frozen=True)
class Precision:
    """Where and in what numbers the network computes. Losses and scores are always fp32."""

    device: torch.device
    name: str
    channels_last: bool

    def autocast(self) -> AbstractContextManager[None]:
        dtype = DTYPES.get(self.name, torch.float32)
        # The cache of cast weights would outlive a step inside one context; ours are one forward long.
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
        devices = [kind if count == 1 else f"{kind}:0..{count - 1}" for kind, count in have.items() if count]
        raise TrainingError(
            f"device={name}, but this machine and this torch ({torch.__version__}) have none",
            allowed=f"auto, {', '.join(devices)}",
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
    """One kernel for the whole step: on a CPU half the time of torch's default; untested on mps, so off."""
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


def set_up(seed: int, deterministic: bool, threads: int) -> None:
    """Call once at the start of a run, before the network is built."""
    torch.manual_seed(seed)
    torch.set_num_threads(threads)
    torch.backends.cudnn.benchmark = not deterministic
    torch.backends.cudnn.deterministic = deterministic
    if deterministic and not os.environ.get("CUBLAS_WORKSPACE_CONFIG"):
        os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # cuBLAS requires it
    # Filling fresh memory with nan would only cost time: nothing here reads it before writing.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    # use_deterministic_algorithms() would do the same and import torch._inductor, which takes two seconds.
    torch.set_deterministic_debug_mode("error" if deterministic else "default")


def flags(device: str) -> dict[str, Any]:
    """What decides whether the same inputs give the same bits, for environment.json."""
    facts: dict[str, Any] = {
        "determinism": {
            "deterministic_algorithms": torch.are_deterministic_algorithms_enabled(),
            "cudnn_benchmark": torch.backends.cudnn.benchmark,
            "cudnn_deterministic": torch.backends.cudnn.deterministic,
            "tf32": torch.backends.cuda.matmul.allow_tf32,
        },
        "chip": {"cpu_capability": torch.backends.cpu.get_cpu_capability(), "torch": torch.__version__},
    }
    if device.startswith("cuda"):
        major, minor = torch.cuda.get_device_capability(device)
        facts["chip"] |= {
            "gpu": torch.cuda.get_device_name(device),
            "capability": f"{major}.{minor}",
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
        }
    return facts


def seed_epoch(seed: int, epoch: int, rank: int = 0) -> None:
    """Start torch's own stream (dropout) of an epoch, a function of (seed, epoch, rank)."""
    torch.manual_seed((seed * 1_000_003 + epoch + 1 + rank * 7_919_000_003) % 2**63)


def rng_state(device: torch.device) -> dict[str, torch.Tensor]:
    """torch's generators, to be saved within an epoch."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def set_rng_state(states: dict[str, torch.Tensor], device: torch.device) -> None:
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)
