"""What happens before Hydra: paths of any kind, flags in any place, saved runs."""

import subprocess
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from tests.conftest import TINY
from unet_exp.cli.command_line import prepare, split_flags
from unet_exp.config.paths import quote_path
from unet_exp.errors import UserError

PATHS = [
    "plain",
    "with space",
    "a=b",
    "[x]",
    "{y: 1}",
    "(z)",
    "a,b",
    "a:b",
    "한글/세포",
    "it's",
    'say "hi"',
    "back\\slash",
    "end\\",
    "\\'both",
    "$HOME",
    "${lr}",
    "tab\there",
    "#hash",
    "*?",
    "a|b&c;d",
    "-dash",
    "100%",
    "!x",
    "'",
    "null.d",
    "1",
    "true",
    "@home",
    "`tick`",
    "a\\\\'b",
    "x" * 200,
]


@pytest.mark.parametrize("path", PATHS)
def test_a_path_reaches_the_config_as_typed(path: str) -> None:
    (override,) = OverridesParser.create().parse_overrides([quote_path(f"data.root={path}", multirun=False)])
    value = OmegaConf.create({"root": override.value()})["root"]
    assert value == path


def test_home_is_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/of a user")
    assert quote_path("data.root=~/x", multirun=False) == "data.root='/home/of a user/x'"


def test_a_name_that_is_no_user_is_a_file() -> None:
    assert quote_path("data.root=~no.user", multirun=False) == "data.root='~no.user'"
    assert quote_path("run=~no.user/a,b", multirun=True) == "run='~no.user/a','b'"


def test_quotes_of_the_user_stay() -> None:
    assert quote_path("data.root='a b'", multirun=False) == "data.root='a b'"


def test_other_keys_stay_as_they_are() -> None:
    assert quote_path("model.norm=batch", multirun=False) == "model.norm=batch"
    assert quote_path("data.root=null", multirun=False) == "data.root=null"


def test_a_sweep_over_paths_splits_at_commas_unless_the_path_exists(tmp_path: Path) -> None:
    assert quote_path("data.root=a b,c", multirun=True) == "data.root='a b','c'"
    both = tmp_path / "x,y"
    both.mkdir()
    assert quote_path(f"data.root={both}", multirun=True) == f"data.root='{both}'"


def test_hydras_own_variables_in_a_run_dir_stay_alive() -> None:
    assert quote_path("hydra.run.dir=x/${now:%H}", multirun=False) == "hydra.run.dir='x/${now:%H}'"


def test_a_typed_path_may_read_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    override = "data.root=${oc.env:MY_DATA}/x"
    assert quote_path(override, multirun=False) == "data.root='${oc.env:MY_DATA}/x'"
    (tmp_path / "${oc.env:MY_DATA}/x").mkdir(parents=True)
    assert quote_path(override, multirun=False) == r"data.root='\${oc.env:MY_DATA}/x'"


def test_run_directories_may_be_named_by_keys() -> None:
    for key in ("hydra.run.dir", "hydra.sweep.dir"):
        assert quote_path(f"{key}=x/lr${{lr}}", multirun=False) == f"{key}='x/lr${{lr}}'"


def test_flags_may_stand_anywhere() -> None:
    flags, overrides = split_flags(["lr=1", "-m", "batch_size=4,8", "--cfg", "job", "epochs=2"])
    assert flags == ["-m", "--cfg", "job"]
    assert overrides == ["lr=1", "batch_size=4,8", "epochs=2"]


def test_config_path_of_a_saved_run_is_a_replay(finished_run: tuple[Path, str]) -> None:
    run_dir, _ = finished_run
    as_path = prepare(["-cp", str(run_dir / ".hydra"), "-cn", "config", "lr=1"])
    assert as_path.argv == prepare([f"from_run={run_dir}", "lr=1"]).argv
    as_flag = prepare([f"--config-path={run_dir}/.hydra", "--config-name=config", "lr=1"])
    assert as_flag.argv == as_path.argv


def saved_run(run_dir: Path, text: str) -> Path:
    (run_dir / ".hydra").mkdir(parents=True)
    (run_dir / ".hydra" / "config.yaml").write_text(text, encoding="utf-8")
    return run_dir


def test_a_saved_config_cannot_steer_hydra(tmp_path: Path) -> None:
    from hydra.core.config_store import ConfigStore

    text = "lr: 0.1\nhydra: {callbacks: {x: {_target_: os.system}}}\ndefaults: [evil]\n"
    prepare([f"from_run={saved_run(tmp_path / 'run', text)}"])
    node = ConfigStore.instance().load("_saved.yaml").node
    assert node.lr == 0.1
    assert "hydra" not in node
    assert "evil" not in str(node.defaults)


def test_a_saved_config_cannot_read_the_environment(tmp_path: Path) -> None:
    run_dir = saved_run(tmp_path / "run", "lr: ${oc.env:SECRET}\n")
    with pytest.raises(UserError, match="may not call anything"):
        prepare([f"from_run={run_dir}"])


@pytest.mark.parametrize(
    "arguments", [["resume=a", "from_run=b"], ["resume=a", "-m"], ["resume="], ["from_run=nowhere"]]
)
def test_what_cannot_be_meant_is_refused(arguments: list[str]) -> None:
    with pytest.raises(UserError):
        prepare(arguments)


def test_a_reader_that_goes_away_does_not_stop_a_run(command: list[str], tmp_path: Path) -> None:
    """As with `python run.py | head -1`."""
    errors = tmp_path / "errors"
    with open(errors, "w") as file:
        run = subprocess.Popen(
            [*command, *TINY, "hydra.run.dir=run"],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=file,
            text=True,
        )
        assert run.stdout is not None
        run.stdout.readline()
        run.stdout.close()
        assert run.wait(timeout=240) == 0
    assert errors.read_text() == ""
    assert "epoch 2/2" in (tmp_path / "run" / "run.log").read_text()
