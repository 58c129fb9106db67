"""Prediction of large images beside MONAI's sliding_window_inference: seconds and peak memory.

    pip install -c constraints.txt -e ".[benchmark,fast]"
    python benchmarks/predict_peers.py                           # 1024 and 4096 pixels, a few minutes
    python benchmarks/predict_peers.py --sides 8192 --repeats 1
    python benchmarks/predict_peers.py --sides 2048 --model nnunet_like

The same network of conf/model (one logit), tiles, overlap and Gaussian blending; each run is a process of its
own. unet_exp reads the image from a file window by window and writes float32 probabilities of both classes to
a file; MONAI gets the image as a tensor and gives logits as one. unet_exp computes as task=predict does, in
the number and memory format and with the allocator that it decides on by itself; "fp32": with precision=fp32;
"openvino": with that backend. MONAI: as torch comes, in fp32; "same": with what unet_exp decides on;
"same, fp32": with these, in fp32.
"""

import argparse
import dataclasses
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import yaml

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

ARMS = [
    "unet_exp",
    "unet_exp, openvino",
    "unet_exp, fp32",
    "unet_exp, fp32, openvino",
    "MONAI",
    "MONAI, same",
    "MONAI, same, fp32",
]


def build(arm: str, model_name: str) -> tuple[Any, Any]:
    """The network, and where and in what numbers it computes."""
    import torch

    from benchmarks.loops import Settings
    from unet_exp.inference.backends import Engine
    from unet_exp.models.folding import folded
    from unet_exp.models.unet import UNet

    torch.manual_seed(0)
    text = (HERE.parent / "conf" / "model" / f"{model_name}.yaml").read_text(encoding="utf-8")
    network = UNet(**{key: value for key, value in yaml.safe_load(text).items() if key != "defaults"}).eval()
    program, *rest = arm.split(", ")
    settings = Settings(same=program == "unet_exp" or "same" in rest)
    place = settings.place
    if "fp32" in rest:
        place = dataclasses.replace(place, name="fp32")
    if "openvino" in rest:
        return Engine("openvino", network, 1, place.name), place
    model = settings.put(folded(network) if program == "unet_exp" and place.name == "fp32" else network)
    return model.eval(), place


def own(arm: str, options: argparse.Namespace, folder: Path) -> float:
    import torch
    from torch import Tensor

    from unet_exp.inference.tiles import Tiling, receptive_radius
    from unet_exp.inference.tiling import predict_tiles
    from unet_exp.losses import class_probabilities

    model, place = build(arm, options.model)

    def forward(tiles: Tensor) -> Tensor:
        with torch.inference_mode(), place.autocast():
            logits = model(place.to_device((tiles - 0.5) / 0.5)).float()
        return class_probabilities(logits)

    image = np.load(folder / "image.npy", mmap_mode="r")
    side = options.side
    with open(folder / "probabilities.raw", "wb") as result:

        def write(top: int, rows: np.ndarray) -> None:
            for index, plane in enumerate(rows):
                result.seek((index * side + top) * side * 4)
                result.write(plane.data)

        started = time.perf_counter()
        net = getattr(model, "network", model)
        radius = receptive_radius(net.depth, net.upsample, net.padding, net.stride)
        halo = min(radius, options.tile // 4)
        tiling = Tiling(options.tile, options.overlap, 0, 2**net.halvings, halo)

        def read(rows: slice, columns: slice) -> np.ndarray:
            return np.asarray(image[rows, columns, None].astype(np.float32) / 255)

        predict_tiles([forward], read, (side, side), write, tiling, batch=1)
        return time.perf_counter() - started


def monai(arm: str, options: argparse.Namespace, folder: Path) -> float:
    import torch
    from monai.inferers import sliding_window_inference

    model, place = build(arm, options.model)

    def forward(tiles: torch.Tensor) -> torch.Tensor:
        with place.autocast():
            logits: torch.Tensor = model(place.to_device(tiles)).float()
        return logits

    image = np.load(folder / "image.npy")
    started = time.perf_counter()
    with torch.inference_mode():
        tensor = (torch.from_numpy(image)[None, None].float() / 255 - 0.5) / 0.5
        tile = (options.tile, options.tile)
        logits = sliding_window_inference(tensor, tile, 1, forward, overlap=options.overlap, mode="gaussian")
        torch.sigmoid(logits).cpu()
    return time.perf_counter() - started


def child(options: argparse.Namespace) -> None:
    import torch

    work = own if options.arm.startswith("unet_exp") else monai
    seconds = work(options.arm, options, options.folder)
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    peak = next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))
    if torch.cuda.is_available():  # of the GPU
        peak = torch.cuda.max_memory_allocated() / 2**20
    print(json.dumps({"seconds": seconds, "peak_mib": peak}))


def measured(arm: str, side: int, options: argparse.Namespace, folder: Path) -> dict[str, float]:
    command = [
        sys.executable,
        __file__,
        "--arm",
        arm,
        "--side",
        str(side),
        "--folder",
        str(folder),
        "--tile",
        str(min(options.tile, side // 2)),
        "--overlap",
        str(options.overlap),
        "--model",
        options.model,
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"the arm {arm} failed\n{done.stderr}")
    row: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return row


def summed_up(rows: list[dict[str, float]], peer: list[dict[str, float]]) -> dict[str, float]:
    ratios = [one["seconds"] / row["seconds"] for row, one in zip(rows, peer, strict=True)]
    return {
        "seconds": statistics.median(row["seconds"] for row in rows),
        "times_as_fast": statistics.median(ratios),
        "peak_mib": max(row["peak_mib"] for row in rows),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sides", type=int, nargs="+", default=[1024, 4096])
    parser.add_argument("--tile", type=int, default=1024, help="at most; half the side of a smaller image")
    parser.add_argument("--overlap", type=float, default=0.25)
    parser.add_argument("--model", default="unet_small", help="of conf/model")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--arms", default="|".join(ARMS), help="some of the arms, with | between")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--arm", help=argparse.SUPPRESS)
    parser.add_argument("--side", type=int, help=argparse.SUPPRESS)
    parser.add_argument(
        "--folder", type=Path, help="for the files (0.6 GB at 8192), instead of the usual one"
    )
    options = parser.parse_args()
    if options.arm:
        return child(options)
    tables: dict[int, dict[str, dict[str, float]]] = {}
    for side in options.sides:
        found: dict[str, list[dict[str, float]]] = {arm: [] for arm in options.arms.split("|")}
        with tempfile.TemporaryDirectory(dir=options.folder) as name:
            drawn = np.random.default_rng(0).integers(0, 256, (side, side), dtype=np.uint8)
            np.save(Path(name) / "image.npy", drawn)
            for _ in range(options.repeats):
                for arm, rows in found.items():
                    rows.append(measured(arm, side, options, Path(name)))
        tables[side] = {arm: summed_up(rows, found["MONAI"]) for arm, rows in found.items()}
        tile = min(options.tile, side // 2)
        print(f"{options.model}: {side} x {side}, tiles of {tile}, overlap {options.overlap}")
        print("| program | seconds | times as fast as MONAI | peak MiB |\n|---|---|---|---|")
        for arm, row in tables[side].items():
            numbers = f"{row['seconds']:.2f} | {row['times_as_fast']:.2f} | {row['peak_mib']:.0f}"
            print(f"| {arm} | {numbers} |", flush=True)
    if options.json:
        options.json.write_text(json.dumps(tables, indent=2) + "\n")


if __name__ == "__main__":
    main()
