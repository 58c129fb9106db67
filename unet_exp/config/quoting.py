"""Settings as the user types them: quoted for Hydra's grammar, then for the shell."""

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")  # a word that Hydra's grammar accepts without quotes
NOTHING = "(?!)"  # a regex that matches nothing
OTHERWISE_READ = ("true", "false", "null", "nan", "inf", "yes", "no", "on", "off")


def setting(key: str, value: Any, verbatim: bool = False) -> str:
    """'key=value' in Hydra's grammar. verbatim: for paths, which the command line quotes itself."""
    quoted_already = isinstance(value, str) and len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
    if verbatim and isinstance(value, str) and value not in ("", "null") and not quoted_already:
        return f"{key}={value}"
    return f"{key}={hydra_value(value)}"


def hydra_value(value: Any) -> str:
    """A word, number, list or mapping in Hydra's grammar; words with another meaning there are quoted."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {hydra_value(one)}" for key, one in value.items()) + "}"
    if isinstance(value, str):
        return value if PLAIN.fullmatch(value) and value.lower() not in OTHERWISE_READ else quoted(value)
    if isinstance(value, Sequence):
        return "[" + ",".join(map(hydra_value, value)) + "]"
    return str(value)


def quoted(text: str, mark: str = '"', alive: str = NOTHING) -> str:
    """In Hydra's quotes: quotes, the backslashes before them and references escaped.

    alive: a regex of what follows the `${` of a reference that stays one.
    """
    text = re.sub(rf"\$\{{(?!{alive})", r"\\${", text)
    text = re.sub(rf"(\\*){mark}", lambda match: match[1] * 2 + "\\" + mark, text)
    tail = len(text) - len(text.rstrip("\\"))
    return mark + text + "\\" * tail + mark


def command(words: Sequence[str], program: str = "python run.py") -> str:
    """One line for the shell."""
    return f"{program} {shlex.join(words)}"
