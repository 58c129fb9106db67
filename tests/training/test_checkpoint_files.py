"""Checkpoints: which are kept, and what a save holds."""

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import torch

from tests.training.small_run import checkpoints_in, prepared
from unet_exp.errors import CheckpointError
from unet_exp.training import checkpoint
from unet_exp.training.checkpoint import Checkpoints, load
from unet_exp.training.resume import contents
from unet_exp.training.state import State, Sums


def test_the_newest_numbered_checkpoints_stay_by_number(tmp_path: Path) -> None:
    """As text epoch_10000.pt would come before epoch_9998.pt."""
    (tmp_path / "epoch_of_mine.pt").touch()
    with closing(Checkpoints(tmp_path, "", keep=3)) as kept:

        def after(*epochs: int) -> list[str]:
            for epoch in epochs:
                state = State(Sums(2), epoch=epoch)
                kept.save({"model": {}, "ema": None}, state, best=False, numbered=True)
            kept.wait()
            return [path.name for path in checkpoint.numbered(tmp_path)]

        assert after(9997, 9998, 9999) == ["epoch_9997.pt", "epoch_9998.pt", "epoch_9999.pt"]
        assert after(10000, 10001) == ["epoch_9999.pt", "epoch_10000.pt", "epoch_10001.pt"]
        # Gone back to an older state: the epochs that are trained again are the newest.
        assert after(200, 201) == ["epoch_0200.pt", "epoch_0201.pt", "epoch_10001.pt"]
    assert (tmp_path / "epoch_of_mine.pt").exists()


def test_a_checkpoint_holds_what_was_when_it_was_asked_for(tmp_path: Path) -> None:
    """Training goes on while it is written: weights, sums and rates that change then are not in it."""
    config, parts = prepared("batch_size=4", "scheduler=onecycle", "trainer.ema_decay=0.9")
    state, checkpoints = State(Sums(2)), checkpoints_in(tmp_path, config)
    with closing(checkpoints), slow_thread(checkpoints) as go_on:
        checkpoints.save(contents(parts), state, best=False, numbered=False)
        asked = {name: tensor.clone() for name, tensor in parts.model.state_dict().items()}
        for tensor in [*parts.model.state_dict().values(), state.sums.confusion]:
            tensor.add_(1)
        state.step, parts.optimizer.param_groups[0]["lr"] = 7, 99.0
        go_on.set()
    saved = load(tmp_path / "checkpoints" / "last.pt")
    assert all(torch.equal(saved["model"][name], tensor) for name, tensor in asked.items())
    assert saved["state"]["step"] == 0
    assert not saved["state"]["sums"]["confusion"].any()
    assert saved["optimizer"]["param_groups"][0]["lr"] != 99.0


@contextmanager
def slow_thread(checkpoints: Checkpoints) -> Iterator[threading.Event]:
    """The thread that writes waits for the event."""
    go_on = threading.Event()
    checkpoints.thread.submit(go_on.wait)
    try:
        yield go_on
    finally:
        go_on.set()


def test_a_checkpoint_that_could_not_be_written_is_told_at_the_next_update(tmp_path: Path) -> None:
    config, parts = prepared("batch_size=4")
    checkpoints = Checkpoints(tmp_path / "nowhere", "", config.trainer.keep)
    checkpoints.save(contents(parts), State(Sums(2)), best=False, numbered=False)
    checkpoints.thread.shutdown()
    with pytest.raises(CheckpointError, match="could not be written"):
        checkpoints.raise_failure()
