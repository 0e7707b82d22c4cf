"""L1 and L0: exact projections, the closed form of a linear classifier, refusals, the nearest mistake."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from torch import Tensor

from bench.api import Attack, Deployed, Trial
from bench.attacks.apgd import APGD
from bench.attacks.combine import Cascade, Restarts
from bench.attacks.fab import FAB
from bench.attacks.fgsm import FGSM
from bench.attacks.fmn import FMN
from bench.attacks.geometry import distance, project_l0, project_l1, random_start
from bench.attacks.norms import norms_of
from bench.attacks.pgd import PGD
from bench.attacks.square import Square
from bench.core.threat import WHITE_BOX, Budget, Norm
from bench.errors import BadValue
from bench.evaluate.batches import Batches
from bench.evaluate.engine import Arena, Chunk, play
from bench.evaluate.nearest import Nearest
from bench.evaluate.numerics import PLAIN
from bench.evaluate.referee import Referee
from bench.plan import Request, plan_run
from bench.registry import ATTACKS

L1, L0 = Budget(Norm.L1, Fraction(2)), Budget(Norm.L0, Fraction(2))


def _pair(seed: int, spread: float) -> tuple[Tensor, Tensor]:
    """Images with values at the rim of the box, and others around them."""
    generator = torch.Generator().manual_seed(seed)
    x = (torch.rand(3, 1, 2, 4, generator=generator) * 1.6 - 0.3).clamp(0, 1)
    return x, x + spread * torch.randn(x.shape, generator=generator)


@given(st.integers(0, 10_000), st.floats(0.01, 3), st.sampled_from([0.0, 0.1, 0.7, 2.0, 9.0]))
@settings(max_examples=60, deadline=None)
def test_no_allowed_image_is_nearer_than_the_l1_projection(seed: int, spread: float, radius: float) -> None:
    """Feasible, idempotent, and on the near side of the plane through it: <far - p, z - p> <= 0 for all z."""
    x, far = _pair(seed, spread)
    p = project_l1(far, x, radius)
    assert p.min() >= 0 and p.max() <= 1 and (distance(p, x, Norm.L1) <= radius + 1e-5).all()
    torch.testing.assert_close(project_l1(p, x, radius), p, rtol=0, atol=1e-6)
    for other in range(20):
        noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(other))
        z = x + noise * (radius / noise.abs().sum((1, 2, 3), keepdim=True))
        z = x + (z.clamp(0, 1) - x)  # nearer than the radius still
        assert (((far - p) * (z - p)).sum((1, 2, 3)) <= 1e-4).all()


@pytest.mark.parametrize("radius", [0.3, 1.5])
def test_the_l1_projection_is_that_of_a_solver(radius: float) -> None:
    """Scipy's SLSQP on delta = up - down, with up and down at least 0."""
    x, far = _pair(3, 0.8)
    for image, wanted, got in zip(x, far, project_l1(far, x, radius), strict=True):
        clean, target = (part.flatten().double().numpy() for part in (image, wanted))
        size = len(clean)

        def gap(both: np.ndarray, clean: np.ndarray = clean, target: np.ndarray = target) -> float:
            return float(((clean + both[:size] - both[size:] - target) ** 2).sum())  # noqa: B023

        found = minimize(
            gap,
            np.zeros(2 * size),
            bounds=[*((0, 1 - value) for value in clean), *((0, value) for value in clean)],
            constraints={"type": "ineq", "fun": lambda both: radius - both.sum()},
            method="SLSQP",
            options={"ftol": 1e-12, "maxiter": 500},
        )
        solved = clean + found.x[:size] - found.x[size:]
        np.testing.assert_allclose(got.flatten().numpy(), solved, atol=1e-4)


@given(st.integers(0, 10_000), st.floats(0.01, 3), st.integers(0, 9))
@settings(max_examples=60, deadline=None)
def test_the_l0_projection_is_the_best_of_all_choices(seed: int, spread: float, count: int) -> None:
    """By trying every set of eight values."""
    x, far = _pair(seed, spread)
    p = project_l0(far, x, count)
    assert (distance(p, x, Norm.L0) <= count).all() and torch.equal(project_l0(p, x, count), p)
    choices = torch.tensor([[place >> bit & 1 for bit in range(8)] for place in range(256)]).bool()
    choices = choices[choices.sum(1) <= count].view(-1, 1, 1, 2, 4)
    tried = torch.where(choices, far.clamp(0, 1), x)  # [choices, 3, 1, 2, 4]
    least = (tried - far).square().sum((2, 3, 4)).amin(0)
    torch.testing.assert_close((p - far).square().sum((1, 2, 3)), least)


def test_radii_of_their_own_are_those_of_one_at_a_time() -> None:
    x, far = _pair(0, 1.0)
    together = project_l1(far, x, torch.tensor([0.2, 1.0, torch.inf]))
    assert torch.equal(together[0], project_l1(far, x, 0.2)[0])
    assert torch.equal(together[2], far.clamp(0, 1)[2])
    counts = project_l0(far, x, torch.tensor([1.0, 0.0, torch.inf]))
    assert torch.equal(counts[0], project_l0(far, x, 1)[0])
    assert torch.equal(counts[1], x[1]) and torch.equal(counts[2], far.clamp(0, 1)[2])


def test_random_starts_fill_the_l1_ball_uniformly() -> None:
    """In the plane its ball is a square on its tip: half of the area lies within r / sqrt(2)."""
    x = torch.full((20_000, 1, 1, 2), 0.5)
    moves = random_start(x, Budget(Norm.L1, Fraction("0.4")), torch.Generator().manual_seed(0)) - x
    length = moves.abs().sum((1, 2, 3))
    assert length.max() <= 0.4 + 1e-6
    assert (length < 0.4 / 2**0.5).float().mean().item() == pytest.approx(0.5, abs=0.02)
    assert (moves[..., 0] > 0).float().mean().item() == pytest.approx(0.5, abs=0.02)


CLOSE = [
    (FGSM(), L1, 0.999),
    (PGD(), L1, 0.94),
    (APGD(steps=50), L1, 0.99),
    (FGSM(), L0, 0.999),
    (PGD(), L0, 0.99),
]
"""What each reaches of all that the margin of a linear classifier can gain, at least, on the mean."""


@pytest.mark.parametrize(("attack", "budget", "share"), CLOSE, ids=str)
def test_linear_classifiers_fall_as_far_as_they_can(
    attack: Attack, budget: Budget, share: float, problem, seeded
) -> None:
    x_adv = attack(problem.oracle(confirms=False), problem.x, problem.y, budget, seeded(0))
    before, worst = problem.margin(problem.x), problem.worst_margin(budget)
    gained = (problem.margin(x_adv) - before) / (worst - before)
    assert gained.max() <= 1 + 1e-4 and gained.mean() >= share


@pytest.mark.parametrize("attack", [PGD(), FMN(), FGSM()], ids=str)
@pytest.mark.parametrize("budget", [L1, L0], ids=lambda budget: budget.label)
def test_verdicts_on_linear_classifiers_are_the_closed_form(attack: Attack, budget: Budget, problem) -> None:
    """Nothing is broken that cannot be, at most a tenth of the rest is left, nothing counts as outside."""
    arena = Arena(Deployed(problem.network), budget, 2, {}, PLAIN, Batches(64), seed=0)
    chunk = Chunk(0, problem.x, problem.y, torch.arange(len(problem.y)))
    outcomes = play(arena, Trial("it", attack, WHITE_BOX), chunk, 0).outcomes
    worst = problem.worst_margin(budget).numpy()
    assert outcomes is not None and not outcomes.moved.any() and not outcomes.lost.any()
    assert not (~outcomes.robust & (worst < -1e-5)).any()
    missed = outcomes.robust & (worst > 0.05)
    assert missed.sum() <= 0.1 * (worst > 0.05).sum() and 0 < outcomes.robust.sum() < len(worst)
    assert (outcomes.distance <= budget.radius + 1e-4).all()


@pytest.mark.parametrize("norm", list(Norm))
def test_the_nearest_is_kept_and_the_first_is_not(norm: Norm, problem) -> None:
    """Broken are the same examples; distances are the least at which the closed form can be broken."""
    budget = Budget(norm, Fraction({"Linf": "1", "L2": "4", "L1": "20", "L0": "30"}[norm.value]))
    arena = Arena(Deployed(problem.network), budget, 2, {}, PLAIN, Batches(64), seed=0)
    chunk = Chunk(0, problem.x, problem.y, torch.arange(len(problem.y)))
    first = play(arena, Trial("it", FMN(), WHITE_BOX), chunk, 0).outcomes
    nearest = play(arena, Nearest("it", FMN(), WHITE_BOX), chunk, 0).outcomes
    assert first is not None and nearest is not None
    assert (first.robust == nearest.robust).all() and not nearest.robust.any()
    assert (nearest.distance <= first.distance + 1e-6).all()
    assert not nearest.moved.any() and not nearest.lost.any()
    assert set(nearest.backwards.tolist()) == {100}  # told of no success, it spends all its steps
    for row, length in enumerate(nearest.distance):
        whole = norm is Norm.L0
        enough = Fraction(length) if not whole else Fraction(int(length))
        fewer = Fraction(length * 0.9) if not whole else Fraction(max(int(length) - 2, 0))
        assert problem.worst_margin(Budget(norm, enough))[row] > -1e-4
        assert problem.worst_margin(Budget(norm, fewer))[row] < 0


def test_only_what_leaves_the_budget_counts_as_moved() -> None:
    x = torch.full((3, 1, 4, 4), 0.5)
    candidate = x.clone()
    candidate[0, 0, 0] += 1e-7  # four values by float rounding: no more than noise
    candidate[1, 0, 0, :2] = 1.0  # two values, a sum of 1
    candidate[2, 0, 0] = 0.9  # four values, a sum of 1.6
    deployed = Deployed(torch.nn.Flatten())
    for budget in (Budget(Norm.L0, Fraction(2)), Budget(Norm.L1, Fraction(1))):
        verdict = Referee(deployed, budget, Batches(8)).judge(candidate, x)
        assert verdict.moved.tolist() == [False, False, True]
        assert (distance(verdict.x, x, budget.norm) <= budget.radius + 1e-6).all()


@pytest.mark.parametrize("name", ["autoattack:fab-t", "autoattack:fab", "foolbox:L2DeepFoolAttack"])
def test_searches_that_shrink_what_they_found_are_no_silent_success(name: str, make_mlp) -> None:
    """After a success they see answers that no longer change; what they make of them is not their fault."""
    pytest.importorskip("pyautoattack" if name.startswith("autoattack") else "foolbox")
    network = make_mlp()
    x = torch.rand(30, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    chunk = Chunk(0, x, network(x).argmax(1), torch.arange(30))
    arena = Arena(Deployed(network), Budget(Norm.L2, Fraction(2)), 5, {}, PLAIN, Batches(64), seed=0)
    outcomes = play(arena, Trial("it", ATTACKS.get(name), WHITE_BOX), chunk, 0).outcomes
    assert outcomes is not None and not outcomes.robust.all() and not outcomes.lost.any()


@pytest.mark.parametrize("attack", [Square(), FAB(), Restarts(Square()), Cascade((PGD(), FAB()))], ids=str)
def test_other_norms_are_refused_in_a_sentence(attack: Attack, problem) -> None:
    arena = Arena(Deployed(problem.network), L1, 2, {}, PLAIN, Batches(64), seed=0)
    chunk = Chunk(0, problem.x, problem.y, torch.arange(len(problem.y)))
    with pytest.raises(BadValue, match="the attack it has Linf and L2, but the budget's norm is L1"):
        play(arena, Trial("it", attack, WHITE_BOX), chunk, 0)
    assert norms_of(Restarts(FGSM())) == tuple(Norm)


@pytest.mark.parametrize("name", ATTACKS.names())
def test_norms_are_those_that_run(name: str, problem) -> None:
    """Refused before anything is trained, or run."""
    for budget in (L1, L0):
        request = Request("standard", attacks=(name,), budget=budget)
        if budget.norm in norms_of(ATTACKS.get(name)):
            assert plan_run(request).budget == budget
            continue
        with pytest.raises(BadValue, match=rf"the attack {name} has .*the budget's norm is"):
            plan_run(request)


@pytest.mark.parametrize(("suite", "budget"), [("whitebox@2", L0), ("autoattack@1", L0), ("fast@2", L1)])
def test_suites_are_played_whole_or_refused(suite: str, budget: Budget) -> None:
    with pytest.raises(BadValue, match=rf"of {suite} has .*--attack pgd --attack fmn --norm"):
        plan_run(Request("standard", suite=suite.removesuffix("@2").removesuffix("@1"), budget=budget))
    assert plan_run(Request("standard", suite="whitebox", budget=L1)).budget == L1
