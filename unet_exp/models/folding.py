"""A trained network for prediction alone: its batch normalisations are part of its convolutions."""

import copy
from itertools import pairwise

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def folded(model: nn.Module) -> nn.Module:
    """A copy in which each batch normalisation that follows a convolution in a Sequential is folded into it.

    In eval mode both are one affine map, so the logits are the same but for rounding (the order of products;
    probabilities differ by about 1e-5 in fp32). The folding is torch's fuse_conv_bn_eval, in fp32. A network
    without such pairs comes back as an equal copy.
    """
    network = copy.deepcopy(model).eval()
    for layers in [module for module in network.modules() if isinstance(module, nn.Sequential)]:
        for index, (first, second) in enumerate(pairwise(list(layers))):
            if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d):
                layers[index] = fuse_conv_bn_eval(first, second)
                layers[index + 1] = nn.Identity()
    return network
