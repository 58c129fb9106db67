"""The core's size, the drawing of the rooms, and training without the extras."""

import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT, TINY

ROOMS: dict[str, Any] = runpy.run_path(str(ROOT / "docs" / "rooms.py"))


def test_the_core_is_small_and_the_readme_lists_it() -> None:
    lines = [len((ROOT / path).read_text(encoding="utf-8").splitlines()) for path in ROOMS["CORE"]]
    assert sum(lines) <= 3400
    listed = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Read the code")[2]
    places = [listed.find(f"`{path}`") for path in ROOMS["CORE"]]
    assert -1 not in places
    assert places == sorted(places)


def test_the_drawing_of_the_rooms_is_that_of_the_imports() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert page == ROOMS["page_with_drawing"](page), "python docs/rooms.py draws it anew"


@pytest.mark.default_size
def test_a_copy_without_the_extras_trains_to_equal_bits(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    for name in ("conf", "unet_exp", "hydra_plugins", "multirun_sweeps"):
        shutil.copytree(ROOT / name, whole / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "run.py", whole)
    core = tmp_path / "core"
    shutil.copytree(whole, core)
    for extra in ROOMS["EXTRAS"]:
        shutil.rmtree(core / extra)
    tables = []
    for folder in (whole, core):
        words = [
            sys.executable,
            str(folder / "run.py"),
            *TINY,
            "trainer.report=true",
            f"hydra.run.dir={folder / 'run'}",
        ]
        done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=200)
        assert done.returncode == 0, done.stdout + done.stderr
        tables.append([(folder / "run" / name).read_bytes() for name in ("steps.csv", "metrics.csv")])
    assert tables[0] == tables[1]
