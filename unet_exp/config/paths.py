"""Paths on the command line, made safe for Hydra's grammar. Standard library only."""

import contextlib
import os
from pathlib import Path

from unet_exp.config.quoting import quoted

PATH_KEYS = (
    "data.root",
    "data.images",
    "data.labels",
    "data.label_suffix",
    "data.csv",
    "data.cache_dir",
    "data.image_stack",
    "data.label_stack",
    "model.weights",
    "resume",
    "from_run",
    "run",
    "input",
    "output",
    "objects",
    "hydra.run.dir",
    "hydra.sweep.dir",
    "sweep_dir",
    "hydra.sweeper.confirm",
    "root",
    "data.pair_regex",
    "data.split.group",
)


def expanded(path: str | Path) -> Path:
    """With the home folder for ~ and ~NAME; a ~NAME that is no user's is the name of a file."""
    return Path(os.path.expanduser(path))


def is_quoted(value: str) -> bool:
    return len(value) > 1 and value[0] == value[-1] and value[0] in "'\""


def quote_path(override: str, multirun: bool) -> str:
    """An override whose value is a path, made safe for Hydra's grammar; others as they are.

    With -m a comma separates paths, unless the whole is a path that exists. `${oc.env:...}` reads the
    environment, unless there is a path of that very name.
    """
    key, equals, value = override.partition("=")
    if key == "runs" and value:
        runs = [run.strip(" \"'") for run in value.strip("[]").split(",")]
        return f"runs=[{','.join(quoted_path(str(expanded(run))) for run in runs if run)}]"
    if key.lstrip("+") not in PATH_KEYS or not equals or value in ("", "null") or is_quoted(value):
        return override
    if key == "objects" and value.lower() in ("true", "false"):  # of task=predict
        return override
    several = multirun and "," in value and not os.path.exists(expanded(value))
    paths = value.split(",") if several else [value]
    names_runs = key in ("hydra.run.dir", "hydra.sweep.dir")
    paths = [str(expanded(path)) if path.startswith("~") else path for path in paths]
    return f"{key}=" + ",".join(quoted_path(path, names_runs, not os.path.exists(path)) for path in paths)


def quoted_path(value: str, references: bool = False, environment: bool = False) -> str:
    """A value in Hydra's single quotes, its references escaped but for `${now:...}` and Hydra's variables.

    references: all others stay alive too, as in runs/lr${lr}. environment: `${oc.env:...}` stays alive.
    """
    alive = "" if references else r"now:|hydra[:.]" + r"|oc\.env:" * environment
    return quoted(value, "'", alive)


def is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:  # bytes of another encoding, which Python keeps as lone surrogates
        return False
    return True


def decoded(name: str) -> str:
    """A name that is not UTF-8, with its bytes as \\x.., and decoded as cp949 or latin-1."""
    raw = name.encode(errors="surrogateescape")
    for encoding in ("cp949", "latin-1"):
        with contextlib.suppress(UnicodeDecodeError):
            return f"{raw.decode('ascii', 'backslashreplace')} ({raw.decode(encoding)} in {encoding})"
    return ascii(name)
