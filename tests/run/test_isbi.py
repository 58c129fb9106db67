"""Real electron microscopy, where ../shared/data/isbi2012 is at hand; it may not be shipped."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.conftest import ISBI, Cli
from tests.support import rows

pytestmark = pytest.mark.skipif(
    not ISBI.is_dir(), reason="the ISBI 2012 slices are not there (their licence forbids shipping them)"
)
SMALL = ["model.base_channels=4", "threads=1"]


@pytest.mark.default_size
def test_the_quick_experiment_learns_real_membranes(cli: Cli, tmp_path: Path) -> None:
    """A few epochs of the recipe, with an eighth of the channels; what the whole reaches is in the README."""
    arguments = ["experiment=isbi2012_quick", f"data.root={ISBI}", "epochs=3", *SMALL]
    done = cli(*arguments, "trainer.validate_every=3", "hydra.run.dir=run", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert "20 training and 4 validation images" in done.stdout
    val = [row for row in rows(tmp_path / "run") if row["split"] == "val"]
    assert [row["epoch"] for row in val] == ["3"]
    losses = [float(row["loss"]) for row in rows(tmp_path / "run") if row["split"] == "train"]
    assert losses[0] > losses[1] > losses[2]


def test_the_lectures_recipe_on_npy_files(cli: Cli, tmp_path: Path) -> None:
    """The lecture's folder, made of real slices cut to 64 pixels: its lines, its tags, its whole images."""
    for part, numbers in (("train", range(6)), ("val", range(6, 9)), ("test", range(9, 12))):
        (tmp_path / "npy" / part).mkdir(parents=True)
        for place, number in enumerate(numbers):
            for name, folder in (("input", "images"), ("label", "labels")):
                array = np.asarray(Image.open(ISBI / folder / f"{number:02d}.png"))[:64, :64]
                np.save(tmp_path / "npy" / part / f"{name}_{place:03d}.npy", array)
    arguments = ["experiment=lecture", "data=npy_folder", "data.root=npy", "epochs=2", *SMALL]
    done = cli(*arguments, "hydra.run.dir=run", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert "TRAIN: EPOCH 0001 / 0002 | BATCH 0001 / 0002 | LOSS 0." in done.stdout
    assert "VALID: EPOCH 0002 / 0002 | BATCH 0001 / 0001 | LOSS 0." in done.stdout
    for split, steps in (("train", [1, 2, 3, 4]), ("val", [1, 2])):
        accumulator = EventAccumulator(str(tmp_path / "run" / "tensorboard" / split))
        accumulator.Reload()
        assert [event.step for event in accumulator.Scalars("loss")] == [1, 2]
        for tag in ("label", "input", "output"):
            assert [event.step for event in accumulator.Images(tag)] == steps
    assert (tmp_path / "run" / "checkpoints" / "epoch_0002.pt").exists()


def test_the_challenges_two_stacks_hold_the_same_slices(cli: Cli, tmp_path: Path) -> None:
    """train-volume.tif and train-labels.tif made of the slices give the run that the slices give."""
    for folder, name in (("images", "train-volume.tif"), ("labels", "train-labels.tif")):
        pages = [np.asarray(Image.open(path))[:64, :64] for path in sorted((ISBI / folder).glob("*.png"))]
        tifffile.imwrite(tmp_path / name, np.stack(pages))
        (tmp_path / folder).mkdir()
        for number, page in enumerate(pages):
            Image.fromarray(page).save(tmp_path / folder / f"{number:02d}.png")
    tables = []
    for kind in ("image_folder", "tiff_stack"):
        arguments = ["data=isbi2012", f"data.kind={kind}", "data.root=.", "epochs=1", f"hydra.run.dir={kind}"]
        done = cli(*arguments, *SMALL, cwd=tmp_path)
        assert done.returncode == 0, done.stdout
        tables.append([row["loss"] for row in rows(tmp_path / kind)])
    assert tables[0] == tables[1]


def test_a_folder_with_stacks_names_the_way_to_read_them(cli: Cli, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "train-volume.tif", np.zeros((4, 32, 32), np.uint8), photometric="minisblack")
    done = cli("data=isbi2012", "data.root=.", cwd=tmp_path)
    assert done.returncode == 1
    assert "add data.kind=tiff_stack" in done.stdout
