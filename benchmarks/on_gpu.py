"""Measures steps, loops, predictions and resumption on a GPU, in about ten minutes (estimated).

    pip install -c constraints.txt -e ".[benchmark]"        # or .[zoo]: Lightning is then left out
    python benchmarks/on_gpu.py --folder gpu
    python benchmarks/on_gpu.py --device cpu --quick        # whether it runs, without a GPU
    python benchmarks/on_gpu.py --device cpu --base 16 --size 256 --batch 4 --steps-only   # on a CPU

A training step with all its data on the device, with run.py's decisions added one after another, beside the
rate of a large matrix product; whole loops beside other programs; predictions beside MONAI; runs that are
killed, resumed, and end with equal bits, on one device, and on two where there are two. Writes report.txt and
JSON into the folder.
"""

import argparse
import importlib.util
import json
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from unet_exp.models.unet import UNet
from unet_exp.training import machine


@dataclass(frozen=True)
class Decisions:
    """What run.py decides for a step; the defaults here are torch's own."""

    precision: str = "fp32"
    channels_last: bool = False
    fused: bool = False
    deterministic: bool = False
    compile: bool = False


STEPS = {
    "plain": Decisions(),
    "+ bf16": Decisions("bf16"),
    "+ channels_last": Decisions("bf16", True),
    "+ fused": Decisions("bf16", True, True),
    "unet_exp (+ deterministic)": Decisions("bf16", True, True, True),
    "unet_exp, trainer.compile=true": Decisions("bf16", True, True, True, True),
    "unet_exp, trainer.precision=fp32": Decisions("fp32", True, True, True),
}


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def peak_mib(device: torch.device) -> float:
    """Largest memory of tensors since the last call; 0 on a CPU."""
    if device.type != "cuda":
        return 0.0
    peak = torch.cuda.max_memory_allocated() / 2**20
    torch.cuda.reset_peak_memory_stats()
    return peak


def step(decisions: Decisions, options: argparse.Namespace, rounds: int = 20) -> dict[str, float]:
    """Forward, BCE, backward and Adam on one batch that lies on the device: median ms, TFLOP/s, peak MiB."""
    device = torch.device(options.device)
    machine.set_up(0, decisions.deterministic, torch.get_num_threads())
    if decisions.deterministic:  # all that run.py decides
        machine.set_allocator(machine.decide_allocator("auto", device))
    place = machine.Precision(device, decisions.precision, decisions.channels_last)
    model: Any = UNet(base_channels=options.base).to(device)
    if decisions.channels_last:
        model = model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3, fused=decisions.fused)
    image = place.to_device(torch.rand(options.batch, 1, options.size, options.size))
    label = (image > 0.5).float()
    forward = torch.compile(model) if decisions.compile else model
    with FlopCounterMode(display=False) as flops:  # forward; backward takes twice as many
        model(image)
    peak_mib(device)
    taken = []
    for number in range(rounds + 5):
        started = time.perf_counter()
        optimizer.zero_grad()
        with place.autocast():
            logits = forward(image).float()
        loss: Any = nn.functional.binary_cross_entropy_with_logits(logits, label)
        loss.backward()
        optimizer.step()
        wait(device)
        if number >= 5:
            taken.append(time.perf_counter() - started)
    seconds = statistics.median(taken)
    work = 3 * flops.get_total_flops() / 1e12
    return {"ms": 1000 * seconds, "tflops": work / seconds, "peak_mib": peak_mib(device)}


def matrix_product(dtype: torch.dtype, options: argparse.Namespace) -> float:
    """TFLOP/s of a product of two large square matrices: what the device can do."""
    device = torch.device(options.device)
    side = 1024 if options.quick else 8192 if device.type == "cuda" else 2048
    one = torch.rand(side, side, device=device, dtype=dtype)
    taken = []
    for _ in range(15):
        started = time.perf_counter()
        one @ one
        wait(device)
        taken.append(time.perf_counter() - started)
    return 2 * side**3 / statistics.median(taken[5:]) / 1e12


def steps(options: argparse.Namespace, say: Any) -> dict[str, Any]:
    largest = {
        "bf16": matrix_product(torch.bfloat16, options),
        "fp32": matrix_product(torch.float32, options),
    }
    for name, value in largest.items():
        say(f"matrix product in {name}: {value:.1f} TFLOP/s")
    say(f"step: {options.base} channels, batch of {options.batch} x {options.size} x {options.size}")
    say(f"{'decisions':34} {'ms':>8} {'TFLOP/s':>8} {'of product':>10} {'MiB':>7}")
    found = {}
    for name, decisions in STEPS.items():
        if options.quick and decisions.compile:
            continue
        found[name] = row = step(decisions, options, 2 if options.quick else 20)
        share = row["tflops"] / largest[decisions.precision]
        say(f"{name:34} {row['ms']:8.2f} {row['tflops']:8.2f} {share:10.2f} {row['peak_mib']:7.0f}")
    return {"largest": largest, "steps": found}


def other_benchmarks(options: argparse.Namespace) -> list[list[str]]:
    """The other benchmarks with their arguments; peers that are not installed are left out."""
    have = {name for name in ("monai", "pytorch_lightning") if importlib.util.find_spec(name)}
    loops = ["plain", "lecture", "unet_exp", "bare, same"]
    loops += ["MONAI", "MONAI, same"] if "monai" in have else []
    loops += ["Lightning", "Lightning, same"] if "pytorch_lightning" in have else []
    size = ["--size", "64", "--images", "4", "--rounds", "1"] if options.quick else ["--rounds", "3"]
    base = ["--base", str(options.base), "--batch", "4" if options.quick else str(options.batch)]
    found = [["training_step.py", *base, *size, "--arms", "|".join(loops)]]
    if "monai" in have:
        arms = ["unet_exp", "unet_exp, fp32", "MONAI", "MONAI, same", "MONAI, same, fp32"]
        sides = ["512"] if options.quick else ["4096", "8192"]
        found.append(["predict_peers.py", "--model", "unet", "--sides", *sides, "--arms", "|".join(arms)])
    few = ["--runs", "1", "--kills", "2", "--epochs", "20"]
    kills = few if options.quick else ["--runs", "2", "--kills", "5", "--epochs", "60"]
    found.append(["kill_resume.py", *kills])
    if options.device == "cuda" and torch.cuda.device_count() > 1:
        found.append(["kill_resume.py", *kills, "--devices", "2"])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--base", type=int, default=64, help="channels of the first level")
    parser.add_argument("--size", type=int, default=512, help="of the crops of a step")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps-only", action="store_true", help="measure the training steps only")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to check that everything runs")
    parser.add_argument("--folder", type=Path, default=Path("on_gpu"))
    options = parser.parse_args()
    if options.quick:
        options.base, options.size, options.batch = 4, 64, 2
    if options.device == "cuda" and not torch.cuda.is_available():
        sys.exit("error: there is no CUDA device; whether the benchmark runs: --device cpu --quick")
    options.folder.mkdir(parents=True, exist_ok=True)
    with open(options.folder / "report.txt", "w", encoding="utf-8") as report:

        def say(line: str) -> None:
            print(line, flush=True)
            print(line, file=report, flush=True)

        chip = torch.cuda.get_device_name() if options.device == "cuda" else "CPU"
        say(f"{chip}, torch {torch.__version__}, CUDA {torch.version.cuda}")
        found = {"chip": chip, **steps(options, say)}
        (options.folder / "steps.json").write_text(json.dumps(found, indent=2) + "\n")
        if options.steps_only:
            return
        for number, (program, *arguments) in enumerate(other_benchmarks(options)):
            say(f"\n{program} {' '.join(arguments)}")
            json_file = options.folder / f"{number}_{Path(program).stem}.json"
            command = [sys.executable, str(HERE / program), *arguments, "--json", str(json_file)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
            say(done.stdout.rstrip())
            if done.returncode:
                say(f"ended with exit code {done.returncode}")


if __name__ == "__main__":
    main()
