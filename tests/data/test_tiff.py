"""TIFF files of every kind: what is read is what the file holds, or the reason is said."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from tests.conftest import ROOT
from tests.data.written_files import Array, pattern, stored, write_tiff
from unet_exp.data.formats import MOST_PIXELS, count_pages, open_array, read_array
from unet_exp.errors import DataError

BYTE_CODECS = ["lzw", "deflate", "packbits", "zstd", "lzma"]


LAYOUTS: dict[str, tuple[Array, dict[str, Any]]] = {
    "grey": (pattern(), {}),
    "grey 16": (pattern("uint16"), {"predictor": 2, "byteorder": ">"}),
    "grey 32": (pattern("float32"), {"predictor": 3}),
    "grey 64 in tiles": (pattern("float64"), {"predictor": 3, "tile": 16, "byteorder": ">"}),
    "half floats": (pattern("float16"), {"predictor": 3}),
    "floats by difference": (pattern("float32"), {"predictor": 2}),
    "two channels": (pattern(channels=2), {"predictor": 2}),
    "RGB": (pattern(channels=3), {"photometric": 2, "predictor": 2}),
    "RGB and near infrared": (pattern(channels=4), {"photometric": 2}),
    "RGB and near infrared, 16": (
        pattern("uint16", 4),
        {"photometric": 2, "predictor": 2, "tile": 32, "byteorder": ">"},
    ),
    "seven bands": (pattern("uint16", 7), {"predictor": 2}),
    "planes": (pattern(channels=3), {"photometric": 2, "planes": True, "predictor": 2}),
    "five planes": (pattern("uint16", 5), {"planes": True, "tile": 32}),
    "planes of floats": (pattern("float32", 4), {"planes": True, "predictor": 3}),
    "RGB of floats": (pattern("float32", 3), {"photometric": 2, "predictor": 3, "byteorder": ">"}),
    "2 bits": (pattern(bits=2), {"bits": 2}),
    "4 bits": (pattern(bits=4), {"bits": 4, "tile": 16}),
    "4 bits, white is zero": (pattern(bits=4), {"bits": 4, "photometric": 0}),
    "RGB of 4 bits": (pattern(channels=3, bits=4), {"bits": 4, "photometric": 2}),
    "10 bits": (pattern("uint16", bits=10), {"bits": 10}),
    "12 bits": (pattern("uint16", bits=12), {"bits": 12}),
    "12 bits of RGB": (pattern("uint16", 3, bits=12), {"bits": 12, "photometric": 2}),
    "white is zero": (pattern(), {"photometric": 0}),
    "white is zero, 16": (pattern("uint16"), {"photometric": 0, "predictor": 2}),
    "one bit": (pattern(bits=1).astype(bool), {}),
    "one bit, white is zero": (pattern(bits=1).astype(bool), {"photometric": 0}),
    "CMYK": (pattern(channels=4), {"photometric": 5}),
    "CMYK, 16": (pattern("uint16", 4), {"photometric": 5, "byteorder": ">"}),
    "palette": (
        pattern(),
        {
            "photometric": 3,
            "tags": {
                320: ("H", tuple(int(v) * 257 for v in np.arange(768) * 7 % 256)),
            },
        },
    ),
    "palette of 4 bits": (
        pattern(bits=4),
        {
            "photometric": 3,
            "bits": 4,
            "tags": {
                320: ("H", tuple(int(v) * 257 for v in np.arange(48) * 5 % 256)),
            },
        },
    ),
    "YCbCr": (pattern(channels=3), {"photometric": 6, "tags": {530: ("H", (1, 1))}}),
    "turned": (pattern(channels=3), {"photometric": 2, "tags": {274: ("H", (6,))}}),
}


def expected(array: Array, photometric: int = 1, bits: int = 0, **options: Any) -> Array:
    """What a viewer shows of the stored values, by the standard's words."""
    most = 2**bits - 1 if bits else (1 if array.dtype == bool else None)
    if photometric == 0:
        array = (np.iinfo(array.dtype).max if most is None else most) - array.astype(np.uint16)
    if photometric == 3:
        entries = np.array(options["tags"][320][1]).reshape(3, -1).T // 257
        array = entries[array[..., 0]]
    elif most is not None and most < 255:
        array = np.rint(array.astype(float) * 255 / most)
    if photometric == 5:
        top = 255 if array.dtype == np.uint8 else 65535
        ink = 1 - array.astype(float) / top
        array = np.rint(ink[..., :3] * ink[..., 3:] * top)
    if photometric == 6:
        y, blue, red = np.moveaxis(array.astype(float), -1, 0)
        blue, red = blue - 128, red - 128
        colours = [y + 1.402 * red, y - 0.344136 * blue - 0.714136 * red, y + 1.772 * blue]
        array = np.clip(np.rint(np.stack(colours, -1)), 0, 255)
    if options.get("tags", {}).get(274):
        array = np.rot90(array, -1)
    return array


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_tiff_is_read_alike_whatever_its_compression(name: str, tmp_path: Path) -> None:
    array, options = LAYOUTS[name]
    plain = {key: value for key, value in options.items() if key != "predictor"}
    want = read_array(write_tiff(tmp_path / "none.tif", array, "none", **plain))
    tolerance = 1 if options.get("photometric") in (5, 6) else 0  # rounding of colours
    assert np.abs(want.astype(float) - expected(array, **options)).max() <= tolerance
    label = read_array(tmp_path / "none.tif", label=True)
    if options.get("photometric", 1) in (1, 2, 3) and name != "turned":
        assert np.array_equal(label, array)  # indices and few bits as they are
    for codec in BYTE_CODECS:
        path = write_tiff(tmp_path / f"{codec}.tif", array, codec, **options)
        found = read_array(path)
        assert found.dtype == want.dtype
        assert np.array_equal(found, want)
        assert np.array_equal(read_array(path, label=True), label)


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_window_is_a_part_of_the_whole(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    array, options = LAYOUTS[name]
    path = write_tiff(tmp_path / "a.tif", array, "lzw", **options)
    whole = read_array(path)
    monkeypatch.setattr("unet_exp.data.formats.MOST_PIXELS", 1 << 10)
    opened = open_array(path)
    assert not isinstance(opened, np.ndarray)
    assert opened.shape == whole.shape
    assert opened.dtype == whole.dtype
    windows = [(slice(7, 35), slice(3, 30)), (slice(None), slice(40, 41)), (slice(17, 18), slice(2))]
    for rows, columns in windows:
        assert np.array_equal(opened[rows, columns], whole[rows, columns])
    assert MOST_PIXELS > 1 << 10


@pytest.mark.parametrize("layout", ["grey", "white is zero", "RGB", "CMYK", "1 bit"])
def test_jpeg_and_fax_in_tiff_are_what_libtiff_gives(layout: str, tmp_path: Path) -> None:
    colours = Image.fromarray(pattern(channels=3))
    modes = {"grey": "L", "white is zero": "L", "RGB": "RGB", "CMYK": "CMYK", "1 bit": "1"}
    picture = colours.convert(modes[layout])
    tags = {262: 0} if layout == "white is zero" else {}
    for codec in ("group3", "group4", "tiff_ccitt") if layout == "1 bit" else ("jpeg",):
        for photometric in (0, 1) if layout == "1 bit" else (None,):
            path = tmp_path / f"{codec}_{photometric}.tif"
            picture.save(path, compression=codec, tiffinfo={262: photometric} if layout == "1 bit" else tags)
            with Image.open(path) as seen:
                want = np.asarray(seen.convert("RGB" if len(seen.getbands()) > 1 else "L"))
            assert np.array_equal(read_array(path).squeeze(), want)


FIXTURES: dict[str, Array] = {
    "lzw_4_bands_uint16_difference_tiles": stored("uint16", 4),
    "lzw_4_planes_uint8": stored("uint8", 4),
    "lzw_float32_difference": stored("float32", 1),
    "lzw_2_channels_float64_difference": stored("float64", 2),
    "none_12_bits": stored("uint16", 3, 12),
    "none_4_bits": stored("uint8", 1, 4) * np.uint8(17),
    "zstd_5_bands_uint16_difference": stored("uint16", 5),
    "jpeg2000_rgb": stored("uint8", 3),
    "webp_rgb": stored("uint8", 3),
    "lerc_float32": stored("float32", 1),
    "jpegxl_grey": stored("uint8", 1),
}


@pytest.mark.parametrize("name", FIXTURES)
def test_files_of_another_writer(name: str) -> None:
    path = ROOT / "tests" / "fixtures" / "images" / f"{name}.tif"
    assert np.array_equal(read_array(path), FIXTURES[name])


def test_what_can_not_be_read_exactly_is_refused_by_its_name(tmp_path: Path) -> None:
    for number, name in {34712: "JPEG2000", 50001: "WEBP", 34887: "LERC", 6: "OJPEG", 999: "999"}.items():
        path = write_tiff(
            tmp_path / f"{number}.tif",
            pattern(channels=3),
            "none",
            photometric=2,
            tags={259: ("H", (number,))},
        )
        with pytest.raises(DataError, match=rf"its pixels \((compression )?{name}\) can't be decoded"):
            read_array(path)
    path = write_tiff(tmp_path / "lab.tif", pattern(channels=3), "lzw", photometric=8)
    with pytest.raises(DataError, match="CIELab"):
        read_array(path)
    path = write_tiff(tmp_path / "sub.tif", pattern(channels=3), "lzw", photometric=6)
    with pytest.raises(DataError, match="lower resolution"):
        read_array(path)


@pytest.mark.parametrize("codec", BYTE_CODECS)
def test_a_damaged_tiff_is_refused(codec: str, tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "a.tif", pattern("uint16"), codec)
    with tifffile.TiffFile(path) as file:
        page = file.pages[0].aspage()
        last, size = page.dataoffsets[-1], page.databytecounts[-1]
    data = bytearray(path.read_bytes())
    data[last : last + size] = (b"\0" if codec == "packbits" else b"\xff") * size
    path.write_bytes(data)
    with pytest.raises(DataError, match="can't be read"):
        read_array(path)


def test_a_tiff_that_was_cut_off_is_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", pattern("uint16"))
    path = tmp_path / "a.tif"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match="can't be read"):
        read_array(path)
    path.write_bytes(b"II*\0" + b"\0" * 12)  # as of a program that was stopped
    with pytest.raises(DataError, match="it holds no picture"):
        read_array(path)


def test_what_numpy_saves_as_true_stays_true(tmp_path: Path) -> None:
    """tifffile marks boolean arrays as white-is-zero, of itself."""
    mask = pattern(bits=1).astype(bool)[..., 0]
    tifffile.imwrite(tmp_path / "a.tif", mask)
    tifffile.imwrite(tmp_path / "b.tif", mask, compression="zlib")
    for name in ("a.tif", "b.tif"):
        assert np.array_equal(read_array(tmp_path / name, label=True)[..., 0], mask)


@pytest.mark.parametrize("form", ["ImageJ", "ImageJ RGB", "tifffile"])
def test_one_directory_that_holds_a_stack(form: str, tmp_path: Path) -> None:
    """ImageJ writes a stack above 4 GB behind one directory, and says images=N in its description."""
    stack = np.stack([pattern("uint8", 3 if "RGB" in form else 1) + i for i in range(5)]).astype(np.uint8)
    path = tmp_path / "a.tif"
    if form == "tifffile":
        with tifffile.TiffWriter(path) as file:
            file.write(stack[..., 0], contiguous=True, metadata={"axes": "ZYX"}, truncate=True)
    else:
        text = "ImageJ=1.53t\nimages=5\nslices=5\nloop=false\n"
        tifffile.imwrite(
            path,
            stack[0].squeeze(),
            description=text,
            metadata=None,
            photometric="rgb" if "RGB" in form else "minisblack",
        )
        with open(path, "ab") as more:
            more.write(stack[1:].tobytes())
    with tifffile.TiffFile(path) as file:
        assert len(file.pages) == 1
    assert count_pages(path) == 5
    for i in range(5):
        assert np.array_equal(read_array(path, i), stack[i])
    with pytest.raises(DataError, match="5 pages"):
        read_array(path)
    path.write_bytes(path.read_bytes()[:-3000])
    with pytest.raises(DataError, match="too short"):
        count_pages(path)


def test_overviews_and_masks_are_no_pictures(tmp_path: Path) -> None:
    big, path = pattern(channels=3), tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as file:
        file.write(big, photometric="rgb", subifds=1)
        file.write(big[::2, ::2], photometric="rgb", subfiletype=1)  # below the page: OME-TIFF's pyramids
        file.write(big[::2, ::2], photometric="rgb", subfiletype=1)  # beside it: GeoTIFF's overviews
        file.write(big[..., 0] > 9, subfiletype=4)
        file.write(big[::4, ::4, 0] > 9, subfiletype=5)
    assert count_pages(path) == 1
    assert np.array_equal(read_array(path), big)
    with tifffile.TiffWriter(path) as file:  # a stack, each slice with its overview
        for i in range(3):
            file.write(big + np.uint8(i), photometric="rgb")
            file.write(big[::2, ::2], photometric="rgb", subfiletype=1)
    assert count_pages(path) == 3
    assert np.array_equal(read_array(path, 2), big + np.uint8(2))
    with tifffile.TiffWriter(path) as file:  # a pyramid that is not marked
        for step in (1, 2, 4):
            file.write(big[::step, ::step], photometric="rgb")
    assert count_pages(path) == 1
