"""What exactness costs a step: this loop against the same one without checkpoints, tables and hashes.

    python benchmarks/exactness_overhead.py                  # about 3 minutes on two cores

Arms take turns by epochs in one process, on the built-in data with the default network and batches of 4:
"plain" (forward, backward, update, sums of the scores), "exact" (fit: also steps.csv, hash of the weights,
metrics.csv, TensorBoard scalars, last.pt after each epoch), and "exact, not deterministic". Prints medians of
seconds per step and of the ratios to plain. Validation is left out of all.
"""

import argparse
import dataclasses
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from hydra import compose, initialize_config_dir

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from unet_exp.config.hydra_hooks import register
from unet_exp.config.resolve import check
from unet_exp.config.schema import Config
from unet_exp.rundir.signals import Stop
from unet_exp.training import build, loop, machine, setup
from unet_exp.training.checkpoint import Checkpoints
from unet_exp.training.parts import Parts
from unet_exp.training.state import State, Sums
from unet_exp.training.tracker import Tracker


def prepared(images: int) -> tuple[Config, Parts]:
    register()
    overrides = [
        "epochs=1000",
        "trainer.validate_every=1000",
        "trainer.images_every=0",
        "trainer.log_every=0",
        f"data.split.train={images}",
        "data.split.test=0",
    ]
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        config = setup.settle_machine(check(compose("config", overrides=overrides)))
    machine.set_up(config.seed, True, int(config.threads))
    data = setup.read_samples(config, setup.find_items(config))
    config = setup.settle_data(config, data)
    return config, build.build_parts(config, data)


def plain_epoch(parts: Parts, epoch: int) -> None:
    parts.model.train()
    sums = Sums(len(parts.class_names))
    for batch in parts.train.epoch(epoch):
        image = parts.precision.to_device(batch["input"])
        with parts.precision.autocast():
            logits = parts.model(image).float()
        label = parts.precision.to_device(batch["label"])
        loss = parts.loss(logits, label)
        loss.backward()
        sums.add(loss.item(), len(image), loop.counts(logits, label, parts))
        parts.optimizer.step()
        parts.optimizer.zero_grad(set_to_none=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--epochs", type=int, default=20, help="for each arm")
    parser.add_argument("--images", type=int, default=96, help="per epoch")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    config, parts = prepared(options.images)
    steps = len(parts.train)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "checkpoints").mkdir()
        checkpoints = Checkpoints(Path(folder) / "checkpoints", "", 3)
        state, stop = State(Sums(2), config.epochs), Stop()
        tracker = Tracker(Path(folder), config, state, (0.5, 0.5))

        def exact_epoch(deterministic: bool) -> None:
            machine.set_up(config.seed, deterministic, int(config.threads))
            stop.after_epoch = state.epoch + 1
            loop.fit(parts, config, state, tracker, checkpoints, stop)

        arms: dict[str, Callable[[int], None]] = {
            "plain": lambda epoch: plain_epoch(parts, epoch),
            "exact": lambda epoch: exact_epoch(True),
            "exact, not deterministic": lambda epoch: exact_epoch(False),
        }
        seconds: dict[str, list[float]] = {name: [] for name in arms}
        with closing(tracker), closing(checkpoints):
            for epoch in range(options.epochs + 1):  # the first warms up
                for name, arm in arms.items():
                    started = time.perf_counter()
                    arm(epoch)
                    if epoch:
                        seconds[name].append((time.perf_counter() - started) / steps)
    rows = {
        name: {
            "seconds_per_step": statistics.median(values),
            "ratio": statistics.median(v / p for v, p in zip(values, seconds["plain"], strict=True)),
        }
        for name, values in seconds.items()
    }
    print("| loop | seconds a step | ratio to plain |\n|---|---|---|")
    for name, row in rows.items():
        print(f"| {name} | {row['seconds_per_step']:.4f} | {row['ratio']:.3f} |")
    if options.json:
        options.json.write_text(
            json.dumps({"config": dataclasses.asdict(config), "rows": rows}, indent=2) + "\n"
        )


if __name__ == "__main__":
    main()
