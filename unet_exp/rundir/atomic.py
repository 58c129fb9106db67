"""Writing files whole: a temporary file beside it, flushed to disk, renamed."""

import contextlib
import json
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from unet_exp.errors import CheckpointError

AT_A_TIME = 16  # files of write_many


def write_text(path: Path, text: str) -> None:
    """Write a whole file or leave the old one: temporary file beside it, flushed to disk, renamed.

    A path whose name is no UTF-8 is written with \\udc.., which JSON and YAML read back.
    Raises CheckpointError when the disk or the directory refuses.
    """
    write_bytes(path, text.encode(errors="backslashreplace"))


def write_bytes(path: Path, content: bytes | memoryview) -> None:
    """As write_text."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_directory(path.parent)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def cannot_write(path: Path, error: OSError) -> CheckpointError:
    return CheckpointError(
        f"{path} could not be written: {error.strerror or error}",
        do="free space or fix the directory; what was saved before is still whole",
    )


def sync_directory(path: Path) -> None:
    """Make a rename durable; Windows can't open directories and needs none of it."""
    if os.name == "nt":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_json(path: Path, content: Any) -> None:
    write_text(path, json_text(content))


def json_text(content: Any) -> str:
    """The content of a file of write_json."""
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def write_many(files: Iterable[tuple[Path, str]]) -> None:
    """As write_text, with the folders of the files. Several are flushed to disk at a time, which costs a
    disk little more than one. Raises the error of the first that can't be written."""

    def write(file: tuple[Path, str]) -> None:
        make_directory(file[0].parent)
        write_text(*file)

    with ThreadPoolExecutor(AT_A_TIME) as pool:
        for done in [pool.submit(write, file) for file in files]:
            done.result()


def read_json(path: Path) -> Any:
    """Raises CheckpointError for a file that is no JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{path} can't be read: {error}", do="remove it; it is written again"
        ) from error


def make_directory(path: Path) -> None:
    """Raises CheckpointError when the disk or a file in the way refuses."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(path, error) from error
