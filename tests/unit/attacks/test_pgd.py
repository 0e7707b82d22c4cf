"""PGD, FGSM and MI-FGSM: targets, schedules, losses and refused parameters."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import pytest
import torch

from bench.attacks import losses
from bench.attacks.apgd import APGD, TargetedAPGD
from bench.attacks.combine import Cascade, Restarts
from bench.attacks.fgsm import FGSM
from bench.attacks.mi_fgsm import MIFGSM
from bench.attacks.noise import UniformNoise
from bench.attacks.pgd import PGD
from bench.attacks.square import Square
from bench.core.threat import TRANSFER, Budget, Norm
from bench.errors import BadValue, BenchError

LINF = Budget(Norm.LINF, Fraction("0.1"))


@pytest.fixture
def images(make_mlp: Callable, seeded: Callable):
    network = make_mlp(num_classes=5)
    x = torch.rand(30, 1, 6, 6, generator=seeded(0))
    return network, x, network(x).argmax(1)


def _probability(network, x: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    return network(x).softmax(1).gather(1, label[:, None]).squeeze(1)


@pytest.mark.parametrize("rank", ["most_confusing", "least_likely"])
@pytest.mark.parametrize("loss", ["cross_entropy", "margin", "dlr"])
def test_a_target_becomes_likelier_and_the_truth_less(rank, loss, images, make_oracle, seeded) -> None:
    network, x, y = images
    order = network(x).argsort(dim=1, descending=True)  # y first: it is what the network predicts
    target = order[:, 1] if rank == "most_confusing" else order[:, -1]
    oracle = make_oracle(network, y, 5, TRANSFER, confirms=False)
    x_adv = PGD(target=rank, loss=loss)(oracle, x, y, LINF, seeded(0))
    lead = losses.targeted_margin(network(x_adv), y, target) - losses.targeted_margin(network(x), y, target)
    assert (lead > 0).all()
    assert _probability(network, x_adv, target).mean() > _probability(network, x, target).mean() + 0.005
    untargeted = PGD(loss=loss)(oracle, x, y, LINF, seeded(0))
    assert (_probability(network, untargeted, y) < _probability(network, x, y)).all()


def test_given_targets_are_approached(images, make_oracle, seeded) -> None:
    network, x, y = images
    target = (y + 2) % 5
    oracle = make_oracle(network, y, 5, confirms=False)
    x_adv = PGD(target="given")(oracle, x, target, LINF, seeded(0))
    assert (_probability(network, x_adv, target) > _probability(network, x, target)).all()


def test_random_targets_are_wrong_classes_drawn_uniformly(make_oracle, seeded) -> None:
    y = torch.arange(4).repeat(2000)
    oracle = make_oracle(torch.nn.Identity(), y, 4)
    drawn = PGD(target="random")._targets(oracle, torch.zeros(len(y), 1, 1, 1), y, seeded(0))
    assert (drawn != y).all()
    for label in range(4):
        share = drawn[y == label].bincount(minlength=4) / 2000
        assert share[label] == 0
        assert (share[torch.arange(4) != label] - 1 / 3).abs().max() < 0.05


def test_the_adaptive_loss_is_the_oracles(images, make_oracle, seeded) -> None:
    network, x, y = images
    oracle = make_oracle(network, y, 5, confirms=False)  # its adaptive loss is the logit of class 0
    x_adv = PGD(loss="adaptive")(oracle, x, y, LINF, seeded(0))
    assert (network(x_adv)[:, 0] > network(x)[:, 0]).all()


def test_the_cosine_schedule_by_hand() -> None:
    sizes = [PGD(steps=4, step_size=Fraction(1), schedule="cosine")._step_size(step) for step in range(4)]
    assert sizes == pytest.approx([1.0, 0.5 + 0.5 * 0.70710678, 0.5, 0.5 - 0.5 * 0.70710678])
    assert {PGD(steps=4)._step_size(step) for step in range(4)} == {0.25}


def test_one_step_of_pgd_is_fgsm(images, make_oracle, seeded) -> None:
    network, x, y = images
    for norm, loss in ((Norm.LINF, "cross_entropy"), (Norm.L2, "margin")):
        budget = Budget(norm, Fraction("0.2"))
        pgd = PGD(steps=1, step_size=Fraction(1), random_start=False, loss=loss)
        results = [a(make_oracle(network, y, 5), x, y, budget, seeded(0)) for a in (pgd, FGSM(loss=loss))]
        assert torch.equal(*results)


def test_momentum_by_hand(make_oracle, seeded) -> None:
    """On a linear loss every gradient is the same, so steps keep their direction."""
    weight = torch.tensor([[0.0, 0.0], [3.0, -1.0]])
    x, y = torch.full((1, 1, 1, 2), 0.5), torch.tensor([0])
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(2, 2, bias=False))
    network[1].weight.data = weight
    attack = MIFGSM(steps=3, loss="margin", decay=0.5)
    x_adv = attack(
        make_oracle(network, y, 2, confirms=False), x, y, Budget(Norm.LINF, Fraction("0.1")), seeded()
    )
    assert x_adv.flatten().tolist() == pytest.approx([0.53, 0.47])


def test_momentum_remembers_gradients_at_equal_length(make_oracle, seeded) -> None:
    """Past gradients (1, 0) and then (0, -tiny): normalised, the second weighs as much as the first."""

    class Corner(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            a, b = x.flatten(1).unbind(1)
            rising = torch.where(a < 0.505, 1000 * a, -1e-3 * b)
            return torch.stack([torch.zeros_like(a), rising], 1)

    x, y = torch.full((1, 1, 1, 2), 0.5), torch.tensor([0])
    budget = Budget(Norm.L2, Fraction("0.1"))
    attack = MIFGSM(steps=2, loss="margin", decay=1.0)
    x_adv = attack(make_oracle(Corner(), y, 2, confirms=False), x, y, budget, seeded())
    # first step (0.01, 0); then along (1, -1) / sqrt(2)
    assert x_adv.flatten().tolist() == pytest.approx([0.51 + 0.01 / 2**0.5, 0.5 - 0.01 / 2**0.5], abs=1e-6)


def test_noise_keeps_the_first_draw_that_fools(make_oracle, seeded) -> None:
    """The network errs on every image brighter than the clean one, so half of all draws fool it."""

    class Bright(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            brightness = x.flatten(1).mean(1)
            return torch.stack([0.5 - brightness, brightness - 0.5], 1)

    x, y = torch.full((200, 1, 2, 2), 0.5), torch.zeros(200, dtype=torch.int64)
    for confirms in (True, False):
        oracle = make_oracle(Bright(), y, 2, confirms=confirms)
        x_adv = UniformNoise(draws=10)(oracle, x, y, LINF, seeded(0))
        share = (x_adv.flatten(1).mean(1) > 0.5).float().mean()
        assert share.item() >= 0.99  # 1 - 1/1024, were it exact
        first = UniformNoise(draws=1)(make_oracle(Bright(), y, 2), x, y, LINF, seeded(0))
        kept = first.flatten(1).mean(1) > 0.5
        assert torch.equal(x_adv[kept], first[kept])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: PGD(steps=0), "PGD.steps is 0"),
        (lambda: PGD(steps=2.5), "PGD.steps is 2.5"),
        (lambda: PGD(step_size=0.25), "expected a Fraction of eps"),
        (lambda: PGD(step_size=Fraction(-1, 4)), "PGD.step_size is -1/4"),
        (lambda: PGD(loss="ce"), "PGD.loss is 'ce', expected one of cross_entropy"),
        (lambda: PGD(target="second"), "PGD.target"),
        (lambda: PGD(schedule="linear"), "PGD.schedule"),
        (lambda: PGD(target="given", loss="margin"), "expected cross_entropy"),
        (lambda: PGD(target="random", loss="adaptive"), "no targeted form"),
        (lambda: PGD(target="random", loss="probability_margin"), "no targeted form"),
        (lambda: FGSM(step_size=Fraction(0)), "FGSM.step_size is 0"),
        (lambda: FGSM(loss="adaptive"), "FGSM.loss"),
        (lambda: MIFGSM(decay=-0.1), "MIFGSM.decay is -0.1"),
        (lambda: UniformNoise(draws=True), "UniformNoise.draws is True"),
        (lambda: APGD(loss="probability_margin"), "APGD.loss"),
        (lambda: APGD(rho=2.0), "APGD.rho is 2.0"),
        (lambda: TargetedAPGD(loss="dlr"), "TargetedAPGD.loss is 'dlr', expected one of targeted_"),
        (lambda: TargetedAPGD(targets=0), "TargetedAPGD.targets"),
        (lambda: Square(queries=0), "Square.queries"),
        (lambda: Square(p_init=-0.1), "Square.p_init is -0.1"),
        (lambda: Restarts(PGD(), times=0), "Restarts.times"),
        (lambda: Cascade(()), "Cascade.attacks is empty"),
    ],
)
def test_parameters_out_of_range_are_refused_in_one_sentence(make, words: str) -> None:
    with pytest.raises(BadValue) as caught:
        make()
    assert isinstance(caught.value, BenchError)
    assert words in caught.value.message
    assert caught.value.hint and "\n" not in str(caught.value)


def test_every_named_loss_is_offered_by_pgd() -> None:
    for name in losses.LOSSES:
        assert PGD(loss=name).loss == name
