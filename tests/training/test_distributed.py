"""One run on several devices: the same curve, one directory, and an end for all when one rank ends."""

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT, Cli, in_terminal
from tests.support import read_csv
from unet_exp.data.loaders import EpochBatches

# Seven samples in batches of two: the last batch holds one, so that one of two ranks has nothing of it.
SHARED = [
    "data.size=32",
    "data.split.train=7",
    "data.split.val=3",
    "data.split.test=0",
    "model.depth=2",
    "model.base_channels=8",
    "model.norm=group",
    "batch_size=2",
    "trainer.precision=fp32",
    "threads=1",
    "optimizer=sgd",
    "lr=0.05",  # unlike Adam it notices a gradient of the wrong size
]
EPOCHS = 12
# What clusters, containers and an earlier torchrun leave behind.
LEFT_OVER = {
    "RANK": "",
    "WORLD_SIZE": "",
    "LOCAL_RANK": "7",
    "GROUP_RANK": "3",
    "MASTER_ADDR": "nowhere.invalid",
    "MASTER_PORT": "x",
    "TORCHELASTIC_USE_AGENT_STORE": "True",
    "OMP_NUM_THREADS": "",
    "MKL_NUM_THREADS": "many",
    "CUDA_VISIBLE_DEVICES": "",
    "CUBLAS_WORKSPACE_CONFIG": "",
    "SLURM_PROCID": "3",
    "SLURM_NTASKS": "8",
}


def nearly(one: Path, other: Path, epochs: int) -> None:
    """Losses within 1e-5 of each other, over the first epochs."""
    for name in ("steps.csv", "metrics.csv"):
        pairs = list(zip(read_csv(one / name), read_csv(other / name), strict=False))
        pairs = [(a, b) for a, b in pairs if int(a["epoch"]) <= epochs]
        assert pairs
        for a, b in pairs:
            assert float(a["loss"]) == pytest.approx(float(b["loss"]), abs=1e-5), (name, a, b)
            assert a["step"] == b["step"]


@pytest.fixture(scope="module")
def pair(cli: Cli, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run on one and on two ranks: one/ and two/, in an environment with leftovers. Read only."""
    start = tmp_path_factory.mktemp("ranks")
    for name, devices in (("one", 1), ("two", 2)):
        arguments = [f"trainer.devices={devices}", f"epochs={EPOCHS}", f"hydra.run.dir={name}"]
        done = cli(*SHARED, *arguments, cwd=start, **LEFT_OVER)
        assert done.returncode == 0, done.stdout
    return start


def test_the_threshold_is_chosen_on_what_all_ranks_validate(cli: Cli, tmp_path: Path) -> None:
    arguments = ["trainer.devices=2", "epochs=1", "trainer.choose_threshold=v_rand", "hydra.run.dir=run"]
    done = cli(*SHARED, *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert json.loads((tmp_path / "run/threshold.json").read_text())["plain"]["slices"] == 3


def test_two_ranks_give_the_curve_of_one_process(pair: Path) -> None:
    nearly(pair / "one", pair / "two", epochs=1)
    assert sorted(path.name for path in pair.iterdir()) == ["one", "two"]
    logs = [(pair / name / "run.log").read_text().count("epoch 1/") for name in ("one", "two")]
    assert logs == [1, 1]
    assert not list((pair / "two").glob(".rank_*"))


def test_a_stopped_run_goes_on_with_two_ranks_or_one(
    pair: Path, command: list[str], cli: Cli, tmp_path: Path
) -> None:
    """Stopped by its terminal: all processes in front get SIGHUP, and nobody reads any more."""
    arguments = [*SHARED, "trainer.devices=2", "num_workers=1", f"epochs={EPOCHS}", "hydra.run.dir=run"]
    process, terminal = in_terminal([*command, *arguments], tmp_path)
    while not (tmp_path / "run" / "checkpoints" / "last.pt").exists():
        time.sleep(0.01)
    os.close(terminal)
    assert process.wait(timeout=60) == 129
    assert "everything is saved" in (tmp_path / "run" / "run.log").read_text()
    assert json.loads((tmp_path / "run" / "status.json").read_text())["state"] == "interrupted"
    assert len(read_csv(tmp_path / "run" / "steps.csv")) < 4 * EPOCHS
    subprocess.run(["cp", "-r", "run", "copy"], cwd=tmp_path, check=True)
    done = cli("resume=run", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    for name in ("steps.csv", "metrics.csv", "images.csv", "validations.csv"):
        assert (tmp_path / "run" / name).read_bytes() == (pair / "two" / name).read_bytes()
    done = cli("resume=copy", "trainer.devices=1", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert len(read_csv(tmp_path / "copy" / "steps.csv")) == 4 * EPOCHS


def test_a_dead_rank_ends_the_run(command: list[str], tmp_path: Path) -> None:
    arguments = [*SHARED, "trainer.devices=2", "epochs=100000", "hydra.run.dir=run"]
    process = subprocess.Popen(
        [*command, *arguments], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    while not (tmp_path / "run" / "checkpoints" / "last.pt").exists():
        time.sleep(0.01)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    (follower,) = [
        int(child) for child in children if b"UNET_EXP_RANK=1" in Path(f"/proc/{child}/environ").read_bytes()
    ]
    os.kill(follower, signal.SIGKILL)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 1, printed
    assert "rank 1 ended" in printed
    status = json.loads((tmp_path / "run" / "status.json").read_text())
    assert (status["state"], "rank 1 ended" in status["error"]) == ("failed", True)


def test_torchrun_makes_one_run(pair: Path, tmp_path: Path) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*torchrun, str(ROOT / "run.py"), *SHARED, "epochs=1"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout
    (run,) = (tmp_path / "outputs").glob("*/*")
    nearly(pair / "one", run, epochs=1)
    assert json.loads((run / "status.json").read_text())["state"] == "finished"


def test_a_batch_is_shared_by_all_devices(cli: Cli, tmp_path: Path) -> None:
    done = cli(*SHARED, "trainer.devices=3", cwd=tmp_path)
    assert done.returncode == 1
    assert "the number of samples on all 3 devices together" in done.stdout
    done = cli(*SHARED, "trainer.sync_batchnorm=true", cwd=tmp_path)
    assert (done.returncode, "is for GPUs" in done.stdout) == (1, True)


@pytest.mark.parametrize("ranks", [1, 2, 3, 4])
@pytest.mark.parametrize(("samples", "limit"), [(7, None), (8, None), (1, None), (7, 2)])
def test_every_sample_is_dealt_once(ranks: int, samples: int, limit: int | None) -> None:
    whole = [list(EpochBatches(samples, 4, 0, shuffle, limit)) for shuffle in (True, False)]
    dealt = [
        [EpochBatches(samples, 4, 0, shuffle, limit, rank, ranks) for rank in range(ranks)]
        for shuffle in (True, False)
    ]
    for number, batch in enumerate(whole[0]):
        parts = [list(each)[number][: each.own_samples(number)] for each in dealt[0]]
        assert sorted(itertools.chain(*parts)) == sorted(batch)
    assert sorted(s for each in dealt[1] for b in each for s in b) == sorted(itertools.chain(*whole[1]))
    assert all(len(each) == len(list(each)) for kind in dealt for each in kind)
