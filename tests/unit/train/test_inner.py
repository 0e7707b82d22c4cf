"""The inner attack leaves no trace in the network, and climbs the loss that it was given."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from fractions import Fraction
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from bench.api import Attack, Oracle
from bench.attacks.pgd import PGD
from bench.core.threat import Budget, Norm
from bench.errors import AccessDenied
from bench.nn.fold import Folded, fold
from bench.train.inner import InnerOracle, attack_network, frozen
from bench.train.model import training_model

BUDGET = Budget(Norm.LINF, Fraction(1, 10))


def _net() -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Flatten(),
        nn.Linear(256, 3),
    )
    net[0].weight.requires_grad_(False)  # a part that its defense has frozen
    net.train()
    net[1].eval()  # and a module with a mode of its own
    return net


def _attack(net: nn.Module, attack: Attack, *labels: Tensor, folded: nn.Module | None = None) -> Tensor:
    x = torch.rand(6, 1, 8, 8, generator=Generator().manual_seed(1))
    generator = Generator().manual_seed(2)
    return attack_network(
        net, attack, x, *labels, budget=BUDGET, generator=generator, num_classes=3, folded=folded
    )


Y = torch.tensor([0, 1, 2, 0, 1, 2])


def test_nothing_is_left_behind() -> None:
    net = _net()
    for parameter in net.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.full_like(parameter, 3.0)
    state = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    modes = [module.training for module in net.modules()]
    asked = [parameter.requires_grad for parameter in net.parameters()]
    gradients = [None if p.grad is None else p.grad.clone() for p in net.parameters()]
    x_adv = _attack(net, PGD(steps=3), Y)
    assert not x_adv.requires_grad
    assert all(torch.equal(tensor, state[name]) for name, tensor in net.state_dict().items())
    assert [module.training for module in net.modules()] == modes
    assert [parameter.requires_grad for parameter in net.parameters()] == asked
    for parameter, before in zip(net.parameters(), gradients, strict=True):
        assert (parameter.grad is None) == (before is None)
        assert before is None or torch.equal(parameter.grad, before)  # type: ignore[arg-type]


def test_modes_and_flags_return_after_an_error() -> None:
    net = _net()
    modes = [module.training for module in net.modules()]
    with pytest.raises(RuntimeError), frozen(net):
        assert not any(module.training for module in net.modules())
        assert not any(parameter.requires_grad for parameter in net.parameters())
        raise RuntimeError
    assert [module.training for module in net.modules()] == modes
    assert net[1].weight.requires_grad and not net[0].weight.requires_grad


def test_a_pending_graph_still_reaches_every_weight() -> None:
    """TRADES forwards the clean images, attacks, and only then goes backward."""
    net = _net()
    clean = F.cross_entropy(net(torch.rand(6, 1, 8, 8)), Y)
    x_adv = _attack(net, PGD(steps=2), Y)
    (clean + F.cross_entropy(net(x_adv), Y)).backward()
    for name, parameter in net.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_the_fast_copy_gives_the_same_attack() -> None:
    net = _net()
    folded = fold(net, torch.rand(2, 1, 8, 8))
    assert isinstance(folded, Folded)
    with torch.no_grad():
        net[1].running_var.mul_(3.0)  # the copy must follow
        net[1].bias.add_(0.5)
    net.train()
    plain, fast = _attack(net, PGD(steps=4), Y), _attack(net, PGD(steps=4), Y, folded=folded)
    # a sign may differ where a gradient is nearly zero
    assert ((plain - fast).abs() > 1e-6).float().mean() < 0.01


def test_a_linear_classifier_is_attacked_to_its_closed_form() -> None:
    """The worst image under Linf is x - eps sign(w_y - w_other), cut to the box."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 2, bias=False))
    x = torch.rand(6, 1, 8, 8, generator=Generator().manual_seed(1))
    y = torch.tensor([0, 1] * 3)
    x_adv = _attack(net, PGD(steps=10), y)
    weight = net[1].weight.detach()  # type: ignore[union-attr]
    push = (weight[1 - y] - weight[y]).sign().view(6, 1, 8, 8)
    torch.testing.assert_close(x_adv, (x + 0.1 * push).clamp(0, 1), atol=1e-6, rtol=0)


@dataclass(frozen=True)
class Climbing:
    """One gradient step up the divergence from whatever labels it is handed."""

    steps: int = 1

    def __call__(self, oracle: Oracle, x: Tensor, y: Tensor, budget: Budget, generator: Generator) -> Tensor:
        half = oracle.only(torch.arange(len(x)))
        climb = half.climb(lambda z, p, *more: _divergence(z, p) + sum(m.float() for m in more), x + 0.01, y)
        return x + climb.gradient


def _divergence(logits: Tensor, target: Tensor) -> Tensor:
    return F.kl_div(logits.log_softmax(1), target.softmax(1), reduction="none").sum(1)


def test_labels_of_any_shape_and_further_labels_reach_the_loss() -> None:
    net = _net()
    x = torch.rand(6, 1, 8, 8, generator=Generator().manual_seed(1))
    soft = torch.randn(6, 3, generator=Generator().manual_seed(3))
    moved = _attack(net, Climbing(), soft, torch.arange(6))
    with frozen(net):
        x_own = (x + 0.01).requires_grad_()
        (expected,) = torch.autograd.grad(_divergence(net(x_own), soft).sum(), x_own)
    torch.testing.assert_close(moved, x + expected)


def test_the_oracle_answers_as_the_network() -> None:
    net = _net().eval()
    x = torch.rand(4, 1, 8, 8)
    oracle = InnerOracle(net, 3, torch.zeros(4, dtype=torch.bool), more_labels=(torch.arange(4),))
    assert isinstance(oracle, Oracle)
    assert torch.equal(oracle.logits(x), net(x)) and torch.equal(oracle.labels(x), net(x).argmax(1))
    assert not oracle.broken().any()
    some = oracle.only(torch.tensor([3, 1]))
    assert len(some.broken()) == 2
    climb = some.climb(lambda z, y, more: (y + more).float() * z[:, 0], x[[3, 1]], torch.tensor([10, 20]))
    assert climb.loss.tolist() == pytest.approx((torch.tensor([13, 21]) * net(x[[3, 1]])[:, 0]).tolist())
    with pytest.raises(AccessDenied):
        oracle.climb(None, x, Y[:4])


def test_a_loss_scale_does_not_change_the_gradient() -> None:
    net, x = _net().eval(), torch.rand(6, 1, 8, 8)
    nothing = torch.zeros(6, dtype=torch.bool)
    loss = partial(F.cross_entropy, reduction="none")
    plain = InnerOracle(net, 3, nothing).climb(loss, x, Y)
    scaled = InnerOracle(net, 3, nothing, loss_scale=1024.0).climb(loss, x, Y)
    torch.testing.assert_close(plain.gradient, scaled.gradient)
    torch.testing.assert_close(plain.loss, scaled.loss)


def test_the_network_as_a_step_sees_it_is_attacked_itself() -> None:
    net = _net()
    model = training_model(net, nullcontext, channels_last=True)
    assert torch.equal(_attack(model, PGD(steps=2), Y), _attack(net, PGD(steps=2), Y))
