"""Training loops to compare, each in a process of its own: python benchmarks/training_step.py starts them.

Every arm trains the same network (unet_exp's UNet) with BCE and Adam on the same PNG files, flipped and
cropped, and writes what its kind of program writes: scalars, images, checkpoints. An arm runs an epoch for
each line on its stdin, and answers with a line of JSON. The settings "same" are those that unet_exp decides
by itself on this machine: number format, memory format, allocator, fused update, threads. With the variable
ONEDNN_MAX_CPU_ISA=AVX512_CORE (or AVX2) in its environment it is a machine without bf16.
"""

import argparse
import json
import os
import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
Epoch = Callable[[], None]


def write_images(folder: Path, count: int, size: int) -> None:
    """count drawn pairs under images/ and labels/, labels 0 and 255."""
    from PIL import Image

    from unet_exp.data.synthetic import generate_membranes

    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for number in range(count):
        image, label = generate_membranes(0, number, size)
        Image.fromarray(image).save(folder / "images" / f"{number:02d}.png")
        Image.fromarray((label * 255).astype(np.uint8)).save(folder / "labels" / f"{number:02d}.png")


def names(options: argparse.Namespace) -> list[str]:
    """The files to train on: all but the last, which unet_exp validates."""
    return sorted(path.name for path in (options.data / "images").iterdir())[:-1]


def network(options: argparse.Namespace) -> Any:
    import torch

    from unet_exp.models.unet import UNet

    torch.manual_seed(0)
    return UNet(base_channels=options.base)


def without_bf16() -> None:
    """Where the variable keeps torch's convolutions (oneDNN) from bf16, decide as on such a chip."""
    from unet_exp.training import machine

    if os.environ.get("ONEDNN_MAX_CPU_ISA") in ("AVX2", "AVX512_CORE"):
        machine.cpu_has_bf16 = lambda: False


class Settings:
    """What "same" means here, from unet_exp's own decisions; "plain" is torch as it comes."""

    def __init__(self, same: bool) -> None:
        import torch

        from unet_exp.training import machine

        without_bf16()
        device = machine.decide_device("auto")
        torch.set_num_threads(machine.decide_threads("auto", 1))
        self.device = device
        self.precision = machine.decide_precision("auto", device) if same else "fp32"
        self.channels_last = same and machine.decide_channels_last("auto", device)
        self.place = machine.Precision(device, self.precision, self.channels_last)
        self.adam: dict[str, Any] = {"fused": True} if same and machine.decide_fused("auto", device) else {}
        if same:
            machine.set_allocator(machine.decide_allocator("auto", device))

    def put(self, model: Any) -> Any:
        import torch

        model = model.to(self.device)
        return model.to(memory_format=torch.channels_last) if self.channels_last else model


def lecture_loader(options: argparse.Namespace) -> Any:
    """The lecture's dataset: files read for every sample, dict samples, numpy transforms, a DataLoader."""
    import torch
    from PIL import Image
    from torch.utils.data import DataLoader, Dataset

    class Slices(Dataset[dict[str, Any]]):
        def __init__(self) -> None:
            self.names = names(options)

        def __len__(self) -> int:
            return len(self.names)

        def __getitem__(self, index: int) -> dict[str, Any]:
            pair = [
                np.asarray(Image.open(options.data / part / self.names[index])) / 255.0
                for part in ("images", "labels")
            ]
            top, left = (random.randint(0, side - options.size) for side in pair[0].shape)
            pair = [array[top : top + options.size, left : left + options.size] for array in pair]
            for axis in (0, 1):
                if random.random() > 0.5:
                    pair = [np.flip(array, axis) for array in pair]
            image, label = (torch.from_numpy(array.astype(np.float32)[np.newaxis].copy()) for array in pair)
            return {"input": (image - 0.5) / 0.5, "label": label}

    return DataLoader(Slices(), batch_size=options.batch, shuffle=True, num_workers=0)


def ram_batches(options: argparse.Namespace) -> Callable[[], Iterator[dict[str, Any]]]:
    """unet_exp's own loader, so that two loops differ by nothing else."""
    parts = own_parts(options)[1]
    epochs = iter(range(10**9))
    return lambda: parts.train.epoch(next(epochs))


def bare(options: argparse.Namespace, same: bool) -> Epoch:
    """Forward, backward, update, nothing else; data from RAM, for whole runs as the lecture reads it."""
    import torch
    from torch import nn

    settings = Settings(same)
    lectures = lecture_loader(options)
    batches = ram_batches(options) if not options.epochs else lambda: iter(lectures)
    model, loss_of = settings.put(network(options)), nn.BCEWithLogitsLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, **settings.adam)

    def epoch() -> None:
        model.train()
        for batch in batches():
            image, label = (settings.place.to_device(batch[key]) for key in ("input", "label"))
            with settings.place.autocast():
                logits = model(image).float()
            loss_of(logits, label).backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            after_step(options)

    return epoch


def lecture(options: argparse.Namespace, folder: Path) -> Epoch:
    """The lecture's loop: loss and three pictures of every batch to TensorBoard, a checkpoint each epoch."""
    import torch
    from torch import nn
    from torch.utils.tensorboard import SummaryWriter

    settings = Settings(same=False)
    batches, model = lecture_loader(options), settings.put(network(options))
    loss_of, optimizer = nn.BCEWithLogitsLoss(), torch.optim.Adam(model.parameters(), lr=1e-3)
    writer, counted = SummaryWriter(str(folder)), [0]

    def to_numpy(tensor: Any) -> np.ndarray:
        return np.asarray(tensor.to("cpu").detach().numpy().transpose(0, 2, 3, 1))

    def epoch() -> None:
        model.train()
        losses = []
        for batch in batches:
            label, image = batch["label"].to(settings.device), batch["input"].to(settings.device)
            output = model(image)
            optimizer.zero_grad()
            loss = loss_of(output, label)
            loss.backward()
            optimizer.step()
            losses += [loss.item()]
            counted[0] += 1
            for tag, picture in (
                ("label", to_numpy(label)),
                ("input", to_numpy(image) * 0.5 + 0.5),
                ("output", 1.0 * (to_numpy(output) > 0.5)),
            ):
                writer.add_images(tag, picture, counted[0], dataformats="NHWC")
            after_step(options)
        writer.add_scalar("loss", np.mean(losses), counted[0])
        torch.save({"net": model.state_dict(), "optim": optimizer.state_dict()}, folder / "model.pth")

    return epoch


def monai_loader(options: argparse.Namespace) -> Any:
    """MONAI's dictionary transforms and CacheDataset, as its tutorials have them."""
    from monai.data import CacheDataset, DataLoader
    from monai.transforms import (
        Compose,
        EnsureChannelFirstd,
        LoadImaged,
        RandAxisFlipd,
        RandSpatialCropd,
        ScaleIntensityd,
    )

    keys, size = ["input", "label"], (options.size, options.size)
    files = [
        {"input": str(options.data / "images" / name), "label": str(options.data / "labels" / name)}
        for name in names(options)
    ]
    transform = Compose(
        [
            LoadImaged(keys),
            EnsureChannelFirstd(keys),
            ScaleIntensityd(keys),
            RandSpatialCropd(keys, size, random_size=False),
            RandAxisFlipd(keys, prob=0.5),
        ]
    )
    dataset = CacheDataset(files, transform, progress=False)
    return DataLoader(dataset, batch_size=options.batch, shuffle=True, num_workers=0)


def monai(options: argparse.Namespace, folder: Path, same: bool) -> Epoch:
    """A loop as in MONAI's 2D segmentation tutorials: cached data, Dice metric, loss of every step."""
    import torch
    from monai.data import decollate_batch
    from monai.metrics import DiceMetric
    from monai.transforms import Activations, AsDiscrete, Compose
    from torch import nn
    from torch.utils.tensorboard import SummaryWriter

    settings = Settings(same)
    batches, model = monai_loader(options), settings.put(network(options))
    loss_of, optimizer = nn.BCEWithLogitsLoss(), torch.optim.Adam(model.parameters(), 1e-3, **settings.adam)
    writer, counted = SummaryWriter(str(folder)), [0]
    metric, after = DiceMetric(), Compose([Activations(sigmoid=True), AsDiscrete(threshold=0.5)])

    def epoch() -> None:
        model.train()
        for batch in batches:
            image, label = (settings.place.to_device(batch[key]) for key in ("input", "label"))
            optimizer.zero_grad()
            with settings.place.autocast():
                output = model(image).float()
            loss = loss_of(output, label)
            loss.backward()
            optimizer.step()
            metric(y_pred=[after(one) for one in decollate_batch(output.detach())], y=decollate_batch(label))
            counted[0] += 1
            writer.add_scalar("train_loss", loss.item(), counted[0])
            after_step(options)
        writer.add_scalar("train_dice", metric.aggregate().item(), counted[0])
        metric.reset()
        torch.save(model.state_dict(), folder / "model.pth")

    return epoch


def lightning(options: argparse.Namespace, folder: Path, same: bool) -> None:
    """pytorch-lightning's Trainer at its defaults (TensorBoard or CSV logger, a checkpoint each epoch)."""
    import logging
    import warnings

    import pytorch_lightning as pl
    import torch
    from torch import nn

    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    settings = Settings(same)

    class Net(pl.LightningModule):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.net, self.loss = settings.put(network(options)), nn.BCEWithLogitsLoss()

        def training_step(self, batch: dict[str, Any], index: int) -> Any:
            image = settings.place.to_device(batch["input"])
            loss = self.loss(self.net(image).float(), batch["label"])
            self.log("train_loss", loss, prog_bar=False)
            return loss

        def configure_optimizers(self) -> Any:
            return torch.optim.Adam(self.parameters(), lr=1e-3, **settings.adam)

    class Epochs(pl.Callback):  # type: ignore[misc]
        def on_train_epoch_start(self, trainer: Any, module: Any) -> None:
            ask(options)
            self.started = time.perf_counter()

        def on_train_batch_end(self, trainer: Any, module: Any, *rest: Any) -> None:
            after_step(options)

    class Ends(pl.callbacks.ModelCheckpoint):  # type: ignore[misc]
        """The usual checkpoint, after which the epoch counts as over."""

        def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
            super().on_train_epoch_end(trainer, module)
            answer(options, time.perf_counter() - epochs.started)

    epochs = Epochs()
    trainer = pl.Trainer(
        max_epochs=options.epochs or -1,
        default_root_dir=str(folder),
        callbacks=[epochs, Ends()],
        enable_progress_bar=False,
        enable_model_summary=False,
        accelerator="auto",
        devices=1,
        precision="bf16-mixed" if settings.precision == "bf16" else "32-true",
    )
    trainer.fit(Net(), lecture_loader(options))


def own_settings(options: argparse.Namespace) -> list[str]:
    """Overrides for the same files, crops, flips, network and loss; the last image validates."""
    return [
        "data=image_folder",
        f"data.root={options.data}",
        "data.split.train=rest",
        "data.split.val=1",
        "data.split.test=0",
        f"batch_size={options.batch}",
        f"model.base_channels={options.base}",
        "loss=bce",
        "transform=crop",
        f"transform.train.crop.size={options.size}",
        "++transform.train.rotate90=null",
    ]


def own_parts(options: argparse.Namespace, more: Sequence[str] = ()) -> tuple[Any, Any]:
    """unet_exp's config and parts."""
    from hydra import compose, initialize_config_dir

    from unet_exp.config.hydra_hooks import register
    from unet_exp.config.resolve import check
    from unet_exp.training import build, setup

    without_bf16()
    register()
    overrides = [
        *own_settings(options),
        "epochs=100000",
        "trainer.log_every=0",
        "trainer.validate_every=100000",
        *more,
    ]
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        config = setup.settle_machine(check(compose("config", overrides=overrides)))
    data = setup.read_samples(config, setup.find_items(config))
    config = setup.settle_data(config, data)
    return config, build.build_parts(config, data)


def own(options: argparse.Namespace, folder: Path) -> Epoch:
    """unet_exp as it is: fit() with tables, TensorBoard, hashes and checkpoints; without validation."""
    from unet_exp.rundir.signals import Stop
    from unet_exp.training import loop, setup
    from unet_exp.training.checkpoint import Checkpoints
    from unet_exp.training.state import State, Sums
    from unet_exp.training.tracker import Tracker

    config, parts = own_parts(options)
    setup.prepare_torch(config)
    (folder / "checkpoints").mkdir()
    state, stop = State(Sums(2), config.epochs), Stop()
    tracker = Tracker(folder, config, state, (0.5, 0.5))
    checkpoints = Checkpoints(folder / "checkpoints", "", 3)

    def epoch() -> None:
        stop.after_epoch = state.epoch + 1
        loop.fit(parts, config, state, tracker, checkpoints, stop)

    return epoch


def own_command(options: argparse.Namespace, folder: Path) -> None:
    """python run.py, which ends after its first update."""
    import runpy

    from unet_exp.training import loop

    update = loop.optimizer_step

    def first_update(*arguments: Any) -> None:
        update(*arguments)
        after_step(options)

    loop.optimizer_step = first_update  # type: ignore[assignment]
    sys.argv = ["run.py", *own_settings(options), f"hydra.run.dir={folder}/run"]
    runpy.run_path(str(ROOT / "run.py"), run_name="__main__")


def ask(options: argparse.Namespace) -> None:
    """Wait for the word to run an epoch; without one tell the peak memory and end."""
    if options.epochs or sys.stdin.readline().strip() == "epoch":
        return
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():  # of the GPU
        peak = torch.cuda.max_memory_allocated() / 2**20
    print(json.dumps({"peak_mib": peak}), flush=True)
    os._exit(0)


def answer(options: argparse.Namespace, seconds: float) -> None:
    if not options.epochs:
        print(json.dumps({"seconds": seconds}), flush=True)


def after_step(options: argparse.Namespace) -> None:
    """In the benchmark of the start-up: the first update is done, as many seconds after `options.began`."""
    if options.began:
        print(json.dumps({"first_step": time.time() - options.began}), flush=True)
        os._exit(0)


ARMS: dict[str, Callable[[argparse.Namespace, Path], Epoch]] = {
    "plain": lambda options, folder: bare(options, same=False),
    "bare, same": lambda options, folder: bare(options, same=True),
    "lecture": lecture,
    "MONAI": lambda options, folder: monai(options, folder, same=False),
    "MONAI, same": lambda options, folder: monai(options, folder, same=True),
    "unet_exp": own,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--arm", required=True, choices=[*ARMS, "Lightning", "Lightning, same", "run.py"])
    parser.add_argument("--data", type=Path, required=True, help="images/ and labels/")
    parser.add_argument("--base", type=int, default=16)
    parser.add_argument("--size", type=int, default=256, help="of the crop")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=0, help="run so many; 0: one for each line on stdin")
    parser.add_argument(
        "--began", type=float, default=0.0, help="time.time() of the start: end after an update"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.arm.startswith("Lightning"):
            lightning(options, folder, same=options.arm.endswith("same"))
            return
        if options.arm == "run.py":
            own_command(options, folder)
            return
        epoch = ARMS[options.arm](options, folder)
        for _ in range(options.epochs or 10**9):
            ask(options)
            started = time.perf_counter()
            epoch()
            answer(options, time.perf_counter() - started)


if __name__ == "__main__":
    main()
