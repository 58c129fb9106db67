"""Small images are predicted several at a time; nobody sees it but by the clock."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import unet_exp
from tests.inference.runs import IMAGE, masks, options
from tests.support import blobs, picture, save
from unet_exp.data.formats import read_array
from unet_exp.tasks.predict import predict


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def contents(folder: Path) -> dict[str, np.ndarray]:
    paths = (path for path in folder.rglob("*.*") if path.suffix != ".json")
    return {str(path.relative_to(folder)): read_array(path) for path in paths}


def test_files_are_the_same_whatever_the_number_of_workers(
    grey_run: Path,
    tmp_path: Path,
    threads: None,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Images of one and of several tiles, a file that counts as large, and one that can't be read."""
    for i in range(6):
        save(tmp_path / "in" / f"{i}.png", picture(blobs(i), i))
    save(tmp_path / "in" / "7.png", np.tile(IMAGE, (3, 2)))
    save(tmp_path / "in" / "8.png", IMAGE).write_bytes(b"no image")
    save(tmp_path / "in" / "9.tif", np.random.default_rng(0).integers(0, 255, (90, 90), np.uint8))
    monkeypatch.setattr("unet_exp.inference.workers.LARGE_FILE", 6000)
    found = []
    for number in (1, 4):
        torch.set_num_threads(number)
        caplog.clear()
        with pytest.raises(SystemExit):
            predict(options(grey_run, tmp_path / "in", tmp_path / f"{number}", tile=96, probabilities=True))
        assert caplog.text.count("error:") == 1
        assert "8.png can't be read" in caplog.text
        assert torch.get_num_threads() == number
        found.append(contents(tmp_path / f"{number}"))
    assert found[0].keys() == found[1].keys()
    for name, array in found[0].items():
        np.testing.assert_allclose(found[1][name], array, atol=1e-6, err_msg=name)
    assert len(masks(tmp_path / "4")) == 8
    predictor = unet_exp.load_run(grey_run).with_options(tile=96)
    for name in masks(tmp_path / "4"):
        image = next((tmp_path / "in").glob(f"{Path(name).stem}.*"))
        np.testing.assert_array_equal(read_array(tmp_path / "4" / name)[..., 0], predictor.predict(image))
