"""Who may import what: docs/architecture.md as a test."""

import runpy
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT

ROOMS: dict[str, Any] = runpy.run_path(str(ROOT / "docs" / "rooms.py"))
MODULES: dict[str, Path] = ROOMS["modules"]()
rank_of = ROOMS["rank_of"]
room_of = ROOMS["room_of"]
within = ROOMS["within"]
ONLY_IN = {
    "hydra": ["run", "unet_exp.cli", "unet_exp.config", "unet_exp.sweeps", "hydra_plugins"],
    "omegaconf": ["run", "unet_exp.cli", "unet_exp.config", "unet_exp.sweeps", "hydra_plugins"],
    "optuna": ["unet_exp.sweeps.search", "unet_exp.sweeps.trial"],
    "torch.utils.tensorboard": ["unet_exp.training.tracker"],
    "matplotlib": ["unet_exp.plots"],
    "torch": [
        "unet_exp.cli.startup_patches",
        "unet_exp.losses",
        "unet_exp.models",
        "unet_exp.metrics",
        "unet_exp.objects",
        "unet_exp.data",
        "unet_exp.training",
        "unet_exp.inference",
        "unet_exp.tasks",
    ],
}


def imports(path: Path) -> set[str]:
    names: set[str] = ROOMS["imports"](path, MODULES.keys())
    return names


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_to_lower_ranks(module: str) -> None:
    for name in imports(MODULES[module]) & MODULES.keys():
        same = room_of(name) == room_of(module)
        assert same or rank_of(name) < rank_of(module), f"{module} imports {name}"


def test_no_file_imports_itself_by_a_detour() -> None:
    below = {module: imports(path) & MODULES.keys() - {module} for module, path in MODULES.items()}
    while leaves := {module for module, names in below.items() if not names & below.keys()}:
        below = {module: names for module, names in below.items() if module not in leaves}
    assert not below, "these import each other: " + ", ".join(below)


@pytest.mark.parametrize("module", MODULES)
def test_libraries_stay_in_their_rooms(module: str) -> None:
    for name in imports(MODULES[module]):
        for library, rooms in ONLY_IN.items():
            if within(name, library):
                assert any(within(module, room) for room in rooms), f"{module} imports {name}"


def test_no_test_imports_another() -> None:
    for path in (ROOT / "tests").rglob("*.py"):
        names = ROOMS["imports"](path, set())
        assert not [name for name in names if ".test_" in name], path.name


def test_checkpoints_are_read_and_written_in_one_place() -> None:
    users = [
        name
        for name, path in MODULES.items()
        if "torch.load(" in path.read_text() or "torch.save(" in path.read_text()
    ]
    assert users == ["unet_exp.training.checkpoint"]


def test_no_file_is_too_long() -> None:
    assert longer_than(300, MODULES.values()) == []
    assert longer_than(400, (ROOT / "tests").rglob("*.py")) == []


def longer_than(limit: int, paths: Iterable[Path]) -> list[str]:
    return [path.name for path in paths if len(path.read_text(encoding="utf-8").splitlines()) > limit]


def test_no_default_hides_in_code() -> None:
    for name, path in MODULES.items():
        assert "cfg.get(" not in path.read_text(encoding="utf-8"), name
