"""What the machine decides, what profiling and autotune tell; no test here takes the time of anything."""

import ctypes
import json
import re
import shutil
from pathlib import Path

import pytest
import torch

from tests.conftest import Cli, composed
from unet_exp.errors import TrainingError
from unet_exp.tasks import autotune
from unet_exp.training import build, machine, setup

TINY = [
    "data.size=32",
    "data.split.train=4",
    "data.split.val=2",
    "data.split.test=0",
    "batch_size=2",
    "epochs=3",
    "model.depth=1",
    "model.base_channels=2",
    "threads=1",
]
CPU, CUDA, MPS = (torch.device(name) for name in ("cpu", "cuda", "mps"))


def test_what_auto_means_on_each_kind_of_machine() -> None:
    assert [machine.decide_fused("auto", device) for device in (CPU, CUDA, MPS)] == [True, True, False]
    assert machine.decide_fused(False, CPU) is False
    assert machine.decide_allocator("auto", CUDA) == "system"
    assert machine.decide_allocator("auto", CPU) in ("keep", "system")
    assert machine.decide_allocator("system", CPU) == "system"


def test_decisions_are_in_the_resolved_config() -> None:
    trainer = setup.settle_machine(composed(*TINY)).trainer
    assert "auto" not in (trainer.precision, trainer.channels_last, trainer.fused, trainer.allocator)


def test_an_allocator_that_cannot_be_kept_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class NoLibrary:
        def __init__(self, name: None) -> None: ...

    monkeypatch.setattr(ctypes, "CDLL", NoLibrary)
    with pytest.raises(TrainingError, match="glibc"):
        machine.set_allocator("keep")


@pytest.mark.parametrize(
    ("overrides", "fused"),
    [
        ([], True),
        (["trainer.fused=false"], None),
        (["+optimizer.foreach=true"], None),
        (["optimizer._target_=torch.optim.NAdam"], None),
    ],
)
def test_the_fused_update_where_torch_has_it(overrides: list[str], fused: bool | None) -> None:
    config = setup.settle_machine(composed(*TINY, "device=cpu", *overrides))
    data = setup.read_samples(config, setup.find_items(config))
    parts = build.build_parts(setup.settle_data(config, data), data)
    assert parts.optimizer.param_groups[0].get("fused") is fused


def test_validation_in_batches_of_its_own() -> None:
    config = setup.settle_machine(composed(*TINY, "trainer.val_batch_size=1"))
    data = setup.read_samples(config, setup.find_items(config))
    parts = build.build_parts(setup.settle_data(config, data), data)
    assert (len(parts.train), len(parts.val)) == (2, 2)


def test_a_profiled_run_gives_a_table_a_trace_and_the_same_weights(cli: Cli, tmp_path: Path) -> None:
    told = cli(*TINY, "trainer=profile", "hydra.run.dir=profiled", cwd=tmp_path).stdout
    shares = re.findall(r"^(data wait|forward|backward|optimizer|.*other) .* +([\d.]+)%$", told, re.M)
    assert [stage for stage, _ in shares] == ["data wait", "forward", "backward", "optimizer", "other"]
    assert 0 < sum(float(share) for _, share in shares) <= 100.5
    events = json.loads((tmp_path / "profiled" / "trace.json").read_text())["traceEvents"]
    assert {"forward", "backward", "optimizer"} <= {event.get("name") for event in events}
    cli(*TINY, "trainer=profile", "trainer.profile=false", "hydra.run.dir=plain", cwd=tmp_path)
    plain, profiled = ((tmp_path / name / "steps.csv").read_text() for name in ("plain", "profiled"))
    assert plain == profiled
    assert plain.count("\n") == 1 + 3 * 2


def test_autotune_prints_a_table_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(autotune, "SECONDS_EACH", 0.05)
    monkeypatch.setattr(shutil, "which", lambda name: None)  # the compiler takes a minute
    autotune.autotune(composed(*TINY, "device=cpu"))
    told = capsys.readouterr().out
    for line in ("as it is", "trainer.channels_last=false", "num_workers=2", "batch_size=1", "batch_size=4"):
        assert re.search(rf"^{re.escape(line)} +\d+ +[\d.]+ +[\d.]+% +[\d.]+$", told, re.M), line
    assert "batch_size=8" not in told  # more than there are images
    assert list(tmp_path.iterdir()) == []
