"""Configs that are put together from one of their kind are what Hydra composes for each, byte for byte."""

import random
from collections.abc import Sequence
from itertools import islice
from typing import Any

import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path
from hydra.core.global_hydra import GlobalHydra
from hydra.core.utils import setup_globals
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from tests.conftest import ROOT
from unet_exp.config.hydra_hooks import register
from unet_exp.config.saved import without_calls, without_hydra
from unet_exp.config.yaml_files import yaml_text
from unet_exp.sweeps import plan
from unet_exp.sweeps.composing import Composed, Composer
from unet_exp.sweeps.grid import expand

SWEEPS = sorted(path.stem for path in (ROOT / "multirun_sweeps").glob("*.yaml"))
NO_GRID = ("tune", "confirm")  # their jobs come from a study, or from another sweep
SOME = 6  # jobs of each sweep that Hydra composes as well
# What people sweep: keys with values of every type, groups, additions, removals and references.
AXES: dict[str, list[str]] = {
    "lr": ["1e-3", "0.01", "1", "3e-4"],
    "batch_size": ["2", "4"],
    "seed": ["0", "1", "7"],
    "epochs": ["3", "10"],
    "threads": ["1", "auto"],
    "optimizer.lr": ["1e-4", "${lr}"],
    "optimizer.weight_decay": ["0", "0.1", "1e-5"],
    "model": ["unet_small", "unet_half", "unet"],
    "model.depth": ["2", "3"],
    "model.norm": ["batch", "group"],
    "model.stride": ["1", "2"],
    "model.deep_supervision": ["true", "false"],
    "loss": ["bce", "ce_dice"],
    "scheduler": ["cosine", "constant"],
    "transform": ["lecture", "strong"],
    "transform.mean": ["0.5", "train", "[0.4]"],
    "~transform.train.flip": [""],
    "+model.max_channels": ["64", "128"],
    "++trainer.keep": ["1", "2"],
    "trainer.monitor": ["dice", "loss"],
    "trainer.fused": ["auto", "true"],
    "trainer.smoothing": ["0", "0.5", "1"],
    "trainer.max_minutes": ["null", "5", "2.5"],
    "data.size": ["32", "64"],
    "data.seed": ["0", "${seed}"],
    "data.classes": ["[membrane,interior]", "[no,yes]"],
    "data.split.group": ["null", "'^(a.)'"],
    "name": ["one", "'two words'", "010", "${oc.env:HOME}"],
    "notes": ["rate ${lr}", "'a: b # c'"],
    "hydra.job.name": ["first", "second"],
}


@pytest.fixture
def loader() -> ConfigLoaderImpl:
    register()
    setup_globals()
    GlobalHydra.instance().clear()
    return ConfigLoaderImpl(create_config_search_path(str(ROOT / "conf")))


class Compared:
    """A Composer whose results are compared with Hydra's."""

    def __init__(self, loader: ConfigLoaderImpl, words: list[str]) -> None:
        self.loader = loader
        self.master: DictConfig = loader.load_configuration("config", words, RunMode.MULTIRUN)
        self.composer = Composer(loader, self.master)
        self.by_hydra = self.composer.by_hydra
        self.composer.by_hydra = self.counted  # type: ignore[method-assign]
        self.num_put = 0  # jobs that were not composed by Hydra

    def counted(self, overrides: Sequence[str]) -> Composed:
        self.num_put -= 1
        return self.by_hydra(overrides)

    def same(self, overrides: list[str]) -> None:
        found = self.composer.compose(overrides)
        self.num_put += 1
        config = self.loader.load_sweep_config(self.master, overrides)
        own = without_hydra(config)
        assert yaml_text(found.saved) == OmegaConf.to_yaml(without_calls(own)), overrides
        node = OmegaConf.masked_copy(config, ["hydra"])
        assert yaml_text({"hydra": found.hydra}) == OmegaConf.to_yaml(node), overrides
        assert typed(found.values) == typed(OmegaConf.to_container(own, resolve=True)), overrides


def typed(values: Any) -> str:
    """Written so that 1, 1.0, '1' and true differ."""
    return repr(values)


@pytest.mark.parametrize("name", [name for name in SWEEPS if name not in NO_GRID])
def test_the_jobs_of_every_shipped_sweep(name: str, loader: ConfigLoaderImpl) -> None:
    words = [f"sweep={name}", "seed=0,1"]
    compared = Compared(loader, words[:1])
    jobs = [overrides for _, overrides in expand(compared.master, ["seed=0,1"], loader).jobs]
    for overrides in islice(jobs, SOME):
        compared.same(overrides)
    assert compared.num_put > 0


@pytest.mark.parametrize(("seed", "kinds"), [(0, 6), pytest.param(1, 20, marks=pytest.mark.default_size)])
def test_random_sets_of_overrides(seed: int, kinds: int, loader: ConfigLoaderImpl) -> None:
    """Four jobs of each kind; Hydra takes a quarter of a second for one."""
    draw = random.Random(seed)
    compared = Compared(loader, [])
    refused = 0
    for _ in range(kinds):
        keys = draw.sample(sorted(AXES), draw.randint(1, 6))
        for _ in range(4):
            words = [key if key[0] == "~" else f"{key}={draw.choice(AXES[key])}" for key in keys]
            try:
                loader.load_sweep_config(compared.master, words)
            except HydraException:  # such as an addition that is there already
                refused += 1
                with pytest.raises(HydraException):
                    compared.composer.compose(words)
            else:
                compared.same(words)
    assert compared.num_put > kinds
    assert refused < kinds


def test_what_is_told_apart(loader: ConfigLoaderImpl) -> None:
    """Where a value decides more than its own key, Hydra composes; the others are put in."""
    compared = Compared(loader, [])
    for rate in ("1e-3", "2e-3", "1", "3"):
        compared.same([f"lr={rate}", "notes='rate ${lr}'"])
        compared.same([f"optimizer.lr={rate}", "+optimizer.eps='${.lr}'"])
    assert compared.num_put == 0
    for rate in ("1e-3", "2e-3"):
        compared.same([f"lr={rate}", "seed=1", "lr=5e-3"])
    assert compared.num_put == 0
    for rate in ("1e-3", "2e-3", "3e-3"):
        compared.same([f"lr={rate}", "seed=1"])
    assert compared.num_put == 2


def test_each_job_is_checked(loader: ConfigLoaderImpl) -> None:
    composer = Composer(loader, loader.load_configuration("config", [], RunMode.MULTIRUN))
    for rate, is_good in (("1e-3", True), ("-1.0", False), ("2e-3", True), ("nan", False)):
        _, problems = plan.compose([f"lr={rate}"], ["lr"], composer)
        assert (problems == []) == is_good, (rate, problems)
