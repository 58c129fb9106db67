"""The tables in docs/configs.md, made from the schema and conf/: python docs/knobs.py rewrites them."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from unet_exp.config import components, schema, task_schema

ROOT = Path(__file__).resolve().parent.parent
CONF = ROOT / "conf"
PAGE = ROOT / "docs" / "configs.md"
MARKS = [("<!-- knobs -->", "<!-- /knobs -->"), ("<!-- verbs -->", "<!-- /verbs -->")]
GROUPS = {
    "model": "the network",
    "data": "the data, [data.md](data.md)",
    "transform": "per sample; `transform.train.flip=null` leaves a step out",
    "loss": "what is minimised",
    "optimizer": "torch's own; its arguments: `python run.py --cfg job -p optimizer`",
    "scheduler": "torch's own; `scheduler.interval` is step or epoch",
    "trainer": "how the loop runs",
    "experiment": "a recipe, which wins over the groups above",
}
# What is typed before a field's name, the class of the field, the group whose files may set it, a remark.
SECTIONS: list[tuple[str, type, str, str]] = [
    ("model.", components.UNetConfig, "model", ""),
    ("data.", schema.DataConfig, "data", ""),
    ("data.split.", schema.SplitConfig, "data", ""),
    ("trainer.", schema.TrainerConfig, "trainer", ""),
    ("transform.", components.NormalizationConfig, "transform", ""),
    ("transform.train.crop.", components.RandomCropConfig, "transform", "transform=crop: "),
    ("transform.train.crop.", components.RandomWarpConfig, "transform", "transform=strong: "),
    ("transform.train.gamma.", components.RandomGammaConfig, "transform", "transform=strong: "),
    ("transform.train.brightness.", components.RandomBrightnessConfig, "transform", "transform=strong: "),
    ("transform.train.contrast.", components.RandomContrastConfig, "transform", "transform=strong: "),
    ("transform.train.noise.", components.RandomNoiseConfig, "transform", "transform=strong: "),
    ("transform.train.blur.", components.RandomBlurConfig, "transform", "transform=strong: "),
    (
        "transform.train.low_resolution.",
        components.RandomLowResolutionConfig,
        "transform",
        "transform=strong: ",
    ),
    ("loss.", components.CrossEntropyLossConfig, "loss", "loss=ce, ce_dice, cross_entropy: "),
    ("loss.", components.CELossConfig, "loss", "loss=ce, ce_dice: "),
    ("loss.", components.DiceLossConfig, "loss", "loss=dice: "),
    ("loss.", components.CEDiceLossConfig, "loss", "loss=ce_dice: "),
]


def table() -> str:
    """The markdown table, a row for every knob as it is typed on the command line."""
    lines = ["| knob | default | meaning and range |", "|---|---|---|"]
    lines += [f"| {' | '.join(escaped(cell) for cell in row)} |" for row in rows()]
    return "\n".join(lines)


def escaped(cell: str) -> str:
    """Without what markdown would take for the end of a cell or for HTML."""
    return cell.replace("|", r"\|").replace("<", r"\<")


def rows() -> Iterator[tuple[str, str, str]]:
    """A knob as it is typed, its default, its meaning; * marks what `resume=` may change."""
    top = load(CONF / "config.yaml")
    chosen = {group: name for entry in top.defaults if isinstance(entry, DictConfig)
              for group, name in entry.items()}  # fmt: skip
    for field in dataclasses.fields(schema.Config):
        if field.name in top:
            yield marked(field.name, field), code(top[field.name]), meaning(field)
    for group, text in GROUPS.items():
        options = ", ".join(sorted(path.stem for path in (CONF / group).glob("*.yaml")))
        yield f"`{group}`", code(chosen[group]), f"{text} ({options})"
    for prefix, section, group, remark in SECTIONS:
        for field in dataclasses.fields(section):
            if field.name not in vars(section)["__annotations__"]:  # said of the class it builds on
                continue
            if not field.name.startswith("_") and not dataclasses.is_dataclass(field.type):
                name = prefix + field.name
                yield marked(name, field), default_text(name, field, group), remark + meaning(field)


def marked(name: str, field: "dataclasses.Field[Any]") -> str:
    return f"`{name}`" + ("*" if field.metadata.get("on_resume") == schema.MAY_CHANGE else "")


def verb_table() -> str:
    """The keys of each task=NAME; tasks that share a key with its default and meaning share its row."""
    tasks: dict[tuple[str, str, str], list[str]] = {}
    for task, section in (task_schema.TASK_SCHEMAS | task_schema.BESIDE_TRAINING).items():
        for field in dataclasses.fields(section):
            name, shown = field.name, field
            if dataclasses.is_dataclass(field.type):  # data.root, model.weights
                shown = dataclasses.fields(field.type)[0]
                name = f"{field.name}.{shown.name}"
            default = "given" if shown.default == "???" else code(shown.default)
            tasks.setdefault((f"`{name}`", default, meaning(shown)), []).append(f"`{task}`")
    lines = ["| task | key | default | meaning and range |", "|---|---|---|---|"]
    for row, names in tasks.items():
        lines.append(f"| {' | '.join(map(escaped, (', '.join(names), *row)))} |")
    return "\n".join(lines)


def default_text(name: str, field: "dataclasses.Field[Any]", group: str) -> str:
    """The schema's default, then what named options of the group set instead (of data: see conf/data)."""
    factory = field.default_factory
    default = field.default if factory is dataclasses.MISSING else factory()
    options = {path.stem: OmegaConf.select(load(path), name.removeprefix(f"{group}."))
               for path in sorted((CONF / group).glob("*.yaml"))}  # fmt: skip
    given = {option: value for option, value in options.items() if value is not None and value != default}
    if default == "???":  # every option that has this knob gives it
        values = {code(value) for value in given.values()}
        if len(values) == 1:
            return values.pop()
        return "; ".join(f"{option}: {code(value)}" for option, value in given.items())
    shown = {value: [o for o in given if code(given[o]) == value] for value in map(code, given.values())}
    others = [f"{', '.join(names)}: {value}" for value, names in shown.items()]
    return code(default) + (f" ({'; '.join(others)})" if others and group != "data" else "")


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


def code(value: Any) -> str:
    return f"`{word(value)}`"


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
    config = OmegaConf.load(path)
    assert isinstance(config, DictConfig), path
    return config


def main() -> None:
    """Put the tables between the marker lines of docs/configs.md."""
    text = PAGE.read_text(encoding="utf-8")
    for (begin, end), content in zip(MARKS, (table(), verb_table()), strict=True):
        before, _, rest = text.partition(begin)
        _, _, after = rest.partition(end)
        text = f"{before}{begin}\n{content}\n{end}{after}"
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
