"""Finished runs to compare: two recipes with two seeds each, made once by one sweep."""

from pathlib import Path

import pytest

from tests.conftest import TINY, Cli


@pytest.fixture(scope="session")
def recipes(cli: Cli, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with multirun/two: lr 1e-3 and 3e-3, seeds 0 and 1, twelve validation images. Do not change
    it."""
    start = tmp_path_factory.mktemp("recipes")
    words = ["lr=1e-3,3e-3", "seed=0,1", "data.split.val=12", "sweep_dir=multirun/two", "trainer.plots=false"]
    words.append("trainer.report=true")
    done = cli("-m", *TINY, *words, "tags=[pilot, a b]", "notes=it's 3 = three, ${x}", cwd=start)
    assert done.returncode == 0, done.stdout
    return start
