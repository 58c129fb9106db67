"""Networks and images that several tests of tiling use."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from unet_exp.inference.tiles import Tiling
from unet_exp.inference.tiling import Network, predict_tiles
from unet_exp.models.unet import UNet
from unet_exp.sizes import output_size


def unet(**options: Any) -> UNet:
    """A network as after training: statistics and scales of the normalisation are not 0 and 1."""
    net = UNet(**{"in_channels": 2, "out_channels": 3, "base_channels": 4, "depth": 2} | options).eval()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            for values, low, high in (
                (module.running_mean, -0.5, 0.5),
                (module.running_var, 0.5, 2.0),
                (module.weight.data, 0.5, 1.5),
                (module.bias.data, -0.3, 0.3),
            ):
                assert values is not None
                values.uniform_(low, high)
    return net


def probabilities(net: nn.Module) -> Network:
    """Computed in double precision: a difference is then the tiling's, not of a convolution's rounding."""
    net.double()
    return lambda tiles: net(tiles.double()).softmax(1).float()


def whole(network: Network, image: np.ndarray) -> np.ndarray:
    """The image H x W x C through the network at once: K x H x W."""
    with torch.inference_mode():
        return network(torch.from_numpy(image).permute(2, 0, 1)[None])[0].numpy()


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def options(**changes: Any) -> Any:
    """The numbers of predict_array for a network of depth 2 with same padding."""
    return {"tile": 64, "overlap": 0.5, "margin": 0, "multiple": 4, "halo": 0, "batch": 3} | changes


def predict_array(
    networks: Sequence[Network],
    image: np.ndarray,
    *,
    batch: int,
    tta: bool = False,
    symmetries: str = "all",
    **numbers: Any,
) -> np.ndarray:
    """Probabilities K x H x W of a normalised image H x W x C. numbers: of Tiling."""
    size = (image.shape[0], image.shape[1])
    bands = []

    def read(rows: slice, columns: slice) -> np.ndarray:
        return image[rows, columns]

    def write(top: int, rows: np.ndarray) -> None:
        bands.append(rows)

    options: dict[str, Any] = {"batch": batch, "tta": tta, "symmetries": symmetries}
    predict_tiles(networks, read, size, write, Tiling(**numbers), **options)
    return np.concatenate(bands, axis=1)


def mirrored(image: np.ndarray, depth: int, margin: int) -> np.ndarray:
    """The image with `margin` and more around it, up to sizes that the U-Net with valid padding takes."""
    more = []
    for size in image.shape[:2]:
        fitting = size + 2 * margin
        while output_size(fitting, depth, "valid") is None:
            fitting += 1
        more.append((margin, fitting - size - margin))
    return np.pad(image, [*more, (0, 0)], mode="reflect")


def pixels(margin: int) -> Network:
    """A network of two classes whose output is its first channel."""

    def network(tiles: Tensor) -> Tensor:
        inner = tiles[:, :1, margin : tiles.shape[2] - margin, margin : tiles.shape[3] - margin]
        return torch.cat([inner, 1 - inner], dim=1)

    return network
