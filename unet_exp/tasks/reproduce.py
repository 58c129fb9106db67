"""task=reproduce: replay a run from its saved config and meet every row that it wrote."""

import dataclasses
import logging
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

from unet_exp.config import saved
from unet_exp.config.may_change import MAY_CHANGE
from unet_exp.config.paths import expanded
from unet_exp.config.resolve import check
from unet_exp.config.saved import AGAIN, compose_saved
from unet_exp.config.schema import Config
from unet_exp.config.task_schema import ReproduceConfig
from unet_exp.errors import CheckpointError, ConfigError
from unet_exp.messages import as_lines, counted
from unet_exp.rundir import atomic, layout, provenance
from unet_exp.rundir.directory import Origin, Outcome, RunDirectory
from unet_exp.rundir.provenance import starts
from unet_exp.rundir.tables import Difference, Recorded, recorded
from unet_exp.training import checkpoint

log = logging.getLogger("unet_exp")
Train = Callable[[Config, RunDirectory, Origin], Outcome]


def reproduce(options: ReproduceConfig, train: Train) -> None:
    """Says "identical", or exits with 1 after the first row that differs and what could explain it.

    Raises CheckpointError for what is no run or has nothing to compare with, DataError if its data changed.
    """
    run_dir = expanded(options.run)
    typed = {"data.root": options.data.root, "model.weights": options.model.weights}
    config = check(compose_saved(run_dir, (*AGAIN, "epochs"), {k: v for k, v in typed.items() if v}))
    expected = recorded(run_dir)
    config, last = what_can_be_replayed(config, run_dir, expected)
    if options.until_epoch is not None and options.until_epoch > last:
        raise ConfigError(
            f"until_epoch is {options.until_epoch}", allowed=f"1 to {last}, the epochs to compare"
        )
    until = options.until_epoch or last
    quiet = dataclasses.replace(
        config.trainer,
        images_every=0,
        images_each_batch=False,
        save_every=0,
        max_minutes=None,
        early_stop=None,
    )
    steps = sum(int(row["epoch"]) <= until for row in expected.steps.values())
    log.info("replaying %d of %s of %s", steps, counted(len(expected.steps), "step"), run_dir)
    with TemporaryDirectory(prefix="reproduce_") as folder:
        try:
            run = RunDirectory(Path(folder))
            outcome = train(
                dataclasses.replace(config, trainer=quiet), run, Origin(run_dir, False, expected, until)
            )
            if outcome.state == "interrupted":
                print("stopped; nothing is proven")
                sys.exit(outcome.exit_code)
            compare_ends(run_dir, Path(folder), expected, until)
        except Difference as found:
            explained = explanations(run_dir, Path(folder))
            print(as_lines(f"differs first at {found.where}:", found.lines()))
            print(as_lines("what could explain it:", explained or ["nothing that is recorded"]))
            sys.exit(1)
        here = checkpoint.load(Path(folder) / layout.CHECKPOINTS / checkpoint.LAST)
    extent = f"{counted(steps, 'step')}, {counted(until, 'epoch')}"
    print(f"identical: {extent}, weights sha256 {checkpoint.weights_sha256(here)}")


def what_can_be_replayed(config: Config, run_dir: Path, expected: Recorded) -> tuple[Config, int]:
    """The config and the number of epochs that one uninterrupted run can repeat."""
    epochs = [epoch for split, epoch in expected.metrics if split == "train"]
    if not epochs:
        raise CheckpointError(f"{run_dir} has no finished epoch to compare with")
    known = {int(row["epoch"]) for row in expected.steps.values()}
    if not known >= set(epochs):
        raise CheckpointError(f"{run_dir / layout.STEPS} lacks steps, so there is nothing to compare with")
    all_starts = starts(run_dir)
    counts_epochs = "total_steps" in config.scheduler.values()
    for before, after in pairwise(all_starts):
        if counts_epochs and before["epochs"] != after["epochs"]:
            done = int(after["from_epoch"])
            if not done:
                raise CheckpointError(
                    f"{run_dir} was extended before its first epoch ended; no replay can meet it"
                )
            log.warning(
                "this run was extended from %d to %d epochs after epoch %d, which changed its schedule; "
                "up to there it can be replayed",
                before["epochs"],
                after["epochs"],
                done,
            )
            return dataclasses.replace(config, epochs=int(before["epochs"])), done
    return config, max(epochs)


def compare_ends(run_dir: Path, folder: Path, expected: Recorded, until: int) -> None:
    """Raises Difference for rows that the replay did not make, or a last.pt that is not the run's own."""
    here = recorded(folder)
    for step, row in expected.steps.items():
        if int(row["epoch"]) <= until and step not in here.steps:
            raise Difference(f"epoch {row['epoch']}, step {step}", {"row": ("one", "none")})
    for split, epoch in expected.metrics:
        if epoch <= until and (split, epoch) not in here.metrics:
            log.warning("the validation of epoch %d was not repeated: it was the last epoch then", epoch)
    newest = checkpoint.load_newest(run_dir / layout.CHECKPOINTS)
    if newest is None:
        log.warning("%s has no checkpoints; only its tables were compared", run_dir)
        return
    contents, state, path = newest
    if state.epoch == until and state.batch_in_epoch == 0:
        replayed = checkpoint.load(folder / layout.CHECKPOINTS / checkpoint.LAST)
        digests = checkpoint.weights_sha256(contents), checkpoint.weights_sha256(replayed)
        if digests[0] != digests[1]:
            raise Difference(f"the end of epoch {until}, in {path.name}", {"weights": digests})


def explanations(run_dir: Path, folder: Path) -> list[str]:
    """Every recorded difference between the run and its replay in `folder`."""
    skipped = set(MAY_CHANGE) - {"device", "epochs"}
    changed = saved.config_changes(run_dir, saved.resolved(folder))
    lines = [f"config {line}" for line in changed if line.split(":")[0] not in skipped]
    return lines + provenance.environment_changes(run_dir, atomic.read_json(folder / layout.ENVIRONMENT))
