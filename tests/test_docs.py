"""The documentation says what the code does: the table of knobs, and every command that it shows."""

import dataclasses
import re
import runpy
import shlex
from pathlib import Path

import pytest

from tests.conftest import ROOT
from unet_exp.commandline import SWEEP_KEYS, groups
from unet_exp.schema import Config, DataConfig, SplitConfig, TrainerConfig
from unet_exp.verbs import VERBS

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
SWEEPS = {"sweep", *SWEEP_KEYS}  # not keys of the schema
KNOWN_KEYS = {
    *Config.__dataclass_fields__,
    *(f"data.{name}" for name in DataConfig.__dataclass_fields__),
    *(f"data.split.{name}" for name in SplitConfig.__dataclass_fields__),
    *(f"trainer.{name}" for name in TrainerConfig.__dataclass_fields__),
}


def test_the_table_of_knobs_is_that_of_the_schema() -> None:
    pages = runpy.run_path(str(ROOT / "docs" / "knobs.py"))
    table = pages["table"]()
    for part in (table, pages["verb_table"]()):
        assert part.strip() in (ROOT / "README.md").read_text(encoding="utf-8")
    for key in KNOWN_KEYS - {
        "data",
        "trainer",
        "data.split",
        "model",
        "transform",
        "loss",
        "optimizer",
        "scheduler",
        "metrics",
    }:
        assert f"`{key}`" in table, key


def commands() -> list[tuple[str, str]]:
    """(page, command) of every `python run.py ...` in the pages and in the headers of conf/."""
    found = []
    for path in [*PAGES, *sorted((ROOT / "conf").rglob("*.yaml"))]:
        for line in path.read_text(encoding="utf-8").splitlines():
            for match in re.finditer(r"python run\.py((?: (?:'[^']*'|[^\s`#')|,;])+)*)", line):
                found.append((path.name, match[1].strip()))
    return found


@pytest.mark.parametrize(("page", "command"), commands())
def test_every_command_names_what_exists(page: str, command: str) -> None:
    """Groups, options and top-level, data and trainer keys; other keys belong to the chosen option."""
    pairs = [word.lstrip("+~").partition("=") for word in shlex.split(command)]
    verb = next((value for key, _, value in pairs if key == "task"), None)
    for key, equals, value in pairs:
        word = f"{key}={value}"
        if not equals or key in ("resume", "from_run", "task") or key.startswith(("hydra", "-")):
            continue
        if verb in VERBS:
            known = {field.name for field in dataclasses.fields(VERBS[verb])}
            assert key.split(".")[0] in known, f"{page}: {word}"
            continue
        if key in groups():
            for option in re.sub(r"\w+\((.*)\)", r"\1", value).split(","):  # choice(a,b), glob(*)
                assert option == "*" or option in groups()[key] or option in ("mine", "tinynet"), (
                    f"{page}: {word}"
                )
        elif "." not in key or key.split(".")[0] in ("data", "trainer"):
            assert key in KNOWN_KEYS | SWEEPS, f"{page}: {word}"


def test_links_between_pages_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_no_placeholder_is_left() -> None:
    for page in PAGES:
        assert "{{" not in page.read_text(encoding="utf-8"), page.name


def test_every_dependency_is_explained() -> None:
    text = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    project = Path(ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for name in re.findall(r'^    "([\w-]+)[><=]', project, re.MULTILINE):
        assert name in text, name
