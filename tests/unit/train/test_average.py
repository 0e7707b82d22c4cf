"""The moving average of weights, by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bench.train.average import Average


def _linear(weight: float) -> nn.Linear:
    net = nn.Linear(1, 1, bias=False)
    net.weight.data.fill_(weight)
    return net


def test_by_hand() -> None:
    net = _linear(0.0)
    average = Average(net, 0.25)
    net.weight.data.fill_(11.0)
    average.update()  # d = min(0.25, 2/11): 2/11 * 0 + 9/11 * 11 = 9
    assert average.state()["weight"].item() == pytest.approx(9.0, rel=1e-6)
    net.weight.data.fill_(1.0)
    average.update()  # d = min(0.25, 3/12) = 0.25: 0.25 * 9 + 0.75 * 1 = 3
    assert average.state()["weight"].item() == pytest.approx(3.0, rel=1e-6)
    net.weight.data.fill_(5.0)
    average.update()  # d = min(0.25, 4/13) = 0.25: 0.25 * 3 + 0.75 * 5 = 4.5
    assert average.state()["weight"].item() == pytest.approx(4.5, rel=1e-6)


def test_swapping_lends_the_average_and_gives_the_weights_back() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    average = Average(net, 0.5)
    net(torch.randn(4, 2)).sum().backward()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(1.0)
    average.update()
    own = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    mean = average.state()
    expected = {name: tensor.clone() for name, tensor in mean.items()}
    with average.swapped():
        for name, parameter in net.named_parameters():
            assert torch.equal(parameter, expected[name]) and not torch.equal(parameter, own[name])
        for name, buffer in net.named_buffers():
            assert torch.equal(buffer, own[name]), "BatchNorm's statistics are the network's own"
    assert all(torch.equal(tensor, own[name]) for name, tensor in net.state_dict().items())
    assert all(torch.equal(tensor, expected[name]) for name, tensor in average.state().items())


def test_continues_from_its_state() -> None:
    one, other = _linear(1.0), _linear(1.0)
    straight, resumed = Average(one, 0.9), Average(other, 0.9)
    one.weight.data.fill_(2.0)
    straight.update()
    resumed.load(straight.state())
    for net, average in ((one, straight), (other, resumed)):
        net.weight.data.fill_(7.0)
        average.update()
    assert torch.equal(straight.state()["weight"], resumed.state()["weight"])


def test_is_the_formula_after_many_steps() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 3))
    average, optimizer = Average(net, 0.9), torch.optim.SGD(net.parameters(), 0.01, momentum=0.9)
    expected = {name: parameter.detach().clone() for name, parameter in net.named_parameters()}
    for step in range(1, 41):
        optimizer.zero_grad()
        net(torch.randn(8, 1, 3, 3)).square().mean().backward()
        optimizer.step()
        average.update()
        decay = min(0.9, (1 + step) / (10 + step))
        for name, parameter in net.named_parameters():
            expected[name].lerp_(parameter.detach(), 1 - decay)
    held = average.state()
    assert int(held.pop("")) == 40 and list(held) == list(expected)
    for name, mean in expected.items():
        assert torch.isfinite(mean).all()
        torch.testing.assert_close(held[name], mean, rtol=1e-6, atol=1e-8)
