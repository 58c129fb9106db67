"""Fixtures of this folder."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.inference.runs import folder_run
from unet_exp import load_run
from unet_exp.inference.predictor import Predictor


@pytest.fixture(scope="module")
def grey_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder_run(tmp_path_factory.mktemp("grey"), 1)


@pytest.fixture(scope="module")
def grey(grey_run: Path) -> Predictor:
    return load_run(grey_run, "cpu")


@pytest.fixture
def seeded() -> Iterator[None]:
    """One seed, one thread."""
    torch.manual_seed(0)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
