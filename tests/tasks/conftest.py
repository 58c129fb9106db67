"""Fixtures of this folder."""

from pathlib import Path

import pytest

from tests.conftest import train


@pytest.fixture(scope="module")
def membranes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on drawn membranes that has learnt something."""
    start = tmp_path_factory.mktemp("membranes")
    split = ["data.split.train=8", "data.split.val=3", "data.split.test=2"]
    return train(start / "run", "data.size=64", *split, "epochs=12", "lr=0.01", "trainer.log_every=0")
