"""Label files of many kinds: the classes that they mean, or a refusal with advice that works."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from tests.conftest import composed
from unet_exp.config.label_map import LabelMap, label_map
from unet_exp.config.schema import IGNORE, DataConfig
from unet_exp.data.formats import read_array
from unet_exp.data.labels import class_indices, count_values, proposal
from unet_exp.errors import DataError

MASK = (np.random.default_rng(0).random((12, 10)) < 0.4).astype(np.uint8)
FULL = np.full_like(MASK, 255)


def mapped(**values: Any) -> LabelMap:
    classes = ["a", "b"]
    return label_map(DataConfig(classes=classes, label_map=values["of"]))


def read(path: Path, array: np.ndarray) -> np.ndarray:
    if path.suffix == ".npy":
        np.save(path, array)
    elif path.suffix == ".tif":
        tifffile.imwrite(path, array, photometric="minisblack")
    else:
        Image.fromarray(array).save(path)
    return read_array(path, label=True)


SAME: dict[str, tuple[str, np.ndarray]] = {
    "grey with an opaque alpha": ("a.png", np.dstack([MASK, FULL])),
    "RGBA, opaque": ("a.png", np.dstack([MASK * 255] * 3 + [FULL])),
    "RGBA, the background transparent": ("a.png", np.dstack([MASK * 255] * 4)),
    "RGBA, white on a black that is transparent": ("a.png", np.dstack([MASK] * 3 + [MASK * 255])),
    "five channels alike": ("a.npy", np.dstack([MASK] * 5)),
    "two channels alike": ("a.npy", np.dstack([MASK * 255] * 2)),
    "an opaque alpha of 16 bits": (
        "a.npy",
        np.dstack([MASK.astype(np.uint16)] * 3 + [FULL * np.uint16(257)]),
    ),
}


@pytest.mark.parametrize("name", SAME)
def test_channels_that_say_the_same_are_one_label(name: str, tmp_path: Path) -> None:
    file, array = SAME[name]
    assert np.array_equal(class_indices(read(tmp_path / file, array), "a")[..., 0], MASK)


DIFFER: dict[str, tuple[str, np.ndarray]] = {
    "the mask in the alpha": ("a.png", np.dstack([MASK * 0, MASK * 255])),
    "the mask in the alpha of RGBA": ("a.png", np.dstack([MASK * 0] * 3 + [MASK * 255])),
    "two channels": ("a.npy", np.dstack([1 - MASK, MASK])),
    "one channel per class": ("a.npy", np.dstack([1 - MASK, MASK, MASK * 0, MASK * 0, MASK * 0])),
    "objects beside classes": ("a.npy", np.dstack([MASK, np.arange(120).reshape(12, 10)])),
}


@pytest.mark.parametrize("name", DIFFER)
def test_channels_that_differ_are_refused(name: str, tmp_path: Path) -> None:
    file, array = DIFFER[name]
    for labels in (mapped(of={0: "a", 1: "b", 255: "b"}), mapped(of={"0-0-0": "a", "255-255-255": "b"})):
        with pytest.raises(DataError, match="channels that differ"):
            class_indices(read(tmp_path / file, array), "a", labels)


def test_colours_with_an_alpha(tmp_path: Path) -> None:
    colours = np.where(MASK[..., None] > 0, np.array([255, 0, 0], np.uint8), np.uint8(0))
    labels = mapped(of={"0-0-0": "a", "255-0-0": "b"})
    for alpha in (FULL, MASK * np.uint8(255)):
        label = read(tmp_path / "a.png", np.dstack([colours, alpha]))
        assert np.array_equal(class_indices(label, "a", labels)[..., 0], MASK)
    with pytest.raises(DataError, match="colour image"):
        class_indices(label, "a")
    with pytest.raises(DataError, match="uint16 colours"):
        class_indices(colours.astype(np.uint16) * np.uint16(257), "a", labels)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("value", [np.nan, 0.5, -1, np.inf, 1e20, 3e9, 0.1])
def test_any_number_may_be_named_in_the_map(value: float, dtype: str, tmp_path: Path) -> None:
    if abs(value) > 60000 and dtype == "float16" and np.isfinite(value):
        pytest.skip("float16 does not hold it")
    label = MASK.astype(dtype)
    label[0, :4] = value
    read_back = read(tmp_path / "a.tif", label)
    counts = count_values(read_back, False)
    key = next(text for text in counts if text not in ("0", "1"))
    assert counts[key] == 4
    found = class_indices(read_back, "a", mapped(of={"0": "a", "1": "b", key: "ignore"}))[..., 0]
    assert (found[0, :4] == IGNORE).all()
    assert np.array_equal(found[1:], MASK[1:])
    with pytest.raises(DataError, match="not in the label map"):
        class_indices(read_back, "a", mapped(of={0: "a", 1: "b"}))


@pytest.mark.parametrize("dtype", ["int8", "int16", "uint32", "int64", "uint64"])
def test_integers_of_any_width(dtype: str, tmp_path: Path) -> None:
    most = np.iinfo(dtype).max
    label = np.full(MASK.shape, np.iinfo(dtype).min, dtype)
    label[MASK > 0] = most
    values = {str(np.iinfo(dtype).min): "a", str(most): "b"}
    found = class_indices(read(tmp_path / "a.npy", label), "a", mapped(of=values))
    assert np.array_equal(found[..., 0], MASK)


@pytest.mark.parametrize("dtype", ["complex64", "str"])
def test_what_is_no_number_is_refused_by_its_type(dtype: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.npy holds (complex64|<U3) values"):
        read(tmp_path / "a.npy", MASK.astype(dtype))


def test_a_map_with_nan_is_the_same_after_it_was_saved() -> None:
    """As typed, as YAML reads it back, and as text: resume compares them."""
    overrides = ["data=image_folder", "data.root=.", "data.classes=[a,b]", "loss=ce"]
    config = composed(*overrides, "data.label_map={0: a, 1: b, nan: ignore}")
    again = composed(*overrides, "data.label_map={0: a, 1: b, nan: ignore}")
    assert config.data.label_map == again.data.label_map
    assert len(label_map(config.data).values) == 3


def test_the_proposal_leaves_out_what_is_no_number() -> None:
    assert proposal(["0", "1", "nan"], ["x", "y"]) == (["x", "y"], {"0": "x", "1": "y", "nan": "ignore"})
    for nodata in ("-1", "-9999", "255", "65535"):
        expected = ["x", "y"], {"0": "x", "1": "y", nodata: "ignore"}
        assert proposal(["0", "1", nodata], ["x", "y"]) == expected
    assert proposal(["-1", "1"], ["x", "y"]) == (["x", "y"], {"-1": "x", "1": "y"})
    assert proposal(["0", "0.5", "1"], ["x", "y"]) == (
        ["class_0", "class_1", "class_2"],
        {"0": "class_0", "0.5": "class_1", "1": "class_2"},
    )
    assert proposal([str(value / 16) for value in range(17)], ["x", "y"]) is None
