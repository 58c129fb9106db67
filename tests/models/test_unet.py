"""The network: shapes, gradients, sizes that fit, parameter counts, starting weights."""

import inspect
import math
import re
from collections.abc import Iterator
from dataclasses import MISSING, fields
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unet_exp.config.components import UNetConfig
from unet_exp.errors import ModelError
from unet_exp.models.unet import DoubleConv, InstanceNorm, UNet
from unet_exp.sizes import nearest_sizes, output_size


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    """Equal weights in every test, and one thread: nets this small only lose by more."""
    torch.manual_seed(0)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def check_trains(net: UNet, image: Tensor, out_size: int) -> None:
    """One training step's forward and backward: shape, and a finite gradient that is not all zero."""
    logits = net.train()(image)
    assert logits.shape == (image.shape[0], net.head.out_channels, out_size, out_size)
    torch.autograd.backward(F.mse_loss(logits, torch.randn_like(logits)))
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("upsample", ["transpose", "bilinear"])
@pytest.mark.parametrize("norm", ["batch", "instance", "group", "none"])
def test_options_shape_and_gradient(norm: str, upsample: str, padding: str) -> None:
    net = UNet(2, 3, 4, depth=2, norm=norm, dropout=0.1, upsample=upsample, padding=padding)
    # valid: 52 -4 -> 48 /2 -4 -> 20 /2 -4 -> 6 *2 -4 -> 8 *2 -4 -> 12
    check_trains(net, torch.randn(2, 2, 52, 52), 52 if padding == "same" else 12)


@pytest.mark.parametrize("channels", [(1, 1), (3, 5)])
@pytest.mark.parametrize(
    ("depth", "padding", "size", "out_size"),
    [
        (1, "same", 32, 32),
        (2, "same", 32, 32),
        (3, "same", 32, 32),
        (4, "same", 32, 32),
        (1, "valid", 24, 8),
        (2, "valid", 52, 12),
        (3, "valid", 92, 4),
        (4, "valid", 188, 4),
    ],
)
def test_depths(depth: int, padding: str, size: int, out_size: int, channels: tuple[int, int]) -> None:
    net = UNet(*channels, base_channels=3, depth=depth, padding=padding)
    check_trains(net, torch.randn(2, channels[0], size, size), out_size)


def plain_forward(net: UNet, image: Tensor, depth: int, padding: str, upsample: str) -> Tensor:
    """The paper's Fig. 1 written down once more, on the weights alone (norm=none)."""
    values = iter(net.state_dict().values())
    pad = 1 if padding == "same" else 0

    def double(x: Tensor) -> Tensor:
        for _ in range(2):
            x = F.conv2d(x, next(values), next(values), padding=pad).clamp(min=0)
        return x

    x, skips = double(image), []
    for _ in range(depth):
        skips.append(x)
        x = double(F.max_pool2d(x, 2))
    for skip in reversed(skips):
        weight, bias = next(values), next(values)
        if upsample == "transpose":
            x = F.conv_transpose2d(x, weight, bias, stride=2)
        else:
            x = F.conv2d(F.interpolate(x, scale_factor=2, mode="bilinear"), weight, bias)
        border = (skip.shape[-1] - x.shape[-1]) // 2
        inner = slice(border, skip.shape[-1] - border)
        x = double(torch.cat([skip[..., inner, inner], x], dim=1))
    logits = F.conv2d(x, next(values), next(values))
    assert next(values, None) is None
    return logits


@pytest.mark.parametrize("upsample", ["transpose", "bilinear"])
@pytest.mark.parametrize(
    ("depth", "padding", "size"), [(2, "same", 16), (3, "same", 24), (2, "valid", 44), (3, "valid", 92)]
)
def test_forward_is_the_papers(depth: int, padding: str, size: int, upsample: str) -> None:
    net = UNet(1, 2, 3, depth=depth, norm="none", upsample=upsample, padding=padding).double()
    image = torch.randn(1, 1, size, size, dtype=torch.float64)
    expected = plain_forward(net, image, depth, padding, upsample)
    torch.testing.assert_close(net(image), expected, rtol=1e-9, atol=1e-9)


def odd_sizes() -> list[tuple[int, int]]:
    rng = np.random.default_rng(0)
    drawn = [(int(h), int(w)) for h, w in rng.integers(1, 41, size=(10, 2))]
    return [(1, 1), (1, 40), (40, 1), (16, 17), (15, 32), (33, 31), *drawn]


@pytest.mark.parametrize(("height", "width"), odd_sizes())
def test_same_padding_takes_any_size(height: int, width: int) -> None:
    net = UNet(base_channels=2, depth=4).eval()
    image = torch.randn(1, 1, height, width)
    with torch.inference_mode():
        logits = net(image)
        assert logits.shape == image.shape
        assert torch.isfinite(logits).all()
        # The same as continuing the border by hand up to the next multiple of 16 and cutting it off.
        more = (
            (0, 0),
            (0, 0),
            (0, math.ceil(height / 16) * 16 - height),
            (0, math.ceil(width / 16) * 16 - width),
        )
        padded = torch.from_numpy(np.pad(image.numpy(), more, mode="edge"))
        torch.testing.assert_close(net(padded)[..., :height, :width], logits)


def test_same_padding_leaves_fitting_sizes_alone() -> None:
    image = torch.randn(1, 1, 32, 48)
    assert torch.equal(UNet(base_channels=2, depth=4).fit_size(image), image)


@pytest.mark.parametrize("norm", ["batch", "instance", "group", "none"])
@pytest.mark.parametrize("size", [1, 7, 16])
def test_one_pixel_at_the_bottom(norm: str, size: int) -> None:
    """A single small image in training: any size is taken, or refused by naming the size it comes to."""
    net = UNet(base_channels=2, depth=4, norm=norm).train()
    try:
        logits = net(torch.randn(1, 1, size, size))
    except ModelError as error:
        assert "16" in str(error)  # noqa: PT017
    else:
        assert logits.shape == (1, 1, size, size)
        assert torch.isfinite(logits).all()


def test_instance_norm_of_a_large_image_is_right_to_the_last_digits() -> None:
    norm = InstanceNorm(4, affine=True).eval()
    image = (torch.randn(1, 4, 1024, 1024) / 2 + 3).to(memory_format=torch.channels_last)
    exact = nn.functional.instance_norm(image.double())
    torch.testing.assert_close(norm(image).double(), exact, rtol=0, atol=1e-5)


def test_instance_norm_is_torchs_and_keeps_the_layout() -> None:
    ours, theirs = (kind(6, affine=True).train() for kind in (InstanceNorm, nn.InstanceNorm2d))
    theirs.load_state_dict({"weight": torch.randn(6), "bias": torch.randn(6)})
    ours.load_state_dict(theirs.state_dict())
    images = torch.randn(3, 6, 5, 7).to(memory_format=torch.channels_last)
    results = []
    for norm in (ours, theirs):
        x = images.clone().requires_grad_()
        out = norm(x)
        (out**3).sum().backward()
        results.append([out, x.grad, norm.weight.grad, norm.bias.grad])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)  # chips sum in other orders
    assert results[0][0].is_contiguous(memory_format=torch.channels_last)


def test_valid_sizes_of_the_paper() -> None:
    assert output_size(572, 4, "valid") == 388
    assert output_size(188, 4, "valid") == 4
    assert output_size(187, 4, "valid") is None
    assert output_size(512, 4, "valid") is None
    assert nearest_sizes(512, 4, "valid") == [508, 524]
    assert nearest_sizes(60, 4, "same") == [48, 64]
    assert nearest_sizes(5, 4, "same") == [16]
    assert nearest_sizes(5, 4, "valid") == [188]


@pytest.mark.parametrize("depth", [1, 2])
def test_size_arithmetic_agrees_with_the_network(depth: int) -> None:
    net = UNet(base_channels=1, depth=depth, padding="valid").eval()
    fits: dict[int, int] = {}
    with torch.inference_mode():
        for size in range(1, 61):
            try:
                fits[size] = net(torch.zeros(1, 1, size, size)).shape[-1]
            except ModelError:
                continue
    assert fits == {s: out for s in range(1, 61) if (out := output_size(s, depth, "valid")) is not None}
    assert len(fits) >= 5
    smallest, largest = min(fits), max(fits)
    for size in range(smallest + 1, largest):
        below, above = max(s for s in fits if s < size), min(s for s in fits if s > size)
        assert nearest_sizes(size, depth, "valid") == [below, above]


@pytest.mark.parametrize(("height", "width", "bad"), [(200, 188, 200), (188, 195, 195), (20, 20, 20)])
def test_error_names_sizes_that_work(height: int, width: int, bad: int) -> None:
    net = UNet(base_channels=1, depth=4, padding="valid").eval()
    with pytest.raises(ModelError, match=rf"{height} x {width}") as caught:
        net(torch.zeros(1, 1, height, width))
    first, *others = (int(number) for number in re.findall(r"\d+", caught.value.allowed))
    assert first == bad
    assert others
    for size in others:
        with torch.inference_mode():
            assert net(torch.zeros(1, 1, size, 188)).shape == (1, 1, output_size(size, 4, "valid"), 4)


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("shape", [(1, 1, 188, 188), (1, 4, 188, 188), (3, 188, 188), (188, 188)])
def test_wrong_channels_are_refused(shape: tuple[int, ...], padding: str) -> None:
    net = UNet(in_channels=3, base_channels=1, padding=padding)
    with pytest.raises(ModelError, match=re.escape(str(shape))) as caught:
        net(torch.zeros(shape))
    assert "3 channels" in caught.value.allowed
    assert "model.in_channels" in caught.value.do


@pytest.mark.parametrize("option", [{"norm": "bacth"}, {"upsample": "nearest"}, {"padding": "reflect"}])
def test_unknown_option_is_refused(option: dict[str, Any]) -> None:
    """From Python no schema stands in front; a misspelt norm must not mean none."""
    with pytest.raises(ModelError):
        UNet(base_channels=1, **option)


def hand_count(base: int, depth: int, ins: int, outs: int, norm: bool, transpose: bool = True) -> int:
    """Parameters: weights 9 i o per 3x3 convolution; a bias of o, or a scale and a shift of o each."""
    widths = [base << level for level in range(depth + 1)]

    def double(i: int, o: int) -> int:
        return 9 * i * o + 9 * o * o + 2 * (2 * o if norm else o)

    count = double(ins, widths[0]) + widths[0] * outs + outs
    for narrow, wide in pairwise(widths):
        count += double(narrow, wide)
        count += (4 if transpose else 1) * wide * narrow + narrow
        count += double(2 * narrow, narrow)
    return count


def parameters(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


def test_parameter_counts() -> None:
    with torch.device("meta"):
        assert parameters(UNet()) == hand_count(64, 4, 1, 1, norm=True) == 31_036_481
        small = parameters(UNet(base_channels=16))
        assert small == hand_count(16, 4, 1, 1, norm=True) == 1_942_289
        # Ronneberger's own: no normalisation, two logits. 23 convolutions.
        paper = UNet(out_channels=2, norm="none", padding="valid")
        assert parameters(paper) == hand_count(64, 4, 1, 2, norm=False) == 31_030_658
        assert sum(isinstance(m, (nn.Conv2d, nn.ConvTranspose2d)) for m in paper.modules()) == 23
        for norm in ("group", "instance"):
            bilinear = UNet(3, 4, 8, depth=3, norm=norm, upsample="bilinear")
            assert parameters(bilinear) == hand_count(8, 3, 3, 4, norm=True, transpose=False)


@pytest.mark.parametrize("upsample", ["transpose", "bilinear"])
def test_he_initialisation(upsample: str) -> None:
    net = UNet(base_channels=16, depth=3, norm="none", upsample=upsample)
    seen = 0
    for name, module in net.named_modules():
        if not isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            continue
        # What one output pixel adds up: a transposed 2x2 convolution of stride 2 gives it one tap.
        taps = 1 if isinstance(module, nn.ConvTranspose2d) else module.kernel_size[0] ** 2
        expected = math.sqrt(2 / (module.in_channels * taps))
        weight = module.weight.detach()
        if weight.numel() > 100:
            seen += 1
            spread = 5 / math.sqrt(2 * weight.numel())  # five standard errors
            assert weight.std().item() == pytest.approx(expected, rel=spread), name
            assert abs(weight.mean().item()) < 5 * expected / math.sqrt(weight.numel()), name
        assert module.bias is not None
        assert not module.bias.any()
    assert seen >= 17


def test_group_norm_groups() -> None:
    """Groups of 8 channels, and any width has some number of groups."""
    net = UNet(base_channels=16, depth=1, norm="group")
    groups = {m.num_channels: m.num_groups for m in net.modules() if isinstance(m, nn.GroupNorm)}
    assert groups == {16: 2, 32: 4}
    for base in (1, 3, 6, 12, 20):
        net = UNet(base_channels=base, depth=2, norm="group").eval()
        assert net(torch.randn(1, 1, 16, 16)).shape == (1, 1, 16, 16)


def test_defaults_are_the_schemas() -> None:
    taken = inspect.signature(UNet).parameters
    schema = {field.name: field for field in fields(UNetConfig) if field.name not in ("_target_", "weights")}
    assert list(taken) == list(schema)
    for name, field in schema.items():
        assert field.default is not MISSING
        if field.default == "auto":
            assert name in ("in_channels", "out_channels")
        else:
            assert taken[name].default == field.default, name
    assert UNetConfig._target_ == f"{UNet.__module__}.{UNet.__qualname__}"


def test_dropout_only_in_training() -> None:
    image = torch.randn(2, 1, 16, 16)
    plain = UNet(base_channels=4, depth=2, norm="none").train()
    assert torch.equal(plain(image), plain(image))
    net = UNet(base_channels=4, depth=2, norm="none", dropout=0.5)
    net.load_state_dict(plain.state_dict())
    assert not torch.equal(net.train()(image), net(image))
    assert torch.equal(net.eval()(image), plain(image))


@pytest.mark.parametrize("norm", ["batch", "instance", "group", "none"])
def test_images_of_a_batch_do_not_mix_in_evaluation(norm: str) -> None:
    net = UNet(base_channels=4, depth=2, norm=norm).eval()
    images = torch.randn(3, 1, 16, 20)
    with torch.inference_mode():
        alone = torch.cat([net(image[None]) for image in images])
        torch.testing.assert_close(net(images), alone)
        torch.testing.assert_close(net(images.to(memory_format=torch.channels_last)), alone)


@pytest.mark.parametrize("size", [(32, 48), (33, 45)])
def test_deep_supervision_asks_the_coarser_levels_in_training_only(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    deep = UNet(base_channels=2, depth=3, deep_supervision=True)
    plain = UNet(base_channels=2, depth=3)
    plain.load_state_dict({k: v for k, v in deep.state_dict().items() if not k.startswith("coarse_heads")})
    image = torch.randn(1, 1, *size)
    outputs = deep.train()(image)
    halves = [tuple(-(-side // 2**level) for side in size) for level in range(3)]
    assert [tuple(logits.shape) for logits in outputs] == [(1, 1, *half) for half in halves]
    assert torch.equal(outputs[0], plain.train()(image))
    assert torch.equal(deep.eval()(image), plain.eval()(image))
    with pytest.raises(ModelError, match="padding=same"):
        UNet(deep_supervision=True, padding="valid")


@pytest.mark.parametrize("size", [(32, 48), (33, 45)])
@pytest.mark.parametrize("deep_supervision", [False, True])
def test_a_stride_makes_blocks_of_pixels_channels(size: tuple[int, int], deep_supervision: bool) -> None:
    """The same network on an image that was rearranged by hand."""
    torch.manual_seed(0)
    strided = UNet(2, 3, base_channels=2, depth=2, stride=2, deep_supervision=deep_supervision)
    plain = UNet(2 * 4, 3 * 4, base_channels=2, depth=2, deep_supervision=deep_supervision)
    plain.load_state_dict(strided.state_dict())
    height, width = (-(-side // 8) * 8 for side in size)
    image = torch.randn(1, 2, height, width)
    image[..., size[0] :, :] = image[..., size[0] - 1 : size[0], :]
    image[..., size[1] :] = image[..., size[1] - 1 : size[1]]
    places = [image[..., row::2, column::2] for row in (0, 1) for column in (0, 1)]
    blocks = torch.stack(places, dim=2).flatten(1, 2)
    given, expected = strided.train()(image[..., : size[0], : size[1]]), plain.train()(blocks)
    for ours, theirs in zip(*(out if deep_supervision else [out] for out in (given, expected)), strict=True):
        assert ours.shape[1] == 3
        for number, (row, column) in enumerate([(0, 0), (0, 1), (1, 0), (1, 1)]):
            part = ours[..., row::2, column::2]
            torch.testing.assert_close(part, theirs[:, number::4, : part.shape[-2], : part.shape[-1]])


def test_strides_that_can_not_be() -> None:
    for stride in (0, 3):
        with pytest.raises(ModelError, match="1, 2, 4, 8"):
            UNet(stride=stride)
    with pytest.raises(ModelError, match="stride needs padding=same"):
        UNet(stride=2, padding="valid")


def test_leaky_relu_lets_a_hundredth_of_the_negative_through() -> None:
    block = DoubleConv(1, 1, "none", "leaky_relu", "same")
    for conv in (block[0], block[2]):
        assert isinstance(conv, nn.Conv2d)
        assert conv.bias is not None
        nn.init.dirac_(conv.weight)
        nn.init.zeros_(conv.bias)
    image = torch.tensor([[[[-1.0, 2.0]]]])
    assert torch.allclose(block(image.clone()), torch.tensor([[[[-0.0001, 2.0]]]]))
