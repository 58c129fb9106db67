"""PNG files of every depth."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.data.written_files import HEIGHT, WIDTH, Array, packed, pattern
from unet_exp.data.formats import read_array
from unet_exp.errors import DataError


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
            nearest = np.where(
                (near[0] <= near[1]) & (near[0] <= near[2]),
                before,
                np.where(near[1] <= near[2], above, corner),
            )
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
