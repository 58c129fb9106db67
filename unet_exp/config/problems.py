"""One thing that is wrong with a config, and what to type instead."""

import shlex
from typing import NamedTuple

from unet_exp.messages import typed_command


class Problem(NamedTuple):
    """The dotted key it is about, and what is wrong with it and what to do."""

    key: str
    text: str

    def __str__(self) -> str:
        return f"{self.key} {self.text}"


def again_with(setting: str) -> str:
    """What to type for another value: with the task and the run of the command, if it names them."""
    named = [
        word
        for word in typed_command()[1:]
        if word.partition("=")[0] in ("task", "resume", "from_run", "run")
    ]
    return " ".join([*map(shlex.quote, named), setting])
