"""The report of a comparison: settings, curves, scores and differences of several runs."""

import math
import statistics
from collections.abc import Sequence
from pathlib import Path

from unet_exp.comparison import differences
from unet_exp.comparison.differences import Pair, letter
from unet_exp.comparison.recipes import Scored, means_of, short_value
from unet_exp.comparison.settings import differing
from unet_exp.config.schema import LOWER_IS_BETTER
from unet_exp.messages import counted, shown_path
from unet_exp.plots.comparison import comparison_figures
from unet_exp.plots.style import as_svg
from unet_exp.report import methods
from unet_exp.report.html import bullets, drawing, page, paragraph, section, table, text
from unet_exp.report.run import number
from unet_exp.rundir import atomic

MOST_SETTINGS = 40
BOTH = (
    " The difference of means has a 95 % interval and a p value by a t test with two levels: its variance is "
    "that between trainings plus that between images less what both share, its degrees of freedom are "
    "Satterthwaite's."
)
SCOPES = {
    "images": " The difference of means has a 95 % interval and a p value by a paired t test over images; it "
    "leaves out the luck of training.",
    "trainings": " The difference of means has a 95 % interval and a p value by a t test over trainings; it "
    "says nothing of other images.",
}


def report_comparison(path: Path, scored: Scored, pairs: Sequence[Pair], scores: Sequence[str]) -> None:
    """Writes the page. scores: names of other scores to show, which all runs have."""
    letters = [letter(index) for index in range(len(scored.recipes))]
    lower = scored.score in LOWER_IS_BETTER
    verdicts = differences.verdicts(pairs, lower) if pairs else []
    curves, forest = (as_svg(figure) for figure in comparison_figures(scored, pairs))
    content = page(
        f"Comparison of {counted(len(scored.recipes), 'recipe')}",
        [
            "".join(paragraph(f"<strong>{text(one)}.</strong>", "lead") for one in verdicts),
            section("Recipes", recipes_table(scored, letters)),
            section("Settings that differ", settings_table(scored, letters)),
            section(
                "Differences",
                differences_table(scored, pairs),
                drawing(forest, f"differences of {scored.score}, each with its interval beside 0"),
                drawing(curves, "what each run monitored at its validations, a colour for each recipe"),
                bullets([text(line) for line in notes_of(scored, pairs)]),
            ),
            section("Scores", scores_table(scored, letters, scores)),
            section("Methods", paragraph(text(method_of(scored, pairs))), bullets(list(sources_of(pairs)))),
        ],
    )
    atomic.write_text(path, content)


def recipes_table(scored: Scored, letters: Sequence[str]) -> str:
    rows = [
        [name, recipe.label, len(recipe.runs), shown_path(recipe.runs[0].directory)]
        for name, recipe in zip(letters, scored.recipes, strict=True)
    ]
    return table(["", "recipe", "runs", "the first of them"], rows)


def settings_table(scored: Scored, letters: Sequence[str]) -> str:
    settings = [recipe.runs[0].settings for recipe in scored.recipes]
    rows = [[key, *(short_value(one.get(key)) for one in settings)] for key in differing(settings)]
    return table(["setting", *letters], rows[:MOST_SETTINGS])


def differences_table(scored: Scored, pairs: Sequence[Pair]) -> str:
    rows = []
    for pair in pairs:
        one = pair.difference
        p = differences.p_text(pair.p_holm if len(pairs) > 1 else one.p)
        name = f"{letter(pair.second)} - {letter(pair.first)}"
        rows.append([name, f"{one.mean:+.4f}", differences.interval_text(one), p])
    p = "p, adjusted by Holm" if len(pairs) > 1 else "p"
    return table(["", f"difference of {scored.score}", "95 % interval", p], rows)


def notes_of(scored: Scored, pairs: Sequence[Pair]) -> list[str]:
    scope = differences.scope_lines(scored, pairs) if pairs else []
    return [*scope, *differences.caution_lines(scored)]


def scores_table(scored: Scored, letters: Sequence[str], scores: Sequence[str]) -> str:
    """Mean and sd over trainings of each recipe, on the same images."""
    rows = []
    for name in scores:
        cells = []
        of_recipes = [values.mean(1) for values in scored.values] if name == scored.score else None
        for values in of_recipes or means_of(scored, name):
            known = [float(value) for value in values if not math.isnan(value)]
            mean = sum(known) / len(known) if known else math.nan
            spread = f" ± {statistics.stdev(known):.4f}" if len(known) > 1 else ""
            cells.append(number(repr(mean)) + spread)
        rows.append([name, *cells])
    caption = (
        f"Means over {counted(len(scored.names), 'image')}, mean ± sd over trainings, of the best epochs"
    )
    if scored.corrected:
        caption += f"; {scored.score} of each image in the epoch that the other images chose"
    return table(["score", *letters], rows, caption)


def method_of(scored: Scored, pairs: Sequence[Pair]) -> str:
    one = pairs[0].difference if pairs else None
    groups = "" if one is None or one.groups == one.images else f" in {one.groups} groups"
    words = (
        f"Recipes were scored by {scored.score} on the same {counted(len(scored.names), 'image')}{groups} of "
        f"the {scored.split} split, paired by image, {differences.trainings_text(scored)}."
    )
    scopes = {pair.difference.scope for pair in pairs}
    if scopes - {"none"}:
        words += SCOPES.get(next(iter(scopes)), BOTH) if len(scopes) == 1 else BOTH
    if len(pairs) > 1:
        words += " p was adjusted for several comparisons by Holm's method."
    if scored.corrected:
        words += (
            " Best epochs were chosen on these images; each image counts with its score in the epoch that "
            "the other images chose."
        )
    return words


def sources_of(pairs: Sequence[Pair]) -> list[str]:
    tested = any(pair.difference.scope != "none" for pair in pairs)
    keys = ["t", *(["Holm"] if len(pairs) > 1 else [])] if tested else []
    return [text(source) for source in methods.citations(keys)]
