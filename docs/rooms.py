"""The rooms of the code, their ranks, and their drawing in docs/architecture.md; running this renews it."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "architecture.md"
# From the ground up; a room may import those of lower ranks, and itself.
RANKS = [
    ["unet_exp.errors", "unet_exp.sizes", "unet_exp.statistics", "unet_exp.threads"],
    ["unet_exp.messages"],
    ["unet_exp.rundir"],
    ["unet_exp.config"],
    ["unet_exp.comparison"],
    ["unet_exp.losses", "unet_exp.metrics", "unet_exp.models", "unet_exp.objects"],
    ["unet_exp.data"],
    ["unet_exp.training"],
    ["unet_exp.inference"],
    ["unet_exp.plots"],
    ["unet_exp.report"],
    ["unet_exp.sweeps"],
    ["unet_exp.tasks"],
    ["hydra_plugins"],
    ["unet_exp.cli"],
    ["unet_exp", "run"],
]
# What explains every number that a run prints, in reading order.
CORE = [
    "run.py",
    "unet_exp/training/loop.py",
    "unet_exp/training/meter.py",
    "unet_exp/training/state.py",
    "unet_exp/training/parts.py",
    "unet_exp/models/unet.py",
    "unet_exp/losses.py",
    "unet_exp/metrics/confusion.py",
    "unet_exp/data/datasets.py",
    "unet_exp/data/transforms.py",
    "unet_exp/data/loaders.py",
    "unet_exp/training/setup.py",
    "unet_exp/training/build.py",
    "unet_exp/training/checkpoint.py",
    "unet_exp/training/resume.py",
    "unet_exp/training/tracker.py",
    "unet_exp/config/schema.py",
]
# What a copy of the project can do without, and still train to the same bits.
EXTRAS = [
    "unet_exp/comparison",
    "unet_exp/inference",
    "unet_exp/plots",
    "unet_exp/report",
    "unet_exp/statistics",
    "unet_exp/sweeps",
    "unet_exp/tasks",
]


def modules() -> dict[str, Path]:
    """Dotted name -> file, of run.py, the package and the plugin."""
    files = [
        ROOT / "run.py",
        *sorted((ROOT / "unet_exp").rglob("*.py")),
        *sorted((ROOT / "hydra_plugins").rglob("*.py")),
    ]
    names = (".".join(path.relative_to(ROOT).with_suffix("").parts) for path in files)
    return {name.removesuffix(".__init__"): path for name, path in zip(names, files, strict=True)}


def imports(path: Path, known: set[str]) -> set[str]:
    """Every module that a file imports: at its top, in functions, and for types only.

    known: modules of the project, so that `from package import module` counts as that module.
    """
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            full = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= (full & known) | ({node.module} if full - known else set())
    return names


def within(module: str, room: str) -> bool:
    return module == room or module.startswith(room + ".")


def room_of(module: str) -> str:
    return max((room for rank in RANKS for room in rank if within(module, room)), key=len)


def rank_of(module: str) -> int:
    return next(index for index, rank in enumerate(RANKS) if room_of(module) in rank)


def arrows() -> set[tuple[str, str]]:
    """(room, a room that it imports), without those that a longer way implies."""
    files = modules()
    pairs = {
        (room_of(name), room_of(other))
        for name, path in files.items()
        for other in imports(path, set(files)) & files.keys()
    }
    direct = {(a, b) for a, b in pairs if a != b}
    reach = set(direct)
    for middle in [room for rank in RANKS for room in rank]:
        reach |= {(a, d) for a, b in reach if b == middle for c, d in reach if c == middle}
    rooms = {room for pair in direct for room in pair}
    return {(a, b) for a, b in direct if not any({(a, c), (c, b)} <= reach for c in rooms - {a, b})}


def drawing() -> str:
    """A Mermaid graph, which GitHub draws: one line for each arrow."""
    short = {room: room.removeprefix("unet_exp.") for rank in RANKS for room in rank}
    ordered = sorted(arrows(), key=lambda pair: (-rank_of(pair[0]), pair))
    lines = [f"    {short[a]} --> {short[b]}" for a, b in ordered]
    return "\n".join(["```mermaid", "graph TD", *lines, "```"])


def page_with_drawing(text: str) -> str:
    return re.sub(r"```mermaid\n.*?```", drawing(), text, count=1, flags=re.DOTALL)


if __name__ == "__main__":
    PAGE.write_text(page_with_drawing(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
