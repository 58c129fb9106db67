"""Every knob: its type, default, meaning and range. Standard library only, so every room may use it.

OmegaConf reads these dataclasses as the typed schema, `config.check` reads the rules in the field
metadata, and the table of docs/configs.md is tested against them. A field is written once, here; conf/ holds
what differs between named options. `"???"` is OmegaConf's mark for "given in conf/config.yaml".
"""

from copy import deepcopy
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

MAY_CHANGE = "may change"  # knob(..., on_resume=MAY_CHANGE)
IGNORE = 255  # the class index of pixels that count nowhere: in no loss and in no score
SPLIT = "{split}"  # in a path of TEMPLATES: the name of a part, such as val or validation
TEMPLATES = {  # data.kind -> the knobs of DataConfig that name its files, which may hold {split}
    "image_folder": ("images", "labels"),
    "tiff_stack": ("image_stack", "label_stack"),
    "csv": ("csv",),
    "npy_folder": (),
    "membranes": (),
}


def knob(default: Any, help: str, **rules: Any) -> Any:
    """A dataclass field with its meaning and rules (minimum, above, maximum, below, choices, path).

    on_resume=MAY_CHANGE: `resume=` may give it another value, which the run then keeps for its later starts.
    Without it a run that is continued keeps what it was started with.
    """
    metadata = {"help": help, **rules}
    if isinstance(default, (list, dict)):
        return field(default_factory=lambda: deepcopy(default), metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass
class SplitConfig:
    """Which samples train, validate and test."""

    mode: str = knob(
        "auto",
        "folders (train/ val/ test/, or {split} in the paths), blocks (contiguous, sorted by name), random, "
        "listed (by name), column (split of a csv list); auto: folders or column where there are such, else "
        "blocks",
        choices=["auto", "folders", "blocks", "random", "listed", "column"],
    )
    train: Any = knob("rest", "a count, a fraction below 1, rest, or a list of names (with * and ?)")
    val: Any = knob(0.2, "as train")
    test: Any = knob(0, "as train")
    seed: int = knob(0, "of mode=random", minimum=0)
    group: str | None = knob(
        None,
        "a regex whose first group, found in a sample's name, keeps samples together (a patient, a film)",
    )


@dataclass
class DataConfig:
    """data=membranes, npy_folder, image_folder, csv, tiff_stack, isbi2012, ..."""

    kind: str = knob(
        "image_folder",
        "how the data lies on disk; membranes is drawn, not read",
        choices=["membranes", "npy_folder", "image_folder", "csv", "tiff_stack"],
    )
    root: str | None = knob(None, "the folder with the data", path=True, on_resume=MAY_CHANGE)
    classes: list[str] = knob(
        ["background", "foreground"], "names of the classes, in the order of their index"
    )
    label_map: Any = knob(
        None,
        "file value or colour: class name or ignore, as {0: cell, 255: ignore} or {0-0-0: sky, 9-9-9: tree}; "
        "null: the class indices themselves, for two classes also 0 and 255",
    )
    channels: str = knob(
        "stored",
        "grey and colour images together: grey (colours by their brightness) or rgb (grey three times), both "
        "without alpha; stored: as they are, all of them alike",
        choices=["stored", "grey", "rgb"],
    )
    images: str = knob(
        "images",
        "image_folder: folder of the images; {split} in it stands for train, val and test",
        on_resume=MAY_CHANGE,
    )
    labels: str = knob(
        "labels", "image_folder: folder of the labels; {split} as in data.images", on_resume=MAY_CHANGE
    )
    label_suffix: str = knob("", "image_folder: what a label's name has after the image's, such as _mask")
    pair_regex: str | None = knob(
        None,
        "image_folder: image and label belong together if the first group of this regex is equal in both "
        "names, with numbers compared as numbers (7 equals 007)",
    )
    csv: str = knob(
        "list.csv",
        "data=csv: the file in data.root with the columns image,label (split, group)",
        on_resume=MAY_CHANGE,
    )
    unlabelled: str = knob(
        "refuse",
        "images without a label: refuse them, or skip them and train on the others",
        choices=["refuse", "skip"],
    )
    image_stack: str = knob("train-volume.tif", "tiff_stack: file of the images", on_resume=MAY_CHANGE)
    label_stack: str = knob("train-labels.tif", "tiff_stack: file of the labels", on_resume=MAY_CHANGE)
    split: SplitConfig = field(default_factory=SplitConfig)
    folds: int | None = knob(
        None, "cut train and val into this many blocks, of which one validates", minimum=2
    )
    fold: int = knob(0, "which of data.folds validates, counted from 0", minimum=0)
    duplicates: str = knob(
        "refuse",
        "an image that is in train and in val, which flatters the score: refuse, or allow with a warning "
        "(blank tiles, whose pixels all have one value, are no duplicates)",
        choices=["refuse", "allow"],
    )
    window: int = knob(
        2048, "images higher or wider are validated in windows of this many pixels", minimum=64
    )
    size: int = knob(256, "membranes: height and width in pixels", minimum=32, maximum=4096)
    seed: int = knob(0, "membranes: which set is drawn", minimum=0)
    cache: str = knob(
        "auto",
        "ram: decode once, keep as stored; none: read every time; auto: ram up to cache_limit_mb",
        choices=["auto", "ram", "none"],
        on_resume=MAY_CHANGE,
    )
    cache_limit_mb: int = knob(
        2000, "largest split that cache=auto keeps in RAM, in MB", minimum=0, on_resume=MAY_CHANGE
    )
    fingerprint_limit_mb: int = knob(
        2000,
        "files larger than this together are fingerprinted by three blocks each, in MB",
        minimum=0,
        on_resume=MAY_CHANGE,
    )


@dataclass
class TrainerConfig:
    """trainer=default, debug, overfit: how the loop runs."""

    precision: str = knob(
        "auto",
        "auto: bf16 where the chip computes in it, else fp32",
        choices=["auto", "fp32", "bf16", "fp16"],
    )
    channels_last: bool | str = knob(
        "auto", "memory format NHWC; auto: on for CPU and CUDA", choices=["auto", True, False]
    )
    fused: bool | str = knob(
        "auto", "the optimizer's update as one kernel; auto: on CPU and CUDA, where torch has it",
        choices=["auto", True, False],
    )  # fmt: skip
    allocator: str = knob(
        "auto",
        "keep: freed memory stays with the process, which saves page faults (CPU, glibc); auto: keep where "
        "that can be had",
        choices=["auto", "keep", "system"],
        on_resume=MAY_CHANGE,
    )
    devices: int = knob(
        1, "processes that share each batch: GPUs, or on a CPU its cores", minimum=1, on_resume=MAY_CHANGE
    )
    sync_batchnorm: bool = knob(False, "batch statistics over all devices (GPUs only)")
    compile: bool = knob(False, "torch.compile the model (no promise of equal bits)")
    deterministic: bool = knob(True, "refuse operations whose result varies from run to run")
    accumulate: int = knob(1, "batches per optimizer update", minimum=1)
    clip_norm: float | None = knob(None, "largest norm of the gradient", above=0.0)
    ema_decay: float | None = knob(
        None, "validate and keep a moving average of the weights", above=0.0, below=1.0
    )
    monitor: str = knob(
        "dice",
        "validation metric that chooses best.pt: loss, dice, iou, precision, recall, the four also of one "
        "class (dice_<class>), or a name under metrics",
    )
    mode: str = knob(
        "auto",
        "is a larger or smaller monitor better; auto: min for loss, else max",
        choices=["auto", "min", "max"],
    )
    best_by: str = knob(
        "monitor",
        "best.pt is of the best validation by monitor, or of the last: for schedules that end at 0, where "
        "the best of many noisy validations is partly chance",
        choices=["monitor", "last"],
    )
    smoothing: float = knob(
        0.0,
        "best.pt is chosen by a moving average of monitor, in which the past has this share (nnU-Net: 0.9)",
        minimum=0.0,
        below=1.0,
    )
    early_stop: int | None = knob(
        None, "stop after this many validations without a best", minimum=1, on_resume=MAY_CHANGE
    )
    max_minutes: float | None = knob(
        None, "stop after the epoch that passes this", above=0.0, on_resume=MAY_CHANGE
    )
    validate_every: int = knob(1, "epochs between validations (the last epoch always)", minimum=1)
    save_every: int = knob(10, "epochs between epoch_NNNN.pt; 0: none", minimum=0, on_resume=MAY_CHANGE)
    keep: int = knob(3, "how many epoch_NNNN.pt are kept; 0: all", minimum=0, on_resume=MAY_CHANGE)
    checkpoint_every_steps: int | None = knob(
        None,
        "updates between writing last.pt within an epoch (it is written after each epoch anyway)",
        minimum=1,
        on_resume=MAY_CHANGE,
    )
    checkpoint_every_minutes: float | None = knob(
        10.0,
        "the same by time; null: only after each epoch",
        above=0.0,
        on_resume=MAY_CHANGE,
    )
    log_every: int = knob(
        10, "batches between lines on the console; 0: none", minimum=0, on_resume=MAY_CHANGE
    )
    images_every: int = knob(
        5, "epochs between images in TensorBoard; 0: none", minimum=0, on_resume=MAY_CHANGE
    )
    images_max: int = knob(4, "images per epoch in TensorBoard", minimum=1, on_resume=MAY_CHANGE)
    images_each_batch: bool = knob(
        False, "images of every batch, as in the lecture (slow)", on_resume=MAY_CHANGE
    )
    val_batch_size: int | None = knob(
        None, "samples per batch of the validation; null: batch_size", minimum=1
    )
    choose_threshold: str | None = knob(
        None,
        "two classes: after training choose the threshold by this score of the validation samples, with and "
        "without tta: dice, dice_<class> or v_rand; threshold.json keeps both thresholds, for predict, for "
        "evaluate and, if by v_rand, for the EM scores",
        on_resume=MAY_CHANGE,
    )
    plots: bool = knob(True, "curves.png and samples.png at the end (0.6 s)", on_resume=MAY_CHANGE)
    profile: bool = knob(
        False, "profile the second epoch: a table, and trace.json in the run directory", on_resume=MAY_CHANGE
    )
    limit_train_batches: int | None = knob(None, "batches per training epoch", minimum=1)
    limit_val_batches: int | None = knob(None, "batches per validation", minimum=1)
    overfit_samples: int | None = knob(
        None, "train and validate on the first N training samples, not augmented", minimum=1
    )


@dataclass
class Config:
    """The whole of one training run: the knobs people type, then the groups."""

    lr: float = knob("???", "learning rate; optimizer.lr follows it", above=0.0)
    batch_size: int = knob("???", "samples per batch", minimum=1)
    epochs: int = knob("???", "epochs to train", minimum=1, on_resume=MAY_CHANGE)
    seed: int = knob("???", "of weights, order, augmentation and dropout", minimum=0, maximum=2**32 - 1)
    num_workers: int | str = knob(
        "???",
        "processes that load samples; auto: 0 where the data is in RAM",
        minimum=0,
        on_resume=MAY_CHANGE,
    )
    threads: int | str = knob("???", "CPU threads of torch; auto: one per core", minimum=1)
    device: str = knob("???", "auto, cpu, cuda, cuda:N or mps", on_resume=MAY_CHANGE)
    model: dict[str, Any] = field(default_factory=dict)
    data: DataConfig = field(default_factory=DataConfig)
    transform: dict[str, Any] = field(default_factory=dict)
    loss: dict[str, Any] = field(default_factory=dict)
    optimizer: dict[str, Any] = field(default_factory=dict)
    scheduler: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)


def keys_that_may_change(schema: type = Config, prefix: str = "") -> tuple[str, ...]:
    """Dotted names of the knobs to which `resume=` may give another value."""
    names: list[str] = []
    for each in fields(schema):
        if is_dataclass(each.type):
            names += keys_that_may_change(each.type, f"{prefix}{each.name}.")  # type: ignore[arg-type]
        elif each.metadata.get("on_resume") == MAY_CHANGE:
            names.append(prefix + each.name)
    return tuple(names)


# Renamed keys (old: new): saved configs and jobs of sweeps may have the old names.
RENAMED: dict[str, str] = {}
