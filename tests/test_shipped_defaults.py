"""The shipped defaults as they are: nothing of conf/ is changed but how many steps are taken."""

from pathlib import Path

import pytest

from tests.conftest import Cli

pytestmark = pytest.mark.default_size
FEW = ["epochs=1", "trainer.limit_train_batches=2", "trainer.limit_val_batches=1"]


def test_the_default_configuration_trains(cli: Cli, tmp_path: Path) -> None:
    done = cli(*FEW, "hydra.run.dir=run", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert (tmp_path / "run/checkpoints/best.pt").is_file()
