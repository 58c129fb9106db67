"""Validation of images of different sizes: batches of one size, and what it finds in order of the split."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import Cli
from tests.support import read_csv, save, state
from unet_exp.data.loaders import EpochBatches

SIZES = [(32, 32), (48, 32), (32, 32), (32, 64), (48, 32), (32, 32), (64, 64), (32, 32), (48, 32), (32, 32)]


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_batches_hold_one_size_and_no_more_pixels_than_the_largest(ranks: int) -> None:
    dealt = [EpochBatches(10, 3, 0, False, None, rank, ranks, SIZES) for rank in range(ranks)]
    batches = [[index for _, index in batch] for one in dealt for batch in one]
    assert sorted(index for batch in batches for index in batch) == list(range(10))
    assert all(len({SIZES[index] for index in batch}) == 1 for batch in batches)
    assert all(sum(np.prod(SIZES[index]) for index in batch) <= 64 * 64 for batch in batches)
    assert max(map(len, batches)) > 1
    assert len({len(one) + one.fewer for one in dealt}) == 1  # how often the ranks meet


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten images of discs, of these sizes, and their objects."""
    root = tmp_path_factory.mktemp("unequal")
    rng = np.random.default_rng(0)
    for number, (height, width) in enumerate(SIZES):
        objects = np.zeros((height, width), np.uint8)
        rows, columns = np.mgrid[:height, :width]
        for one in range(4):
            y, x = rng.integers(6, height - 6), rng.integers(6, width - 6)
            objects[(rows - y) ** 2 + (columns - x) ** 2 < 20] = one + 1
        image = (objects > 0) * 120 + rng.integers(0, 80, objects.shape)
        save(root / "images" / f"{number:02d}.png", image.astype(np.uint8))
        save(root / "labels" / f"{number:02d}.png", objects)
    return root


OURS = ["data=image_folder", "data.split.train=2", "data.split.val=rest", "model.depth=2", "batch_size=2"]
OURS += ["model.base_channels=4", "epochs=4", "lr=1e-2", "threads=1", "trainer.precision=fp32"]
OURS += ["trainer.plots=false", "trainer.report=false", "transform=crop", "transform.train.crop.size=32"]


@pytest.mark.parametrize(
    "more",
    [
        ["data.labels_are=objects", "data.target=binary", "data.gap=0", "data.rim=0"],
        [
            "data.label_map={0: background, 1: foreground, 2: foreground, 3: foreground, 4: foreground}",
            "trainer.choose_threshold=v_rand",
        ],
    ],
    ids=["objects", "classes"],
)
def test_the_batch_size_of_validation_changes_no_score(
    more: list[str], folder: Path, cli: Cli, tmp_path: Path
) -> None:
    runs: dict[int, list[dict[str, Any]]] = {}
    for size in (1, 3):
        own = [*OURS, *more, f"data.root={folder}", f"trainer.val_batch_size={size}"]
        done = cli(*own, f"hydra.run.dir=by{size}", cwd=tmp_path)
        assert done.returncode == 0, done.stdout
        runs[size] = read_csv(tmp_path / f"by{size}" / "images.csv")
    assert [row["name"] for row in runs[3]] == [f"{number:02d}" for number in range(2, 10)]
    for one, other in zip(runs[1], runs[3], strict=True):
        assert one.keys() == other.keys()
        for name, value in one.items():
            if name not in ("name", "group"):
                assert float(value) == pytest.approx(float(other[name]), abs=2e-3, nan_ok=True), name
    scores = [state(tmp_path / f"by{size}")["scores"] for size in (1, 3)]
    assert scores[0] == pytest.approx(scores[1], abs=2e-3)
