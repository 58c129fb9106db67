"""Configs: everything in conf/ runs, every problem is named at once, the start is quick and torch-free."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from tests.conftest import ROOT, Cli, composed, run_dirs, write_folder
from unet_exp.config.checks import find_problems
from unet_exp.config.components import COMPONENTS
from unet_exp.config.hydra_hooks import register
from unet_exp.config.resolve import filled
from unet_exp.training import build, setup

FILES = sorted(path.relative_to(ROOT / "conf").with_suffix("") for path in (ROOT / "conf").rglob("*.yaml"))
OPTIONS = [path for path in FILES if len(path.parts) == 2]


def problems(*overrides: str) -> list[str]:
    register()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return find_problems(compose("config", overrides=list(overrides)))


def test_every_file_is_known_here() -> None:
    """A new file in conf/ is covered by the next test; the count notices one the glob would miss."""
    assert len(OPTIONS) == 46
    assert {str(path) for path in FILES if len(path.parts) == 1} == {
        "config",
        "settings",
        "reproduce",
        "evaluate",
        "predict",
        "measure",
        "export",
        "task_settings",
        "sweep_settings",
        "summary",
        "list",
        "compare",
        "power",
        "report",
        "clean",
    }


@pytest.mark.parametrize("option", OPTIONS, ids=str)
def test_every_option_composes_checks_and_builds(option: Path, tmp_path: Path) -> None:
    group, name = option.parts
    root = write_folder(tmp_path)
    small = [
        f"data.root={root}",
        "data.kind=image_folder",
        "data.split.mode=blocks",
        "data.split.train=4",
        "data.split.val=2",
        "data.split.test=rest",
        "model.base_channels=2",
        "threads=1",
    ]
    if option == Path("experiment/nuclei"):
        small.append("batch_size=4")
    if name in ("smp_unet", "monai_basic_unet"):
        small = [word for word in small if word != "model.base_channels=2"]
    if name == "smp_unet":
        composed(f"{group}={name}", *small)
        pytest.importorskip("segmentation_models_pytorch", reason="it needs torchvision, which is not here")
    if name == "unet2015":  # its network without padding and its patches, which hang over these small images
        small += [
            f"{other}=unet2015" for other in ("model", "transform") if group not in (other, "experiment")
        ]
        small.append("transform.train.crop.margin=78")
    if "crop" in composed(f"{group}={name}", *small).transform["train"]:
        small.append(f"transform.train.crop.size={188 if name == 'unet2015' else 32}")
    config = setup.settle_machine(composed(f"{group}={name}", *small))
    data = setup.read_samples(config, setup.find_items(config))
    parts = build.build_parts(setup.settle_data(config, data), data)
    assert len(parts.train) == 4 // config.batch_size


def test_a_typed_model_replaces_that_of_a_recipe(tmp_path: Path) -> None:
    """What a recipe wants of the network is an option of model=, so nothing of it stays in another one."""
    root = f"data.root={write_folder(tmp_path)}"
    recipe = composed("experiment=isbi2012", root).model
    assert (recipe["base_channels"], recipe["stride"]) == (32, 2)
    assert composed("experiment=isbi2012", root, "model=unet").model == composed("model=unet").model
    for name in ("isbi2012_quick", "lecture", "nnunet_like"):
        words = [f"experiment={name}", "data=image_folder", root, "model=unet_small"]
        assert composed(*words).model == composed().model


def test_problems_are_reported_together() -> None:
    found = "\n".join(
        problems(
            "+lrr=1",
            "optimizer.lr=abc",
            "batch_size=0",
            "data.size=100",
            "trainer.precision=bf15",
            "trainer.monitor=dise",
            "device=gpu",
            "model.dropout=1.0",
        )
    )
    for expected in (
        "lrr is not a known key; did you mean 'lr'?",
        "optimizer.lr is 'abc'",
        "batch_size is 0; allowed: at least 1",
        "data.size is 100, which model.depth=4 can't use (2**4 = 16 has to divide it); use 96 or 112",
        "did you mean 'bf16'?",
        "did you mean 'dice'?",
        "device is 'gpu'",
        "model.dropout is 1.0; allowed: at least 0 and below 1",
    ):
        assert expected in found
    assert len(found.splitlines()) == 8


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("lr=0", "lr is 0.0; allowed: above 0"),
        ("lr=nan", "lr is nan"),
        ("lr=inf", "lr is inf"),
        ("epochs=0", "epochs is 0"),
        ("seed=-1", "seed is -1"),
        ("num_workers=-1", "num_workers is -1"),
        ("num_workers=many", "num_workers is 'many'; allowed: auto or a number"),
        ("~lr", "lr is not there"),
        ("~model", "model._target_ is missing"),
        ("data.kind=image_folder", "data.root has no value"),
        ("data.root=/tmp", "data=membranes is generated"),
        ("data.classes=[a]", "two names"),
        ("data.classes=[a,b,c]", "two names"),
        ("data.classes=[a,'b,c']", "'b,c'"),
        ("data.split.train=0.5", "the number of images to generate"),
        ("model.padding=valid", "data.size is 256"),
        ("model.out_channels=2", "model.out_channels is 2"),
        ("model.in_channels=one", "model.in_channels is 'one'"),
        ("trainer.mode=min", "a better dice is the other way"),
        ("trainer.ema_decay=1", "trainer.ema_decay is 1.0"),
        ("trainer.clip_norm=0", "trainer.clip_norm is 0.0"),
        ("trainer.channels_last=maybe", "trainer.channels_last is 'maybe'"),
        ("optimizer.weight_decay=-1", "optimizer.weight_decay is -1"),
        ("scheduler.interval=minute", "scheduler.interval is 'minute'"),
        ("transform.eval.normalize.std=0", "transform.eval.normalize.std is 0; allowed: a number above 0"),
        ("transform.train.to_tensor=null", "has to end with"),
        ("+transform.eval.flip._target_=unet_exp.data.transforms.RandomFlip", "validation never augments"),
        ("model._target_=os.system", "UNET_EXP_ALLOW=os"),
        ("loss._target_=builtins.open", "not allowed"),
        ("optimizer._target_=shutil.copyfile", "not allowed"),
        ("+optimizer.x={_target_: os.system}", "_target_ of its own"),
        ("+optimizer.x=[{_target_: os.system}]", "_target_ of its own"),
    ],
)
def test_each_problem_has_its_sentence(override: str, expected: str) -> None:
    assert expected in "\n".join(problems(override))


def test_depth_is_checked_against_the_crop() -> None:
    assert problems("transform=crop", "transform.train.crop.size=128", "model.depth=5") == []
    assert "use 96 or 128" in problems("transform=crop", "transform.train.crop.size=112", "model.depth=5")[0]
    deeper = problems("experiment=unet2015", "data.size=500", "model.depth=3")
    assert "transform.train.crop.margin is 92, but the network leaves out 44 pixels" in deeper[0]
    unfit = problems("experiment=unet2015", "data.size=500", "transform.train.crop.size=500")
    assert len(unfit) == 1, unfit  # of the margin nothing can be said
    assert "is 572, but data.size is 256; at most 440" in problems("experiment=unet2015")[0]
    strided = problems("transform=crop", "transform.train.crop.size=112", "model.stride=2")
    assert "depth=4 and model.stride=2 can't use (2**5 = 32 has to divide it); use 96 or 128" in strided[0]


def test_a_top_level_knob_reaches_its_group() -> None:
    assert composed("lr=0.5").optimizer["lr"] == 0.5
    assert composed("optimizer=sgd", "optimizer.momentum=0.99").optimizer["momentum"] == 0.99


def test_keys_added_since_a_run_was_saved_get_their_defaults() -> None:
    register()
    saved = OmegaConf.structured(composed())
    plain = OmegaConf.to_container(saved)
    assert isinstance(plain, dict)
    del plain["model"]["dropout"]
    del plain["trainer"]["keep"]
    from unet_exp.config.resolve import check

    assert check(OmegaConf.create(plain)) == composed()


def test_targets_exist_and_take_their_schema() -> None:
    for target, schema in COMPONENTS.items():
        group = {"models": "model", "losses": "loss"}.get(target.split(".")[1], "transform")
        needed = {f.name: 1 for f in dataclasses.fields(schema) if f.default == "???"}
        node = {"_target_": target, **needed}
        if group != "model":  # whose defaults are in the schema alone
            node = filled(node)
        assert build.build(node, group) is not None


@pytest.mark.parametrize("flag", [["--cfg", "job"], ["--help"], ["--cfg", "job", "--resolve"]], ids=str)
def test_looking_needs_no_torch(flag: list[str], tmp_path: Path) -> None:
    command = [sys.executable, "-X", "importtime", str(ROOT / "run.py"), *flag]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    imported = {
        line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if "import time:" in line
    }
    assert "hydra" in imported
    assert not imported & {"torch", "numpy", "matplotlib"}
    assert "batch_size: 4" in done.stdout


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("lrr=1", "did you mean 'lr'?"),
        ("model=unett", "did you mean 'unet'?"),
        ("model.dept=3", "did you mean 'model.depth'?"),
        ("trainer.precison=fp32", "did you mean 'trainer.precision'?"),
        ("optimzer=sgd", "did you mean 'optimizer'?"),
    ],
)
def test_what_hydra_refuses_gets_a_suggestion(argument: str, expected: str, cli: Cli, tmp_path: Path) -> None:
    done = cli(argument, cwd=tmp_path)
    assert done.returncode == 1
    assert expected in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_config_leaves_nothing_behind(cli: Cli, tmp_path: Path) -> None:
    done = cli("+lrr=1", "data.root=/nowhere", "data.kind=image_folder", cwd=tmp_path)
    assert done.returncode == 1
    assert "2 problems" in done.stdout
    assert "Traceback" not in done.stdout
    assert list(tmp_path.iterdir()) == []
    assert run_dirs(tmp_path) == []


def test_usage_errors_exit_with_2(cli: Cli, tmp_path: Path) -> None:
    assert cli("--lr=1", cwd=tmp_path).returncode == 2


def test_own_model_by_dotted_path(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "mynet.py").write_text(
        "from torch import nn\n"
        "class Net(nn.Module):\n"
        "    def __init__(self, in_channels, width):\n"
        "        super().__init__()\n"
        "        self.layers = nn.Sequential(nn.Conv2d(in_channels, width, 3, padding=1), nn.ReLU(),\n"
        "                                    nn.Conv2d(width, 1, 1))\n"
        "    def forward(self, image):\n"
        "        return self.layers(image)\n"
    )
    (tmp_path / "conf" / "model").mkdir(parents=True)
    (tmp_path / "conf" / "model" / "mine.yaml").write_text(
        "_target_: mynet.Net\nin_channels: auto\nwidth: 8\n"
    )
    arguments = ["--config-dir", "conf", "model=mine", "model.width=4", "epochs=1", "data.size=32"]
    refused = cli(*arguments, cwd=tmp_path)
    assert refused.returncode == 1
    assert "UNET_EXP_ALLOW=mynet" in refused.stdout
    assert cli(*arguments, cwd=tmp_path, UNET_EXP_ALLOW="mynet").returncode == 0
