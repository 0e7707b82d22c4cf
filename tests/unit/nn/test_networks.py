from fractions import Fraction

import pytest
import torch
from torch import fx, nn
from torch.utils.flop_counter import FlopCounterMode

from bench.api import FeatureNetwork, Task
from bench.core.threat import Budget, Norm
from bench.errors import BadValue
from bench.nn.architectures import network
from bench.nn.small_cnn import SmallCNN
from bench.nn.wide_resnet import WideResNet

NAMES = ("small_cnn", "lenet", "small_resnet", "resnet18", "preact_resnet18", "wide_resnet_10_1")
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)


def build(name, shape=(3, 32, 32), mean=None, std=None):
    torch.manual_seed(0)
    mean, std = mean or MEAN[: shape[0]], std or STD[: shape[0]]
    return network(Task("cifar10", 10, shape, mean, std, name, Budget(Norm.LINF, Fraction(8, 255)))).eval()


def with_statistics(net, shape):
    """BatchNorm as after some training."""
    net.train()
    with torch.no_grad():
        net(torch.rand(8, *shape))
    return net.eval()


@pytest.mark.parametrize("name", NAMES)
def test_features_come_from_the_same_pass_as_logits(name):
    net = with_statistics(build(name), (3, 32, 32))
    x = torch.rand(4, 3, 32, 32)
    lent = net.forward_features(x)
    assert isinstance(net, FeatureNetwork)
    assert torch.equal(net(x), lent.logits)
    last = [module for module in net.modules() if isinstance(module, nn.Linear)][-1]
    assert torch.allclose(last(lent.features), lent.logits)
    assert lent.features.ndim == 2 and lent.feature_map is lent.stages[-1]


@pytest.mark.parametrize("name", NAMES)
def test_maps_are_non_negative_and_shrink(name):
    lent = with_statistics(build(name), (3, 32, 32)).forward_features(torch.rand(2, 3, 32, 32))
    assert all(stage.min() >= 0 and stage.max() > 0 for stage in lent.stages)
    sides = [stage.shape[-1] for stage in lent.stages]
    assert sides == sorted(sides, reverse=True)


@pytest.mark.parametrize("name", NAMES[2:])
def test_features_of_residual_networks_are_the_mean_of_the_map(name):
    lent = build(name).forward_features(torch.rand(2, 3, 32, 32))
    assert torch.allclose(lent.features, lent.feature_map.mean(dim=(2, 3)), atol=1e-6)


@pytest.mark.parametrize(
    ("name", "sides"),
    [
        ("small_cnn", [16, 8]),
        ("small_resnet", [16, 8, 4, 4]),
        ("resnet18", [32, 16, 8, 4]),
        ("preact_resnet18", [32, 16, 8, 4]),
        ("wide_resnet_10_1", [32, 16, 8]),
    ],
)
def test_sizes_of_the_maps(name, sides):
    lent = build(name).forward_features(torch.rand(1, 3, 32, 32))
    assert [stage.shape[-1] for stage in lent.stages] == sides


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 64, 64), (3, 20, 33)])
def test_other_image_sizes(name, shape):
    net = build(name, shape)
    with torch.no_grad():
        assert net(torch.rand(1, *shape)).shape == (1, 10)


@pytest.mark.parametrize("name", NAMES)
def test_normalisation_is_inside_and_not_in_the_checkpoint(name):
    plain = with_statistics(build(name, mean=(0.0,) * 3, std=(1.0,) * 3), (3, 32, 32))
    inside = build(name)
    assert inside.load_state_dict(plain.state_dict(), strict=True)
    assert not [key for key in inside.state_dict() if "normalize" in key]
    x = torch.rand(2, 3, 32, 32)
    mean, std = torch.tensor(MEAN).view(3, 1, 1), torch.tensor(STD).view(3, 1, 1)
    assert torch.allclose(inside(x), plain((x - mean) / std), atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_tracing_gives_the_same_numbers(name):
    net = with_statistics(build(name), (3, 32, 32))
    x = torch.rand(2, 3, 32, 32)
    assert torch.allclose(fx.symbolic_trace(net)(x), net(x), atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_logits_follow_every_pixel_and_every_weight(name):
    net = build(name, (1, 8, 8)).train()
    x = torch.rand(4, 1, 8, 8, requires_grad=True)
    nn.functional.cross_entropy(net(x), torch.tensor([0, 1, 2, 3])).backward()
    assert torch.isfinite(x.grad).all() and x.grad.abs().sum() > 0
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in net.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_lending_features_moves_running_statistics_once(name):
    net, twin = build(name).train(), build(name).train()
    x = torch.rand(4, 3, 32, 32)
    net(x)
    twin.forward_features(x)
    pairs = zip(net.state_dict().values(), twin.state_dict().values(), strict=True)
    assert all(torch.equal(mine, other) for mine, other in pairs)


def test_small_cnn_costs_what_its_page_says():
    # positions x outputs x inputs: 14*14*16*36 + 7*7*32*64 + 32*49*128 + 128*10
    with FlopCounterMode(display=False) as counter:
        SmallCNN((1, 28, 28), 10, (0.0,), (1.0,))(torch.rand(1, 1, 28, 28))
    assert counter.get_total_flops() / 2 == 415_232


def test_small_resnet_costs_what_its_page_says():
    # 3x3: 12*48 + 2*48*48 at 16x16, 48*96 + 96*96 at 8x8, 96*192 + 3*192*192 at 4x4; two shortcuts; linear
    convolutions = 9 * (256 * (12 * 48 + 2 * 48**2) + 64 * (48 * 96 + 96**2) + 16 * (96 * 192 + 3 * 192**2))
    with FlopCounterMode(display=False) as counter:
        net = build("small_resnet")
        net(torch.rand(1, 3, 32, 32))
    assert counter.get_total_flops() / 2 == convolutions + 64 * 48 * 96 + 16 * 96 * 192 + 1920
    assert sum(p.numel() for p in net.parameters()) == 1_360_042


def test_images_that_are_too_small_are_refused():
    with pytest.raises(BadValue, match="3x8 images, expected at least 4x4"):
        SmallCNN((1, 3, 8), 10, (0.0,), (1.0,))


def test_wrong_normalisation_is_refused():
    with pytest.raises(BadValue, match="std of a channel is 0"):
        SmallCNN((1, 8, 8), 10, (0.5,), (0.0,))
    with pytest.raises(BadValue, match="mean has 1 and the std 2 channels"):
        SmallCNN((1, 8, 8), 10, (0.5,), (0.5, 0.5))


def test_a_wide_checkpoint_with_other_surplus_keys_is_still_refused():
    net = WideResNet((3, 32, 32), 10, MEAN, STD, depth=10, width=1)
    weights = net.state_dict()
    weights["sub_block1.layer.0.bn1.weight"] = torch.ones(16)
    net.load_state_dict(weights, strict=True)
    nn.Sequential(net).load_state_dict({f"0.{key}": value for key, value in weights.items()}, strict=True)
    weights["sub_block2.layer.0.bn1.weight"] = torch.ones(16)
    with pytest.raises(RuntimeError, match="sub_block2"):
        net.load_state_dict(weights, strict=True)
    assert "sub_block1.layer.0.bn1.weight" in weights  # the caller's dictionary is left alone
