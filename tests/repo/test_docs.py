"""The documentation says what the code does: the table of knobs, and every command that it shows."""

import csv
import dataclasses
import fnmatch
import os
import re
import runpy
import shlex
import statistics
import subprocess
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser

from tests.conftest import ROOT, Cli, write_folder
from unet_exp.cli import command_line
from unet_exp.cli.command_line import groups
from unet_exp.config.hydra_hooks import register
from unet_exp.config.resolve import check, check_task
from unet_exp.config.schema import Config, DataConfig, SplitConfig, TrainerConfig
from unet_exp.config.suggestions import OF_SWEEPS
from unet_exp.config.task_schema import TASK_SCHEMAS

PAGES = [
    *sorted(ROOT.glob("README*.md")),
    ROOT / "CONTRIBUTING.md",
    ROOT / "SECURITY.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
SWEEPS = {"sweep", *OF_SWEEPS}  # not keys of the schema
KNOWN_KEYS = {
    *Config.__dataclass_fields__,
    *(f"data.{name}" for name in DataConfig.__dataclass_fields__),
    *(f"data.split.{name}" for name in SplitConfig.__dataclass_fields__),
    *(f"trainer.{name}" for name in TrainerConfig.__dataclass_fields__),
}


def test_the_table_of_knobs_is_that_of_the_schema() -> None:
    pages = runpy.run_path(str(ROOT / "docs" / "knobs.py"))
    table = pages["table"]()
    for part in (table, pages["task_table"]()):
        assert part.strip() in (ROOT / "docs" / "configs.md").read_text(encoding="utf-8")
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
        assert f"\n{key}=" in table, key


def commands() -> list[tuple[str, str]]:
    """(page, command) of every `python run.py ...` in the pages and in the headers of conf/."""
    found = []
    for path in [*PAGES, *sorted((ROOT / "conf").rglob("*.yaml"))]:
        for line in path.read_text(encoding="utf-8").splitlines():
            program = r"(?:python|torchrun(?: --\S+)+) run\.py"
            for match in re.finditer(program + r"((?: (?:'[^']*'|,(?=\S)|[^\s`#')|,;])+)*)", line):
                found.append((path.name, typed(match[1])))
    not_commands = ("-sc ", "KEY=VALUE", "task=NAME")  # tab completion; placeholders of --help
    return [(page, line) for page, line in found if not line.startswith(not_commands)]


def typed(text: str) -> str:
    """What of the words after `python run.py` is a command, and not the sentence that goes on."""
    words: list[str] = []
    for word in shlex.split(text):
        if not (
            "=" in word
            or word.startswith(("-", "~"))
            or (words and words[-1] in ("--cfg", "-cp", "-cn", "-p"))
        ):
            break
        words.append(word.removesuffix(":"))
    return shlex.join(words)


@pytest.mark.parametrize(("page", "line"), commands())
def test_every_command_names_what_exists(page: str, line: str) -> None:
    """Groups, options and top-level, data and trainer keys; other keys belong to the chosen option."""
    pairs = [word.lstrip("+~").partition("=") for word in shlex.split(line)]
    verb = next((value for key, _, value in pairs if key == "task"), None)
    for key, equals, value in pairs:
        word = f"{key}={value}"
        if not equals or key in ("resume", "from_run", "task") or key.startswith(("hydra", "-")):
            continue
        if verb in TASK_SCHEMAS:
            known = {field.name for field in dataclasses.fields(TASK_SCHEMAS[verb])}
            assert key.split(".")[0] in known, f"{page}: {word}"
            continue
        if key in groups():
            for option in re.sub(r"\w+\((.*)\)", r"\1", value).split(","):  # choice(a,b), glob(*)
                assert fnmatch.filter([*groups()[key], "mine", "tinynet"], option), f"{page}: {word}"
        elif "." not in key or key.split(".")[0] in ("data", "trainer"):
            assert key in KNOWN_KEYS | SWEEPS, f"{page}: {word}"


def benchmarks() -> list[tuple[str, str]]:
    """(script, words) of every `python benchmarks/SCRIPT ...` in the pages."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in PAGES)
    found = re.findall(r"python benchmarks/(\w+\.py)((?: --?\w[^`#\n]*)?)", text)
    return sorted({(script, words.strip()) for script, words in found})


@pytest.mark.parametrize(("script", "line"), benchmarks())
def test_every_benchmark_of_the_pages_takes_its_options(script: str, line: str) -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / script), "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    text = " ".join(done.stdout.split())
    for word in shlex.split(line):
        if word.startswith("--"):
            assert re.search(rf"{word}\b", text), word


@pytest.fixture(scope="module")
def place(finished_run: tuple[Path, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the pages call DIR, RUN_DIR and FILE, and with what the walk-through makes."""
    start = tmp_path_factory.mktemp("pages")
    for name in ("DIR", "cells"):
        write_folder(start / name)
    for name in ("RUN_DIR", "run"):
        (start / name).symlink_to(finished_run[0])
    (start / "FILE").symlink_to(finished_run[0] / "checkpoints/best.pt")
    return start


@pytest.mark.parametrize(("page", "line"), commands())
def test_every_command_composes_and_passes_the_checks(
    page: str, line: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a sweep its first job. Verbs: their own small config."""
    monkeypatch.chdir(place)
    monkeypatch.setenv("UNET_EXP_ALLOW", "mymetrics,mynets")
    words = shlex.split(line)
    if any(word.endswith(("=mine", "=tinynet", "/launcher=ray", "/launcher=slurm")) for word in words):
        pytest.skip("about files or programs that are not here")
    register()
    prepared = command_line.prepare(words)
    flags, overrides = command_line.split_flags(prepared.argv)
    name = flags[flags.index("--config-name") + 1] if "--config-name" in flags else "config"
    first = []
    for override in OverridesParser.create().parse_overrides(overrides):
        text = override.input_line or ""
        key = text.partition("=")[0]
        if override.is_interval_sweep():
            continue
        if "=glob(" in text:
            pattern = text.partition("=glob(")[2].rstrip(")")
            text = f"{key}={fnmatch.filter(groups()[key], pattern)[0]}"
        elif override.is_sweep_override() and "sweeper" not in text:
            text = f"{key}={next(iter(override.sweep_string_iterator()))}"
        first.append(text)
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        cfg = compose(name, overrides=first)
    if prepared.task in TASK_SCHEMAS:
        check_task(cfg, TASK_SCHEMAS[str(prepared.task)])
    elif any(word.startswith("data.root=") for word in words) or cfg.data.kind == "membranes":
        check(cfg)


def test_the_program_of_the_quick_start_makes_data_that_trains(tmp_path: Path, cli: Cli) -> None:
    text = (ROOT / "docs" / "quickstart.md").read_text(encoding="utf-8")
    (tmp_path / "make_folder.py").write_text(text.partition("```python\n")[2].partition("```")[0])
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "make_folder.py"], cwd=tmp_path, check=True, env=environment)
    little = ["trainer=debug", "epochs=1", "model.base_channels=2", "threads=1", "batch_size=2"]
    done = cli("data=image_folder", "data.root=cells", *little, "hydra.run.dir=run", cwd=tmp_path)
    assert done.returncode == 0, done.stdout


def test_the_korean_readme_has_the_pages_of_the_english_one() -> None:
    english, korean = (
        set(re.findall(r"\((docs/[\w.-]+\.md)", (ROOT / name).read_text(encoding="utf-8")))
        for name in ("README.md", "README.ko.md")
    )
    assert english - korean == {"docs/from-the-lecture.md"}


def test_the_recipes_evidence_is_that_of_its_files() -> None:
    """The scores of each arm and fold in the page are those that docs/tables.py makes of docs/results/."""
    tables = runpy.run_path(str(ROOT / "docs/tables.py"))
    page = (ROOT / "docs/recipes.md").read_text(encoding="utf-8").splitlines()
    for line in [*tables["ablation"](), *tables["folds"](), *tables["nuclei"]()]:
        name, *cells = line.strip("| ").split(" | ")
        if name.startswith(("arm", "---", "|")):
            continue
        assert len(cells) == 4
        rows = [re.split(" {3,}", row) for row in page]
        assert any(row[0] == name and row[-4:] == cells for row in rows), name


def test_the_figures_of_other_tools_are_those_recorded() -> None:
    page = (ROOT / "docs/recipes.md").read_text(encoding="utf-8").splitlines()
    with open(ROOT / "docs/results/nuclei_peers.csv", newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            cells = [row["tool"], f"{int(row['crops']):,}", row["side"], *list(row.values())[5:]]
            assert cells in [re.split(" {3,}", line) for line in page], row["tool"]


def test_the_figures_of_the_recipe_of_nuclei_are_those_of_its_seeds() -> None:
    with open(ROOT / "docs/results/nuclei_seeds.csv", newline="", encoding="utf-8") as file:
        seeds = list(csv.DictReader(file))
    with open(ROOT / "docs/results/nuclei_peers.csv", newline="", encoding="utf-8") as file:
        rows = {row["tool"]: row for row in csv.DictReader(file)}
    for tool, tta in (("unet_exp, recipe", "False"), ("unet_exp, recipe, tta", "True")):
        for name in ("ap", "f1", "ap_fluorescence", "f1_fluorescence"):
            values = [float(seed[name]) for seed in seeds if seed["tta"] == tta]
            assert rows[tool][name] == f"{statistics.fmean(values):.3f}±{statistics.stdev(values):.3f}"


def test_links_between_pages_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


ABOUT_CODE = ("SECURITY.md", "CONTRIBUTING.md", "docs/architecture.md")
EXAMPLES = {"code_XXXXXXXX", "iou_", "cmp"}  # in names of files and columns that a run makes; a program


def code() -> dict[str, str]:
    """The text of each file in which what these pages name can be."""
    folders = ("unet_exp", "hydra_plugins", "conf", "multirun_sweeps", "tests", "benchmarks", "docs")
    paths = [path for folder in folders for path in (ROOT / folder).rglob("*.*")]
    paths += [ROOT / name for name in ("run.py", "pyproject.toml", "Makefile", ".ci/run")]
    return {
        path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
        for path in paths
        if path.suffix in (".py", ".yaml", ".toml", "") and path.is_file()
    }


@pytest.mark.parametrize("page", ABOUT_CODE)
def test_what_the_pages_about_the_code_name_is_there(page: str) -> None:
    """Files, functions, classes and keys in backticks; and `NAME` of `FILE` in that file."""
    files = code()
    text = re.sub(r"```.*?```", "", (ROOT / page).read_text(encoding="utf-8"), flags=re.DOTALL)
    words = {word for content in files.values() for word in re.findall(r"\w+", content)}
    names = [*files, *(path.name for path in ROOT.iterdir())]
    words |= {word for name in names for word in re.findall(r"\w+", name)} | EXAMPLES
    spans = {" ".join(span.split()) for span in re.findall(r"`([^`]+)`", text)}
    assert len(spans) > 15
    for span in spans:
        assert not [word for word in re.findall(r"[A-Za-z_]\w{2,}", span) if word not in words], span
        if re.fullmatch(r"[\w./-]*/[\w./-]+\.(py|md|yaml|toml)", span) and "DIR" not in span:
            known = (ROOT / span).exists() or any(f"{span}" in content for content in files.values())
            assert known or any(name.endswith(f"/{span}") for name in files), span
    for name, file in re.findall(r"`(\w+)`\s+(?:of|in)\s+`([\w./]+\.py)`", text):
        homes = [content for path, content in files.items() if f"/{path}".endswith(f"/{file}")]
        assert any(re.search(rf"\b{name}\b", content) for content in homes), f"{name} of {file}"


def test_make_has_the_targets_that_the_pages_name() -> None:
    text = "\n".join((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "CONTRIBUTING.md"))
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.findall(r"    make ([a-z-]+) ", text)
    assert len(targets) >= 5
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_no_placeholder_is_left() -> None:
    for page in PAGES:
        assert "{{" not in page.read_text(encoding="utf-8"), page.name


def test_every_dependency_is_explained() -> None:
    text = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    project = Path(ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for name in re.findall(r'^    "([\w-]+)[><=]', project, re.MULTILINE):
        assert name in text, name
