"""Tools shared by the tests: real command lines in real processes, and tiny runs."""

import fcntl
import json
import os
import pty
import signal
import subprocess
import sys
import tempfile
import termios
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf
from PIL import Image
from torch import nn

import run
from unet_exp.config.hydra_hooks import register
from unet_exp.config.resolve import check
from unet_exp.config.schema import Config
from unet_exp.inference.predictor import Predictor
from unet_exp.rundir.directory import Origin, RunDirectory
from unet_exp.training.machine import Precision

ROOT = Path(__file__).resolve().parents[1]
ISBI = ROOT.parent / "shared" / "data" / "isbi2012"

# A network and images so small that a run takes a second beside the imports.
TINY = [
    "data.size=32",
    "data.split.train=6",
    "data.split.val=3",
    "data.split.test=0",
    "model.depth=2",
    "model.base_channels=4",
    "epochs=2",
    "threads=1",
    "trainer.report=false",
    "trainer.plots=false",  # which take longer than such a run
]

SMALL = ["model.depth=2", "model.base_channels=4", "epochs=1", "batch_size=2", "threads=1", "device=cpu"]
SMALL.append("trainer.plots=false")

torch.set_num_threads(1)  # the tests themselves run two at a time
# What is known of files stays out of the user's cache folder, and is gone at the end.
CACHE = tempfile.TemporaryDirectory(prefix="unet_exp_cache_")
os.environ["XDG_CACHE_HOME"] = CACHE.name

Cli = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def command() -> list[str]:
    return [sys.executable, str(ROOT / "run.py")]


@pytest.fixture(scope="session")
def warm() -> Iterator["subprocess.Popen[str]"]:
    """A process with the packages imported, of which `cli` forks its own (tests/warm.py)."""
    arguments = [sys.executable, str(ROOT / "tests" / "warm.py")]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


@pytest.fixture(scope="session")
def cli(command: list[str], warm: "subprocess.Popen[str]", tmp_path_factory: pytest.TempPathFactory) -> Cli:
    """Run `python run.py ARGUMENTS` somewhere and wait; stdout holds both streams."""
    printed = tmp_path_factory.mktemp("printed") / "printed.txt"

    def run(*arguments: str, cwd: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
        request = {
            "arguments": arguments,
            "cwd": str(cwd),
            "environment": {**os.environ, **environment},
            "printed": str(printed),
        }
        assert warm.stdin is not None
        assert warm.stdout is not None
        print(json.dumps(request), file=warm.stdin, flush=True)
        code = int(warm.stdout.readline())
        return subprocess.CompletedProcess([*command, *arguments], code, printed.read_text(encoding="utf-8"))

    return run


def hear_hangups() -> None:
    """In a new process: SIGHUP as a shell has it, also where the tests themselves run under nohup."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def begin_in_terminal() -> None:
    hear_hangups()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def in_terminal(command: list[str], cwd: Path) -> "tuple[subprocess.Popen[bytes], int]":
    """The process in front of a terminal of its own, and what to close so that the terminal is gone."""
    ours, its = pty.openpty()
    termios.tcsetwinsize(its, (24, 80))
    process = subprocess.Popen(
        command,
        cwd=cwd,
        stdin=its,
        stdout=its,
        stderr=its,
        start_new_session=True,
        preexec_fn=begin_in_terminal,
    )
    os.close(its)
    return process, ours


@pytest.fixture(scope="session")
def finished_run(cli: Cli, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A tiny run of four epochs and what it printed; read it, do not change it."""
    start = tmp_path_factory.mktemp("finished")
    arguments = [
        "epochs=4",
        "trainer.save_every=1",
        "trainer.keep=2",
        "trainer.images_every=2",
        "trainer.plots=true",
        "batch_size=4",
    ]
    done = cli(*TINY, *arguments, "hydra.run.dir=run", cwd=start)
    assert done.returncode == 0, done.stdout
    return start / "run", done.stdout


def composed(*overrides: str) -> Config:
    """A checked config as `python run.py OVERRIDES` would get it."""
    register()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return check(compose("config", overrides=list(overrides)))


@pytest.fixture(autouse=True)
def _torch_settings() -> Iterator[None]:
    """Runs set torch's global switches; the next test starts as the process did."""
    threads = torch.get_num_threads()
    yield
    torch.set_deterministic_debug_mode("default")
    torch.set_num_threads(threads)


def train(run_dir: Path, *overrides: str) -> Path:
    """A small run in this process."""
    return train_here(run_dir, *SMALL, *overrides)


def train_here(run_dir: Path, *overrides: str) -> Path:
    """A run in this process, with the .hydra/config.yaml that Hydra would write."""
    register()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        cfg = compose("config", overrides=list(overrides))
    (run_dir / ".hydra").mkdir(parents=True)
    OmegaConf.save(cfg, run_dir / ".hydra" / "config.yaml")
    run.train(check(cfg), RunDirectory(run_dir), Origin())
    return run_dir


def predictor_of(model: nn.Module, channels: int = 1, classes: int = 2) -> Predictor:
    """Of one network, without a run; its numbers are made none that a fresh one happens to have."""
    generator = torch.Generator().manual_seed(0)
    for name, value in model.state_dict().items():
        if value.ndim == 1:
            value += 0.2 * torch.rand(value.shape, generator=generator)
        assert value.ndim or name.endswith("num_batches_tracked")
    return Predictor(
        networks=[model.eval()],
        precision=Precision(torch.device("cpu"), "fp32", False),
        classes=[f"class {index}" for index in range(classes)],
        palette=[(index, 0, 0) for index in range(classes)],
        channels=channels,
        statistics=[(0.5, 0.25)],
        logits_per_pixel=1,
        thresholds=(0.5, 0.5),
        tile=512,
        overlap=0.25,
        batch=1,
        tta=False,
        symmetries="all",
    )


def run_dirs(start: Path) -> list[Path]:
    """Run directories below outputs/ and whatever else a run left there."""
    return sorted((start / "outputs").glob("*/*")) if (start / "outputs").exists() else []


def write_folder(root: Path, count: int = 6, size: int = 32, seed: int = 0) -> Path:
    """images/NN.png and labels/NN.png: bright blobs, labelled 0 and 255."""
    rng = np.random.default_rng(seed)
    for name in ("images", "labels"):
        (root / name).mkdir(parents=True, exist_ok=True)
    for index in range(count):
        label = np.kron(rng.random((size // 8, size // 8)) < 0.5, np.ones((8, 8))).astype(np.uint8)
        image = np.clip(60 + 120 * label + rng.normal(0, 15, label.shape), 0, 255).astype(np.uint8)
        Image.fromarray(image).save(root / "images" / f"{index:02d}.png")
        Image.fromarray(label * 255).save(root / "labels" / f"{index:02d}.png")
    return root
