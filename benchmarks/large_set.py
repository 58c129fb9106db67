"""The start on a large set: seconds to the first step, and memory, at the first start and at the next.

    python benchmarks/large_set.py --images 8000               # a minute or two
    python benchmarks/large_set.py --images 100000             # half an hour, 6 GB of disk
    python benchmarks/large_set.py --beside OTHER_CHECKOUT     # the same with another version, in turns

Images and labels are PNG files of 256 x 256. "first": nothing is known of the files; "next": the same command
again, in a new run directory. The whole process of a run of one step, killed when the step has been made.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from multiprocessing import Pool
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

OPTIONS = ["data=image_folder", "data.root=data", "data.split.val=0.2", "model=unet_small", "epochs=1"]
OPTIONS += ["transform=crop", "trainer.limit_train_batches=1", "trainer.limit_val_batches=1"]
OPTIONS += ["trainer.plots=false", "trainer.report=false", "trainer.choose_threshold=null"]


def draw(numbers: range) -> None:
    """Images and labels of these numbers, in the working directory, all different."""
    import imagecodecs

    from unet_exp.data.synthetic import generate_membranes

    drawn = [generate_membranes(0, number) for number in range(8)]
    for number in numbers:
        image, label = (np.roll(array, number // 8, 0) for array in drawn[number % 8])
        image[0, :8] = np.frombuffer(np.int64(number).tobytes(), np.uint8)
        for folder, array in (("images", image), ("labels", label)):
            png = imagecodecs.png_encode(np.ascontiguousarray(array), level=1)
            Path("data", folder, f"{number:06}.png").write_bytes(png)


def start(checkout: Path, folder: Path, run: str, extra: list[str]) -> tuple[float, float]:
    """Seconds until the first batch is trained, and MB of the process by then."""
    command = [sys.executable, str(checkout / "run.py"), *OPTIONS, *extra, f"hydra.run.dir={run}"]
    began = time.perf_counter()
    process = subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    said = ""
    memory = 0.0
    for line in process.stdout:
        said += line
        lines = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8").splitlines()
        memory = max([memory, *(int(one.split()[1]) / 1e3 for one in lines if one.startswith("RssAnon"))])
        if line.startswith("epoch 1/1"):
            break
    took = time.perf_counter() - began
    process.kill()
    process.wait()
    if "epoch 1/1" not in said:
        sys.exit(said)
    return took, memory


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=8000)
    parser.add_argument("--beside", type=Path, help="the root of another checkout")
    parser.add_argument("--folder", type=Path, help="for the files, instead of the usual one")
    parser.add_argument("extra", nargs="*", help="more overrides, such as data.cache=none")
    options = parser.parse_args()
    checkouts = {"this": ROOT} | ({"other": options.beside.resolve()} if options.beside else {})
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
        for part in ("images", "labels"):
            (folder / "data" / part).mkdir(parents=True)
        os.chdir(folder)
        with Pool() as pool:
            pool.map(draw, [range(at, options.images, 8) for at in range(8)])
        time.sleep(3)  # files that were written just now are not relied on
        print(f"{options.images} images\n| checkout | start | s | MB |\n|---|---|---|---|")
        for checkout, root in checkouts.items():
            for number, word in enumerate(("first", "next")):
                took, memory = start(root, folder, f"{checkout}{number}", options.extra)
                print(f"| {checkout} | {word} | {took:.1f} | {memory:.0f} |", flush=True)
        os.chdir(ROOT)


if __name__ == "__main__":
    main()
