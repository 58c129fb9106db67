"""Measurements of objects that can be counted by hand."""

import math

import numpy as np
import pytest
from skimage.measure import regionprops

from unet_exp.objects.measure import measure_objects


def drawn() -> tuple[np.ndarray, np.ndarray]:
    """Object 2: 4 x 6 at the left border; object 7: one row of 5; grey and a second channel of 3."""
    objects = np.zeros((12, 20), np.int32)
    objects[2:6, 0:6] = 2
    objects[9, 10:15] = 7
    image = np.zeros((12, 20, 2), np.uint8)
    image[2:6, 0:6, 0] = 10
    image[2:6, 0:3, 0] = 20
    image[..., 1] = 3
    return objects, image


def test_a_hand_countable_image() -> None:
    first, second = measure_objects(*drawn())
    assert (first["number"], first["area_px"], second["number"], second["area_px"]) == (2, 24, 7, 5)
    assert (first["row_px"], first["column_px"]) == (3.5, 2.5)
    assert (second["row_px"], second["column_px"]) == (9, 12)
    assert [first[f"{side}_px"] for side in ("top", "left", "bottom", "right")] == [2, 0, 6, 6]
    assert (first["touches_border"], second["touches_border"]) == (True, False)
    assert (first["mean_0"], first["sd_0"]) == (15, 5)
    assert (first["mean_1"], first["sd_1"]) == (3, 0)
    assert first["perimeter_px"] == 16  # by pixel centres: 2 * (3 + 5)
    assert abs(second["orientation_rad"]) == pytest.approx(math.pi / 2)
    assert second["eccentricity"] == pytest.approx(1)
    assert "area_um2" not in first


def test_pixel_sizes_have_their_units_in_the_names() -> None:
    objects, image = drawn()
    square = measure_objects(objects, image, (0.5, 0.5))[0]
    assert (square["area_um2"], square["row_um"], square["perimeter_um"]) == (6, 1.75, 8)
    oblong = measure_objects(objects, image, (0.5, 0.25))[0]
    assert (oblong["area_um2"], oblong["column_um"], oblong["perimeter_um"]) == (3, 0.625, "")


@pytest.mark.parametrize("most_pixels", [1, 200, 10_000])
def test_intensities_are_those_of_scikit_image(most_pixels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where an image is read by rows."""
    monkeypatch.setattr("unet_exp.objects.measure.MOST_PIXELS", most_pixels)
    rng = np.random.default_rng(0)
    objects = np.kron(rng.permutation(64).reshape(8, 8), np.ones((5, 5), int)).astype(np.int32)
    image = rng.integers(0, 65536, (40, 40, 3)).astype(np.uint16)
    rows = measure_objects(objects, image)
    for row, region in zip(rows, regionprops(objects, image), strict=True):  # type: ignore[no-untyped-call]
        assert row["number"] == region.label
        assert [row[f"mean_{c}"] for c in range(3)] == pytest.approx(list(region.intensity_mean))
        assert [row[f"sd_{c}"] for c in range(3)] == pytest.approx(list(region.intensity_std))


def test_an_image_without_objects() -> None:
    assert measure_objects(np.zeros((5, 5), np.int32), np.zeros((5, 5, 1))) == []
