"""What a run tells: console lines, metrics.csv and TensorBoard. The only place that knows TensorBoard.

metrics.csv is the truth, written whole every epoch; TensorBoard is a view of the same numbers. What a clock
says is apart, in timing.csv, so that metrics.csv and steps.csv of equal runs are equal byte by byte.
"""

import dataclasses
import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from unet_exp.config.label_map import Colour, label_map, palette
from unet_exp.config.schema import OBJECT_SCORES, Config
from unet_exp.data.stats import displayed
from unet_exp.messages import counted, write_to_log
from unet_exp.metrics.confusion import NAMES, predict_classes, shown
from unet_exp.rundir import atomic, layout
from unet_exp.rundir.tables import Recorded, Row, StepLog, as_text, read_table, write_table
from unet_exp.training.image_scores import ImageLog
from unet_exp.training.pace import Pace
from unet_exp.training.state import State

log = logging.getLogger(__name__)
TAGS = {"train": "TRAIN", "val": "VALID"}
TIMING_COLUMNS = ["epoch", "step", "split", "seconds", "images_per_second"]
BEST_SCALARS = ("dice", "iou", "loss")  # beside trainer.monitor, for HPARAMS
TENSORBOARD_SCALARS = ("loss", "dice", "iou", "lr", "images_per_second")


def fn_tonumpy(x: Tensor) -> np.ndarray:
    """The lecture's helper: tensor N x C x H x W to array N x H x W x C."""
    return x.detach().float().cpu().numpy().transpose(0, 2, 3, 1)


def fn_denorm(x: np.ndarray, mean: Any, std: Any) -> np.ndarray:
    """The lecture's helper: undo Normalization."""
    return np.asarray(x * np.asarray(std) + np.asarray(mean))


def fn_class(logits: Tensor) -> Tensor:
    """Class indices of logits, float N x 1 x H x W.

    The lecture has the threshold 0.5 of the logit, a probability of 0.62; here it is of the probability.
    """
    return predict_classes(logits).float()


class Tracker:
    """Writers of one run. Counts of epochs and batches start at 1 in everything shown.

    state: how far an earlier start came; what it wrote beyond that is dropped. denorm: mean and std that undo
    the normalisation. expected: rows of a run that this one replays; the first that is another raises
    tables.Difference. silent: of a rank other than 0, which tells and writes nothing.
    """

    def __init__(
        self,
        run_dir: Path,
        config: Config,
        state: State,
        denorm: tuple[Any, Any],
        expected: Recorded | None = None,
        silent: bool = False,
    ) -> None:
        self.silent = silent
        self.epochs = config.epochs
        if silent:
            return
        trainer = config.trainer
        self.pace = Pace(config, state.seconds)
        self.metrics_path = run_dir / layout.METRICS
        self.timing_path = run_dir / layout.TIMING
        self.others = [*config.metrics, *OBJECT_SCORES * (config.data.labels_are != "classes")]
        self.palette = palette(label_map(config.data))
        self.classes = config.data.classes
        self.denorm = denorm
        self.best_tags = list(dict.fromkeys((trainer.monitor, *BEST_SCALARS)))
        self.log_every = trainer.log_every
        self.print_steps = trainer.print_steps
        self.images_every = trainer.images_every
        self.images_max = trainer.images_max
        self.images_each_batch = trainer.images_each_batch
        self.rows = rows_until(self.metrics_path, state.epoch)
        self.timing = rows_until(self.timing_path, state.epoch)
        self.steps = StepLog(run_dir / layout.STEPS, state.step)
        self.image_log = ImageLog(run_dir, trainer.monitor, state.epoch)
        self.expected = expected
        self.every = {"train": 1, "val": trainer.validate_every}
        # Pictures of every batch count batches, not epochs, and would be purged too.
        resumed = state.step > 0 and not trainer.images_each_batch
        purge = state.epoch + 1 + (state.batch_in_epoch > 0) if resumed else None
        self.tensorboard = run_dir / layout.TENSORBOARD
        self.writers = {
            split: SummaryWriter(str(self.tensorboard / split), purge_step=purge) for split in TAGS
        }
        self.hparams(config)

    def columns(self) -> list[str]:
        of_classes = [f"{metric}_{name}" for metric in NAMES for name in self.classes]
        return ["epoch", "step", "split", "loss", *NAMES, *of_classes, *self.others, "lr"]

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Inside, TensorBoard's trouble with the disk is a CheckpointError."""
        try:
            yield
        except OSError as error:
            raise atomic.cannot_write(self.tensorboard, error) from error

    @contextmanager
    def progress(
        self, batches: Iterable[Any], split: str, epoch: int, total: int, done: int = 0
    ) -> Iterator[Any]:
        """A bar over batches on a terminal, nothing when piped; log lines stay above it."""
        self.bar = tqdm(
            batches,
            f"{TAGS[split]} {epoch}/{self.epochs}",
            total,
            initial=done,
            leave=False,
            disable=True if self.silent else None,
            ncols=79,
            bar_format="{desc} {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{rate_fmt}{postfix}]",
        )
        self.show_time_left(split, epoch - 1 + done / total)
        self.bar.refresh()
        with logging_redirect_tqdm(tqdm_class=tqdm), self.bar:
            yield self.bar

    def show_time_left(self, split: str, epochs: float) -> None:
        """On the bar: of the whole run. epochs: done so far, with the share of the one under way."""
        if self.silent:
            return
        if split == "train":
            self.pace.reached(epochs)
        left = self.pace.left()
        self.bar.set_postfix_str(f"run: {left}" if left else "", refresh=False)

    def batch(self, split: str, epoch: int, batch: int, total: int, loss: float) -> None:
        """The lecture's line, printed or in run.log alone: loss is the mean of the epoch so far."""
        if self.silent:
            return
        self.show_time_left(split, epoch - 1 + batch / total)
        if self.log_every and (batch % self.log_every == 0 or batch == total):
            place = f"EPOCH {epoch:04d} / {self.epochs:04d} | BATCH {batch:04d} / {total:04d}"
            (log.info if self.print_steps else write_to_log)(f"{TAGS[split]}: {place} | LOSS {loss:.4f}")

    def wants_images(self, split: str, epoch: int, batch: int) -> bool:
        """Every batch as in the lecture, or the first batch of the first pass and of a pass in which
        another images_every epochs are full (validation may come less often than that)."""
        if self.silent:
            return False
        if self.images_each_batch or not self.images_every:
            return self.images_each_batch
        before = epoch - self.every[split]
        return batch == 1 and (before <= 0 or epoch // self.images_every > before // self.images_every)

    def images(
        self, split: str, epoch: int, batch: int, total: int, image: Tensor, label: Tensor, logits: Tensor
    ) -> None:
        """label, input (denormalised) and output (its classes) as NHWC pictures."""
        step = total * (epoch - 1) + batch if self.images_each_batch else epoch
        most = None if self.images_each_batch else self.images_max
        pictures = {
            "label": in_palette(fn_tonumpy(label[:most]), self.palette),
            "input": np.stack([displayed(one) for one in fn_denorm(fn_tonumpy(image[:most]), *self.denorm)]),
            "output": in_palette(fn_tonumpy(fn_class(logits[:most])), self.palette),
        }
        with self.writing():
            for tag, array in pictures.items():
                self.writers[split].add_images(tag, array, step, dataformats="NHWC")

    def step(self, epoch: int, step: int, loss: float, lr: float, weights: str) -> None:
        """A line of steps.csv: the mean loss of the step's samples; at an epoch's end the weights' hash."""
        if self.silent:
            return
        row = {"step": str(step), "epoch": str(epoch), "loss": repr(loss), "lr": repr(lr), "weights": weights}
        self.steps.add(row)
        if self.expected is not None:
            self.expected.meet(f"epoch {epoch}, step {step}", self.expected.steps.get(step), row)

    def flush(self) -> None:
        """Put steps.csv on disk: a checkpoint must not know more than it."""
        if not self.silent:
            self.steps.flush()

    def epoch(
        self, split: str, epoch: int, step: int, metrics: dict[str, float], lr: float, seconds: float
    ) -> None:
        """A row of metrics.csv and of timing.csv; the same numbers as TensorBoard scalars at this epoch."""
        if self.silent:
            return
        row = {**metrics, "epoch": epoch, "step": step, "split": split, "lr": lr, "seconds": seconds}
        self.rows.append({name: as_text(row.get(name, "")) for name in self.columns()})
        self.timing.append({name: as_text(row[name]) for name in TIMING_COLUMNS})
        if self.expected is not None:
            before = self.expected.metrics.get((split, epoch))
            self.expected.meet(f"epoch {epoch}, {split}, in the scores", before, self.rows[-1])
        with self.writing():
            for tag in (*TENSORBOARD_SCALARS, *self.others):
                if tag in row:
                    self.writers[split].add_scalar(tag, row[tag], epoch)

    def images_scored(self, epoch: int, step: int, rows: list[dict[str, Any]], best: bool) -> None:
        if not self.silent:  # before a checkpoint can know of it
            self.image_log.add(epoch, step, rows, best)

    def end_epoch(
        self, epoch: int, train: dict[str, float], val: dict[str, float] | None, lr: float, best: bool
    ) -> None:
        """Write metrics.csv and timing.csv, flush TensorBoard, and say the epoch in one line."""
        if self.silent:
            return
        write_table(self.metrics_path, self.columns(), self.rows)
        write_table(self.timing_path, TIMING_COLUMNS, self.timing)
        with self.writing():
            if best and val is not None:
                for tag in self.best_tags:
                    self.writers["val"].add_scalar(f"best/{tag}", val[tag], epoch)
            for events in self.writers.values():
                events.flush()
        of_val = "" if val is None else f" val {val['loss']:.4f} dice {shown(val['dice'])}"
        rate = train["images_per_second"]
        self.pace.reached(epoch)
        left = self.pace.left()
        log.info(  # within 80 columns
            "epoch %d/%d train %.4f%s%s lr %s %s img/s%s",
            epoch,
            self.epochs,
            train["loss"],
            of_val,
            "*" if best else "",
            f"{lr:.1e}".replace(".0e", "e").replace("e-0", "e-"),
            f"{rate:.0f}" if rate >= 9.95 else f"{rate:.1f}",
            f" {left}" if left else "",
        )

    def hparams(self, config: Config) -> None:
        """The run's settings and the scores of its best validation, as in the table of a sweep.

        TensorBoard shows the newest value of each tag, so best/... are written at a new best only.
        """
        events: Any = self.writers["val"].file_writer
        metrics = dict.fromkeys((f"best/{tag}" for tag in self.best_tags), 0.0)
        with self.writing():
            for summary in hparams(knobs_of(config), metrics):  # type: ignore[no-untyped-call]
                events.add_summary(summary)

    def close(self) -> None:
        if self.silent:
            return
        self.steps.close()
        self.image_log.close()
        for events in self.writers.values():
            with suppress(OSError):  # a full disk, an error of writing() already
                events.close()


def in_palette(indices: np.ndarray, colours: Sequence[Colour]) -> np.ndarray:
    """N x H x W x 1 class indices in [0, 1]: one channel for black and white, else three; ignored: grey."""
    table = np.full((256, 3), 0.5)
    table[: len(colours)] = np.array(colours) / 255
    pixels = table[indices[..., 0].astype(np.uint8)]
    return np.asarray(pixels[..., :1] if (pixels == pixels[..., :1]).all() and len(colours) == 2 else pixels)


def rows_until(path: Path, last_epoch: int) -> list[Row]:
    """Rows of an earlier start up to an epoch, with a notice if some of them are gone."""
    rows = [row for row in read_table(path) if int(row["epoch"]) <= last_epoch]
    lacking = last_epoch - len({row["epoch"] for row in rows})
    if lacking:
        log.warning("%s lacks %d of %s", path.name, lacking, counted(last_epoch, "epoch"))
    return rows


def knobs_of(config: Config) -> dict[str, Any]:
    """The knobs people compare in TensorBoard: the typed ones and what was chosen of each group."""
    nodes = {group: getattr(config, group) for group in ("model", "loss", "optimizer", "scheduler")}
    chosen = {group: str(node["_target_"]).rpartition(".")[2] for group, node in nodes.items()}
    knobs = {key: getattr(config, key) for key in ("lr", "batch_size", "epochs", "seed", "device")}
    chosen["loss_function"] = chosen.pop("loss")  # "loss" is the metric's name there
    trainer = dataclasses.asdict(config.trainer)
    nodes["trainer"] = {key: trainer[key] for key in ("precision", "accumulate", "clip_norm", "ema_decay")}
    details = {
        f"{group}.{key}": value if isinstance(value, (int, float, str, bool)) else str(value)
        for group, node in nodes.items()
        for key, value in node.items()
        if key != "_target_"
    }
    steps = ",".join(config.transform["train"])
    return {**knobs, **chosen, "data": config.data.kind, "transform": steps, **details}
