"""What task=predict writes, what it refuses, and which files it leaves out."""

import json
import os
import resource
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import train
from tests.inference.runs import IMAGE, masks, options
from tests.support import blobs, picture, save
from unet_exp.config.task_schema import PredictConfig
from unet_exp.errors import UserError
from unet_exp.inference.outputs import Outputs
from unet_exp.tasks.predict import predict, predict_one


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
    assert masks(tmp_path / "out") == sorted(
        [
            "a.png.png",
            "a.tif.png",
            "A.npy.png",
            "b.tif_000.png",
            "b.tif_001.png",
            "b_001.png.png",
            "c.png",
            "c.png.png",
            "d.png",
        ]
    )
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

    def stopped(at: int) -> None:
        def one(files: Outputs, shown: Any) -> Any:
            if int(files.job.name) >= at:
                raise KeyboardInterrupt
            return predict_one(files, shown)

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
        {
            "image": ["a.png", "b.tif", "c.png"],
            "label": ["a_mask.png", "b_mask.png", "c_mask.png", "new_mask.png"],
        },
    ),
    "npy": (["data=npy_folder"], {"image": ["input_0.npy"], "label": ["label_0.npy"]}),
    "stack": (["data=tiff_stack"], {"image": ["train-volume.tif"], "label": ["train-labels.tif"]}),
    "csv": (["data=csv"], {"image": ["a.png", "b.png", "c.png"], "label": ["1.png", "2.png", "3.png"]}),
}


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
