"""The settings of finished runs, read fast: what each was told, and in what several differ."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from unet_exp.config import yaml_files
from unet_exp.config.may_change import MAY_CHANGE
from unet_exp.config.saved import flat, renamed
from unet_exp.config.schema import LABELS
from unet_exp.config.whole import YAML, complete, resolved
from unet_exp.errors import CheckpointError
from unet_exp.rundir import layout

BLOCK = re.compile(r"^(?=[A-Za-z_])", re.MULTILINE)  # where a key of the first level begins
SHARED = re.compile(r"[&*][A-Za-z]|^[ -]*[&*]", re.MULTILINE)  # perhaps an anchor: one block names another
REPEATED = ("seed", "data.fold")  # what repeats a recipe
# What resume= may change and yet decides the weights or the scores.
OF_THE_RECIPE = (
    "epochs",
    "trainer.early_stop",
    "trainer.max_minutes",
    "trainer.choose_threshold",
    "trainer.learn_borders",
)
OF_THE_MACHINE = ("threads", "trainer.devices", "trainer.fused", "trainer.channels_last")
ASIDE = {key for key in MAY_CHANGE if key not in OF_THE_RECIPE} | {*OF_THE_MACHINE, *LABELS, *REPEATED}


@dataclass
class Reader:
    """Reads configs; a block of YAML that many of them share is parsed once."""

    blocks: dict[str, dict[str, Any]] = field(default_factory=dict)
    written: dict[str, dict[str, Any]] = field(default_factory=dict)  # of each block, by dotted keys

    def values(self, path: Path, only: tuple[str, ...] = ()) -> dict[str, Any]:
        """The nested values of a YAML file, or those of some keys of the first level.

        Raises CheckpointError for a damaged file.
        """
        blocks = self.read_blocks(path, only)
        return {key: value for block in blocks for key, value in self.blocks[block].items()}

    def read_blocks(self, path: Path, only: tuple[str, ...] = ()) -> list[str]:
        """The blocks of a file, parsed. Raises CheckpointError for a damaged file."""
        try:
            text = path.read_text(encoding="utf-8")
            shared = ("&" in text or "*" in text) and SHARED.search(text)
            blocks = [text] if shared else BLOCK.split(text)
            blocks = [block for block in blocks if shared or not only or block.startswith(only)]
            self.parse([block for block in dict.fromkeys(blocks) if block not in self.blocks])
        except Exception as error:  # damaged YAML raises many kinds
            raise CheckpointError(yaml_files.fault(path, error)) from error
        return blocks

    def as_written(self, run_dir: Path) -> dict[str, Any]:
        """As settings, in a tenth of the time: keys that came since the run are not filled in."""
        values: dict[str, Any] = {}
        for block in self.read_blocks(saved_config(run_dir)):
            if block not in self.written:
                of_block = flat({k: v for k, v in self.blocks[block].items() if k != "hydra"})
                self.written[block] = {k: v for k, v in of_block.items() if not is_reference(v)}
            values |= self.written[block]
        return values

    def parse(self, blocks: list[str]) -> None:
        """Parse blocks of one key each, all at once, which costs less than one by one."""
        together = yaml.load("".join(blocks), YAML) or {}
        if len(together) == len(blocks):
            pairs = zip(blocks, together.items(), strict=True)
            self.blocks |= {block: {key: value} for block, (key, value) in pairs}
        else:  # a remark at the beginning, or a key that comes twice
            self.blocks |= {block: yaml.load(block, YAML) or {} for block in blocks}

    def settings(self, run_dir: Path) -> dict[str, Any]:
        """Every setting of a run by its dotted key, as it was composed, with today's defaults for later keys.

        A key that only follows another one, such as optimizer.lr, is left out, but for those of the data,
        which say what the images are. The labels are those of its last start. Raises CheckpointError for what
        is no run.
        """
        path = saved_config(run_dir)
        values = self.values(path)
        values.pop("hydra", None)
        try:
            following = {key for key, value in flat(values).items() if is_reference(value)}
            full = flat(complete(renamed(resolved(values))))
            for key in following:
                if not key.startswith("data."):
                    full.pop(key, None)
            return full | self.labels(run_dir)
        except (AttributeError, KeyError, TypeError) as error:
            raise CheckpointError(f"{path} is not the configuration of a run") from error

    def decided(self, run_dir: Path) -> dict[str, Any]:
        """The precision, as the last start of a run had it: what a run that repeats it is told. Nothing for a
        run that never started."""
        path = run_dir / layout.RESOLVED_CONFIG
        trainer = self.values(path, only=("trainer:",)).get("trainer", {}) if path.exists() else {}
        return {f"trainer.{key}": trainer[key] for key in ("precision",) if key in trainer}

    def labels(self, run_dir: Path) -> dict[str, Any]:
        """name, notes and tags of a run, as its last start had them."""
        path = run_dir / layout.RESOLVED_CONFIG
        values = self.values(path if path.exists() else run_dir / layout.SAVED_CONFIG, only=LABELS)
        return {key: unescaped(values.get(key)) for key in LABELS}


def saved_config(run_dir: Path) -> Path:
    """Raises CheckpointError for what is no run."""
    path = run_dir / layout.SAVED_CONFIG
    if not path.exists():
        raise CheckpointError(
            f"{run_dir} is not a run directory: {path} is missing",
            allowed="a directory that a run made, such as outputs/DATE/TIME",
            do="python run.py task=list",
        )
    return path


def is_reference(value: Any) -> bool:
    return isinstance(value, str) and value.startswith("${") and value.endswith("}")


def unescaped(value: Any) -> Any:
    """A label as it was typed: `${` is escaped in YAML."""
    if isinstance(value, list):
        return [unescaped(one) for one in value]
    return value.replace(r"\${", "${") if isinstance(value, str) else value


def recipe_of(settings: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """What decides a network but chance: all settings without the seed, the fold, the machine, labels, and
    what only shows or stores."""
    return tuple((key, repr(value)) for key, value in sorted(settings.items()) if key not in ASIDE)


def differing(many: Sequence[Mapping[str, Any]], aside: bool = False, lacking: bool = True) -> list[str]:
    """The keys in which several settings differ; those of ASIDE only on demand, labels never.

    lacking: whether settings that lack a key, such as a transform step that was left out, differ by that;
    else they lack it because they are older.
    """
    keys = dict.fromkeys(key for settings in many for key in settings)

    def values(key: str) -> set[str]:
        return {repr(settings.get(key)) for settings in many if lacking or key in settings}

    return [key for key in keys if key not in LABELS and (aside or key not in ASIDE) and len(values(key)) > 1]


def most_common(many: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> dict[str, Any]:
    """Of each key the value that most settings have, of those that have the key."""
    common = {}
    for key in keys:
        values = {repr(settings[key]): settings[key] for settings in many if key in settings}
        counts = Counter(repr(settings[key]) for settings in many if key in settings)
        common[key] = values[counts.most_common(1)[0][0]]
    return common


def shortest_names(keys: Sequence[str]) -> dict[str, str]:
    """Each dotted key with the shortest ending that only it has: optimizer.lr and lr, depth of
    model.depth."""
    names = {}
    for key in keys:
        words = key.split(".")
        endings = [".".join(words[at:]) for at in range(len(words) - 1, -1, -1)]
        names[key] = next((e for e in endings if sum(k == e or k.endswith(f".{e}") for k in keys) == 1), key)
    return names
