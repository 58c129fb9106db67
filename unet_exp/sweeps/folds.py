"""The end of a sweep over folds: pooled out-of-fold scores, and one predictor of all folds."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from unet_exp.comparison.differences import FEWEST_FOLDS
from unet_exp.comparison.image_scores import MAIN_SCORES, shared_scores
from unet_exp.comparison.recipes import Recipe, Scored, read_runs, scored
from unet_exp.errors import UserError
from unet_exp.messages import counted, in_columns, program, say, shown_path, wrapped
from unet_exp.rundir import atomic, layout
from unet_exp.rundir.sweep_directory import FOLD, Row
from unet_exp.rundir.tables import write_table
from unet_exp.statistics.difference import FEWEST_IMAGES, mean_of_images

OUT_OF_FOLD = "out_of_fold.csv"


def is_folded(rows: Sequence[Row]) -> bool:
    """Whether these jobs are the folds of one setting."""
    return len({row.job.overrides.get(FOLD) for row in rows} - {None}) > 1


def say_folds(sweep_dir: Path, rows: Sequence[Row]) -> None:
    """Writes out_of_fold.csv and folds.json, and says the pooled scores and how to predict."""
    run_dirs = [row.job.directory for row in rows]
    try:
        recipe = Recipe("folds", read_runs(run_dirs, "val", tta=False))
    except UserError as error:
        say(f"warning: nothing is pooled: {error}")
    except (KeyError, ValueError) as error:  # a damaged table of one job
        say(f"warning: nothing is pooled: a job's {layout.IMAGES} is damaged ({error})")
    else:
        cells, note = pooled_table(recipe)
        say("\n".join([*in_columns(cells), *wrapped(note), *missing_lines(recipe)]))
        write_out_of_fold(sweep_dir / OUT_OF_FOLD, recipe)
    try:
        settle(sweep_dir, run_dirs)
    except UserError as error:
        say(f"warning: no predictor of all folds: {error}")
        say(f"again:   {program()} task=summary sweep_dir={shown_path(sweep_dir)}")
    else:
        say(f"predict: {program()} task=predict run={shown_path(sweep_dir)} input=DIR")


def table_for_page(rows: Sequence[Row]) -> tuple[list[list[str]], str] | None:
    """pooled_table of these jobs; None where they are no folds, or can't be pooled, which say_folds says."""
    if not is_folded(rows):
        return None
    try:
        return pooled_table(Recipe("folds", read_runs([row.job.directory for row in rows], "val", tta=False)))
    except (UserError, KeyError, ValueError):
        return None


def pooled_table(recipe: Recipe) -> tuple[list[list[str]], str]:
    """The pooled scores, the heads of the columns first, and what they are."""
    results = pooled(recipe)
    one = results[0]
    cells = [["out of fold", "mean", "95 % interval"]]
    for result in results:
        fewest = FEWEST_FOLDS if result.by_fold else FEWEST_IMAGES
        mean = mean_of_images(result.values[0], result.groups, fewest)
        interval = "-" if math.isnan(mean.low) else f"[{mean.low:.4f}, {mean.high:.4f}]"
        cells.append([result.score, f"{mean.mean:.4f}", interval])
    unit = "images and seeds are the units of the interval"
    if one.by_fold:
        few = len(recipe.folds) < FEWEST_FOLDS
        unit = (
            f"fewer than {FEWEST_FOLDS} folds: no interval"
            if few
            else "the folds are the unit of the interval"
        )
    seeds = f" of {counted(len(recipe.seeds), 'seed')}" if len(recipe.seeds) > 1 else ""
    note = (
        f"{counted(len(one.names), 'image')}, each scored by a network that has not seen it "
        f"({counted(len(recipe.folds), 'fold')}{seeds}); {unit}"
    )
    return cells, note


def missing_lines(recipe: Recipe) -> list[str]:
    """A warning where a fold has not finished."""
    folds = range(int(recipe.runs[0].settings["data.folds"]))
    ended = {run.repeat for run in recipe.runs}
    missing = [(seed, fold) for seed in recipe.seeds for fold in folds if (seed, fold) not in ended]
    if not missing:
        return []
    several = len(recipe.seeds) > 1
    names = ", ".join(f"{fold} of seed {seed}" if several else str(fold) for seed, fold in missing)
    return wrapped(
        f"warning: not finished: fold {names}; the scores are without its images, and the predictor without "
        "its network; the same command trains it"
    )


def pooled(recipe: Recipe) -> list[Scored]:
    """The recipe by each main score that all its runs have; what was monitored goes first."""
    shared = shared_scores([run.table for run in recipe.runs])
    monitor = str(recipe.runs[0].settings.get("trainer.monitor"))
    names = [name for name in dict.fromkeys((monitor, *MAIN_SCORES)) if name in shared]
    return [scored([recipe], name, "val") for name in names]


def write_out_of_fold(path: Path, recipe: Recipe) -> None:
    """A row for each image of each run, with seed and fold; scores of its own best epoch."""
    rows: list[dict[str, Any]] = [
        {"name": row["name"], "group": row.get("group", ""), "seed": run.repeat[0], "fold": run.repeat[1]}
        | {score: row[score] for score in run.table.scores}
        for run in recipe.runs
        for row in run.table.rows
    ]
    write_table(path, list(dict.fromkeys(key for row in rows for key in row)), rows)


def settle(sweep_dir: Path, run_dirs: Sequence[Path]) -> None:
    """folds.json, unless it is of these runs as they are. Raises UserError where the data is not there."""
    path = sweep_dir / layout.FOLDS
    statuses = [layout.read_status(run) for run in run_dirs]
    facts = {
        "runs": [run.name for run in run_dirs],
        "best_epochs": [status.get("best_epoch") for status in statuses],
        "times": [status.get("time") for status in statuses],
    }
    if path.exists():
        stored = atomic.read_json(path)
        if {key: stored.get(key) for key in facts} == facts:
            return
    from unet_exp.inference.folds import settle_folds

    atomic.write_json(path, {**facts, **settle_folds(run_dirs)})
