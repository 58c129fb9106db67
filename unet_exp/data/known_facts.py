"""The facts of samples, known from an earlier start by the state of their files."""

import json
import struct
import uuid
from dataclasses import dataclass
from pathlib import Path

import imagecodecs
import numpy as np
import PIL
import tifffile

from unet_exp.config.label_map import LabelMap
from unet_exp.data.items import Item, SyntheticItem
from unet_exp.data.stats import Facts, place_type
from unet_exp.rundir.store import Store, key_of, state_of

VERSION = 1  # of what look_at finds; raise it when that changes


@dataclass(slots=True)
class Known:
    """facts; num_shared: pixels of several masks, where the label is a folder of masks."""

    facts: Facts
    num_shared: int | None


class KnownFacts:
    """Facts by the state of the image's and the label's files, what decodes them, and how labels are read."""

    def __init__(self, root: Path | None, labels: LabelMap) -> None:
        decoders = (PIL.__version__, tifffile.__version__, imagecodecs.__version__, np.__version__)
        self.settings = key_of([repr((VERSION, decoders, labels))]).hex()
        self.store = Store(root, "facts")
        self.root = root
        self.labels = labels

    def look_up(self, item: Item | SyntheticItem) -> tuple[bytes | None, Known | None]:
        """Its key, None where nothing can be kept of it; and what is known of it."""
        key = self.key(item)
        record = None if key is None else self.store.get(key)
        return key, None if record is None else decoded(record)

    def key(self, item: Item | SyntheticItem) -> bytes | None:
        """None for what has no files, or one that is gone or was written just now."""
        if not isinstance(item, Item):
            return None
        try:
            states = [state_of(path) for path in item.files]
        except OSError:
            return None
        if None in states:
            return None
        return key_of([self.settings, str(item.page), item.channels, *map(str, states)])

    def identity(self, item: Item | SyntheticItem) -> str:
        """Of what is read from its files now; where that can't be relied on, of no other start."""
        if isinstance(item, SyntheticItem):
            return repr(item)
        key = self.key(item)
        return uuid.uuid4().hex if key is None else key.hex()

    def put(self, key: bytes | None, known: Known) -> None:
        if key is not None:
            self.store.put(key, encoded(known.facts, known.num_shared))

    def save(self) -> None:
        self.store.save()


def encoded(facts: Facts, num_shared: int | None) -> bytes:
    """The places as they are in memory, the rest as JSON before them."""
    head = json.dumps(
        {
            "shape": facts.shape,
            "dtype": facts.dtype,
            "low": facts.low,
            "high": facts.high,
            "mean": facts.mean.tolist(),
            "std": facts.std.tolist(),
            "counts": facts.counts,
            "image": facts.image_sha256,
            "label": facts.label_sha256,
            "constant": facts.constant,
            "shared": num_shared,
            "places": [(index, len(places)) for index, places in facts.places],
        },
        separators=(",", ":"),
    ).encode()
    head += b" " * (-(len(head) + 4) % 8)
    return b"".join([struct.pack("<I", len(head)), head, *(places.tobytes() for _, places in facts.places)])


def decoded(record: memoryview) -> Known:
    """places are views of the record, which is mapped."""
    (length,) = struct.unpack_from("<I", record)
    head = json.loads(bytes(record[4 : 4 + length]))
    start = 4 + length
    kind = np.dtype(place_type(head["shape"]))
    places = []
    for index, count in head["places"]:
        places.append((index, np.frombuffer(record, kind, count, start)))
        start += kind.itemsize * count
    facts = Facts(
        shape=tuple(head["shape"]),
        dtype=head["dtype"],
        low=head["low"],
        high=head["high"],
        mean=np.array(head["mean"]),
        std=np.array(head["std"]),
        counts=tuple((index, count) for index, count in head["counts"]),
        image_sha256=head["image"],
        label_sha256=head["label"],
        places=tuple(places),
        constant=head["constant"],
    )
    return Known(facts, head["shared"])
