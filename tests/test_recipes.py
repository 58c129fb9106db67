"""Every recipe takes its steps, from data to scores and masks, with little of everything."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from scipy import ndimage

from tests.conftest import Cli

# Of the network a thirty-second, of the data four images; all else is the recipe's.
LITTLE = [
    "model.base_channels=2", "model.max_channels=8", "trainer=debug", "trainer.limit_train_batches=2",
    "trainer.limit_val_batches=1", "threads=1", "hydra.run.dir=run", "data=image_folder", "data.root=cells",
    "data.split.val=1", "data.split.test=1", "data.classes=[membrane,interior]",
]  # fmt: skip


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with cells/images and cells/labels, 400 x 400: large enough for the paper's patches."""
    start = tmp_path_factory.mktemp("recipes")
    rng = np.random.default_rng(0)
    for folder in ("images", "labels"):
        (start / "cells" / folder).mkdir(parents=True)
    for number in range(6):
        waves = ndimage.gaussian_filter(rng.normal(size=(400, 400)), 12)
        label = np.abs(waves) > 0.25 * waves.std()
        image = 60 + 120 * label + rng.normal(0, 15, label.shape)
        Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(start / f"cells/images/{number}.png")
        Image.fromarray((255 * label).astype(np.uint8)).save(start / f"cells/labels/{number}.png")
    return start


@pytest.mark.parametrize("recipe", ["isbi2012", "isbi2012_quick", "lecture", "nnunet_like", "unet2015"])
def test_a_recipe_trains_scores_and_predicts(recipe: str, start: Path, cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "cells").symlink_to(start / "cells")
    size = [] if recipe in ("lecture", "unet2015") else ["transform.train.crop.size=64"]
    trained = cli(f"experiment={recipe}", *LITTLE, *size, "epochs=2", cwd=tmp_path)
    assert trained.returncode == 0, trained.stdout
    scored = cli("task=evaluate", "run=run", "split=test", "tta=true", cwd=tmp_path)
    assert scored.returncode == 0, scored.stdout
    assert "V-Rand" in scored.stdout
    options = ["input=cells/images/0.png", "output=masks", "probabilities=true"]
    predicted = cli("task=predict", "run=run", *options, cwd=tmp_path)
    assert predicted.returncode == 0, predicted.stdout
    probability = tifffile.imread(tmp_path / "masks/probabilities/0.tif")
    assert probability.shape == np.asarray(Image.open(tmp_path / "masks/0.png")).shape == (400, 400)
    assert 0 < probability.min() < probability.max() < 1
