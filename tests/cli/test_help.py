"""--help and tab completion."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, Cli
from unet_exp.cli.command_line import TASKS
from unet_exp.config.schema import Config

SHELL = """
eval "$(python run.py -sc install=bash)"
COMP_LINE="python run.py $1"
COMP_POINT=${#COMP_LINE}
COMP_CWORD=$(( $(wc -w <<< "$COMP_LINE") - 1 ))
hydra_bash_completion
echo "${COMPREPLY[@]}"
"""


def test_the_first_screen_has_every_command(cli: Cli, tmp_path: Path) -> None:
    done = cli("--help", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    lines = done.stdout.splitlines()
    assert max(map(len, lines[:24])) <= 80
    screen = "\n".join(lines[:24])
    assert screen.startswith("unet_exp trains U-Nets")
    for words in (
        "python run.py  ",
        "resume=RUN_DIR",
        "from_run=RUN_DIR",
        " -m lr=1e-3,1e-4",
        "sweep=lr_batch",
    ):
        assert words in screen
    for task in TASKS:
        assert f"\n  task={task} " in screen


def test_groups_and_settings_follow_without_internals(cli: Cli, tmp_path: Path) -> None:
    lines = cli("--help", "model=unet", cwd=tmp_path).stdout.splitlines()
    below = lines[lines.index("Groups (group=option):") :]
    assert "optimizer: adam, adamw, sgd" in below
    assert {f"{key}:" for key in Config.__dataclass_fields__} <= {line.split(" ")[0] for line in below}
    assert "  base_channels: 64" in below
    for word in ("_target_", "schema", "hydra"):
        assert word not in "\n".join(below)


def test_a_task_shows_its_keys(cli: Cli, tmp_path: Path) -> None:
    printed = cli("task=predict", "--help", cwd=tmp_path).stdout
    assert printed.startswith("python run.py task=NAME KEY=VALUE")
    assert "\ninput: ???\n" in printed
    assert "lr:" not in printed


def test_hydras_own_help_is_there(cli: Cli, tmp_path: Path) -> None:
    assert "--experimental-rerun" in cli("--hydra-help", cwd=tmp_path).stdout


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("opt", "optimizer. optimizer="),
        ("optimizer=", "optimizer=adam optimizer=adamw optimizer=sgd"),
        ("bs=4 model.dep", "model.depth="),
        ("sweep=lr", "sweep=lr_batch"),
    ],
)
def test_tab_completes(typed: str, completed: str) -> None:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", SHELL, "bash", typed],
        cwd=ROOT,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.stdout.strip(), done.stderr) == (completed, "")
