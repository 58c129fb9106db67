"""Which jobs a sweep has: axes to overrides, overrides to composed, checked and frozen configs."""

import hashlib
import itertools
import json
import re
from collections.abc import Collection, Iterable
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from unet_exp.config.paths import expanded, quote_path
from unet_exp.config.saved import PLACES, read_config, without_hydra
from unet_exp.config.schema import LABELS, LOWER_IS_BETTER
from unet_exp.config.typed import literal
from unet_exp.config.whole import without_labels
from unet_exp.config.yaml_files import yaml_text
from unet_exp.errors import ConfigError, did_you_mean
from unet_exp.rundir import atomic, layout
from unet_exp.rundir.sweep_directory import POINT, RECORD, Job
from unet_exp.sweeps.composing import Composed, Composer, lookup, plain_values
from unet_exp.sweeps.known import Known, find_directory, has_text, of_earlier_start, settings_of

LONGEST = 80  # characters of a slug, beside its hash
Overrides = list[str]


@dataclass(frozen=True)
class Planned:
    """A job that is composed and checked, not yet written."""

    job: Job
    config: Composed
    overrides: Overrides
    moved: bool = False  # its files are in another place than when it began


def merged(arguments: Overrides, params: dict[str, Any], points: list[dict[str, Any]]) -> list[Overrides]:
    """The overrides to expand, a list for each point. The command line replaces axes of the sweep's file."""
    given = {key_of(argument) for argument in arguments}
    axes = [typed(key, value) for key, value in params.items() if key not in given]
    kept = [{key: value for key, value in point.items() if key not in given} for point in points]
    listed = [[typed(key, value) for key, value in point.items()] for point in kept] or [[]]
    return [[*arguments, *axes, *point] for point in listed]


def with_bases(points: dict[Any, Any]) -> list[Any]:
    """Named points, each with the keys of the earlier point that its `base` names, before its own.

    Raises ConfigError for a base that is no earlier point.
    """
    full: dict[str, Any] = {}
    for name, point in points.items():
        if isinstance(point, dict) and "base" in point:
            base = str(point["base"])
            if base not in full:
                raise ConfigError(
                    f"points: the base of {name} is {base}",
                    allowed=f"a point above it{did_you_mean(base, list(full))}",
                )
            point = full[base] | {key: value for key, value in point.items() if key != "base"}
        full[str(name)] = point
    return list(full.values())


def key_of(override: str) -> str:
    return override.partition("=")[0].lstrip("+~")


def typed(key: str, value: Any) -> str:
    """A setting of a sweep's file as on the command line, with paths such as images/{split} quoted."""
    return quote_path(f"{key}={as_text(value)}", multirun=True)


def as_text(value: Any) -> str:
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def parse(overrides: Overrides, loader: ConfigLoader) -> list[Override]:
    return OverridesParser.create(config_loader=loader).parse_overrides(overrides)


def expand(overrides: Overrides, loader: ConfigLoader) -> list[Overrides]:
    """The product of all axes: `a,b`, choice(), range(), glob(). Raises ConfigError for interval()."""
    lists = []
    for override in parse(overrides, loader):
        if not override.is_sweep_override():
            lists.append([str(override.input_line)])
        elif override.is_discrete_sweep():
            key = override.get_key_element()
            lists.append([f"{key}={value}" for value in override.sweep_string_iterator()])
        else:
            raise ConfigError(
                f"{override.input_line} is a range to search in",
                allowed="a,b or range(...) or glob(...) for a grid",
                do="interval(...) is for sweep=tune",
            )
    return [list(job) for job in itertools.product(*lists)]


def compose(
    overrides: Overrides,
    axes: list[str],
    composer: Composer,
    point: str | None = None,
    of_points: Collection[str] = (),
) -> tuple[Planned, list[str]]:
    """The job of these overrides, its directory a label only, and what is wrong with its config.

    point: the name of the point it belongs to, which stands for the keys that are set by points.
    """
    config = composer.compose(overrides)
    problems = config.problems()
    if problems:
        return Planned(Job(Path(), {}, "", "", 0), config, overrides), problems
    kept = {} if point is None else {POINT: point}
    hidden = {"sweep", *LABELS, *(of_points if point is not None else ())}
    for override in overrides:
        key, _, text = override.lstrip("+").partition("=")
        if key not in hidden and not key.startswith("hydra"):
            kept[key] = value_text(config.values, key, text)
    slug = slug_of({key: kept[key] for key in axes if key in kept})
    monitor, mode = (str(config.values["trainer"][name]) for name in ("monitor", "mode"))
    mode = mode if mode != "auto" else "min" if monitor in LOWER_IS_BETTER else "max"
    label = Path(f"{slug}-{digest(config.values)}")
    return Planned(Job(label, kept, monitor, mode, config.values["epochs"], axes), config, overrides), []


def put(planned: Planned, known: Known, frozen: str = "") -> Planned:
    """The job with its directory: the one of an earlier start, or a new one. frozen: see find_directory."""
    directory = find_directory(known, planned.job.name, values_of(planned), frozen)
    return replace(planned, job=replace(planned.job, directory=directory), moved=directory in known.moved)


def values_of(planned: Planned) -> dict[str, Any]:
    """Its config with every reference resolved."""
    return planned.config.values


def digest(values: dict[str, Any]) -> str:
    """Eight hexadecimal digits of a whole config but for its labels, to make names differ."""
    return hash_of(without_labels(values))


def hash_of(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def value_text(values: dict[str, Any], key: str, text: str) -> str:
    """A value as the config understood it, so that lr=1e-3 and lr=0.001 are one; groups by their name."""
    if "${" in text:
        return text  # a reference: its value is no choice of the sweep's
    value = lookup(values, key)
    if isinstance(value, float):
        return f"{value:g}"
    return as_text(value) if isinstance(value, (int, str)) else text


def slug_of(values: dict[str, str]) -> str:
    """A folder's name: letters, digits, '.', '_' and '-'."""
    last = [key.rpartition(".")[2] for key in values]
    names = [short if last.count(short) == 1 else key for short, key in zip(last, values, strict=True)]
    text = "_".join(f"{name}-{value}" for name, value in zip(names, values.values(), strict=True))
    return re.sub(r"([^A-Za-z0-9._]|-)+", "-", text)[:LONGEST].strip("-.") or "job"


def find_sweep(master: DictConfig, axes: list[str], planned: Iterable[Planned]) -> Known:
    """Where the jobs lie, and which are there: hydra.sweep.dir (sweep_dir=) if given, else the sweep's name,
    or its axes and a hash of what is the same for all jobs.

    The values of the axes are not in the hash, so that adding one meets the same directory. If none has the
    hash: one of these axes in which a job is one of `planned`. It was made when there were fewer knobs.
    """
    HydraConfig.instance().set_config(deepcopy(master))  # for ${hydra:...} in it
    try:
        chosen = str(master.hydra.sweep.dir)
    except OmegaConfBaseException as error:
        raise ConfigError(f"sweep_dir: {str(error).splitlines()[0]}") from error
    if chosen != "auto":
        return Known(Path(chosen).absolute())
    name = master.hydra.runtime.choices.get("sweep")
    if name is not None:
        search = master.hydra.sweeper.get("confirm")  # of sweep=confirm: beside the search
        place = Path(f"{expanded(search)}-confirm") if search else Path("multirun", str(name))
        return Known(place.absolute())
    same = hash_of([sorted(axes), digest(plain_values(without_hydra(master), resolve=True))])
    slug = re.sub(r"[^A-Za-z0-9._-]+", "-", "_".join(sorted(axes)))[:LONGEST] or "jobs"
    directory = Path("multirun", f"{slug}-{same}").absolute()
    others = [] if directory.exists() else sorted(directory.parent.glob(f"{slug}-*"))
    wanted = [settings_of(values_of(job)) for job in planned] if others else []
    for other in others:
        known = Known(other)
        if any(of_earlier_start(known, settings) for settings in wanted):
            return known
    return Known(directory)


def freeze(planned: Planned, threads: int | None) -> dict[Path, str]:
    """The files of what the job will run, unless it began already: its process reads nothing of conf/.

    Its place in the sweep is new each time: an axis may have come since. threads: its share of the cores,
    where the config leaves that open.
    """
    directory = planned.job.directory
    files: dict[Path, str] = {}
    if layout.has_started(directory):
        if planned.moved:
            files |= with_places(directory / layout.SAVED_CONFIG, planned.config.values)
    else:
        files[directory / layout.SAVED_CONFIG] = frozen_text(planned.config, threads)
        recorded = [override for override in planned.overrides if key_of(override) != "sweep"]
        files[directory / ".hydra/overrides.yaml"] = OmegaConf.to_yaml(recorded)
        files[directory / ".hydra/hydra.yaml"] = yaml_text({"hydra": planned.config.hydra})
    record = atomic.json_text(planned.job.record())
    return files if has_text(directory / RECORD, record) else files | {directory / RECORD: record}


def frozen_text(config: Composed, threads: int | None) -> str:
    """The config as it is saved, with the job's share of the cores. threads: as in freeze."""
    is_open = threads is not None and config.values["threads"] == "auto"
    return yaml_text(config.saved | {"threads": threads} if is_open else config.saved)


def with_places(path: Path, values: dict[str, Any]) -> dict[Path, str]:
    """The config of a begun job with where its files are now, if they have moved."""
    frozen = read_config(path)
    moved = {}
    for key in PLACES:
        value = lookup(values, key)
        if value is not None and value != OmegaConf.select(frozen, key):
            OmegaConf.update(frozen, key, literal(value))
            moved = {path: OmegaConf.to_yaml(frozen)}
    return moved
