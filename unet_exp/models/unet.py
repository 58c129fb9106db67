"""The U-Net (Ronneberger, Fischer and Brox, 2015, arXiv:1505.04597)."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unet_exp.errors import ModelError
from unet_exp.sizes import nearest_sizes, output_size

CHOICES = {
    "norm": ("batch", "instance", "group", "none"),
    "activation": ("relu", "leaky_relu"),
    "upsample": ("transpose", "bilinear"),
    "padding": ("same", "valid"),
}


class UNet(nn.Module):
    """Float image N x in_channels x H x W to logits N x out_channels x H x W.

    The defaults are the classical network of 64 to 1024 channels, with padded convolutions and batch
    normalisation, which the paper has not. padding="same" takes any H and W: the image is continued at
    its right and bottom border up to a multiple of stride * 2**depth and the logits are cut back.
    padding="valid" is the paper's: logits are smaller than the image (572 -> 388), only some sizes fit.
    deep_supervision: in training mode a list, these logits and those of each coarser level but the lowest,
    half as large each (Lee et al., 2015, arXiv:1409.5185); padding="same" only.

    in_channels, out_channels: channels of the image, logits per pixel. base_channels: channels of the
    first level, doubled at each of the `depth` levels up to max_channels. norm: batch, instance, group
    (groups of 8 channels, or of the next number that divides the width) or none. activation: relu,
    leaky_relu. dropout: probability, at the end of the contracting path. upsample: transpose (learned
    2x2) or bilinear followed by a 1x1 convolution. stride: 1, 2, 4 ...: the network works at this
    fraction of the resolution, its input the stride x stride pixels of each place as channels, its output
    their logits (sub-pixel convolution, Shi et al., 2016, arXiv:1609.05158); padding="same" only.
    Weights start after He et al., 2015, as in the paper. Raises ModelError for an image that does not fit.
    """

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int = 1,
        base_channels: int = 64,
        max_channels: int | None = None,
        depth: int = 4,
        norm: str = "batch",
        activation: str = "relu",
        dropout: float = 0.0,
        upsample: str = "transpose",
        padding: str = "same",
        deep_supervision: bool = False,
        stride: int = 1,
    ) -> None:
        super().__init__()
        refuse_unknown(norm=norm, activation=activation, upsample=upsample, padding=padding)
        if stride < 1 or stride & (stride - 1):
            raise ModelError(f"stride is {stride}", allowed="1, 2, 4, 8 ...")
        if padding != "same" and (deep_supervision or stride > 1):
            raise ModelError(f"{'deep_supervision' if deep_supervision else 'stride'} needs padding=same")
        self.in_channels = in_channels
        self.depth = depth
        self.padding = padding
        self.upsample = upsample
        self.stride = stride
        outputs = out_channels * stride**2
        most = max_channels or base_channels * 2**depth
        widths = [min(base_channels * 2**level, most) for level in range(depth + 1)]
        kind = norm, activation, padding
        self.first = DoubleConv(in_channels * stride**2, widths[0], *kind)
        self.down = nn.ModuleList(Down(narrow, wide, *kind) for narrow, wide in pairwise(widths))
        self.dropout = nn.Dropout(dropout)
        self.up = nn.ModuleList(
            Up(wide, narrow, *kind, upsample) for narrow, wide in reversed(list(pairwise(widths)))
        )
        self.head = nn.Conv2d(widths[0], outputs, kernel_size=1)
        coarse = widths[1:depth] if deep_supervision else []
        self.coarse_heads = nn.ModuleList(nn.Conv2d(width, outputs, kernel_size=1) for width in coarse)
        self.apply(he_init)

    def forward(self, image: Tensor) -> Tensor | list[Tensor]:
        height, width = image.shape[-2:]
        levels = [
            logits[..., : -(-height // 2**level), : -(-width // 2**level)]
            for level, logits in enumerate(self.fitted_logits(self.fit_size(image)))
        ]
        return levels if self.coarse_heads and self.training else levels[0]

    def fitted_logits(self, image: Tensor) -> list[Tensor]:
        """The logits of an image whose size fit_size would not change; in training with deep supervision
        followed by those of the coarser levels."""
        x = self.first(F.pixel_unshuffle(image, self.stride))
        skips = []
        for down in self.down:
            skips.append(x)
            x = down(x)
        levels = [self.dropout(x)]
        for up in self.up:
            levels.append(up(levels[-1], skips.pop()))
        heads = [self.head, *(self.coarse_heads if self.training else [])]
        return [
            F.pixel_shuffle(head(features), self.stride)
            for head, features in zip(heads, reversed(levels), strict=False)
        ]

    @property
    def halvings(self) -> int:
        """How often an image's sides are halved on the way to the lowest level, by pooling or by stride."""
        return self.depth + self.stride.bit_length() - 1

    def fit_size(self, image: Tensor) -> Tensor:
        """The image, continued to a size that every level can halve; refused where that is not possible."""
        if image.ndim != 4 or image.shape[1] != self.in_channels:
            raise ModelError(
                f"the network got an array of shape {tuple(image.shape)}",
                allowed=f"batch x {self.in_channels} channels x height x width",
                do="set model.in_channels to the channels of the images",
            )
        height, width = image.shape[-2:]
        if self.padding == "same":
            multiple = 2**self.halvings
            right = -width % multiple
            bottom = -height % multiple
            if max(height + bottom, width + right) == multiple:
                right += multiple  # one pixel at the lowest level has no variance to normalise by
            return F.pad(image, (0, right, 0, bottom), mode="replicate") if right or bottom else image
        for size in (height, width):
            if output_size(size, self.depth, "valid") is None:
                near = " or ".join(map(str, nearest_sizes(size, self.depth, "valid")))
                raise ModelError(
                    f"an image of {height} x {width} does not fit depth {self.depth} with valid padding",
                    allowed=f"instead of {size}: {near}",
                    do="pad or crop the images to such a size, or use model.padding=same",
                )
        return image


def refuse_unknown(**given: str) -> None:
    """Raises ModelError for a word that is none of its CHOICES."""
    for name, value in given.items():
        if value not in CHOICES[name]:
            raise ModelError(f"{name} is {value!r}", allowed=", ".join(CHOICES[name]))


class DoubleConv(nn.Sequential):
    """Two 3x3 convolutions, each followed by normalisation and activation."""

    def __init__(self, in_channels: int, out_channels: int, norm: str, activation: str, padding: str) -> None:
        layers: list[nn.Module] = []
        for channels in (in_channels, out_channels):
            # Each normalisation brings a bias of its own.
            bias = norm == "none"
            pad = 1 if padding == "same" else 0
            layers.append(nn.Conv2d(channels, out_channels, kernel_size=3, padding=pad, bias=bias))
            layers += norm_layers(norm, out_channels)
            layers.append(nn.ReLU(inplace=True) if activation == "relu" else nn.LeakyReLU(inplace=True))
        super().__init__(*layers)


class Down(nn.Sequential):
    """Half the size, twice the channels."""

    def __init__(self, in_channels: int, out_channels: int, norm: str, activation: str, padding: str) -> None:
        super().__init__(nn.MaxPool2d(2), DoubleConv(in_channels, out_channels, norm, activation, padding))


class Up(nn.Module):
    """Twice the size, half the channels, joined with the contracting path's features of that level."""

    def __init__(
        self, in_channels: int, out_channels: int, norm: str, activation: str, padding: str, upsample: str
    ) -> None:
        super().__init__()
        self.enlarge: nn.Module
        if upsample == "transpose":
            self.enlarge = nn.ConvTranspose2d(in_channels, out_channels, kernel_size=2, stride=2)
        else:
            self.enlarge = nn.Sequential(
                # The 1x1 convolution first: same result but for rounding, a quarter of the work.
                nn.Conv2d(in_channels, out_channels, kernel_size=1),
                nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
            )
        self.conv = DoubleConv(2 * out_channels, out_channels, norm, activation, padding)
        self.padding = padding

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        x = self.enlarge(x)
        if self.padding == "valid":
            skip = center_crop(skip, x.shape[-2], x.shape[-1])
        out: Tensor = self.conv(torch.cat([skip, x], dim=1))
        return out


def center_crop(x: Tensor, height: int, width: int) -> Tensor:
    """The middle height x width of the last two dimensions; the tensor itself if it has that size."""
    top = (x.shape[-2] - height) // 2
    left = (x.shape[-1] - width) // 2
    return x[..., top : top + height, left : left + width]


def norm_layers(norm: str, channels: int) -> list[nn.Module]:
    if norm == "batch":
        return [nn.BatchNorm2d(channels)]
    if norm == "instance":
        return [InstanceNorm(channels, affine=True)]
    if norm == "group":
        groups = next(g for g in range(max(1, channels // 8), 0, -1) if channels % g == 0)
        return [nn.GroupNorm(groups, channels)]
    return []


class InstanceNorm(nn.InstanceNorm2d):
    """torch's, with the same state, at the speed of batch norm on a processor.

    x: (N, C, H, W). torch's own copies channels-last tensors into another layout and leaves them there.
    """

    def forward(self, x: Tensor) -> Tensor:
        if torch.compiler.is_exporting() or torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]
            # torch's own without its check of the size, which can't be exported; fit_size has done it.
            affine = self.weight, self.bias
            return torch.instance_norm(
                x, *affine, None, None, True, 0.0, self.eps, torch.backends.cudnn.enabled
            )
        if x.device.type != "cpu":
            return super().forward(x)
        return torch.cat([self.normalise(image) for image in torch.split(x, 1)])

    def normalise(self, image: Tensor) -> Tensor:
        mean = var = None
        if not self.training and image.dtype == torch.float32:
            # batch_norm's own sums over a million pixels are wrong by 1e-4; those of rows are not.
            pixels = image.permute(0, 2, 3, 1)
            mean = pixels.mean(2).mean(1)[0]
            var = (pixels - mean).square_().mean(2).mean(1)[0]
        return F.batch_norm(image, mean, var, self.weight, self.bias, training=mean is None, eps=self.eps)


def he_init(module: nn.Module) -> None:
    """Normal weights of variance 2 / fan_in, zero bias (He et al., 2015, arXiv:1502.01852)."""
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
        fan_in = module.in_channels * module.kernel_size[0] * module.kernel_size[1]
        if isinstance(module, nn.ConvTranspose2d):  # kernel 2, stride 2: each output sees one tap
            fan_in = module.in_channels
        nn.init.normal_(module.weight, std=(2.0 / fan_in) ** 0.5)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
