"""Who may import what: docs/architecture.md as a test."""

import ast
from pathlib import Path

import pytest

from tests.conftest import ROOT

# Rooms from the top down; a room may import those that stand below it (and itself).
ORDER = [
    "run", "unet_exp.tasks", "hydra_plugins", "unet_exp.sweeps", "unet_exp.console",
    "unet_exp.build", "unet_exp.prepare",
    "unet_exp.config", "unet_exp.compare", "unet_exp.commandline", "unet_exp.saved", "unet_exp.checks",
    "unet_exp.fitting", "unet_exp.report", "unet_exp.inference", "unet_exp.training", "unet_exp.data",
    "unet_exp.metrics", "unet_exp.losses", "unet_exp.models", "unet_exp.provenance", "unet_exp.runs",
    "unet_exp.yaml_files", "unet_exp.shortages", "unet_exp.ranks", "unet_exp.paths", "unet_exp.signals",
    "unet_exp.verbs", "unet_exp.targets", "unet_exp.schema", "unet_exp.quoting", "unet_exp.errors",
]  # fmt: skip
ONLY_IN = {
    "hydra": {"run", "unet_exp.config", "unet_exp.commandline", "unet_exp.saved", "unet_exp.sweeps.plan",
              "unet_exp.sweeps.frozen", "unet_exp.sweeps.conduct", "unet_exp.sweeps.search",
              "unet_exp.yaml_files", "hydra_plugins"},
    "omegaconf": {"run", "unet_exp.config", "unet_exp.commandline", "unet_exp.saved", "unet_exp.compare",
                  "unet_exp.checks", "unet_exp.sweeps.plan", "unet_exp.sweeps.frozen",
                  "unet_exp.sweeps.known", "unet_exp.sweeps.conduct", "unet_exp.sweeps.search",
                  "unet_exp.yaml_files",
                  "hydra_plugins"},
    "optuna": {"unet_exp.sweeps.search", "unet_exp.sweeps.trial"},
    "torch.utils.tensorboard": {"unet_exp.training.tracking"},
    "matplotlib": {"unet_exp.report", "unet_exp.sweeps.plots"},
    "torch": {"unet_exp.build", "unet_exp.losses", "unet_exp.models", "unet_exp.metrics", "unet_exp.data",
              "unet_exp.training", "unet_exp.inference", "unet_exp.tasks"},
}  # fmt: skip
MODULES = {
    str(path.relative_to(ROOT).with_suffix("")).replace("/", ".").removesuffix(".__init__"): path
    for path in [
        ROOT / "run.py",
        *sorted((ROOT / "unet_exp").rglob("*.py")),
        *sorted((ROOT / "hydra_plugins").rglob("*.py")),
    ]
}


def imports(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def within(module: str, room: str) -> bool:
    return module == room or module.startswith(room + ".")


def level(module: str) -> int | None:
    return next((index for index, room in enumerate(ORDER) if within(module, room)), None)


@pytest.mark.parametrize("module", MODULES)
def test_arrows_go_down(module: str) -> None:
    own = level(module)
    for name in imports(MODULES[module]):
        other = level(name)
        # models.sizes is arithmetic without torch, made for the checks.
        if own is None or other is None or within(name, "unet_exp.models.sizes"):
            continue
        assert other >= own, f"{module} imports {name}, which stands above it"


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
    assert {name: length for name, length in lengths.items() if length > 300} == {}


def test_no_default_hides_in_code() -> None:
    for name, path in MODULES.items():
        assert "cfg.get(" not in path.read_text(encoding="utf-8"), name
