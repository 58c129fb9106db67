"""hydra/launcher=submitit_slurm against a mock of Slurm, which takes the machine from a job once."""

import json
import os
import sys
from pathlib import Path

from tests.conftest import TINY, Cli

# sbatch starts the tasks of the array in the background; each is run again after `scontrol requeue`. One that
# has a checkpoint is sent SIGUSR2, as `--signal=USR2@120` does before the time is up.
MOCK = """#!{python}
import os, pathlib, re, signal, subprocess, sys, time

state = pathlib.Path({state!r})
name, arguments = pathlib.Path(sys.argv[0]).name, sys.argv[1:]
if name == "sbatch":
    script = arguments[-1]
    tasks = int(re.search(r"--array=0-(\\d+)", open(script).read())[1]) + 1
    for task in range(tasks):
        runner = [sys.argv[0].replace("sbatch", "runner"), script, str(task)]
        none = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
        subprocess.Popen(runner, start_new_session=True, **none)
    (state / "script").write_text(open(script).read())
    print("Submitted batch job 100")
elif name == "runner":
    script, task = arguments
    own = dict(SLURM_JOB_ID=str(101 + int(task)), SLURM_ARRAY_JOB_ID="100", SLURM_ARRAY_TASK_ID=task,
               SLURM_NTASKS="1", SLURM_JOB_NUM_NODES="1", SLURM_NODEID="0", SLURM_PROCID="0",
               SLURM_LOCALID="0", SLURM_MOCK_TASK=task)
    for stay in range(3):
        batch = subprocess.Popen(["bash", script], env={{**os.environ, **own}})
        while batch.poll() is None:
            time.sleep(0.02)
            if task == "0" and stay == 0 and list(state.parent.glob("sweep/lr-0.001*/checkpoints/last.pt")):
                step = int((state / "pid_0").read_text())
                children = pathlib.Path(f"/proc/{{step}}/task/{{step}}/children").read_text().split()
                for process in [step, *map(int, children)]:  # Slurm signals every process of a step
                    os.kill(process, signal.SIGUSR2)
                batch.wait()
        if not (state / f"requeue_100_{{task}}").exists():
            break
        (state / f"requeue_100_{{task}}").rename(state / f"requeued_{{task}}")
    (state / f"done_{{task}}").touch()
elif name == "srun":
    command = arguments[arguments.index("-u") - 1 :]
    (state / f"pid_{{os.environ['SLURM_MOCK_TASK']}}").write_text(str(os.getpid()))
    os.execv(command[0], command)
elif name == "scontrol":
    (state / f"requeue_{{arguments[-1]}}").touch()
elif name == "sacct":
    print("JobID|State|NodeList")
    for task in range(2):
        print(f"100_{{task}}|{{'COMPLETED' if (state / f'done_{{task}}').exists() else 'RUNNING'}}|here")
"""


def test_a_job_that_loses_its_machine_is_queued_again(cli: Cli, tmp_path: Path) -> None:
    state, programs = tmp_path / "state", tmp_path / "bin"
    state.mkdir()
    programs.mkdir()
    for name in ("sbatch", "runner", "srun", "scontrol", "sacct"):
        (programs / name).write_text(MOCK.format(python=sys.executable, state=str(state)))
        (programs / name).chmod(0o755)
    arguments = [*TINY, "epochs=40"]
    done = cli(
        "-m",
        *arguments,
        "lr=1e-3,1e-2",
        "hydra/launcher=submitit_slurm",
        "sweep_dir=sweep",
        cwd=tmp_path,
        PATH=f"{programs}{os.pathsep}{os.environ['PATH']}",
    )
    assert done.returncode == 0, done.stdout
    script = (state / "script").read_text()
    assert "#SBATCH --signal=USR2@120" in script
    assert "#SBATCH --requeue" in script
    assert (state / "requeued_0").exists()
    jobs = sorted((tmp_path / "sweep").glob("lr-*"))
    assert [json.loads((job / "status.json").read_text())["state"] for job in jobs] == ["finished"] * 2
    (first,) = (tmp_path / "sweep").glob("lr-0.001-*")
    assert "continuing after step" in (first / "job.log").read_text()
    alone = cli(*arguments, "lr=1e-3", "hydra.run.dir=alone", cwd=tmp_path)
    assert alone.returncode == 0
    assert (first / "steps.csv").read_bytes() == (tmp_path / "alone" / "steps.csv").read_bytes()
