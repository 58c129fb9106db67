"""The stored values of a TIFF's strips and tiles.

Bytes are decompressed by zlib or libtiff, bits and differences taken apart by numpy, fax and JPEG decoded by
libtiff, the rest by imagecodecs where that is installed. What can't be read exactly is refused.
"""

import struct
import warnings
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from PIL import Image

DEFLATE = (8, 32946)
BYTES = (5, 32773, 34925, 50000)
FAX = (2, 3, 4, 32771)
JPEG = (7,)
NAMES = {
    1: "no compression",
    2: "CCITT",
    3: "CCITT group 3",
    4: "CCITT group 4",
    5: "LZW",
    6: "old-style JPEG",
    7: "JPEG",
    8: "deflate",
    32946: "deflate",
    32773: "PackBits",
    34925: "LZMA",
    50000: "Zstandard",
    50001: "WebP",
    33003: "JPEG 2000",
    33004: "JPEG 2000",
    33005: "JPEG 2000",
    34712: "JPEG 2000",
    34887: "LERC",
    34892: "lossy JPEG",
    50002: "JPEG XL",
    22610: "JPEG XR",
    34934: "JPEG XR",
    34933: "PNG",
    48124: "Jetraw",
}
COLOURS = {
    0: "white is zero",
    1: "grey",
    2: "RGB",
    3: "palette",
    4: "a mask",
    5: "inks",
    6: "YCbCr",
    8: "CIELab",
    9: "CIELab",
    10: "CIELab",
}
WHITE_IS_ZERO = 0
GREY = 1
RGB = 2
PALETTE = 3
INKS = 5
YCBCR = 6
LAB = (8, 9, 10)
EXTRA = 'pip install -c constraints.txt -e ".[codecs]"'
Decoder = Callable[[list[bytes], int, int], np.ndarray]


@dataclass(frozen=True)
class Layout:
    """What a page's tags say. segment: height and width of a tile or strip; stored: tags for libtiff."""

    path: Path
    directory: int
    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    compression: int
    photometric: int
    bits: int
    planes: bool
    predictor: int
    reversed_bits: bool
    byteorder: str
    segment: tuple[int, int]
    tiled: bool
    offsets: tuple[int, ...]
    counts: tuple[int, ...]
    nodata: Any
    orientation: int
    palette: np.ndarray | None
    alpha: bool
    plain_bits: bool  # one bit, as numpy has it
    stored: dict[int, Any]

    @property
    def name(self) -> str:
        """'LZW (RGB, 4 channels of 8 bits)'."""
        codec = NAMES.get(self.compression, f"compression {self.compression}")
        channels = "1 channel" if self.shape[2] == 1 else f"{self.shape[2]} channels"
        planes = ", one plane after another" * self.planes
        colours = COLOURS.get(self.photometric, "other colours")
        return f"{codec} ({colours}, {channels} of {self.bits} bits{planes})"

    @property
    def together(self) -> bool:
        """Whether consecutive strips can be decoded at once, which is faster."""
        return not self.tiled and self.compression in (1, *DEFLATE, *BYTES) and all(self.counts)

    @property
    def stored_dtype(self) -> np.dtype[Any]:
        return self.dtype.newbyteorder(">" if self.byteorder == ">" else "<")


def layout(path: Path, page: tifffile.TiffPage) -> Layout:
    """The layout of a page. Raises ValueError for one that is not supported."""
    if page.imagedepth != 1:
        raise ValueError("it holds a volume in one page; save it as a stack of pages")
    if page.dtype is None or isinstance(page.bitspersample, tuple):
        raise ValueError(
            f"its channels have {page.bitspersample} bits of format {page.sampleformat}: not supported"
        )
    formats = page.tags.valueof(339)
    if isinstance(formats, tuple) and len(set(formats)) > 1:
        raise ValueError(f"its channels are of several kinds (SampleFormat {formats})")
    samples = page.samplesperpixel
    rows = min(page.rowsperstrip or page.imagelength, page.imagelength)
    subsampled = page.photometric == YCBCR and tuple(page.tags.valueof(530) or (2, 2)) != (1, 1)
    if subsampled and page.compression not in (6, *JPEG):
        raise ValueError("its colours are YCbCr of a lower resolution; save it as RGB")
    colours = page.colormap
    if colours is not None and colours.dtype == np.uint16:  # of 16 bits, by the standard; of 8 in some files
        colours = colours // 256 if colours.max(initial=0) > 255 else colours
    kept = (292, 293, 347, 530)  # of fax, of JPEG
    return Layout(
        path=path,
        directory=page.index,
        shape=(page.imagelength, page.imagewidth, samples),
        dtype=np.dtype(page.dtype),
        compression=int(page.compression),
        photometric=int(page.photometric),
        bits=int(page.bitspersample),
        planes=samples > 1 and page.planarconfig == 2,
        predictor=int(page.predictor),
        reversed_bits=page.fillorder == 2,
        byteorder=page.parent.byteorder,
        segment=(page.tilelength, page.tilewidth) if page.is_tiled else (rows, page.imagewidth),
        tiled=page.is_tiled,
        offsets=tuple(page.dataoffsets),
        counts=tuple(page.databytecounts),
        nodata=page.nodata,
        orientation=int(page.tags.valueof(274) or 1),
        palette=None if colours is None else np.ascontiguousarray(colours.T.astype(np.uint8)),
        alpha=any(int(kind) in (1, 2) for kind in page.extrasamples[-1:]),
        plain_bits=page.bitspersample == 1 and str(page.software).startswith("tifffile"),
        stored={code: page.tags.valueof(code) for code in kept if page.tags.valueof(code) is not None},
    )


def decoder(page: Layout) -> Decoder:
    """A function from segments (bytes, index of the first, rows) to values rows x width x channels.

    Raises ValueError for a compression and layout that can't be read exactly with what is installed.
    """
    samples = 1 if page.planes else page.shape[2]
    if page.photometric in LAB:
        raise ValueError(f"its colours are CIELab ({page.name}), which is not supported; save it as RGB")
    if page.compression in (1, *DEFLATE, *BYTES):
        if page.predictor in (1, 2, 3):
            return lambda strips, index, rows: values(page, plain_bytes(page, strips, rows), rows)
        raise ValueError(f"its predictor {page.predictor} is not supported ({page.name}); save it without")
    if page.compression in FAX and page.bits == 1 and samples == 1:
        return lambda strips, index, rows: from_libtiff(page, strips[0], rows, GREY)
    if page.compression in JPEG and page.bits == 8 and page.dtype == np.uint8:
        if samples == 1:
            return lambda strips, index, rows: from_libtiff(page, strips[0], rows, GREY)
        if (samples, page.photometric) in ((2, GREY), (3, RGB), (3, YCBCR), (4, RGB), (4, INKS)):
            return lambda strips, index, rows: from_libtiff(page, strips[0], rows, page.photometric)
    if page.compression == 6:
        raise ValueError(f"it is compressed as {page.name}, which is not supported; save it with LZW")
    try:
        import imagecodecs  # noqa: F401
    except ImportError:
        raise ValueError(
            f"it is compressed as {page.name}, which needs the package imagecodecs: {EXTRA}; "
            "or save it with LZW, deflate or without compression"
        ) from None
    if page.photometric == YCBCR and page.compression not in JPEG:
        raise ValueError(f"its colours are YCbCr ({page.name}); save it as RGB")
    return lambda strips, index, rows: from_imagecodecs(page, strips[0], index)


def plain_bytes(page: Layout, strips: list[bytes], rows: int) -> bytes:
    """A tile, or consecutive strips, decompressed. rows: their total number."""
    width = row_bytes(page)
    size = rows * row_bytes(page)
    if page.reversed_bits:
        strips = [reverse_bits(data) for data in strips]
    if page.compression in BYTES:
        # Given as a grey image of bytes: libtiff decompresses and leaves the pixels alone.
        tags = {256: width, 257: rows, 258: 8, 259: page.compression, 262: GREY, 277: 1}
        found = libtiff(tags, page.segment[0], strips).tobytes()
    else:
        whole = page.segment[0] * width  # some writers fill the last strip
        if page.compression in DEFLATE:
            strips = [zlib.decompressobj().decompress(data) for data in strips]
        if any(len(data) < whole for data in strips[:-1]):
            raise ValueError("a strip holds less than its pixels")
        found = b"".join([*(data[:whole] for data in strips[:-1]), strips[-1]])
    if len(found) < size:
        raise ValueError("a strip or tile holds less than its pixels")
    return found[:size]


def reverse_bits(data: bytes) -> bytes:
    return data.translate(bytes(int(f"{value:08b}"[::-1], 2) for value in range(256)))


def row_bytes(page: Layout) -> int:
    samples = 1 if page.planes else page.shape[2]
    return -(-page.segment[1] * samples * page.bits // 8)


def values(page: Layout, data: bytes, rows: int) -> np.ndarray:
    """Bytes to values rows x width x channels: unpacks bits, byte order and a predictor's differences."""
    samples = 1 if page.planes else page.shape[2]
    width = page.segment[1]
    bits = page.bits
    if bits not in (8, 16, 32, 64, 128):
        if page.predictor != 1 or page.dtype.kind not in "bu":
            raise ValueError(f"it has a predictor or sample format that {bits} bits can't have")
        lines = np.frombuffer(data, np.uint8).reshape(rows, -1)
        ones = np.unpackbits(lines, axis=1)[:, : width * samples * bits].reshape(rows, width, samples, bits)
        whole = np.zeros(ones.shape[:3], np.uint8 if bits < 8 else page.dtype)
        for place in range(bits):
            whole = whole << 1 | ones[..., place]
        return whole.astype(page.dtype)
    if page.predictor == 3:  # Adobe's TIFF technical note 3: bytes of one weight beside each other
        size = page.dtype.itemsize
        single = np.frombuffer(data, np.uint8).reshape(rows, width * size, samples)
        sums = np.add.accumulate(single, axis=1, dtype=np.uint8).reshape(rows, size, width * samples)
        whole = np.ascontiguousarray(sums.transpose(0, 2, 1)).view(page.dtype.newbyteorder(">"))
        return whole.reshape(rows, width, samples).astype(page.dtype)
    array = np.frombuffer(data, page.stored_dtype).reshape(rows, width, samples).astype(page.dtype)
    if page.predictor == 2:
        differences = array.view(f"u{page.dtype.itemsize}")
        return np.add.accumulate(differences, axis=1, dtype=differences.dtype).view(page.dtype)
    return array


def from_libtiff(page: Layout, data: bytes, rows: int, photometric: int) -> np.ndarray:
    """Decode a fax or JPEG segment; YCbCr becomes RGB."""
    width = page.segment[1]
    samples = 1 if page.planes else page.shape[2]
    tags = {
        **page.stored,
        256: width,
        257: rows,
        258: (page.bits,) * samples,
        259: page.compression,
        262: photometric,
        266: 2 if page.reversed_bits and page.compression in FAX else 1,
        277: samples,
    }
    if samples in (2, 4) and photometric != INKS:
        tags[338] = 2  # alpha that is not multiplied in: values as they are
    array = libtiff(tags, rows, [data])
    return array.reshape(*array.shape[:2], samples)


def libtiff(tags: dict[int, Any], rows: int, strips: list[bytes]) -> np.ndarray:
    """Write the strips as a small TIFF and read it by Pillow. tags: numbers, tuples of them, or bytes."""
    data = b"".join(strips)
    lengths = [len(strip) for strip in strips]
    starts = list(accumulate(lengths[:-1], initial=8))
    start = 8 + len(data) + len(data) % 2
    kinds = {**tags, 273: tuple(starts), 278: rows, 279: tuple(lengths)}
    at = start + 2 + 12 * len(kinds) + 4
    entries = b""
    more = b""
    for code, value in sorted(kinds.items()):
        if isinstance(value, bytes):
            kind = 7
            count = len(value)
            packed = value
        else:
            numbers = value if isinstance(value, tuple) else (value,)
            short = code in (258, 259, 262, 266, 277, 338, 530)
            kind, count = (3, len(numbers)) if short else (4, len(numbers))
            packed = struct.pack(f"<{count}{'H' if short else 'I'}", *numbers)
        if len(packed) > 4:
            entries += struct.pack("<HHII", code, kind, count, at + len(more))
            more += packed + b"\0" * (len(packed) % 2)
        else:
            entries += struct.pack("<HHI4s", code, kind, count, packed)
    directory = struct.pack("<H", len(kinds)) + entries + struct.pack("<I", 0)
    head = struct.pack("<2sHI", b"II", 42, start) + data + b"\0" * (len(data) % 2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Image.open(BytesIO(head + directory + more), formats=["TIFF"]) as image:
            return np.asarray(image)


def from_imagecodecs(page: Layout, data: bytes, index: int) -> np.ndarray:
    with tifffile.TiffFile(page.path) as file:
        found = file.pages[page.directory].aspage()
        tables = (
            {"jpegtables": found.jpegtables, "jpegheader": found.jpegheader}
            if page.compression in JPEG
            else {}
        )
        piece: Any = found.decode(data, index, **tables)[0]
    return np.asarray(piece[0])
