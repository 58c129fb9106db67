"""task=predict with all its files: many small images, and a large one; the whole process, start included.

    python benchmarks/predict_files.py --small 400 --side 4096    # a few minutes
    python benchmarks/predict_files.py --beside OTHER_CHECKOUT    # the same with another version, in turns
    python benchmarks/predict_files.py --with tta=true            # a further arm, with these overrides

model=unet_small with the weights of a short training; the images are those of data=membranes. Medians, and
the largest peak of resident memory.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

SHORT = ["model=unet_small", "epochs=1", "trainer.report=false", "trainer.plots=false"]


def make_images(start: Path, small: int, side: int) -> None:
    from unet_exp.data.synthetic import generate_membranes

    drawn = [generate_membranes(0, number)[0] for number in range(16)]
    for name in ("small", "large"):
        (start / name).mkdir()
    for number in range(small):
        Image.fromarray(np.roll(drawn[number % 16], number, 0)).save(start / "small" / f"{number:05}.png")
    rows = [np.hstack([drawn[(row + column) % 16] for column in range(side // 256)]) for row in range(16)]
    large = np.vstack([rows[row % 16] for row in range(side // 256)])
    Image.fromarray(large).save(start / "large" / "image.png")


def predicted(checkout: Path, start: Path, images: str, extra: list[str]) -> tuple[float, float]:
    """Seconds and MB."""
    shutil.rmtree(start / "out", ignore_errors=True)
    command = [sys.executable, str(checkout / "run.py"), "task=predict", "run=run", f"input={images}"]
    began = time.perf_counter()
    process = subprocess.Popen(
        [*command, "output=out", *extra], cwd=start, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert process.stdout is not None
    said = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(said.decode())
    return time.perf_counter() - began, usage.ru_maxrss / 1e3


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--small", type=int, default=2000, help="images of 256 x 256")
    parser.add_argument("--side", type=int, default=8192, help="of the large image, a multiple of 256")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--beside", type=Path, help="the root of another checkout")
    parser.add_argument("--with", dest="extra", action="append", default=[], help="overrides of an arm")
    options = parser.parse_args()
    arms: dict[str, tuple[Path, list[str]]] = {"this": (ROOT, [])}
    if options.beside:
        arms["other"] = (options.beside.resolve(), [])
    arms |= {extra: (ROOT, extra.split()) for extra in options.extra}
    found: dict[tuple[str, str], list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as name:
        start = Path(name)
        make_images(start, options.small, options.side)
        checkout = options.beside.resolve() if options.beside else ROOT  # an older one can't read our run
        train = [sys.executable, str(checkout / "run.py"), *SHORT, "hydra.run.dir=run"]
        subprocess.run(train, cwd=start, check=True, stdout=subprocess.DEVNULL)
        for _ in range(options.repeats):
            for arm, (checkout, extra) in arms.items():
                for images in ("small", "large"):
                    found.setdefault((arm, images), []).append(predicted(checkout, start, images, extra))
    sizes = {"small": f"{options.small} x 256 x 256", "large": f"{options.side} x {options.side}"}
    print("| arm | images | s | MB |\n|---|---|---|---|")
    for (arm, images), rows in found.items():
        seconds, memory = zip(*rows, strict=True)
        print(f"| {arm} | {sizes[images]} | {statistics.median(seconds):.1f} | {max(memory):.0f} |")


if __name__ == "__main__":
    main()
