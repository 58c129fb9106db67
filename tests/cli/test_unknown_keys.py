"""Keys and options that there are not: all in one error, each with the one that is probably meant."""

from pathlib import Path

import pytest

from tests.conftest import Cli
from unet_exp.config.suggestions import ALIASES, likely_key

KEYS = [
    "lr",
    "batch_size",
    "epochs",
    "num_workers",
    "seed",
    "model",
    "model.depth",
    "data.root",
    "optimizer",
    "optimizer.lr",
    "optimizer.weight_decay",
    "trainer.devices",
    "trainer.plots",
]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("bs", "batch_size"),
        ("batchsize", "batch_size"),
        ("learning_rate", "lr"),
        ("num_epochs", "epochs"),
        ("workers", "num_workers"),
        ("gpus", "trainer.devices"),
        ("data_dir", "data.root"),
        ("wd", "optimizer.weight_decay"),
        ("depth", "model.depth"),
        ("model.dept", "model.depth"),
        ("trainer.epochs", "epochs"),
        ("trainer.lr", "lr"),
        ("optimzer", "optimizer"),
        ("loss.anything", None),
    ],
)
def test_a_wrong_name_has_its_key(typed: str, meant: str | None) -> None:
    assert likely_key(typed, KEYS) == meant


def test_no_other_name_stands_for_two_keys() -> None:
    names = [name for others in ALIASES.values() for name in others.split()]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("typed", "lines"),
    [
        (
            ["bs=4", "learning_rate=1e-3", "trainer.epochs=3", "gpus=2", "optimizer.momentum=0.9"],
            [
                "5 problems in the configuration",
                "bs is not a known key; did you mean 'batch_size'?",
                "learning_rate is not a known key; did you mean 'lr'?",
                "trainer.epochs is not a known key; did you mean 'epochs'?",
                "gpus belongs to a sweep (add -m, or sweep=NAME); did you mean 'trainer.devices'?",
                "optimizer: torch.optim.Adam does not take momentum; allowed: lr, betas, eps",
            ],
        ),
        (
            ["model=unett", "optimizer=SGD", "model.anything=1", "bs=4", "--cfg", "job"],
            [
                "3 problems in the configuration",
                "model=unett is not known; did you mean 'unet'?; allowed: monai_basic_unet, nnunet_like",
                "optimizer=SGD is not known; did you mean 'sgd'?; allowed: adam, adamw, sgd",
                "bs is not a known key",
            ],
        ),
        (
            ["task=evaluate", "run=x", "splitt=test", "bs=4"],
            ["2 problems", "splitt is not a known key; did you mean 'split'?", "bs is not a known key"],
        ),
        (
            ["-m", "lr=1,2", "model=unett,unet", "bs=4"],
            ["2 problems", "model=unett is not known", "bs is not a known key; did you mean 'batch_size'?"],
        ),
        (["-m", "bs=4,8"], ["bs is not a known key; did you mean 'batch_size'?"]),
        (["resum=x", "~nothing"], ["2 problems", "did you mean 'resume'?", "'nothing' does not exist"]),
        (
            ["lr=1,2", "model.norm=}"],
            ["2 problems", "'lr=1,2'; -m makes", "'model.norm=}'; put an odd value"],
        ),
        (["+experiment=lecture"], ["Multiple values for experiment", "GROUP=OPTION, without +"]),
        (["epochs", "=", "3"], ["epochs = 3 is not KEY=VALUE", "leave no blanks"]),
        (["transform.train.crop.size=64"], ["transform.train.crop is not a step here (flip, rotate90"]),
    ],
)
def test_all_are_reported_in_one_error(typed: list[str], lines: list[str], cli: Cli, tmp_path: Path) -> None:
    done = cli(*typed, cwd=tmp_path)
    assert done.returncode == 1
    for line in lines:
        assert line in done.stdout
    assert done.stdout.count("error:") == 1
    if "is not a known key" in done.stdout:
        assert "to do:   " in done.stdout
    for word in ("To append", "HYDRA_FULL_ERROR", "Traceback"):
        assert word not in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_an_argument_of_torchs_class_needs_no_plus(cli: Cli, tmp_path: Path) -> None:
    shown = cli("optimizer=sgd", "optimizer.maximize=true", "--cfg", "job", "-p", "optimizer", cwd=tmp_path)
    assert shown.returncode == 0, shown.stdout
    assert "maximize: true" in shown.stdout
