"""Bounds against intervals by hand, closed forms, sampled images, and another library's numbers."""

from __future__ import annotations

import copy
from fractions import Fraction

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bench.attacks.geometry import project
from bench.core.threat import Budget, Norm
from bench.nn.bounds.crown import Bounds
from bench.nn.bounds.intervals import Span, box_around, worst_logits
from bench.nn.bounds.steps import NotBounded, Steps
from bench.nn.lenet import LeNet
from bench.nn.preact_resnet import PreActResNet
from bench.nn.small_cnn import SmallCNN
from bench.nn.wide_resnet import WideResNet


def linf(eps):
    return Budget(Norm.LINF, Fraction(eps))


def margins(net, x, y, budget, tight):
    with torch.no_grad():
        return Bounds(Steps(net), x, budget, tight).margins(y)


def two_layers():
    """z = (h1 - h2, h2), h = relu(W x + b), written down."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2)).double()
    with torch.no_grad():
        net[1].weight.copy_(torch.tensor([[1.0, -1.0], [2.0, 1.0]]))
        net[1].bias.copy_(torch.tensor([0.5, -1.0]))
        net[3].weight.copy_(torch.tensor([[1.0, -1.0], [0.0, 1.0]]))
        net[3].bias.zero_()
    return net


def test_a_network_of_two_layers_by_hand():
    """x in [0.4, 0.6] x [0.1, 0.3]: W x + b in [0.6, 1.0] and [-0.1, 0.5]; h in [0.6, 1.0] x [0, 0.5]."""
    net, x = two_layers(), torch.tensor([0.5, 0.2]).double().view(1, 1, 1, 2)
    logits, worst = worst_logits(Steps(net), x, torch.tensor([0]), box_around(x, linf("0.1")))
    assert logits[0].tolist() == pytest.approx([0.8 - 0.2, 0.2])
    # z2 - z1 = -h1 + 2 h2 is at most -0.6 + 2 * 0.5
    assert worst[0].tolist() == pytest.approx([0.0, 0.4])
    assert margins(net, x, torch.tensor([0]), linf("0.1"), tight=False).item() == pytest.approx(-0.4)
    # the chord over [-0.1, 0.5] is 5/6 (t + 0.1); h1 - 2 h2 >= (x1 - x2 + 0.5) - 5/3 (2 x1 + x2 - 0.9),
    # which is least at the upper right corner: 0.8 - 5/3 * 0.6
    assert margins(net, x, torch.tensor([0]), linf("0.1"), tight=True).item() == pytest.approx(-0.2)


def test_what_relaxes_is_never_looser_than_intervals():
    """relu(t) - relu(-t) on t in [-1, 2]: intervals give -1, and lines alone only -2."""
    net = nn.Sequential(
        nn.Flatten(), nn.Linear(1, 2, bias=False), nn.ReLU(), nn.Linear(2, 2, bias=False)
    ).double()
    with torch.no_grad():
        net[1].weight.copy_(torch.tensor([[3.0], [-3.0]]))
        net[3].weight.copy_(torch.tensor([[1.0, -1.0], [0.0, 0.0]]))
        net[1].bias = nn.Parameter(torch.tensor([-1.0, 1.0]).double())
    x = torch.full((1, 1, 1, 1), 0.5).double()  # in [0, 1]: 3 x - 1 in [-1, 2]
    assert margins(net, x, torch.tensor([0]), linf(1), tight=True).item() == pytest.approx(-1.0)


@pytest.mark.parametrize("tight", [False, True])
@pytest.mark.parametrize("norm", ["Linf", "L1", "L0"])
def test_of_a_linear_network_they_are_exact(norm, tight):
    """Two classes: the worst case of the logit difference w x + b within ball and box, pixel by pixel."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 2)).double()
    x = torch.rand(20, 1, 4, 4).double()
    y = net(x).argmax(1).detach()
    eps = {"Linf": "0.1", "L1": "0.02", "L0": "3"}[norm]  # an L1 ball that stays inside the box
    x = x if norm != "L1" else 0.1 + 0.8 * x
    slope = (net[1].weight[y] - net[1].weight[1 - y]).detach()
    flat = x.flatten(1)
    falls = torch.minimum(slope * (0 - flat), slope * (1 - flat))
    known = {
        "Linf": ((flat - 0.1 * slope.sign()).clamp(0, 1) * slope).sum(1),
        "L1": (flat * slope).sum(1) - 0.02 * slope.abs().amax(1),
        "L0": (flat * slope).sum(1) + falls.sort(1).values[:, :3].sum(1),
    }[norm]
    known = known + (net[1].bias[y] - net[1].bias[1 - y]).detach()
    found = margins(net, x, y, Budget(Norm(norm), Fraction(eps)), tight)
    assert torch.allclose(found, known, atol=1e-12)


def test_under_l2_a_linear_network_is_bounded_by_ball_and_box():
    torch.manual_seed(1)
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 2)).double()
    x = 0.4 + 0.2 * torch.rand(20, 1, 4, 4).double()  # farther from the box than the radius
    y = net(x).argmax(1)
    slope = (net[1].weight[y] - net[1].weight[1 - y]).detach()
    logits = net(x).detach()
    here = logits.gather(1, y[:, None])[:, 0] - logits.gather(1, 1 - y[:, None])[:, 0]
    found = margins(net, x, y, Budget(Norm.L2, Fraction("0.3")), tight=True)
    assert torch.allclose(found, here - 0.3 * slope.norm(dim=1), atol=1e-12)


def shaken(net):
    """A network whose BatchNorms have statistics of their own."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.1, 0.1)
            module.running_var.uniform_(0.5, 2)
    return net.double().eval()


NETWORKS = {
    "small_cnn": lambda: SmallCNN((1, 8, 8), 4, [0.3], [0.4]),
    "lenet": lambda: LeNet((1, 8, 8), 4, [0.3], [0.4]),
    "wide_resnet": lambda: WideResNet((1, 4, 4), 4, [0.3], [0.4], 10, 1),
    "shapes": lambda: nn.Sequential(
        *(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.AvgPool2d(2)),
        *(nn.Conv2d(4, 4, 1), nn.Tanh(), nn.MaxPool2d(2), nn.Dropout(0.5), nn.Flatten(), nn.Linear(16, 4)),
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(("norm", "eps"), [("Linf", "0.03"), ("L2", "0.2"), ("L1", "0.4"), ("L0", "2")])
def test_they_hold_for_whatever_lies_within_the_budget(name, norm, eps):
    torch.manual_seed(2)
    net = shaken(NETWORKS[name]())
    side = 4 if name == "wide_resnet" else 8
    x, budget = torch.rand(2, 1, side, side).double(), Budget(Norm(norm), Fraction(eps))
    y = net(x).argmax(1)
    loose, tight = (margins(net, x, y, budget, how) for how in (False, True))
    assert (tight >= loose - 1e-9).all()
    assert (tight > loose + 1e-9).any() or name == "shapes", "a tanh has no lines"
    for scale in (0.3, 1.0, 3.0):
        near = (x + scale * float(budget.eps) * torch.randn(200, *x.shape).double()).flatten(0, 1)
        near = project(near, x.repeat(200, 1, 1, 1), budget)
        logits = net(near).detach().view(200, 2, -1)
        right = logits.gather(2, y.expand(200, 2)[:, :, None])[:, :, 0]
        others = logits.scatter(2, y.expand(200, 2)[:, :, None], -torch.inf).amax(2)
        assert ((right - others).amin(0) >= tight - 1e-9).all()


def test_intervals_follow_a_residual_network_with_a_last_batch_norm():
    torch.manual_seed(3)
    net = shaken(PreActResNet((3, 8, 8), 4, [0.3] * 3, [0.4] * 3, blocks=(1, 1, 1, 1)))
    x = torch.rand(2, 3, 8, 8).double()
    y = net(x).argmax(1)
    here = Bounds(Steps(net), x, linf("1/1000000000000"), tight=False)
    gap = net(x).topk(2, dim=1).values
    assert torch.allclose(here.margins(y), gap[:, 0] - gap[:, 1], atol=1e-4)
    assert (
        here.neurons
        == sum(c * s * s * n for c, s, n in ((64, 8, 2), (128, 4, 1), (64, 8, 1), (256, 2, 1), (128, 4, 1)))
        + 256 * 4
        + 512
        + 512
    )


def written_down():
    """A network whose weights are a formula, so that every library can have it."""

    def weights(*shape, phase):
        size = torch.Size(shape).numel()
        return (torch.sin(torch.arange(size, dtype=torch.float64) * 1.7 + phase) * 0.5).view(shape)

    net = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, stride=2), nn.ReLU(), nn.Flatten(),
        nn.Linear(36, 12), nn.ReLU(), nn.Linear(12, 3),
    ).double()  # fmt: skip
    with torch.no_grad():
        for place, parameter in enumerate(net.parameters()):
            parameter.copy_(weights(*parameter.shape, phase=place))
    x = (0.5 + 0.4 * torch.sin(torch.arange(3 * 64, dtype=torch.float64) * 0.9)).view(3, 1, 8, 8)
    return net, x


LIBRARY = {
    "ibp": [-2.9339098390712155, -2.4025487715619036, -2.2690772203228584],
    "crown": [0.5158205083727776, 1.1313709602972077, 1.4950689838813114],
}
"""Of auto_LiRPA 0.7.1 (methods IBP and CROWN), least margins of the network above at Linf 0.01 in the box."""


@pytest.mark.parametrize("method", LIBRARY)
def test_they_are_those_of_another_library(method):
    net, x = written_down()
    y = net(x).argmax(1)
    found = margins(net, x, y, linf("0.01"), tight=method == "crown")
    assert found.tolist() == pytest.approx(LIBRARY[method], rel=1e-6)


def test_batch_statistics_in_training_are_those_of_the_clean_images_and_count_once():
    torch.manual_seed(4)
    net = nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(108, 3)
    ).train()
    plain = copy.deepcopy(net)
    x, y = torch.rand(5, 1, 8, 8), torch.tensor([0, 1, 2, 0, 1])
    logits, worst = worst_logits(Steps(net), x, y, Span(x, x))
    known = plain(x)
    assert torch.allclose(logits, known, atol=1e-5)
    assert torch.allclose(worst, known - known.gather(1, y[:, None]), atol=1e-4)
    for name, buffer in plain.named_buffers():
        assert torch.allclose(buffer, dict(net.named_buffers())[name], atol=1e-6), name
    assert net[1].num_batches_tracked.item() == 1


def test_a_network_that_ends_in_no_linear_layer_is_bounded_too():
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.ReLU()).double()
    x, y = torch.rand(2, 1, 2, 2).double(), torch.tensor([0, 2])
    _, worst = worst_logits(Steps(net), x, y, box_around(x, linf("0.1")))
    assert (worst.gather(1, y[:, None]) == 0).all()
    near = net((x + 0.1 * (2 * torch.rand(100, *x.shape).double() - 1)).clamp(0, 1).flatten(0, 1)).view(
        100, 2, 3
    )
    assert (near - near.gather(2, y.expand(100, 2)[:, :, None]) <= worst + 1e-9).all()


class Attends(nn.Module):
    def forward(self, x):
        flat = x.flatten(1)
        return flat * flat.softmax(1)


class Decides(nn.Module):
    def forward(self, x):
        return x.flatten(1) if x.sum() > 0 else -x.flatten(1)


class Two(nn.Module):
    def forward(self, x):
        flat = x.flatten(1)
        return torch.cat([flat, 2 * flat], 1)


@pytest.mark.parametrize(
    ("net", "told"),
    [
        (Attends(), "the step softmax"),
        (nn.Sequential(nn.Flatten(), nn.GELU()), "a layer GELU"),
        (nn.Sequential(nn.Flatten(), nn.LeakyReLU(-0.5)), "a layer LeakyReLU"),
        (nn.Sequential(nn.Dropout(0.5), nn.Flatten()).train(), "a layer Dropout"),
        (
            nn.Sequential(nn.Conv2d(1, 1, 3, padding=1, padding_mode="circular"), nn.Flatten()),
            "a layer Conv2d",
        ),
        (Decides(), "torch.fx cannot trace it"),
        (Two(), "the step cat takes several features"),
        (nn.ReLU(), "it answers no logits"),
    ],
)
def test_what_they_cannot_follow_is_named(net, told):
    with pytest.raises(NotBounded, match=told):
        Bounds(Steps(net), torch.rand(2, 1, 4, 4), linf("0.1"))


def test_shapes_that_are_read_from_the_images_are_followed():
    class Views(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(16, 3)

        def forward(self, x):
            x = 2 * (1 - x) - x / 4
            return self.layer(F.relu(x.view(x.size(0), -1) + x.view(x.shape[0], -1)))

    torch.manual_seed(5)
    net, x = Views().double(), torch.rand(3, 1, 4, 4).double()
    y = net(x).argmax(1)
    found = margins(net, x, y, linf("0.02"), tight=True)
    corners = (x + 0.02 * torch.randn(400, *x.shape).double().sign()).clamp(0, 1)
    logits = net(corners.flatten(0, 1)).view(400, 3, 3)
    others = logits.scatter(2, y.expand(400, 3)[:, :, None], -torch.inf).amax(2)
    least = (logits.gather(2, y.expand(400, 3)[:, :, None])[:, :, 0] - others).amin(0)
    assert (found <= least + 1e-9).all() and (found > least - 0.2).all(), "and they say something"
