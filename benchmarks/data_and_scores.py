"""The data pipeline and the scores by themselves, without a network.

    pip install -c constraints.txt -e ".[benchmark]"
    python benchmarks/data_and_scores.py            # under a minute

Data: milliseconds a batch of 4 crops of 256 pixels out of PNG files of 512, with crop, flip and quarter turn,
and with transform=strong, from RAM and from disk, beside the lecture's dataset and MONAI's CacheDataset.
Scores: Dice of a batch beside MONAI's DiceMetric; V-Rand and V-Info of a 512x512 image beside scikit-image;
objects of a 512x512 image made of maps, and scored.
"""

import argparse
import itertools
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from benchmarks.loops import lecture_loader, monai_loader, own_parts, write_images


def endless(epoch: Callable[[int], Any]) -> Iterator[Any]:
    for number in itertools.count():
        yield from epoch(number)


def milliseconds(work: dict[str, Callable[[], Any]], rounds: int, each: int) -> dict[str, float]:
    """Medians over rounds in which every piece of work is done `each` times."""
    found: dict[str, list[float]] = {name: [] for name in work}
    for number in range(rounds + 1):
        for name, do in work.items():
            started = time.perf_counter()
            for _ in range(each):
                do()
            if number:
                found[name].append(1000 * (time.perf_counter() - started) / each)
    return {name: statistics.median(values) for name, values in found.items()}


def batches(folder: Path) -> dict[str, Callable[[], Any]]:
    options = argparse.Namespace(data=folder, size=256, batch=4, base=16)
    turned = ["transform.train.rotate90={_target_: unet_exp.data.transforms.RandomRotate90}"]
    loaders: dict[str, Callable[[int], Any]] = {}
    for name, more in (
        ("unet_exp, in RAM", turned),
        ("unet_exp, in RAM, 2 workers", [*turned, "num_workers=2"]),
        ("unet_exp, from disk", [*turned, "data.cache=none", "num_workers=0"]),
        ("unet_exp, from disk, 2 workers", [*turned, "data.cache=none", "num_workers=2"]),
        ("unet_exp, strong, in RAM", ["transform=strong"]),
        ("unet_exp, strong, each warped", ["transform=strong", "transform.train.crop.probability=1"]),
        ("unet_exp, strong, from disk", ["transform=strong", "data.cache=none", "num_workers=0"]),
    ):
        loaders[name] = own_parts(options, more)[1].train.epoch
    lecture, cached = lecture_loader(options), monai_loader(options)
    loaders["lecture (no quarter turns)"] = lambda _: iter(lecture)
    loaders["MONAI CacheDataset (no quarter turns)"] = lambda _: iter(cached)
    streams = {name: endless(epoch) for name, epoch in loaders.items()}
    return {name: lambda stream=stream: next(stream) for name, stream in streams.items()}  # type: ignore[misc]


def scores() -> dict[str, Callable[[], Any]]:
    from monai.metrics import DiceMetric
    from scipy import ndimage
    from skimage import metrics, segmentation

    rand: Any = metrics.adapted_rand_error
    information: Any = metrics.variation_of_information
    watershed: Any = segmentation.watershed

    from unet_exp.data.synthetic import generate_membranes
    from unet_exp.metrics.confusion import confusion, predict_classes
    from unet_exp.metrics.em import proposal_segments, rand_and_info, true_segments

    logits = torch.randn(4, 1, 256, 256)
    label = (torch.rand(4, 1, 256, 256) > 0.5).float()
    metric = DiceMetric()
    _, drawn = generate_membranes(0, 0, 512)
    interior = drawn == 0
    truth, found = true_segments(interior), proposal_segments(ndimage.binary_erosion(interior))
    markers = ndimage.label(ndimage.binary_erosion(interior))[0]
    flat = np.zeros(interior.shape, np.uint8)

    def other_scores() -> None:
        rand(truth, found, ignore_labels=(0,))
        information(truth, found, ignore_labels=(0,))

    return {
        "unet_exp: confusion of a batch": lambda: confusion(predict_classes(logits), label, 2),
        "MONAI: DiceMetric of a batch": lambda: metric(y_pred=(logits > 0).float(), y=label),
        "unet_exp: segments of 512x512": lambda: proposal_segments(ndimage.binary_erosion(interior)),
        "scikit-image: watershed of the same": lambda: watershed(flat, markers, watershed_line=True),
        "unet_exp: V-Rand and V-Info of 512x512": lambda: rand_and_info(truth, found),
        "scikit-image: adapted Rand and variation of information": other_scores,
    }


def objects() -> dict[str, Callable[[], Any]]:
    """Of an image of 512 x 512 with 99 nuclei: objects of blurred maps, and their scores."""
    from scipy import ndimage
    from skimage.segmentation import find_boundaries

    from unet_exp.data.nuclei import generate_nuclei
    from unet_exp.objects.meter import CountedObjects
    from unet_exp.objects.watershed import ObjectRule, find_objects

    _, numbers = generate_nuclei(0, 1, 512)
    true = numbers.astype(np.int32)
    inside = (true > 0) & ~find_boundaries(true, mode="inner")  # type: ignore[no-untyped-call]
    interior, foreground = (
        ndimage.gaussian_filter(mask.astype(np.float32), 1.0) for mask in (inside, true > 0)
    )
    predicted = find_objects(interior, foreground, ObjectRule())
    count = len(np.unique(true)) - 1
    return {
        f"unet_exp: {count} objects of 512x512 from their maps": lambda: find_objects(
            interior, foreground, ObjectRule()
        ),
        f"unet_exp: {count} objects of 512x512 scored": lambda: CountedObjects(keep_fates=True).count(
            0, true, predicted
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(max(torch.get_num_threads(), 1))
    with tempfile.TemporaryDirectory() as name:
        write_images(Path(name), 25, 512)
        found = {"data": milliseconds(batches(Path(name)), options.rounds, 12)}
    found["scores"] = milliseconds(scores() | objects(), options.rounds, 10)
    for title, rows in found.items():
        print(f"| {title} | ms |\n|---|---|")
        for row, value in rows.items():
            print(f"| {row} | {value:.2f} |")
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
