"""What options of the network cost: seconds of one core, forward and backward, of four 256-pixel crops.

python benchmarks/networks.py
"""

import argparse
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from unet_exp.models.unet import UNet
from unet_exp.training.machine import set_allocator

ARMS: dict[str, dict[str, Any]] = {
    "stride 1, 16 channels, depth 4": {"base_channels": 16},
    "stride 1, 16 channels, depth 5": {"base_channels": 16, "depth": 5},
    "stride 2, 32 channels, depth 4": {"base_channels": 32, "stride": 2},
    "stride 2, 32 channels, depth 3": {"base_channels": 32, "stride": 2, "depth": 3},
    "stride 2, 24 channels, depth 4": {"base_channels": 24, "stride": 2},
    "stride 2, 16 channels, depth 4": {"base_channels": 16, "stride": 2},
    "instance norm": {"base_channels": 16, "norm": "instance"},
    "instance norm, torch's": {"base_channels": 16, "norm": "instance"},
    "group norm": {"base_channels": 16, "norm": "group"},
    "no norm": {"base_channels": 16, "norm": "none"},
    "LeakyReLU": {"base_channels": 16, "activation": "leaky_relu"},
}


def with_torchs_norm(module: nn.Module) -> None:
    """Put torch's own layer in place of ours."""
    for name, child in module.named_children():
        if isinstance(child, nn.InstanceNorm2d):
            setattr(module, name, nn.InstanceNorm2d(child.num_features, affine=True))
        with_torchs_norm(child)


def step(model: UNet, image: torch.Tensor, label: torch.Tensor) -> float:
    """CPU time, so that what else the machine does counts little."""
    started = time.process_time()
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(image)
    F.binary_cross_entropy_with_logits(logits.float(), label).backward()  # type: ignore[no-untyped-call]
    return time.process_time() - started


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    torch.set_num_threads(1)
    set_allocator("keep")
    models = {name: UNet(**options) for name, options in ARMS.items()}
    with_torchs_norm(models["instance norm, torch's"])
    for model in models.values():
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    image = torch.rand(4, 1, 256, 256).to(memory_format=torch.channels_last)
    label = (torch.rand(4, 1, 256, 256) > 0.3).float()
    seconds: dict[str, list[float]] = {name: [] for name in models}
    for turn in range(8):
        for name, model in models.items():
            taken = step(model, image, label)
            if turn:  # the first one warms up
                seconds[name].append(taken)
    print(f"{'network':<32} {'M parameters':>12} {'s of one core':>14}")
    for name, model in models.items():
        millions = sum(parameter.numel() for parameter in model.parameters()) / 1e6
        print(f"{name:<32} {millions:>12.2f} {statistics.median(seconds[name]):>14.3f}")


if __name__ == "__main__":
    main()
