"""Optimizers that do not import the compiler do the same as those that do."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.optim.lr_scheduler import LinearLR

from unet_exp.training.quick_start import spare_compiler, spare_compiler_in_step

ROOT = Path(__file__).resolve().parents[2]
OPTIMIZERS = [
    "Adam",
    "AdamW",
    "SGD",
    "RMSprop",
    "NAdam",
    "RAdam",
    "Adagrad",
    "Adadelta",
    "Adamax",
    "Rprop",
    "ASGD",
]


def weights_after_three_steps(name: str, spared: bool) -> tuple[list[torch.Tensor], int]:
    torch.manual_seed(0)
    weights = [torch.nn.Parameter(torch.randn(4, 4)) for _ in range(3)]
    optimizer = getattr(torch.optim, name)(weights, lr=0.1)
    if spared:
        spare_compiler_in_step(optimizer)
        assert "step" in vars(optimizer)
    calls = []
    optimizer.register_step_post_hook(lambda *_: calls.append(1))
    scheduler = LinearLR(optimizer)
    for _ in range(3):
        torch.stack([(weight**2).sum() for weight in weights]).sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        scheduler.step()
    optimizer.load_state_dict(optimizer.state_dict())
    return [weight.detach() for weight in weights], len(calls)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_same_steps_with_hooks_and_schedulers(name: str) -> None:
    spare_compiler()
    straight, spared = (weights_after_three_steps(name, spared) for spared in (False, True))
    assert spared[1] == straight[1] == 3
    for one, other in zip(straight[0], spared[0], strict=True):
        assert torch.equal(one, other)


def test_own_optimizers_keep_their_step() -> None:
    class Own(torch.optim.SGD):
        def step(self, closure: object = None) -> None:  # type: ignore[override]
            """Nothing of torch's wrappers but the hooks."""

    optimizer = Own([torch.nn.Parameter(torch.ones(1))], lr=0.1)
    spare_compiler_in_step(optimizer)
    assert "step" not in vars(optimizer)


def test_a_run_does_not_import_the_compiler(tmp_path: Path) -> None:
    tiny = ["data.size=32", "data.split.train=2", "data.split.val=1", "batch_size=2", "epochs=1",
            "model.depth=1", "model.base_channels=2", f"hydra.run.dir={tmp_path}/run"]  # fmt: skip
    command = [sys.executable, "-X", "importtime", "run.py", *tiny]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    imported = {
        line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if "import time:" in line
    }
    assert "torch.optim" in imported
    assert not [name for name in imported if name.startswith("torch._dynamo")]
    assert (tmp_path / "run/checkpoints/last.pt").exists()
