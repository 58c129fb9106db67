"""A fingerprint of the files that a run reads, to tell later which of them changed. Imports nothing heavy."""

import hashlib
import os
from pathlib import Path
from typing import Any

from unet_exp.errors import CheckpointError, DataError
from unet_exp.messages import numbered
from unet_exp.rundir import atomic, layout
from unet_exp.rundir.store import Store, cache_folder, key_of, state_of
from unet_exp.threads import in_threads

BLOCK = 65_536
WEIGHTS = "weights/"  # before the name of the file of model.weights
WHOLE = "sha256"
SAMPLED = "sha256 of the first, middle and last 64 KiB"
Fingerprint = dict[str, Any]  # {"method", "files": {name: {"size", "mtime_ns", "ctime_ns", "sha256"}}}


def fingerprint(
    paths: dict[str, Path],
    limit_mb: int,
    known: Fingerprint | None = None,
    kept: str = "",
    cache_dir: str | None = None,
) -> Fingerprint:
    """Sizes and content hashes of files, by the names given.

    limit_mb: of all files together; above it only three blocks of each file are read, and "method" says so.
    known: an earlier fingerprint, whose method is kept and whose hashes are taken over for files whose size,
    modification and change times are the same. kept: known files whose names begin so are taken over as they
    were, wherever they are now. cache_dir: where hashes of any run's files are kept (store.cache_folder).
    """
    from tqdm import tqdm

    stats = {name: stat_of(path) for name, path in paths.items()}
    total = sum(stat.st_size for stat in stats.values())
    method = SAMPLED if total > limit_mb * 1_000_000 else WHOLE
    before = {} if known is None else known["files"]
    if known is not None:
        method = known["method"]
    files = {name: old for name, old in before.items() if kept and name.startswith(kept)}
    total += sum(old["size"] for old in files.values())
    store = Store(cache_folder(cache_dir), "hashes")
    unknown: dict[str, bytes | None] = {}  # their keys in the store
    for name, stat in stats.items():
        times = {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns, "ctime_ns": stat.st_ctime_ns}
        old = before.get(name, {})
        if all(old.get(key) == value for key, value in times.items()):
            files[name] = times | {"sha256": old["sha256"]}
            continue
        state = state_of(paths[name], stat)
        key = None if state is None else key_of([method, state])
        found = None if key is None else store.get(key)
        files[name] = times | {"sha256": "" if found is None else bytes(found).hex()}
        if found is None:
            unknown[name] = key
    with in_threads(lambda name: hash_file(paths[name], method), list(unknown)) as results:
        bar = tqdm(results, "checking files", len(unknown), delay=1.0, leave=False, disable=None, ncols=79)
        for name, future in bar:
            sha256 = future.result()
            files[name]["sha256"] = sha256
            key = unknown[name]
            if key is not None:
                store.put(key, bytes.fromhex(sha256))
    store.save()
    return {"method": method, "bytes": total, "files": files}


def stat_of(path: Path) -> os.stat_result:
    """Raises DataError for a file that is not there, or a link that leads nowhere."""
    try:
        return path.stat()
    except OSError as error:
        raise DataError(f"{path} can't be read: {error.strerror}", do="copy or export it again") from error


def hash_file(path: Path, method: str) -> str:
    """Raises DataError for a file that can't be read."""
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            if method == WHOLE:
                return hashlib.file_digest(file, "sha256").hexdigest()
            size = os.fstat(file.fileno()).st_size
            for start in (0, max(size // 2 - BLOCK // 2, 0), max(size - BLOCK, 0)):
                file.seek(start)
                digest.update(file.read(BLOCK))
    except OSError as error:
        raise DataError(f"{path} can't be read: {error.strerror}", do="copy or export it again") from error
    return digest.hexdigest()


def summary(files: Fingerprint) -> dict[str, Any]:
    """The short form for environment.json."""
    digest = hashlib.sha256()
    for name, file in files["files"].items():
        digest.update(f"{name} {file['size']} {file['sha256']}\n".encode())
    return {
        "method": files["method"],
        "files": len(files["files"]),
        "bytes": files["bytes"],
        "sha256": digest.hexdigest(),
    }


def changes(old: Fingerprint, new: Fingerprint) -> list[str]:
    """One line for each file whose content differs, that is new or that is gone."""
    before = old["files"]
    after = new["files"]
    lines = []
    for name in sorted({**before, **after}):
        if name not in after:
            lines.append(f"{name} is gone")
        elif name not in before:
            lines.append(f"{name} is new")
        elif any(before[name][key] != after[name][key] for key in ("size", "sha256")):
            lines.append(f"{name} has other content")
    return lines


def refuse_changes(lines: list[str], what: str) -> None:
    """Raises DataError naming the first ten files. what: the run that was made from the old ones."""
    if not lines:
        return
    raise DataError(
        numbered(f"the data changed since {what}; nothing was trained", lines),
        do="put the old files back, or start a new run on the new ones: from_run=RUN_DIR",
    )


def known_files(run_dir: Path | None) -> dict[str, Any] | None:
    """The fingerprint of a run's data, None where there is none."""
    if run_dir is None or not (run_dir / layout.FINGERPRINT).exists():
        return None
    known = atomic.read_json(run_dir / layout.FINGERPRINT)
    if not isinstance(known, dict) or not {"method", "files"} <= set(known):
        raise CheckpointError(f"{run_dir / layout.FINGERPRINT} is not a fingerprint", do="remove it")
    return known
