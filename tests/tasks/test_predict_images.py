"""task=predict on whole images, large images and several runs."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

import unet_exp
from tests.conftest import train
from tests.tasks.common import images_in
from unet_exp.config.task_schema import PredictConfig
from unet_exp.data.items import files_in
from unet_exp.errors import UserError
from unet_exp.tasks.predict import predict


def test_predictions_of_any_size_are_those_of_the_whole_image(membranes: Path, tmp_path: Path) -> None:
    folder = images_in(tmp_path / "in", (64, 64), (1, 1), (131, 77), (300, 9))
    predictor = unet_exp.load_run(membranes, device="cpu")
    whole = predictor.with_options(tile=512)
    tiled = predictor.with_options(tile=96)
    for path in files_in(folder, (".png",)):
        image = np.asarray(Image.open(path))
        one, many = whole.probabilities(image), tiled.probabilities(image)
        assert one.shape == (2, *image.shape)
        assert np.abs(one.sum(0) - 1).max() < 1e-3
        assert np.abs(one - many).max() < 0.03  # bf16 where the chip has it; test_tiling has the exact proof
        assert np.array_equal(predictor.predict(image), (one[1] > 0.5).astype(np.uint8))


def test_statistics_are_of_the_whole_image_and_not_of_its_tiles(tmp_path: Path) -> None:
    """A network that hands its input through shows by what it was normalised."""
    split = ["data.split.train=2", "data.split.val=1", "data.split.test=0", "data.size=32"]
    run_dir = train(tmp_path / "run", *split, "transform.mean=image", "transform.std=image")
    predictor = unet_exp.load_run(run_dir, "cpu").with_options(tile=64)
    predictor.networks[0] = torch.nn.Identity()
    image = np.zeros((256, 256), np.uint8)
    image[:, 200:] = 100
    found = predictor.probabilities(image)[1]
    unit = image / 255
    expected = 1 / (1 + np.exp(-(unit - unit.mean()) / unit.std()))
    assert np.abs(found - expected).max() < 1e-4


def test_what_is_done_is_skipped_and_a_broken_file_is_only_itself(
    membranes: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = images_in(tmp_path / "in", (40, 40), (40, 40))
    (folder / "broken.png").write_bytes(b"no image")
    (folder / "folder.png").mkdir()
    options = PredictConfig(run=str(membranes), input=str(folder), output=str(tmp_path / "out"))
    with pytest.raises(SystemExit) as stop:
        predict(options)
    assert stop.value.code == 1
    assert "broken.png can't be read" in caplog.text
    assert not list((tmp_path / "out").glob(".*"))
    first = (tmp_path / "out" / "im000.png").stat().st_mtime_ns
    (tmp_path / "out" / "im001.png").unlink()
    (folder / "broken.png").unlink()
    predict(options)
    assert (tmp_path / "out" / "im000.png").stat().st_mtime_ns == first
    assert (tmp_path / "out" / "im001.png").exists()
    options.tta = True
    with pytest.raises(UserError, match="made with another tta"):
        predict(options)
    options.overwrite = True
    predict(options)
    assert (tmp_path / "out" / "im000.png").stat().st_mtime_ns > first


def test_masks_of_large_images_are_written_by_rows(
    membranes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = images_in(tmp_path / "in", (150, 90))
    options = PredictConfig(run=str(membranes), input=str(folder), output=str(tmp_path / "small"), tile=64)
    predict(options)
    monkeypatch.setattr("unet_exp.inference.outputs.MOST_PNG", 1000)
    options.output = str(tmp_path / "large")
    predict(options)
    for name in ("im000", "visible/im000", "overlays/im000"):
        as_png = np.asarray(Image.open(tmp_path / "small" / f"{name}.png"))
        assert np.array_equal(tifffile.imread(tmp_path / "large" / f"{name}.tif"), as_png)
    kept = {path.name for path in (tmp_path / "large").iterdir()}
    assert kept == {"im000.tif", "visible", "overlays", "probabilities", "predict.json"}


def test_an_ensemble_is_the_mean_of_its_runs(membranes: Path, tmp_path: Path) -> None:
    other = train(
        tmp_path / "other",
        "data.size=64",
        "data.split.train=4",
        "data.split.val=2",
        "seed=1",
        "transform.mean=train",
        "transform.std=train",
    )
    folder = images_in(tmp_path / "in", (48, 48))
    image = np.asarray(Image.open(folder / "im000.png"))
    each = [unet_exp.load_run(path, "cpu").probabilities(image) for path in (membranes, other)]
    options = PredictConfig(
        run=f"{membranes},{other}", input=str(folder), output=str(tmp_path / "out"), device="cpu"
    )
    predict(options)
    found = tifffile.imread(tmp_path / "out" / "probabilities" / "im000.tif")
    assert np.abs(found - (each[0][1] + each[1][1]) / 2).max() < 1e-5
    assert np.abs(each[0] - each[1]).max() > 0.01


def test_inputs_that_are_none(membranes: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    with pytest.raises(UserError, match="holds no image"):
        predict(PredictConfig(run=str(membranes), input=str(tmp_path / "x*.png"), output=out))
    with pytest.raises(UserError, match="is not a run directory"):
        predict(PredictConfig(run=str(tmp_path), input=str(images_in(tmp_path / "in", (9, 9))), output=out))
    with pytest.raises(UserError, match="folder of the images"):
        predict(PredictConfig(run=str(membranes), input=str(tmp_path / "in"), output=str(tmp_path / "in")))
