"""Everything random or order-dependent in torch, set both ways so that runs of one process do not mix."""

import os
from typing import Any

import torch
import torch.utils.deterministic


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
            "gpu": torch.cuda.get_device_name(device), "capability": f"{major}.{minor}",
            "cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
        }  # fmt: skip
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
