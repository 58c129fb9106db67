"""task=predict and load_run: what people hand to them, how results are named, and what fails."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tifffile
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import unet_exp
from tests.conftest import train
from tests.inference.runs import IMAGE, folder_run, masks, options
from tests.support import blobs, picture, save
from unet_exp import load_run
from unet_exp.config.task_schema import EvaluateConfig
from unet_exp.errors import DataError
from unet_exp.inference.predictor import Predictor
from unet_exp.tasks.evaluate import evaluate
from unet_exp.tasks.predict import predict

Array = npt.NDArray[Any]


@pytest.fixture(scope="module")
def colour(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    return load_run(folder_run(tmp_path_factory.mktemp("colour"), 3, "epochs=2"), "cpu")


RGB = picture(3 * blobs(78), 78, 3)


def test_the_same_image_in_every_form_has_the_same_mask(grey: Predictor, tmp_path: Path) -> None:
    want = grey.predict(IMAGE)
    assert 0.1 < want.mean() < 0.9
    wide = IMAGE.astype(np.uint16) * 257
    np.save(tmp_path / "a.npy", IMAGE)
    stored = np.zeros((64, 64), np.uint8)
    stored[::2, ::-2] = IMAGE
    forms: dict[str, Any] = {
        "one channel": IMAGE[..., None],
        "uint16": wide,
        "big-endian": wide.astype(">u2"),
        "float32": IMAGE / np.float32(255),
        "float64": IMAGE / 255,
        "longdouble": IMAGE / np.longdouble(255),
        "columns first in memory": np.asfortranarray(IMAGE),
        "strides": stored[::2, ::-2],
        "read only": np.broadcast_to(IMAGE, IMAGE.shape),
        "memmap": np.load(tmp_path / "a.npy", mmap_mode="r"),
        "lists of floats": (IMAGE / 255).tolist(),
        "masked, without a mask": np.ma.masked_array(IMAGE),
        "tensor": torch.from_numpy(IMAGE),
        "tensor with a gradient": torch.from_numpy(IMAGE / np.float32(255)).requires_grad_(),
        "PIL": Image.fromarray(IMAGE),
        "PIL, 16 bits": Image.fromarray(wide),
        "PIL, float": Image.fromarray(IMAGE / np.float32(255)),
        "PIL with EXIF": exif(Image.fromarray(np.rot90(IMAGE)), 6),
        "path": save(tmp_path / "a.png", IMAGE),
        "text": str(save(tmp_path / "a.tif", wide)),
    }
    for name, form in forms.items():
        assert np.array_equal(grey.predict(form), want), name
    black = np.array(blobs(5), bool)
    as_bytes = grey.predict(black.astype(np.uint8) * np.uint8(255))
    for form in (black, Image.fromarray(black), torch.from_numpy(black), black.tolist()):
        assert np.array_equal(grey.predict(form), as_bytes)
    half = IMAGE.astype(np.float16) / np.float16(255)
    assert np.abs(grey.probabilities(half) - grey.probabilities(IMAGE)).max() < 0.02
    assert np.array_equal(grey.predict(torch.from_numpy(IMAGE / 255).bfloat16()).shape, want.shape)


def exif(image: Image.Image, orientation: int) -> Image.Image:
    image.getexif()[0x0112] = orientation
    return image


def test_pil_images_of_every_mode_are_as_their_files(colour: Predictor, tmp_path: Path) -> None:
    image = Image.fromarray(RGB)
    for mode, ending in (("RGB", "png"), ("P", "png"), ("P", "bmp"), ("CMYK", "jpg"), ("YCbCr", "jpg")):
        converted = image.convert(mode)
        path = tmp_path / f"{mode}.{ending}"
        converted.save(path)
        of_file = colour.predict(path)
        with Image.open(path) as opened:
            assert np.array_equal(colour.predict(opened), of_file), mode
    for mode, said in (("L", r"shape \(32, 32, 1\)"), ("RGBA", r"shape \(32, 32, 4\)"), ("HSV", "mode HSV")):
        with pytest.raises(DataError, match=said):
            colour.predict(image.convert(mode))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        *[
            (IMAGE.astype(kind), "whose white is unknown.*astype")
            for kind in ("int8", "int16", "int32", "int64", "uint32", "uint64")
        ],
        (IMAGE.tolist(), "holds int64 values"),
        (torch.from_numpy(IMAGE).long(), "the tensor holds int64 values"),
        (torch.rand(8, 8).to_sparse(), "the tensor, Tensor, can't be made an array: .*Sparse"),
        (Image.fromarray(IMAGE.astype(np.int32)), "the PIL image holds int32 values"),
        (IMAGE.astype(complex), "complex128 values"),
        (IMAGE.astype(str), "<U3 values"),
        (IMAGE.astype(object), "object values"),
        (IMAGE[None], "the channels are in front: numpy.moveaxis"),
        (torch.from_numpy(IMAGE)[None], r"image\.permute"),
        (RGB, r"shape \(32, 32, 3\).*allowed: height x width x 1 channel.*convert it"),
        (np.stack([IMAGE] * 5), "if these are 5 images"),
        (IMAGE[None, None], r"shape \(1, 1, 32, 32\).*one image at a time"),
        ([IMAGE, IMAGE], "a list of 2 images"),
        (["a.png", "b.png"], "a list of 2 images"),
        ((Path("a.png"),), "a tuple of 1 images"),
        ([Image.fromarray(IMAGE)], "a list of 1 images"),
        (IMAGE[:0], r"shape \(0, 32\)"),
        (IMAGE[0], r"shape \(32,\)"),
        ([[1.0, 2.0], [3.0]], "can't be made an array"),
        ([], "shape"),
        (None, "NoneType is not an image"),
        (7, "int is not an image"),
        ({"image": IMAGE}, "dict is not an image"),
        (b"\x89PNG", "bytes is not an image"),
        ("there/is/none.png", "none.png can't be read: No such file"),
        (".", "can't be read"),
        ("~no.user/a.png", "~no.user/a.png can't be read"),
        (np.ma.masked_array(IMAGE, IMAGE > 99), "masked"),
        (np.where(IMAGE > 100, np.nan, IMAGE / 255), r"the image holds values that are not numbers: \d+ nan"),
        (np.where(IMAGE > 100, np.inf, IMAGE / 255), r"0 nan and \d+ infinite of 1024"),
    ],
)
def test_what_is_no_image_is_named(grey: Predictor, given: Any, said: str) -> None:
    with pytest.raises(DataError, match=f"(?s){said}"):
        grey.predict(given)


def test_a_stack_as_a_path_is_refused(grey: Predictor, tmp_path: Path) -> None:
    path = save(tmp_path / "stack.tif", np.stack([IMAGE, IMAGE]))
    with pytest.raises(DataError, match="holds 2 pages"):
        grey.predict(path)


def test_overviews_of_a_tiff_are_not_predicted(grey_run: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    with tifffile.TiffWriter(tmp_path / "in" / "a.tif") as file:
        file.write(IMAGE, photometric="minisblack")
        file.write(IMAGE[::2, ::2], photometric="minisblack", subfiletype=1)
        file.write(IMAGE[::4, ::4], photometric="minisblack", subfiletype=1)
    predict(options(grey_run, tmp_path / "in", tmp_path / "out"))
    assert masks(tmp_path / "out") == ["a.png"]
    predictor = load_run(grey_run, "cpu")
    assert np.array_equal(predictor.predict(tmp_path / "in" / "a.tif"), predictor.predict(IMAGE))


def test_channels_in_front_are_named_for_colour_too(colour: Predictor) -> None:
    assert colour.predict(RGB).shape == (32, 32)
    assert np.array_equal(colour.predict(torch.from_numpy(RGB.copy())), colour.predict(RGB))
    for given in (RGB.transpose(2, 0, 1), torch.from_numpy(RGB.transpose(2, 0, 1).copy())):
        with pytest.raises(DataError, match="the channels are in front"):
            colour.predict(given)
    with pytest.raises(DataError, match=r"shape \(32, 32, 1\)"):
        colour.predict(IMAGE)


def test_values_far_from_those_of_training_are_warned_about_in_one_line(
    grey: Predictor, caplog: pytest.LogCaptureFixture
) -> None:
    unit = IMAGE / np.float32(255)
    for ordinary in (
        IMAGE,
        unit,
        unit * 0.5,
        unit * 1.3,
        np.zeros((32, 32), np.uint8),
        IMAGE // 20,
        np.full((32, 32), 0.5, np.float32),
    ):
        grey.predict(ordinary)
    assert caplog.messages == []
    for strange in (
        IMAGE.astype(np.float32),
        unit * 4095,
        IMAGE.astype(np.uint16) * 16,
        unit / 255,
        unit - 9,
    ):
        caplog.clear()
        grey.predict(strange)
        assert len(caplog.messages) == 1
        assert "far from the range" in caplog.messages[0]
    old = grey.with_options(seen=[])  # a run that does not know what it was trained on
    caplog.clear()
    old.predict(unit * 4095)
    assert caplog.messages == []


def test_a_network_that_gives_no_numbers_is_said(grey: Predictor) -> None:
    with pytest.raises(DataError, match="the network returns nan or infinity for the image"):
        grey.predict(IMAGE * np.float32(1e36))


def test_a_run_without_its_values_is_read_as_before(grey_run: Path) -> None:
    path = grey_run / "environment.json"
    text = path.read_text()
    values = json.loads(text)["data"]["train"]["values"]
    assert 0 <= values["low"] < values["high"] <= 1
    assert 0 < values["span"] <= values["high"] - values["low"]
    try:
        for changed in ({}, {"values": None}, {"values": {"low": 0}}, {"values": 3}):
            environment = json.loads(text)
            environment["data"]["train"] = changed
            path.write_text(json.dumps(environment))
            assert unet_exp.load_run(grey_run, "cpu").seen == []
    finally:
        path.write_text(text)


def test_no_numbers_stop_an_evaluation_with_their_place(grey_run: Path, tmp_path: Path) -> None:
    broken = IMAGE / np.float32(255)
    broken[4, 7] = np.nan
    for i in range(5):
        save(tmp_path / "images" / f"{i}.tif", IMAGE if i < 4 else broken)
        save(tmp_path / "labels" / f"{i}.png", blobs(77))
    options = EvaluateConfig(run=str(grey_run), worst=0, split="all", output=str(tmp_path / "out"))
    options.data.root = str(tmp_path)
    with pytest.raises(DataError, match=r"4\.tif holds values .*: 1 nan .* row 4, column 7"):
        evaluate(options)


def test_pictures_of_12_bits_in_16_use_the_whole_range(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for i in range(4):
        save(tmp_path / "data" / "images" / f"{i}.tif", picture(3 * blobs(i), i).astype(np.uint16) * 16)
        save(tmp_path / "data" / "labels" / f"{i}.png", blobs(i))
    folder = ["data=image_folder", f"data.root={tmp_path / 'data'}", "trainer.plots=false"]
    run_dir = train(tmp_path / "run", *folder, "trainer.images_every=1")
    assert sum("transform.mean=train" in message for message in caplog.messages) == 1
    events = EventAccumulator(str(run_dir / "tensorboard" / "val"))
    events.Reload()
    shown = [np.asarray(Image.open(io.BytesIO(events.Images("input")[0].encoded_image_string)))]
    predict(options(run_dir, tmp_path / "data" / "images", tmp_path / "out", overlays=True))
    shown.append(np.asarray(Image.open(tmp_path / "out" / "overlays" / "0.png")))
    for found in shown:
        assert found.min() < 2
        assert found.max() > 253
    caplog.clear()  # what such a run was trained on is known in its own unit
    predictor = load_run(run_dir, "cpu")
    predictor.predict(tmp_path / "data" / "images" / "0.tif")
    assert caplog.messages == []
    predictor.predict(picture(3 * blobs(0), 0))
    assert len(caplog.messages) == 1
