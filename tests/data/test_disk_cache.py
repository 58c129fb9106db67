"""data.cache=disk: decoded arrays in one file, which is the same to training as the images themselves."""

import logging
import multiprocessing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import train
from tests.data.folders import folder_of, grey, mask, save
from unet_exp.config.label_map import label_map
from unet_exp.config.schema import DataConfig, SplitConfig
from unet_exp.data import disk_cache
from unet_exp.data.samples import Samples, load_samples
from unet_exp.data.splits import find_splits
from unet_exp.rundir.layout import read_status


def loaded(root: Path, cache: str, limit: int = 100, **options: Any) -> Samples:
    split = SplitConfig(mode="blocks", train="rest", val=0, test=0)
    data = DataConfig(kind="image_folder", root=str(root / "data"), split=split, **options)
    items = find_splits(data)["train"]
    return load_samples(items, "train", cache, limit, label_map(data), None, str(root / "cache"))


def files(root: Path) -> list[Path]:
    return sorted((root / "cache" / "arrays").glob("*/arrays.bin"))


def same_pairs(one: Samples, other: Samples) -> None:
    assert one.pairs is not None
    assert other.pairs is not None
    for ours, theirs in zip(one.pairs, other.pairs, strict=True):
        for a, b in zip(ours, theirs, strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b)


def test_arrays_of_every_kind_are_those_of_the_files(tmp_path: Path) -> None:
    """Of other sizes and types, of other byte order, and of colours."""
    folder_of(tmp_path / "data", 3)
    images = {
        "big": grey(5, (9, 7)).astype(">u2") * 257,
        "float": np.linspace(-1, 1, 35).reshape(5, 7).astype(np.float32),
        "small": grey(6, (1, 3)),
    }
    for name, image in images.items():
        save(tmp_path / "data" / "images" / f"{name}.npy", image)
        save(tmp_path / "data" / "labels" / f"{name}.npy", (image > image.mean()).astype(np.uint8))
    in_ram = loaded(tmp_path, "ram")
    for _ in range(2):
        mapped = loaded(tmp_path, "disk")
        assert (mapped.kept, in_ram.kept) == ("disk", "ram")
        same_pairs(mapped, in_ram)
        assert mapped.sha256 == in_ram.sha256
    assert len(files(tmp_path)) == 1


def test_other_content_is_another_file_and_damage_is_mended(tmp_path: Path) -> None:
    folder_of(tmp_path / "data", 3)
    loaded(tmp_path, "disk")
    (first,) = files(tmp_path)
    first.write_bytes(first.read_bytes()[:-1])
    same_pairs(loaded(tmp_path, "disk"), loaded(tmp_path, "ram"))
    save(tmp_path / "data" / "images" / "01.png", grey(70))
    same_pairs(loaded(tmp_path, "disk"), loaded(tmp_path, "ram"))
    assert len(files(tmp_path)) == 2


def test_object_numbers_are_told_apart_where_their_classes_are_equal(tmp_path: Path) -> None:
    numbers = np.zeros((12, 12), np.uint16)
    numbers[2:5, 2:5] = 1
    numbers[7:10, 7:10] = 2
    options: dict[str, Any] = {"labels_are": "objects", "classes": ["background", "interior", "border"]}
    for swapped in (False, True):
        save(tmp_path / "data" / "images" / "a.png", grey(1, (12, 12)))
        label = np.where(numbers, 3 - numbers, 0) if swapped else numbers
        save(tmp_path / "data" / "labels" / "a.tif", label)
        same_pairs(loaded(tmp_path, "disk", **options), loaded(tmp_path, "ram", **options))


def test_auto_takes_the_disk_where_decoding_costs_more_than_reading(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    folder_of(tmp_path / "data", 2)
    assert loaded(tmp_path, "auto", 0).kept == "disk"
    assert "train is larger than 0 MB, so it is kept decoded in data.cache_dir" in caplog.text
    for path in (tmp_path / "data").rglob("*.png"):
        path.unlink()
    for number in range(2):
        save(tmp_path / "data" / "images" / f"{number}.npy", grey(number))
        save(tmp_path / "data" / "labels" / f"{number}.npy", mask(number))
    assert loaded(tmp_path, "auto", 0).kept == "none"


def test_where_there_is_no_room_files_are_read_each_time(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(root: Path, size: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(disk_cache, "make_room", full)
    folder_of(tmp_path / "data", 2)
    samples = loaded(tmp_path, "disk")
    assert samples.kept == "none"
    assert "train is not kept decoded in" in caplog.text
    assert "No space left on device" in caplog.text


def load_in_process(root: Path, results: Any) -> None:
    results.put(loaded(root, "disk").sha256)


def test_several_processes_share_one_file(tmp_path: Path) -> None:
    folder_of(tmp_path / "data", 40)
    context = multiprocessing.get_context("spawn")
    results: Any = context.Queue()
    processes = [context.Process(target=load_in_process, args=(tmp_path, results)) for _ in range(3)]
    for process in processes:
        process.start()
    found = {results.get(timeout=120) for _ in processes}
    for process in processes:
        process.join()
    assert found == {loaded(tmp_path, "ram").sha256}
    assert len(files(tmp_path)) == 1


def test_a_run_has_the_same_bits(tmp_path: Path) -> None:
    """With loader processes too, and with weight maps."""
    given = ["loss.w0=10", "trainer.plots=false", "num_workers=1"]
    runs = [train(tmp_path / cache, *given, f"data.cache={cache}") for cache in ("ram", "disk", "none")]
    scores = [(run / "metrics.csv").read_text().splitlines()[-1].split(",")[1:6] for run in runs]
    assert scores[0] == scores[1] == scores[2]
    assert all(read_status(run)["state"] == "finished" for run in runs)
