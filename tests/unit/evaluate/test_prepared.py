"""How gradients are computed is decided once, on a run's own images: layout, folding, and what is told."""

from __future__ import annotations

import copy
from fractions import Fraction

import pytest
import torch
from torch import Tensor, nn

from bench.api import Deployed, Trial
from bench.attacks.losses import cross_entropy
from bench.attacks.pgd import PGD
from bench.core.threat import GRAY_BOX_CLASSIFIER, WHITE_BOX, WHITE_BOX_BPDA, Budget, Norm
from bench.evaluate.access import Access
from bench.evaluate.batches import Batches
from bench.evaluate.engine import Arena, Chunk, play
from bench.evaluate.numerics import Numerics
from bench.evaluate.prepared import unchanged
from bench.nn.fold import Folded

BUDGET = Budget(Norm.LINF, Fraction(1, 2))


class Net(nn.Module):
    """Two convolutions with BatchNorm, ReLUs, and a last layer on the flattened map."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.conv1, self.norm1 = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)
        self.conv2, self.norm2 = nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8)
        self.linear = nn.Linear(8 * 4 * 4, 5)
        for norm in (self.norm1, self.norm2):
            norm.running_mean.uniform_(-0.5, 0.5)
            norm.running_var.uniform_(0.5, 2)

    def maps(self, x: Tensor) -> Tensor:
        return self.norm2(self.conv2(self.norm1(self.conv1(x)).relu())).relu()

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.maps(x).flatten(1))


class Viewing(Net):
    """As every LeNet of a tutorial flattens."""

    def forward(self, x: Tensor) -> Tensor:
        maps = self.maps(x)
        return self.linear(maps.view(len(maps), -1))


class Noisy(Net):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x + 0.1 * torch.randn_like(x))


class Counting(Net):
    """Keeps state: a number and a tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0
        self.register_buffer("sum", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.asked += 1
        self.sum += 1
        return super().forward(x)


def images(n: int = 8, seed: int = 1) -> Tensor:
    return torch.rand(n, 3, 8, 8, generator=torch.Generator().manual_seed(seed))


def climbed(access: Access) -> nn.Module:
    access.differentiable(images(2))
    assert access._ready is not None
    return access._ready.network


def arena(net: nn.Module, **numerics: object) -> Arena:
    chosen = Numerics(**numerics)  # type: ignore[arg-type]
    return Arena(Deployed(net), BUDGET, 5, {}, chosen, Batches(64), seed=0, images=images())


def test_whoever_goes_on_climbs_the_same_network_whatever_is_asked_first():
    first = Access(Deployed(Net()), WHITE_BOX, {}, Numerics(), images=images())
    again = Access(Deployed(Net()), WHITE_BOX, {}, Numerics(), images=images())
    again.differentiable(torch.zeros(2, 3, 8, 8))  # another first cell
    x, y = images(4, seed=2), torch.arange(4)
    for one, other in zip(*(held.gradients(cross_entropy, x, (y,)) for held in (first, again)), strict=True):
        assert torch.equal(one, other)
    assert type(climbed(first)) is type(climbed(again)) is Folded


def test_the_decision_is_made_before_anything_is_asked():
    access = Access(Deployed(Net()), WHITE_BOX, {}, Numerics(), images=images())
    assert access._ready is not None and isinstance(access._ready.network, Folded)
    assert access.refused is None


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_every_precision_folds(precision):
    access = Access(Deployed(Net()), WHITE_BOX, {}, Numerics(precision=precision), images=images())
    x, y = images(4, seed=2), torch.arange(4)
    gradient, _, _ = access.gradients(cross_entropy, x, (y,))
    assert isinstance(climbed(access), Folded) and bool(gradient.any())


def test_a_refused_fold_is_told():
    held = arena(Noisy())
    held.access(WHITE_BOX)
    (note,) = held.notes()
    assert note.startswith("BatchNorm is not folded for gradients: the folded copy's logits differ")
    plain = arena(nn.Sequential(nn.Flatten(), nn.Linear(192, 5)))
    plain.access(WHITE_BOX)
    assert plain.notes() == (), "where there is nothing to fold, nothing was refused"


def test_a_network_that_flattens_by_view_is_attacked_as_one_that_flattens():
    x = images(16)
    with torch.no_grad():
        y = Net().eval()(x).argmax(1)
    chunk = Chunk(0, x, y, torch.arange(16))
    trial = Trial("pgd", PGD(steps=20), WHITE_BOX)
    cells = [play(arena(kind()), trial, chunk, seed=0) for kind in (Viewing, Net)]
    assert [cell.error for cell in cells] == [None, None]
    viewing, usual = (cell.outcomes.robust for cell in cells)
    assert viewing.tolist() == usual.tolist() and not usual.all()


def test_the_networks_of_a_defense_share_one_layout_whoever_is_asked_first():
    inner, shape = Viewing().eval(), images().shape
    purifier = nn.ReLU()
    deployed = Deployed(nn.Sequential(purifier, inner), inner, purifier)
    for order in ((WHITE_BOX, GRAY_BOX_CLASSIFIER, WHITE_BOX_BPDA), (WHITE_BOX_BPDA, WHITE_BOX)):
        held = Arena(deployed, BUDGET, 5, {}, Numerics(), Batches(64), seed=0, images=images())
        for knowledge in order:
            gradient, _, _ = held.access(knowledge).gradients(
                cross_entropy, images(), (torch.zeros(8).long(),)
            )
            assert gradient.shape == shape
        assert held.referee.classify(images()).shape == (8,)


def test_trying_leaves_no_trace_in_a_network_that_keeps_state_nor_in_random_draws():
    net, state = Counting().eval(), torch.random.get_rng_state()
    before = copy.deepcopy(net.state_dict())
    Access(Deployed(net), WHITE_BOX, {}, Numerics(), images=images())
    assert net.asked == 0 and all(torch.equal(before[key], value) for key, value in net.state_dict().items())
    assert torch.equal(torch.random.get_rng_state(), state)
    with unchanged(net):
        net(images())
        assert net.asked == 1
    assert net.asked == 0 and float(net.sum) == 0


def test_a_network_that_raises_in_every_layout_fails_its_column_alone():
    class Broken(Net):
        def forward(self, x: Tensor) -> Tensor:
            raise ValueError("no answer") if x.requires_grad else None

    net = Broken()
    access = Access(Deployed(net, attackable=net), WHITE_BOX, {}, Numerics(), images=images())
    with pytest.raises(ValueError, match="no answer"):
        access.gradients(cross_entropy, images(), (torch.zeros(8).long(),))
