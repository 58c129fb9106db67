"""Nuclei of the 2018 Data Science Bowl by StarDist and by a boundary U-Net of torch-em, after some minutes.

Each in an environment of its own, trained on the rows `train` of DIR/list.csv (columns image, label, split,
kind) for the same minutes of two cores, counted in seconds of the processor, whatever runs beside it; its
thresholds are chosen on the rows `val`, as its authors advise:

    python3 -m venv stardist && stardist/bin/pip install stardist tensorflow-cpu tf_keras tensorboard
    python3 -m venv torch_em && torch_em/bin/pip install torch torch_em python-elf
    stardist/bin/python benchmarks/nuclei_peers.py stardist DIR --minutes 12 --out OUT
    torch_em/bin/python benchmarks/nuclei_peers.py torch_em DIR --minutes 12 --out OUT
    python benchmarks/nuclei_peers.py score DIR --out OUT

OUT/TOOL gets a numbered image for each validation image, by the plain network; `score` prints AP over 0.5 to
0.95 and F1 at 0.5, means over the images, and the kinds of images. All tools get grey images.
"""

import argparse
import csv
import os
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

Pair = tuple[str, np.ndarray, np.ndarray]  # name, grey image float32, object numbers
HERE = Path(__file__).resolve().parent


def read_split(root: Path, split: str) -> list[Pair]:
    from skimage.io import imread

    pairs = []
    with open(root / "list.csv", newline="") as file:
        for row in csv.DictReader(file):
            if row["split"] == split:
                image = imread(root / row["image"]).astype(np.float32)
                grey = image[..., :3].mean(-1) if image.ndim == 3 else image
                pairs.append((Path(row["image"]).stem, grey, imread(root / row["label"]).astype(np.int32)))
    return pairs


def write(out: Path, objects: Iterator[tuple[str, np.ndarray]]) -> None:
    import tifffile

    out.mkdir(parents=True, exist_ok=True)
    for name, numbers in objects:
        tifffile.imwrite(out / f"{name}.tif", numbers.astype(np.uint16))


def stardist(root: Path, out: Path, end: float) -> None:
    """StarDist's own example: 32 rays, grid 2, its augmenter and defaults, and optimize_thresholds."""
    os.environ["TF_USE_LEGACY_KERAS"] = "1"
    import tensorflow as tf
    from csbdeep.utils import normalize
    from stardist import fill_label_holes
    from stardist.models import Config2D, StarDist2D

    rng = np.random.default_rng(0)
    tf.keras.utils.set_random_seed(0)

    def prepared(pairs: list[Pair]) -> tuple[list[np.ndarray], list[np.ndarray]]:
        images = [normalize(image, 1, 99.8, axis=(0, 1)) for _, image, _ in pairs]
        return images, [fill_label_holes(objects) for _, _, objects in pairs]

    def augment(image: np.ndarray, objects: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Flips, quarter turns, brightness and noise, as in the example."""
        turns = int(rng.integers(4))
        image, objects = np.rot90(image, turns), np.rot90(objects, turns)
        if rng.random() < 0.5:
            image, objects = image[::-1], objects[::-1]
        image = image * rng.uniform(0.6, 2) + rng.uniform(-0.2, 0.2)
        sigma = 0.02 * rng.uniform(0, 1)
        return image + sigma * rng.normal(0, 1, image.shape), objects

    class StopInTime(tf.keras.callbacks.Callback):  # type: ignore[misc]
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            self.model.stop_training = time.process_time() > end

    train, val = read_split(root, "train"), read_split(root, "val")
    config = Config2D(n_rays=32, grid=(2, 2), n_channel_in=1, train_patch_size=(256, 256), use_gpu=False)
    model = StarDist2D(config, name="stardist", basedir=str(out))
    model.prepare_for_training()
    model.callbacks.append(StopInTime())
    images, objects = prepared(val)
    model.train(*prepared(train), validation_data=(images, objects), augmenter=augment)
    model.optimize_thresholds(images, objects)
    write(
        out / "stardist",
        ((name, model.predict_instances(image)[0]) for (name, _, _), image in zip(val, images, strict=True)),
    )


def torch_em(root: Path, out: Path, end: float) -> None:
    """Its U-Net for foreground and boundary, default loader, trainer and watershed; thresholds by AP."""
    from unittest.mock import MagicMock

    # It imports torchvision for pictures and for other networks.
    for name in ("", ".utils", ".models", ".models.resnet", ".transforms", ".ops"):
        sys.modules.setdefault(f"torchvision{name}", MagicMock())
    import tifffile
    import torch
    import torch_em as em
    from torch_em.model import UNet2d
    from torch_em.transform.label import BoundaryTransform
    from torch_em.transform.raw import standardize
    from torch_em.util.prediction import predict_with_padding
    from torch_em.util.segmentation import watershed_from_components

    torch.manual_seed(0)
    loaders = []
    for split in ("train", "val"):
        files: dict[str, list[str]] = {"images": [], "labels": []}
        for name, *arrays in read_split(root, split):
            for kind, array in zip(files, arrays, strict=True):
                path = out / "grey" / kind / f"{name}.tif"
                path.parent.mkdir(parents=True, exist_ok=True)
                tifffile.imwrite(path, array)
                files[kind].append(str(path))
        loader = em.default_segmentation_loader(
            files["images"],
            None,
            files["labels"],
            None,
            batch_size=4,
            patch_shape=(256, 256),
            ndim=2,
            is_seg_dataset=False,
            label_transform=BoundaryTransform(add_binary_target=True),
            shuffle=split == "train",
        )
        loaders.append(loader)

    class TimeIsUp(Exception):
        pass

    class Progress:
        """Takes the place of the progress bar, which is told of every step."""

        total = 0

        def update(self, steps: int) -> None:
            if time.process_time() > end:
                raise TimeIsUp

        def set_description(self, *words: Any, **more: Any) -> None:
            pass

        def close(self) -> None:
            pass

    model = UNet2d(in_channels=1, out_channels=2, final_activation="Sigmoid")
    trainer = em.default_segmentation_trainer(
        "boundaries", model, *loaders, device="cpu", logger=None, save_root=str(out)
    )
    with suppress(TimeIsUp):
        trainer.fit(epochs=10_000, progress=Progress())
    if (out / "checkpoints/boundaries/best.pt").exists():
        trainer.load_checkpoint("best")
    model.eval()
    maps = {}
    for name, image, _ in read_split(root, "val"):
        maps[name] = predict_with_padding(model, standardize(image), (16, 16), device="cpu")
    truths = {name: objects for name, _, objects in read_split(root, "val")}

    def found(name: str, rule: tuple[float, float, int]) -> np.ndarray:
        foreground, boundary = np.squeeze(maps[name])
        return np.asarray(watershed_from_components(boundary, foreground, rule[2], rule[0], rule[1]))

    rules = [
        (first, second, 20) for first in (0.3, 0.4, 0.5, 0.6, 0.7) for second in (0.3, 0.4, 0.5, 0.6, 0.7)
    ]
    best = max(rules, key=lambda rule: mean_ap(truths, {name: found(name, rule) for name in maps}))
    write(out / "torch_em", ((name, found(name, best)) for name in maps))


def mean_ap(truths: dict[str, np.ndarray], found: dict[str, np.ndarray]) -> float:
    sys.path.insert(0, str(HERE.parent))
    from unet_exp.objects.scores import count_objects, mean_scores

    return mean_scores([count_objects(truths[name], found[name]) for name in truths])["ap"]


def score(root: Path, out: Path) -> None:
    import tifffile

    sys.path.insert(0, str(HERE.parent))
    from unet_exp.objects.scores import count_objects, mean_scores

    with open(root / "list.csv", newline="") as file:
        kinds = {Path(row["image"]).stem: row["kind"] for row in csv.DictReader(file)}
    for folder in sorted(path for path in out.iterdir() if any(path.glob("*.tif"))):
        counts = {
            name: count_objects(objects, tifffile.imread(folder / f"{name}.tif").astype(np.int32))
            for name, _, objects in read_split(root, "val")
        }
        for kind in ("all", *sorted(set(kinds.values()))):
            scores = mean_scores([counts[name] for name in counts if kind in ("all", kinds[name])])
            print(f"{folder.name:12} {kind:14} ap {scores['ap']:.4f} f1 {scores['f1']:.4f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("task", choices=["stardist", "torch_em", "score"])
    parser.add_argument("root", type=Path, help="folder with list.csv")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=12.0)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    if options.task == "score":
        score(options.root, options.out)
    else:
        globals()[options.task](options.root, options.out, 120 * options.minutes)
