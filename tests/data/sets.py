"""Sets of images as people have them."""

import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tifffile
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf
from PIL import Image

import run
from tests.conftest import ROOT
from unet_exp.cli import command_line
from unet_exp.config.hydra_hooks import register
from unet_exp.config.resolve import check
from unet_exp.rundir.directory import Origin, RunDirectory
from unet_exp.tasks.check_data import check_data

Array = npt.NDArray[Any]


SMALL = ["model.depth=2", "model.base_channels=4", "epochs=1", "batch_size=2", "threads=1", "device=cpu"]


def save(path: Path, array: Array) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, array)
    elif path.suffix == ".tif":
        tifffile.imwrite(path, array, photometric="minisblack")
    else:
        Image.fromarray(array).save(path)


def scene(seed: int, classes: int = 2, size: int = 32) -> tuple[Array, Array]:
    """An image whose brightness follows its label of squares, and the label, class indices."""
    rng = np.random.default_rng(seed)
    coarse = rng.permutation(np.arange((size // 8) ** 2) % classes).astype(np.uint8)
    label = np.kron(coarse.reshape(size // 8, -1), np.ones((8, 8), np.uint8))
    noise = rng.normal(0, 6, label.shape)
    return np.clip(20 + 200 / classes * label + noise, 0, 255).astype(np.uint8), label


def layout(root: Path, images: str, labels: str | None, *parts: tuple[str, int], classes: int = 2) -> None:
    """Files whose paths have {p} for the part and {n} for a number."""
    for part, count in parts:
        for number in range(1, count + 1):
            image, label = scene(number + 10 * sum(map(ord, part)), classes)
            save(root / images.format(p=part, n=number), image)
            if labels is not None:
                save(root / labels.format(p=part, n=number), label)


def survey(
    capsys: pytest.CaptureFixture[str], *words: str, typed: tuple[str, ...] = (), code: int = 0
) -> str:
    """What check_data says of these settings, which ends with this exit code and fits a screen."""
    try:
        check_data(check(settings(list(words))), typed=typed)
        found = 0
    except SystemExit as stop:
        found = int(stop.code or 0)
    said = capsys.readouterr().out
    assert found == code, said
    commands = ("python ", "data.")
    lines = [line for line in said.splitlines() if not line.lstrip(" '").startswith(commands)]
    assert max(map(len, lines)) < 80
    assert len(lines) <= 40
    return said


def line_of(said: str) -> str:
    (line,) = [line for line in said.splitlines() if line.startswith("  python ") and "task=" not in line]
    return line.strip()


def pasted(line: str) -> list[str]:
    """The words that python gets when a line is pasted into bash."""
    script = f"python() {{ printf '%s\\0' \"$@\"; }}; {line}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, check=True)
    return done.stdout.decode().split("\0")[1:-1]


def settings(words: list[str]) -> Any:
    """What Hydra composes of them, as run.py would."""
    register()
    GlobalHydra.instance().clear()
    prepared = command_line.prepare(words)
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return compose("config", overrides=prepared.argv)


def train(run_dir: Path, words: list[str]) -> None:
    cfg = settings(words)
    (run_dir / ".hydra").mkdir(parents=True)
    OmegaConf.save(cfg, run_dir / ".hydra" / "config.yaml")
    run.train(check(cfg), RunDirectory(run_dir), Origin())
