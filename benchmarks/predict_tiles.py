"""What tiled prediction costs beside the network, and how much memory a large image takes.

    python benchmarks/predict_tiles.py                     # several minutes on two cores
    python benchmarks/predict_tiles.py --skip-memory       # the speed alone

Speed: a square image in memory by tiles ("tiled") against the same network on as many tiles, in the same
batches, back to back ("bare"), in turns in one process; medians of the seconds and of the ratio.
Memory: another process predicts a larger image row by row from a file to a file of float32 probabilities;
prints the peak of its resident memory (Linux: VmHWM), and what it was before the first tile.
Two classes, one channel, random weights, as the machine's "auto" would compute (README): bf16 where the
processor multiplies in it, channels last.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from unet_exp.inference.tiles import Tiling, receptive_radius
from unet_exp.inference.tiling import Network, predict_tiles
from unet_exp.losses import class_probabilities
from unet_exp.models.unet import UNet
from unet_exp.training.machine import Precision, decide_channels_last, decide_device, decide_precision

DEPTH = 4


def build_network(base_channels: int) -> tuple[Network, str]:
    torch.manual_seed(0)
    device = decide_device("auto")
    name = decide_precision("auto", device)
    precision = Precision(device, name, decide_channels_last("auto", device))
    format = torch.channels_last if precision.channels_last else torch.contiguous_format
    net = UNet(out_channels=2, base_channels=base_channels, depth=DEPTH).eval().to(device)
    net = net.to(memory_format=format)  # type: ignore[call-overload]

    def network(tiles: Tensor) -> Tensor:
        with torch.inference_mode(), precision.autocast():
            logits: Tensor = net(precision.to_device(tiles))
        return class_probabilities(logits.float())

    return network, f"{device} {name}"


def cut(options: argparse.Namespace, tile: int) -> Tiling:
    return Tiling(tile, options.overlap, 0, 2**DEPTH, receptive_radius(DEPTH, "transpose"))


def speed(options: argparse.Namespace) -> dict[str, float | str]:
    network, machine = build_network(options.base_channels)
    side, batch = options.size, options.batch
    image = np.random.default_rng(0).standard_normal((side, side, 1), dtype=np.float32)
    tiling = cut(options, options.tile)
    tiles = tiling.count((side, side))
    passes: list[int] = []
    seconds: dict[str, list[float]] = {"tiled": [], "bare": []}
    sums = [0.0]
    whole = torch.randn(batch, 1, options.tile, options.tile)

    def write(top: int, rows: np.ndarray) -> None:
        sums[0] += float(rows[0, 0, 0])

    for repeat in range(options.repeats + 1):  # the first warms up
        passes.clear()
        started = time.perf_counter()
        predict_tiles(
            [network],
            lambda rows, columns: image[rows, columns],
            (side, side),
            write,
            tiling,
            batch=batch,
            progress=passes.append,
        )
        between = time.perf_counter()
        for count in passes:
            output = network(whole[:count])
        output.cpu()
        if repeat:
            seconds["tiled"].append(between - started)
            seconds["bare"].append(time.perf_counter() - between)
    ratios = [tiled / bare for tiled, bare in zip(seconds["tiled"], seconds["bare"], strict=True)]
    return {
        "machine": machine,
        "tiles": tiles,
        "tiled_seconds": statistics.median(seconds["tiled"]),
        "bare_seconds": statistics.median(seconds["bare"]),
        "ratio": statistics.median(ratios),
    }


def resident_mib(name: str) -> float:
    """VmRSS (now) or VmHWM (peak) of this process; getrusage would count the parent's before exec."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(name))


def predict_file(options: argparse.Namespace, folder: Path) -> None:
    """In the child: image.raw (uint8) to probabilities.raw (float32, classes x height x width)."""
    network, _ = build_network(options.base_channels)
    side = options.large
    before = resident_mib("VmRSS")
    with open(folder / "image.raw", "rb") as image, open(folder / "probabilities.raw", "wb") as result:

        def read(rows: slice, columns: slice) -> np.ndarray:
            image.seek(rows.start * side)
            window = np.fromfile(image, np.uint8, (rows.stop - rows.start) * side).reshape(-1, side, 1)
            return (window[:, columns].astype(np.float32) - 128) / 64

        def write(top: int, rows: np.ndarray) -> None:
            for index, plane in enumerate(rows):
                result.seek((index * side + top) * side * 4)
                result.write(plane.data)

        started = time.perf_counter()
        tiling = cut(options, options.large_tile)
        predict_tiles([network], read, (side, side), write, tiling, batch=1)
        took = time.perf_counter() - started
    row = {
        "tiles": tiling.count((side, side)),
        "seconds": took,
        "before_mib": before,
        "peak_mib": resident_mib("VmHWM"),
    }
    print(json.dumps(row))


def memory(options: argparse.Namespace) -> dict[str, float]:
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        rng = np.random.default_rng(0)
        with open(Path(folder) / "image.raw", "wb") as file:
            for _ in range(options.large):
                file.write(rng.integers(0, 256, options.large, dtype=np.uint8).data)
        arguments = [*sys.argv[1:], "--child", folder]
        done = subprocess.run(
            [sys.executable, __file__, *arguments], stdout=subprocess.PIPE, text=True, check=True
        )
        expected = 2 * options.large**2 * 4
        assert os.path.getsize(Path(folder) / "probabilities.raw") == expected
        row: dict[str, float] = json.loads(done.stdout)
        return row


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=2048, help="side of the image for the speed")
    parser.add_argument("--tile", type=int, default=512, help="for the speed")
    parser.add_argument("--batch", type=int, default=4, help="for the speed; the memory is taken with 1")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--large", type=int, default=8192, help="side of the image for the memory")
    parser.add_argument("--large-tile", type=int, default=1024)
    parser.add_argument("--overlap", type=float, default=0.25)
    parser.add_argument("--base-channels", type=int, default=16)
    parser.add_argument("--skip-speed", action="store_true")
    parser.add_argument("--skip-memory", action="store_true")
    parser.add_argument("--folder", type=Path, help="for the large files (0.6 GB), instead of the usual one")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        return predict_file(options, options.child)
    found: dict[str, Any] = {}
    if not options.skip_speed:
        found["speed"] = row = speed(options)
        print(f"{options.size} x {options.size}, {row['tiles']} tiles of {options.tile}, {row['machine']}")
        print("| tiled, s | bare, s | ratio |\n|---|---|---|")
        print(f"| {row['tiled_seconds']:.2f} | {row['bare_seconds']:.2f} | {row['ratio']:.3f} |")
    if not options.skip_memory:
        found["memory"] = peak = memory(options)
        print(f"{options.large} x {options.large}, {peak['tiles']} tiles of {options.large_tile}")
        print("| seconds | resident before, MiB | peak, MiB |\n|---|---|---|")
        print(f"| {peak['seconds']:.1f} | {peak['before_mib']:.0f} | {peak['peak_mib']:.0f} |")
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
