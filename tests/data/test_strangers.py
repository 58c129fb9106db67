"""A run directory from somebody else is data: what it holds is never run."""

import io
import json
import re
import shutil
import zlib
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
import yaml
from hydra.core.global_hydra import GlobalHydra
from PIL import Image

import run
from tests.conftest import ROOT, Cli
from unet_exp import load_run
from unet_exp.cli import command_line
from unet_exp.config import saved, schema
from unet_exp.config.checks import ALLOWED_TARGETS
from unet_exp.config.resolve import check
from unet_exp.data.formats import MOST_PIXELS, read_array
from unet_exp.errors import CheckpointError, ConfigError, DataError, UserError
from unet_exp.rundir.directory import Origin, RunDirectory
from unet_exp.training.build import find_class
from unet_exp.training.checkpoint import add_checksum

Run = tuple[Path, str]
PAGE = " ".join((ROOT / "SECURITY.md").read_text(encoding="utf-8").split())
COMMANDS = ["resume=run epochs=5", "from_run=run hydra.run.dir=new", "task=reproduce run=run"]


class Payload:
    """Unpickling it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (__import__("os").system, (f"touch '{self.path}'",))


@pytest.fixture
def run_dir(finished_run: Run, tmp_path: Path) -> Path:
    shutil.copytree(finished_run[0], tmp_path / "run")
    return tmp_path / "run"


def with_checksum(archive: bytes) -> bytes:
    buffer = io.BytesIO(archive)
    add_checksum(buffer)
    return buffer.getvalue()


def train_saved(run_dir: Path, new: Path) -> None:
    """As from_run= does, in this process: the config of a run read back, checked, and trained."""
    new.mkdir()
    run.train(check(saved.load_saved(run_dir, saved.AGAIN)), RunDirectory(new), Origin())


def set_in(path: Path, key: str, value: object) -> None:
    content = yaml.safe_load(path.read_text())
    *parents, last = key.split(".")
    node = content
    for parent in parents:
        node = node[parent]
    node[last] = value
    path.write_text(yaml.safe_dump(content))


@pytest.mark.parametrize("disguise", ["inside a checkpoint", "alone"])
def test_no_checkpoint_runs_code(disguise: str, cli: Cli, run_dir: Path, tmp_path: Path) -> None:
    """With a right checksum, which anybody can compute."""
    pwned = tmp_path / "pwned"
    whole = torch.load(run_dir / "checkpoints" / "last.pt", weights_only=True)
    content = Payload(pwned) if disguise == "alone" else {**whole, "state": Payload(pwned)}
    for path in (run_dir / "checkpoints").glob("*.pt"):
        torch.save(content, path)
        path.write_bytes(with_checksum(path.read_bytes()))
    done = cli("resume=run", "epochs=5", cwd=tmp_path)
    assert done.returncode == 1
    assert "can't be read as a checkpoint" in done.stdout
    assert "Traceback" not in done.stdout
    assert not pwned.exists()
    torch.load(run_dir / "checkpoints" / "last.pt", weights_only=False)  # the payload itself is sound
    assert pwned.exists()


@pytest.mark.parametrize("words", COMMANDS)
def test_no_command_calls_a_target_outside_the_allowed_places(
    words: str, cli: Cli, run_dir: Path, tmp_path: Path
) -> None:
    pwned = tmp_path / "pwned"
    target = {"_target_": "torch.optim.adam.Tensor", "command": f"touch {pwned}"}
    set_in(run_dir / ".hydra" / "config.yaml", "optimizer", target)
    done = cli(*words.split(), cwd=tmp_path)
    assert done.returncode == 1
    assert "optimizer._target_ torch.optim.adam.Tensor" in done.stdout
    assert "is not a class of" in done.stdout
    assert "Traceback" not in done.stdout
    assert not pwned.exists()


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "builtins.open",
        "shutil.copyfile",
        "unet_exp.x.os.system",
        "torch.optim.os.system",
        "unet_exp.models.unet.math.prod",
        "torch.optim.adam.Tensor",
        "builtins.eval",
    ],
)
def test_no_target_outside_the_allowed_places(target: str, run_dir: Path, tmp_path: Path) -> None:
    group = "model" if target.startswith("unet_exp.models") else "optimizer"
    content = {"_target_": target, "command": f"touch {tmp_path / 'pwned'}"}
    set_in(run_dir / ".hydra" / "config.yaml", group, content)
    with pytest.raises(UserError) as caught:
        train_saved(run_dir, tmp_path / "new")
    assert f"{group}._target_" in str(caught.value)
    assert target in str(caught.value)
    assert re.search(r"allowed|is not a class|can't be imported", str(caught.value))
    assert not (tmp_path / "pwned").exists()


# What SECURITY.md lists, each with a class that is there and may be named.
NAMED = {
    "unet_exp.models": ("model", "unet_exp.models.unet.UNet"),
    "unet_exp.losses": ("loss", "unet_exp.losses.DiceLoss"),
    "unet_exp.data.transforms": ("transform", "unet_exp.data.transforms.RandomFlip"),
    "unet_exp.data.warp": ("transform", "unet_exp.data.warp.RandomWarp"),
    "unet_exp.data.intensities": ("transform", "unet_exp.data.intensities.RandomGamma"),
    "torch.nn": ("model", "torch.nn.Conv2d"),
    "torch.optim": ("optimizer", "torch.optim.Adam"),
    "torch.optim.lr_scheduler": ("scheduler", "torch.optim.lr_scheduler.ConstantLR"),
    "monai.networks.nets": ("model", "monai.networks.nets.BasicUNet"),
    "segmentation_models_pytorch": ("model", None),
    "torchmetrics": ("metrics", None),
}


def test_the_places_of_targets_are_those_of_the_page() -> None:
    """Each that the page names is allowed, and each that is allowed is named; none in a wrong group."""
    paragraph = PAGE.partition("`_target_` may only name classes of")[2].partition(", in the group")[0]
    assert set(re.findall(r"`([\w.]+)`", paragraph)) == set(NAMED)
    allowed = {prefix.rstrip(".") for prefixes in ALLOWED_TARGETS.values() for prefix in prefixes}
    assert allowed == set(NAMED)
    for place, (group, target) in NAMED.items():
        if target is None or (place == "monai.networks.nets" and find_spec("monai") is None):
            continue
        assert find_class(target, group).__name__ == target.rpartition(".")[2]
        if group not in ("optimizer", "scheduler"):  # torch.optim has both
            with pytest.raises(ConfigError, match="is not allowed"):
                find_class(target, "optimizer")


def test_how_to_allow_a_package_is_said_and_no_saved_config_can(
    cli: Cli, run_dir: Path, tmp_path: Path
) -> None:
    set_in(run_dir / ".hydra" / "config.yaml", "optimizer._target_", "mypackage.Optimizer")
    set_in(run_dir / ".hydra" / "config.yaml", "UNET_EXP_ALLOW", "mypackage")
    done = cli("from_run=run", cwd=tmp_path)
    assert done.returncode == 1
    assert "UNET_EXP_ALLOW is not known" in done.stdout
    content = yaml.safe_load((run_dir / ".hydra" / "config.yaml").read_text())
    del content["UNET_EXP_ALLOW"]
    (run_dir / ".hydra" / "config.yaml").write_text(yaml.safe_dump(content))
    done = cli("from_run=run", cwd=tmp_path)
    assert done.returncode == 1
    assert "set UNET_EXP_ALLOW=mypackage" in done.stdout


@pytest.mark.parametrize("words", COMMANDS)
def test_hydra_settings_of_others_are_not_obeyed(words: str, cli: Cli, run_dir: Path, tmp_path: Path) -> None:
    """Callbacks, output directories and defaults in config.yaml, and code in hydra.yaml."""
    pwned = tmp_path / "pwned"
    path = run_dir / ".hydra" / "config.yaml"
    content = yaml.safe_load(path.read_text())
    callback = {"_target_": "os.system", "command": f"touch {pwned}"}
    content["hydra"] = {"callbacks": {"x": callback}, "run": {"dir": str(pwned)}}
    content["defaults"] = [{"override hydra/launcher": "nowhere"}]
    path.write_text(yaml.safe_dump(content))
    code = f"!!python/object/apply:os.system ['touch {pwned}']"
    (run_dir / ".hydra" / "hydra.yaml").write_text(code)
    (run_dir / ".hydra" / "overrides.yaml").write_text(code)
    done = cli(*words.split(), cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert not pwned.exists()


@pytest.mark.parametrize("name", [".hydra/config.yaml", "config_resolved.yaml"])
@pytest.mark.parametrize(
    "value",
    [
        "${oc.env:HOME}",
        "a ${ oc.env:HOME}",
        "${oc.decode:1}",
        "${now:%Y}",
        "${${device}.env:HOME}",
        "\\\\\\\\${oc.env:HOME}",
        "${hydra:runtime.cwd}",
    ],
)
def test_a_saved_config_calls_nothing(
    value: str, name: str, run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_in(run_dir / name, "data.images", value)
    with pytest.raises(CheckpointError, match="may not call anything"):
        saved.load_saved(run_dir, saved.CARRIED)
    set_in(run_dir / name, "data.images", "\\${oc.env:HOME} ${device}")  # escaped, and a reference
    saved.load_saved(run_dir, saved.CARRIED)


@pytest.mark.parametrize("name", [".hydra/config.yaml", "config_resolved.yaml"])
def test_yaml_that_makes_objects_is_refused(name: str, cli: Cli, run_dir: Path, tmp_path: Path) -> None:
    pwned = tmp_path / "pwned"
    (run_dir / name).write_text(f"lr: !!python/object/apply:os.system ['touch {pwned}']\n")
    done = cli("resume=run", "epochs=5", cwd=tmp_path)
    assert done.returncode == 1
    assert f"{name} line 1: could not determine a constructor" in done.stdout
    assert "Traceback" not in done.stdout
    assert not pwned.exists()


@pytest.mark.parametrize(
    "content", ["[]", "{", '{"start_dir": 3}', '{"start_dir": "/", "restarts": [1]}', "null"]
)
def test_a_strange_environment_is_refused(content: str, run_dir: Path) -> None:
    (run_dir / "environment.json").write_text(content)
    set_in(run_dir / ".hydra" / "config.yaml", "data.root", "data")
    GlobalHydra.instance().clear()
    with pytest.raises(CheckpointError, match=r"environment\.json"):
        command_line.prepare([f"resume={run_dir}", "epochs=5"])


@pytest.mark.parametrize("value", ["${oc.env:HOME}", "os.system"])
def test_what_runs_as_a_whole_reads_is_data_too(value: str, run_dir: Path) -> None:
    """evaluate, predict and export read config_resolved.yaml."""
    key = "data.images" if "$" in value else "model._target_"
    set_in(run_dir / "config_resolved.yaml", key, value)
    with pytest.raises(UserError, match=r"may not call anything|os\.system' is not allowed"):
        load_run(run_dir)


def test_what_was_given_to_a_start_is_taken_as_it_stands(run_dir: Path) -> None:
    path = run_dir / "environment.json"
    environment = json.loads(path.read_text())
    environment["given"] = {"data.images": "${oc.env:HOME}"}
    path.write_text(json.dumps(environment))
    assert saved.load_saved(run_dir, saved.CARRIED).data.images == "${oc.env:HOME}"


@pytest.mark.parametrize("ending", [".npy", ".npz"])
def test_arrays_are_read_without_pickles(ending: str, tmp_path: Path) -> None:
    array = np.empty(1, object)
    array[0] = Payload(tmp_path / "pwned")
    path = tmp_path / f"array{ending}"
    if ending == ".npy":
        np.save(path, array, allow_pickle=True)
    else:
        np.savez(path, array)
    with pytest.raises(DataError, match="can't be read"):
        read_array(path)
    assert not (tmp_path / "pwned").exists()


def test_pictures_that_unpack_to_more_than_the_page_says_are_refused(tmp_path: Path) -> None:
    limit = int(re.findall(r"more than (\d+) megapixels", PAGE)[0])
    assert round(MOST_PIXELS / 1e6) == limit
    Image.new("1", (10, 10)).save(tmp_path / "small.png")
    content = bytearray((tmp_path / "small.png").read_bytes())
    content[16:24] = (1000 * limit).to_bytes(4, "big") + (1001).to_bytes(4, "big")
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    (tmp_path / "bomb.png").write_bytes(content)
    with pytest.raises(DataError, match=r"megapixels|decompression bomb"):
        read_array(tmp_path / "bomb.png")
    assert re.search(r'"torch>=2\.10"', (ROOT / "pyproject.toml").read_text())


def test_weights_alone_are_safetensors(run_dir: Path) -> None:
    weights = safetensors.torch.load_file(run_dir / "checkpoints/best.safetensors")
    whole = torch.load(run_dir / "checkpoints/best.pt", weights_only=True)["model"]
    assert weights.keys() == whole.keys()
    assert all(torch.equal(weights[name], whole[name]) for name in whole)


@pytest.mark.parametrize("part", ["optimizer", "rng", "model"])
def test_a_checkpoint_with_parts_of_something_else_is_refused(part: str, run_dir: Path) -> None:
    path = run_dir / "checkpoints" / "last.pt"
    whole = torch.load(path, weights_only=True)
    torch.save({**whole, part: None if part == "model" else {}}, path)
    path.write_bytes(with_checksum(path.read_bytes()))
    config = check(saved.load_saved(run_dir, saved.CARRIED))
    with pytest.raises(CheckpointError, match="does not fit this run"):
        run.train(replace(config, epochs=5), RunDirectory(run_dir), Origin(run_dir, resumes=True))


def test_keys_of_another_version_are_named(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    GlobalHydra.instance().clear()
    path = run_dir / ".hydra" / "config.yaml"
    set_in(path, "trainer.save_evry", 3)
    set_in(path, "learning_rate", 3)
    monkeypatch.setitem(schema.RENAMED, "learning_rate", "lr")
    with pytest.raises(CheckpointError) as caught:
        command_line.prepare([f"from_run={run_dir}"])
    assert "learning_rate" not in str(caught.value)  # it is read under its name of today
    assert "trainer.save_evry is not known; did you mean 'save_every'?" in str(caught.value)
    assert str(path) in str(caught.value)
