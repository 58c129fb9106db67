"""What our own classes take under a _target_: model, transforms and losses. Standard library only."""

from dataclasses import dataclass
from typing import Any

from unet_exp.schema import knob


@dataclass
class UNetConfig:
    """model=unet, unet_small: the arguments of unet_exp.models.unet.UNet."""

    _target_: str = "unet_exp.models.unet.UNet"
    in_channels: int | str = knob("auto", "image channels; auto: those of the data", minimum=1)
    out_channels: int | str = knob(
        "auto", "logits per pixel; auto: 1 for two classes, else one per class", minimum=1
    )
    base_channels: int = knob(64, "channels of the first level, doubled at each level", minimum=1)
    depth: int = knob(4, "number of times the image is halved", minimum=1, maximum=8)
    norm: str = knob(
        "batch", "normalisation after each convolution", choices=["batch", "instance", "group", "none"]
    )
    dropout: float = knob(
        0.0, "dropout at the end of the contracting path, as in the paper", minimum=0.0, below=1.0
    )
    upsample: str = knob(
        "transpose", "learned transposed or bilinear upsampling", choices=["transpose", "bilinear"]
    )
    padding: str = knob(
        "same", "same: output as large as the input; valid: the paper's", choices=["same", "valid"]
    )


@dataclass
class RandomCropConfig:
    """transform.train.crop"""

    _target_: str = "unet_exp.data.transforms.RandomCrop"
    size: int = knob("???", "height and width of the crop in pixels", minimum=1)
    foreground: float = knob(
        0.0,
        "share of crops that hold a pixel of a class other than 0, each such class as often",
        minimum=0.0,
        maximum=1.0,
    )


@dataclass
class NormalizationConfig:
    """transform.*.normalize"""

    _target_: str = "unet_exp.data.transforms.Normalization"
    mean: Any = knob(
        "???",
        "subtracted from values in [0, 1]: a number, one per channel, train (mean of the training "
        "images), or image (of each image)",
    )
    std: Any = knob("???", "divides what is left: as mean")


@dataclass
class RandomFlipConfig:
    """transform.train.flip"""

    _target_: str = "unet_exp.data.transforms.RandomFlip"


@dataclass
class RandomRotate90Config:
    """transform.train.rotate90"""

    _target_: str = "unet_exp.data.transforms.RandomRotate90"


@dataclass
class ToTensorConfig:
    """transform.*.to_tensor"""

    _target_: str = "unet_exp.data.transforms.ToTensor"


@dataclass
class CrossEntropyLossConfig:
    """loss=cross_entropy: a softmax over one logit per class, also for two classes"""

    _target_: str = "unet_exp.losses.CrossEntropyLoss"
    class_weights: Any = knob(
        None, "null, one number per class, or inverse or median_frequency (of the training pixels)"
    )


@dataclass
class CELossConfig(CrossEntropyLossConfig):
    """loss=ce: BCE of one logit, softmax cross-entropy of several"""

    _target_: str = "unet_exp.losses.CELoss"
    pos_weight: float | str | None = knob(
        None, "one logit: weight of class 1; auto: pixels of class 0 per pixel of class 1", above=0.0
    )


@dataclass
class DiceLossConfig:
    """loss=dice"""

    _target_: str = "unet_exp.losses.DiceLoss"
    smooth: float = knob(1.0, "pixels added above and below the fraction", minimum=0.0)


@dataclass
class CEDiceLossConfig(CELossConfig):
    """loss=ce_dice"""

    _target_: str = "unet_exp.losses.CEDiceLoss"
    dice_weight: float = knob(0.5, "share of Dice; the rest is as loss=ce", minimum=0.0, maximum=1.0)
    smooth: float = knob(1.0, "as in loss=dice", minimum=0.0)


TARGETS: dict[str, type] = {
    config._target_: config
    for config in (
        UNetConfig,
        RandomCropConfig,
        NormalizationConfig,
        RandomFlipConfig,
        RandomRotate90Config,
        ToTensorConfig,
        CELossConfig,
        CrossEntropyLossConfig,
        DiceLossConfig,
        CEDiceLossConfig,
    )
}
