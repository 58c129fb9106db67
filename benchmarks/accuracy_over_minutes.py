"""Accuracy over minutes of training on ISBI 2012: the lecture's recipe, ours, nnU-Net's, MONAI's.

    pip install -c constraints.txt -e ".[benchmark]"
    python benchmarks/accuracy_over_minutes.py --data DIR       # about an hour and a half on two cores
    python benchmarks/accuracy_over_minutes.py --data DIR --arms isbi2012 nnunet_like --runs RUNS
    python benchmarks/accuracy_over_minutes.py --data DIR --arms "3 minutes" --seed 1 --json seed1.json

Arms are added to the JSON file and drawn with those that it has. --runs keeps the run directories. DIR
holds images/NN.png and labels/NN.png; 00-19 train, 20-23 are scored, with the best threshold for V-Rand and
without averaging over symmetries. The clock counts training and each program's own validation, not the
scoring. Arms: the lecture's recipe as it is (64 channels, fp32), the same with 16 channels,
experiment=isbi2012, experiment=nnunet_like, and MONAI's 2D tutorial (its UNet, Dice loss, Adam, crops of 96
pixels around foreground, quarter turns) in bf16 like ours. nnU-Net itself is not run: its default of
250,000 updates would take days on two cores.
"""

import argparse
import csv
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

Point = dict[str, float]
Maps = Callable[[np.ndarray], np.ndarray]  # an image to the probability of the cells' interior
# Epochs between checkpoints are chosen for about ten points a curve.
OURS: dict[str, list[str]] = {
    "lecture": ["experiment=lecture", "trainer.images_each_batch=false", "trainer.save_every=1"],
    "lecture, 16 channels": [
        "experiment=lecture",
        "model=unet_small",
        "trainer.images_each_batch=false",
        "epochs=1000",
        "trainer.save_every=10",
    ],
    "isbi2012": ["experiment=isbi2012", "trainer.save_every=80"],
    "nnunet_like": ["experiment=nnunet_like", "trainer.save_every=25"],
}
# As many steps as three minutes of two cores with bf16 have room for; named by what they change.
THREE_MINUTES = ["experiment=isbi2012_quick", "epochs=100", "trainer.save_every=100"]
SHORT: dict[str, list[str]] = {
    "3 minutes": THREE_MINUTES,
    "3 minutes, 16 channels": [*THREE_MINUTES, "model.base_channels=16", "epochs=300"],
    "3 minutes, crops of 192": [*THREE_MINUTES, "transform.train.crop.size=192", "epochs=180"],
    "3 minutes, one cycle": [*THREE_MINUTES, "scheduler=onecycle", "lr=4e-3"],
    "3 minutes, averaged weights": [
        *THREE_MINUTES,
        "scheduler=constant",
        "lr=1.5e-3",
        "trainer.ema_decay=0.99",
    ],
    "3 minutes, no weight map": [*THREE_MINUTES, "loss.w0=0"],
}


def slices(data: Path, numbers: range) -> list[tuple[np.ndarray, np.ndarray]]:
    """uint8 images and bool labels, True inside cells."""
    return [
        (
            np.asarray(Image.open(data / f"images/{n:02d}.png")),
            np.asarray(Image.open(data / f"labels/{n:02d}.png")) > 0,
        )
        for n in numbers
    ]


def scored(maps: Maps, data: Path) -> Point:
    """Scores of slices 20-23 at their best threshold by V-Rand; v_rand_chosen: at that of 00-19."""
    from unet_exp.metrics import em

    tables = {}
    for part in (range(20), range(20, 24)):
        pairs = slices(data, part)
        tables[part] = em.em_table([maps(image) for image, _ in pairs], [label for _, label in pairs])
    table = tables[range(20, 24)]
    row = em.row_at(table, em.best_threshold(table))
    half = em.row_at(table, 0.5)
    return {
        "v_rand": row["v_rand"],
        "v_rand_chosen": em.row_at(table, em.best_threshold(tables[range(20)]))["v_rand"],
        "v_info": row["v_info"],
        "pixel_f1": half["pixel_f1"],
    }


def ours(overrides: list[str], options: argparse.Namespace, folder: Path) -> Iterator[Point]:
    """A run of this project; every checkpoint that it kept is scored afterwards."""
    from unet_exp import load_run
    from unet_exp.training import checkpoint

    command = [
        sys.executable,
        str(ROOT / "run.py"),
        *overrides,
        "data=isbi2012",
        f"data.root={options.data}",
        "trainer.keep=0",
        f"trainer.max_minutes={options.minutes}",
        "trainer.plots=false",
        f"threads={options.threads}",
        "trainer.images_every=0",
        f"seed={options.seed}",
        f"hydra.run.dir={folder}",
    ]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    seconds: dict[int, float] = {}
    with open(folder / "timing.csv", newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            seconds[int(row["epoch"])] = seconds.get(int(row["epoch"]), 0.0) + float(row["seconds"])
    predictor = load_run(folder, weights="last").with_options(tile=512)
    for path in checkpoint.numbered(folder / "checkpoints"):
        epoch = checkpoint.number(path)
        weights = checkpoint.weights_of(checkpoint.load(path))
        checkpoint.load_weights(predictor.networks[0], weights, path)
        spent = sum(value for number, value in seconds.items() if number <= epoch)
        yield {"minutes": spent / 60} | scored(lambda image: predictor.probabilities(image)[1], options.data)


def monai(options: argparse.Namespace) -> Iterator[Point]:
    """MONAI's 2D segmentation tutorial (unet_training_dict), its settings, on these slices."""
    import torch
    from monai.data import CacheDataset, DataLoader, list_data_collate
    from monai.inferers import sliding_window_inference
    from monai.losses import DiceLoss
    from monai.networks.nets import UNet
    from monai.transforms import (
        Compose,
        EnsureChannelFirstd,
        LoadImaged,
        RandCropByPosNegLabeld,
        RandRotate90d,
        ScaleIntensityd,
    )

    torch.manual_seed(0)
    torch.set_num_threads(options.threads)
    keys = ["image", "label"]
    files = [
        {"image": f"{options.data}/images/{n:02d}.png", "label": f"{options.data}/labels/{n:02d}.png"}
        for n in range(20)
    ]
    transform = Compose(
        [
            LoadImaged(keys),
            EnsureChannelFirstd(keys),
            ScaleIntensityd(keys),
            RandCropByPosNegLabeld(
                keys, label_key="label", spatial_size=[96, 96], pos=1, neg=1, num_samples=4
            ),
            RandRotate90d(keys, prob=0.5, spatial_axes=[0, 1]),
        ]
    )
    batches = DataLoader(
        CacheDataset(files, transform, progress=False),
        batch_size=2,
        shuffle=True,
        collate_fn=list_data_collate,
    )
    model = UNet(
        spatial_dims=2,
        in_channels=1,
        out_channels=1,
        channels=(16, 32, 64, 128, 256),
        strides=(2, 2, 2, 2),
        num_res_units=2,
    )
    loss_of, optimizer = DiceLoss(sigmoid=True), torch.optim.Adam(model.parameters(), 1e-3)

    def maps(image: np.ndarray) -> np.ndarray:
        tensor = torch.from_numpy(image.astype(np.float32) / image.max())[None, None]
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            logits: Any = sliding_window_inference(tensor, (96, 96), 4, model)
        return np.asarray(torch.sigmoid(logits.float())[0, 0])

    spent, due = 0.0, 1.0
    while spent < 60 * options.minutes:
        model.train()
        started = time.perf_counter()
        for batch in batches:
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16):
                outputs = model(batch["image"])
            loss = loss_of(outputs.float(), batch["label"])
            loss.backward()
            optimizer.step()
        spent += time.perf_counter() - started
        if spent >= 60 * due:
            due += options.minutes / 10
            model.eval()
            yield {"minutes": spent / 60} | scored(maps, options.data)


def draw(curves: dict[str, list[Point]], threads: int, path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6))
    figure.subplots_adjust(left=0.07, right=0.98, top=0.92, bottom=0.14, wspace=0.18)
    panels = figure.subplots(1, 2)
    for axes, metric, title in zip(panels, ("v_rand", "pixel_f1"), ("V-Rand", "membrane F1"), strict=True):
        for name, points in curves.items():
            axes.plot(
                [p["minutes"] for p in points], [p[metric] for p in points], marker="o", ms=3, label=name
            )
        axes.set_title(title, fontsize=10)
        axes.set_xlabel(f"minutes of training on {threads} CPU core{'s' * (threads > 1)}", fontsize=9)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_ylim(0.6, 1.0)
    panels[0].legend(frameon=False, fontsize=8, loc="lower right")
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--runs", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--arms", nargs="+", default=[*OURS, "MONAI tutorial"])
    parser.add_argument("--json", type=Path, default=Path("accuracy_over_minutes.json"))
    options = parser.parse_args()
    curves: dict[str, list[Point]] = json.loads(options.json.read_text()) if options.json.exists() else {}
    with tempfile.TemporaryDirectory() as name:
        for arm in options.arms:
            folder = (options.runs or Path(name)).absolute() / arm.replace(", ", "_").replace(" ", "_")
            words = {**OURS, **SHORT}.get(arm)
            source = monai(options) if words is None else ours(words, options, folder)
            curves[arm] = []
            for point in source:
                curves[arm].append(point)
                print(arm, " ".join(f"{key} {value:.4f}" for key, value in point.items()), flush=True)
            options.json.write_text(json.dumps(curves, indent=2) + "\n")
    draw(curves, options.threads, options.json.with_suffix(".png"))


if __name__ == "__main__":
    main()
