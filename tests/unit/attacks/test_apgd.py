"""Auto-PGD: its checkpoints, its step sizes, what it returns."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch

from bench.attacks.apgd import APGD, TargetedAPGD, _checkpoints, _Window
from bench.attacks.losses import margin
from bench.core.threat import TRANSFER, Budget, Norm

BUDGET = Budget(Norm.LINF, Fraction("0.1"))


class Recorded(torch.nn.Module):
    """Remembers the images it was asked about."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network, self.asked = network, list[torch.Tensor]()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.asked.append(x.detach().clone())
        return self.network(x)


def test_checkpoints_are_the_papers() -> None:
    # p = 0.22, 0.41, 0.57, 0.70, 0.80, 0.87, 0.93, 0.99 (Croce & Hein, ICML 2020, section 3.3)
    assert sorted(_checkpoints(100)) == [22, 41, 57, 70, 80, 87, 93, 99]
    assert sorted(_checkpoints(10)) == [3, 5, 6, 7, 8, 9, 10]


def test_the_two_conditions_by_hand() -> None:
    best_before = torch.tensor([1.0, 1.0, 1.0, 1.0])
    best_now = torch.tensor([2.0, 1.0, 1.0, 2.0])
    halved = torch.tensor([False, False, True, False])
    window = _Window(best_before, halved, torch.tensor([15.0, 20.0, 20.0, 14.0]), steps=20)
    # 15 of 20 is not below 75 %; no new best; no new best but just halved; 14 of 20 is below 75 %
    assert window.exhausted(best_now, 0.75).tolist() == [False, True, False, True]


def test_the_first_step_is_two_eps_and_later_ones_have_momentum(make_oracle, seeded) -> None:
    """In one dimension with gradient +1 each move is known: eps at once, and there it stays."""
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(1, 2, bias=False))
    network[1].weight.data = torch.tensor([[0.0], [1.0]])
    recorded = Recorded(network)
    x, y = torch.full((1, 1, 1, 1), 0.5), torch.tensor([0])
    oracle = make_oracle(recorded, y, 2, TRANSFER, confirms=False)
    attack = APGD(steps=4, loss="margin", random_start=False)
    assert attack(oracle, x, y, BUDGET, seeded()).item() == pytest.approx(0.6)
    assert [asked.item() for asked in recorded.asked] == pytest.approx([0.5, 0.6, 0.6, 0.6, 0.6])


def test_steps_shrink_around_a_peak(make_oracle, seeded) -> None:
    """The loss -|x - 0.53|: 2 eps overshoots for ever, and only halving gets closer."""

    class Peak(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            height = -(x.flatten(1) - 0.53).abs().sum(1) - 1
            return torch.stack([torch.zeros_like(height), height], 1)

    x, y = torch.full((1, 1, 1, 1), 0.5), torch.tensor([0])
    distances = []
    for steps in (5, 50, 200):
        recorded = Recorded(Peak())
        oracle = make_oracle(recorded, y, 2, TRANSFER, confirms=False)
        x_adv = APGD(steps=steps, loss="margin", random_start=False)(oracle, x, y, BUDGET, seeded())
        asked = torch.cat([image.flatten() for image in recorded.asked])
        best = asked[(asked - 0.53).abs().argmin()]
        assert x_adv.item() == best.item()  # the best of all that was evaluated
        distances.append(abs(x_adv.item() - 0.53))
    assert distances[2] < 0.002 and distances[2] <= distances[1] <= distances[0]


@pytest.mark.parametrize("norm", [Norm.LINF, Norm.L2])
def test_the_best_iterate_is_returned(norm: Norm, make_mlp, make_oracle, seeded) -> None:
    network = Recorded(make_mlp(num_classes=4))
    x = torch.rand(10, 1, 6, 6, generator=seeded(0))
    y = network(x).argmax(1)
    network.asked.clear()
    oracle = make_oracle(network, y, 4, TRANSFER, confirms=False)
    x_adv = APGD(steps=15, loss="margin")(oracle, x, y, Budget(norm, Fraction("0.3")), seeded(0))
    losses = torch.stack([margin(network.network(asked), y) for asked in network.asked])
    torch.testing.assert_close(margin(network.network(x_adv), y), losses.amax(0))


def test_targets_are_all_wrong_classes_at_most(make_mlp, make_oracle, seeded) -> None:
    network = make_mlp(num_classes=3)
    x = torch.rand(10, 1, 6, 6, generator=seeded(0))
    y = network(x).argmax(1)
    tiny = Budget(Norm.LINF, Fraction("1/1000000"))
    oracle = make_oracle(network, y, 3)
    TargetedAPGD(steps=4, targets=9)(oracle, x, y, tiny, seeded(0))
    assert oracle.backwards.tolist() == [2 * 4] * 10  # two wrong classes
    # the ranking, and for each target four steps and the last iterate; one verdict between the two
    assert oracle.forwards.tolist() == [1 + 2 * 5 + 1] * 10


def test_a_later_target_breaks_what_the_first_cannot(make_oracle, seeded) -> None:
    """Class 1 is the runner-up but out of reach: only class 2 depends on the image."""
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 4))
    network[1].weight.data = torch.tensor([[0.0] * 4, [0.0] * 4, [1.0] * 4, [0.0] * 4])
    network[1].bias.data = torch.tensor([1.0, 0.9, -1.3, -5.0])
    x, y = torch.full((1, 1, 2, 2), 0.5), torch.tensor([0])  # class 2 at 0.7, and up to 1.1
    for targets, broken in ((1, False), (2, True)):
        oracle = make_oracle(network, y, 4)
        TargetedAPGD(steps=10, targets=targets, loss="targeted_margin")(oracle, x, y, BUDGET, seeded(0))
        assert oracle.hit.item() is broken
