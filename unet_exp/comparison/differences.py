"""Differences between recipes, with their uncertainty, as tables and as words."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from unet_exp.comparison.recipes import Recipe, Scored
from unet_exp.messages import counted, program, shown_path
from unet_exp.statistics.difference import FEWEST_IMAGES, LEVEL, Difference, difference, holm

FEWEST_FOLDS = 3  # each of them is a network of its own
CHOSEN_BY = ("v_rand", "v_info", "predict_", "object_")  # scores by a threshold or rule that a run chose


@dataclass(frozen=True)
class Pair:
    """Recipe number `second` less number `first`. p_holm: p adjusted for all pairs that are compared."""

    first: int
    second: int
    difference: Difference
    p_holm: float

    @property
    def is_clear(self) -> bool:
        """Whether the difference is more than chance, for all that is compared."""
        return self.p_holm < 1 - LEVEL


def compared(scored: Scored, pairs: Sequence[tuple[int, int]]) -> list[Pair]:
    """Each of these pairs of recipes, p adjusted for all of them."""
    fewest = FEWEST_FOLDS if scored.by_fold else FEWEST_IMAGES
    differences = [
        difference(scored.values[first], scored.values[second], scored.groups, fewest=fewest)
        for first, second in pairs
    ]
    adjusted = holm([one.p for one in differences])
    return [
        Pair(first, second, one, p)
        for (first, second), one, p in zip(pairs, differences, adjusted, strict=True)
    ]


def against_first(scored: Scored) -> list[Pair]:
    """Every other recipe less the first."""
    return compared(scored, [(0, index) for index in range(1, len(scored.recipes))])


def all_pairs(scored: Scored) -> list[Pair]:
    return compared(scored, list(combinations(range(len(scored.recipes)), 2)))


def indistinct(pairs: Sequence[Pair], best: int) -> list[int] | None:
    """The recipes that can't be told apart from the best one, itself among them; None without intervals.

    pairs: all pairs, since the best was found by comparing all.
    """
    beside = [pair for pair in pairs if best in (pair.first, pair.second)]
    if any(math.isnan(pair.p_holm) for pair in beside):
        return None
    return sorted({best} | {pair.first + pair.second - best for pair in beside if not pair.is_clear})


def row_of(scored: Scored, pair: Pair) -> dict[str, Any]:
    """A row of differences.csv."""
    one = pair.difference
    return {
        "score": scored.score,
        "split": scored.split,
        "first": scored.recipes[pair.first].label,
        "second": scored.recipes[pair.second].label,
        "mean_first": float(scored.values[pair.first].mean()),
        "mean_second": float(scored.values[pair.second].mean()),
        "difference": one.mean,
        "low": one.low,
        "high": one.high,
        "p": one.p,
        "p_holm": pair.p_holm,
        "df": one.df,
        "scope": one.scope,
        "images": one.images,
        "groups": one.groups,
        "trainings_first": len(scored.values[pair.first]),
        "trainings_second": len(scored.values[pair.second]),
        "se_trainings": one.se_trainings,
        "se_images": one.se_images,
    }


def p_text(p: float) -> str:
    if math.isnan(p):
        return "-"
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def interval_text(one: Difference) -> str:
    return "no interval" if math.isnan(one.low) else f"[{one.low:+.4f}, {one.high:+.4f}]"


def verdicts(pairs: Sequence[Pair], lower: bool) -> list[str]:
    """What the pairs show, a sentence for each finding. lower: whether a lower score is better.

    All pairs have the same first recipe.
    """
    first = letter(pairs[0].first)
    better, worse, same, nothing = list[str](), list[str](), list[str](), list[str]()
    for pair in pairs:
        finding = nothing if math.isnan(pair.p_holm) else same
        if pair.is_clear:
            finding = better if (pair.difference.mean < 0) == lower else worse
        finding.append(letter(pair.second))
    lines = [f"{joined(names)} better than {first}" for names in (better,) if names]
    lines += [f"{joined(names)} worse than {first}" for names in (worse,) if names]
    lines += [f"{first} can't be told apart from {listed(names, 'or')}" for names in (same,) if names]
    lines += [f"{first} and {listed(names, 'or')}: no verdict, see below" for names in (nothing,) if names]
    return lines


def joined(names: Sequence[str]) -> str:
    """'A is', 'A and B are', 'A, B and C are'."""
    return f"{listed(names, 'and')} {'is' if len(names) == 1 else 'are'}"


def listed(names: Sequence[str], last: str) -> str:
    """'A', 'A and B', 'A, B and C'. last: and, or."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} {last} {names[-1]}"


def letter(index: int) -> str:
    """A, B, ..., Z, A2, ..."""
    return chr(ord("A") + index % 26) + (str(index // 26 + 1) if index >= 26 else "")


def scope_lines(scored: Scored, pairs: Sequence[Pair]) -> list[str]:
    """What the intervals hold for, and what they leave out."""
    one = pairs[0].difference
    images = counted(one.images, "image")
    if scored.by_fold:
        lines = [
            f"{images} in {counted(one.groups, 'fold')}; each fold is a network, and the unit of the test"
        ]
        if one.scope == "none":
            return [*lines, f"fewer than {FEWEST_FOLDS} folds: no interval"]
        return [*lines, "the networks share training images, so the interval is somewhat too narrow"]
    groups = "" if one.groups == one.images else f" in {counted(one.groups, 'group')}"
    lines = [f"{images}{groups}, {trainings_text(scored)}"]
    scopes = {pair.difference.scope for pair in pairs}
    numbers = {len(values) for values in scored.values}
    if len(numbers) > 1 and scopes & {"both", "trainings"}:
        lines.append(
            "the recipes were trained unequally often: the interval is too narrow if the one with fewer "
            "trainings varies more; train all equally often"
        )
    if "images" in scopes:
        lines.append("one training each: the intervals leave out the luck of training")
    if "trainings" in scopes:
        lines.append(f"fewer than {FEWEST_IMAGES} independent images: nothing can be said of other images")
    if "none" in scopes:
        lines.append(
            f"one training each and fewer than {FEWEST_IMAGES} independent images: "
            "nothing can be said of other images or trainings"
        )
    return lines


def more_lines(scored: Scored, pairs: Sequence[Pair]) -> list[str]:
    """What to type for more trainings, where there is one of each."""
    if scored.by_fold or not {pair.difference.scope for pair in pairs} & {"images", "none"}:
        return []
    commands = [f"more seeds: {more_seeds(recipe)}" for recipe in scored.recipes]
    first = [shown_path(recipe.runs[0].directory) for recipe in scored.recipes]
    places = ",".join([*first, *map(of_more, scored.recipes)])
    return [*commands, f"then: {program()} task=compare runs=[{places}]"]


def trainings_text(scored: Scored) -> str:
    of_number: dict[int, list[str]] = {}
    for index, values in enumerate(scored.values):
        of_number.setdefault(len(values), []).append(letter(index))
    if len(of_number) == 1:
        return f"{counted(len(scored.values[0]), 'training')} of each recipe"
    parts = [
        f"{counted(number, 'training')} of {listed(names, 'and')}" for number, names in of_number.items()
    ]
    return ", ".join(parts)


def more_seeds(recipe: Recipe) -> str:
    """The command that trains a recipe again with four more seeds."""
    used = {int(seed) for seed in recipe.seeds}
    seeds = [str(seed) for seed in range(len(used) + 4) if seed not in used][:4]
    first = shown_path(recipe.runs[0].directory)
    return f"{program()} -m from_run={first} seed={','.join(seeds)} sweep_dir={of_more(recipe)}"


def of_more(recipe: Recipe) -> str:
    """Where they go."""
    return f"multirun/{recipe.runs[0].directory.resolve().name}-seeds"


def caution_lines(scored: Scored) -> list[str]:
    """Where the scores come from, if a best epoch was chosen on the images that are scored."""
    lines = []
    if scored.corrected:
        lines.append(
            f"{scored.score} of each image is that of the epoch which the other images chose, so that many "
            "validations give no advantage; other scores are of the best epoch"
        )
    if scored.optimistic:
        lines.append(
            "the best epoch was chosen on these images, so all scores are somewhat too good, more so the "
            "more validations a run had; task=evaluate split=test and split=test here are free of it"
        )
    if scored.split == "val" and scored.score.startswith(CHOSEN_BY):
        lines.append(
            f"each run chose the threshold or rule behind {scored.score} on these images, so all scores are "
            "somewhat too good"
        )
    if scored.left_out:
        lines.append(f"{counted(scored.left_out, 'image')} left out: some run has no {scored.score} of them")
    return lines
