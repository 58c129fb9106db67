"""Images with an up and a down are recognised, and not turned over by the line of check_data."""

from pathlib import Path

import numpy as np
import pytest

from tests.data.sets import SMALL, line_of, pasted, save, settings, survey, train
from unet_exp.config.resolve import check
from unet_exp.rundir import layout

PLAIN = [
    "data.symmetries=left_right",
    "++transform.train.flip.up_down=false",
    "transform.train.rotate90=null",
]
WARPED = [
    "data.symmetries=left_right",
    "transform.train.crop.up_down=false",
    "transform.train.crop.turn=false",
]


def landscape(root: Path, turned: bool) -> None:
    """Twelve images, bright above a horizon. turned: every other one by half a turn."""
    rng = np.random.default_rng(0)
    for number in range(12):
        sky = np.broadcast_to(np.arange(64)[:, None] < rng.integers(16, 40), (64, 64))
        if turned and number % 2:
            sky = sky[::-1]
        image = 60 + 100 * sky + rng.integers(0, 40, (64, 64))
        save(root / "images" / f"{number:02d}.png", image.astype(np.uint8))
        save(root / "labels" / f"{number:02d}.png", sky.astype(np.uint8))


@pytest.mark.parametrize(
    ("typed", "expected"), [([], PLAIN), (["transform=strong", "transform.train.crop.size=32"], WARPED)]
)
def test_a_landscape_is_not_turned_over(
    typed: list[str],
    expected: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    landscape(tmp_path / "data", turned=False)
    words = ["data=image_folder", "data.root=data", "data.classes=[ground,sky]", *typed]
    said = survey(capsys, *words, typed=tuple(words))
    assert "the images have an up and a down: sky lies above the middle" in " ".join(said.split())
    line = pasted(line_of(said))
    assert set(expected) <= set(line), line
    assert survey(capsys, *line, typed=tuple(line)).rstrip().endswith("ready")
    train(tmp_path / "run", [*line, *SMALL])
    kept = check(settings(line))
    assert kept.data.symmetries == "left_right"
    assert (tmp_path / "run" / layout.CHECKPOINTS / "best.pt").exists()


def test_images_without_an_up_and_a_down_are_turned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    landscape(tmp_path / "data", turned=True)
    said = survey(capsys, "data=image_folder", "data.root=data")
    assert "up and a down" not in said
    assert "symmetries" not in line_of(said)
