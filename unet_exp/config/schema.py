"""Every knob: its type, default, meaning and range. Standard library only, so every room may use it.

OmegaConf reads these dataclasses as the typed schema, `config.check` reads the rules in the field
metadata, and the table of docs/configs.md is tested against them. A field is written once, here; conf/ holds
what differs between named options. `"???"` is OmegaConf's mark for "given in conf/config.yaml".
"""

from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

MAY_CHANGE = "may change"  # knob(..., on_resume=MAY_CHANGE)
IGNORE = 255  # the class index of pixels that count nowhere: in no loss and in no score
SPLIT = "{split}"  # in a path of TEMPLATES: the name of a split, such as val or validation
NAME = "{name}"  # in data.images and data.labels: the name of an image, whose masks lie in a folder
TEMPLATES = {  # data.kind -> the knobs of DataConfig that name its files, which may hold {split}
    "image_folder": ("images", "labels"),
    "tiff_stack": ("image_stack", "label_stack"),
    "csv": ("csv",),
    "npy_folder": (),
    "membranes": (),
    "nuclei": (),
}
OBJECT_SCORES = ("f1", "ap", "ap50", "pq", "aji", "seg", "count_error")  # of a validation of objects
LOWER_IS_BETTER = ("loss", "count_error")
LABELS = ("name", "notes", "tags")  # what a run is called: no part of what it does
SYNTHETIC = ("membranes", "nuclei")  # kinds of data that the program generates


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
        "folders, blocks, random, listed, column, or auto: folders or column if present, else blocks",
        choices=["auto", "folders", "blocks", "random", "listed", "column"],
    )
    train: Any = knob("rest", "a count, a fraction below 1, rest, or a list of names (with * and ?)")
    val: Any = knob(0.2, "as train")
    test: Any = knob(0, "as train")
    seed: int = knob(0, "of mode=random", minimum=0)
    group: str | None = knob(None, "regex; samples with an equal first group stay in one split")


@dataclass
class DataConfig:
    """data=membranes, nuclei, npy_folder, image_folder, csv, tiff_stack, isbi2012, ..."""

    kind: str = knob(
        "image_folder",
        "layout on disk; membranes, nuclei: generated images",
        choices=["membranes", "nuclei", "npy_folder", "image_folder", "csv", "tiff_stack"],
    )
    root: str | None = knob(None, "folder with the data", path=True, on_resume=MAY_CHANGE)
    classes: list[str] = knob(["background", "foreground"], "class names, in the order of their index")
    label_map: Any = knob(
        None,
        "class name or ignore for each file value or colour, as {0: cell, 255: ignore}",
    )
    labels_are: str = knob(
        "classes",
        "what label files hold: classes; objects: a number for each, 0 for none; components: masks, each "
        "connected piece (by 4 neighbours) an object",
        choices=["classes", "objects", "components"],
    )
    object_value: int | None = knob(None, "components: file value of the objects; null: all but 0", minimum=0)
    target: str = knob(
        "distance",
        "objects are learnt by levels of distance from their edge, as three classes (background, interior, "
        "border), or as two (binary)",
        choices=["distance", "border", "binary"],
    )
    rim: int = knob(
        2,
        "width in pixels of a level of distance, or of the border inside each object",
        minimum=0,
        maximum=16,
    )
    gap: int = knob(
        1, "background this near to two objects is border (binary: is kept free)", minimum=0, maximum=16
    )
    channels: str = knob(
        "stored",
        "convert all images to grey or rgb, without alpha; stored: as they are",
        choices=["stored", "grey", "rgb"],
    )
    images: str = knob(
        "images",
        "image_folder: folder; may contain {split}, and {name} for a folder of each image",
        on_resume=MAY_CHANGE,
    )
    labels: str = knob(
        "labels",
        "as images; with {name} the folder of an image's masks, one for each object",
        on_resume=MAY_CHANGE,
    )
    label_suffix: str = knob("", "image_folder: ending of a label's name, such as _mask")
    pair_regex: str | None = knob(
        None,
        "image_folder: pair names by the first group of this regex (7 equals 007)",
    )
    csv: str = knob("list.csv", "csv: list in data.root", on_resume=MAY_CHANGE)
    unlabelled: str = knob(
        "refuse",
        "images without a label: refuse or skip them",
        choices=["refuse", "skip"],
    )
    image_stack: str = knob("train-volume.tif", "tiff_stack: file of the images", on_resume=MAY_CHANGE)
    label_stack: str = knob("train-labels.tif", "tiff_stack: file of the labels", on_resume=MAY_CHANGE)
    split: SplitConfig = field(default_factory=SplitConfig)
    folds: int | None = knob(None, "cut train and val into this many blocks; one validates", minimum=2)
    fold: int = knob(0, "which block validates, from 0", minimum=0)
    duplicates: str = knob(
        "refuse",
        "an image in both train and val: refuse, or allow with a warning",
        choices=["refuse", "allow"],
    )
    symmetries: str = knob(
        "all",
        "what tta=true averages over: all (eight symmetries of a square), left_right (image and mirror)",
        choices=["all", "left_right"],
        on_resume=MAY_CHANGE,
    )
    window: int = knob(2048, "larger images are validated in windows of this many pixels", minimum=64)
    size: int = knob(256, "membranes, nuclei: height and width in pixels", minimum=32, maximum=4096)
    seed: int = knob(0, "membranes, nuclei: which images are generated", minimum=0)
    cache: str = knob(
        "auto",
        "ram: decode once; disk: once, to a file; none: each time; auto: ram up to cache_limit_mb, then disk",
        choices=["auto", "ram", "disk", "none"],
        on_resume=MAY_CHANGE,
    )
    cache_limit_mb: int = knob(
        2000, "largest split that auto keeps in RAM, in MB", minimum=0, on_resume=MAY_CHANGE
    )
    cache_dir: str | None = knob(
        "user",
        "folder for what is known of files; user: the user's cache folder; null: none",
        path=True,
        on_resume=MAY_CHANGE,
    )
    fingerprint_limit_mb: int = knob(
        2000, "above this many MB, hash only three blocks of each file", minimum=0, on_resume=MAY_CHANGE
    )


@dataclass
class TrainerConfig:
    """trainer=default, debug, overfit: how the loop runs."""

    precision: str = knob(
        "auto",
        "number format; auto: bf16 if the chip computes in it, else fp32",
        choices=["auto", "fp32", "bf16", "fp16"],
    )
    channels_last: bool | str = knob(
        "auto", "memory format NHWC; auto: on for CPU and CUDA", choices=["auto", True, False]
    )
    fused: bool | str = knob(
        "auto",
        "optimizer step as one kernel; auto: on for CPU and CUDA, if torch has it",
        choices=["auto", True, False],
    )
    allocator: str = knob(
        "auto",
        "keep: keep freed memory (CPU, glibc); auto: keep if possible",
        choices=["auto", "keep", "system"],
        on_resume=MAY_CHANGE,
    )
    devices: int = knob(
        1, "processes that share each batch: GPUs, or CPU cores", minimum=1, on_resume=MAY_CHANGE
    )
    sync_batchnorm: bool = knob(False, "batch statistics over all devices (GPUs only)")
    compile: bool = knob(False, "torch.compile the model; equal bits are not promised")
    deterministic: bool = knob(True, "refuse operations whose results vary")
    accumulate: int = knob(1, "batches per optimizer step", minimum=1)
    clip_norm: float | None = knob(None, "largest norm of the gradient", above=0.0)
    ema_decay: float | None = knob(
        None, "validate and keep a moving average of the weights", above=0.0, below=1.0
    )
    monitor: str = knob(
        "dice",
        "chooses best.pt: loss, dice, iou, precision, recall, one of these for a class (dice_<class>), "
        "or a name under metrics",
    )
    mode: str = knob("auto", "best monitor; auto: min for loss, else max", choices=["auto", "min", "max"])
    best_by: str = knob(
        "monitor",
        "best.pt is the best validation by monitor, or the last",
        choices=["monitor", "last"],
    )
    smoothing: float = knob(
        0.0,
        "best.pt is chosen by a moving average of monitor: share of the past",
        minimum=0.0,
        below=1.0,
    )
    early_stop: int | None = knob(
        None, "stop after this many validations without improvement", minimum=1, on_resume=MAY_CHANGE
    )
    max_minutes: float | None = knob(
        None, "stop after the epoch that exceeds this", above=0.0, on_resume=MAY_CHANGE
    )
    validate_every: int = knob(1, "epochs between validations; the last epoch is always validated", minimum=1)
    save_every: int = knob(10, "epochs between epoch_NNNN.pt; 0: none", minimum=0, on_resume=MAY_CHANGE)
    keep: int = knob(3, "how many epoch_NNNN.pt to keep; 0: all", minimum=0, on_resume=MAY_CHANGE)
    checkpoint_every_steps: int | None = knob(
        None,
        "steps between writes of last.pt within an epoch",
        minimum=1,
        on_resume=MAY_CHANGE,
    )
    checkpoint_every_minutes: float | None = knob(
        10.0,
        "minutes between them; null: only after each epoch",
        above=0.0,
        on_resume=MAY_CHANGE,
    )
    log_every: int = knob(10, "batches between lines of run.log; 0: none", minimum=0, on_resume=MAY_CHANGE)
    print_steps: bool = knob(False, "print these lines too, as the lecture does", on_resume=MAY_CHANGE)
    images_every: int = knob(
        5, "epochs between images in TensorBoard; 0: none", minimum=0, on_resume=MAY_CHANGE
    )
    images_max: int = knob(4, "images per epoch in TensorBoard", minimum=1, on_resume=MAY_CHANGE)
    images_each_batch: bool = knob(
        False, "images of every batch, as in the lecture (slow)", on_resume=MAY_CHANGE
    )
    val_batch_size: int | None = knob(None, "samples per validation batch; null: batch_size", minimum=1)
    choose_threshold: str | None = knob(
        None,
        "two classes: after training choose the threshold by dice, dice_<class> or v_rand on the validation "
        "samples",
        on_resume=MAY_CHANGE,
    )
    learn_borders: bool = knob(
        False,
        "two classes, membrane and cell: after training learn from the validation samples which borders part "
        "two cells",
        on_resume=MAY_CHANGE,
    )
    plots: bool = knob(True, "curves.png and samples.png at the end", on_resume=MAY_CHANGE)
    report: bool = knob(True, "report.html at the end of a run or a sweep, to hand on", on_resume=MAY_CHANGE)
    profile: bool = knob(False, "profile the second epoch: a table and trace.json", on_resume=MAY_CHANGE)
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
    seed: int = knob("???", "of the weights, order, augmentation and dropout", minimum=0, maximum=2**32 - 1)
    num_workers: int | str = knob(
        "???",
        "processes that load samples; auto: 0 if data is in RAM, else up to 2",
        minimum=0,
        on_resume=MAY_CHANGE,
    )
    threads: int | str = knob("???", "CPU threads; auto: one per core", minimum=1)
    device: str = knob("???", "auto, cpu, cuda, cuda:N or mps", on_resume=MAY_CHANGE)
    model: dict[str, Any] = field(default_factory=dict)
    data: DataConfig = field(default_factory=DataConfig)
    transform: dict[str, Any] = field(default_factory=dict)
    loss: dict[str, Any] = field(default_factory=dict)
    optimizer: dict[str, Any] = field(default_factory=dict)
    scheduler: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    name: str | None = knob(None, "what task=list and reports call the run", on_resume=MAY_CHANGE)
    notes: str | None = knob(None, "a remark, for task=list and reports", on_resume=MAY_CHANGE)
    tags: list[str] = knob([], "words to find the run by: task=list tag=WORD", on_resume=MAY_CHANGE)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)


# Earlier spellings (old: new) of dotted keys and of _target_ paths. They work, with one warning line, on the
# command line and in saved configs.
RENAMED: dict[str, str] = {}
