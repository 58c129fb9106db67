"""What a run tells: console lines, metrics.csv and TensorBoard. The only place that knows TensorBoard.

metrics.csv is the truth, written whole every epoch; TensorBoard is a view of the same numbers.
"""

import csv
import io
import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from unet_exp import runs
from unet_exp.metrics.confusion import predict_classes

log = logging.getLogger(__name__)
TAGS = {"train": "TRAIN", "val": "VALID"}
TENSORBOARD_SCALARS = ("loss", "dice", "iou", "lr", "images_per_second")


def fn_tonumpy(x: Tensor) -> np.ndarray:
    """The lecture's helper: tensor N x C x H x W to array N x H x W x C."""
    return x.detach().float().cpu().numpy().transpose(0, 2, 3, 1)


def fn_denorm(x: np.ndarray, mean: float, std: float) -> np.ndarray:
    """The lecture's helper: undo Normalization."""
    return x * std + mean


def fn_class(logits: Tensor) -> Tensor:
    """Class indices of logits, float N x 1 x H x W.

    The lecture thresholds the logits themselves at 0.5, which is a probability of 0.62; here the
    threshold 0.5 is one of the probability, sigmoid(logit), so a logit of 0.
    """
    return predict_classes(logits).float()


class Tracker:
    """Writers of one run. Counts of epochs and batches start at 1 in everything shown.

    first_epoch: epochs finished before this start, and within_epoch: whether one had begun; later rows and
    events of an earlier start are dropped.
    """

    def __init__(
        self,
        run_dir: Path,
        classes: list[str],
        epochs: int,
        log_every: int,
        images_every: int,
        images_max: int,
        images_each_batch: bool,
        denorm: tuple[float, float],
        validate_every: int = 1,
        first_epoch: int = 0,
        within_epoch: bool = False,
    ) -> None:
        self.metrics_path = run_dir / runs.METRICS
        self.classes, self.epochs, self.denorm = classes, epochs, denorm
        self.log_every, self.images_every = log_every, images_every
        self.images_max, self.images_each_batch = images_max, images_each_batch
        self.rows = read_rows(self.metrics_path, first_epoch)
        self.every = {"train": 1, "val": validate_every}
        # Pictures of every batch count batches, not epochs, and would be purged too.
        resumed = (first_epoch or within_epoch) and not images_each_batch
        purge = first_epoch + 1 + within_epoch if resumed else None
        self.writers = {
            split: SummaryWriter(str(run_dir / runs.TENSORBOARD / split), purge_step=purge) for split in TAGS
        }

    def columns(self) -> list[str]:
        each = [f"{metric}_{name}" for metric in ("dice", "iou") for name in self.classes]
        return ["epoch", "step", "split", "loss", "dice", "iou", *each, "lr", "seconds", "images_per_second"]

    @contextmanager
    def progress(
        self, batches: Iterable[Any], split: str, epoch: int, total: int, done: int = 0
    ) -> Iterator[Any]:
        """A bar over batches on a terminal, nothing when piped; log lines stay above it."""
        bar = tqdm(
            batches,
            f"{TAGS[split]} {epoch}/{self.epochs}",
            total,
            initial=done,
            leave=False,
            disable=None,
            ncols=79,
        )
        with logging_redirect_tqdm(tqdm_class=tqdm), bar:
            yield bar

    def batch(self, split: str, epoch: int, batch: int, total: int, loss: float) -> None:
        """The lecture's line: loss is the mean of the epoch so far."""
        if self.log_every and (batch % self.log_every == 0 or batch == total):
            log.info(
                "%s: EPOCH %04d / %04d | BATCH %04d / %04d | LOSS %.4f",
                TAGS[split], epoch, self.epochs, batch, total, loss,
            )  # fmt: skip

    def wants_images(self, split: str, epoch: int, batch: int) -> bool:
        """Every batch as in the lecture, or the first batch of the first pass and of a pass in which
        another images_every epochs are full (validation may come less often than that)."""
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
        highest = max(len(self.classes) - 1, 1)
        pictures = {
            "label": fn_tonumpy(label[:most]) / highest,
            "input": picture(fn_denorm(fn_tonumpy(image[:most]), *self.denorm)),
            "output": fn_tonumpy(fn_class(logits[:most])) / highest,
        }
        for tag, array in pictures.items():
            self.writers[split].add_images(tag, array, step, dataformats="NHWC")

    def epoch(
        self, split: str, epoch: int, step: int, metrics: dict[str, float], lr: float, seconds: float
    ) -> None:
        """One row of metrics.csv and the same numbers as TensorBoard scalars at this epoch."""
        row = {**metrics, "epoch": epoch, "step": step, "split": split, "lr": lr, "seconds": seconds}
        self.rows.append({name: as_text(row[name]) for name in self.columns()})
        for tag in TENSORBOARD_SCALARS:
            self.writers[split].add_scalar(tag, row[tag], epoch)

    def end_epoch(
        self, epoch: int, train: dict[str, float], val: dict[str, float] | None, lr: float, best: bool
    ) -> None:
        """Write metrics.csv, flush TensorBoard, and say the epoch in one line."""
        text = io.StringIO()
        writer = csv.DictWriter(text, self.columns(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        runs.write_text(self.metrics_path, text.getvalue())
        for events in self.writers.values():
            events.flush()
        shown = "" if val is None else f" val {val['loss']:.4f} dice {val['dice']:.4f} iou {val['iou']:.4f}"
        log.info(  # within 80 columns
            "epoch %d/%d train %.4f%s lr %.1e %.0f img/s%s",
            epoch, self.epochs, train["loss"], shown, lr, train["images_per_second"], " *" if best else "",
        )  # fmt: skip

    def hparams(self, knobs: dict[str, Any]) -> None:
        """The run's settings beside its val scalars, so that TensorBoard compares runs of a sweep."""
        events: Any = self.writers["val"].file_writer
        for summary in hparams(knobs, dict.fromkeys(("loss", "dice", "iou"), 0.0)):  # type: ignore[no-untyped-call]
            events.add_summary(summary)

    def close(self) -> None:
        for events in self.writers.values():
            events.close()


def picture(array: np.ndarray) -> np.ndarray:
    """N x H x W x C in [0, 1] with 1 or 3 channels, which is what TensorBoard draws."""
    channels = array.shape[3] if array.shape[3] in (1, 3) else min(array.shape[3], 3) // 3 * 2 + 1
    clipped: np.ndarray = np.clip(array[..., :channels], 0.0, 1.0)
    return clipped


def as_text(value: Any) -> str:
    """Numbers as Python writes them, so that reading gives the same float again."""
    return repr(value) if isinstance(value, float) else str(value)


def read_rows(path: Path, last_epoch: int) -> list[dict[str, str]]:
    """Rows of an earlier start up to an epoch; a torn last line is left out."""
    if not path.exists():
        return []
    with open(path, newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if None not in row.values()]
    return [row for row in rows if int(row["epoch"]) <= last_epoch]
