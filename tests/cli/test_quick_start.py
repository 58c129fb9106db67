"""Optimizers that do not import the compiler do the same as those that do."""

import subprocess
import sys
from pathlib import Path

import torch

from unet_exp.cli.startup_patches import step_without_compiler

ROOT = Path(__file__).resolve().parents[2]
# In a process of its own, whose optimizers nobody has changed yet.
COMPARE = """
import torch
from torch.optim.lr_scheduler import LinearLR
from unet_exp.cli.startup_patches import spare_compiler

NAMES = "Adam AdamW SGD RMSprop NAdam RAdam Adagrad Adadelta Adamax Rprop ASGD".split()

def weights_after_three_steps(name):
    torch.manual_seed(0)
    weights = [torch.nn.Parameter(torch.randn(4, 4)) for _ in range(3)]
    optimizer = getattr(torch.optim, name)(weights, lr=0.1)
    calls = []
    optimizer.register_step_post_hook(lambda *_: calls.append(1))
    scheduler = LinearLR(optimizer)
    for _ in range(3):
        torch.stack([(weight**2).sum() for weight in weights]).sum().backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        scheduler.step()
    optimizer.load_state_dict(optimizer.state_dict())
    assert len(calls) == 3
    return torch.stack(weights).detach()

before = {name: (getattr(torch.optim, name).step, weights_after_three_steps(name)) for name in NAMES}
spare_compiler()
for name, (step, weights) in before.items():
    assert getattr(torch.optim, name).step is not step, name
    assert torch.equal(weights_after_three_steps(name), weights), name
print("equal")
"""


def test_same_steps_with_hooks_and_schedulers() -> None:
    done = subprocess.run([sys.executable, "-c", COMPARE], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "equal\n", done.stderr


def test_own_optimizers_keep_their_step() -> None:
    class Own(torch.optim.SGD):
        def step(self, closure: object = None) -> None:  # type: ignore[override]
            """Nothing of torch's wrappers but the hooks."""

    assert step_without_compiler(Own) is None


def test_a_run_does_not_import_the_compiler(tmp_path: Path) -> None:
    tiny = [
        "data.size=32",
        "data.split.train=2",
        "data.split.val=1",
        "batch_size=2",
        "epochs=1",
        "model.depth=1",
        "model.base_channels=2",
        f"hydra.run.dir={tmp_path}/run",
    ]
    command = [sys.executable, "-X", "importtime", "run.py", *tiny]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    imported = {
        line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if "import time:" in line
    }
    assert "torch.optim" in imported
    assert not [name for name in imported if name.startswith("torch._dynamo")]
    assert (tmp_path / "run/checkpoints/last.pt").exists()
