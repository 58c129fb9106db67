"""The keys of each task=VERB, as schema.py has those of training. Standard library only."""

from dataclasses import dataclass, field
from typing import Any

from unet_exp.config.schema import knob


@dataclass
class MovedDataConfig:
    """data of task=reproduce"""

    root: str | None = knob(None, "where its data is now; null: where it was", path=True)


@dataclass
class MovedWeightsConfig:
    """model of task=reproduce"""

    weights: str | None = knob(
        None, "where the file of its first weights is now; null: where it was", path=True
    )


@dataclass
class ReproduceConfig:
    """task=reproduce"""

    run: str = knob("???", "run directory", path=True)
    until_epoch: int | None = knob(None, "compare only this many epochs", minimum=1)
    data: MovedDataConfig = field(default_factory=MovedDataConfig)
    model: MovedWeightsConfig = field(default_factory=MovedWeightsConfig)


@dataclass
class DataRootConfig:
    """data of task=evaluate"""

    root: str | None = knob(None, "another folder of the same layout; null: that of the run", path=True)


@dataclass
class EvaluateConfig:
    """task=evaluate"""

    run: str = knob("???", "run directory", path=True)
    split: str = knob("val", "which samples", choices=["train", "val", "test", "all"])
    data: DataRootConfig = field(default_factory=DataRootConfig)
    weights: str = knob("best", "best.pt or last.pt", choices=["best", "last"])
    tta: bool = knob(False, "mean over the symmetries of the data (data.symmetries)")
    em: bool | str = knob(
        "auto",
        "V-Rand and V-Info; auto: if class 0 of two is named membrane",
        choices=["auto", True, False],
    )
    objects: str | None = knob(
        None,
        "folder of numbered images, such as corrected ones, to score in place of the network's objects",
        path=True,
    )
    worst: int = knob(6, "how many of the worst samples to plot; 0: nor the worst objects", minimum=0)
    output: str | None = knob(None, "folder; null: RUN_DIR/evaluation/SPLIT", path=True)
    device: str = knob("auto", "auto, cpu, cuda, cuda:N or mps")


@dataclass
class ListConfig:
    """task=list"""

    root: str = knob("outputs", "folder with runs, such as outputs, multirun or one sweep", path=True)
    tag: str | None = knob(None, "only runs with this tag")
    sort: str | None = knob(None, "score (the best first), a column or a setting; null: by directory")
    output: str | None = knob(None, "file that ends in .csv or .json, for all columns", path=True)


@dataclass
class CompareConfig:
    """task=compare"""

    runs: Any = knob("???", "run directories, patterns with * and ?, or sweeps: runs=[A,B]", path=True)
    split: str = knob("val", "whose images are scored", choices=["val", "test", "train", "all"])
    score: str = knob("auto", "the score to test; auto: what the first run monitored, else dice")
    tta: bool = knob(False, "scores of task=evaluate tta=true")
    output: str = knob("comparison", "folder for tables and the picture", path=True)


@dataclass
class PowerConfig:
    """task=power"""

    sweep_dir: str = knob("???", "a sweep in which settings are repeated with other seeds", path=True)
    difference: float = knob("???", "the difference of means to be shown, such as 0.01", above=0.0)
    score: str = knob("auto", "auto: what the jobs monitored, else dice")


@dataclass
class ReportConfig:
    """task=report"""

    run: str | None = knob(None, "one run", path=True)
    sweep_dir: str | None = knob(None, "or a sweep", path=True)
    runs: Any = knob(None, "or several runs to compare, as task=compare", path=True)
    output: str | None = knob(
        None, "file; null: report.html in the run, the sweep, or comparison/", path=True
    )


@dataclass
class CleanConfig:
    """task=clean"""

    root: str = knob("outputs", "folder with runs, such as outputs, multirun or one sweep", path=True)
    yes: bool = knob(False, "remove what is proposed; false: only show it")


@dataclass
class SummaryConfig:
    """task=summary"""

    sweep_dir: str = knob("???", "directory of a sweep, such as multirun/lr_batch", path=True)


@dataclass
class PredictConfig:
    """task=predict"""

    run: str = knob("???", "run directory, or several separated by commas: their mean", path=True)
    input: str = knob("???", "an image, a folder, or a pattern with * and ?", path=True)
    output: str | None = knob(None, "folder; null: RUN_DIR/predictions/NAME_OF_THE_INPUT_FOLDER", path=True)
    weights: str = knob("best", "best.pt or last.pt", choices=["best", "last"])
    tta: bool = knob(False, "mean over the symmetries of the data (data.symmetries)")
    threshold: float | str = knob(
        "auto",
        "two classes: a pixel is class 1 above it; auto: the run's own (trainer.choose_threshold), else 0.5",
        minimum=0.0,
        below=1.0,
    )
    probabilities: Any = knob(
        "auto",
        "maps of class 1 as tif: float32 (true), uint16, false; auto: float32 for networks of one logit",
        choices=["auto", True, False, "float32", "uint16"],
    )
    visible: bool = knob(True, "masks in colours, in visible/")
    overlays: bool = knob(True, "images with the borders of the classes, or of the objects, in overlays/")
    objects: bool | str = knob(
        "auto",
        "numbered objects and their measurements; auto: where the run was trained on objects",
        choices=["auto", True, False],
    )
    pixel_size: Any = knob(
        None, "of objects: micrometres, or [height, width]; null: what ImageJ or OME stored in the file"
    )
    tile: int = knob(1024, "side of a tile in pixels, for larger images", minimum=32)
    overlap: float = knob(0.25, "least share of a tile that neighbours share", minimum=0.0, below=0.9)
    batch_size: int = knob(1, "tiles per forward pass", minimum=1)
    backend: str = knob(
        "torch",
        "what computes the network; openvino and onnxruntime on a processor; auto: the fastest installed",
        choices=["torch", "auto", "openvino", "onnxruntime"],
    )
    precision: str = knob(
        "auto",
        "auto: bf16 where the chip multiplies in it, else fp32; int8 with openvino, by the training images",
        choices=["auto", "fp32", "bf16", "int8"],
    )
    overwrite: bool = knob(False, "also predict images that have a mask in output")
    device: str = knob("auto", "auto, cpu, cuda, cuda:N or mps")


@dataclass
class MeasureConfig:
    """task=measure"""

    objects: str = knob("???", "folder of numbered images, such as corrected ones", path=True)
    input: str = knob(
        "???", "their images, of the same names: a folder, or a pattern with * and ?", path=True
    )
    output: str | None = knob(None, "folder for objects.csv and counts.csv; null: objects", path=True)
    channels: str = knob(
        "stored", "measure all images as grey or rgb, without alpha", choices=["stored", "grey", "rgb"]
    )
    pixel_size: Any = knob(
        None, "of objects: micrometres, or [height, width]; null: what ImageJ or OME stored in the file"
    )


@dataclass
class ExportConfig:
    """task=export"""

    run: str = knob("???", "run directory", path=True)
    output: str | None = knob(None, ".onnx file; null: RUN_DIR/export/model.onnx", path=True)
    weights: str = knob("best", "best.pt or last.pt", choices=["best", "last"])


@dataclass
class CheckDataConfig:
    """task=check_data, beside the keys of training"""

    output: str = knob("check_data", "folder for the pictures", path=True)


BESIDE_TRAINING: dict[str, type] = {"check_data": CheckDataConfig}
TASK_SCHEMAS: dict[str, type] = {
    "reproduce": ReproduceConfig,
    "evaluate": EvaluateConfig,
    "predict": PredictConfig,
    "measure": MeasureConfig,
    "export": ExportConfig,
    "summary": SummaryConfig,
    "list": ListConfig,
    "compare": CompareConfig,
    "power": PowerConfig,
    "report": ReportConfig,
    "clean": CleanConfig,
}
