"""What is known of files from an earlier start: never wrong, and never in the way."""

import dataclasses
import logging
import os
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.data.folders import config, folder_of, grey, load_all, mask, save
from unet_exp.data import samples as samples_module
from unet_exp.data.samples import Samples
from unet_exp.data.stats import Facts, look_at
from unet_exp.rundir import store

Looked = list[str]


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> Looked:
    """The names of the images whose facts are not known, in any order. Files count as written long ago."""
    names: Looked = []

    def look(image: Any, label: Any, item: Any) -> Facts:
        names.append(item.name)
        return look_at(image, label, item)

    monkeypatch.setattr(samples_module, "look_at", look)
    monkeypatch.setattr(store, "JUST_NOW", 0.0)
    return names


def loaded(root: Path, looked: Looked, cache: str = "none", **changes: Any) -> tuple[Samples, list[str]]:
    """The samples, and the images that had to be looked at."""
    looked.clear()
    given = {"cache_dir": str(root / "cache"), **changes}
    return load_all(dataclasses.replace(config(root / "data", cache=cache), **given)), sorted(looked)


def same(one: Samples, other: Samples) -> None:
    assert one.sha256 == other.sha256
    for ours, theirs in zip(one.facts, other.facts, strict=True):
        assert repr(ours) == repr(theirs)
        np.testing.assert_array_equal(ours.pixels, theirs.pixels)
        assert ours.points.keys() == theirs.points.keys()
        for index, places in ours.points.items():
            np.testing.assert_array_equal(places, theirs.points[index])
            assert places.dtype == np.int64


@pytest.mark.parametrize("cache", ["none", "ram"])
def test_a_second_start_knows_the_same_of_all_files(tmp_path: Path, looked: Looked, cache: str) -> None:
    folder_of(tmp_path / "data", 4)
    save(tmp_path / "data" / "images" / "f.tif", np.linspace(-1, 3, 30, dtype=np.float32).reshape(6, 5))
    save(tmp_path / "data" / "labels" / "f.tif", mask(9))
    first, read = loaded(tmp_path, looked, cache)
    assert len(read) == 5
    second, read = loaded(tmp_path, looked, cache)
    assert read == []
    same(first, second)
    same(first, loaded(tmp_path, looked, cache, cache_dir=None)[0])
    if cache == "ram":
        assert second.pairs is not None
        np.testing.assert_array_equal(second.pairs[0][0][..., 0], grey(0))


def test_a_file_rewritten_with_the_same_size_and_time_is_read_again(tmp_path: Path, looked: Looked) -> None:
    """And one that another took the place of, and a label; what else is known stays known."""
    root = tmp_path / "data"
    for number in range(4):
        save(root / "images" / f"{number}.npy", grey(number))
        save(root / "labels" / f"{number}.npy", mask(number))
    before, _ = loaded(tmp_path, looked)
    stat = (root / "images" / "1.npy").stat()
    save(root / "images" / "1.npy", grey(50))
    os.utime(root / "images" / "1.npy", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert (root / "images" / "1.npy").stat().st_size == stat.st_size
    save(tmp_path / "other.npy", grey(51))
    shutil.copystat(root / "images" / "2.npy", tmp_path / "other.npy")
    os.replace(tmp_path / "other.npy", root / "images" / "2.npy")
    save(root / "labels" / "3.npy", mask(52))
    after, read = loaded(tmp_path, looked)
    assert read == ["1", "2", "3"]
    same(after, loaded(tmp_path, looked, cache_dir=None)[0])
    assert before.facts[0].image_sha256 == after.facts[0].image_sha256


def test_facts_are_of_the_way_labels_are_read(tmp_path: Path, looked: Looked) -> None:
    folder_of(tmp_path / "data", 2)
    loaded(tmp_path, looked)
    turned = {0: "foreground", 255: "background"}
    other, read = loaded(tmp_path, looked, label_map=turned)
    assert len(read) == 2
    same(other, loaded(tmp_path, looked, cache_dir=None, label_map=turned)[0])


def test_a_file_written_just_now_is_not_relied_on(
    tmp_path: Path, looked: Looked, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within the clock of a file system it could be written again without another time."""
    monkeypatch.setattr(store, "JUST_NOW", 1000.0)
    folder_of(tmp_path / "data", 2)
    loaded(tmp_path, looked)
    assert len(loaded(tmp_path, looked)[1]) == 2


def test_a_cache_that_is_lost_or_damaged_does_no_harm(tmp_path: Path, looked: Looked) -> None:
    folder_of(tmp_path / "data", 3)
    first, _ = loaded(tmp_path, looked)
    (file,) = (tmp_path / "cache" / "facts").iterdir()
    whole = file.read_bytes()
    for content in (b"", whole[:100], whole[:-1], b"x" * len(whole)):
        file.write_bytes(content)
        again, read = loaded(tmp_path, looked)
        assert len(read) == 3
        same(first, again)
        for other in (tmp_path / "cache" / "facts").iterdir():
            if other != file:
                other.unlink()
    shutil.rmtree(tmp_path / "cache")
    assert len(loaded(tmp_path, looked)[1]) == 3
    assert loaded(tmp_path, looked)[1] == []


@pytest.mark.parametrize("why", ["a file in its place", "a full disk"])
def test_where_nothing_can_be_kept_one_line_says_so(
    tmp_path: Path,
    looked: Looked,
    why: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder_of(tmp_path / "data", 2)
    if why == "a full disk":
        usage = shutil.disk_usage(tmp_path)
        monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    else:
        (tmp_path / "cache").write_text("")
    with caplog.at_level(logging.WARNING):
        samples, _ = loaded(tmp_path, looked)
    assert len(samples.items) == 2
    assert caplog.text.count("what is known of the files is not kept in") == 1


def test_never_more_than_a_fifth_of_the_free_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    free = 10_000
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=free - used()))

    def used() -> int:
        return sum(path.stat().st_size for path in tmp_path.rglob("*.store"))

    foreign = [tmp_path / "mine.png", tmp_path / "facts" / "mine.png", tmp_path / "arrays" / "a" / "mine.bin"]
    for path in foreign:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(5000))

    for number in range(6):
        kept = store.Store(tmp_path, "facts")
        kept.put(store.key_of([str(number)]), bytes(600))
        kept.save()
        time.sleep(0.01)
        assert used() <= free / 5
    assert known(tmp_path, "5") == bytes(600), "the newest is there"
    assert known(tmp_path, "0") is None, "the oldest is not"
    assert all(path.exists() for path in foreign), "what is not its own stays"


def test_files_of_many_processes_become_one(tmp_path: Path) -> None:
    stores = [store.Store(tmp_path, "facts") for _ in range(store.MOST_FILES)]
    for number, one in enumerate(stores):
        one.put(store.key_of([str(number)]), str(number).encode())
        one.save()
    assert len(list((tmp_path / "facts").iterdir())) == store.MOST_FILES
    last = store.Store(tmp_path, "facts")
    last.put(store.key_of(["last"]), b"last")
    last.save()
    assert len(list((tmp_path / "facts").iterdir())) == 1
    for text in ("last", *map(str, range(store.MOST_FILES))):
        assert known(tmp_path, text) == text.encode()
    mapped = last.get(store.key_of(["3"]))
    assert mapped is not None
    assert bytes(mapped) == b"3", "what is mapped stays readable"


def known(root: Path, text: str) -> bytes | None:
    record = store.Store(root, "facts").get(store.key_of([text]))
    return None if record is None else bytes(record)
