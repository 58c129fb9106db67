"""What our own classes take under a _target_: model, transforms and losses. Standard library only.

The transforms inherit their arguments from these classes, which hold each name, default and range once.
"""

from dataclasses import dataclass, field
from typing import Any

from unet_exp.config.schema import MAY_CHANGE, knob


@dataclass
class UNetConfig:
    """model=unet, unet_small: the arguments of unet_exp.models.unet.UNet."""

    _target_: str = "unet_exp.models.unet.UNet"
    in_channels: int | str = knob("auto", "image channels; auto: as in the data", minimum=1)
    out_channels: int | str = knob(
        "auto", "logits per pixel; auto: 1 for two classes, else one per class", minimum=1
    )
    base_channels: int = knob(64, "channels of the first level; each level doubles them", minimum=1)
    max_channels: int | None = knob(None, "most channels of a level", minimum=1)
    depth: int = knob(4, "how often the image is halved", minimum=1, maximum=8)
    norm: str = knob(
        "batch", "normalisation after each convolution", choices=["batch", "instance", "group", "none"]
    )
    activation: str = knob("relu", "after each convolution", choices=["relu", "leaky_relu"])
    dropout: float = knob(0.0, "at the end of the contracting path", minimum=0.0, below=1.0)
    upsample: str = knob(
        "transpose", "learned transposed convolution, or bilinear", choices=["transpose", "bilinear"]
    )
    padding: str = knob(
        "same",
        "same: output as large as the input; valid: smaller, as in the paper",
        choices=["same", "valid"],
    )
    deep_supervision: bool = knob(
        False, "loss of the coarser levels too, each with half the weight of the level above"
    )
    stride: int = knob(
        1,
        "works at 1/stride of the resolution; blocks of pixels are channels",
        choices=[1, 2, 4, 8],
    )
    weights: str | None = knob(
        None,
        "start from this .safetensors or .pt file",
        path=True,
        on_resume=MAY_CHANGE,
    )


@dataclass
class RandomCropConfig:
    """transform.train.crop"""

    _target_: str = field(default="unet_exp.data.transforms.RandomCrop", kw_only=True)
    size: int = knob("???", "height and width in pixels", minimum=1)
    foreground: float = knob(
        0.0,
        "share of crops that contain a class other than 0, each class equally often",
        minimum=0.0,
        maximum=1.0,
    )


@dataclass
class RandomWarpConfig:
    """transform.train.crop of transform=strong: one geometric map, resampled once"""

    _target_: str = field(default="unet_exp.data.warp.RandomWarp", kw_only=True)
    size: int | None = knob(None, "height and width in pixels; null: as the image", minimum=1)
    elastic: float = knob(10.0, "standard deviation of the displacements in pixels", minimum=0.0)
    grid: int = knob(3, "displaced points along each side", minimum=2)
    rotation: float = knob(180.0, "largest angle in degrees", minimum=0.0, maximum=180.0)
    scale: list[float] = knob([1.0, 1.0], "smallest and largest magnification", pair=True, above=0.0)
    shear: float = knob(0.0, "largest angle in degrees", minimum=0.0, maximum=60.0)
    shift: float = knob(0.0, "largest shift in pixels, beyond that of the crop", minimum=0.0)
    flip: bool = knob(True, "left-right and up-down")
    up_down: bool = knob(True, "false: flip=true flips left-right alone")
    turn: bool = knob(True, "quarter turns (oblong images: half turns)")
    probability: float = knob(1.0, "of each of elastic, rotation, scale and shear", minimum=0.0, maximum=1.0)
    margin: int = knob(
        0,
        "pixels by which the crop may leave the image, which is mirrored there",
        minimum=0,
    )
    foreground: float = knob(0.0, "as in transform=crop", minimum=0.0, maximum=1.0)
    interpolation: str = knob("bicubic", "of the image", choices=["bicubic", "bilinear"])


@dataclass
class RandomGammaConfig:
    """transform.train.gamma"""

    _target_: str = field(default="unet_exp.data.intensities.RandomGamma", kw_only=True)
    gamma: list[float] = knob([0.7, 1.5], "exponent", pair=True, above=0.0)
    probability: float = knob(0.3, "of being applied", minimum=0.0, maximum=1.0)


@dataclass
class RandomBrightnessConfig:
    """transform.train.brightness"""

    _target_: str = field(default="unet_exp.data.intensities.RandomBrightness", kw_only=True)
    shift: list[float] = knob([-0.15, 0.15], "added share of the image's range of values", pair=True)
    probability: float = knob(0.3, "of being applied", minimum=0.0, maximum=1.0)


@dataclass
class RandomContrastConfig:
    """transform.train.contrast"""

    _target_: str = field(default="unet_exp.data.intensities.RandomContrast", kw_only=True)
    factor: list[float] = knob([0.7, 1.3], "factor of the distance from the mean", pair=True, minimum=0.0)
    probability: float = knob(0.3, "of being applied", minimum=0.0, maximum=1.0)


@dataclass
class RandomNoiseConfig:
    """transform.train.noise"""

    _target_: str = field(default="unet_exp.data.intensities.RandomNoise", kw_only=True)
    share: list[float] = knob(
        [0.0, 0.3], "standard deviation, as a share of the image's", pair=True, minimum=0.0
    )
    probability: float = knob(0.2, "of being applied", minimum=0.0, maximum=1.0)


@dataclass
class RandomBlurConfig:
    """transform.train.blur"""

    _target_: str = field(default="unet_exp.data.intensities.RandomBlur", kw_only=True)
    sigma: list[float] = knob([0.5, 1.0], "of the Gaussian, in pixels", pair=True, minimum=0.0)
    probability: float = knob(0.2, "of being applied", minimum=0.0, maximum=1.0)


@dataclass
class RandomLowResolutionConfig:
    """transform.train.low_resolution"""

    _target_: str = field(default="unet_exp.data.intensities.RandomLowResolution", kw_only=True)
    zoom: list[float] = knob([0.5, 1.0], "share of height and width", pair=True, above=0.0, maximum=1.0)
    probability: float = knob(0.2, "of being applied", minimum=0.0, maximum=1.0)


@dataclass
class NormalizationConfig:
    """transform.*.normalize"""

    _target_: str = field(default="unet_exp.data.transforms.Normalization", kw_only=True)
    mean: Any = knob(
        "???",
        "subtracted from values in [0, 1]: numbers, train (from the training images) or image (from "
        "each image)",
    )
    std: Any = knob("???", "then the divisor, likewise")


@dataclass
class RandomFlipConfig:
    """transform.train.flip"""

    _target_: str = field(default="unet_exp.data.transforms.RandomFlip", kw_only=True)
    up_down: bool = knob(True, "false: flip left-right alone")


@dataclass
class RandomRotate90Config:
    """transform.train.rotate90"""

    _target_: str = field(default="unet_exp.data.transforms.RandomRotate90", kw_only=True)


@dataclass
class MirrorBorderConfig:
    """transform.eval.border of transform=unet2015"""

    _target_: str = field(default="unet_exp.data.transforms.MirrorBorder", kw_only=True)
    depth: int = knob(4, "of the network with valid padding: model.depth", minimum=1, maximum=8)


@dataclass
class ToTensorConfig:
    """transform.*.to_tensor"""

    _target_: str = field(default="unet_exp.data.transforms.ToTensor", kw_only=True)


@dataclass
class CrossEntropyLossConfig:
    """loss=cross_entropy: a softmax over one logit per class, also for two classes"""

    _target_: str = "unet_exp.losses.CrossEntropyLoss"
    class_weights: Any = knob(
        None, "one number per class, or inverse or median_frequency (from the training pixels)"
    )
    w0: float = knob(
        0.0,
        "the paper's weight map: extra weight of class 0 between two objects (paper: 10)",
        minimum=0.0,
    )
    sigma: float = knob(5.0, "reach of the weight map, in pixels", above=0.0)


@dataclass
class CELossConfig(CrossEntropyLossConfig):
    """loss=ce: BCE of one logit, softmax cross-entropy of several"""

    _target_: str = "unet_exp.losses.CELoss"
    pos_weight: float | str | None = knob(
        None, "two classes: weight of class 1; auto: pixels of class 0 per pixel of class 1", above=0.0
    )


@dataclass
class DiceLossConfig:
    """loss=dice"""

    _target_: str = "unet_exp.losses.DiceLoss"
    smooth: float = knob(1.0, "pixels added to numerator and denominator", minimum=0.0)


@dataclass
class CEDiceLossConfig(CELossConfig):
    """loss=ce_dice"""

    _target_: str = "unet_exp.losses.CEDiceLoss"
    dice_weight: float = knob(0.5, "share of Dice; the rest is loss=ce", minimum=0.0, maximum=1.0)
    smooth: float = knob(1.0, "as in loss=dice", minimum=0.0)


COMPONENTS: dict[str, type] = {
    config._target_: config
    for config in (
        UNetConfig,
        RandomCropConfig,
        RandomWarpConfig,
        RandomGammaConfig,
        RandomBrightnessConfig,
        RandomContrastConfig,
        RandomNoiseConfig,
        RandomBlurConfig,
        RandomLowResolutionConfig,
        NormalizationConfig,
        RandomFlipConfig,
        RandomRotate90Config,
        MirrorBorderConfig,
        ToTensorConfig,
        CELossConfig,
        CrossEntropyLossConfig,
        DiceLossConfig,
        CEDiceLossConfig,
    )
}
