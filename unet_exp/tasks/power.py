"""task=power: how many trainings and images it takes to show a difference, by the spread of a sweep."""

import math

from unet_exp.comparison.recipes import as_recipes, read_runs, scored
from unet_exp.config.paths import expanded
from unet_exp.config.task_schema import PowerConfig
from unet_exp.errors import CheckpointError
from unet_exp.messages import counted, in_columns, say, shown_path, wrapped
from unet_exp.rundir.found import runs_of, unfinished_lines
from unet_exp.statistics.power import MOST_TRAININGS, power, spread_of, trainings_needed

IMAGES = (10, 20, 30, 50, 100, 200, 500)
FEWEST = 2


def power_of_sweep(options: PowerConfig) -> None:
    """Prints a table. Raises CheckpointError for a sweep without two settings that are repeated."""
    directory = expanded(options.sweep_dir)
    paths = runs_of(directory)
    runs = read_runs(paths, "val", tta=False)
    for line in unfinished_lines([str(directory)], paths):
        say(line)
    recipes, _ = as_recipes(runs)
    repeated = [recipe for recipe in recipes if len(recipe.seeds) >= FEWEST]
    if len(repeated) < FEWEST:
        raise CheckpointError(
            f"{shown_path(directory)} has {counted(len(repeated), 'setting')} with two seeds or more",
            allowed="two or more, to see how much seeds and images scatter",
            do="a sweep of two settings or more, with several seeds: -m lr=1e-3,3e-3 seed=0,1,2",
        )
    monitor = str(runs[0].settings.get("trainer.monitor"))
    automatic = monitor if monitor in runs[0].table.scores else "dice"
    result = scored(repeated, automatic if options.score == "auto" else options.score, "val")
    spread = spread_of(result.values, result.groups)
    now = len(set(result.groups))
    say(
        f"{result.score} of {counted(now, 'image')}, {counted(len(repeated), 'setting')} of "
        f"{shown_path(directory)}: sd between seeds {math.sqrt(spread.trainings):.4f}, "
        f"of the difference between images {math.sqrt(spread.images):.4f}, rest {math.sqrt(spread.rest):.4f}"
    )
    say(f"\nto show a difference of {options.difference:g} four times in five (95 % interval without 0):\n")
    rows = [["images", "seeds of each setting"]]
    for images in sorted({*IMAGES, max(now, FEWEST)}):
        needed = trainings_needed(spread, options.difference, images)
        mark = "  (as now)" * (images == now)
        rows.append([str(images), f"{needed or f'more than {MOST_TRAININGS}'}{mark}"])
    say("\n".join(in_columns(rows)))
    trained = min(len(recipe.seeds) for recipe in repeated)
    chance = power(spread, options.difference, trained, max(now, FEWEST))
    note = (
        f"with {counted(trained, 'seed')} and {counted(now, 'image')} as now the chance is {chance:.0%}; "
        "the spread is itself an estimate, so plan for some more"
    )
    say("\n".join(["", *wrapped(note)]))
