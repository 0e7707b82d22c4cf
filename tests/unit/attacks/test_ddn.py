"""DDN: the nearest mistakes of linear classifiers, and the distances of adv-lib and foolbox."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch

from bench.api import Deployed
from bench.attacks.ddn import DDN
from bench.attacks.geometry import distance
from bench.core.threat import WHITE_BOX, Budget, Norm
from bench.errors import BadValue
from bench.evaluate.batches import Batches
from bench.evaluate.engine import Arena, Chunk, play
from bench.evaluate.nearest import Nearest
from bench.evaluate.numerics import PLAIN

EVERYTHING = Budget(Norm.L2, Fraction(100))


def test_the_nearest_mistake_of_a_linear_classifier(problem, seeded) -> None:
    oracle = problem.oracle(confirms=False)
    x_adv = DDN(steps=300)(oracle, problem.x, problem.y, EVERYTHING, seeded(0))
    found = distance(x_adv, problem.x, Norm.L2)

    def worst(share: float) -> torch.Tensor:
        budgets = (Budget(Norm.L2, Fraction(length.item() * share)) for length in found)
        return torch.stack([problem.worst_margin(budget)[row] for row, budget in enumerate(budgets)])

    assert set(oracle.backwards.tolist()) == {300}
    assert (problem.margin(x_adv) > -1e-6).all() and (worst(1.0) > -1e-5).all()
    assert (worst(0.9) < 0).all()
    assert (worst(0.95) < 0).float().mean() > 0.8


def test_distances_are_those_of_adv_lib_and_foolbox(make_mlp, make_oracle, seeded) -> None:
    advlib = pytest.importorskip("adv_lib.attacks")
    foolbox = pytest.importorskip("foolbox")
    network, x = make_mlp(), torch.rand(30, 1, 6, 6, generator=seeded(0))
    y = network(x).argmax(1)
    ours = DDN(steps=60)(make_oracle(network, y, 5, confirms=False), x, y, EVERYTHING, seeded(0))
    assert (network(ours).argmax(1) != y).all()
    theirs = {
        "adv-lib": advlib.ddn(network, x.clone(), y, steps=60, levels=None),
        "foolbox": foolbox.attacks.DDNAttack(steps=60)(
            foolbox.PyTorchModel(network, bounds=(0, 1), device="cpu"), x, y, epsilons=None
        )[0],
    }
    for who, images in theirs.items():
        ratio = distance(ours, x, Norm.L2) / distance(images, x, Norm.L2)
        assert ratio.median().item() == pytest.approx(1, abs=0.005), who
        assert ((ratio - 1).abs() < 0.03).float().mean() > 0.9, who


def test_whoever_errs_when_clean_and_whoever_never_errs_stay_in_the_box(problem, seeded) -> None:
    wrong = DDN(steps=5)(problem.oracle(confirms=False), problem.x, 1 - problem.y, EVERYTHING, seeded(0))
    assert torch.equal(wrong, problem.x)  # the nearest mistake is the image itself

    class Constant(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.stack([0 * x.sum((1, 2, 3)) + 1, 0 * x.sum((1, 2, 3))], dim=1)

    chunk = Chunk(0, problem.x, torch.zeros_like(problem.y), torch.arange(len(problem.y)))
    arena = Arena(Deployed(Constant()), EVERYTHING, 2, {}, PLAIN, Batches(64), seed=0)
    outcomes = play(arena, Nearest("ddn", DDN(steps=5), WHITE_BOX), chunk, 0).outcomes
    assert outcomes is not None and outcomes.robust.all() and not outcomes.moved.any()


@pytest.mark.parametrize(
    ("wrong", "hint"), [({"first_radius": 0.0}, "first_radius=1"), ({"steps": 0}, "steps=1")]
)
def test_mistakes_are_one_sentence(wrong, hint: str) -> None:
    with pytest.raises(BadValue, match=hint):
        DDN(**wrong)


def test_it_has_l2_alone(problem, seeded) -> None:
    with pytest.raises(BadValue, match="has L2, but the budget's norm is Linf"):
        DDN()(problem.oracle(), problem.x, problem.y, Budget(Norm.LINF, Fraction("0.1")), seeded(0))
