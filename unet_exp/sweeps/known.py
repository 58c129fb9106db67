"""Which directory belongs to a job: the one whose frozen config equals the job's, whatever its name.

Both are compared with today's defaults filled in, so a knob that came since a sweep was made changes nothing.
"""

import dataclasses
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from unet_exp.config import yaml_files
from unet_exp.config.saved import PLACES, place, renamed
from unet_exp.config.whole import YAML, complete, plain, resolved, without_labels
from unet_exp.errors import UserError
from unet_exp.messages import say
from unet_exp.rundir import atomic, layout
from unet_exp.rundir.fingerprint import WEIGHTS
from unet_exp.rundir.provenance import starts
from unet_exp.rundir.sweep_directory import RECORD


@dataclass(frozen=True)
class Settings:
    """What a job runs. text: every key with its default filled in, except threads and file locations."""

    text: str
    threads: Any
    places: tuple[Any, ...]


@dataclass
class Known:
    """The jobs in a sweep's directory, and those this start has used.

    met: of these their settings; None where the frozen config was the job's to the letter. moved: those whose
    files are in another place now.
    """

    directory: Path
    met: dict[Path, Settings | None] = dataclasses.field(default_factory=dict)
    moved: set[Path] = dataclasses.field(default_factory=set)

    @cached_property
    def jobs(self) -> dict[str, list[tuple[Settings, Path]]]:
        """Every job by the text of its settings. Reads each frozen config."""
        return read_jobs_by_settings(self.directory)

    def is_free(self, directory: Path, settings: Settings) -> bool:
        """Whether no other job of this start has this directory."""
        return directory not in self.met or self.met[directory] == settings


def read_jobs_by_settings(sweep_dir: Path) -> dict[str, list[tuple[Settings, Path]]]:
    """Read each frozen config of a sweep once; a damaged one belongs to no job, which is said."""
    jobs: dict[str, list[tuple[Settings, Path]]] = {}
    for path in sorted(sweep_dir.glob(f"*/{layout.SAVED_CONFIG}")):
        try:
            settings = settings_of(resolved(yaml.load(path.read_text(encoding="utf-8"), YAML)))
        except Exception as error:  # whatever YAML, or what somebody wrote into it, raises
            if layout.has_started(path.parent.parent):
                say(f"left out, its job is unknown: {yaml_files.fault(path, error)}")
            continue
        jobs.setdefault(settings.text, []).append((settings, path.parent.parent))
    return jobs


def find_directory(known: Known, label: str, values: dict[str, Any], frozen: str = "") -> Path:
    """The directory of a job: the one of an earlier start, else a new one.

    values: its resolved config. frozen: its config.yaml as it would be written now; where that is what is
    there, nothing has to be compared, nor other jobs to be read.
    """
    directory = known.directory / label
    if frozen and directory not in known.met and has_text(directory / layout.SAVED_CONFIG, frozen):
        known.met[directory] = None
        return directory
    settings = settings_of(values)
    earlier = of_earlier_start(known, settings)
    if earlier is not None:
        known.met[earlier] = settings
        return earlier
    number = 2
    while layout.has_started(directory):  # a job of this name, whose settings are others
        directory = known.directory / f"{label}-{number}"
        number += 1
    return directory


def has_text(path: Path, text: str) -> bool:
    try:
        return path.read_bytes() == text.encode(errors="backslashreplace")
    except OSError:
        return False


def of_earlier_start(known: Known, settings: Settings) -> Path | None:
    """The existing directory of the job with these settings, unless another job of this start has it."""
    for fits in (is_same, is_left_open, is_moved):
        for old, directory in known.jobs.get(settings.text, []):
            if known.is_free(directory, settings) and fits(settings, old, directory):
                if settings.places != old.places:
                    known.moved.add(directory)
                return directory
    return None


def is_same(new: Settings, old: Settings, directory: Path) -> bool:
    return (new.threads, new.places) == (old.threads, old.places)


def is_left_open(new: Settings, old: Settings, directory: Path) -> bool:
    """Whether they differ only in threads, as an earlier start shared the cores: see plan.freeze."""
    if new.threads != "auto" or new.places != old.places:
        return False
    return "threads" not in (record(directory).get("overrides") or {})


def is_moved(new: Settings, old: Settings, directory: Path) -> bool:
    """Whether it is the job on the same files in another place."""
    if new.threads != old.threads and not is_left_open(
        dataclasses.replace(new, places=old.places), old, directory
    ):
        return False
    start_dir = start_directory(directory)
    pairs = [pair for pair in zip(new.places, old.places, strict=True) if pair[0] != pair[1]]
    for now, before in pairs:
        if now is None or before is None:
            return False
        earlier = Path(place(str(before), directory, start_dir))
        if earlier.exists() and not earlier.samefile(str(now)):
            return False
    return has_files(new.places, directory)


def start_directory(directory: Path) -> str:
    try:
        return str(starts(directory)[-1]["start_dir"])
    except UserError:  # it never trained
        return "."


def has_files(places: tuple[Any, ...], directory: Path) -> bool:
    """Whether the files that a job read exist with the same size; the job itself compares their content."""
    try:
        files = atomic.read_json(directory / layout.FINGERPRINT)["files"]
    except (UserError, KeyError, TypeError):
        return not layout.has_started(directory)
    root, weights = places
    for name, facts in files.items():
        is_weights = str(name).startswith(WEIGHTS)
        path = Path(str(weights)) if is_weights else Path(str(root), str(name).partition("/")[2])
        if not path.is_file() or path.stat().st_size != facts["size"]:
            return False
    return True


def record(directory: Path) -> dict[str, Any]:
    try:
        return dict(atomic.read_json(directory / RECORD))
    except (UserError, TypeError, ValueError):
        return {}


def settings_of(values: dict[str, Any]) -> Settings:
    """values: a config without interpolations."""
    full = without_labels(complete(renamed(values)))
    threads = full.pop("threads", "auto")
    places = []
    for key in PLACES:
        group, _, name = key.partition(".")
        places.append(full[group].pop(name, None))
    return Settings(json.dumps(plain(full), sort_keys=True), threads, tuple(places))
