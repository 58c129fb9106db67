"""Which settings of a sweep can't be told apart from the best, by the scores of their images."""

from collections.abc import Sequence
from pathlib import Path

from unet_exp.comparison.differences import all_pairs, indistinct
from unet_exp.comparison.recipes import Recipe, Scored, read_runs, scored
from unet_exp.errors import UserError
from unet_exp.messages import counted, program, shown_path
from unet_exp.rundir import layout
from unet_exp.rundir.sweep_directory import Row

MOST_SETTINGS = 60  # of them every pair is compared: 1,770 pairs take a second


def scored_settings(groups: Sequence[Sequence[Row]], labels: Sequence[str]) -> Scored:
    """The settings of a sweep on the images that all of them scored. Raises UserError where they can't be
    compared: jobs that kept no such scores, or scored other images."""
    recipes = [
        Recipe(label, read_runs([row.job.directory for row in rows], "val", tta=False))
        for label, rows in zip(labels, groups, strict=True)
    ]
    tables = [run.table for recipe in recipes for run in recipe.runs]
    monitor = groups[0][0].job.monitor
    score = monitor if all(monitor in table.scores for table in tables) else "dice"
    return scored(recipes, score, "val")


def like_the_best(groups: Sequence[Sequence[Row]], labels: Sequence[str]) -> tuple[list[int] | None, str]:
    """Which settings can't be told apart from the first, the best by its mean, and a line that says so.

    None where nothing can be said: without repeats, or without scores of the images.
    """
    if len(groups) < 2:
        return None, ""
    number = min(len(rows) for rows in groups)
    if number < 2:
        return None, "a setting has one job: how much is chance can't be told; add seeds: seed=0,1,2"
    if len(groups) > MOST_SETTINGS:
        return None, f"{len(groups)} settings are too many to compare each pair; task=compare runs=[A,B]"
    try:
        result = scored_settings(groups, labels)
    except UserError as error:
        return None, f"settings can't be compared: {error.what}"
    except (KeyError, ValueError) as error:  # a damaged table of one job
        return None, f"settings can't be compared: a job's {layout.IMAGES} is damaged ({error})"
    same = indistinct(all_pairs(result), 0)
    if same is None:
        return None, "too few images and seeds to compare the settings"
    seeds = min(len(recipe.seeds) for recipe in result.recipes)
    folds = max(len(recipe.folds) for recipe in result.recipes)
    times = f"{counted(seeds, 'seed')} of {folds} folds" if folds else f"n = {seeds}"
    repeats = f"{times}, {counted(len(result.names), 'image')}"
    if len(same) == len(groups):
        return same, f"no setting can be told apart from the best ({repeats})"
    ranks = ranks_text([index + 1 for index in same])
    if len(same) == 1:
        return same, f"1 is better than all others ({repeats})"
    return same, f"{ranks} can't be told apart ({repeats})"


def ranks_text(ranks: Sequence[int]) -> str:
    """'1-4, 6' for 1, 2, 3, 4, 6."""
    runs: list[list[int]] = []
    for rank in ranks:
        if runs and rank == runs[-1][-1] + 1:
            runs[-1].append(rank)
        else:
            runs.append([rank])
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


def search_lines(sweep_dir: Path, number: int) -> list[str]:
    """What to know of the winner of a search among this many settings."""
    return [
        f"the best of {number} settings owes part of its score to chance",
        f"confirm: {program()} sweep=confirm confirm={shown_path(sweep_dir)}  (the best three, new seeds)",
    ]
