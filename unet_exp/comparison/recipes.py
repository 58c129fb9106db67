"""Finished runs as recipes: those that differ in their seed or fold alone are repeats of one recipe."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from unet_exp.comparison.image_scores import (
    ImageTable,
    chosen_by_others,
    column,
    groups_of,
    mean_of,
    read_images,
    was_chosen,
)
from unet_exp.comparison.settings import Reader, differing, recipe_of, shortest_names
from unet_exp.config.schema import SYNTHETIC
from unet_exp.errors import CheckpointError, ConfigError, did_you_mean
from unet_exp.messages import counted, shortened, shown_path
from unet_exp.rundir import atomic, layout
from unet_exp.rundir.fingerprint import WEIGHTS
from unet_exp.rundir.sweep_directory import POINT, RECORD, by_number, read_job

MOST_WORDS = 3  # settings in the label of a recipe
FILES = ("model.weights", "data.csv", "data.root")  # where a recipe may differ that has no other setting
OF_THE_IMAGES = ("data.kind", "data.seed", "data.size")  # of generated images, which have no files


@dataclass(frozen=True)
class Run:
    """A run with its settings and the scores of its images."""

    directory: Path
    settings: dict[str, Any]
    table: ImageTable

    @property
    def repeat(self) -> tuple[Any, Any]:
        """What tells it from the other runs of its recipe: seed and fold."""
        folds = self.settings.get("data.folds")
        return self.settings.get("seed"), self.settings.get("data.fold") if folds else None


@dataclass(frozen=True)
class Recipe:
    """label: what it has that the others have not. runs: its trainings."""

    label: str
    runs: list[Run]

    @property
    def seeds(self) -> list[Any]:
        return list(dict.fromkeys(run.repeat[0] for run in self.runs))

    @property
    def folds(self) -> list[Any]:
        return [fold for fold in dict.fromkeys(run.repeat[1] for run in self.runs) if fold is not None]


@dataclass(frozen=True)
class Scored:
    """Recipes on the same images.

    values: float trainings x images of each recipe; with folds a training is one network per fold. names,
    groups: of the images; with one seed and several folds a group is a fold, whose images share a network.
    corrected: whether the scores are those of epochs that other images chose; if not, optimistic says that
    a best epoch was chosen on these very images. left_out: images that some run did not score.
    """

    score: str
    split: str
    recipes: list[Recipe]
    values: list[np.ndarray]
    names: list[str]
    groups: list[str]
    corrected: bool
    optimistic: bool
    left_out: int
    by_fold: bool


def read_runs(run_dirs: Sequence[Path], split: str, tta: bool) -> list[Run]:
    """Raises CheckpointError for the first that is no run, or has no scores of this split."""
    reader = Reader()
    return [
        Run(path, reader.settings(path) | reader.decided(path), read_images(path, split, tta))
        for path in run_dirs
    ]


def as_recipes(runs: Sequence[Run]) -> tuple[list[Recipe], list[str]]:
    """The recipes in the order of their first run, and lines on runs that count once. Runs that are all
    repeats of one recipe are compared as recipes of their own."""
    of_recipe: dict[Any, list[Run]] = {}
    for run in runs:
        of_recipe.setdefault((recipe_of(run.settings), content_of(run)), []).append(run)
    if len(of_recipe) == 1 and len(runs) > 1 and not any(run.repeat[1] is not None for run in runs):
        alone = [Recipe(f"seed={run.settings.get('seed')}", [run]) for run in runs]
        labels = [recipe.label for recipe in alone]
        if len(set(labels)) < len(labels):
            alone = [Recipe(shown_path(run.directory), [run]) for run in runs]
        return alone, []
    lines = []
    groups = []
    for members in of_recipe.values():
        once: dict[Any, Run] = {}
        for run in members:
            if run.repeat in once:
                before = once[run.repeat].directory
                lines.append(
                    f"{shown_path(run.directory)} has recipe and seed of {shown_path(before)}: left out"
                )
            else:
                once[run.repeat] = run
        groups.append(list(once.values()))
    return [Recipe(label, group) for label, group in zip(labels_of(groups), groups, strict=True)], lines


def labels_of(groups: Sequence[Sequence[Run]]) -> list[str]:
    """What to call each recipe: the name that its runs have and no other recipe's, or that of its point in a
    sweep, else what it has differently, such as lr=0.001; with its directory where that is not enough."""
    settings = [group[0].settings for group in groups]
    keys = differing(settings)
    names = shortest_names(keys)
    labels = []
    called = [{name_of(run) for run in group} for group in groups]
    for group, own in zip(groups, called, strict=True):
        name = next(iter(own)) if len(own) == 1 and sum(own <= other for other in called) == 1 else None
        words = [f"{names[key]}={short_value(group[0].settings.get(key))}" for key in keys]
        more = f" and {counted(len(words) - MOST_WORDS, 'more setting')}" if len(words) > MOST_WORDS else ""
        label = ", ".join(words[:MOST_WORDS]) + more
        labels.append(label if name is None else name)
    if len(set(labels)) == len(labels):
        return labels
    files = [key for key in FILES if len({one.get(key) for one in settings}) > 1]
    named = [
        ", ".join([*filter(None, [label]), *(f"{key}={one.get(key)}" for key in files)])
        for label, one in zip(labels, settings, strict=True)
    ]
    if len(set(named)) == len(named):
        return named
    return [
        f"{label} ({shown_path(group[0].directory)})" for label, group in zip(labels, groups, strict=True)
    ]


def content_of(run: Run) -> frozenset[tuple[str, str]]:
    """What a run learnt from, wherever it lies: names and hashes of its training and validation files, which
    all folds share, and of the weights that it began from. Nothing for runs that kept no hashes."""
    files = fingerprint_of(run).items()
    return frozenset(
        (WEIGHTS if name.startswith(WEIGHTS) else name.partition("/")[2], facts.get("sha256", ""))
        for name, facts in files
    )


def fingerprint_of(run: Run) -> dict[str, Any]:
    """What a run read: size and hash of each file, by part and name."""
    path = run.directory / layout.FINGERPRINT
    return dict(atomic.read_json(path).get("files", {})) if path.exists() else {}


def name_of(run: Run) -> str | None:
    """The name of a run, or of its point in a sweep."""
    name = run.settings.get("name")
    record = run.directory / RECORD
    if name is None and record.exists():
        name = read_job(run.directory).overrides.get(POINT)
    return None if name is None else str(name)


def short_value(value: Any) -> str:
    """null for None; of a class its name alone."""
    return "null" if value is None else str(value).rpartition(".")[2] if is_target(value) else str(value)


def is_target(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[a-z_]+(\.\w+)+", value) is not None


def refuse_other_images(runs: Sequence[Run]) -> None:
    """Raises CheckpointError where an image of one name is another image in two runs."""
    known: dict[str, tuple[str, Path]] = {}
    for run in runs:
        origin = origin_of_images(run)
        if origin != origin_of_images(runs[0]):
            raise other_images(run.directory, runs[0].directory, "their images")
        for name, facts in fingerprint_of(run).items():
            part, _, rest = name.partition("/")
            if part in ("train", "val") and facts.get("sha256"):
                before = known.setdefault(rest, (facts["sha256"], run.directory))
                if before[0] != facts["sha256"]:
                    raise other_images(run.directory, before[1], f"the content of {rest}")


def origin_of_images(run: Run) -> tuple[Any, ...]:
    """What generated images are made from; the same for all files, which their content tells apart."""
    generated = run.settings.get("data.kind") in SYNTHETIC
    return tuple(run.settings.get(key) for key in OF_THE_IMAGES) if generated else ("files",)


def other_images(run_dir: Path, other: Path, what: str) -> CheckpointError:
    return CheckpointError(
        f"{shown_path(run_dir)} and {shown_path(other)} differ in {what}, so their scores can't be paired",
        do="compare runs on the same images and labels",
    )


def scored(recipes: Sequence[Recipe], score: str, split: str) -> Scored:
    """The recipes on the images that all of them scored. Raises CheckpointError where there is none or where
    an image is not the same in two runs, and ConfigError for a score that some run does not have."""
    runs = [run for recipe in recipes for run in recipe.runs]
    refuse_other_images(runs)
    lacking = [run for run in runs if score not in run.table.scores]
    if lacking:
        names = lacking[0].table.scores
        raise ConfigError(
            f"{shown_path(lacking[0].table.source)} has no score {score}{did_you_mean(score, names)}",
            allowed=shortened(names, 12),
        )
    chosen = split == "val" and any(was_chosen(run.directory, run.settings) for run in runs)
    columns = [chosen_by_others(run.directory, run.table, run.settings, score) for run in runs]
    corrected = chosen and all(values is not None for values in columns)
    plain = [column(run.table, score) for run in runs]
    by_run = dict(
        zip(
            (run.directory for run in runs),
            [values for values in columns if values is not None] if corrected else plain,
            strict=True,
        )
    )
    trainings = [of_trainings(recipe, by_run) for recipe in recipes]
    every = [values for of_recipe in trainings for values in of_recipe]
    shared = [name for name in every[0] if all(name in values for values in every)]
    names = [name for name in shared if not any(np.isnan(values[name]) for values in every)]
    if shared and not names:
        raise CheckpointError(f"each of the {counted(len(shared), 'image')} lacks {score} in some run")
    if not shared:
        raise no_image(every, runs[0].directory, split)
    names.sort(key=by_number)
    by_fold = all(len(recipe.seeds) == 1 and len(recipe.folds) > 1 for recipe in recipes)
    groups: dict[str, str] = {}
    for run in runs:
        of_run = groups_of(run.table)
        groups |= dict.fromkeys(of_run, f"fold {run.repeat[1]}") if by_fold else of_run
    return Scored(
        score=score,
        split=split,
        recipes=list(recipes),
        values=[np.array([[values[n] for n in names] for values in of_recipe]) for of_recipe in trainings],
        names=names,
        groups=independent([groups[name] for name in names], names),
        corrected=corrected,
        optimistic=chosen and not corrected,
        left_out=len({name for values in every for name in values}) - len(names),
        by_fold=by_fold,
    )


def no_image(every: Sequence[Mapping[str, float]], run_dir: Path, split: str) -> CheckpointError:
    """Where no image is in all of these."""
    other = next(values for values in every if not values.keys() >= every[0].keys())
    return CheckpointError(
        f"these runs have no {split} image in common: one has {shortened(list(every[0]), 2)}, "
        f"another {shortened(list(other), 2)}",
        allowed="runs trained with the same data.split; of data.folds all folds of each",
        do="score all on the same images, then compare with split=test: "
        f"python run.py task=evaluate run={shown_path(run_dir)} split=test",
    )


def means_of(scored: Scored, score: str) -> list[np.ndarray]:
    """Of each recipe the mean of another score over the same images, one for each training, in the best
    epoch."""
    by_run = {run.directory: column(run.table, score) for recipe in scored.recipes for run in recipe.runs}
    return [
        np.array([mean_of({n: values.get(n, np.nan) for n in scored.names}) for values in of_recipe])
        for of_recipe in (of_trainings(recipe, by_run) for recipe in scored.recipes)
    ]


def of_trainings(recipe: Recipe, by_run: dict[Path, dict[str, float]]) -> list[dict[str, float]]:
    """The scores of each seed's images: of its run, or of the runs of its folds together."""
    merged: dict[Any, dict[str, float]] = {}
    for run in recipe.runs:
        merged.setdefault(run.repeat[0], {}).update(by_run[run.directory])
    return list(merged.values())


def independent(groups: list[str], names: list[str]) -> list[str]:
    """The groups, or the images where all are of one group, such as the slices of one volume."""
    return groups if len(set(groups)) > 1 else names
