"""The tables in docs/configs.md, made from the schema and conf/: python docs/knobs.py rewrites them."""

import dataclasses
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from unet_exp.config import components, schema, task_schema

ROOT = Path(__file__).resolve().parent.parent
CONF = ROOT / "conf"
PAGE = ROOT / "docs" / "configs.md"
MARKS = [("<!-- knobs -->", "<!-- /knobs -->"), ("<!-- tasks -->", "<!-- /tasks -->")]
GROUPS = {
    "model": "the network",
    "data": "the data",
    "transform": "what happens to each sample; transform.train.flip=null leaves a transform out",
    "loss": "what is minimised",
    "optimizer": "of torch; its arguments: python run.py --cfg job -p optimizer",
    "scheduler": "of torch; scheduler.interval is step or epoch",
    "trainer": "how the loop runs",
    "experiment": "a recipe, which wins over the groups above",
}
CROP = "transform.train.crop."
# The title of a table ("": the table goes on), what is typed before a field's name, the class of the field,
# the group whose files may set it, a remark.
SECTIONS: list[tuple[str, str, type, str, str]] = [
    ("Network", "model.", components.UNetConfig, "model", ""),
    ("Data", "data.", schema.DataConfig, "data", ""),
    ("", "data.split.", schema.SplitConfig, "data", ""),
    ("Training", "trainer.", schema.TrainerConfig, "trainer", ""),
    ("Transforms", "transform.", components.NormalizationConfig, "transform", ""),
    ("`transform=crop`", CROP, components.RandomCropConfig, "transform", ""),
    ("`transform=strong` and `unet2015`", CROP, components.RandomWarpConfig, "transform", ""),
    ("", "transform.train.gamma.", components.RandomGammaConfig, "transform", ""),
    ("", "transform.train.brightness.", components.RandomBrightnessConfig, "transform", ""),
    ("", "transform.train.contrast.", components.RandomContrastConfig, "transform", ""),
    ("", "transform.train.noise.", components.RandomNoiseConfig, "transform", ""),
    ("", "transform.train.blur.", components.RandomBlurConfig, "transform", ""),
    ("", "transform.train.low_resolution.", components.RandomLowResolutionConfig, "transform", ""),
    ("Loss", "loss.", components.CrossEntropyLossConfig, "loss", "ce, ce_dice, cross_entropy: "),
    ("", "loss.", components.CELossConfig, "loss", "ce, ce_dice: "),
    ("", "loss.", components.DiceLossConfig, "loss", "dice, ce_dice: "),
    ("", "loss.", components.CEDiceLossConfig, "loss", "ce_dice: "),
]
COLUMN = 40  # where the meanings begin
WIDTH = 110


def table() -> str:
    """A block of lines under a title for each section: every knob as it is typed on the command line."""
    return "\n\n".join(f"### {title}\n\n{block(rows)}" for title, rows in sections())


def block(rows: list[tuple[str, str]]) -> str:
    """Settings on the left, meanings on the right, as a code block."""
    lines: list[str] = []
    for setting, text in rows:
        right = textwrap.wrap(text, WIDTH - COLUMN, break_long_words=False, break_on_hyphens=False) or [""]
        if len(setting) > COLUMN - 2:
            lines.append(setting)
            setting = ""
        for part in right:
            lines.append(f"{setting:<{COLUMN}}{part}".rstrip())
            setting = ""
    return "\n".join(["```text", *lines, "```"])


def sections() -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """The title and the rows of each section."""
    yield "Run and groups", list(top_rows())
    title, rows = "", list[tuple[str, str]]()
    for next_title, prefix, section, group, remark in SECTIONS:
        if next_title and rows:
            yield title, rows
            rows = []
        title = next_title or title
        rows += section_rows(prefix, section, group, remark)
    yield title, rows


def top_rows() -> Iterator[tuple[str, str]]:
    """The knobs of conf/config.yaml, then the groups with their options."""
    top = load(CONF / "config.yaml")
    for field in dataclasses.fields(schema.Config):
        if field.name in top:
            yield typed(field.name, top[field.name], field), meaning(field)
        elif field.name in schema.LABELS:
            yield f"{field.name}={'[]' if field.name == 'tags' else 'null'}", meaning(field)
    defaults = OmegaConf.to_container(top.defaults)
    assert isinstance(defaults, list)
    chosen = {group: name for entry in defaults if isinstance(entry, dict) for group, name in entry.items()}
    for group, text in GROUPS.items():
        options = ", ".join(sorted(path.stem for path in (CONF / group).glob("*.yaml")))
        yield f"{group}={word(chosen[group])}", f"{text} ({options})"


def section_rows(prefix: str, section: type, group: str, remark: str) -> Iterator[tuple[str, str]]:
    """A knob as it is typed, its meaning. Fields of a class that this one builds on are left out.

    A probability of being applied follows the meaning of the knob before it.
    """
    before: tuple[str, str] | None = None
    for field in dataclasses.fields(section):
        inherited = field.name not in vars(section)["__annotations__"]
        if inherited or field.name.startswith("_") or dataclasses.is_dataclass(field.type):
            continue
        if meaning(field).startswith("as in loss="):
            continue
        default, others = defaults_of(prefix + field.name, field, group, section)
        if before and meaning(field) == "of being applied":
            yield before[0], f"{before[1]}; .probability={word(default)}{in_brackets(others)}"
            before = None
            continue
        if before:
            yield before
        before = (
            typed(prefix + field.name, default, field),
            f"{remark}{meaning(field)}{in_brackets(others)}",
        )
    if before:
        yield before


def typed(name: str, default: Any, field: "dataclasses.Field[Any]") -> str:
    """A knob as it is typed; * marks what `resume=` may change."""
    return f"{name}={word(default)}" + (" *" if field.metadata.get("on_resume") == schema.MAY_CHANGE else "")


def task_table() -> str:
    """The keys of each task=NAME; tasks that share a key with its default and meaning share its row."""
    tasks: dict[tuple[str, str], list[str]] = {}
    for task, section in (task_schema.TASK_SCHEMAS | task_schema.BESIDE_TRAINING).items():
        for field in dataclasses.fields(section):
            name, shown = field.name, field
            if dataclasses.is_dataclass(field.type):  # data.root, model.weights
                shown = dataclasses.fields(field.type)[0]
                name = f"{field.name}.{shown.name}"
            text = f"{name}=..." if shown.default == "???" else f"{name}={word(shown.default)}"
            tasks.setdefault((text, meaning(shown)), []).append(task)
    groups: dict[str, list[tuple[str, str]]] = {}
    for row, names in tasks.items():
        groups.setdefault(", ".join(names), []).append(row)
    lines: list[tuple[str, str]] = []
    for title, rows in groups.items():
        lines += [(f"{title}:", ""), *((f"  {text}", about) for text, about in rows)]
    return block(lines)


def defaults_of(
    name: str, field: "dataclasses.Field[Any]", group: str, section: type
) -> tuple[Any, dict[str, list[str]]]:
    """The default, and which options of the group set which other value (of data: see conf/data)."""
    factory = field.default_factory
    default = field.default if factory is dataclasses.MISSING else factory()
    place = name.removeprefix(f"{group}.")
    step = place.rpartition(".")[0]  # of transform.train: two classes have transform.train.crop
    given: dict[str, Any] = {}
    for path in sorted((CONF / group).glob("*.yaml")):
        options = load(path)
        value = OmegaConf.select(options, place)
        if value is None or value == default:
            continue
        if not step or OmegaConf.select(options, f"{step}._target_") in (None, vars(section).get("_target_")):
            given[path.stem] = value
    if default == "???":  # every option that has this knob gives it
        default = next(iter(given.values()))
        given = {option: value for option, value in given.items() if value != default}
    others: dict[str, list[str]] = {}
    for option, value in given.items():
        others.setdefault(word(value), []).append(option)
    return default, others if group != "data" else {}


def in_brackets(others: dict[str, list[str]]) -> str:
    if not others:
        return ""
    texts = [f"{', '.join(names)}: {value}" for value, names in others.items()]
    return f" [{'; '.join(texts)}]"


def meaning(field: "dataclasses.Field[Any]") -> str:
    """The field's help, and its choices or its range, but for what goes without saying: counts, sizes."""
    rules = field.metadata
    text = str(rules["help"])
    choices = [word(choice) for choice in rules.get("choices", ())]
    if any(choice not in text for choice in choices):
        return f"{text} ({', '.join(choices)})"
    if rules.get("maximum", 1) != 1 or ("above" in rules and "maximum" in rules):
        return f"{text}; {word(rules.get('minimum', 'above 0'))} to {word(rules['maximum'])}"
    if "below" in rules:
        return f"{text}; below {word(rules['below'])}"
    if rules.get("minimum", 0) > 1:
        return f"{text}; from {word(rules['minimum'])}"
    return text


def word(value: Any) -> str:
    """A value as it is typed on the command line."""
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if OmegaConf.is_list(value) or isinstance(value, list):
        return f"[{','.join(map(word, value))}]"
    return str(value)


def load(path: Path) -> DictConfig:
    """An option of conf/, with the classes of the schemas that it builds on."""
    config = OmegaConf.load(path)
    assert isinstance(config, DictConfig), path
    for target in components.COMPONENTS:
        start = f"/{target.rpartition('.')[2]}_schema@"
        for entry in config.get("defaults", []):
            if str(entry).startswith(start) and not str(entry).endswith("_here_"):
                OmegaConf.update(config, f"{str(entry).removeprefix(start)}._target_", target)
    return config


def main() -> None:
    """Put the tables between the marker lines of docs/configs.md."""
    text = PAGE.read_text(encoding="utf-8")
    for (begin, end), content in zip(MARKS, (table(), task_table()), strict=True):
        before, _, rest = text.partition(begin)
        _, _, after = rest.partition(end)
        text = f"{before}{begin}\n{content}\n{end}{after}"
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
