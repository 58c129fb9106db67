"""task=predict and load_run: what people hand to them, how results are named, and what fails."""

import io
import json
import os
import resource
import time
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
from tests.support import blobs, picture, save
from unet_exp.config.task_schema import EvaluateConfig, PredictConfig
from unet_exp.errors import DataError, UserError
from unet_exp.inference.load import load_run
from unet_exp.inference.predictor import Predictor
from unet_exp.tasks.evaluate import evaluate
from unet_exp.tasks.predict import predict, predict_one

Array = npt.NDArray[Any]


def folder_run(start: Path, channels: int, *overrides: str) -> Path:
    """A run on six small images that has learnt something."""
    for i in range(6):
        save(start / "data" / "images" / f"{i}.png", picture(3 * blobs(i), i, channels))
        save(start / "data" / "labels" / f"{i}.png", blobs(i))
    folder = [
        "data=image_folder",
        f"data.root={start / 'data'}",
        "trainer.plots=false",
        "trainer.log_every=0",
    ]
    return train(start / "run", *folder, "epochs=12", "lr=0.02", *overrides)


@pytest.fixture(scope="module")
def grey_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder_run(tmp_path_factory.mktemp("grey"), 1)


@pytest.fixture(scope="module")
def grey(grey_run: Path) -> Predictor:
    return load_run(grey_run, "cpu")


@pytest.fixture(scope="module")
def colour(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    return load_run(folder_run(tmp_path_factory.mktemp("colour"), 3, "epochs=2"), "cpu")


IMAGE = picture(3 * blobs(77), 77)
RGB = picture(3 * blobs(78), 78, 3)


# ---- what is handed to predict --------------------------------------------------------------------------


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
        *[(IMAGE.astype(kind), "whose white is unknown.*astype") for kind in
          ("int8", "int16", "int32", "int64", "uint32", "uint64")],
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
)  # fmt: skip
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
    for ordinary in (IMAGE, unit, unit * 0.5, unit * 1.3, np.zeros((32, 32), np.uint8), IMAGE // 20,
                     np.full((32, 32), 0.5, np.float32)):  # fmt: skip
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


# ---- task=predict ---------------------------------------------------------------------------------------


def options(run_dir: Path, given: Path | str, output: Path, **others: Any) -> PredictConfig:
    values = {"visible": False, "overlays": False, "probabilities": False, "device": "cpu", **others}
    return PredictConfig(run=str(run_dir), input=str(given), output=str(output), **values)


def masks(output: Path) -> list[str]:
    return sorted(path.name for path in output.glob("*.png"))


def fails(given: PredictConfig) -> None:
    with pytest.raises(SystemExit) as stop:
        predict(given)
    assert stop.value.code == 1


def test_no_numbers_are_named_and_the_others_are_predicted(
    grey_run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pages = np.stack([IMAGE / np.float32(255)] * 3)
    pages[1, 8, 9] = np.nan
    save(tmp_path / "in" / "stack.tif", pages)
    save(tmp_path / "in" / "whole.png", IMAGE)
    fails(options(grey_run, tmp_path / "in", tmp_path / "out"))
    assert masks(tmp_path / "out") == ["stack_000.png", "stack_002.png", "whole.png"]
    assert "stack.tif page 1 holds values that are not numbers: 1 nan and 0 infinite" in caplog.text
    assert "row 8, column 9" in caplog.text


def test_far_values_of_many_images_are_one_line(
    grey_run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for i in range(3):
        save(tmp_path / "in" / f"{i}.tif", IMAGE.astype(np.float32) * 16)
    with caplog.at_level("INFO"):
        predict(options(grey_run, tmp_path / "in", tmp_path / "out"))
    assert ["0.tif holds" in line for line in caplog.messages[:-1] if "far from the range" in line] == [True]
    assert caplog.messages[-1].endswith("3 predicted, 3 with values far from those of the training images")


def test_no_two_predictions_share_a_name(
    grey_run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Endings, cases, pages of stacks, and names that are another's with its ending."""
    stack = np.stack([IMAGE, IMAGE])
    for name in ("a.png", "a.tif", "A.npy", "b.tif", "b_001.png", "c.png", "c.png.bmp", "d.png"):
        save(tmp_path / "in" / name, stack if name == "b.tif" else IMAGE)
    with caplog.at_level("INFO"):
        predict(options(grey_run, tmp_path / "in", tmp_path / "out", probabilities=True, visible=True))
    assert masks(tmp_path / "out") == sorted([
        "a.png.png", "a.tif.png", "A.npy.png", "b.tif_000.png", "b.tif_001.png", "b_001.png.png", "c.png",
        "c.png.png", "d.png",
    ])  # fmt: skip
    assert len(list((tmp_path / "out" / "probabilities").iterdir())) == 9
    assert masks(tmp_path / "out" / "visible") == masks(tmp_path / "out")
    assert "would share their names" in caplog.text
    assert "9 predicted" in caplog.text


def test_equal_names_in_several_folders(grey_run: Path, tmp_path: Path) -> None:
    for name in ("one/x.png", "two/x.png", "two/deep/x.tif", "two/y.png"):
        save(tmp_path / "in" / name, IMAGE)
    predict(options(grey_run, tmp_path / "in" / "**" / "*.*", tmp_path / "out"))
    assert masks(tmp_path / "out") == ["one_x.png", "two_x.png", "x.tif.png", "y.png"]
    save(tmp_path / "in" / "two_x.png", IMAGE)
    save(tmp_path / "in" / "two_x.png.png", IMAGE)
    predict(options(grey_run, tmp_path / "in" / "**" / "*.png", tmp_path / "again"))
    assert len(masks(tmp_path / "again")) == 5


def test_an_output_takes_no_other_images_under_its_names(
    grey_run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for folder, image in (("one", IMAGE), ("two", 255 - IMAGE)):
        save(tmp_path / folder / "x.png", image)
    out = tmp_path / "out"
    predict(options(grey_run, tmp_path / "one", out))
    first = (out / "x.png").read_bytes()
    with pytest.raises(UserError, match=r"holds masks of other images under the names x \(of .*one/x.png\)"):
        predict(options(grey_run, tmp_path / "two", out))
    assert (out / "x.png").read_bytes() == first
    (tmp_path / "one").rename(tmp_path / "moved")  # the same images elsewhere go on
    with caplog.at_level("INFO"):
        predict(options(grey_run, tmp_path / "moved", out))
    assert "1 already there" in caplog.messages[-1]
    save(tmp_path / "moved" / "x.png", 255 - IMAGE)  # the same file with another content is done again
    predict(options(grey_run, tmp_path / "moved", out))
    assert (out / "x.png").read_bytes() != first
    strange = tmp_path / "strange"
    save(strange / "x.png", blobs(1))
    with pytest.raises(UserError, match=r"x \(which predict.json does not know\)"):
        predict(options(grey_run, tmp_path / "two", strange))
    assert [path.name for path in strange.iterdir()] == ["x.png"]
    predict(options(grey_run, tmp_path / "two", strange, overwrite=True))
    assert (strange / "x.png").read_bytes() == (out / "x.png").read_bytes()


def test_predictions_of_before_images_were_kept_go_on(grey_run: Path, tmp_path: Path) -> None:
    for name in ("x", "y"):
        save(tmp_path / "in" / f"{name}.png", IMAGE)
    out = tmp_path / "out"
    predict(options(grey_run, tmp_path / "in", out))
    settings = json.loads((out / "predict.json").read_text())
    assert sorted(settings["images"]) == ["x", "y"]
    del settings["images"]
    (out / "predict.json").write_text(json.dumps(settings | {"run": ["/moved"]}))
    (out / "y.png").unlink()
    stamp = (out / "x.png").stat().st_mtime_ns
    predict(options(grey_run, tmp_path / "in", out))
    assert masks(out) == ["x.png", "y.png"]
    assert (out / "x.png").stat().st_mtime_ns == stamp


def test_what_could_not_be_written_is_said(
    grey_run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A disk that ends within a map, and a name that is too long for it."""
    large = np.tile(IMAGE, (10, 10))
    save(tmp_path / "in" / "a.png", IMAGE)
    save(tmp_path / "in" / "b.png", large)
    save(tmp_path / "in" / f"{'c' * 250}.png", IMAGE)
    save(tmp_path / "in" / f"{'d' * 250}.tif", np.stack([IMAGE] * 2))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        fails(options(grey_run, tmp_path / "in", tmp_path / "out", probabilities=True))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert masks(tmp_path / "out") == ["a.png", f"{'c' * 250}.png"]
    assert "out/b could not be written: File too large" in caplog.text
    assert "page 0: the names of its predictions are too long" in caplog.text
    assert not list((tmp_path / "out").rglob(".*"))
    predict(options(grey_run, tmp_path / "in" / "[ab].png", tmp_path / "out", probabilities=True))
    assert "b.png" in masks(tmp_path / "out")


def test_a_failed_prediction_leaves_nothing_that_refuses_the_next(
    grey_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "new" / "out"
    save(tmp_path / "bad" / "x.png", IMAGE).write_bytes(b"no image")
    fails(options(grey_run, tmp_path / "bad", out))
    assert not out.parent.exists()
    for i in range(3):
        save(tmp_path / "in" / f"{i}.png", picture(blobs(i), i))

    def stopped(after: int) -> None:
        asked: list[int] = []

        def one(*arguments: Any) -> Any:
            if len(asked) == after:
                raise KeyboardInterrupt
            asked.append(0)
            return predict_one(*arguments)

        monkeypatch.setattr("unet_exp.tasks.predict.predict_one", one)

    stopped(0)
    with pytest.raises(KeyboardInterrupt):
        predict(options(grey_run, tmp_path / "in", out))
    assert not out.parent.exists()
    stopped(2)
    with pytest.raises(KeyboardInterrupt):
        predict(options(grey_run, tmp_path / "in", out, tile=64))
    assert masks(out) == ["0.png", "1.png"]
    monkeypatch.undo()
    predict(options(grey_run, tmp_path / "in", out, tile=64))
    assert masks(out) == ["0.png", "1.png", "2.png"]
    # With other settings, stopped in the middle: no mask of the old ones stays among the new.
    stopped(1)
    with pytest.raises(KeyboardInterrupt):
        predict(options(grey_run, tmp_path / "in", out, threshold=0.01, overwrite=True))
    assert masks(out) == ["0.png"]
    monkeypatch.undo()
    predict(options(grey_run, tmp_path / "in", out, threshold=0.01))
    assert masks(out) == ["0.png", "1.png", "2.png"]


def test_settings_of_a_killed_prediction_without_masks_refuse_nothing(grey_run: Path, tmp_path: Path) -> None:
    save(tmp_path / "in" / "x.png", IMAGE)
    predict(options(grey_run, tmp_path / "in", tmp_path / "out"))
    (tmp_path / "out" / "x.png").unlink()
    for name, age in ((".1.tmp", 4000), (".2.tmp", 9), (".3.mask", 4000)):
        (tmp_path / "out" / name).write_bytes(b"")
        os.utime(tmp_path / "out" / name, (time.time() - age,) * 2)
    predict(options(grey_run, tmp_path / "in", tmp_path / "out", tile=64))
    assert masks(tmp_path / "out") == ["x.png"]
    assert sorted(path.name for path in (tmp_path / "out").glob(".*")) == [".2.tmp"]


def test_an_output_that_is_a_file(grey_run: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="could not be written"):
        predict(options(grey_run, save(tmp_path / "x.png", IMAGE), save(tmp_path / "file.png", IMAGE)))


LAYOUTS: dict[str, tuple[list[str], dict[str, list[str]]]] = {
    "suffix": (
        ["data=image_folder", "data.images=.", "data.labels=.", "data.label_suffix=_mask"],
        {"image": ["a.png", "b.tif", "c.png"],
         "label": ["a_mask.png", "b_mask.png", "c_mask.png", "new_mask.png"]},
    ),
    "npy": (["data=npy_folder"], {"image": ["input_0.npy"], "label": ["label_0.npy"]}),
    "stack": (["data=tiff_stack"], {"image": ["train-volume.tif"], "label": ["train-labels.tif"]}),
    "csv": (["data=csv"], {"image": ["a.png", "b.png", "c.png"], "label": ["1.png", "2.png", "3.png"]}),
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_labels_of_the_runs_own_layout_are_left_out(
    layout: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings, files = LAYOUTS[layout]
    data = tmp_path / "data"
    parts = ["train", "val"] if layout == "npy" else [""]
    for part in parts:
        for kind, names in files.items():
            for i, name in enumerate(names):
                array = picture(blobs(i), i + 9 * len(part)) if kind == "image" else blobs(i)
                save(
                    data / part / name,
                    np.stack([array, array[::-1], array[:, ::-1]]) if layout == "stack" else array,
                )
    if layout == "suffix":
        (data / "new_mask.png").unlink()
    rows = zip(files["image"], files["label"], strict=False)
    (data / "list.csv").write_text("image,label\n" + "".join(f"{a},{b}\n" for a, b in rows))
    run_dir = train(tmp_path / "run", *settings, f"data.root={data}", "trainer.plots=false", "batch_size=1")
    if layout == "suffix":
        save(data / "new_mask.png", blobs(9))
    (data / ".hidden.png").write_bytes(b"")
    (data / "sub.png").mkdir()
    with caplog.at_level("INFO"):
        predict(options(run_dir, data / parts[-1], tmp_path / "out"))
    pages = 3 if layout == "stack" else 1
    assert len(masks(tmp_path / "out")) == pages * len(files["image"])
    labels = len(files["label"])
    assert f"{labels} labels in the layout of the run ({files['label'][0]}" in caplog.text
    assert ("1 with other extensions (list.csv)" in caplog.text) == (layout != "npy")
    label = data / parts[-1] / files["label"][0]
    predict(options(run_dir, label, tmp_path / "asked"))  # what is asked for by its name
    assert len(masks(tmp_path / "asked")) == pages


def test_folders_of_labels_and_earlier_predictions_are_left_out_of_a_pattern(
    grey_run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("set[1]/images/a.png", "set[1]/labels/a.png", "set[1]/more/b.png"):
        save(tmp_path / name, IMAGE)
    given = options(grey_run, tmp_path / "set[1]" / "**", tmp_path / "set[1]" / "out", visible=True)
    with caplog.at_level("INFO"):
        predict(given)
        predict(given)
    assert masks(tmp_path / "set[1]" / "out") == ["a.png", "b.png"]
    assert "1 labels in the layout of the run (a.png)" in caplog.text
    assert f"in {tmp_path / 'set[1]' / 'out'}" in caplog.text
    assert "2 already there" in caplog.messages[-1]
    with pytest.raises(UserError, match="holds no image"):
        predict(options(grey_run, tmp_path / "set[1]", tmp_path / "none"))
