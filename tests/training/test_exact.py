"""Same config, same bits: whatever else is on, in each number format, between jobs of one process."""

from pathlib import Path

import pytest
import torch

from tests.conftest import TINY, Cli
from tests.support import table, weights

Run = tuple[Path, str]
EVERYTHING = [*TINY, "batch_size=2", "model.dropout=0.2", "trainer.ema_decay=0.9", "trainer.accumulate=2"]


def same(one: Path, other: Path) -> bool:
    """Scores, losses of each update, and weights with their moving average."""
    expected, found = weights(one), weights(other)
    return table(one) == table(other) and all(torch.equal(expected[name], found[name]) for name in expected)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_what_only_watches_changes_no_bit(precision: str, cli: Cli, tmp_path: Path) -> None:
    """Workers, pictures, lines and checkpoints: none, and as many as can be."""
    quiet = [
        "trainer.images_every=0",
        "trainer.log_every=0",
        "trainer.save_every=0",
        "num_workers=0",
        "trainer.checkpoint_every_minutes=null",
    ]
    busy = [
        "trainer.images_each_batch=true",
        "trainer.log_every=1",
        "trainer.save_every=1",
        "num_workers=2",
        "trainer.checkpoint_every_steps=1",
        "data.cache=none",
    ]
    for name, options in (("quiet", quiet), ("busy", busy)):
        arguments = [*EVERYTHING, f"trainer.precision={precision}", *options, f"hydra.run.dir={name}"]
        done = cli(*arguments, cwd=tmp_path)
        assert done.returncode == 0, done.stdout
    assert same(tmp_path / "quiet", tmp_path / "busy")


def test_validation_in_between_changes_no_weight(cli: Cli, tmp_path: Path) -> None:
    for every in (1, 3):
        arguments = [*EVERYTHING, "epochs=3", f"trainer.validate_every={every}", f"hydra.run.dir={every}"]
        assert cli(*arguments, cwd=tmp_path).returncode == 0
    assert (tmp_path / "1" / "steps.csv").read_bytes() == (tmp_path / "3" / "steps.csv").read_bytes()


@pytest.mark.parametrize("scheduler", ["constant", "cosine", "onecycle", "poly"])
def test_more_epochs_are_those_of_a_longer_run(scheduler: str, cli: Cli, tmp_path: Path) -> None:
    """Two epochs and two more: with a constant rate to the bit those of a run of four; with a schedule that
    counts, the rate of the third and fourth epoch is that of a run of four, and a line says so."""
    arguments = [*EVERYTHING, f"scheduler={scheduler}"]
    assert cli(*arguments, "epochs=4", "hydra.run.dir=four", cwd=tmp_path).returncode == 0
    assert cli(*arguments, "epochs=2", "hydra.run.dir=two", cwd=tmp_path).returncode == 0
    done = cli("resume=two", "epochs=4", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert "epochs: 2 -> 4" in done.stdout
    rates = [
        [line.split(",")[3] for line in (tmp_path / name / "steps.csv").read_text().splitlines()]
        for name in ("four", "two")
    ]
    assert rates[0][5:] == rates[1][5:]
    if scheduler == "constant":
        assert "lr stays" in done.stdout
        assert same(tmp_path / "four", tmp_path / "two")
    else:
        assert rates[0] != rates[1]
