"""Who may import what: docs/architecture.md as a test."""

import ast
from pathlib import Path

import pytest

from tests.conftest import ROOT

# Rooms from the ground up; a room may import those that stand before it (and itself).
RANKS = [
    ["unet_exp.errors", "unet_exp.sizes"],
    ["unet_exp.messages"],
    ["unet_exp.rundir"],
    ["unet_exp.config"],
    ["unet_exp.losses", "unet_exp.metrics", "unet_exp.models"],
    ["unet_exp.data"],
    ["unet_exp.training"],
    ["unet_exp.inference"],
    ["unet_exp.plots"],
    ["unet_exp.sweeps"],
    ["unet_exp.tasks"],
    ["hydra_plugins"],
    ["unet_exp.cli"],
    ["unet_exp", "run"],
]
ONLY_IN = {
    "hydra": ["run", "unet_exp.cli", "unet_exp.config", "unet_exp.sweeps", "hydra_plugins"],
    "omegaconf": ["run", "unet_exp.cli", "unet_exp.config", "unet_exp.sweeps", "hydra_plugins"],
    "optuna": ["unet_exp.sweeps.search", "unet_exp.sweeps.trial"],
    "torch.utils.tensorboard": ["unet_exp.training.tracker"],
    "matplotlib": ["unet_exp.plots"],
    "torch": [
        "unet_exp.losses",
        "unet_exp.models",
        "unet_exp.metrics",
        "unet_exp.data",
        "unet_exp.training",
        "unet_exp.inference",
        "unet_exp.tasks",
    ],
}
MODULES = {
    str(path.relative_to(ROOT).with_suffix("")).replace("/", ".").removesuffix(".__init__"): path
    for path in [
        ROOT / "run.py",
        *sorted((ROOT / "unet_exp").rglob("*.py")),
        *sorted((ROOT / "hydra_plugins").rglob("*.py")),
    ]
}


def imports(path: Path) -> set[str]:
    """Every module that a file imports: at its top, in functions, and for types only."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            full = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= (full & MODULES.keys()) | ({node.module} if full - MODULES.keys() else set())
    return names


def within(module: str, room: str) -> bool:
    return module == room or module.startswith(room + ".")


def room_of(module: str) -> str:
    rooms = [room for rank in RANKS for room in rank if within(module, room)]
    return max(rooms, key=len)


def rank_of(module: str) -> int:
    return next(index for index, rank in enumerate(RANKS) if room_of(module) in rank)


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_to_lower_ranks(module: str) -> None:
    for name in imports(MODULES[module]) & MODULES.keys():
        same = room_of(name) == room_of(module)
        if {module, name} <= {"unet_exp.plots.sweep", "unet_exp.sweeps.results", "unet_exp.sweeps.jobs"}:
            continue
        assert same or rank_of(name) < rank_of(module), f"{module} imports {name}"


@pytest.mark.parametrize("module", MODULES)
def test_libraries_stay_in_their_rooms(module: str) -> None:
    for name in imports(MODULES[module]):
        for library, rooms in ONLY_IN.items():
            if within(name, library):
                assert any(within(module, room) for room in rooms), f"{module} imports {name}"


def test_checkpoints_are_read_and_written_in_one_place() -> None:
    users = [
        name
        for name, path in MODULES.items()
        if "torch.load(" in path.read_text() or "torch.save(" in path.read_text()
    ]
    assert users == ["unet_exp.training.checkpoint"]


def test_no_file_is_too_long() -> None:
    lengths = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in MODULES.items()}
    assert {name: length for name, length in lengths.items() if length > 330} == {}


def test_no_default_hides_in_code() -> None:
    for name, path in MODULES.items():
        assert "cfg.get(" not in path.read_text(encoding="utf-8"), name
