"""Networks of other packages, for images of any size."""

import torch.nn.functional as F
from torch import Tensor, nn

OTHER_DEPTH = 5  # networks that are not ours: sides are continued to a multiple of 32


class AnySize(nn.Module):
    """A network of another package, assumed to take multiples of 32 pixels, for images of any size.

    N x C x H x W to logits of the same size: the image is padded at its right and bottom with its last
    pixels, as by UNet, and the logits are cropped, so that predictions and exports agree.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        return self.fitted_logits(self.fit_size(image))[0][..., :height, :width]

    def fit_size(self, image: Tensor) -> Tensor:
        """The image, continued to multiples."""
        right = -image.shape[-1] % 2**OTHER_DEPTH
        bottom = -image.shape[-2] % 2**OTHER_DEPTH
        return F.pad(image, (0, right, 0, bottom), mode="replicate") if right or bottom else image

    def fitted_logits(self, image: Tensor) -> list[Tensor]:
        """Like UNet's, for an image whose size is a multiple."""
        return [self.model(image)]
