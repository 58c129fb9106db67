"""The loop through its own functions: exact sums, updates, limits and stops."""

import csv
import math
import re
import signal
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tests.conftest import TINY, Cli, composed
from tests.training.small_run import checkpoints_in, prepared
from unet_exp.config.schema import Config
from unet_exp.data.transforms import Compose
from unet_exp.errors import TrainingError, UserError
from unet_exp.rundir.signals import Stop
from unet_exp.training import build, loop
from unet_exp.training.checkpoint import load, weights_sha256
from unet_exp.training.loop import fit
from unet_exp.training.parts import Parts
from unet_exp.training.state import State, Sums
from unet_exp.training.tracker import Tracker


def trained(
    run_dir: Path, *overrides: str, stop: Stop | None = None, parts: Parts | None = None
) -> tuple[Parts, State]:
    config, built = prepared(*overrides)
    parts = parts or built
    state = State(Sums(2))
    with closing(tracker_in(run_dir, config)) as tracker, closing(checkpoints_in(run_dir, config)) as kept:
        fit(parts, config, state, tracker, kept, stop or Stop())
    return parts, state


def tracker_in(run_dir: Path, config: Config) -> Tracker:
    run_dir.mkdir(exist_ok=True)
    return Tracker(run_dir, config, State(Sums(2)), (0.5, 0.5))


def weights(parts: Parts) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in parts.model.parameters()])


def rows(run_dir: Path) -> list[dict[str, str]]:
    with open(run_dir / "metrics.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_accumulation_equals_the_large_batch(tmp_path: Path) -> None:
    """Without batch statistics; 6 samples as 4 + 2 and as (2 + 2) + 2, so a short group counts right."""
    plain = ["model.norm=none", "optimizer=sgd", "lr=0.1"]
    large, _ = trained(tmp_path / "a", *plain, "batch_size=4")
    small, state = trained(tmp_path / "b", *plain, "batch_size=2", "trainer.accumulate=2")
    assert state.step == 4
    assert torch.allclose(weights(large), weights(small), rtol=1e-4, atol=1e-6)
    wrong, _ = trained(tmp_path / "c", *plain, "batch_size=2")
    assert not torch.allclose(weights(large), weights(wrong), rtol=1e-4, atol=1e-6)


def test_the_loss_of_an_epoch_weighs_samples_not_batches(tmp_path: Path) -> None:
    """lr so small that the weights stand still: the mean is then the same for every batch size."""
    frozen = ["optimizer=sgd", "lr=1e-30", "model.norm=none", "transform=none", "epochs=1"]
    losses = []
    for size in (1, 4, 6):
        trained(tmp_path / str(size), *frozen, f"batch_size={size}")
        losses.append([float(row["loss"]) for row in rows(tmp_path / str(size))])
    assert np.allclose(losses, losses[0], rtol=1e-5)


def test_step_counts_optimizer_updates(tmp_path: Path) -> None:
    trained(tmp_path, "batch_size=4", "epochs=3")
    found = [(row["epoch"], row["step"], row["split"]) for row in rows(tmp_path)]
    assert found == [(str(e), str(2 * e), split) for e in (1, 2, 3) for split in ("train", "val")]


@pytest.mark.parametrize(("rate", "shown"), [(0.34, "0.3"), (9.96, "10"), (123.4, "123")])
def test_the_line_of_an_epoch_has_a_rate_and_room(
    rate: float, shown: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config, _ = prepared("epochs=1000")
    with caplog.at_level("INFO"), closing(tracker_in(tmp_path / "run", config)) as tracker:
        train = {"loss": 0.5, "images_per_second": rate}
        tracker.end_epoch(1000, train, {"loss": 0.5, "dice": 0.5, "iou": 0.4}, 1e-3, True)
    assert f" dice 0.5000* lr 1e-3 {shown} img/s" in caplog.text
    assert len(caplog.messages[-1]) + len(" 99m left") < 80


def test_an_infinite_loss_stops_before_the_update(tmp_path: Path) -> None:
    _, parts = prepared("batch_size=4")
    before = weights(parts).clone()

    class Broken(nn.Module):
        def forward(self, logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
            return logits.sum() * math.inf

    with pytest.raises(TrainingError) as caught:
        trained(tmp_path, "batch_size=4", parts=replace(parts, loss=Broken()))
    assert "epoch 1, batch 1 of" in str(caught.value)
    assert "membranes_000" in str(caught.value)
    assert torch.equal(weights(parts), before)


def test_clipping_bounds_the_gradient(tmp_path: Path) -> None:
    """Plain SGD with lr 1 moves the weights by the gradient itself."""
    _, parts = prepared("optimizer=sgd", "optimizer.momentum=0", "lr=1", "epochs=1", "batch_size=6")
    before = weights(parts).clone()
    trained(tmp_path, "optimizer=sgd", "epochs=1", "batch_size=6", "trainer.clip_norm=0.01", parts=parts)
    moved = (weights(parts) - before).norm()
    assert 0.0099 < float(moved) < 0.0101


def test_the_moving_average_is_validated_and_kept(tmp_path: Path) -> None:
    parts, _ = trained(tmp_path, "trainer.ema_decay=0.9", "epochs=2", "batch_size=4")
    assert parts.ema is not None
    average = torch.cat([p.flatten() for p in parts.evaluated.parameters()])
    assert not torch.equal(average, weights(parts))
    from safetensors.torch import load_file

    kept = load_file(tmp_path / "checkpoints" / "best.safetensors")
    assert set(kept) == set(parts.model.state_dict())


def test_the_moving_average_follows_its_formula(tmp_path: Path) -> None:
    """First update copies the weights, each later one mixes: ema = 0.9 ema + 0.1 weights."""
    _, parts = prepared("trainer.ema_decay=0.9", "batch_size=6")
    assert parts.ema is not None
    seen: list[torch.Tensor] = []
    parts.optimizer.register_step_post_hook(lambda *_: seen.append(weights(parts).clone()))
    trained(tmp_path, "trainer.ema_decay=0.9", "epochs=3", "batch_size=6", parts=parts)
    expected = seen[0]
    for value in seen[1:]:
        expected = 0.9 * expected + 0.1 * value
    average = torch.cat([p.flatten() for p in parts.evaluated.parameters()])
    assert torch.allclose(average, expected, atol=1e-6)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_mixed_precision_trains_and_scores_in_fp32(precision: str, tmp_path: Path) -> None:
    parts, _ = trained(tmp_path, f"trainer.precision={precision}", "epochs=2", "batch_size=4")
    assert weights(parts).dtype == torch.float32
    assert torch.isfinite(weights(parts)).all()
    assert parts.scaler.is_enabled() == (precision == "fp16")
    losses = [float(row["loss"]) for row in rows(tmp_path) if row["split"] == "train"]
    assert losses[1] < losses[0]


def test_one_batch_is_learnt_by_heart(tmp_path: Path) -> None:
    overrides = [
        "trainer=overfit",
        "trainer.overfit_samples=2",
        "batch_size=2",
        "epochs=60",
        "lr=5e-3",
        "model.base_channels=8",
        "data.size=64",
        "trainer.validate_every=20",
    ]
    _, state = trained(tmp_path, *overrides)
    assert state.best_metric is not None
    assert state.best_metric > 0.95


def test_overfit_does_not_augment() -> None:
    _, parts = prepared("trainer=overfit")
    transform = parts.train.dataset.transform
    assert isinstance(transform, Compose)
    assert [type(step).__name__ for step in transform.transforms] == ["Normalization", "ToTensor"]
    assert parts.train.dataset.samples.items == parts.val.dataset.samples.items


def test_early_stop_and_best(tmp_path: Path) -> None:
    """With weights that hardly move only the first validation can be a best."""
    _, state = trained(
        tmp_path,
        "trainer.early_stop=2",
        "epochs=9",
        "optimizer=sgd",
        "lr=1e-30",
        "trainer.monitor=loss",
        "model.norm=none",
    )
    assert (state.epoch, state.best_epoch) == (3, 1)


def test_max_minutes_ends_after_the_epoch_and_validates_it(tmp_path: Path) -> None:
    _, state = trained(tmp_path, "trainer.max_minutes=1e-9", "epochs=50", "trainer.validate_every=10")
    assert state.epoch == 1
    assert [row["split"] for row in rows(tmp_path)] == ["train", "val"]


@pytest.mark.parametrize("scheduler", ["cosine", "poly", "onecycle"])
def test_schedules_end_low_after_the_last_update(scheduler: str, tmp_path: Path) -> None:
    trained(tmp_path, f"scheduler={scheduler}", "epochs=4", "batch_size=4", "lr=1e-2")
    rates = [float(row["lr"]) for row in rows(tmp_path) if row["split"] == "train"]
    assert rates[-1] < 0.2 * max(rates)
    assert max(rates) <= 1e-2


def test_the_plateau_schedule_listens_to_the_monitor(tmp_path: Path) -> None:
    frozen = ["model.norm=none", "optimizer=sgd", "lr=1e-30", "trainer.monitor=loss"]
    trained(tmp_path, *frozen, "scheduler=plateau", "scheduler.patience=1", "+scheduler.eps=0", "epochs=5")
    rates = [float(row["lr"]) for row in rows(tmp_path) if row["split"] == "train"]
    assert rates[0] == rates[2] == 1e-30
    assert rates[-1] == pytest.approx(0.5e-30)


def test_limits_shorten_the_passes(tmp_path: Path) -> None:
    _, state = trained(tmp_path, "trainer=debug", "batch_size=1", "epochs=2")
    assert state.step == 4


def test_epochs_between_kept_checkpoints_and_how_many_stay(tmp_path: Path) -> None:
    trained(tmp_path, "epochs=6", "trainer.save_every=2", "trainer.keep=2")
    names = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert names == ["best.pt", "best.safetensors", "epoch_0004.pt", "epoch_0006.pt", "last.pt"]


def test_a_signal_stops_after_the_update_and_saves(tmp_path: Path) -> None:
    _, state = trained(tmp_path, "batch_size=1", "trainer.accumulate=2", stop=Stop(signal.SIGTERM))
    assert (state.epoch, state.step, state.batch_in_epoch) == (0, 1, 2)
    assert (tmp_path / "checkpoints" / "last.pt").exists()


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_valid_padding_cuts_the_label(padding: str, tmp_path: Path) -> None:
    _, parts = prepared(f"model.padding={padding}", "data.size=60" if padding == "valid" else "data.size=64")
    batch = next(parts.train.epoch(0))
    _, label, logits, loss = loop.forward(parts.model, parts, batch)
    assert label.shape == logits.shape
    assert loss.isfinite()


def test_questions_of_the_loop() -> None:
    config = composed(
        "epochs=10", "trainer.validate_every=3", "trainer.max_minutes=1", "trainer.save_every=4"
    )
    state = State(Sums(2))
    due = [epoch for epoch in range(1, 11) if loop.is_time_to_validate(epoch, state, config)]
    assert due == [3, 6, 9, 10]
    assert [epoch for epoch in range(1, 11) if loop.is_time_to_keep(epoch, config.trainer)] == [4, 8]
    assert loop.is_last_epoch(1, 60.0, config)
    assert not loop.is_last_epoch(1, 59.9, config)
    assert loop.is_better(0.1, None, "max")
    assert not loop.is_better(math.nan, None, "max")
    assert not loop.is_better(math.nan, 0.1, "max")
    assert loop.is_better(0.1, 0.2, "min")
    assert not loop.is_better(0.2, 0.2, "max")


def test_evaluation_draws_nothing_from_the_random_stream(tmp_path: Path) -> None:
    a, _ = trained(tmp_path / "a", "model.dropout=0.5", "trainer.validate_every=1", "epochs=3")
    b, _ = trained(tmp_path / "b", "model.dropout=0.5", "trainer.validate_every=3", "epochs=3")
    assert torch.equal(weights(a), weights(b))


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (
            ["loss=bce", "loss._target_=torch.nn.CrossEntropyLoss", "model.out_channels=2"],
            "one finite number|can't take",
        ),
        (["loss=bce", "+loss.reduction=none"], "one finite number"),
        (["loss=bce", "loss._target_=torch.nn.L1Loss", "+loss.reduction=none"], "one finite number"),
        (["optimizer._target_=torch.optim.LBFGS", "~optimizer.betas", "~optimizer.weight_decay"], "closure"),
        (["loss=bce", "loss._target_=torch.nn.BCELoss"], "can't take|finite"),
    ],
)
def test_parts_that_do_not_fit_the_loop_are_refused(overrides: list[str], expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        build.check_model(prepared(*overrides)[1])


def test_class_weights_may_be_numbers() -> None:
    _, parts = prepared("loss=bce", "+loss.pos_weight=2.0")
    build.check_model(parts)
    assert isinstance(parts.loss, nn.BCEWithLogitsLoss)
    assert parts.loss.pos_weight == torch.tensor(2.0)


def test_total_steps_are_epochs_for_a_schedule_of_epochs() -> None:
    for interval, steps in (("epoch", 5), ("step", 15)):
        overrides = ["scheduler=cosine", f"scheduler.interval={interval}", "epochs=5", "batch_size=2"]
        assert prepared(*overrides)[0].scheduler["T_max"] == steps


def test_pictures_come_when_they_are_due(tmp_path: Path) -> None:
    config, _ = prepared("epochs=20", "trainer.images_every=5", "trainer.validate_every=2")
    with_validation = tracker_in(tmp_path, config)
    train = [epoch for epoch in range(1, 13) if with_validation.wants_images("train", epoch, 1)]
    val = [epoch for epoch in range(2, 13, 2) if with_validation.wants_images("val", epoch, 1)]
    with_validation.close()
    assert train == [1, 5, 10]
    assert val == [2, 6, 10]


def test_deep_supervision_trains_on_all_levels(tmp_path: Path) -> None:
    """The first update's loss is the shares 4, 2, 1 of 7 of the levels' own losses."""
    _, parts = prepared("model.depth=3", "model.deep_supervision=true", "batch_size=6", "transform=none")
    batch = next(parts.train.epoch(0))
    outputs = parts.model.train()(parts.precision.to_device(batch["input"]))
    each = [
        torch.nn.functional.binary_cross_entropy_with_logits(
            logits, batch["label"][..., :: 2**level, :: 2**level]
        ).item()
        for level, logits in enumerate(outputs)
    ]
    assert len(each) == 3
    assert len(set(each)) == 3
    _, _, logits, loss = loop.forward(parts.model, parts, batch)
    assert torch.equal(logits, outputs[0])
    assert loss.item() == pytest.approx((4 * each[0] + 2 * each[1] + each[2]) / 7, rel=1e-5)
    before = parts.model.coarse_heads[1].weight.detach().clone()  # type: ignore[union-attr, index]
    trained(tmp_path, parts=parts)
    assert not torch.equal(before, parts.model.coarse_heads[1].weight)  # type: ignore[union-attr, index]


def test_a_moving_average_of_the_monitor_chooses_the_best_epoch() -> None:
    trainer = replace(composed().trainer, mode="max", smoothing=0.5)
    state, found = State(Sums(2)), []
    for epoch, value in enumerate([0.4, 0.8, 0.5, 0.7, float("nan"), 0.7], start=1):
        found.append((loop.update_best(state, epoch, value, trainer), state.smoothed))
    smoothed = [0.4, 0.6, 0.55, 0.625]  # by hand
    assert [value for _, value in found[:4]] == pytest.approx(smoothed)
    assert [best for best, _ in found] == [True, True, False, True, False, True]
    assert (state.best_metric, state.best_epoch, state.validations_without_best) == (0.7, 6, 0)
    plain, state = replace(trainer, smoothing=0.0), State(Sums(2))
    bests = [loop.update_best(state, epoch, value, plain) for epoch, value in enumerate([0.4, 0.8, 0.5, 0.7])]
    assert bests == [True, True, False, False]


def test_best_is_the_last_where_that_is_asked_for(cli: Cli, tmp_path: Path) -> None:
    done = cli(*TINY, "epochs=4", "trainer.best_by=last", "lr=1e-6", "hydra.run.dir=run", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert re.search(r"^last dice 0\.\d{4} in epoch 4,", done.stdout, re.MULTILINE)
    best, last = (weights_sha256(load(tmp_path / f"run/checkpoints/{name}.pt")) for name in ("best", "last"))
    assert best == last
    trainer, state = replace(composed().trainer, best_by="last", mode="max"), State(Sums(2))
    values = enumerate((0.9, math.nan, 0.1), start=1)
    found = [loop.update_best(state, epoch, value, trainer) for epoch, value in values]
    assert found == [True, False, True]
    assert (state.best_epoch, state.best_metric) == (3, 0.1)
