"""task=measure: tables of numbered images and their images, pixel sizes of real files, files that lack."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from tests.conftest import Cli
from tests.tasks.common import rows_of
from unet_exp.config.task_schema import MeasureConfig
from unet_exp.data.pixel_size import read_pixel_size
from unet_exp.errors import UserError
from unet_exp.inference.object_files import write_numbers
from unet_exp.tasks.measure import measure

NUMBERS = np.zeros((12, 20), np.uint16)
NUMBERS[2:6, 0:6] = 2
NUMBERS[9, 10:15] = 7
GREY = np.where(NUMBERS > 0, 10, 0).astype(np.uint8)


def two_images(start: Path) -> tuple[str, str]:
    """objects/ and images/ of a.tif and b.tif, where b has no object; and an image without numbers."""
    (start / "objects").mkdir()
    (start / "images").mkdir()
    for name, numbers in (("a", NUMBERS), ("b", NUMBERS * 0)):
        tifffile.imwrite(start / "objects" / f"{name}.tif", numbers)
        Image.fromarray(GREY).save(start / "images" / f"{name}.png")
    Image.fromarray(GREY).save(start / "images" / "stranger.png")
    (start / "images" / "notes.txt").write_text("no image")
    return str(start / "objects"), str(start / "images")


def test_tables_of_a_hand_countable_image(cli: Cli, tmp_path: Path) -> None:
    two_images(tmp_path)
    done = cli("task=measure", "objects=objects", "input=images", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert "left out: 1 image without numbers (stranger)" in done.stdout
    assert "2 objects in 2 images" in done.stdout
    rows = rows_of(tmp_path / "objects" / "objects.csv")
    assert [(row["image"], row["number"], row["area_px"], row["mean_0"]) for row in rows] == [
        ("a", "2", "24", "10.0"),
        ("a", "7", "5", "10.0"),
    ]
    assert "area_um2" not in rows[0]
    counts = rows_of(tmp_path / "objects" / "counts.csv")
    assert [(row["image"], row["objects"]) for row in counts] == [("a", "2"), ("b", "0")]
    again = cli("task=measure", "objects=objects", "input=images", "pixel_size=0.5", cwd=tmp_path)
    assert again.returncode == 0, again.stdout  # its tables are no numbered images
    assert rows_of(tmp_path / "objects" / "objects.csv")[0]["area_um2"] == "6.0"


def test_folders_of_any_name(cli: Cli, tmp_path: Path) -> None:
    two_images(tmp_path)
    (tmp_path / "objects").rename(tmp_path / "my cells, [2] $x")
    done = cli("task=measure", "objects=my cells, [2] $x", "input=images", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert (tmp_path / "my cells, [2] $x" / "counts.csv").exists()


def test_pixels_that_are_not_square_are_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    objects, images = two_images(tmp_path)
    tifffile.imwrite(tmp_path / "objects" / "b.tif", NUMBERS)
    measure(
        MeasureConfig(objects=objects, input=images, output=str(tmp_path / "out"), pixel_size=[0.5, 0.25])
    )
    rows = rows_of(tmp_path / "out" / "objects.csv")
    assert len(rows) == 4
    assert {row["perimeter_um"] for row in rows} == {""}
    assert float(rows[0]["perimeter_px"]) == 16
    assert float(rows[0]["area_um2"]) == 24 * 0.5 * 0.25
    assert caplog.text.count("perimeter_um is empty where pixels are not square") == 1


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("a.tif", {"imagej": True, "resolution": (4, 2), "metadata": {"unit": "um"}}, (0.5, 0.25)),
        ("a.tif", {"imagej": True, "resolution": (2, 2), "metadata": {"unit": "micron"}}, (0.5, 0.5)),
        ("a.tif", {"imagej": True, "resolution": (2, 2), "metadata": {"unit": "\\u00B5m"}}, (0.5, 0.5)),
        ("a.tif", {"imagej": True, "resolution": (0.02, 0.01), "metadata": {"unit": "nm"}}, (0.1, 0.05)),
        ("a.tif", {"imagej": True, "resolution": (72, 72), "metadata": {"unit": "inch"}}, None),
        ("a.tif", {"imagej": True, "resolution": (2, 2)}, None),
        (
            "a.ome.tif",
            {"metadata": {"axes": "YX", "PhysicalSizeY": 0.5, "PhysicalSizeX": 0.25}},
            (0.5, 0.25),
        ),
        (
            "a.ome.tif",
            {
                "metadata": {
                    "axes": "YX",
                    "PhysicalSizeY": 500.0,
                    "PhysicalSizeYUnit": "nm",
                    "PhysicalSizeX": 0.00025,
                    "PhysicalSizeXUnit": "mm",
                }
            },
            (0.5, 0.25),
        ),
        ("a.ome.tif", {"metadata": {"axes": "YX", "PhysicalSizeX": 0.25}}, None),
        ("a.tif", {"resolution": (72, 72), "resolutionunit": "INCH"}, None),
        ("a.tif", {"resolution": (28, 28), "resolutionunit": "CENTIMETER"}, None),
    ],
)
def test_pixel_sizes_of_real_files(
    name: str, options: dict[str, Any], expected: tuple[float, float] | None, tmp_path: Path
) -> None:
    (tmp_path / "objects").mkdir()
    (tmp_path / "images").mkdir()
    tifffile.imwrite(tmp_path / "objects" / f"{Path(name).stem}.tif", NUMBERS)
    tifffile.imwrite(tmp_path / "images" / name, GREY, **options)
    objects, images = str(tmp_path / "objects"), str(tmp_path / "images")
    measure(MeasureConfig(objects=objects, input=images))
    first = rows_of(tmp_path / "objects" / "objects.csv")[0]
    size = read_pixel_size(tmp_path / "images" / name)
    if expected is None:
        assert size is None
        assert not [column for column in first if column.endswith(("_um", "_um2"))]
        return
    assert size == pytest.approx(expected, rel=1e-5)
    assert float(first["area_um2"]) == pytest.approx(24 * expected[0] * expected[1], rel=1e-5)
    assert float(first["row_um"]) == pytest.approx(3.5 * expected[0], rel=1e-5)
    assert float(first["column_um"]) == pytest.approx(2.5 * expected[1], rel=1e-5)


def test_a_resolution_for_print_in_a_png_is_no_pixel_size(tmp_path: Path) -> None:
    Image.fromarray(GREY).save(tmp_path / "a.png", dpi=(72, 72))
    assert read_pixel_size(tmp_path / "a.png") is None


def test_numbers_are_uint16_and_above_65535_objects_uint32(tmp_path: Path) -> None:
    for highest, dtype in ((65_535, np.uint16), (65_536, np.uint32)):
        objects = np.zeros((4, 5), np.int32)
        objects[1, 2] = highest
        write_numbers(tmp_path / "a.tif", objects)
        stored = tifffile.imread(tmp_path / "a.tif")
        assert stored.dtype == dtype
        assert np.array_equal(stored, objects)


def test_colours_are_made_grey_where_asked(tmp_path: Path) -> None:
    objects, images = two_images(tmp_path)
    Image.fromarray(np.stack([GREY, 0 * GREY, 0 * GREY], axis=-1)).save(tmp_path / "images" / "a.png")
    measure(MeasureConfig(objects=objects, input=images))
    assert rows_of(tmp_path / "objects" / "objects.csv")[0]["mean_2"] == "0.0"
    measure(MeasureConfig(objects=objects, input=images, channels="grey"))
    first = rows_of(tmp_path / "objects" / "objects.csv")[0]
    assert first["mean_0"] == "3.0"
    assert "mean_1" not in first


def test_what_a_correction_left_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    objects, images = two_images(tmp_path)
    left = NUMBERS.copy()
    left[11, 19] = 2
    tifffile.imwrite(tmp_path / "objects" / "a.tif", left)
    measure(MeasureConfig(objects=objects, input=images))
    assert "a.tif: objects of several pieces: 2" in caplog.text


def test_files_that_lack_or_do_not_fit(tmp_path: Path) -> None:
    objects, images = two_images(tmp_path)
    (tmp_path / "images" / "b.png").unlink()
    with pytest.raises(UserError, match="lacks the images of b"):
        measure(MeasureConfig(objects=objects, input=images))
    with pytest.raises(UserError, match="holds no image"):
        measure(MeasureConfig(objects=objects, input=f"{images}/*.txt"))
    Image.fromarray(GREY[:-1]).save(tmp_path / "images" / "b.png")
    with pytest.raises(UserError, match=r"b.tif is 12 x 20, but .*b.png is 11 x 20"):
        measure(MeasureConfig(objects=objects, input=images))


@pytest.mark.parametrize("size", [-1, 0, "wide", True, [1, 2, 3], [0.5, float("inf")]])
def test_what_is_no_pixel_size(size: object, tmp_path: Path) -> None:
    objects, images = two_images(tmp_path)
    with pytest.raises(UserError, match="pixel_size is"):
        measure(MeasureConfig(objects=objects, input=images, pixel_size=size))


@pytest.mark.parametrize(
    "text",
    [
        "<OME",
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"/>',
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image><Pixels PhysicalSizeX="wide"'
        ' PhysicalSizeY="1"/></Image></OME>',
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image><Pixels PhysicalSizeX="0"'
        ' PhysicalSizeY="0"/></Image></OME>',
    ],
)
def test_damaged_metadata_says_nothing(text: str, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", GREY, description=text, metadata=None)
    assert read_pixel_size(tmp_path / "a.tif") is None
