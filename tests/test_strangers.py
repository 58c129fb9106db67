"""A run directory from somebody else is data: what it holds is never run."""

import io
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from hydra.core.global_hydra import GlobalHydra

from tests.conftest import Cli
from unet_exp import commandline, saved, schema
from unet_exp.errors import CheckpointError
from unet_exp.training.checkpoint import add_checksum

Run = tuple[Path, str]
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
@pytest.mark.parametrize(
    "target",
    ["os.system", "builtins.open", "shutil.copyfile", "unet_exp.x.os.system", "torch.optim.os.system",
     "unet_exp.models.unet.math.prod", "builtins.eval"],
)  # fmt: skip
def test_no_target_outside_the_allowed_places(
    target: str, words: str, cli: Cli, run_dir: Path, tmp_path: Path
) -> None:
    group = "model" if target.startswith("unet_exp.models") else "optimizer"
    content = yaml.safe_load((run_dir / ".hydra" / "config.yaml").read_text())
    content[group] = {"_target_": target, "command": f"touch {tmp_path / 'pwned'}"}
    (run_dir / ".hydra" / "config.yaml").write_text(yaml.safe_dump(content))
    done = cli(*words.split(), cwd=tmp_path)
    assert done.returncode == 1
    assert f"{group}._target_" in done.stdout
    assert target in done.stdout
    assert "allowed" in done.stdout or "is not a class" in done.stdout or "can't be imported" in done.stdout
    assert "Traceback" not in done.stdout
    assert not (tmp_path / "pwned").exists()


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
    ["${oc.env:HOME}", "a ${ oc.env:HOME}", "${oc.decode:1}", "${now:%Y}", "${${device}.env:HOME}",
     "\\\\\\\\${oc.env:HOME}", "${hydra:runtime.cwd}"],
)  # fmt: skip
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
    assert f"{name} can't be read" in done.stdout
    assert "Traceback" not in done.stdout
    assert not pwned.exists()


@pytest.mark.parametrize(
    "content", ["[]", "{", '{"start_dir": 3}', '{"start_dir": "/", "restarts": [1]}', "null"]
)
def test_a_strange_environment_is_refused(content: str, cli: Cli, run_dir: Path, tmp_path: Path) -> None:
    (run_dir / "environment.json").write_text(content)
    set_in(run_dir / ".hydra" / "config.yaml", "data.root", "data")
    done = cli("resume=run", "epochs=5", cwd=tmp_path)
    assert done.returncode == 1
    assert "environment.json" in done.stdout
    assert "Traceback" not in done.stdout


def test_a_checkpoint_with_parts_of_something_else_is_refused(
    cli: Cli, run_dir: Path, tmp_path: Path
) -> None:
    path = run_dir / "checkpoints" / "last.pt"
    whole = torch.load(path, weights_only=True)
    for part, value in (("optimizer", {}), ("rng", {}), ("model", None)):
        torch.save({**whole, part: value}, path)
        path.write_bytes(with_checksum(path.read_bytes()))
        done = cli("resume=run", "epochs=5", cwd=tmp_path)
        assert done.returncode == 1
        assert "does not fit this run" in done.stdout
        assert "Traceback" not in done.stdout


def test_keys_of_another_version_are_named(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    GlobalHydra.instance().clear()
    path = run_dir / ".hydra" / "config.yaml"
    set_in(path, "trainer.save_evry", 3)
    set_in(path, "learning_rate", 3)
    monkeypatch.setitem(schema.RENAMED, "learning_rate", "lr")
    with pytest.raises(CheckpointError) as caught:
        commandline.prepare([f"from_run={run_dir}"])
    assert "learning_rate" not in str(caught.value)  # it is read under its name of today
    assert "trainer.save_evry is not known; did you mean 'save_every'?" in str(caught.value)
    assert str(path) in str(caught.value)
