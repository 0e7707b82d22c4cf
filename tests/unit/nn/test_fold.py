"""A folded network answers as the network does in eval mode, whatever happens to its weights."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.api import Task
from bench.core.threat import Budget, Norm
from bench.nn.architectures import network
from bench.nn.fold import Folded, NotFolded, fold, folded


def _randomized(net: nn.Module, seed: int = 0) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None and module.running_var is not None
            module.running_mean.uniform_(-0.5, 0.5, generator=generator)
            module.running_var.uniform_(0.5, 2.0, generator=generator)
            if module.weight is not None:
                module.weight.data.uniform_(0.5, 1.5, generator=generator)
                module.bias.data.uniform_(-0.5, 0.5, generator=generator)
    return net


class Small(nn.Module):
    """conv-BN with and without bias, a shared convolution, a BatchNorm that must stay, dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("shift", torch.tensor(0.3))
        self.conv1, self.norm1 = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.conv2, self.norm2 = nn.Conv2d(8, 8, 3, bias=False), nn.BatchNorm2d(8, affine=False)
        self.conv3, self.norm3 = nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8)
        self.before = nn.BatchNorm2d(3)
        self.dropout = nn.Dropout(0.5)
        self.linear = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm1(self.conv1(self.before(x - self.shift))).relu()
        x = self.norm2(self.conv2(x)).relu()
        both = self.conv3(x)  # two users: norm3 must not be folded into it
        x = self.norm3(both) + both
        x = F.dropout(self.dropout(x), 0.5, self.training)
        return self.linear(x.mean((2, 3)))


def _images(seed: int = 1, n: int = 4, size: int = 16) -> Tensor:
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("channels_last", [False, True])
def test_same_logits_and_gradients_with_exactly_the_foldable_pairs(channels_last: bool) -> None:
    net = _randomized(Small()).train()
    folded = fold(net, _images(2), channels_last)
    assert isinstance(folded, Folded) and folded.pairs == 2
    assert net.training and net.dropout.training, "folding must not change the network's mode"
    x, x_net = _images().requires_grad_(), _images().requires_grad_()
    ours = folded(x)  # the live network is in train mode: the copy must not care
    theirs = copy.deepcopy(net).eval()(x_net)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    ours.square().sum().backward()
    theirs.square().sum().backward()
    torch.testing.assert_close(x.grad, x_net.grad, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("architecture", "fewest"), [("resnet18", 20), ("preact_resnet18", 8), ("wide_resnet_10_1", 3)]
)
def test_architectures(architecture: str, fewest: int) -> None:
    budget = Budget(Norm.LINF, 0)  # type: ignore[arg-type]
    task = Task("toy", 10, (3, 16, 16), (0.5,) * 3, (0.25,) * 3, architecture, budget)
    net = _randomized(network(task)).eval()
    folded = fold(net, _images(2))
    assert isinstance(folded, Folded) and folded.pairs >= fewest
    norms = sum(isinstance(module, nn.BatchNorm2d) for module in net.modules())
    assert folded.pairs == norms if architecture == "resnet18" else folded.pairs < norms
    with torch.no_grad():
        torch.testing.assert_close(folded(_images()), net(_images()), atol=1e-5, rtol=1e-4)


def test_refresh_follows_training_without_a_new_trace() -> None:
    net = _randomized(Small()).train()
    folded = fold(net, _images(2))
    assert isinstance(folded, Folded)
    graph = folded._graph
    stale = folded(_images())
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    net(_images(3)).square().sum().backward()
    optimizer.step()
    folded.refresh()
    assert folded._graph is graph
    assert not torch.allclose(folded(_images()), stale, atol=1e-3)
    torch.testing.assert_close(folded(_images()), net.eval()(_images()), atol=1e-5, rtol=1e-5)


def test_refresh_sees_replaced_buffers_and_switches() -> None:
    class Switched(Small):
        double = False

        def forward(self, x: Tensor) -> Tensor:
            logits = super().forward(x)
            return 2 * logits if self.double else logits

    net = _randomized(Switched()).eval()
    net.double = False
    folded = fold(net, _images(2))
    assert isinstance(folded, Folded)
    net.double = True
    folded.refresh()
    torch.testing.assert_close(folded(_images()), net(_images()), atol=1e-5, rtol=1e-5)
    net.shift = torch.tensor(-0.4)
    folded.refresh()
    torch.testing.assert_close(folded(_images()), net(_images()), atol=1e-5, rtol=1e-5)


def test_no_gradient_of_weights_is_asked_for() -> None:
    net = _randomized(Small()).eval().requires_grad_(False)
    folded = fold(net, _images(2))
    assert not any(parameter.requires_grad for parameter in folded.parameters())
    assert not folded(_images()).requires_grad


class Branching(Small):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x if float(x.mean()) > 0.5 else 1 - x)  # depends on the data: untraceable


class Noisy(Small):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x + 0.5 * torch.randn(1))  # a trace would freeze this draw


class Hidden(Small):
    mask = torch.ones(1)  # neither parameter nor buffer

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x * self.mask)


class Detached(Small):
    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            hidden = 0.5 * x
        return super().forward(x + hidden)  # logits of a trace would be right, gradients wrong


@pytest.mark.parametrize("kind", [Branching, Noisy, Hidden, Detached])
def test_what_a_trace_cannot_hold_stays_itself_in_eval_mode(kind: type[nn.Module]) -> None:
    net = _randomized(kind()).train()
    state = torch.random.get_rng_state()
    assert fold(net, _images(2)) is net
    assert not any(module.training for module in net.modules())
    assert torch.equal(torch.random.get_rng_state(), state), "folding must not draw random numbers"


@pytest.mark.parametrize("kind", [Branching, Noisy, Hidden, Detached])
def test_a_refusal_says_why_in_a_sentence(kind: type[nn.Module]) -> None:
    with pytest.raises(NotFolded, match=r"cannot trace|logits differ|gradients differ") as refused:
        folded(_randomized(kind()), _images(2))
    assert not refused.value.idle


class AtKinks(nn.Module):
    """Every fourth image meets a ReLU whose input is nothing but rounding: one copy may pass it, one not."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.conv, self.norm = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)
        self.linear = nn.Linear(8, 5)
        _randomized(self, seed)
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.norm(self.conv(x)).relu()
        return self.linear(hidden.amax((2, 3)))

    @torch.no_grad()
    def put_at_kink(self, image: Tensor) -> None:
        """Every unit's largest input becomes 0, up to rounding, on this image [C, H, W]."""
        self.norm.bias -= self.norm(self.conv(image[None])).amax((0, 2, 3))


def test_kinks_of_relus_break_no_decision_on_48_random_pairs() -> None:
    turned = 0
    for seed in range(48):
        net, x = AtKinks(seed), _images(seed, 8, 6)
        net.put_at_kink(x[seed % 8])
        copied = folded(net, x)
        slopes = [
            torch.autograd.grad(f(z).sum(), z)[0] for f in (copied, net) for z in [x.clone().requires_grad_()]
        ]
        turned += not torch.allclose(*slopes, rtol=1e-3, atol=1e-4 * float(slopes[1].abs().max()))
    assert turned > 5, f"kinks turned {turned} gradients: the test shows nothing without any"


def test_autocast_around_changes_no_decision() -> None:
    net, x = _randomized(Small()).eval(), _images(3, 8)
    with torch.autocast("cpu", torch.bfloat16):
        assert isinstance(folded(net, x), Folded)


def test_autocast_inside_is_compared_in_float32() -> None:
    class Cast(Small):
        def forward(self, x: Tensor) -> Tensor:
            with torch.autocast("cpu", torch.bfloat16):
                return super().forward(x)

    net = _randomized(Cast()).eval()
    assert fold(net, _images(3, 8)) is net, "a trace loses the autocast, so it answers in another precision"


def test_gradients_as_small_as_rounding_are_compared_by_direction() -> None:
    net = _randomized(Small()).eval()
    net.linear.weight.data *= 1e-9
    assert isinstance(folded(net, _images(3, 8)), Folded)


def test_nothing_to_fold_stays_itself() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(2))
    net(_images())
    assert fold(net, _images()) is net


def test_subclasses_and_hooks_are_not_folded() -> None:
    class Doubled(nn.Conv2d):
        def forward(self, x: Tensor) -> Tensor:
            return 2 * super().forward(x)

    tail = [nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    net = nn.Sequential(Doubled(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), *tail)
    net[2].register_forward_hook(lambda module, args, output: 3 * output)
    net = _randomized(net).eval()
    assert fold(net, _images()) is net
