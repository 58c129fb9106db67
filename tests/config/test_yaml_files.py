"""YAML of one's own: faults in one line with their place, and names as they were written."""

from contextlib import nullcontext
from pathlib import Path

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from tests.conftest import Cli
from unet_exp.cli.command_line import quote_names
from unet_exp.config.saved import read_config
from unet_exp.config.yaml_files import check_nodes, fault, load_sweep, names_as_written, shape_fault
from unet_exp.errors import CheckpointError


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"root: data\n\tclasses: [a, b]\n", "line 2: .*; indent with spaces, YAML takes no tabs"),
        (b"a:\n  b: 1\n\tc: 2\n", "line 3: .*no tabs"),
        (b"root: data\nlr: 1\nroot: data\n", "line 3: found duplicate key root; keep one"),
        (b"a: 1\n  b: 2\n", "line 2: mapping values are not allowed here; keys of one level"),
        (b'root: "C:\\data"\n', "line 1: found unknown escape character 'd'; put a path into single quotes"),
        (
            b"root: @data\n",
            "line 1: found character '@' that cannot start any token; put the value into quotes",
        ),
        (b"a: [1, 2\nb: 3\n", "line 2: "),
        ("root: x\nname: fön\n".encode("latin-1"), "line 2: not UTF-8; save the file as UTF-8"),
        ("root: data\n".encode("utf-16"), "is UTF-16; save it as UTF-8"),
        (b"a: 1\nb: \x07\n", "line 2: a character that YAML does not allow"),
        (b"a: 1\nb: !!python/object:os.system x\n", "line 2: could not determine a constructor"),
    ],
)
def test_a_fault_is_one_line_with_its_place(content: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(content)
    with pytest.raises((yaml.YAMLError, UnicodeDecodeError)) as caught:
        OmegaConf.load(path)
    words = fault(path, caught.value)
    assert words.startswith(f"{path} ")
    assert "\n" not in words
    with pytest.raises(CheckpointError, match=said):
        read_config(path)  # of a saved run


def test_settings_are_keys_and_defaults_a_list(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("# mine\n\n- a\n- b\n")
    assert "line 3: a list, where lines of KEY: VALUE" in str(shape_fault(path, ["a", "b"]))
    assert "has to be a list: defaults: [x]" in str(shape_fault(path, {"defaults": "x"}))
    assert shape_fault(path, {"a": 1}) is None


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("label_map:\n  0: a\n  0: b\n", "line 3: found duplicate key 0; keep one of the two"),
        ("a: [{1.5: x, 1.5: y}]\n", "line 1: found duplicate key 1.5"),
        ("hello\n", "line 1: 'hello' alone"),
        ("a: {0: x, 1: x}\nb: {0: x}\n", None),
        ("# nothing\n", None),
        ("a: &x {0: y}\nb: *x\n", None),
    ],
)
def test_numbers_are_keys_once_too(content: str, said: str | None, tmp_path: Path) -> None:
    """As in data.label_map, where the second one would win in silence."""
    path = tmp_path / "mine.yaml"
    path.write_text(content)
    with pytest.raises(yaml.YAMLError) if said else nullcontext() as caught:
        check_nodes(yaml.compose(content, Loader=yaml.SafeLoader))
    assert caught is None or str(said) in fault(path, caught.value)


def test_points_of_a_sweep_keep_their_names(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "hydra:\n  sweeper:\n    points:\n      on: {lr: 1}\n      off: {lr: 2}\n      010: {lr: 3}\n"
    )
    points = load_sweep(path).hydra.sweeper.points
    assert {name: point.lr for name, point in points.items()} == {"on": 1, "off": 2, "010": 3}


def test_names_stay_as_they_were_written() -> None:
    text = (
        "classes: [no, Yes, 1e3, 010, null, '~']\nlabel_map: {0: off, 255: on}\n"
        "split:\n  train: [001, 1_0]\n  val: 0.2\n"
    )
    assert names_as_written(node_of(text), True) == {
        "classes": ["no", "Yes", "1e3", "010", "null", "~"],
        "label_map": ["off", "on"],
        "split.train": ["001", "1_0"],
    }
    text = "data: {classes: [no, yes]}\nclasses: [on, off]\n"
    assert names_as_written(node_of(text), False) == {"data.classes": ["no", "yes"]}


def node_of(text: str) -> yaml.Node | None:
    return yaml.compose(text, Loader=yaml.SafeLoader)


@pytest.mark.parametrize(
    ("typed", "names"),
    [
        ("[true,False]", ["true", "False"]),
        ("[no, yes]", ["no", "yes"]),
        ("[1,1e3]", ["1", "1e3"]),
        ("[null,'a b']", [None, "a b"]),
        ("[null,세포]", ["null", "세포"]),
    ],
)
def test_names_of_the_command_line_too(typed: str, names: list[str]) -> None:
    (override,) = OverridesParser.create().parse_overrides([quote_names(f"data.classes={typed}")])
    assert [getattr(name, "text", name) for name in override.value()] == names  # type: ignore[union-attr]


def test_one_line_and_names_through_the_command_line(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "c" / "data").mkdir(parents=True)
    mine = tmp_path / "c" / "data" / "mine.yaml"
    mine.write_text("defaults: [image_folder]\nclasses: [no, yes]\nlabel_map: {0: no, 255: yes}\n")
    done = cli("--config-dir", "c", "data=mine", "--cfg", "job", "-p", "data", cwd=tmp_path)
    assert "classes:\n- 'no'\n- 'yes'\nlabel_map:\n  0: 'no'\n  255: 'yes'\n" in done.stdout
    mine.write_text("defaults: [image_folder]\nroot: data\nroot: data\n")
    done = cli("--config-dir", "c", "data=mine", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (
        1,
        f"error: {mine} line 3: found duplicate key root; keep one of the two\n",
    )
