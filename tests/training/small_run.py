"""A small run, trained through the loop's own functions."""

from pathlib import Path

import torch

from tests.conftest import composed
from unet_exp.config.schema import Config
from unet_exp.training import build, setup
from unet_exp.training.checkpoint import Checkpoints
from unet_exp.training.parts import Parts

SMALL = [
    "data.size=32",
    "data.split.train=6",
    "data.split.val=3",
    "data.split.test=0",
    "model.depth=2",
    "model.base_channels=4",
    "threads=1",
    "trainer.precision=fp32",
    "trainer.images_every=0",
    "trainer.log_every=0",
    "epochs=2",
]


def prepared(*overrides: str) -> tuple[Config, Parts]:
    config = setup.settle_machine(composed(*SMALL, *overrides))
    torch.manual_seed(config.seed)
    data = setup.read_samples(config, setup.find_items(config))
    config = setup.settle_data(config, data)
    return config, build.build_parts(config, data)


def checkpoints_in(run_dir: Path, config: Config) -> Checkpoints:
    (run_dir / "checkpoints").mkdir(parents=True, exist_ok=True)
    return Checkpoints(run_dir / "checkpoints", "", config.trainer.keep)
