"""Read PNG with several channels of 16 bits, which Pillow reduces to 8: https://www.w3.org/TR/png-3/."""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

CHANNELS = {0: 1, 2: 3, 4: 2, 6: 4}  # of the colour types grey, RGB, grey and alpha, RGB and alpha
PASSES = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
BAND = 256  # rows decoded together
SIGNATURE = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Header:
    width: int
    height: int
    depth: int
    kind: int
    interlaced: bool


def chunks(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Name and length of each chunk, with the file positioned at its content. Raises ValueError."""
    if file.read(8) != SIGNATURE:
        raise ValueError("it is not a PNG")
    while True:
        head = file.read(8)
        if len(head) < 8:
            raise ValueError("it ends before its pixels do")
        length, name = struct.unpack(">I4s", head)
        there = file.tell()
        yield name, length
        if name == b"IEND":
            return
        file.seek(there + length + 4)


def read_header(path: Path) -> Header:
    with open(path, "rb") as file:
        next(chunks(file))
        width, height, depth, kind, _, _, interlaced = struct.unpack(">IIBBBBB", file.read(13))
    return Header(width, height, depth, kind, bool(interlaced))


def has_notes(path: Path) -> bool:
    """Whether it holds a chunk that may give its orientation."""
    with open(path, "rb") as file:
        return any(name in (b"eXIf", b"iTXt", b"tEXt", b"zTXt") for name, _ in chunks(file))


def read_16_bits(path: Path) -> np.ndarray:
    """uint16 H x W x C. Raises ValueError, zlib.error for a damaged file."""
    head = read_header(path)
    packed = []
    with open(path, "rb") as file:
        for name, length in chunks(file):
            if name == b"acTL":
                raise ValueError("it is animated; save one picture per file")
            if name == b"IDAT":
                data = file.read(length)
                crc = file.read(4)
                if len(crc) < 4 or zlib.crc32(name + data) != struct.unpack(">I", crc)[0]:
                    raise ValueError("its pixels are damaged")
                packed.append(data)
    channels = CHANNELS[head.kind]
    size = 2 * channels
    raw = np.frombuffer(zlib.decompress(b"".join(packed)), np.uint8)
    out = np.empty((head.height, head.width, size), np.uint8)
    at = 0
    for top, left, down, right in PASSES if head.interlaced else [(0, 0, 1, 1)]:
        part = out[top::down, left::right]
        rows, width = part.shape[:2]
        if not rows or not width:
            continue
        length = rows * (1 + width * size)
        if len(raw) < at + length:
            raise ValueError("it ends before its pixels do")
        lines = raw[at : at + length].reshape(rows, -1)
        part[...] = unfilter(lines[:, 0], lines[:, 1:].reshape(rows, width, size))
        at += length
    return out.view(">u2").astype(np.uint16)


def unfilter(filters: np.ndarray, lines: np.ndarray) -> np.ndarray:
    """Bytes rows x width x size of a pixel, each predicted from its left, upper and upper left neighbour.

    Pixels of one diagonal depend on the two diagonals before only, so a diagonal is one step.
    """
    out = np.empty_like(lines)
    above = np.zeros(lines.shape[1:], np.uint8)
    for top in range(0, len(lines), BAND):
        band = slice(top, top + BAND)
        out[band] = _band(filters[band], lines[band], above)
        above = out[band][-1]
    return out


def _band(filters: np.ndarray, lines: np.ndarray, above: np.ndarray) -> np.ndarray:
    rows, width, size = lines.shape
    if filters.max(initial=0) > 4:
        raise ValueError("its pixels are damaged")
    steps = rows + width - 1
    # Row y is shifted right by y, so that a diagonal is a column; diagonals lie one after another.
    skewed = np.zeros((steps, rows, size), np.uint8)
    for y in range(rows):
        skewed[y : y + width, y] = lines[y]
    left, up, mean, paeth = ((filters == kind)[:, None] for kind in (1, 2, 3, 4))
    upper = np.zeros((steps + 1, size), np.int16)  # the row above the band, by diagonal
    upper[1 : width + 1] = above
    before = np.zeros((rows + 1, size), np.int16)  # the diagonal before; its first is of the row above
    before2 = np.zeros_like(before)
    for step in range(steps):
        before[0] = upper[step + 1] if step < width else 0
        before2[0] = upper[step]
        a = before[1:]
        b = before[:-1]
        c = before2[:-1]
        near_a = np.abs(b - c)
        near_b = np.abs(a - c)
        near_c = np.abs(a + b - 2 * c)
        best = np.where((near_a <= near_b) & (near_a <= near_c), a, np.where(near_b <= near_c, b, c))
        guess = a * left + b * up + ((a + b) >> 1) * mean + best * paeth
        now = skewed[step] + guess & 255
        first = max(0, step - width + 1)
        last = min(rows, step + 1)
        skewed[step] = now
        before2, before = before, np.zeros_like(before)
        before[first + 1 : last + 1] = now[first:last]
    out = np.empty_like(lines)
    for y in range(rows):
        out[y] = skewed[y : y + width, y]
    return out
