"""Batch normalisation folded into convolutions: the same network but for rounding."""

import pytest
import torch
from torch import nn

from unet_exp.models.folding import folded
from unet_exp.models.unet import UNet


def trained(**options: object) -> UNet:
    """A network whose normalisations have seen images, and whose weights are not those of a start."""
    torch.manual_seed(0)
    model = UNet(base_channels=8, depth=2, **options)  # type: ignore[arg-type]
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
    model.train()
    with torch.no_grad():
        for _ in range(3):
            model(3 * torch.randn(4, 1, 64, 64) + 1)
    return model.eval()


@pytest.mark.parametrize(
    "options", [{}, {"stride": 2}, {"padding": "valid"}, {"upsample": "bilinear"}, {"deep_supervision": True}]
)
def test_probabilities_differ_by_rounding(options: dict[str, object]) -> None:
    model = trained(**options)
    image = torch.randn(2, 1, 68, 68)
    with torch.inference_mode():
        before, after = (torch.sigmoid(network(image)) for network in (model, folded(model)))
    assert float((before - after).abs().max()) < 2e-5
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded(model).modules())


def test_the_network_itself_stays_as_it_is() -> None:
    model = trained()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    folded(model)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert any(isinstance(module, nn.BatchNorm2d) for module in model.modules())


@pytest.mark.parametrize("norm", ["instance", "group", "none"])
def test_other_normalisations_are_equal_to_the_bit(norm: str) -> None:
    model = trained(norm=norm)
    image = torch.randn(1, 1, 64, 64)
    with torch.inference_mode():
        assert torch.equal(model(image), folded(model)(image))
