"""Every kind of file, as people have them, through check_data, training, evaluate and predict."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

import unet_exp
from tests.conftest import composed, train
from tests.support import blobs, picture, save
from tests.tasks.common import Array, S, read_json, same, unit
from unet_exp.config.task_schema import EvaluateConfig, PredictConfig
from unet_exp.data.items import files_in
from unet_exp.tasks.check_data import check_data
from unet_exp.tasks.evaluate import evaluate
from unet_exp.tasks.predict import predict


def wide(array: Array) -> Array:
    return array.astype(np.uint16) * 257


# Channels -> kinds of files that lie side by side in one folder.
IMAGES: dict[int, list[tuple[str, Any]]] = {
    1: [
        (".png", same),
        (".png", wide),
        (".jpg", same),
        (".bmp", same),
        (".tif", same),
        (".tif", wide),
        (".tif", unit),
        (".npy", unit),
        (".npz", same),
    ],
    3: [(".png", same), (".jpeg", same), (".bmp", same), (".tif", same), (".tif", wide), (".npy", wide)],
    4: [(".png", same), (".tif", same), (".npz", unit)],
    5: [(".tif", wide), (".npy", same), (".npz", wide)],
}


COLOURS = np.array([[0, 0, 0], [255, 0, 0]], np.uint8)


LABELS: dict[int, tuple[list[tuple[str, Any]], list[str]]] = {
    1: (
        [
            (".png", same),
            (".tif", same),
            (".npy", lambda a: a.astype(np.int64)),
            (".npz", lambda a: a.astype(bool)),
        ],
        [],
    ),
    3: (
        [(".png", lambda a: COLOURS[a]), (".bmp", lambda a: COLOURS[a])],
        ["data.label_map={0-0-0: background, 255-0-0: foreground}"],
    ),
    4: ([(".bmp", lambda a: a * np.uint8(255)), (".png", lambda a: a * np.uint8(255))], []),
    5: (
        [(".tif", lambda a: a.astype(np.uint16) * 500 + 7)],
        ["data.label_map={7: background, 507: foreground}"],
    ),
}


@pytest.mark.parametrize("channels", IMAGES)
def test_every_kind_of_file_through_all_verbs(
    channels: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    kinds, (label_kinds, settings) = IMAGES[channels], LABELS[channels]
    for i, (ending, stored) in enumerate(kinds):
        label_ending, as_label = label_kinds[i % len(label_kinds)]
        save(tmp_path / "data" / "images" / f"{i}{ending}", stored(picture(blobs(i), i, channels)))
        save(tmp_path / "data" / "labels" / f"{i}{label_ending}", as_label(blobs(i)))
    data = ["data=image_folder", "data.root=data", "data.split.val=1", "batch_size=2", *settings]
    check_data(composed(*data))
    said = capsys.readouterr().out
    assert said.rstrip().endswith("ready"), said
    assert f"pairs:    {len(kinds)} (train {len(kinds) - 1}, val 1, test 0; split by blocks)" in said
    assert (tmp_path / "check_data" / "samples.png").exists()
    assert (tmp_path / "check_data" / "augmented.png").exists()
    run_dir = train(tmp_path / "run", *data)
    evaluate(EvaluateConfig(run="run", worst=1))
    (tmp_path / "data" / "labels").rename(tmp_path / "data" / "gone")  # predictions need no labels
    predict(PredictConfig(run="run", input="data/images", output="out"))
    for i in range(len(kinds)):
        found = np.asarray(Image.open(tmp_path / "out" / f"{i}.png"))
        assert found.shape == (S, S)
        assert set(np.unique(found)) <= {0, 1}
        assert set(np.unique(np.asarray(Image.open(tmp_path / "out" / "visible" / f"{i}.png")))) <= {0, 255}
        assert np.asarray(Image.open(tmp_path / "out" / "overlays" / f"{i}.png")).shape == (S, S, 3)
        maps = tifffile.imread(tmp_path / "out" / "probabilities" / f"{i}.tif")
        assert maps.dtype == np.float32
        assert np.array_equal(maps > 0.5, found == 1)
    assert read_json(run_dir / "evaluation" / "val" / "evaluation.json")["images"] == 1


@pytest.mark.parametrize("stored", [lambda a: a.astype(np.uint16) * 9, lambda a: a * np.float32(7) - 20])
def test_unusual_ranges_are_normalised_by_the_training_images(
    stored: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """12 bits in 16, floats beyond [0, 1]: the survey says what to add."""
    monkeypatch.chdir(tmp_path)
    for i in range(4):
        save(tmp_path / "data" / "images" / f"{i}.tif", stored(picture(blobs(i), i)))
        save(tmp_path / "data" / "labels" / f"{i}.png", blobs(i))
    check_data(composed("data=image_folder", "data.root=data", "batch_size=2"))
    said = capsys.readouterr().out
    assert "transform.mean=train" in said
    assert "transform.std=train" in said


def test_stacks_of_pages_through_all_verbs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    masks = np.stack([blobs(i) for i in range(4)])
    images = np.stack([picture(mask, i) for i, mask in enumerate(masks)])
    save(tmp_path / "data" / "images" / "a.tif", images)
    save(tmp_path / "data" / "labels" / "a.tif", masks * np.uint8(255))
    check_data(composed("data=image_folder", "data.root=data", "batch_size=2"))
    assert "pairs:    4" in capsys.readouterr().out
    train(tmp_path / "run", "data=image_folder", "data.root=data")
    predict(PredictConfig(run="run", input="data/images/a.tif", output="out", probabilities="uint16"))
    assert [path.name for path in files_in(tmp_path / "out", (".png",))] == [f"a_00{i}.png" for i in range(4)]
    maps = tifffile.imread(tmp_path / "out" / "probabilities" / "a_002.tif")
    exact = unet_exp.load_run("run").probabilities(images[2])[1]
    assert maps.dtype == np.uint16
    assert np.abs(maps / 65535 - exact).max() < 1e-4
