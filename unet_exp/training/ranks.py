"""Which rank of a run on several devices this process is, by torchrun or by our own rank 0."""

import os
import socket
from typing import NamedTuple

from unet_exp.errors import ConfigError

STARTED_AS = "UNET_EXP_RANK"  # what rank 0 gives to the processes that it starts: RANK SIZE PORT
TORCHRUN = "TORCHELASTIC_RUN_ID"
VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
ANSWERS_WITHIN = 30.0  # seconds; torchrun's store is there before the processes that it starts


class Launch(NamedTuple):
    """rank: 0 to size - 1. local: index of its GPU. port: that of rank 0's store, None under torchrun."""

    rank: int
    size: int
    local: int
    port: int | None = None


def launch() -> Launch | None:
    """How this process was started as a rank; None for a single one, whatever the environment holds."""
    numbers = os.environ.get(STARTED_AS, "").split()
    if len(numbers) == 3 and all(word.isdecimal() for word in numbers):
        rank, size, port = map(int, numbers)
        return Launch(rank, size, rank, port)
    words = [os.environ.get(name, "").strip() for name in VARIABLES]
    if os.environ.get(TORCHRUN) and all(word.isdecimal() for word in words):
        return Launch(*map(int, words))
    return None


def launched() -> int:
    """How many processes torchrun or rank 0 started for this run; 1 if there is only this one."""
    started = launch()
    return 1 if started is None else started.size


def refuse_leftovers() -> None:
    """Raises ConfigError if RANK or WORLD_SIZE name several processes but no launcher started them."""
    given = {name: os.environ.get(name, "").strip() for name in VARIABLES[:2]}
    shown = ", ".join(f"{name}={value}" for name, value in given.items() if value)
    alone = given["RANK"] in ("", "0") and given["WORLD_SIZE"] in ("", "1")
    started = launch()
    if alone or os.environ.get(STARTED_AS):
        return
    names = [name for name in (*VARIABLES, TORCHRUN) if name in os.environ]
    unset = f"for one process: unset {' '.join(names)}"
    if started is None:
        raise ConfigError(
            f"the environment says {shown}, but torchrun did not start this process (left over from another "
            "program, a container or a cluster?)",
            do=f"{unset}\n           for N devices: python run.py trainer.devices=N, or torchrun",
        )
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
        place = os.environ.get("MASTER_ADDR", ""), os.environ.get("MASTER_PORT", "")
        try:
            socket.create_connection((place[0], int(place[1])), ANSWERS_WITHIN).close()
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"the environment says {shown} as torchrun does, but no torchrun answers at "
                f"{':'.join(place)} (left over from an earlier one?)",
                do=unset,
            ) from error


def is_follower() -> bool:
    """Whether another process is rank 0. Raises ConfigError as refuse_leftovers does."""
    started = launch()
    if started is None or started.rank == 0:
        return False
    refuse_leftovers()
    return True
