"""Files written byte by byte, as other programs write them."""

import struct
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tifffile
from PIL import Image

HEIGHT, WIDTH = 50, 41


Array = np.ndarray


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
        256: ("I", (WIDTH,)),
        257: ("I", (HEIGHT,)),
        258: ("H", (bits,) * channels),
        259: ("H", (NUMBERS[codec],)),
        262: ("H", (options.get("photometric", 1),)),
        277: ("H", (channels,)),
        284: ("H", (2 if planes else 1,)),
        317: ("H", (predictor,)),
        339: ("H", (kind,) * channels),
    }
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


def stored(dtype: str, channels: int, bits: int = 16) -> Array:
    """What the files of fixtures/images hold; tifffile wrote them with imagecodecs."""
    y, x, c = np.mgrid[:20, :24, :channels]
    mixed = y * 9 + x * 4 + c * 31
    if np.dtype(dtype).kind == "f":
        return np.asarray(mixed / 8).astype(dtype)
    return np.asarray(mixed % 2 ** min(bits, 8 * np.dtype(dtype).itemsize)).astype(dtype)
