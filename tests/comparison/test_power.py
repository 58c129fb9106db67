"""task=power: how many seeds a difference takes, by a finished sweep."""

import re
from pathlib import Path

from tests.conftest import Cli


def test_the_table_of_a_sweep(recipes: Path, cli: Cli) -> None:
    def seeds(difference: float) -> dict[int, int]:
        done = cli("task=power", "sweep_dir=multirun/two", f"difference={difference}", cwd=recipes)
        assert done.returncode == 0, done.stdout
        rows = re.findall(r"^(\d+) +(?:more than )?(\d+)", done.stdout, re.MULTILINE)
        return {int(images): int(number) for images, number in rows}

    large, small = seeds(0.2), seeds(0.05)
    assert set(large) == {10, 12, 20, 30, 50, 100, 200, 500}  # twelve as now
    assert all(large[n] <= small[n] for n in large)
    assert all(large[a] >= large[b] for a, b in zip((10, 20, 50), (20, 50, 500), strict=True))


def test_a_sweep_without_repeats_says_what_it_needs(recipes: Path, cli: Cli, tmp_path: Path) -> None:
    for job in sorted(recipes.glob("multirun/two/*seed-0*")):
        (tmp_path / "one").mkdir(exist_ok=True)
        (tmp_path / "one" / job.name).symlink_to(job)
    done = cli("task=power", f"sweep_dir={tmp_path}/one", "difference=0.01", cwd=recipes)
    assert done.returncode == 1
    assert "has 0 settings with two seeds or more" in done.stdout
    assert "a sweep of two settings or more, with several seeds" in done.stdout
