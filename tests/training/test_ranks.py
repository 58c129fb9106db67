"""Variables of torchrun and clusters: obeyed where torchrun started us, else refused in words or unheard."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import TINY, Cli
from unet_exp.cli import command_line
from unet_exp.errors import UserError
from unet_exp.training import ranks

TORCHRUN = {
    "RANK": "1",
    "WORLD_SIZE": "4",
    "LOCAL_RANK": "1",
    "TORCHELASTIC_RUN_ID": "none",
    "TORCHELASTIC_USE_AGENT_STORE": "True",
    "MASTER_ADDR": "127.0.0.1",
}


@pytest.fixture
def agent(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The environment of rank 1 of 4, and the port at which its torchrun listens."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        for name, value in TORCHRUN.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("MASTER_PORT", str(listening.getsockname()[1]))
        yield listening


@pytest.mark.parametrize(
    "left",
    [
        {"RANK": "1"},
        {"WORLD_SIZE": "2"},
        {"RANK": "0", "WORLD_SIZE": "2"},
        {"RANK": "x"},
        {"WORLD_SIZE": "0"},
        {"RANK": "1", "WORLD_SIZE": "1"},
        {"RANK": "", "WORLD_SIZE": " 8 "},
        {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "", "TORCHELASTIC_RUN_ID": "none"},
    ],
)
def test_ranks_that_nobody_started_are_refused_by_name(
    left: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in left.items():
        monkeypatch.setenv(name, value)
    for words in ([], ["-m", "lr=1,2"], ["resume=run"]):
        with pytest.raises(UserError) as caught:
            command_line.prepare(words)
        assert all(
            f"{name}={value.strip()}" in caught.value.what
            for name, value in left.items()
            if name in ("RANK", "WORLD_SIZE") and value
        )
        assert f"unset {' '.join(name for name in ranks.VARIABLES if name in left)}" in caught.value.do
    command_line.prepare(["task=check_data"])  # nothing else depends on ranks
    command_line.prepare(["--cfg", "job"])


@pytest.mark.parametrize(
    "left",
    [
        {},
        {"RANK": "", "WORLD_SIZE": ""},
        {"RANK": "0", "WORLD_SIZE": "1"},
        {"LOCAL_RANK": "3"},
        {"SLURM_PROCID": "2", "SLURM_NTASKS": "4"},
        {"WORLD_SIZE": " "},
        {"UNET_EXP_RANK": "x"},
    ],
)
def test_one_process_is_one_whatever_else_is_set(
    left: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in left.items():
        monkeypatch.setenv(name, value)
    command_line.prepare([])
    assert (ranks.launched(), ranks.is_follower()) == (1, False)


def test_torchruns_own_process_is_known(agent: socket.socket) -> None:
    assert ranks.launch() == ranks.Launch(1, 4, 1)
    assert ranks.is_follower()
    command_line.prepare(["lr=1"])
    for words, named in ((["-m", "lr=1,2"], "a sweep"), (["task=predict", "run=x"], "task=predict")):
        with pytest.raises(UserError, match=f"{named} is started once"):
            command_line.prepare(words)


def test_a_torchrun_that_is_gone_is_not_waited_for(agent: socket.socket) -> None:
    agent.close()
    with pytest.raises(UserError, match=r"no torchrun answers at 127.0.0.1:\d+"):
        ranks.is_follower()


def test_a_left_over_rank_is_one_message(cli: Cli, tmp_path: Path) -> None:
    done = cli(*TINY, cwd=tmp_path, RANK="1")
    assert done.returncode == 1
    assert done.stdout.startswith("error: the environment says RANK=1, but torchrun did not start")
    assert len(done.stdout.splitlines()) == 3
    assert not list(tmp_path.iterdir())
