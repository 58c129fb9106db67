"""Image files of every kind: what is read is what the file holds, as a viewer shows it, or it is refused."""

import importlib.util
import struct
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps

from tests.conftest import ROOT, Cli, composed, write_folder
from unet_exp.data.channels import open_image
from unet_exp.data.datasets import load_samples
from unet_exp.data.formats import MOST_PIXELS, count_pages, open_array, orientation, read_array
from unet_exp.data.splits import find_splits
from unet_exp.errors import DataError
from unet_exp.inference.load import load_run
from unet_exp.tasks.check_data import check_data

HEIGHT, WIDTH = 50, 41
Array = np.ndarray
BYTE_CODECS = ["lzw", "deflate", "packbits", "zstd", "lzma"]
NUMBERS = {"none": 1, "lzw": 5, "deflate": 8, "packbits": 32773, "zstd": 50000, "lzma": 34925}
PILLOW_NAMES = {"lzw": "tiff_lzw", "deflate": "tiff_adobe_deflate"}


def pattern(dtype: str = "uint8", channels: int = 1, bits: int = 0) -> Array:
    """H x W x C that no two pixels in a row repeat."""
    y, x, c = np.mgrid[:HEIGHT, :WIDTH, :channels]
    mixed = y * 3 + x * 5 + c * 37 + y * x % 7
    if np.dtype(dtype).kind == "f":
        return np.asarray(mixed / 7 - 10).astype(dtype)
    if bits:
        return np.asarray(mixed % 2**bits).astype(dtype)
    wide = mixed * 177 if np.dtype(dtype).itemsize > 1 else mixed
    return np.asarray(wide % (np.iinfo(dtype).max + 1)).astype(dtype)


def compressed(data: bytes, codec: str) -> bytes:
    """By libtiff: the bytes as a grey picture, of which the strips are taken."""
    if codec == "none":
        return data
    file = BytesIO()
    grey = Image.frombytes("L", (len(data), 1), data)
    grey.save(file, "TIFF", compression=PILLOW_NAMES.get(codec, codec))
    file.seek(0)
    with tifffile.TiffFile(file) as tiff:
        page = tiff.pages[0].aspage()
        return file.getvalue()[page.dataoffsets[0] : page.dataoffsets[0] + page.databytecounts[0]]


def packed(rows: Array, bits: int) -> bytes:
    """rows x width x samples as bits, each row filled to a byte."""
    ones = rows[..., None] >> np.arange(bits - 1, -1, -1) & 1
    return np.packbits(ones.reshape(len(rows), -1).astype(np.uint8), axis=1).tobytes()


def predicted(rows: Array, predictor: int, byteorder: Literal["<", ">"]) -> bytes:
    """Differences to the pixel on the left (2), or of the bytes of floats, weight by weight (3)."""
    if predictor == 2:
        whole = rows.view(f"u{rows.dtype.itemsize}")
        zero = np.zeros_like(whole[:, :1])
        return np.diff(whole, axis=1, prepend=zero).astype(whole.dtype.newbyteorder(byteorder)).tobytes()
    if predictor == 3:
        height, width, samples = rows.shape
        size = rows.dtype.itemsize
        weights = rows.astype(rows.dtype.newbyteorder(">")).view(np.uint8)
        weights = weights.reshape(height, width * samples, size).transpose(0, 2, 1)
        single = np.ascontiguousarray(weights).reshape(height, width * size, samples)
        return np.diff(single, axis=1, prepend=np.zeros_like(single[:, :1])).tobytes()
    return rows.astype(rows.dtype.newbyteorder(byteorder)).tobytes()


def write_tiff(path: Path, array: Array, codec: str, **options: Any) -> Path:
    """A TIFF of any compression, bits, planes, predictor and byte order, written tag by tag.

    photometric, bits, planes, predictor, tile (or strips of 16 rows), byteorder, tags (code: (type, values)).
    """
    bits = options.get("bits") or (1 if array.dtype == bool else array.dtype.itemsize * 8)
    order, predictor = options.get("byteorder", "<"), options.get("predictor", 1)
    planes, tile = options.get("planes", False), options.get("tile", 0)
    parts = [array[..., i : i + 1] for i in range(array.shape[2])] if planes else [array]
    segments = []
    for part in parts:
        for top in range(0, HEIGHT, tile or 16):
            for left in range(0, WIDTH, tile or WIDTH):
                piece = part[top : top + (tile or 16), left : left + (tile or WIDTH)]
                if tile:
                    piece = np.pad(piece, ((0, tile - piece.shape[0]), (0, tile - piece.shape[1]), (0, 0)))
                odd = bits not in (8, 16, 32, 64)
                data = packed(piece.astype(int), bits) if odd else predicted(piece, predictor, order)
                segments.append(compressed(data, codec))
    kind = {"f": 3, "i": 2}.get(array.dtype.kind, 1)
    channels = array.shape[2]
    tags: dict[int, tuple[str, tuple[int, ...]]] = {
        256: ("I", (WIDTH,)), 257: ("I", (HEIGHT,)), 258: ("H", (bits,) * channels),
        259: ("H", (NUMBERS[codec],)), 262: ("H", (options.get("photometric", 1),)),
        277: ("H", (channels,)), 284: ("H", (2 if planes else 1,)),
        317: ("H", (predictor,)), 339: ("H", (kind,) * channels),
    }  # fmt: skip
    usual = {2: 3, 5: 4, 6: 3, 8: 3}.get(options.get("photometric", 1), 1)
    if channels > usual:
        tags[338] = ("H", (0,) * (channels - usual))
    tags |= {322: ("I", (tile,)), 323: ("I", (tile,))} if tile else {278: ("I", (16,))}
    tags |= options.get("tags", {})
    at, body = 8, b""
    offsets = []
    for segment in segments:
        offsets.append(at + len(body))
        body += segment + b"\0" * (len(segment) % 2)
    where, sizes = (324, 325) if tile else (273, 279)
    tags |= {where: ("I", tuple(offsets)), sizes: ("I", tuple(map(len, segments)))}
    start = at + len(body)
    more_at, entries, more = start + 2 + 12 * len(tags) + 4, b"", b""
    for code, (form, numbers) in sorted(tags.items()):
        data = struct.pack(f"{order}{len(numbers)}{form}", *numbers)
        entries += struct.pack(f"{order}HHI", code, {"H": 3, "I": 4}[form], len(numbers))
        if len(data) > 4:
            entries += struct.pack(f"{order}I", more_at + len(more))
            more += data + b"\0" * (len(data) % 2)
        else:
            entries += data.ljust(4, b"\0")
    mark = b"II" if order == "<" else b"MM"
    head = mark + struct.pack(f"{order}HI", 42, start)
    directory = struct.pack(f"{order}H", len(tags)) + entries + struct.pack(f"{order}I", 0) + more
    path.write_bytes(head + body + directory)
    return path


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
        pattern("uint16", 4), {"photometric": 2, "predictor": 2, "tile": 32, "byteorder": ">"}
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
    "palette": (pattern(), {"photometric": 3, "tags": {
        320: ("H", tuple(int(v) * 257 for v in np.arange(768) * 7 % 256)),
    }}),
    "palette of 4 bits": (pattern(bits=4), {"photometric": 3, "bits": 4, "tags": {
        320: ("H", tuple(int(v) * 257 for v in np.arange(48) * 5 % 256)),
    }}),
    "YCbCr": (pattern(channels=3), {"photometric": 6, "tags": {530: ("H", (1, 1))}}),
    "turned": (pattern(channels=3), {"photometric": 2, "tags": {274: ("H", (6,))}}),
}  # fmt: skip


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


def stored(dtype: str, channels: int, bits: int = 16) -> Array:
    """What the files of fixtures/images hold; tifffile wrote them with imagecodecs."""
    y, x, c = np.mgrid[:20, :24, :channels]
    mixed = y * 9 + x * 4 + c * 31
    if np.dtype(dtype).kind == "f":
        return np.asarray(mixed / 8).astype(dtype)
    return np.asarray(mixed % 2 ** min(bits, 8 * np.dtype(dtype).itemsize)).astype(dtype)


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
    if name.startswith(("jpeg", "webp", "lerc")) and importlib.util.find_spec("imagecodecs") is None:
        with pytest.raises(DataError, match=r"\.\[codecs\]"):
            read_array(path)
        return
    assert np.array_equal(read_array(path), FIXTURES[name])


def test_what_can_not_be_read_exactly_is_refused_by_its_name(tmp_path: Path) -> None:
    for number, name in {34712: "JPEG 2000", 50001: "WebP", 34887: "LERC", 6: "old-style JPEG"}.items():
        path = write_tiff(tmp_path / f"{number}.tif", pattern(channels=3), "none", photometric=2,
                          tags={259: ("H", (number,))})  # fmt: skip
        with pytest.raises(DataError, match=rf"{name} \((RGB|YCbCr), 3 channels of 8 bits\)"):
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


# ---- png ----------------------------------------------------------------------------------------------


def write_png(path: Path, array: Array, filters: list[int], interlaced: bool = False) -> Path:
    """16 bits per channel, each row with the next of these filters."""
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[array.shape[2]]
    steps = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    raw = b""
    for top, left, down, right in steps if interlaced else [(0, 0, 1, 1)]:
        part = np.ascontiguousarray(array[top::down, left::right].astype(">u2"))
        if not part.size:
            continue
        lines = part.view(np.uint8).reshape(len(part), -1).astype(int)
        size, above = 2 * array.shape[2], np.zeros(lines.shape[1], int)
        for number, line in enumerate(lines):
            before = np.concatenate([np.zeros(size, int), line[:-size]])
            corner = np.concatenate([np.zeros(size, int), above[:-size]])
            guess = before + above - corner
            near = [np.abs(guess - one) for one in (before, above, corner)]
            nearest = np.where((near[0] <= near[1]) & (near[0] <= near[2]), before,
                               np.where(near[1] <= near[2], above, corner))  # fmt: skip
            chosen = filters[number % len(filters)]
            taken = [0 * line, before, above, (before + above) // 2, nearest][chosen]
            raw += bytes([chosen]) + ((line - taken) % 256).astype(np.uint8).tobytes()
            above = line

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", array.shape[1], array.shape[0], 16, kind, 0, 0, interlaced)
    data = zlib.compress(raw)
    parts = [chunk(b"IHDR", head), chunk(b"IDAT", data[:99]), chunk(b"IDAT", data[99:]), chunk(b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    return path


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_png_keeps_16_bits(channels: int, interlaced: bool, tmp_path: Path) -> None:
    array = np.random.default_rng(channels).integers(65536, size=(300, 23, channels)).astype(np.uint16)
    for filters in ([0], [1], [2], [3], [4], [4, 0, 3, 2, 1]):
        path = write_png(tmp_path / "a.png", array, filters, interlaced)
        with Image.open(path) as seen:  # Pillow agrees with the file that the test writes, in 8 bits
            if channels in (3, 4):
                assert np.array_equal(np.asarray(seen), array >> 8)
        found = read_array(path)
        assert found.dtype == np.uint16
        assert np.array_equal(found, array)
    cut = path.read_bytes()
    path.write_bytes(cut[:-200])
    with pytest.raises(DataError, match="can't be read"):
        read_array(path)


def test_a_label_of_16_bit_colours_is_refused(tmp_path: Path) -> None:
    path = write_png(tmp_path / "a.png", pattern("uint16", 3), [0])
    with pytest.raises(DataError, match="8 bits each"):
        read_array(path, label=True)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_png_of_few_bits(bits: int, tmp_path: Path) -> None:
    """Grey is spread over 0 to 255 (of one bit a label keeps 0 and 1); a palette is colours or indices."""
    values = pattern(bits=bits)
    lines = b"".join(b"\0" + packed(row[None], bits) for row in values.astype(int))
    colours = bytes(np.arange(3 * 2**bits, dtype=np.uint8))
    for kind, extra in ((0, []), (3, [(b"PLTE", colours)])):
        head = struct.pack(">IIBBBBB", WIDTH, HEIGHT, bits, kind, 0, 0, 0)
        body = [(b"IHDR", head), *extra, (b"IDAT", zlib.compress(lines)), (b"IEND", b"")]
        data = b"".join(
            struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in body
        )
        (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + data)
        grey = values * np.uint8(255 // (2**bits - 1))
        table = np.frombuffer(colours, np.uint8).reshape(-1, 3)
        shown = table[values[..., 0]] if kind else grey
        assert np.array_equal(read_array(tmp_path / "a.png"), shown)
        label = values if kind or bits == 1 else grey
        assert np.array_equal(read_array(tmp_path / "a.png", label=True), label)


# ---- photographs --------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", range(1, 9))
@pytest.mark.parametrize("ending", ["jpg", "png", "raw.tif", "tiff_lzw.tif", "jpeg.tif", "planes.tif"])
def test_pictures_are_turned_as_viewers_turn_them(number: int, ending: str, tmp_path: Path) -> None:
    stored, path = pattern(channels=3), tmp_path / f"a.{ending}"
    picture, exif = Image.fromarray(stored), Image.Exif()
    exif[0x0112] = number
    if ending == "planes.tif":
        write_tiff(path, stored, "zstd", photometric=2, planes=True, tags={274: ("H", (number,))})
    elif ending.endswith("tif"):
        picture.save(path, compression=ending.removesuffix(".tif"), tiffinfo={274: number})
    else:
        picture.save(path, exif=exif)
    with Image.open(path) as seen:
        if ending != "planes.tif":
            stored = np.asarray(ImageOps.exif_transpose(seen))
    if ending == "planes.tif":
        again = BytesIO()
        picture.save(again, "PNG", exif=exif)
        stored = np.asarray(ImageOps.exif_transpose(Image.open(again)))
    for label in (False, True):
        assert np.array_equal(read_array(path, label=label), stored)
    assert orientation(path) == number


def test_turned_windows_are_parts_of_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(1, 9):
        path = write_tiff(tmp_path / f"{number}.tif", pattern("uint16", 3), "lzw", photometric=2, tile=16,
                          tags={274: ("H", (number,))})  # fmt: skip
        whole = read_array(path)
        monkeypatch.setattr("unet_exp.data.formats.MOST_PIXELS", 1 << 10)
        assert np.array_equal(open_array(path)[5:33, 11:37], whole[5:33, 11:37])
        monkeypatch.undo()


def test_photographs_with_a_preview(tmp_path: Path) -> None:
    photo = Image.fromarray(pattern(channels=3))
    exif = Image.Exif()
    exif[0x0112] = 6
    photo.save(tmp_path / "a.jpg", quality=90, exif=exif)
    preview = photo.resize((10, 8))
    photo.save(tmp_path / "b.JPG", "MPO", save_all=True, append_images=[preview], quality=90, exif=exif)
    assert np.array_equal(read_array(tmp_path / "b.JPG"), read_array(tmp_path / "a.jpg"))
    assert read_array(tmp_path / "b.JPG").shape == (WIDTH, HEIGHT, 3)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "AVIF"])
def test_a_wrong_ending_is_named(kind: str, tmp_path: Path) -> None:
    Image.fromarray(pattern(channels=3)).save(tmp_path / "a", kind)
    (tmp_path / "a").rename(tmp_path / "a.png")
    with pytest.raises(DataError, match=f"its content is {kind}"):
        read_array(tmp_path / "a.png")


def test_a_wrong_ending_that_is_read_all_the_same(tmp_path: Path) -> None:
    """By its content: nothing is lost through another reader."""
    bands = pattern("uint16", 5)
    write_tiff(tmp_path / "a.png", bands, "lzw")
    assert np.array_equal(read_array(tmp_path / "a.png"), bands)
    Image.fromarray(pattern(channels=3)).save(tmp_path / "b.tif", "PNG")
    assert np.array_equal(read_array(tmp_path / "b.tif"), pattern(channels=3))
    assert count_pages(tmp_path / "b.tif") == 1


# ---- pages --------------------------------------------------------------------------------------------


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
        tifffile.imwrite(path, stack[0].squeeze(), description=text, metadata=None,
                         photometric="rgb" if "RGB" in form else "minisblack")  # fmt: skip
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


# ---- grey and colour together -------------------------------------------------------------------------


def mixed_folder(root: Path) -> Path:
    write_folder(root)
    for number, mode in enumerate(["L", "RGB", "RGBA", "LA", "RGB", "L"]):
        path = root / "images" / f"{number:02d}.png"
        grey = Image.open(path)
        colours = Image.merge("RGB", [grey, grey.rotate(90), grey.rotate(180)])
        (colours if mode.startswith("RGB") else grey).convert(mode).save(path)
    return root


@pytest.mark.parametrize("rule", ["grey", "rgb"])
def test_grey_and_colour_images_are_one_kind(rule: str, tmp_path: Path) -> None:
    root = mixed_folder(tmp_path)
    config = composed("data=image_folder", f"data.root={root}", f"data.channels={rule}")
    splits = find_splits(config.data)
    for part in ("train", "val"):
        samples = load_samples(splits[part], part, "ram", 0)
        assert samples.channels == {"grey": 1, "rgb": 3}[rule]
        for item, pair in zip(samples.items, samples.pairs or [], strict=True):
            with Image.open(item.image) as seen:
                want = np.asarray(seen.convert({"grey": "L", "rgb": "RGB"}[rule])).reshape(pair[0].shape)
            assert np.array_equal(pair[0], want)
    mixed = composed("data=image_folder", f"data.root={root}")
    with pytest.raises(DataError, match=r"data\.channels=rgb"):
        load_samples(find_splits(mixed.data)["train"], "train", "ram", 0)


def test_check_data_proposes_one_kind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mixed_folder(tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    check_data(composed("data=image_folder", "data.root=data"))
    assert "data.channels=rgb" in next(
        line for line in capsys.readouterr().out.splitlines() if "run.py" in line
    )


def test_brightness_of_16_bits_and_floats(tmp_path: Path) -> None:
    for dtype in ("uint16", "float32"):
        np.save(tmp_path / "a.npy", pattern(dtype, 3))
        found = open_image(tmp_path / "a.npy", None, "grey")[:, :]
        want = pattern(dtype, 3).astype(float) @ [0.299, 0.587, 0.114]
        assert found.dtype == dtype
        assert np.abs(found[..., 0] - want).max() < (1 if dtype == "uint16" else 1e-3)
    bands = write_tiff(tmp_path / "a.tif", pattern(channels=4), "none", photometric=2)
    with pytest.raises(DataError, match="4 channels"):  # near infrared, not alpha
        open_image(bands, None, "rgb")
    alpha = write_tiff(
        tmp_path / "b.tif", pattern(channels=4), "none", photometric=2, tags={338: ("H", (2,))}
    )
    assert np.array_equal(open_image(alpha, None, "rgb")[:, :], pattern(channels=4)[..., :3])


def test_a_run_takes_grey_and_colour_everywhere(cli: Cli, tmp_path: Path) -> None:
    root = mixed_folder(tmp_path / "data")
    words = ["data=image_folder", f"data.root={root}", "data.channels=rgb", "batch_size=2", "epochs=1"]
    small = ["model.depth=2", "model.base_channels=4", "threads=1", "hydra.run.dir=run"]
    done = cli(*words, *small, cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    predictor = load_run(tmp_path / "run", "cpu")
    path = root / "images" / "00.png"
    with Image.open(path) as grey:
        array = np.asarray(grey)
        three = np.repeat(array[..., None], 3, 2)
        for given in (path, array, grey, grey.convert("RGBA"), three):
            assert np.array_equal(predictor.predict(given), predictor.predict(three))
