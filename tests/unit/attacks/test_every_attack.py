"""What holds for all attacks: budget and box, the closed form as a ceiling, determinism, costs."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import pytest
import torch

from bench.api import Attack
from bench.attacks.apgd import APGD, TargetedAPGD
from bench.attacks.combine import Cascade, Restarts
from bench.attacks.fgsm import FGSM
from bench.attacks.geometry import distance
from bench.attacks.mi_fgsm import MIFGSM
from bench.attacks.noise import UniformNoise
from bench.attacks.norms import norms_of
from bench.attacks.pgd import PGD
from bench.attacks.square import Square
from bench.core.encoding import decode, encode
from bench.core.threat import SCORES, Budget, Norm

ATTACKS: dict[str, Attack] = {
    "noise": UniformNoise(draws=3),
    "fgsm": FGSM(),
    "fgsm_random": FGSM(step_size=Fraction("5/4"), random_start=True),
    "pgd": PGD(steps=5),
    "pgd_margin_cosine": PGD(steps=5, loss="margin", schedule="cosine"),
    "pgd_least_likely": PGD(steps=5, target="least_likely"),
    "mi_fgsm": MIFGSM(steps=5),
    "apgd": APGD(steps=12),
    "apgd_dlr": APGD(steps=12, loss="dlr", random_start=False),
    "apgd_t": TargetedAPGD(steps=6, targets=3),
    "square": Square(queries=25),
    "restarts": Restarts(PGD(steps=3), times=3),
    "cascade": Cascade((FGSM(), UniformNoise(draws=2), PGD(steps=3))),
}
BUDGETS = [
    Budget(Norm.LINF, Fraction("0.1")),
    Budget(Norm.L2, Fraction("0.6")),
    Budget(Norm.L1, Fraction("2.5")),
    Budget(Norm.L0, Fraction(4)),
]
PAIRS = [(name, budget) for name in ATTACKS for budget in BUDGETS if budget.norm in norms_of(ATTACKS[name])]
ids = pytest.mark.parametrize("name", ATTACKS)
pairs = pytest.mark.parametrize(("name", "budget"), PAIRS, ids=lambda part: getattr(part, "norm", part))


@pairs
def test_candidates_are_allowed_and_never_beat_the_closed_form(
    name: str, budget: Budget, problem, seeded
) -> None:
    before = problem.x.clone()
    x_adv = ATTACKS[name](problem.oracle(confirms=False), problem.x, problem.y, budget, seeded(0))
    assert torch.equal(problem.x, before)
    assert x_adv.shape == problem.x.shape and x_adv.dtype == torch.float32 and not x_adv.requires_grad
    assert x_adv.min() >= 0 and x_adv.max() <= 1
    assert (distance(x_adv, problem.x, budget.norm) <= budget.radius + 1e-6).all()
    assert (problem.margin(x_adv) <= problem.worst_margin(budget) + 1e-5).all()


@pairs
def test_no_budget_no_change(name: str, budget: Budget, problem, seeded) -> None:
    none = Budget(budget.norm, Fraction(0))
    x_adv = ATTACKS[name](problem.oracle(), problem.x, problem.y, none, seeded(0))
    torch.testing.assert_close(x_adv, problem.x, rtol=0, atol=1e-7)


@pairs
def test_the_generator_alone_decides(name: str, budget: Budget, problem, seeded) -> None:
    attack = ATTACKS[name]
    global_state = torch.random.get_rng_state()
    first, again = (attack(problem.oracle(), problem.x, problem.y, budget, seeded(3)) for _ in range(2))
    assert torch.equal(first, again)
    assert torch.equal(torch.random.get_rng_state(), global_state)
    torch.rand(7)  # what others draw does not matter
    assert torch.equal(attack(problem.oracle(), problem.x, problem.y, budget, seeded(3)), first)


# under L1 APGD asks about larger balls first, and this test's oracle judges what it is asked, unprojected
@pytest.mark.parametrize(
    ("name", "budget"),
    [(name, budget) for name, budget in PAIRS if "apgd" not in name or budget.norm is not Norm.L1],
    ids=lambda part: getattr(part, "norm", part),
)
def test_broken_examples_do_not_move_again(name: str, budget: Budget, problem, seeded) -> None:
    """Whoever the oracle called broken is returned as an image that is misclassified."""
    oracle = problem.oracle()
    x_adv = ATTACKS[name](oracle, problem.x, problem.y, budget, seeded(1))
    wrong = problem.margin(x_adv) > -1e-5
    assert wrong[oracle.hit].all()


@ids
def test_images_of_many_colours_and_one_example(name: str, make_mlp: Callable, make_oracle, seeded) -> None:
    network, shape = make_mlp(num_classes=3, shape=(3, 5, 7)), (1, 3, 5, 7)
    x = torch.rand(shape, generator=seeded(0))
    y = network(x).argmax(1)
    for budget in (budget for held, budget in PAIRS if held == name):
        x_adv = ATTACKS[name](make_oracle(network, y, 3), x, y, budget, seeded(1))
        assert x_adv.shape == x.shape and x_adv.isfinite().all()


@ids
def test_parameters_survive_json(name: str) -> None:
    assert decode(encode(ATTACKS[name])) == ATTACKS[name]


@pytest.mark.parametrize("name", ["noise", "square"])
def test_black_box_attacks_compute_no_gradient(name: str, problem, seeded) -> None:
    oracle = problem.oracle(knowledge=SCORES)
    ATTACKS[name](oracle, problem.x, problem.y, BUDGETS[0], seeded(0))
    assert oracle.backwards.sum() == 0 and oracle.forwards.max() > 0


@pytest.mark.parametrize(
    ("name", "forwards", "backwards"),
    [("fgsm", 1, 1), ("pgd", 5, 5), ("pgd_least_likely", 6, 5), ("mi_fgsm", 5, 5), ("apgd", 13, 12)],
)
def test_costs_are_as_documented(name: str, forwards: int, backwards: int, problem, seeded) -> None:
    oracle = problem.oracle(confirms=False)
    ATTACKS[name](oracle, problem.x, problem.y, BUDGETS[0], seeded(0))
    assert set(oracle.forwards.tolist()) == {forwards}
    assert set(oracle.backwards.tolist()) == {backwards}
