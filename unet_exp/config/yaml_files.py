"""Report a fault of a YAML file in one line with its line number, and keep names as they were written."""

import sys
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

NAMES = (("classes",), ("label_map",), ("split", "train"), ("split", "val"), ("split", "test"))  # of data


def check_and_name(path: Path, config: DictConfig, of_data: bool) -> None:
    """Check a file that was read into this config, and give the config its names as they are written.

    of_data: whether it is a file of data/. Raises MarkedYAMLError, ValueError.
    """
    root = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    check_nodes(root)
    if wrong := shape_fault(path, OmegaConf.to_container(config, resolve=False)):
        sys.exit(f"error: {wrong}")
    for key, names in names_as_written(root, of_data).items():
        node = OmegaConf.select(config, key)
        mapped = dict(zip(node, names, strict=True)) if isinstance(node, DictConfig) else names
        OmegaConf.update(config, key, mapped, merge=False)


def fault(path: Path, error: Exception) -> str:
    """Why reading a YAML file raised this error: the file, the line, and what to do."""
    if isinstance(error, UnicodeDecodeError):
        content = path.read_bytes()
        if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
            return f"{path} is UTF-16; save it as UTF-8"
        number = next((n for n, line in enumerate(content.splitlines(), 1) if not is_utf8(line)), 1)
        return f"{path} line {number}: not UTF-8; save the file as UTF-8"
    if isinstance(error, OSError):
        return f"{path} can't be read: {error.strerror or error}"
    if isinstance(error, yaml.reader.ReaderError):
        line = path.read_text(encoding="utf-8", errors="replace")[: error.position].count("\n") + 1
        return (
            f"{path} line {line}: a character that YAML does not allow (number {ord(str(error.character))})"
        )
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if not isinstance(error, yaml.MarkedYAMLError) or mark is None:
        return f"{path} can't be read: {(str(error).splitlines() or ['damaged'])[0]}"
    problem = str(error.problem or error.context)
    return f"{path} line {mark.line + 1}: {problem}{advice(problem, line_of(mark, path))}"


def is_utf8(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


def line_of(mark: yaml.Mark, path: Path) -> str:
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return lines[mark.line] if mark.line < len(lines) else ""


def advice(problem: str, line: str) -> str:
    """What helps against a fault, by the words of the yaml package."""
    if "\t" in line[: len(line) - len(line.lstrip())] or "'\\t'" in problem:
        return "; indent with spaces, YAML takes no tabs"
    if problem.startswith("found duplicate key"):
        return "; keep one of the two"
    if "unknown escape character" in problem:
        return "; put a path into single quotes"
    if "mapping values are not allowed here" in problem:
        return "; keys of one level start in one column, and a value with ': ' in it needs quotes"
    if "cannot start any token" in problem:
        return "; put the value into quotes"
    if problem == "but found another document":
        return "; a file holds one: remove the line ---"
    if "expected <block end>" in problem:
        return "; keys of one level start in one column"
    return ""


def shape_fault(path: Path, content: Any) -> str | None:
    """Why the content of a settings file is not a mapping of keys, or None."""
    if isinstance(content, list):
        return f"{path} line {first_line(path)}: a list, where lines of KEY: VALUE are expected"
    if not isinstance(content, dict):
        return None
    defaults = content.get("defaults", [])
    if not isinstance(defaults, list):
        return f"{path}: defaults is {defaults!r}, and has to be a list: defaults: [{defaults}]"
    return None


def first_line(path: Path) -> int:
    """The number of the first line that is not blank or a comment."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return next(
        (n for n, line in enumerate(lines, 1) if line.strip() and not line.lstrip().startswith(("#", "---"))),
        1,
    )


def check_nodes(root: Any) -> None:
    """Raises MarkedYAMLError for a lone word, and for a number that is a key twice, which OmegaConf takes."""
    if isinstance(root, yaml.ScalarNode) and root.tag != "tag:yaml.org,2002:null":
        word = f"{root.value!r} alone, where lines of KEY: VALUE are expected"
        raise yaml.MarkedYAMLError(problem=word, problem_mark=root.start_mark)
    nodes = [root]
    seen = set()
    while nodes:
        node = nodes.pop()
        if id(node) in seen or not isinstance(node, yaml.CollectionNode):
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            nodes += node.value
            continue
        keys = set()
        for key, value in node.value:
            if (key.tag, str(key.value)) in keys:
                word = f"found duplicate key {key.value}"
                raise yaml.MarkedYAMLError(problem=word, problem_mark=key.start_mark)
            keys.add((key.tag, str(key.value)))
            nodes.append(value)


def load_sweep(path: Path) -> Any:
    """A file of multirun_sweeps/, the names of its points as written: on, off and 010 too."""
    sweep = OmegaConf.load(path)
    root = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    check_nodes(root)
    written = child(child(child(root, "hydra"), "sweeper"), "points")
    if isinstance(written, yaml.MappingNode):
        points = OmegaConf.select(sweep, "hydra.sweeper.points")
        names = [key.value for key, _ in written.value]
        OmegaConf.update(
            sweep, "hydra.sweeper.points", dict(zip(names, points.values(), strict=True)), merge=False
        )
    return sweep


def names_as_written(root: Any, of_data: bool) -> dict[str, Any]:
    """Dotted keys of class and sample names in a YAML file (root: its node), with the names as they stand.

    To YAML 1.1 no, yes, on and off are false and true, 010 is 8 and 1_0 is 10; the names of classes
    (data.classes, values of data.label_map) and of samples (data.split.train, val, test) are none of that.
    of_data: whether the file is one of data/, whose keys lack the "data.".
    """
    section = root if of_data else child(root, "data")
    written = {}
    for keys in NAMES:
        node = section
        for key in keys:
            node = child(node, key)
        if isinstance(node, yaml.SequenceNode):
            entries = node.value
        elif isinstance(node, yaml.MappingNode) and keys == ("label_map",):
            entries = [value for _, value in node.value]
        else:
            continue
        if all(isinstance(entry, yaml.ScalarNode) for entry in entries):
            written[".".join(keys if of_data else ("data", *keys))] = [entry.value for entry in entries]
    return written


def child(node: Any, key: str) -> Any:
    """The value of a key of a YAML mapping, None if absent."""
    pairs = node.value if isinstance(node, yaml.MappingNode) else []
    return next((value for name, value in pairs if name.value == key), None)


_texts: dict[str, str] = {}


def yaml_text(values: dict[str, Any]) -> str:
    """OmegaConf.to_yaml of plain values, references kept; parts that came before are not written out again.

    Blocks are those of the first level, of hydra's node those of the second.
    """
    blocks = []
    for key, value in values.items():
        if key == "hydra" and isinstance(value, dict) and value:
            inner = [_block({key: {name: one}}).partition("\n")[2] for name, one in value.items()]
            blocks.append("".join([f"{key}:\n", *inner]))
        else:
            blocks.append(_block({key: value}))
    return "".join(blocks)


def _block(values: dict[str, Any]) -> str:
    known = repr(values)
    if known not in _texts:
        _texts[known] = OmegaConf.to_yaml(OmegaConf.create(values))
    return _texts[known]
