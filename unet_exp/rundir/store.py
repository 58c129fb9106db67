"""What was found out about files, kept in the user's cache folder: a cache that may be lost at any time.

Records are bytes under a key of KEY bytes. Each process writes what it adds to a new file, whole or not at
all, and no file is ever changed, so any number of processes share a folder. Imports nothing heavy.
"""

import contextlib
import hashlib
import logging
import mmap
import os
import shutil
import struct
import sys
import time
import uuid
from collections.abc import Iterable
from pathlib import Path

log = logging.getLogger("unet_exp")
MAGIC = b"unet_exp store 1"
KEY = 16
ENDING = ".store"
OWN = (f"facts/*{ENDING}", f"hashes/*{ENDING}", "arrays/*/arrays.bin")  # what make_room may remove
MOST_FILES = 8  # of a folder; then they become one
SHARE = 5  # of the free space a fifth at most
JUST_NOW = 2.0  # seconds in which a file may change again without another time of change


def cache_folder(given: str | None) -> Path | None:
    """The folder of data.cache_dir: "user" is the user's cache folder, null none."""
    if given is None:
        return None
    if given != "user":
        return Path(os.path.expanduser(given))
    home = Path(os.path.expanduser("~"))
    if sys.platform == "darwin":
        return home / "Library" / "Caches" / "unet_exp"
    if os.name == "nt":
        return Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local") / "unet_exp" / "Cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache") / "unet_exp"


def state_of(path: Path, stat: os.stat_result | None = None) -> str | None:
    """A text that is another one whenever the file was written to; None where that can't be relied on.

    stat: where it is known. Raises OSError for a file that is not there.
    """
    name = os.path.abspath(path)
    stat = os.stat(name) if stat is None else stat
    if time.time() - stat.st_ctime < JUST_NOW:
        return None
    return f"{name}|{stat.st_size}|{stat.st_mtime_ns}|{stat.st_ctime_ns}|{stat.st_ino}"


def key_of(texts: Iterable[str]) -> bytes:
    return hashlib.blake2b("\n".join(texts).encode(errors="surrogateescape"), digest_size=KEY).digest()


class Store:
    """The records of a folder, mapped, not read; those that are added become a file by save()."""

    def __init__(self, root: Path | None, name: str) -> None:
        """root: of cache_folder; None keeps nothing. name: of the folder in it."""
        self.root = root
        self.folder = None if root is None else root / name
        self.places: dict[bytes, memoryview] = {}
        self.added: dict[bytes, bytes] = {}
        self.files: list[Path] = []
        self.read()

    def read(self) -> None:
        """The records of the files that are new since."""
        if self.folder is None:
            return
        before = set(self.files)
        with contextlib.suppress(OSError):  # it is not there yet, or can't be read
            self.files = sorted(self.folder.glob(f"*{ENDING}"))
        for path in self.files:
            if path not in before:
                with contextlib.suppress(OSError, ValueError, struct.error):  # gone, or damaged
                    self.places.update(records(path))

    def get(self, key: bytes) -> memoryview | None:
        return self.places.get(key)

    def put(self, key: bytes, record: bytes) -> None:
        if self.folder is not None:
            self.added[key] = record

    def save(self) -> None:
        """Where that fails (a full disk, a quota), one line says so and nothing else happens."""
        if self.folder is None or not self.added:
            return
        self.read()  # what others added meanwhile
        kept: dict[bytes, bytes | memoryview] = {
            key: record for key, record in self.added.items() if key not in self.places
        }
        together = len(self.files) >= MOST_FILES
        if together:
            kept = {**self.places, **self.added}
        self.added = {}
        if not kept:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            make_room(self.folder.parent, sum(map(len, kept.values())) + len(kept) * (KEY + 8))
            write_records(self.folder / f"{uuid.uuid4().hex}{ENDING}", kept)
        except OSError as error:
            log.warning(
                "what is known of the files is not kept in %s: %s", self.root, error.strerror or error
            )
            return
        for path in self.files if together else []:
            path.unlink(missing_ok=True)


def make_room(root: Path, size: int) -> None:
    """Remove the oldest files of the cache until `size` bytes more are a fifth of the free space at most.

    Raises OSError where there is no such room.
    """
    files = []
    for pattern in OWN:  # and nothing else: the folder may be anyone's
        for path in root.glob(pattern):
            with contextlib.suppress(OSError):  # another process removed it
                files.append((path.stat().st_mtime, path.stat().st_size, path))
    used = sum(of_file for _, of_file, _ in files)
    allowed = (shutil.disk_usage(root).free + used) // SHARE
    if size > allowed:
        raise OSError(f"{size / 1e6:.0f} MB are more than a fifth of the free space")
    for _, of_file, path in sorted(files):
        if used + size <= allowed:
            break
        used -= of_file
        path.unlink(missing_ok=True)


def write_records(path: Path, kept: dict[bytes, bytes | memoryview]) -> None:
    temporary = path.with_suffix(".tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(MAGIC + struct.pack("<q", len(kept)))
            file.write(b"".join(kept))
            end = 0
            ends = []
            for record in kept.values():
                end += len(record)
                ends.append(end)
            file.write(struct.pack(f"<{len(ends)}q", *ends))
            file.writelines(kept.values())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def records(path: Path) -> dict[bytes, memoryview]:
    """The records of a file, mapped. Raises ValueError or struct.error for one that is damaged."""
    with open(path, "rb") as file:
        mapped = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    if mapped[: len(MAGIC)] != MAGIC:
        raise ValueError("it is of another version")
    (count,) = struct.unpack_from("<q", mapped, len(MAGIC))
    keys = len(MAGIC) + 8
    ends = keys + count * KEY
    first = ends + count * 8
    borders = (0, *struct.unpack_from(f"<{count}q", mapped, ends))
    if first + borders[-1] != len(mapped):
        raise ValueError("it is cut off")
    return {
        bytes(mapped[keys + number * KEY : keys + (number + 1) * KEY]): mapped[
            first + borders[number] : first + borders[number + 1]
        ]
        for number in range(count)
    }
