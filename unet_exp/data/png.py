"""What a PNG says of itself before its pixels are read: https://www.w3.org/TR/png-3/."""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY = 0  # the colour type


def chunks(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Name and length of each chunk, with the file positioned at its content. Raises ValueError."""
    if file.read(8) != SIGNATURE:
        raise ValueError("it is not a PNG")
    while True:
        head = file.read(8)
        if len(head) < 8:
            raise ValueError("it ends before its pixels do")
        length, name = struct.unpack(">I4s", head)
        content = file.tell()
        yield name, length
        if name == b"IEND":
            return
        file.seek(content + length + 4)


def has_wide_colours(path: Path) -> bool:
    """Whether it holds several channels of 16 bits, which Pillow reduces to 8."""
    with open(path, "rb") as file:
        next(chunks(file))
        _, _, depth, kind = struct.unpack(">IIBB", file.read(10))
    return bool(depth == 16 and kind != GREY)


def has_notes(path: Path) -> bool:
    """Whether it holds a chunk that may give its orientation."""
    with open(path, "rb") as file:
        return any(name in (b"eXIf", b"iTXt", b"tEXt", b"zTXt") for name, _ in chunks(file))
